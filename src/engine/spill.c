/* spill.c - see spill.h.
 *
 *     file:  "houleKV1"  payload bytes (8)  SHA-256 of the payload (32)  payload
 */
#include "engine/spill.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 48, WAITING_MAX = 256 << 20, NAME_DIGITS = 2 * SPILL_KEY_BYTES };
static const char magic[8] = {'h', 'o', 'u', 'l', 'e', 'K', 'V', '1'};

typedef struct Piece {
    uint8_t key[SPILL_KEY_BYTES];
    uint64_t bytes, used; /* on disk; when last */
} Piece;

typedef struct Job {
    struct Job *next;
    uint8_t key[SPILL_KEY_BYTES];
    uint8_t *bytes;
    size_t count;
} Job;

struct Spill {
    char *folder;
    uint64_t budget;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    pthread_t writer;
    bool running, closing, busy;
    Piece *pieces; /* sorted by key */
    size_t n_piece, capacity;
    Job *first, *last;
    size_t waiting;
    uint64_t now; /* grows with every use */
    SpillStats stats;
};

/* ---- the index (under the lock) ------------------------------------------------------------------------------------------ */

static size_t place_of(const Spill *s, const uint8_t *key, bool *found) {
    size_t low = 0, high = s->n_piece;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const int order = memcmp(s->pieces[middle].key, key, SPILL_KEY_BYTES);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = false;
    return low;
}

static void add_piece(Spill *s, const uint8_t *key, uint64_t bytes, uint64_t used) {
    bool found;
    const size_t at = place_of(s, key, &found);
    if (found || !mem_grow((void **)&s->pieces, &s->capacity, s->n_piece + 1, sizeof *s->pieces, MEM_CACHE))
        return; /* without memory the file stays unknown until the next start */
    memmove(s->pieces + at + 1, s->pieces + at, (s->n_piece - at) * sizeof *s->pieces);
    s->pieces[at] = (Piece){.bytes = bytes, .used = used};
    memcpy(s->pieces[at].key, key, SPILL_KEY_BYTES);
    s->n_piece++;
    s->stats.bytes += bytes;
}

static void remove_piece(Spill *s, size_t at) {
    s->stats.bytes -= s->pieces[at].bytes;
    memmove(s->pieces + at, s->pieces + at + 1, (s->n_piece - at - 1) * sizeof *s->pieces);
    s->n_piece--;
}

static char *path_of(const Spill *s, const uint8_t *key) {
    char name[NAME_DIGITS + 4];
    digest_hex(key, SPILL_KEY_BYTES, name);
    strcpy(name + NAME_DIGITS, ".kv");
    return path_join(s->folder, name);
}

static void keep_budget(Spill *s) {
    while (s->stats.bytes > s->budget && s->n_piece > 0) {
        size_t oldest = 0;
        for (size_t i = 1; i < s->n_piece; i++)
            if (s->pieces[i].used < s->pieces[oldest].used)
                oldest = i;
        char *path = path_of(s, s->pieces[oldest].key);
        if (path != NULL)
            unlink(path);
        mem_free(path);
        remove_piece(s, oldest);
    }
}

/* ---- the writer ------------------------------------------------------------------------------------------------------------ */

static bool checksum(const uint8_t *bytes, size_t count, uint8_t sum[DIGEST_BYTES]) {
    Digest digest = {0};
    if (digest_begin(&digest, DIGEST_SHA256, NULL) != OK)
        return false;
    digest_add(&digest, bytes, count);
    return digest_end_bytes(&digest, sum, NULL) == OK;
}

static bool write_piece(const Spill *s, const Job *job) {
    uint8_t head[HEAD_BYTES];
    memcpy(head, magic, sizeof magic);
    store_u64(head + 8, job->count);
    char *path = path_of(s, job->key), *temporary = path_join(s->folder, "writing.XXXXXX");
    bool done = false;
    if (path != NULL && temporary != NULL && checksum(job->bytes, job->count, head + 16)) {
        const int fd = mkostemp(temporary, O_CLOEXEC);
        if (fd >= 0) {
            done = file_write_all(fd, head, sizeof head, temporary, NULL) == OK &&
                   file_write_all(fd, job->bytes, job->count, temporary, NULL) == OK;
            done = close(fd) == 0 && done && rename(temporary, path) == 0;
            if (!done)
                unlink(temporary); /* a full disk costs the piece, nothing else */
        }
    }
    mem_free(path);
    mem_free(temporary);
    return done;
}

static void *write_pieces(void *arg) {
    Spill *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->first == NULL && !s->closing)
            pthread_cond_wait(&s->wake, &s->lock);
        if (s->first == NULL)
            break;
        Job *job = s->first;
        s->first = job->next;
        if (s->first == NULL)
            s->last = NULL;
        s->busy = true;
        pthread_mutex_unlock(&s->lock);
        const bool done = write_piece(s, job);
        pthread_mutex_lock(&s->lock);
        s->waiting -= job->count;
        s->busy = false;
        if (done) {
            add_piece(s, job->key, job->count + HEAD_BYTES, ++s->now);
            s->stats.written++;
            keep_budget(s);
        } else {
            s->stats.dropped++;
        }
        mem_free(job->bytes);
        mem_free(job);
        if (s->first == NULL)
            pthread_cond_broadcast(&s->idle);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- what callers see -------------------------------------------------------------------------------------------------------- */

static int by_used(const void *a, const void *b) {
    const Piece *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used;
}

static int by_key(const void *a, const void *b) {
    return memcmp(((const Piece *)a)->key, ((const Piece *)b)->key, SPILL_KEY_BYTES);
}

/* What earlier runs left: whole pieces are taken over, half written ones removed. */
static Status scan(Spill *s, Error *err) {
    DIR *dir = opendir(s->folder);
    FAIL_IF(dir == NULL, ERR_IO, "%s: cannot be read: %s", s->folder, strerror(errno));
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct stat st;
        uint8_t key[SPILL_KEY_BYTES];
        char digits[NAME_DIGITS + 1];
        char *path = path_join(s->folder, entry->d_name);
        const bool there = path != NULL && stat(path, &st) == 0 && S_ISREG(st.st_mode);
        const size_t length = strlen(entry->d_name);
        if (there && strncmp(entry->d_name, "writing.", 8) == 0 && st.st_mtime < time(NULL) - 60)
            unlink(path);
        if (there && length == NAME_DIGITS + 3 && strcmp(entry->d_name + NAME_DIGITS, ".kv") == 0) {
            memcpy(digits, entry->d_name, NAME_DIGITS);
            digits[NAME_DIGITS] = '\0';
            /* Appended in any order, sorted below. */
            if (digest_unhex(digits, key, SPILL_KEY_BYTES) &&
                mem_grow((void **)&s->pieces, &s->capacity, s->n_piece + 1, sizeof *s->pieces, MEM_CACHE)) {
                s->pieces[s->n_piece] = (Piece){.bytes = (uint64_t)st.st_size, .used = (uint64_t)st.st_mtime};
                memcpy(s->pieces[s->n_piece++].key, key, SPILL_KEY_BYTES);
                s->stats.bytes += (uint64_t)st.st_size;
            }
        }
        mem_free(path);
    }
    closedir(dir);
    if (s->n_piece > 0)
        qsort(s->pieces, s->n_piece, sizeof *s->pieces, by_used);
    for (size_t i = 0; i < s->n_piece; i++)
        s->pieces[i].used = ++s->now;
    if (s->n_piece > 0)
        qsort(s->pieces, s->n_piece, sizeof *s->pieces, by_key);
    keep_budget(s);
    return OK;
}

Status spill_open(const char *folder, uint64_t budget_bytes, Spill **out, Error *err) {
    *out = NULL;
    TRY(file_make_directories(folder, err));
    Spill *s = mem_zalloc(sizeof *s, MEM_CACHE);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for the cache on disk");
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->idle, NULL);
    s->budget = budget_bytes;
    s->folder = mem_strdup(folder, MEM_CACHE);
    Status status = s->folder == NULL ? error_set(err, ERR_MEMORY, "no memory for the cache on disk") : scan(s, err);
    if (status == OK) {
        s->running = pthread_create(&s->writer, NULL, write_pieces, s) == 0;
        if (!s->running)
            status = error_set(err, ERR_MEMORY, "the thread that writes the cache could not be started");
    }
    if (status != OK) {
        spill_close(s);
        return status;
    }
    *out = s;
    return OK;
}

void spill_close(Spill *s) {
    if (s == NULL)
        return;
    if (s->running) {
        pthread_mutex_lock(&s->lock);
        s->closing = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->writer, NULL);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->idle);
    mem_free(s->pieces);
    mem_free(s->folder);
    mem_free(s);
}

static bool is_waiting(const Spill *s, const uint8_t *key) {
    for (const Job *job = s->first; job != NULL; job = job->next)
        if (memcmp(job->key, key, SPILL_KEY_BYTES) == 0)
            return true;
    return false;
}

bool spill_has(Spill *s, const uint8_t key[SPILL_KEY_BYTES]) {
    bool found;
    pthread_mutex_lock(&s->lock);
    place_of(s, key, &found);
    pthread_mutex_unlock(&s->lock);
    return found;
}

void spill_put(Spill *s, const uint8_t key[SPILL_KEY_BYTES], uint8_t *bytes, size_t count) {
    bool found;
    pthread_mutex_lock(&s->lock);
    place_of(s, key, &found);
    const bool wanted = !found && !is_waiting(s, key) && s->waiting + count <= WAITING_MAX && count + HEAD_BYTES <= s->budget;
    Job *job = wanted ? mem_zalloc(sizeof *job, MEM_CACHE) : NULL;
    if (job != NULL) {
        memcpy(job->key, key, SPILL_KEY_BYTES);
        job->bytes = bytes;
        job->count = count;
        if (s->last != NULL)
            s->last->next = job;
        else
            s->first = job;
        s->last = job;
        s->waiting += count;
        pthread_cond_signal(&s->wake);
    } else {
        s->stats.dropped += !found;
        mem_free(bytes);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Reads a file whose head says what it must be. */
static Status read_piece(const char *path, uint8_t **bytes, size_t *count, Error *err) {
    char *content;
    size_t size;
    TRY(file_read(path, (size_t)1 << 34, &content, &size, err));
    uint8_t sum[DIGEST_BYTES];
    const uint8_t *head = (const uint8_t *)content;
    const bool good = size >= HEAD_BYTES && memcmp(head, magic, sizeof magic) == 0 && load_u64(head + 8) == size - HEAD_BYTES &&
                      checksum(head + HEAD_BYTES, size - HEAD_BYTES, sum) && memcmp(sum, head + 16, sizeof sum) == 0;
    if (!good) {
        mem_free(content);
        return error_set(err, ERR_FORMAT, "%s: not a whole piece of a cache", path);
    }
    memmove(content, content + HEAD_BYTES, size - HEAD_BYTES);
    *bytes = (uint8_t *)content;
    *count = size - HEAD_BYTES;
    return OK;
}

Status spill_get(Spill *s, const uint8_t key[SPILL_KEY_BYTES], uint8_t **bytes, size_t *count, Error *err) {
    *bytes = NULL;
    bool found;
    pthread_mutex_lock(&s->lock);
    const size_t at = place_of(s, key, &found);
    if (found)
        s->pieces[at].used = ++s->now;
    pthread_mutex_unlock(&s->lock);
    FAIL_IF(!found, ERR_NOT_FOUND, "not in the cache on disk");
    char *path = path_of(s, key);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory to read the cache");
    Error why = {0};
    const Status status = read_piece(path, bytes, count, &why);
    if (status == OK)
        utimensat(AT_FDCWD, path, NULL, 0); /* the order of use survives a restart */
    else if (status == ERR_FORMAT)
        unlink(path);
    mem_free(path);
    pthread_mutex_lock(&s->lock);
    if (status == OK) {
        s->stats.read++;
    } else {
        s->stats.refused++;
        const size_t now_at = place_of(s, key, &found);
        if (found)
            remove_piece(s, now_at);
    }
    pthread_mutex_unlock(&s->lock);
    FAIL_IF(status != OK, ERR_NOT_FOUND, "%s", why.text);
    return OK;
}

void spill_flush(Spill *s) {
    pthread_mutex_lock(&s->lock);
    while (s->first != NULL || s->busy)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

SpillStats spill_stats(Spill *s) {
    pthread_mutex_lock(&s->lock);
    SpillStats stats = s->stats;
    stats.pieces = s->n_piece;
    pthread_mutex_unlock(&s->lock);
    return stats;
}
