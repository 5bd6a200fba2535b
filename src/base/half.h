/* half.h - the small floating-point formats, one number at a time.
 *
 * f16: IEEE 754 binary16. bf16: the upper half of a binary32. f8e4m3: OCP 8-bit FP, no infinities, 0x7F and 0xFF are
 * NaN. e8m0: a power of two, 2^(e-127), 0xFF is NaN (OCP Microscaling Formats 1.0). ue4m3: f8e4m3 without a sign.
 * Exact in this direction; f16 and bf16 round to nearest even in the other. */
#ifndef HOULE_BASE_HALF_H
#define HOULE_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t bits_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float float_of_f16(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t exponent = h >> 10 & 0x1F;
    const uint32_t mantissa = h & 0x3FF;
    if (exponent == 0x1F)
        return float_of_bits(sign | 0x7F800000 | mantissa << 13);
    if (exponent != 0)
        return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    const float tiny = (float)mantissa * 0x1p-24f; /* subnormal or zero, exact */
    return float_of_bits(sign | bits_of_float(tiny));
}

static inline uint16_t f16_of_float(float f) {
    const uint32_t bits = bits_of_float(f);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const uint32_t magnitude = bits & 0x7FFFFFFF;
    if (magnitude >= 0x7F800000) /* infinity, or NaN with its top payload bits and the quiet bit */
        return (uint16_t)(sign | 0x7C00 | (magnitude > 0x7F800000 ? 0x200 | (magnitude >> 13 & 0x3FF) : 0));
    if (magnitude >= 0x477FF000) /* rounds to beyond 65504 */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x38800000) { /* below 2^-14: subnormal; adding 0.5 makes the hardware round at bit 2^-24 */
        const float shifted = float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(shifted) - 0x3F000000));
    }
    const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

static inline float float_of_bf16(uint16_t b) {
    return float_of_bits((uint32_t)b << 16);
}

static inline uint16_t bf16_of_float(float f) {
    const uint32_t bits = bits_of_float(f);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static inline float float_of_f8e4m3(uint8_t b) {
    const uint32_t sign = (uint32_t)(b & 0x80) << 24;
    const uint32_t exponent = b >> 3 & 0xF;
    const uint32_t mantissa = b & 7;
    if (exponent == 0xF && mantissa == 7)
        return float_of_bits(sign | 0x7FC00000);
    if (exponent != 0)
        return float_of_bits(sign | (exponent + 120) << 23 | mantissa << 20);
    return float_of_bits(sign | bits_of_float((float)mantissa * 0x1p-9f));
}

static inline float float_of_e8m0(uint8_t e) {
    if (e == 0xFF)
        return float_of_bits(0x7FC00000);
    return float_of_bits(e != 0 ? (uint32_t)e << 23 : 0x00400000); /* 2^-127 is subnormal */
}

/* Half of it, exact where the whole would overflow or be rounded: E2M1 values are kept doubled. */
static inline float half_of_e8m0(uint8_t e) {
    return float_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

#endif
