/* dtype.c - see dtype.h: one row per stored form.
 *
 * Sizes are the format's definition (ggml's block structs; OCP Microscaling Formats 1.0 for the FP4 and FP8 forms).
 * The numbers 4, 5, 31..33 and 36..38 belonged to forms that ggml has removed; they are no types any more. */
#include "format/dtype.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

#define PLAIN(text, bytes, id)                                                                                         \
    { .name = text, .safetensors = text, .block_length = 1, .block_bytes = bytes, .ggml_id = id }
#define BLOCK(text, length, bytes, id)                                                                                 \
    { .name = text, .block_length = length, .block_bytes = bytes, .ggml_id = id, .quantised = true }

static const DTypeInfo infos[DT_COUNT] = {
    [DT_F32] = PLAIN("F32", 4, 0),
    [DT_F16] = PLAIN("F16", 2, 1),
    [DT_BF16] = PLAIN("BF16", 2, 30),
    [DT_F64] = PLAIN("F64", 8, 28),
    [DT_I8] = PLAIN("I8", 1, 24),
    [DT_I16] = PLAIN("I16", 2, 25),
    [DT_I32] = PLAIN("I32", 4, 26),
    [DT_I64] = PLAIN("I64", 8, 27),
    [DT_U8] = PLAIN("U8", 1, -1),
    [DT_U16] = PLAIN("U16", 2, -1),
    [DT_U32] = PLAIN("U32", 4, -1),
    [DT_U64] = PLAIN("U64", 8, -1),
    [DT_BOOL] = PLAIN("BOOL", 1, -1),
    [DT_F8_E4M3] = PLAIN("F8_E4M3", 1, -1),
    [DT_F8_E5M2] = PLAIN("F8_E5M2", 1, -1),
    [DT_E8M0] = {.name = "E8M0", .safetensors = "F8_E8M0", .block_length = 1, .block_bytes = 1, .ggml_id = -1},
    [DT_F4_E2M1] = {.name = "F4_E2M1", .safetensors = "F4", .block_length = 2, .block_bytes = 1, .ggml_id = -1},
    [DT_Q4_0] = BLOCK("Q4_0", 32, 18, 2),
    [DT_Q4_1] = BLOCK("Q4_1", 32, 20, 3),
    [DT_Q5_0] = BLOCK("Q5_0", 32, 22, 6),
    [DT_Q5_1] = BLOCK("Q5_1", 32, 24, 7),
    [DT_Q8_0] = BLOCK("Q8_0", 32, 34, 8),
    [DT_Q8_1] = BLOCK("Q8_1", 32, 36, 9),
    [DT_Q2_K] = BLOCK("Q2_K", 256, 84, 10),
    [DT_Q3_K] = BLOCK("Q3_K", 256, 110, 11),
    [DT_Q4_K] = BLOCK("Q4_K", 256, 144, 12),
    [DT_Q5_K] = BLOCK("Q5_K", 256, 176, 13),
    [DT_Q6_K] = BLOCK("Q6_K", 256, 210, 14),
    [DT_Q8_K] = BLOCK("Q8_K", 256, 292, 15),
    [DT_IQ1_S] = BLOCK("IQ1_S", 256, 50, 19),
    [DT_IQ1_M] = BLOCK("IQ1_M", 256, 56, 29),
    [DT_IQ2_XXS] = BLOCK("IQ2_XXS", 256, 66, 16),
    [DT_IQ2_XS] = BLOCK("IQ2_XS", 256, 74, 17),
    [DT_IQ2_S] = BLOCK("IQ2_S", 256, 82, 22),
    [DT_IQ3_XXS] = BLOCK("IQ3_XXS", 256, 98, 18),
    [DT_IQ3_S] = BLOCK("IQ3_S", 256, 110, 21),
    [DT_IQ4_NL] = BLOCK("IQ4_NL", 32, 18, 20),
    [DT_IQ4_XS] = BLOCK("IQ4_XS", 256, 136, 23),
    [DT_TQ1_0] = BLOCK("TQ1_0", 256, 54, 34),
    [DT_TQ2_0] = BLOCK("TQ2_0", 256, 66, 35),
    [DT_MXFP4] = BLOCK("MXFP4", 32, 17, 39),
    [DT_NVFP4] = BLOCK("NVFP4", 64, 36, 40),
    [DT_Q1_0] = BLOCK("Q1_0", 128, 18, 41),
    [DT_Q2_0] = BLOCK("Q2_0", 64, 18, 42),
};

const DTypeInfo *dtype_info(DType type) {
    assert((unsigned)type < DT_COUNT);
    return &infos[type];
}

bool dtype_of_ggml(uint32_t ggml_id, DType *type) {
    for (int i = 0; i < DT_COUNT; i++) {
        if (infos[i].ggml_id >= 0 && (uint32_t)infos[i].ggml_id == ggml_id) {
            *type = (DType)i;
            return true;
        }
    }
    return false;
}

bool dtype_of_safetensors(const char *name, size_t length, DType *type) {
    for (int i = 0; i < DT_COUNT; i++) {
        const char *known = infos[i].safetensors;
        if (known != NULL && strlen(known) == length && memcmp(known, name, length) == 0) {
            *type = (DType)i;
            return true;
        }
    }
    return false;
}

size_t dtype_row_bytes(DType type, size_t columns) {
    const DTypeInfo *info = dtype_info(type);
    size_t bytes;
    if (columns % info->block_length != 0 || !size_mul(columns / info->block_length, info->block_bytes, &bytes))
        return 0;
    return bytes;
}
