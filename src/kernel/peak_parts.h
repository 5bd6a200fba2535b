/* peak_parts.h - what peak.c asks of each level. */
#ifndef HOULE_KERNEL_PEAK_PARTS_H
#define HOULE_KERNEL_PEAK_PARTS_H

#include "kernel/peak.h"

/* Runs `rounds` rounds and returns how many operations that were; 0: there is no such instruction. */
typedef uint64_t (*PeakLoopFn)(long rounds);
/* The sum of n bytes (a multiple of 512) as an unspecified number: reads all of them. */
typedef uint64_t (*PeakReadFn)(const uint8_t *bytes, size_t n);

#define PEAK_OF_LEVEL(level)                                                                                           \
    uint64_t peak_f32_##level(long rounds);                                                                            \
    uint64_t peak_bf16_##level(long rounds);                                                                           \
    uint64_t peak_int8_##level(long rounds);                                                                           \
    uint64_t peak_read_##level(const uint8_t *bytes, size_t n);

PEAK_OF_LEVEL(generic)
PEAK_OF_LEVEL(avx2)
PEAK_OF_LEVEL(avx512)
PEAK_OF_LEVEL(avx512vnni)
PEAK_OF_LEVEL(avx512bf16)
uint64_t peak_bf16_amx(long rounds);
uint64_t peak_int8_amx(long rounds);

#endif
