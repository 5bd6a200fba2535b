/* entries_simd.h - cache entries as vectors of floats, for the kernels that read them. */
#ifndef HOULE_KERNEL_ENTRIES_SIMD_H
#define HOULE_KERNEL_ENTRIES_SIMD_H

#include "kernel/kernel.h"
#include "kernel/simd.h"

static inline int padded(int width) {
    return (width + 15) & ~15;
}

/* Sixteen numbers of an entry, from number `at` on; all of them are there. */
static ALWAYS_INLINE VF load_all_16(CacheType type, const uint8_t *entry, int at, int width) {
    if (type == CACHE_F16)
        return vf_load_f16((const uint16_t *)(const void *)entry + at);
    if (type == CACHE_F32)
        return vf_load((const float *)(const void *)entry + at);
    return vf_load_i8((const int8_t *)entry + at) * vf_set(f16_value(entry + width + 2 * (at / 32)));
}

/* The same; beyond `width` zeros. */
static ALWAYS_INLINE VF load_16(CacheType type, const uint8_t *entry, int at, int width) {
    if (at + 16 <= width)
        return load_all_16(type, entry, at, width);
    float x[16] = {0};
    for (int i = 0; i < 16 && at + i < width; i++) {
        if (type == CACHE_F32) {
            memcpy(&x[i], entry + 4 * (at + i), 4);
        } else if (type == CACHE_F16) {
            x[i] = f16_value(entry + 2 * (at + i));
        } else {
            x[i] = f16_value(entry + width + 2 * ((at + i) / 32)) * (float)(int8_t)entry[at + i];
        }
    }
    return vf_load(x);
}

#endif
