/* folder.c - see folder.h. */
#include "base/folder.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Status folder_open(const char *path, bool create, int *fd, Error *err) {
    *fd = -1;
    if (create)
        TRY(file_make_directories(path, err));
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FAIL_IF(*fd < 0, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: the folder cannot be opened: %s", path,
            strerror(errno));
    return OK;
}

/* One step down. The message tells the part, which is all that is known here. */
static Status open_step(int folder, const char *name, bool create, int *fd, Error *err) {
    if (create && mkdirat(folder, name, 0755) != 0 && errno != EEXIST)
        return error_set(err, ERR_IO, "the folder %s cannot be made: %s", name, strerror(errno));
    *fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd >= 0)
        return OK;
    FAIL_IF(errno == ENOENT, ERR_NOT_FOUND, "there is no folder %s", name);
    FAIL_IF(errno == ELOOP || errno == ENOTDIR, ERR_DENIED,
            "%s should be a folder, but it is a link or a file; it is left alone", name);
    return error_set(err, ERR_IO, "the folder %s cannot be opened: %s", name, strerror(errno));
}

/* Walks `length` bytes of `relative`, which passed path_is_inside as a whole. */
static Status walk(int top, const char *relative, size_t length, bool create, int *fd, Error *err) {
    *fd = fcntl(top, F_DUPFD_CLOEXEC, 0);
    FAIL_IF(*fd < 0, ERR_IO, "no more files can be opened: %s", strerror(errno));
    size_t at = 0;
    while (at < length) {
        char name[256];
        const char *slash = memchr(relative + at, '/', length - at);
        const size_t bytes = slash != NULL ? (size_t)(slash - relative) - at : length - at;
        int next = -1;
        Status status = ERR_ARGUMENT;
        if (bytes < sizeof name) {
            memcpy(name, relative + at, bytes);
            name[bytes] = '\0';
            status = open_step(*fd, name, create, &next, err);
        } else {
            error_set(err, status, "%.60s...: the name is longer than 255 bytes", relative + at);
        }
        close(*fd);
        *fd = next;
        TRY(status);
        at += bytes + 1;
    }
    return OK;
}

Status folder_open_below(int top, const char *relative, bool create, int *fd, Error *err) {
    *fd = -1;
    FAIL_IF(*relative != '\0' && !path_is_inside(relative), ERR_DENIED, "%s: the path leads out of its folder",
            relative);
    const Status status = walk(top, relative, strlen(relative), create, fd, err);
    if (status != OK)
        error_context(err, "%s", relative);
    return status;
}

Status folder_open_parent(int top, const char *relative, bool create, int *fd, const char **name, Error *err) {
    *fd = -1;
    *name = path_name(relative);
    FAIL_IF(!path_is_inside(relative), ERR_DENIED, "%s: the path leads out of its folder", relative);
    const size_t lead = (size_t)(*name - relative);
    const Status status = walk(top, relative, lead > 0 ? lead - 1 : 0, create, fd, err);
    if (status != OK)
        error_context(err, "%s", relative);
    return status;
}

Status folder_open_file(int folder, const char *name, int flags, int *fd, Error *err) {
    *fd = openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644);
    if (*fd < 0) {
        FAIL_IF(errno == ENOENT, ERR_NOT_FOUND, "%s: there is no such file", name);
        FAIL_IF(errno == ELOOP, ERR_DENIED, "%s: is a link, not a file; it is left alone", name);
        return error_set(err, ERR_IO, "%s: cannot be opened: %s", name, strerror(errno));
    }
    struct stat st;
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) { /* O_NONBLOCK: a pipe must not hold us up before this test */
        close(*fd);
        *fd = -1;
        return error_set(err, ERR_DENIED, "%s: not a regular file; it is left alone", name);
    }
    return OK;
}

bool folder_stat(int folder, const char *name, struct stat *st) {
    return fstatat(folder, name, st, AT_SYMLINK_NOFOLLOW) == 0;
}

Status folder_write_atomic(int top, const char *relative, FolderFill *fill, void *user, Error *err) {
    int folder, fd;
    const char *name;
    TRY(folder_open_parent(top, relative, true, &folder, &name, err));
    char temporary[300];
    snprintf(temporary, sizeof temporary, ".%.255s.new", name);
    unlinkat(folder, temporary, 0); /* left by somebody who was stopped */
    Status status = folder_open_file(folder, temporary, O_WRONLY | O_CREAT | O_EXCL, &fd, err);
    if (status == OK) {
        status = fill(user, fd, err);
        close(fd);
        if (status == OK && renameat(folder, temporary, folder, name) != 0)
            status = error_set(err, ERR_IO, "%s: cannot be written: %s", name, strerror(errno));
        if (status == OK)
            status = folder_sync(folder, err);
        else
            unlinkat(folder, temporary, 0);
    }
    close(folder);
    return status;
}

Status folder_sync(int folder, Error *err) {
    /* Some file systems cannot sync a folder and say EINVAL; there is nothing better to do there. */
    FAIL_IF(fsync(folder) != 0 && errno != EINVAL, ERR_IO, "the folder could not be written to disk: %s",
            strerror(errno));
    return OK;
}

void folder_prune(int top, const char *relative) {
    char *path = mem_strdup(relative, MEM_MISC);
    if (path == NULL || !path_is_inside(relative)) {
        mem_free(path);
        return;
    }
    for (;;) {
        int parent;
        const char *name;
        if (folder_open_parent(top, path, false, &parent, &name, NULL) == OK) {
            const bool gone = unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENOTDIR;
            close(parent);
            if (!gone)
                break;
        }
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
    }
    mem_free(path);
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const FolderEntry *)a)->name, ((const FolderEntry *)b)->name);
}

static Status fill_list(DIR *dir, const char *path, size_t limit, Arena *arena, FolderEntry **list, size_t *capacity,
                        size_t *count, Error *err) {
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        FAIL_IF(*count >= limit, ERR_LIMIT, "%s: holds more than %zu entries", path, limit);
        FAIL_IF(!mem_grow((void **)list, capacity, *count + 1, sizeof **list, MEM_MISC), ERR_MEMORY,
                "%s: no memory to list it", path);
        FolderEntry *e = &(*list)[*count];
        *e = (FolderEntry){.name = arena_strdup(arena, d->d_name)};
        FAIL_IF(e->name == NULL, ERR_MEMORY, "%s: no memory to list it", path);
        struct stat st;
        if (fstatat(dirfd(dir), d->d_name, &st, 0) == 0) { /* a link to nothing is neither file nor folder */
            e->is_folder = S_ISDIR(st.st_mode);
            e->is_file = S_ISREG(st.st_mode);
            e->bytes = e->is_file ? (uint64_t)st.st_size : 0;
        }
        (*count)++;
    }
    return OK;
}

Status folder_list(const char *path, size_t limit, Arena *arena, FolderEntry **entries, size_t *count, Error *err) {
    *entries = NULL;
    *count = 0;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        FAIL_IF(errno == ENOMEM || errno == EMFILE || errno == ENFILE, ERR_IO, "%s: cannot be listed: %s", path,
                strerror(errno));
        return OK;
    }
    FolderEntry *list = NULL;
    size_t capacity = 0;
    Status status = fill_list(dir, path, limit, arena, &list, &capacity, count, err);
    closedir(dir);
    if (status == OK && *count > 0) {
        qsort(list, *count, sizeof *list, compare_entries);
        *entries = arena_array(arena, *count, sizeof **entries);
        if (*entries != NULL)
            memcpy(*entries, list, *count * sizeof *list);
        else
            status = error_set(err, ERR_MEMORY, "%s: no memory to list it", path);
    }
    if (status != OK)
        *count = 0;
    mem_free(list);
    return status;
}
