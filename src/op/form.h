/* form.h - the forms in which a weight matrix is stored and multiplied, and what each means.
 *
 * A Matrix points at weights as they lie in the file (nothing is expanded in memory). Forms fall into classes by how
 * their numbers are made; a class has one way to be multiplied, whatever the form:
 *
 *   FLOAT   plain numbers                                w
 *   SCALED  8-bit floats with a scale per block          w = f8 * scale              (multiplied as bf16 or float)
 *   BLOCK   integers with a float scale per group        w = d * q + m               (groups of 16 or 32)
 *   SUPER   integers with an integer scale per group     w = d * sc * q - dm * mn    (256 numbers share d and dm)
 *
 * The decoders here are the definition, one row at a time; kernels unpack whole panels of 16 rows. */
#ifndef HOULE_OP_FORM_H
#define HOULE_OP_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Form {
    /* FLOAT: row-major by output, or by input ("_T": stored [in, out], as some checkpoints keep experts). */
    FORM_F32, FORM_F16, FORM_BF16, FORM_F32_T, FORM_F16_T, FORM_BF16_T,
    FORM_GPTQ_ORDER, /* GPTQ whose groups are scattered over the inputs (desc_act): decoded number by number */
    /* SCALED */
    FORM_F8_BLOCK,  /* E4M3, float scale per block of block_rows x block_cols */
    FORM_F8_E8M0,   /* E4M3, power-of-two scale per block */
    FORM_F8_BLOCK_T, /* stored [in, out] */
    FORM_F8_E8M0_T,
    /* BLOCK: ggml */
    FORM_Q4_0, FORM_Q4_1, FORM_Q5_0, FORM_Q5_1, FORM_Q8_0, FORM_IQ4_NL, FORM_MXFP4, FORM_NVFP4, FORM_Q1_0, FORM_Q2_0,
    /* BLOCK: safetensors; values and scales are separate tensors */
    FORM_MXFP4_SPLIT, FORM_NVFP4_SPLIT, FORM_I8_SCALED, FORM_INT_PACKED, FORM_GPTQ, FORM_AWQ,
    /* SUPER: ggml */
    FORM_Q2_K, FORM_Q3_K, FORM_Q4_K, FORM_Q5_K, FORM_Q6_K,
    FORM_IQ1_S, FORM_IQ1_M, FORM_IQ2_XXS, FORM_IQ2_XS, FORM_IQ2_S, FORM_IQ3_XXS, FORM_IQ3_S, FORM_IQ4_XS,
    FORM_TQ1_0, FORM_TQ2_0,
    FORM_COUNT
} Form;

typedef enum FormClass { CLASS_FLOAT, CLASS_SCALED, CLASS_BLOCK, CLASS_SUPER } FormClass;

/* One weight matrix [rows, cols]: y = W x has `rows` outputs. Plain data; the weights' owner keeps the bytes alive. */
typedef struct Matrix {
    Form form;
    int rows, cols;
    const uint8_t *data;
    size_t row_bytes;       /* from one row to the next (from one input to the next in _T forms) */
    /* For forms with separate scales; NULL otherwise. */
    const uint8_t *scales;
    size_t scale_row_bytes; /* from one row (block row) of scales to the next */
    const uint8_t *zeros;   /* GPTQ, AWQ: packed zero points; INT_PACKED: optional */
    size_t zero_row_bytes;
    const int32_t *order;   /* GPTQ_ORDER: the group of each input (g_idx) */
    float global_scale;     /* NVFP4_SPLIT: multiplies every scale (1 / weight_global_scale) */
    uint8_t scale_type;     /* enum ScaleType */
    uint8_t bits;           /* INT_PACKED, GPTQ, AWQ: 4 or 8 */
    uint8_t zero_plus;      /* GPTQ: what is added to a stored zero point: 1 in the first version, 0 in the second */
    uint16_t block_rows, block_cols; /* SCALED: shape of a scale's block; packed forms: block_cols = group */
    int row_step;           /* _T forms: inputs' numbers between one row and the next; 0 = 1 */
    int scale_row0, scale_col0; /* where data[0] stands in the whole tensor: scales of blocks are found by that */
} Matrix;

typedef enum ScaleType { SCALE_F32, SCALE_F16, SCALE_BF16, SCALE_E8M0, SCALE_E4M3 } ScaleType;

/* 32 numbers of one row: w = d[i / 16] * q[i] + m[i / 16]. Groups of 32 give the same d and m twice. */
typedef struct Block32 {
    int8_t q[32];
    float d[2], m[2];
} Block32;

/* 256 numbers of one row: w = d * sc[i / 16] * q[i] - dm * mn[i / 16]. */
typedef struct Super256 {
    int8_t q[256];
    int16_t sc[16], mn[16];
    float d, dm;
} Super256;

typedef struct FormInfo {
    const char *name;
    FormClass kind;
    uint8_t group;    /* 16 or 32: how far a scale reaches (BLOCK, SUPER) */
    bool has_min;
    uint8_t offset;   /* q + offset is never negative */
    uint8_t top;      /* and at most this: 15, 31, 63, 127 or 255 */
    uint16_t multiple; /* cols must be a multiple of this */
    void (*block)(const Matrix *m, int row, int col, Block32 *out);
    void (*super)(const Matrix *m, int row, int col, Super256 *out);
} FormInfo;

const FormInfo *form_info(Form form);

/* Rows of the matrix are runs of m->row_bytes that follow each other (not so where numbers are stored by input). */
bool form_by_rows(Form form);

/* Bytes of the matrix as it is stored; scales of blocks count two bytes each, whatever their type. */
size_t form_matrix_bytes(const Matrix *m);

/* The offset and top of a matrix: those of its form, or smaller ones where its form stores 4 or 8 bits. */
int form_offset(const Matrix *m);
int form_top(const Matrix *m);

/* `n` numbers of a row from column `col` on (both multiples of the form's group for integers) as float: the same
 * formulas and rounding as the published dequantisers. */
void form_decode_row(const Matrix *m, int row, int col, int n, float *out);

#endif
