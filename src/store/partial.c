/* partial.c - see partial.h.
 *
 * The order on disk: the data's bytes, then (partial_sync) fdatasync of the data, then the DURABLE record, then
 * fdatasync of the map. A chunk's own record is written without waiting for the disk: see chunk_map.h for why. */
#include "store/partial.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { FILE_NAME_BYTES = PARTIAL_NAME_BYTES + 8, READ_BYTES = 1 << 20, LOG_LIMIT_BYTES = 256 << 20 };

struct Partial {
    pthread_mutex_t lock; /* guards map and the end of the log */
    ChunkMap map;
    uint64_t log_bytes;
    int folder; /* the caller's */
    int data_fd, map_fd;
    bool published;
    bool folder_synced;
    uint8_t identity[CHUNK_HASH_BYTES];
    uint8_t boot[CHUNK_BOOT_BYTES];
    char data_name[FILE_NAME_BYTES], map_name[FILE_NAME_BYTES];
};

/* ---- names ------------------------------------------------------------------------------------------------------- */

static Status identity_hash(const char *identity, uint8_t hash[CHUNK_HASH_BYTES], Error *err) {
    Digest digest;
    TRY(digest_begin(&digest, DIGEST_SHA256, err));
    digest_add(&digest, identity, strlen(identity));
    return digest_end_bytes(&digest, hash, err);
}

Status partial_name(const char *identity, char name[PARTIAL_NAME_BYTES], Error *err) {
    uint8_t hash[DIGEST_BYTES];
    TRY(identity_hash(identity, hash, err));
    digest_hex(hash, (PARTIAL_NAME_BYTES - 1) / 2, name);
    return OK;
}

static void file_names(const char *name, char data[FILE_NAME_BYTES], char map[FILE_NAME_BYTES]) {
    snprintf(data, FILE_NAME_BYTES, "%s.data", name);
    snprintf(map, FILE_NAME_BYTES, "%s.map", name);
}

/* The kernel's name for the time since the machine was started; zeros when it does not tell. */
static void read_boot(uint8_t boot[CHUNK_BOOT_BYTES]) {
    memset(boot, 0, CHUNK_BOOT_BYTES);
    char text[64] = {0};
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    const ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    char hex[2 * CHUNK_BOOT_BYTES + 1] = {0};
    size_t n = 0;
    for (ssize_t i = 0; i < got && n < sizeof hex - 1; i++)
        if (text[i] != '-' && text[i] != '\n')
            hex[n++] = text[i];
    if (!digest_unhex(hex, boot, CHUNK_BOOT_BYTES))
        memset(boot, 0, CHUNK_BOOT_BYTES);
}

/* ---- small I/O --------------------------------------------------------------------------------------------------- */

static Status complain_of_write(const char *name, int why, Error *err) {
    FAIL_IF(why == ENOSPC || why == EDQUOT, ERR_IO,
            "the disk is full; what was fetched stays, make room and run the same command again");
    FAIL_IF(why == EFBIG, ERR_IO,
            "the file system, or the limit that 'ulimit -f' shows, does not allow so large a file");
    return error_set(err, ERR_IO, "%s: cannot be written: %s", name, strerror(why));
}

static Status write_at(int fd, const char *name, uint64_t offset, const void *bytes, size_t count, Error *err) {
    const char *from = bytes;
    while (count > 0) {
        const ssize_t put = pwrite(fd, from, count, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return complain_of_write(name, put < 0 ? errno : ENOSPC, err);
        from += put;
        offset += (uint64_t)put;
        count -= (size_t)put;
    }
    return OK;
}

static Status read_at(int fd, const char *name, uint64_t offset, void *bytes, size_t count, Error *err) {
    char *to = bytes;
    while (count > 0) {
        const ssize_t got = pread(fd, to, count, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        FAIL_IF(got < 0, ERR_IO, "%s: cannot be read: %s", name, strerror(errno));
        FAIL_IF(got == 0, ERR_IO, "%s: is shorter than it should be", name);
        to += got;
        offset += (uint64_t)got;
        count -= (size_t)got;
    }
    return OK;
}

/* The caller holds the lock, or is alone. */
static Status append_record(Partial *p, const uint8_t record[CHUNK_RECORD_BYTES], Error *err) {
    TRY(write_at(p->map_fd, p->map_name, p->log_bytes, record, CHUNK_RECORD_BYTES, err));
    p->log_bytes += CHUNK_RECORD_BYTES;
    p->map.n_record++;
    return OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Opens the map and takes its lock. A process that finishes removes its map: a lock on a removed file is worth nothing,
 * so look again. */
static Status lock_map(Partial *p, Error *err) {
    for (int tries = 0; tries < 100; tries++) {
        TRY(folder_open_file(p->folder, p->map_name, O_RDWR | O_CREAT, &p->map_fd, err));
        FAIL_IF(flock(p->map_fd, LOCK_EX | LOCK_NB) != 0, ERR_BUSY,
                "another houle is downloading the same file now; let it finish");
        struct stat mine, there;
        if (fstat(p->map_fd, &mine) == 0 && folder_stat(p->folder, p->map_name, &there) &&
            mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
            return OK;
        close(p->map_fd);
        p->map_fd = -1;
    }
    return error_set(err, ERR_BUSY, "another houle is downloading the same file now; let it finish");
}

static Status read_log(Partial *p, uint8_t **log, size_t *bytes, Error *err) {
    struct stat st;
    FAIL_IF(fstat(p->map_fd, &st) != 0, ERR_IO, "%s: cannot be read: %s", p->map_name, strerror(errno));
    *bytes = st.st_size > LOG_LIMIT_BYTES ? 0 : (size_t)st.st_size; /* absurd: begin anew */
    *log = mem_alloc(*bytes + 1, MEM_NETWORK);
    FAIL_IF(*log == NULL, ERR_MEMORY, "no memory for the map of a download");
    return read_at(p->map_fd, p->map_name, 0, *log, *bytes, err);
}

static Status reserve(Partial *p, Error *err) {
    if (p->map.file_bytes == 0)
        return OK;
    int result;
    do
        result = fallocate(p->data_fd, 0, 0, (off_t)p->map.file_bytes);
    while (result != 0 && errno == EINTR);
    if (result == 0)
        return OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return complain_of_write(p->data_name, errno, err);
    if (ftruncate(p->data_fd, (off_t)p->map.file_bytes) != 0)
        return complain_of_write(p->data_name, errno, err);
    return OK;
}

/* A new log; the data file is given its size. */
static Status begin_anew(Partial *p, Error *err) {
    chunk_map_clear(&p->map);
    p->map.n_record = 0;
    FAIL_IF(ftruncate(p->map_fd, 0) != 0 || ftruncate(p->data_fd, 0) != 0, ERR_IO, "%s: cannot be emptied: %s",
            p->map_name, strerror(errno));
    uint8_t header[CHUNK_HEADER_BYTES];
    chunk_write_header(&p->map, p->identity, header);
    TRY(write_at(p->map_fd, p->map_name, 0, header, sizeof header, err));
    p->log_bytes = sizeof header;
    return reserve(p, err);
}

static Status hash_chunk(Partial *p, size_t chunk, uint8_t *buffer, uint8_t hash[DIGEST_BYTES], Error *err) {
    Digest digest;
    TRY(digest_begin(&digest, DIGEST_SHA256, err));
    uint64_t at = chunk_start(&p->map, chunk), left = chunk_length(&p->map, chunk);
    while (left > 0) {
        const size_t count = (size_t)MIN(left, (uint64_t)READ_BYTES);
        const Status status = read_at(p->data_fd, p->data_name, at, buffer, count, err);
        if (status != OK) {
            digest_drop(&digest);
            return status;
        }
        digest_add(&digest, buffer, count);
        at += count;
        left -= count;
    }
    return digest_end_bytes(&digest, hash, err);
}

/* Reads the chunks in one of the two states again; those whose bytes are not what was recorded become missing. */
static Status check_chunks(Partial *p, ChunkState which, size_t *checked, size_t *altered, Error *err) {
    *checked = *altered = 0;
    uint8_t *buffer = mem_alloc(READ_BYTES, MEM_NETWORK);
    FAIL_IF(buffer == NULL, ERR_MEMORY, "no memory to check a download");
    Status status = OK;
    for (size_t i = 0; i < p->map.n_chunk && status == OK; i++) {
        if (p->map.states[i] != which)
            continue;
        uint8_t hash[DIGEST_BYTES], record[CHUNK_RECORD_BYTES];
        status = hash_chunk(p, i, buffer, hash, err);
        if (status != OK)
            break;
        (*checked)++;
        if (memcmp(hash, chunk_hash(&p->map, i), CHUNK_HASH_BYTES) == 0) {
            chunk_map_set(&p->map, i, hash);
            continue;
        }
        chunk_map_unset(&p->map, i);
        chunk_write_undone(i, record);
        status = append_record(p, record, err);
        (*altered)++;
    }
    mem_free(buffer);
    return status;
}

static Status load(Partial *p, Error *err) {
    uint8_t *log = NULL;
    size_t bytes = 0, good = 0;
    Status status = read_log(p, &log, &bytes, err);
    if (status == OK)
        chunk_map_replay(&p->map, log, bytes, p->identity, p->boot, &good);
    mem_free(log);
    TRY(status);
    struct stat st;
    FAIL_IF(fstat(p->data_fd, &st) != 0, ERR_IO, "%s: cannot be read: %s", p->data_name, strerror(errno));
    if (good == 0 || (uint64_t)st.st_size != p->map.file_bytes) {
        TRY(begin_anew(p, err));
    } else {
        FAIL_IF(ftruncate(p->map_fd, (off_t)good) != 0, ERR_IO, "%s: cannot be written: %s", p->map_name,
                strerror(errno));
        p->log_bytes = good;
    }
    size_t checked, altered;
    TRY(check_chunks(p, CHUNK_DOUBTFUL, &checked, &altered, err));
    uint8_t record[CHUNK_RECORD_BYTES];
    chunk_write_session(p->boot, record);
    TRY(append_record(p, record, err));
    return checked > 0 ? partial_sync(p, err) : OK; /* what was found to be sound need not be looked at again */
}

Status partial_open(int folder, const char *identity, uint64_t file_bytes, uint32_t chunk_bytes, Partial **out,
                    Error *err) {
    *out = NULL;
    FAIL_IF(file_bytes > (uint64_t)INT64_MAX / 2, ERR_LIMIT, "a file of %llu bytes is too large",
            (unsigned long long)file_bytes);
    char name[PARTIAL_NAME_BYTES];
    TRY(partial_name(identity, name, err));
    Partial *p = mem_zalloc(sizeof *p, MEM_NETWORK);
    FAIL_IF(p == NULL, ERR_MEMORY, "no memory for a download");
    p->folder = folder;
    p->data_fd = p->map_fd = -1;
    pthread_mutex_init(&p->lock, NULL);
    file_names(name, p->data_name, p->map_name);
    read_boot(p->boot);
    Status status = identity_hash(identity, p->identity, err);
    if (status == OK)
        status = chunk_map_init(&p->map, file_bytes, chunk_bytes, err);
    if (status == OK)
        status = lock_map(p, err);
    if (status == OK)
        status = folder_open_file(folder, p->data_name, O_RDWR | O_CREAT, &p->data_fd, err);
    if (status == OK)
        status = load(p, err);
    if (status != OK) {
        partial_close(p);
        return status;
    }
    *out = p;
    return OK;
}

void partial_close(Partial *p) {
    if (p == NULL)
        return;
    if (p->data_fd >= 0)
        close(p->data_fd);
    if (p->map_fd >= 0)
        close(p->map_fd); /* which gives up the lock */
    chunk_map_free(&p->map);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

size_t partial_chunks(const Partial *p) {
    return p->map.n_chunk;
}

uint64_t partial_chunk_start(const Partial *p, size_t chunk) {
    return chunk_start(&p->map, chunk);
}

uint64_t partial_chunk_length(const Partial *p, size_t chunk) {
    return chunk_length(&p->map, chunk);
}

bool partial_has(Partial *p, size_t chunk) {
    pthread_mutex_lock(&p->lock);
    const bool has = p->map.states[chunk] == CHUNK_DONE;
    pthread_mutex_unlock(&p->lock);
    return has;
}

uint64_t partial_done_bytes(Partial *p) {
    pthread_mutex_lock(&p->lock);
    const uint64_t bytes = p->map.done_bytes;
    pthread_mutex_unlock(&p->lock);
    return bytes;
}

uint64_t partial_frontier(Partial *p) {
    pthread_mutex_lock(&p->lock);
    const uint64_t bytes = chunk_map_frontier(&p->map);
    pthread_mutex_unlock(&p->lock);
    return bytes;
}

/* ---- changing ---------------------------------------------------------------------------------------------------- */

Status partial_write(Partial *p, uint64_t offset, const void *bytes, size_t count, Error *err) {
    return write_at(p->data_fd, p->data_name, offset, bytes, count, err);
}

Status partial_mark(Partial *p, size_t chunk, const uint8_t hash[CHUNK_HASH_BYTES], Error *err) {
    uint8_t record[CHUNK_RECORD_BYTES];
    chunk_write_done(chunk, hash, record);
    pthread_mutex_lock(&p->lock);
    const Status status = append_record(p, record, err);
    if (status == OK)
        chunk_map_set(&p->map, chunk, hash);
    pthread_mutex_unlock(&p->lock);
    return status;
}

Status partial_sync(Partial *p, Error *err) {
    pthread_mutex_lock(&p->lock);
    const uint64_t records = p->map.n_record;
    pthread_mutex_unlock(&p->lock);
    FAIL_IF(fdatasync(p->data_fd) != 0, ERR_IO, "%s: cannot be written to disk: %s", p->data_name, strerror(errno));
    if (!p->folder_synced) { /* the files' names must survive as well */
        TRY(folder_sync(p->folder, err));
        p->folder_synced = true;
    }
    uint8_t record[CHUNK_RECORD_BYTES];
    chunk_write_durable(records, record);
    pthread_mutex_lock(&p->lock);
    const Status status = append_record(p, record, err);
    pthread_mutex_unlock(&p->lock);
    TRY(status);
    FAIL_IF(fdatasync(p->map_fd) != 0, ERR_IO, "%s: cannot be written to disk: %s", p->map_name, strerror(errno));
    return OK;
}

Status partial_read(const Partial *p, uint64_t offset, void *bytes, size_t count, Error *err) {
    return read_at(p->data_fd, p->data_name, offset, bytes, count, err);
}

Status partial_recheck(Partial *p, size_t *altered, Error *err) {
    pthread_mutex_lock(&p->lock);
    size_t checked;
    const Status status = check_chunks(p, CHUNK_DONE, &checked, altered, err);
    pthread_mutex_unlock(&p->lock);
    return status;
}

Status partial_forget(Partial *p, Error *err) {
    pthread_mutex_lock(&p->lock);
    Status status = begin_anew(p, err);
    if (status == OK) {
        uint8_t record[CHUNK_RECORD_BYTES];
        chunk_write_session(p->boot, record);
        status = append_record(p, record, err);
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

/* renameat2 tells an existing file apart without a gap; file systems that lack it get the next best. */
static Status move_into(Partial *p, int folder, const char *name, bool replace, Error *err) {
    struct stat st;
    if (folder_stat(folder, name, &st))
        FAIL_IF(!S_ISREG(st.st_mode), ERR_DENIED, "%s: there is a link or a folder of that name; it is left alone",
                name);
    int result = renameat2(p->folder, p->data_name, folder, name, replace ? 0 : RENAME_NOREPLACE);
    if (result != 0 && !replace && (errno == EINVAL || errno == ENOSYS) && !folder_stat(folder, name, &st))
        result = renameat(p->folder, p->data_name, folder, name);
    FAIL_IF(result != 0 && (errno == EEXIST || errno == EINVAL), ERR_DENIED,
            "%s: there is a file of that name that houle did not put there; move it away", name);
    FAIL_IF(result != 0, ERR_IO, "%s: cannot be moved into place: %s", name, strerror(errno));
    return OK;
}

Status partial_publish(Partial *p, int folder, const char *name, bool replace, Error *err) {
    FAIL_IF(p->published || p->map.n_done != p->map.n_chunk, ERR_INTERNAL, "%s: published before it was complete",
            name);
    FAIL_IF(fsync(p->data_fd) != 0, ERR_IO, "%s: cannot be written to disk: %s", p->data_name, strerror(errno));
    TRY(move_into(p, folder, name, replace, err));
    p->published = true;
    TRY(folder_sync(folder, err));
    unlinkat(p->folder, p->map_name, 0); /* a map that stays without its data is begun anew: no harm */
    return OK;
}

Status partial_discard(int folder, const char *identity, uint64_t *freed, Error *err) {
    *freed = 0;
    char name[PARTIAL_NAME_BYTES], data[FILE_NAME_BYTES], map[FILE_NAME_BYTES];
    TRY(partial_name(identity, name, err));
    file_names(name, data, map);
    int fd;
    if (folder_open_file(folder, map, O_RDWR, &fd, NULL) == OK) {
        const bool idle = flock(fd, LOCK_EX | LOCK_NB) == 0;
        close(fd);
        FAIL_IF(!idle, ERR_BUSY, "another houle is downloading it now; stop that first");
    }
    struct stat st;
    if (folder_stat(folder, data, &st) && unlinkat(folder, data, 0) == 0)
        *freed = (uint64_t)st.st_blocks * 512;
    unlinkat(folder, map, 0);
    return OK;
}

uint64_t partial_disk_bytes(int folder, const char *identity) {
    char name[PARTIAL_NAME_BYTES], data[FILE_NAME_BYTES], map[FILE_NAME_BYTES];
    struct stat st;
    if (partial_name(identity, name, NULL) != OK)
        return 0;
    file_names(name, data, map);
    return folder_stat(folder, data, &st) && S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
}

uint64_t partial_peek(int folder, const char *identity, uint64_t file_bytes, uint32_t chunk_bytes) {
    Partial p = {.folder = folder, .map_fd = -1};
    char name[PARTIAL_NAME_BYTES];
    uint8_t *log = NULL;
    size_t bytes = 0, good;
    uint64_t done = 0;
    if (partial_name(identity, name, NULL) != OK || identity_hash(identity, p.identity, NULL) != OK ||
        chunk_map_init(&p.map, file_bytes, chunk_bytes, NULL) != OK)
        return 0;
    file_names(name, p.data_name, p.map_name);
    read_boot(p.boot);
    if (folder_open_file(folder, p.map_name, O_RDONLY, &p.map_fd, NULL) == OK) {
        if (read_log(&p, &log, &bytes, NULL) == OK) {
            chunk_map_replay(&p.map, log, bytes, p.identity, p.boot, &good);
            done = p.map.done_bytes;
        }
        close(p.map_fd);
    }
    mem_free(log);
    chunk_map_free(&p.map);
    return done;
}
