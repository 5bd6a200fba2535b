/* file.c - see file.h.
 *
 * The SIGBUS guard: every mapping registers its address range in a fixed table that the signal handler reads without
 * locks. A fault inside a registered range replaces the page by a zero page and marks the mapping broken; a fault
 * elsewhere goes to whatever handler was there before. */
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { GUARD_SLOTS = 4096 }; /* a sharded model of a trillion parameters has under 200 files */

typedef struct GuardSlot {
    _Atomic(uintptr_t) start; /* 0 = free */
    _Atomic(uintptr_t) end;
    atomic_bool broken;
} GuardSlot;

static GuardSlot guard[GUARD_SLOTS];
static pthread_mutex_t guard_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction guard_previous;
static bool guard_installed;

struct FileMap {
    uint8_t *bytes;
    size_t size;
    char *path;
    GuardSlot *slot;
    int descriptor;
};

static void on_sigbus(int signal_number, siginfo_t *info, void *context) {
    const uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < GUARD_SLOTS; i++) {
        const uintptr_t start = atomic_load_explicit(&guard[i].start, memory_order_acquire);
        if (start == 0 || at < start || at >= atomic_load_explicit(&guard[i].end, memory_order_acquire))
            continue;
        const uintptr_t page = at & ~(uintptr_t)4095;
        /* The bare system call, as befits a handler. Another thread may be reading this page: it gets zeros or comes here,
         * too, and nothing of what is computed meanwhile is used. */
        if (syscall(SYS_mmap, page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != -1) {
            atomic_store(&guard[i].broken, true);
            return;
        }
    }
    if ((guard_previous.sa_flags & SA_SIGINFO) != 0 && guard_previous.sa_sigaction != NULL) {
        guard_previous.sa_sigaction(signal_number, info, context);
    } else if (guard_previous.sa_handler != SIG_IGN && guard_previous.sa_handler != SIG_DFL) {
        guard_previous.sa_handler(signal_number);
    } else {
        signal(SIGBUS, SIG_DFL); /* the instruction runs again and ends the process as it would have */
    }
}

static GuardSlot *guard_add(const void *start, size_t bytes) {
    GuardSlot *found = NULL;
    pthread_mutex_lock(&guard_lock);
    if (!guard_installed) {
        struct sigaction action = {0};
        action.sa_sigaction = on_sigbus;
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        sigemptyset(&action.sa_mask);
        guard_installed = sigaction(SIGBUS, &action, &guard_previous) == 0;
    }
    for (int i = 0; i < GUARD_SLOTS && found == NULL; i++)
        if (atomic_load(&guard[i].start) == 0)
            found = &guard[i];
    if (found != NULL) {
        atomic_store(&found->broken, false);
        atomic_store(&found->end, (uintptr_t)start + bytes);
        atomic_store_explicit(&found->start, (uintptr_t)start, memory_order_release);
    }
    pthread_mutex_unlock(&guard_lock);
    return found;
}

Status file_map_open(const char *path, FileMap **out, Error *err) {
    *out = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    FAIL_IF(fd < 0, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return error_set(err, ERR_IO, "%s: not a regular file", path);
    }
    FileMap *map = mem_zalloc(sizeof *map, MEM_FORMAT);
    char *name = mem_strdup(path, MEM_FORMAT);
    if (map == NULL || name == NULL) {
        close(fd);
        mem_free(map);
        mem_free(name);
        return error_set(err, ERR_MEMORY, "%s: no memory to open it", path);
    }
    map->path = name;
    map->size = (size_t)st.st_size;
    map->descriptor = -1;
    if (map->size == 0) { /* an empty file cannot be mapped, but it can be looked at */
        close(fd);
        *out = map;
        return OK;
    }
    void *bytes = mmap(NULL, map->size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        const int why = errno;
        close(fd);
        mem_free(name);
        mem_free(map);
        return error_set(err, ERR_IO, "%s: cannot be mapped: %s", path, strerror(why));
    }
    map->bytes = bytes;
    map->descriptor = fd;
    map->slot = guard_add(bytes, map->size);
    *out = map;
    return OK;
}

void file_map_close(FileMap *map) {
    if (map == NULL)
        return;
    if (map->slot != NULL) {
        pthread_mutex_lock(&guard_lock);
        atomic_store(&map->slot->start, 0);
        pthread_mutex_unlock(&guard_lock);
    }
    if (map->bytes != NULL)
        munmap(map->bytes, map->size);
    if (map->descriptor >= 0)
        close(map->descriptor);
    mem_free(map->path);
    mem_free(map);
}

const uint8_t *file_map_bytes(const FileMap *map) {
    return map->bytes;
}

size_t file_map_size(const FileMap *map) {
    return map->size;
}

const char *file_map_path(const FileMap *map) {
    return map->path;
}

int file_map_descriptor(const FileMap *map) {
    return map->descriptor;
}

bool file_map_broken(const FileMap *map) {
    return map->slot != NULL && atomic_load_explicit(&map->slot->broken, memory_order_relaxed);
}

/* madvise wants whole pages: from the page of the first byte to the last one. */
static void advise(const FileMap *map, size_t offset, size_t bytes, int advice) {
    if (map->bytes == NULL || bytes == 0 || offset >= map->size)
        return;
    bytes = MIN(bytes, map->size - offset);
    const size_t lead = offset % 4096;
    madvise(map->bytes + offset - lead, bytes + lead, advice);
}

void file_map_prefetch(const FileMap *map, size_t offset, size_t bytes) {
    advise(map, offset, bytes, MADV_WILLNEED);
}

void file_map_release(const FileMap *map, size_t offset, size_t bytes) {
    advise(map, offset, bytes, MADV_DONTNEED);
}

void file_map_sparse(const FileMap *map) {
    advise(map, 0, map->size, MADV_RANDOM);
    advise(map, 0, map->size, MADV_DONTNEED);
    if (map->descriptor >= 0)
        posix_fadvise(map->descriptor, 0, 0, POSIX_FADV_DONTNEED);
}

Status file_read(const char *path, size_t limit, char **content, size_t *bytes, Error *err) {
    *content = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    FAIL_IF(fd < 0, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    char *buffer = NULL;
    size_t capacity = 0, count = 0;
    Status status = OK;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        status = error_set(err, ERR_IO, "%s: is a folder, a file is expected", path);
    size_t want = status == OK && st.st_size > 0 ? (size_t)st.st_size + 1 : 4096; /* pipes tell no size */
    while (status == OK) {
        if (!mem_grow((void **)&buffer, &capacity, MAX(want, count + 2), 1, MEM_FORMAT)) {
            status = error_set(err, ERR_MEMORY, "%s: no memory to read it", path);
            break;
        }
        const ssize_t got = read(fd, buffer + count, capacity - count - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = error_set(err, ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got <= 0)
            break;
        count += (size_t)got;
        if (count > limit)
            status = error_set(err, ERR_LIMIT, "%s: larger than the %zu bytes allowed", path, limit);
    }
    close(fd);
    if (status != OK) {
        mem_free(buffer);
        return status;
    }
    buffer[count] = '\0';
    *content = buffer;
    if (bytes != NULL)
        *bytes = count;
    return OK;
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool file_is_directory(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* `mode` is the last one's; those above it anybody may pass. */
static Status make_directories(const char *path, mode_t mode, Error *err) {
    char *copy = mem_strdup(path, MEM_MISC);
    FAIL_IF(copy == NULL, ERR_MEMORY, "%s: no memory to make it", path);
    Status status = OK;
    for (char *at = copy + 1; status == OK; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        const char kept = *at;
        const bool last = at[strspn(at, "/")] == '\0';
        *at = '\0';
        if (mkdir(copy, last ? mode : 0755) != 0 && errno != EEXIST)
            status = error_set(err, ERR_IO, "%s: cannot be made: %s", copy, strerror(errno));
        *at = kept;
        if (kept == '\0')
            break;
    }
    mem_free(copy);
    return status;
}

Status file_make_directories(const char *path, Error *err) {
    return make_directories(path, 0755, err);
}

Status file_make_private_directory(const char *path, Error *err) {
    return make_directories(path, 0700, err);
}

char *path_join(const char *folder, const char *name) {
    const size_t a = strlen(folder), b = strlen(name);
    const bool slash = a > 0 && folder[a - 1] != '/';
    char *joined = mem_alloc(a + b + 2, MEM_MISC);
    if (joined == NULL)
        return NULL;
    memcpy(joined, folder, a);
    if (slash)
        joined[a] = '/';
    memcpy(joined + a + slash, name, b + 1);
    return joined;
}

const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

const char *path_variable(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] == '/' ? value : NULL;
}

bool home_folder(const char *variable, const char *in_home, char **folder) {
    const char *base = path_variable(variable), *home = path_variable("HOME");
    *folder = NULL;
    if (base == NULL && home == NULL)
        return false;
    char *below = base == NULL ? path_join(home, in_home) : NULL;
    if (base != NULL || below != NULL)
        *folder = path_join(base != NULL ? base : below, "houle");
    mem_free(below);
    return true;
}

bool path_is_inside(const char *relative) {
    if (*relative == '\0' || *relative == '/')
        return false;
    for (const char *part = relative; part != NULL;) {
        const char *slash = strchr(part, '/');
        const size_t length = slash != NULL ? (size_t)(slash - part) : strlen(part);
        if (length == 0 || (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part = slash != NULL ? slash + 1 : NULL;
    }
    return true;
}
