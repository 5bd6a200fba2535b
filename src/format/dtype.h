/* dtype.h - the stored forms of numbers: what a tensor in a file can be made of.
 *
 * A form is made of blocks: block_length numbers in block_bytes bytes; plain numbers are blocks of one. The names and
 * numbers of the quantised forms are ggml's (GGUF stores the number), the plain ones have safetensors' names too. */
#ifndef HOULE_FORMAT_DTYPE_H
#define HOULE_FORMAT_DTYPE_H

#include "base/status.h"
#include "op/form.h"

#include <stddef.h>
#include <stdint.h>

typedef enum DType {
    /* Plain numbers. */
    DT_F32, DT_F16, DT_BF16, DT_F64,
    DT_I8, DT_I16, DT_I32, DT_I64,
    DT_U8, DT_U16, DT_U32, DT_U64, DT_BOOL,
    DT_F8_E4M3, DT_F8_E5M2, DT_E8M0, DT_F4_E2M1,
    /* ggml's blocks. */
    DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_Q8_1,
    DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_Q8_K,
    DT_IQ1_S, DT_IQ1_M, DT_IQ2_XXS, DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S, DT_IQ4_NL, DT_IQ4_XS,
    DT_TQ1_0, DT_TQ2_0, DT_MXFP4, DT_NVFP4, DT_Q1_0, DT_Q2_0,
    DT_COUNT
} DType;

typedef struct DTypeInfo {
    const char *name;        /* "Q4_K", "BF16" */
    const char *safetensors; /* its name in safetensors' headers; NULL = cannot be stored there */
    uint16_t block_length;   /* numbers in a block */
    uint16_t block_bytes;
    int16_t ggml_id;         /* -1 = not in GGUF */
    bool quantised;          /* one of ggml's blocks: numbers share scales */
} DTypeInfo;

const DTypeInfo *dtype_info(DType type);
static inline const char *dtype_name(DType type) { return dtype_info(type)->name; }
/* false when no type has that GGUF number or that safetensors name. */
bool dtype_of_ggml(uint32_t ggml_id, DType *type);
bool dtype_of_safetensors(const char *name, size_t length, DType *type);

/* The form in which weights of this type are multiplied; false when there is none. */
bool dtype_form(DType type, Form *form);

/* Bytes of a row of `columns` numbers; 0 when columns is 0 or no multiple of the block length, or the product
 * overflows. */
size_t dtype_row_bytes(DType type, size_t columns);

/* `columns` numbers (a multiple of the block length) as float32, bit for bit what ggml's
 * reference gives. Integers and F64 are converted to the nearest float. `row` may have any alignment. Never fails: any
 * bits are a number (or a NaN). */
void dequantise_row(DType type, const void *row, float *out, size_t columns);

#endif
