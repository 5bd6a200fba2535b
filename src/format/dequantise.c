/* dequantise.c - numbers of every stored type to float32. The blocks in which weights are multiplied are decoded where their
 * forms are defined (op/form.h); what is only ever stored is decoded here. */
#include "format/dtype.h"

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/half.h"
#include "op/form.h"

#include <assert.h>
#include <string.h>

bool dtype_form(DType type, Form *form) {
    static const Form forms[DT_COUNT] = { /* FORM_F32, the first of all, is what DT_F32 has */
        [DT_F16] = FORM_F16, [DT_BF16] = FORM_BF16,
        [DT_Q4_0] = FORM_Q4_0, [DT_Q4_1] = FORM_Q4_1, [DT_Q5_0] = FORM_Q5_0, [DT_Q5_1] = FORM_Q5_1, [DT_Q8_0] = FORM_Q8_0,
        [DT_Q2_K] = FORM_Q2_K, [DT_Q3_K] = FORM_Q3_K, [DT_Q4_K] = FORM_Q4_K, [DT_Q5_K] = FORM_Q5_K, [DT_Q6_K] = FORM_Q6_K,
        [DT_IQ1_S] = FORM_IQ1_S, [DT_IQ1_M] = FORM_IQ1_M, [DT_IQ2_XXS] = FORM_IQ2_XXS, [DT_IQ2_XS] = FORM_IQ2_XS,
        [DT_IQ2_S] = FORM_IQ2_S, [DT_IQ3_XXS] = FORM_IQ3_XXS, [DT_IQ3_S] = FORM_IQ3_S, [DT_IQ4_NL] = FORM_IQ4_NL,
        [DT_IQ4_XS] = FORM_IQ4_XS, [DT_TQ1_0] = FORM_TQ1_0, [DT_TQ2_0] = FORM_TQ2_0, [DT_MXFP4] = FORM_MXFP4,
        [DT_NVFP4] = FORM_NVFP4, [DT_Q1_0] = FORM_Q1_0, [DT_Q2_0] = FORM_Q2_0,
    };
    *form = forms[type];
    return *form != FORM_F32 || type == DT_F32;
}

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

/* Q8_1 (f16 d, f16 sum) and Q8_K (float d, sums behind the numbers): what engines make of activations. */
static void dequantise_bytes(DType type, const uint8_t *row, float *out, size_t columns) {
    const DTypeInfo *info = dtype_info(type);
    for (size_t i = 0; i < columns; i++) {
        const uint8_t *block = row + i / info->block_length * info->block_bytes;
        const float d = type == DT_Q8_1 ? float_of_f16(load_u16(block)) : float_of_bits(load_u32(block));
        out[i] = d * (float)(int8_t)block[4 + i % info->block_length];
    }
}

static void dequantise_form(const DTypeInfo *info, Form form, const uint8_t *row, float *out, size_t columns) {
    enum { PIECE = 1 << 20 }; /* a multiple of every block's length; columns of a Matrix are counted in an int */
    for (size_t done = 0; done < columns; done += PIECE) {
        const int count = (int)MIN(columns - done, (size_t)PIECE);
        const Matrix m = {.form = form, .rows = 1, .cols = count, 
                          .data = row + done / info->block_length * info->block_bytes};
        form_decode_row(&m, 0, 0, count, out + done);
    }
}

void dequantise_row(DType type, const void *row, float *out, size_t columns) {
    const DTypeInfo *info = dtype_info(type);
    const uint8_t *at = row;
    Form form;
    assert(columns % info->block_length == 0);
    if (info->quantised && dtype_form(type, &form)) {
        dequantise_form(info, form, at, out, columns);
    } else if (info->quantised) {
        dequantise_bytes(type, at, out, columns);
    } else if (type == DT_F4_E2M1) {
        dequantise_fp4(at, out, columns);
    } else {
        for (size_t i = 0; i < columns; i++, at += info->block_bytes)
            out[i] = plain_number(type, at);
    }
}
