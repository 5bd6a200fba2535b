/* store_work.c - see store_work.h. All changes below the models folder go through folder handles: a link that somebody
 * put there leads us nowhere. */
#include "store/store_work.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "store/manifest.h"
#include "store/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

Status store_folders(char **folder, char **models, Error *err) {
    *models = NULL;
    FAIL_IF(!home_folder("XDG_DATA_HOME", ".local/share", folder), ERR_ARGUMENT,
            "neither XDG_DATA_HOME nor HOME says where the store is; set one to an absolute path");
    *models = *folder != NULL ? path_join(*folder, "models") : NULL;
    if (*models == NULL) {
        mem_free(*folder);
        *folder = NULL;
        return error_set(err, ERR_MEMORY, "no memory for a path");
    }
    return OK;
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

const char *store_work_relative(const StoreWork *work, const StoreModel *model) {
    const size_t bytes = strlen(work->models);
    if (strncmp(model->root, work->models, bytes) != 0 || model->root[bytes] != '/')
        return NULL;
    const char *relative = model->root + bytes + 1;
    return path_is_inside(relative) ? relative : NULL;
}

static void tell(Text *report, const char *format, ...) PRINTF_LIKE(2, 3);

static void tell(Text *report, const char *format, ...) {
    if (report == NULL)
        return;
    char line[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    text_append_str(report, line);
    text_append_char(report, '\n');
}

typedef struct Removal {
    uint64_t bytes;
    size_t deleted, kept;
} Removal;

/* One file, if it is what the store put there: a regular file of the recorded size, not reached through a link. */
static void delete_file(StoreWork *work, const char *relative, const ModelFile *file, Removal *removal, Text *report) {
    int folder;
    const char *name;
    struct stat st;
    char *path = path_join(relative, file->path);
    if (path == NULL || folder_open_parent(work->models_fd, path, false, &folder, &name, NULL) != OK) {
        mem_free(path);
        return; /* gone with its folder, or behind a link: nothing of ours is there */
    }
    if (folder_stat(folder, name, &st)) {
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != file->bytes) {
            tell(report, "left %s/%s: it is no longer the file that was downloaded", work->models, path);
            removal->kept++;
        } else if (unlinkat(folder, name, 0) != 0) {
            tell(report, "left %s/%s: %s", work->models, path, strerror(errno));
            removal->kept++;
        } else {
            removal->deleted++;
            removal->bytes += st.st_nlink > 1 ? 0 : file->bytes; /* another revision may share the bytes */
        }
    }
    close(folder);
    folder_prune(work->models_fd, path);
    mem_free(path);
}

static void delete_manifest(StoreWork *work, const char *relative) {
    char *path = path_join(relative, MANIFEST_NAME);
    int folder;
    const char *name;
    if (path != NULL && folder_open_parent(work->models_fd, path, false, &folder, &name, NULL) == OK) {
        unlinkat(folder, name, 0);
        close(folder);
        folder_prune(work->models_fd, path);
    }
    mem_free(path);
}

/* A root may serve two names: a branch and a tag of the same commit. */
static bool root_shared(const StoreList *list, const StoreModel *model) {
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].id != model->id && list->items[i].state != MODEL_REMOVING &&
            strcmp(list->items[i].root, model->root) == 0)
            return true;
    return false;
}

static bool identity_wanted(const StoreList *list, const StoreModel *model, const char *identity) {
    for (size_t i = 0; i < list->count; i++) {
        const StoreModel *other = &list->items[i];
        for (size_t j = 0; other->id != model->id && other->state == MODEL_PULLING && j < other->n_file; j++)
            if (strcmp(other->files[j].identity, identity) == 0)
                return true;
    }
    return false;
}

static void delete_partials(StoreWork *work, const StoreList *list, const StoreModel *model, Removal *removal,
                            Text *report) {
    for (size_t i = 0; i < model->n_file; i++) {
        const ModelFile *f = &model->files[i];
        uint64_t freed = 0;
        Error own = {0};
        if (f->present || *f->identity == '\0' || identity_wanted(list, model, f->identity))
            continue;
        if (partial_discard(work->partial_fd, f->identity, &freed, &own) != OK)
            tell(report, "left what was fetched of %s: %s", f->path, own.text);
        removal->bytes += freed;
    }
}

static void delete_files(StoreWork *work, const StoreList *list, const StoreModel *model, Text *report) {
    const char *relative = store_work_relative(work, model);
    Removal removal = {0};
    if (!model->owned || relative == NULL) {
        tell(report, "%s is forgotten; its files stay where they lie: %s", model->name, model->root);
        return;
    }
    if (root_shared(list, model)) {
        tell(report, "%s is forgotten; its files stay, another name uses them: %s", model->name, model->root);
        return;
    }
    delete_manifest(work, relative);
    for (size_t i = 0; i < model->n_file; i++)
        delete_file(work, relative, &model->files[i], &removal, report);
    delete_partials(work, list, model, &removal, report);
    char size[16];
    tell(report, "%s is removed: %zu file%s deleted, %s freed", model->name, removal.deleted,
         removal.deleted == 1 ? "" : "s", format_bytes(removal.bytes, size));
    if (removal.kept == 0 && file_is_directory(model->root))
        tell(report, "%s stays: there are files in it that houle did not put there", model->root);
}

/* The row says what is to be done until all is done, so that a crash in between is made good later. */
Status store_work_remove(StoreWork *work, const StoreModel *model, Text *report, Error *err) {
    TRY(store_index_mark_removing(work->index, model->id, err));
    StoreList all;
    store_list_init(&all);
    Status status = store_index_read(work->index, work->models, &all, err);
    if (status == OK)
        delete_files(work, &all, model, report);
    store_list_free(&all);
    return status == OK ? store_index_forget(work->index, model->id, err) : status;
}

Status store_work_finish(StoreWork *work, Text *report, Error *err) {
    StoreList list;
    store_list_init(&list);
    Status status = store_index_read(work->index, work->models, &list, err);
    for (size_t i = 0; i < list.count && status == OK; i++) {
        if (list.items[i].state != MODEL_REMOVING)
            continue;
        delete_files(work, &list, &list.items[i], report);
        status = store_index_forget(work->index, list.items[i].id, err);
    }
    store_list_free(&list);
    return status;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

Status store_work_open(StoreWork *work, Error *err) {
    *work = (StoreWork){.models_fd = -1, .partial_fd = -1};
    Status status = store_folders(&work->folder, &work->models, err);
    if (status == OK)
        status = store_index_open(work->folder, true, &work->index, err);
    if (status == OK)
        status = folder_open(work->models, true, &work->models_fd, err);
    if (status == OK)
        status = folder_open_below(work->models_fd, ".partial", true, &work->partial_fd, err);
    if (status == OK)
        status = store_work_finish(work, NULL, err);
    if (status != OK)
        store_work_close(work);
    return status;
}

void store_work_close(StoreWork *work) {
    store_index_close(work->index);
    if (work->models_fd >= 0)
        close(work->models_fd);
    if (work->partial_fd >= 0)
        close(work->partial_fd);
    mem_free(work->folder);
    mem_free(work->models);
    *work = (StoreWork){.models_fd = -1, .partial_fd = -1};
}

/* A process that ends removes its lock's file: a lock on a removed file keeps nobody out, so look again. */
static Status take_lock(StoreWork *work, const char *name, StoreLock *lock, Error *err) {
    for (int tries = 0; tries < 100; tries++) {
        struct stat mine, there;
        TRY(folder_open_file(work->partial_fd, lock->file, O_RDWR | O_CREAT, &lock->fd, err));
        const bool locked = flock(lock->fd, LOCK_EX | LOCK_NB) == 0;
        if (locked && fstat(lock->fd, &mine) == 0 && folder_stat(work->partial_fd, lock->file, &there) &&
            mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
            return OK;
        close(lock->fd);
        lock->fd = -1;
        if (!locked)
            break;
    }
    return error_set(err, ERR_BUSY, "%s: another houle is at it now; let it finish", name);
}

Status store_work_lock(StoreWork *work, const char *name, StoreLock *lock, Error *err) {
    lock->fd = -1;
    Text identity = {0};
    char digits[PARTIAL_NAME_BYTES];
    text_append_str(&identity, "name:");
    for (const char *c = name; *c != '\0'; c++) /* names are told apart without regard to case */
        text_append_char(&identity, (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c));
    Status status = text_check(&identity, err);
    if (status == OK)
        status = partial_name(identity.bytes, digits, err);
    text_free(&identity);
    TRY(status);
    snprintf(lock->file, sizeof lock->file, "%s.lock", digits);
    return take_lock(work, name, lock, err);
}

void store_work_unlock(StoreWork *work, StoreLock *lock) {
    if (lock->fd < 0)
        return;
    unlinkat(work->partial_fd, lock->file, 0);
    close(lock->fd);
    lock->fd = -1;
}

Status store_work_list(StoreWork *work, StoreList *list, Error *err) {
    TRY(store_index_read(work->index, work->models, list, err));
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].state != MODEL_REMOVING)
            list->items[n++] = list->items[i];
    list->count = n;
    return OK;
}

/* ---- small files ------------------------------------------------------------------------------------------------- */

typedef struct SmallFile { const char *name, *content; size_t bytes; } SmallFile;

static Status fill_small(void *user, int fd, Error *err) {
    const SmallFile *f = user;
    TRY(file_write_all(fd, f->content, f->bytes, f->name, err));
    FAIL_IF(fsync(fd) != 0, ERR_IO, "%s: cannot be written: %s", f->name, strerror(errno));
    return OK;
}

Status store_work_write(StoreWork *work, const char *relative, const char *content, size_t bytes, Error *err) {
    SmallFile file = {.name = path_name(relative), .content = content, .bytes = bytes};
    return folder_write_atomic(work->models_fd, relative, fill_small, &file, err);
}
