/* hash_files.c - see hash_files.h. One file is one thread's work, the largest first: a checksum cannot be cut up. */
#include "store/hash_files.h"

#include "base/compiler.h"
#include "base/mem.h"
#include "base/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20 };

typedef struct Hashing {
    HashTask **order;
    size_t count;
    atomic_size_t next;
    atomic_bool stop;
    pthread_mutex_t lock; /* guards done and err, and lets one thread at a time report */
    uint64_t done, total;
    const Progress *progress;
    const char *what;
    Error err;
} Hashing;

static int larger_first(const void *a, const void *b) {
    const HashTask *x = *(HashTask *const *)a, *y = *(HashTask *const *)b;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

static void fail_task(HashTask *task, Status status, const char *why) {
    task->status = status;
    snprintf(task->why, sizeof task->why, "%.150s", why);
}

static bool report(Hashing *h, uint64_t more) {
    pthread_mutex_lock(&h->lock);
    h->done += more;
    if (!progress_report(h->progress, h->what, MIN(h->done, h->total), h->total) && !atomic_exchange(&h->stop, true))
        error_set(&h->err, ERR_CANCELLED, "stopped");
    pthread_mutex_unlock(&h->lock);
    return !atomic_load(&h->stop);
}

static Status read_all(Hashing *h, HashTask *task, int fd, uint8_t *buffer, Digest *sha256, Digest *sha1, Error *err) {
    struct stat st;
    FAIL_IF(fstat(fd, &st) != 0 || !S_ISREG(st.st_mode), ERR_IO, "not a regular file");
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    TRY(digest_begin(sha256, DIGEST_SHA256, err));
    if (task->git) {
        TRY(digest_begin(sha1, DIGEST_SHA1, err));
        char lead[40];
        const int n = snprintf(lead, sizeof lead, "blob %llu", (unsigned long long)st.st_size);
        digest_add(sha1, lead, (size_t)n + 1);
    }
    for (;;) {
        const ssize_t got = read(fd, buffer, READ_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        FAIL_IF(got < 0, ERR_IO, "%s", strerror(errno));
        if (got == 0)
            break;
        digest_add(sha256, buffer, (size_t)got);
        digest_add(sha1, buffer, (size_t)got);
        task->found_bytes += (uint64_t)got;
        FAIL_IF(!report(h, (uint64_t)got), ERR_CANCELLED, "stopped");
    }
    if (task->git)
        TRY(digest_end(sha1, task->git_sha1, err));
    return digest_end(sha256, task->sha256, err);
}

static void hash_one(Hashing *h, HashTask *task, uint8_t *buffer) {
    const int fd = open(task->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        fail_task(task, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, strerror(errno));
        return;
    }
    Digest sha256 = {0}, sha1 = {0};
    Error err = {0};
    const Status status = read_all(h, task, fd, buffer, &sha256, &sha1, &err);
    digest_drop(&sha256);
    digest_drop(&sha1);
    close(fd);
    if (status != OK)
        fail_task(task, status, err.text);
}

static void work(void *arg, int thread, int n_thread) {
    (void)thread, (void)n_thread;
    Hashing *h = arg;
    uint8_t *buffer = mem_alloc(READ_BYTES, MEM_MISC);
    if (buffer == NULL) {
        pthread_mutex_lock(&h->lock);
        error_set(&h->err, ERR_MEMORY, "no memory to read files");
        pthread_mutex_unlock(&h->lock);
        atomic_store(&h->stop, true);
        return;
    }
    for (size_t i; !atomic_load(&h->stop) && (i = atomic_fetch_add(&h->next, 1)) < h->count;)
        hash_one(h, h->order[i], buffer);
    mem_free(buffer);
}

Status hash_files(HashTask *tasks, size_t count, const Progress *progress, const char *what, Error *err) {
    Hashing h = {.count = count, .progress = progress, .what = what};
    h.order = mem_array(count, sizeof *h.order, MEM_MISC);
    FAIL_IF(h.order == NULL, ERR_MEMORY, "no memory for a list of %zu files", count);
    for (size_t i = 0; i < count; i++) {
        HashTask *t = h.order[i] = &tasks[i];
        t->status = OK;
        t->found_bytes = 0;
        t->sha256[0] = t->git_sha1[0] = t->why[0] = '\0';
        h.total += t->bytes;
    }
    qsort(h.order, count, sizeof *h.order, larger_first);
    pthread_mutex_init(&h.lock, NULL);
    Pool *pool = NULL;
    Status status = pool_open((int)MAX(1, MIN(count, (size_t)pool_default_threads())), &pool, err);
    if (status == OK)
        pool_run(pool, work, &h);
    pool_close(pool);
    pthread_mutex_destroy(&h.lock);
    mem_free(h.order);
    return status == OK && h.err.status != OK ? error_set(err, h.err.status, "%s", h.err.text) : status;
}
