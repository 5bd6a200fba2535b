/* file_writer.c - see file_writer.h; also the whole-file forms, file_write_atomic and file_write_private (file.h). */
#include "base/file_writer.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct FileWriter {
    char *path;
    char *temporary; /* NULL: written directly */
    int descriptor;
    mode_t mode;
};

static void free_writer(FileWriter *writer) {
    mem_free(writer->path);
    mem_free(writer->temporary);
    mem_free(writer);
}

static bool is_special(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

/* "path.XXXXXX", for mkostemp. */
static char *temporary_name(const char *path) {
    const size_t length = strlen(path);
    char *name = mem_alloc(length + 8, MEM_FORMAT);
    if (name != NULL) {
        memcpy(name, path, length);
        memcpy(name + length, ".XXXXXX", 8);
    }
    return name;
}

Status file_writer_open(const char *path, FileWriter **out, Error *err) {
    *out = NULL;
    const bool special = is_special(path);
    FileWriter *writer = mem_zalloc(sizeof *writer, MEM_FORMAT);
    if (writer != NULL) {
        writer->path = mem_strdup(path, MEM_FORMAT);
        writer->temporary = special ? NULL : temporary_name(path);
    }
    if (writer == NULL || writer->path == NULL || (!special && writer->temporary == NULL)) {
        if (writer != NULL)
            free_writer(writer);
        return error_set(err, ERR_MEMORY, "%s: no memory to write it", path);
    }
    writer->descriptor = special ? open(path, O_WRONLY | O_CLOEXEC) : mkostemp(writer->temporary, O_CLOEXEC);
    if (writer->descriptor < 0) {
        const int why = errno;
        free_writer(writer);
        return error_set(err, ERR_IO, "%s: cannot be written: %s", path, strerror(why));
    }
    writer->mode = 0644;
    *out = writer;
    return OK;
}

Status file_write_all(int fd, const void *bytes, size_t count, const char *name, Error *err) {
    const char *at = bytes;
    while (count > 0) {
        const ssize_t put = write(fd, at, count);
        if (put < 0 && errno == EINTR)
            continue;
        FAIL_IF(put <= 0, ERR_IO, "%s: cannot be written: %s", name, strerror(put < 0 ? errno : ENOSPC));
        at += put;
        count -= (size_t)put;
    }
    return OK;
}

Status file_writer_write(FileWriter *writer, const void *bytes, size_t count, Error *err) {
    return file_write_all(writer->descriptor, bytes, count, writer->path, err);
}

Status file_writer_commit(FileWriter *writer, Error *err) {
    const bool special = writer->temporary == NULL;
    bool done = special || (fchmod(writer->descriptor, writer->mode) == 0 && fsync(writer->descriptor) == 0);
    int why = errno;
    if (close(writer->descriptor) != 0 && done) {
        done = false;
        why = errno;
    }
    if (done && !special && rename(writer->temporary, writer->path) != 0) {
        done = false;
        why = errno;
    }
    if (!done && !special)
        unlink(writer->temporary);
    const Status status = done ? OK : error_set(err, ERR_IO, "%s: cannot be written: %s", writer->path, strerror(why));
    free_writer(writer);
    return status;
}

void file_writer_cancel(FileWriter *writer) {
    if (writer == NULL)
        return;
    close(writer->descriptor);
    if (writer->temporary != NULL)
        unlink(writer->temporary);
    free_writer(writer);
}

static Status write_whole(const char *path, mode_t mode, const void *content, size_t bytes, Error *err) {
    FileWriter *writer;
    TRY(file_writer_open(path, &writer, err));
    writer->mode = mode;
    const Status status = file_writer_write(writer, content, bytes, err);
    if (status != OK) {
        file_writer_cancel(writer);
        return status;
    }
    return file_writer_commit(writer, err);
}

Status file_write_atomic(const char *path, const void *content, size_t bytes, Error *err) {
    return write_whole(path, 0644, content, bytes, err);
}

Status file_write_private(const char *path, const void *content, size_t bytes, Error *err) {
    return write_whole(path, 0600, content, bytes, err);
}
