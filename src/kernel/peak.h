/* peak.h - what this machine can do at the most, measured: the roofs that speeds are compared with.
 *
 * Products: a loop of independent multiply-and-add instructions on registers, the best that a level has for a kind of
 * number. Reading: threads that sum up memory far larger than the caches. Both take the time they are given and are as
 * noisy as the machine; take the best of several. */
#ifndef HOULE_KERNEL_PEAK_H
#define HOULE_KERNEL_PEAK_H

#include "base/pool.h"
#include "kernel/kernel.h"

typedef enum PeakKind { PEAK_F32, PEAK_BF16, PEAK_INT8, PEAK_KIND_COUNT } PeakKind;
const char *peak_word(PeakKind kind);

/* Operations per second of `threads` threads of the pool together (a multiplication and an addition count as two),
 * measured for about `ms` milliseconds: by the instructions of the level, or of the nearest level below that has any for it;
 * 0 when none has, or the machine lacks the level. */
double peak_products(Pool *pool, int threads, Level level, PeakKind kind, int ms);

/* Bytes read per second by `threads` threads together, from 64 MiB for each of them. Takes memory for it; 0 without. */
double peak_reading(Pool *pool, int threads, int ms);

#endif
