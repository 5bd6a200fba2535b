/* bytes.h - numbers as files and wires store them: little-endian, at any address. */
#ifndef HOULE_BASE_BYTES_H
#define HOULE_BASE_BYTES_H

#include <stdint.h>

/* Compilers turn each of these into one load (or store) where the machine is little-endian. */
static inline uint16_t load_u16(const void *at) {
    const uint8_t *b = (const uint8_t *)at;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t load_u32(const void *at) {
    const uint8_t *b = (const uint8_t *)at;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t load_u64(const void *at) {
    const uint8_t *b = (const uint8_t *)at;
    return load_u32(b) | (uint64_t)load_u32(b + 4) << 32;
}

static inline void store_u64(void *at, uint64_t number) {
    uint8_t *b = (uint8_t *)at;
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(number >> 8 * i);
}

#endif
