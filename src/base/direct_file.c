/* direct_file.c - see direct_file.h. */
#include "base/direct_file.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct DirectFile {
    int descriptor;
    atomic_bool direct; /* false: through the page cache, from which the pages are dropped */
    char *path;
};

Status direct_file_open(const char *path, DirectFile **out, Error *err) {
    *out = NULL;
    bool direct = true;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd < 0 && errno == EINVAL) {
        direct = false;
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    FAIL_IF(fd < 0, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    DirectFile *file = mem_zalloc(sizeof *file, MEM_FORMAT);
    char *name = mem_strdup(path, MEM_FORMAT);
    if (file == NULL || name == NULL) {
        close(fd);
        mem_free(file);
        mem_free(name);
        return error_set(err, ERR_MEMORY, "%s: no memory to open it", path);
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    file->descriptor = fd;
    file->path = name;
    atomic_init(&file->direct, direct);
    *out = file;
    return OK;
}

void direct_file_close(DirectFile *file) {
    if (file == NULL)
        return;
    close(file->descriptor);
    mem_free(file->path);
    mem_free(file);
}

size_t direct_file_room(size_t bytes) {
    return (bytes + 2 * DIRECT_BLOCK - 2) / DIRECT_BLOCK * DIRECT_BLOCK;
}

/* Some file systems open a file for direct transfers and refuse them. All readers come here in their own time. */
static void leave_direct(DirectFile *file) {
    const int flags = fcntl(file->descriptor, F_GETFL);
    if (flags >= 0)
        fcntl(file->descriptor, F_SETFL, flags & ~O_DIRECT);
    atomic_store(&file->direct, false);
}

Status direct_file_read(DirectFile *file, uint64_t offset, size_t bytes, uint8_t *buffer, const uint8_t **result, Error *err) {
    assert((uintptr_t)buffer % DIRECT_BLOCK == 0);
    const size_t lead = (size_t)(offset % DIRECT_BLOCK), wanted = lead + bytes;
    const size_t whole = (wanted + DIRECT_BLOCK - 1) / DIRECT_BLOCK * DIRECT_BLOCK;
    const off_t begin = (off_t)(offset - lead);
    size_t done = 0;
    while (done < wanted) {
        /* After a part of a block (the end of the file, a signal) a direct read would be refused: the block again. */
        done -= done % DIRECT_BLOCK;
        /* Asked before the read: a refusal that was under way while another reader left the direct transfers counts. */
        const bool direct = atomic_load(&file->direct);
        const ssize_t got = pread(file->descriptor, buffer + done, whole - done, begin + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EINVAL && direct) {
            leave_direct(file);
            continue;
        }
        FAIL_IF(got < 0, ERR_IO, "%s: cannot be read: %s", file->path, strerror(errno));
        FAIL_IF(got == 0 || (done + (size_t)got < wanted && got < DIRECT_BLOCK), ERR_IO,
                "%s: ends before byte %llu: it was cut short while it was in use", file->path,
                (unsigned long long)(offset + bytes));
        done += (size_t)got;
    }
    if (!atomic_load_explicit(&file->direct, memory_order_relaxed))
        posix_fadvise(file->descriptor, begin, (off_t)whole, POSIX_FADV_DONTNEED);
    *result = buffer + lead;
    return OK;
}
