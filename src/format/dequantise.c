/* dequantise.c - plain numbers to float32, and the way from a type to its block function. */
#include "format/dequantise.h"

#include "format/dtype.h"

#include <assert.h>
#include <string.h>

static DequantiseBlock *const block_functions[DT_COUNT] = {
    [DT_Q4_0] = dequantise_q4_0,     [DT_Q4_1] = dequantise_q4_1,     [DT_Q5_0] = dequantise_q5_0,
    [DT_Q5_1] = dequantise_q5_1,     [DT_Q8_0] = dequantise_q8_0,     [DT_Q8_1] = dequantise_q8_1,
    [DT_Q2_K] = dequantise_q2_k,     [DT_Q3_K] = dequantise_q3_k,     [DT_Q4_K] = dequantise_q4_k,
    [DT_Q5_K] = dequantise_q5_k,     [DT_Q6_K] = dequantise_q6_k,     [DT_Q8_K] = dequantise_q8_k,
    [DT_IQ1_S] = dequantise_iq1_s,   [DT_IQ1_M] = dequantise_iq1_m,   [DT_IQ2_XXS] = dequantise_iq2_xxs,
    [DT_IQ2_XS] = dequantise_iq2_xs, [DT_IQ2_S] = dequantise_iq2_s,   [DT_IQ3_XXS] = dequantise_iq3_xxs,
    [DT_IQ3_S] = dequantise_iq3_s,   [DT_IQ4_NL] = dequantise_iq4_nl, [DT_IQ4_XS] = dequantise_iq4_xs,
    [DT_TQ1_0] = dequantise_tq1_0,   [DT_TQ2_0] = dequantise_tq2_0,   [DT_MXFP4] = dequantise_mxfp4,
    [DT_NVFP4] = dequantise_nvfp4,   [DT_Q1_0] = dequantise_q1_0,     [DT_Q2_0] = dequantise_q2_0,
};

static double double_of_bits(uint64_t bits) {
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static float plain_number(DType type, const uint8_t *at) {
    switch (type) {
    case DT_F32:
        return float_of_bits(load_u32(at));
    case DT_F16:
        return float_of_f16(load_u16(at));
    case DT_BF16:
        return float_of_bf16(load_u16(at));
    case DT_F64:
        return (float)double_of_bits(load_u64(at));
    case DT_I8:
        return (float)(int8_t)*at;
    case DT_I16:
        return (float)(int16_t)load_u16(at);
    case DT_I32:
        return (float)(int32_t)load_u32(at);
    case DT_I64:
        return (float)(int64_t)load_u64(at);
    case DT_U8:
        return (float)*at;
    case DT_U16:
        return (float)load_u16(at);
    case DT_U32:
        return (float)load_u32(at);
    case DT_U64:
        return (float)load_u64(at);
    case DT_BOOL:
        return *at != 0 ? 1.0f : 0.0f;
    case DT_F8_E4M3:
        return float_of_f8e4m3(*at);
    case DT_F8_E5M2: /* the upper half of a binary16 */
        return float_of_f16((uint16_t)(*at << 8));
    case DT_E8M0:
        return float_of_e8m0(*at);
    default:
        assert(false && "a block form has a function of its own");
        return 0;
    }
}

/* Two numbers a byte, the first in the low half. */
static void dequantise_fp4(const uint8_t *row, float *out, size_t columns) {
    static const float values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    for (size_t i = 0; i < columns; i++)
        out[i] = values[row[i / 2] >> 4 * (i % 2) & 15];
}

void dequantise_row(DType type, const void *row, float *out, size_t columns) {
    const DTypeInfo *info = dtype_info(type);
    const uint8_t *at = row;
    DequantiseBlock *const block_function = block_functions[type];
    assert(columns % info->block_length == 0);
    if (block_function != NULL) {
        for (size_t i = 0; i < columns; i += info->block_length, at += info->block_bytes)
            block_function(at, out + i);
    } else if (type == DT_F4_E2M1) {
        dequantise_fp4(at, out, columns);
    } else {
        for (size_t i = 0; i < columns; i++, at += info->block_bytes)
            out[i] = plain_number(type, at);
    }
}
