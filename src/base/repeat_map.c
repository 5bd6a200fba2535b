/* repeat_map.c - see repeat_map.h: a file without a name, mapped many times one after the other. */
#include "base/repeat_map.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096 };

size_t repeat_map_period(size_t bytes, size_t most, size_t unit) {
    size_t step;
    if (unit == 0 || !size_mul(unit, PAGE_BYTES, &step)) /* a multiple of both, if not the least */
        return 0;
    const size_t wanted = MIN(bytes, most), steps = wanted / step + (wanted % step != 0);
    size_t period;
    return size_mul(MAX(steps, 1), step, &period) ? period : 0;
}

static Status fill_addresses(RepeatMap *map, Error *err) {
    const int fd = memfd_create("houle", MFD_CLOEXEC);
    FAIL_IF(fd < 0, ERR_MEMORY, "no memory that can be repeated: %s", strerror(errno));
    char size[16];
    int why = posix_fallocate(fd, 0, (off_t)map->period); /* now, so that a lack of memory is an error and no signal */
    for (size_t at = 0; why == 0 && at < map->size; at += map->period)
        if (mmap(map->bytes + at, map->period, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
            why = errno;
    close(fd);
    FAIL_IF(why != 0, ERR_MEMORY, "no memory for %s: %s", format_bytes(map->period, size), strerror(why));
    return OK;
}

Status repeat_map_open(size_t bytes, size_t period, RepeatMap *map, Error *err) {
    *map = (RepeatMap){0};
    const size_t unit = period > 0 ? period : PAGE_BYTES;
    char size[16];
    const bool fits = bytes <= SIZE_MAX - unit && bytes <= (size_t)1 << 46;
    FAIL_IF(!fits, ERR_LIMIT, "%s are more than can be addressed", format_bytes(bytes, size));
    const size_t whole = MAX((bytes + unit - 1) / unit, 1) * unit;
    void *start = mmap(NULL, whole, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FAIL_IF(start == MAP_FAILED, ERR_MEMORY, "no addresses for %s: %s", format_bytes(whole, size), strerror(errno));
    *map = (RepeatMap){.bytes = start, .size = whole, .period = period};
    const Status status = period > 0 ? fill_addresses(map, err) : OK;
    if (status != OK)
        repeat_map_close(map);
    return status;
}

void repeat_map_populate(const RepeatMap *map) {
#ifdef MADV_POPULATE_READ
    if (map->period > 0 && madvise(map->bytes, map->size, MADV_POPULATE_READ) == 0)
        return;
#endif
    volatile uint8_t sink = 0;
    for (size_t at = 0; map->period > 0 && at < map->size; at += PAGE_BYTES)
        sink = map->bytes[at];
    (void)sink;
}

void repeat_map_close(RepeatMap *map) {
    if (map->bytes != NULL)
        munmap(map->bytes, map->size);
    *map = (RepeatMap){0};
}
