/* repeat_map.h - memory that seems larger than it is: the same pages lie behind a long range of addresses again and again.
 *
 *     addresses   |0 .......... period|period ..... 2 period|2 period ... bytes|
 *     memory      |0 .......... period|0 .......... period  |0 ...             |
 *
 * For measuring: whoever reads the range from front to back reads memory, not the caches, as long as the period is much
 * larger than those; and a model of any size can be gone through on a machine that does not hold it. */
#ifndef HOULE_BASE_REPEAT_MAP_H
#define HOULE_BASE_REPEAT_MAP_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct RepeatMap {
    uint8_t *bytes;
    size_t size;   /* of the addresses, a multiple of the period */
    size_t period;
} RepeatMap;

/* The period that will be used where at most `most` bytes of memory shall serve a range of `bytes`: a multiple of `unit` and
 * of a page, so that what repeats with `unit` goes on across the seams; 0 when the numbers are out of range. */
size_t repeat_map_period(size_t bytes, size_t most, size_t unit);

/* At least `bytes` of addresses over `period` bytes of memory (from repeat_map_period), all zeros, writable: what is written
 * to the first period appears in all. A period of 0: addresses only; they read as zeros and take no memory. */
Status repeat_map_open(size_t bytes, size_t period, RepeatMap *map, Error *err);
/* Enters all pages in the page table, so that reading them later causes no faults. */
void repeat_map_populate(const RepeatMap *map);
void repeat_map_close(RepeatMap *map); /* a zeroed one is fine */

#endif
