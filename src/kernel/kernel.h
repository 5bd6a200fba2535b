/* kernel.h - the table of fast operations, filled for one CPU level.
 *
 * A level is a named bundle of instruction sets. The table starts with the plain C of src/op ("generic") and is
 * overridden level by level up to the one in force; the rest of the program calls through it and knows no CPU.
 *
 * What must hold at every level: the numbers a row gets do not depend on how many rows are computed together, on the
 * number of threads, or on where a prompt was cut. Between levels the last bits may differ. */
#ifndef HOULE_KERNEL_H
#define HOULE_KERNEL_H

#include "base/status.h"
#include "op/form.h"
#include "op/op_recur.h"
#include "op/op_row.h"

typedef enum Level {
    LEVEL_GENERIC,
    LEVEL_AVX2,       /* AVX2, FMA, F16C, BMI2 */
    LEVEL_AVX512,     /* AVX-512 F BW DQ VL CD */
    LEVEL_AVX512VNNI, /* and VNNI */
    LEVEL_AVX512BF16, /* and VBMI, BF16 */
    LEVEL_AMX,        /* and AMX tiles with int8 and bf16, with the operating system's permission */
    LEVEL_COUNT
} Level;

typedef enum Precision {
    PRECISION_F32,  /* float activations and products: the reference path */
    PRECISION_FAST, /* what the level does best: 8-bit or bf16 activations */
} Precision;

/* In which form a linear operation wants its input rows. */
typedef enum ActForm { ACT_FORM_F32, ACT_FORM_BF16, ACT_FORM_Q8_32, ACT_FORM_Q8_256, ACT_FORM_COUNT } ActForm;

/* y[r][o] = sum over k of W[o][k] x[r][k] for outputs o in [begin, end) and rows r; begin is a multiple of 16. */
typedef struct LinearJob {
    const Matrix *m;
    int begin, end;
    const uint8_t *acts;     /* rows in the form kernel_act_form() names */
    size_t act_bytes;        /* from one row to the next */
    const int32_t *act_rows; /* which of them each row of y uses; NULL: row r */
    int n_row;
    float *out;              /* &y[0][0] */
    size_t out_stride;       /* floats from one row of y to the next */
    void *scratch;           /* of this thread, LINEAR_SCRATCH_BYTES, aligned to 64 */
    const uint8_t *ahead;    /* weights that this thread will multiply with next, to fetch some of; NULL: not known */
} LinearJob;

enum {
    LINEAR_PANEL = 16,
    LINEAR_SCRATCH_BYTES = 208 << 10,
    LINEAR_FEW_ROWS = 64, /* as many or fewer rows wait for weights as long as they calculate: such jobs read weights in
                             order, and are best given many outputs (see docs/speed.md, "The server") */
};

/* ---- attention ------------------------------------------------------------------------------------------------ */

/* Keys and values are read in blocks of 64 cache entries that begin at multiples of 64, and blocks are gathered into
 * chunks of 1024 that are summed up separately; both are fixed positions, so that the cut of a prompt or the number
 * of rows cannot change the order of any sum. */
enum { CACHE_BLOCK = 64, CACHE_CHUNK = 1024 };

typedef enum CacheType { CACHE_F32, CACHE_F16, CACHE_Q8_0, CACHE_TYPE_COUNT } CacheType;

/* Bytes of one cache entry of `width` numbers: q8_0 stores width bytes, then one f16 scale per 32. */
size_t cache_entry_bytes(CacheType type, int width);

/* The part of one key/value head over one range of entries: partial softmax sums.
 * Rows are (token, query head) pairs that share the head: row r = token r / group, head r % group. */
typedef struct AttendJob {
    CacheType type;
    int key_width, value_width;
    int n_row;               /* tokens * group */
    int group;               /* query heads that share this key/value head */
    const float *query;      /* [n_row][key_width], already scaled */
    const uint8_t *const *key_blocks;   /* block b covers entries 64 b .. 64 b + 63, [64][key_width] */
    const uint8_t *const *value_blocks; /* [64][value_width]; may be the key blocks (latent attention) */
    size_t key_stride, value_stride;    /* bytes from one entry to the next inside a block */
    /* token t sees entries first[t] <= e <= last[t] (absolute), cut to [begin, end) of this job */
    const int32_t *first, *last;
    int begin, end;          /* entries; begin is a multiple of 64 */
    float softcap;           /* 0 = none */
    /* optional: only these entries are seen (sparse attention), one ascending list per token */
    const int32_t *const *chosen;
    const int32_t *n_chosen;
    /* results, one per row: maximum, sum of exponentials, weighted sum of values (not divided) */
    float *top;              /* [n_row]; -inf: nothing seen */
    float *sum;              /* [n_row] */
    float *out;              /* [n_row][value_width] */
    void *scratch;           /* of this thread, attend_scratch_bytes() */
} AttendJob;

size_t attend_scratch_bytes(int n_row, int key_width, int value_width);
enum { ATTEND_MAX_ROWS = 128 }; /* rows per job */

/* ---- recurrent layers -------------------------------------------------------------------------------------------- */

/* A head's matrix is kept in blocks of 32 columns, each [key_width][32]: see recur_simd.c. */
enum { RECUR_BLOCK = 32 };
static inline size_t recur_state_floats(int key_width, int value_width) {
    return (size_t)((value_width + RECUR_BLOCK - 1) / RECUR_BLOCK) * RECUR_BLOCK * (size_t)key_width;
}

/* The tokens of one sequence, in order, at some columns of one head: op_recur() for each. Strides are floats from one
 * token to the next (0: the same for all). */
typedef struct RecurJob {
    int n_row;
    int key_width;
    int n_col;            /* columns, from one that begins a block; the last block may be partly used */
    bool delta, by_channel; /* by_channel: key_width numbers of decay per token instead of one */
    float scale;          /* of the query */
    const float *query, *key, *value, *decay;
    const float *strength; /* one number per token; NULL = 1 */
    size_t query_stride, key_stride, value_stride, decay_stride, strength_stride;
    float *out;
    size_t out_stride;
    float *state;         /* the block with the first column */
    void *scratch;        /* recur_scratch_bytes() */
} RecurJob;

static inline size_t recur_scratch_bytes(int key_width) {
    return 4 * (((size_t)key_width + 15) & ~(size_t)15) * sizeof(float);
}
/* Scores of entries by an index: see op/op_choose.h. Groups of heads score for themselves. */
typedef struct IndexJob {
    CacheType type;
    int dim, heads, groups;
    int n_token;
    const float *query;      /* token t: &query[t * query_stride], [heads][dim] */
    size_t query_stride;
    const float *weights;    /* &weights[t * weight_stride], [heads]; NULL = ones */
    size_t weight_stride;
    float scale;
    bool plain;
    const uint8_t *const *keys; /* n entries, at most 64 */
    int n;
    float *out;              /* [n_token][groups][64]; those from n on mean nothing */
    void *scratch;           /* of this thread, index_scratch_bytes() */
} IndexJob;

size_t index_scratch_bytes(int dim);

typedef struct Kernels {
    Level level;

    /* Rows: see op/op_row.h. */
    void (*rms_norm)(float *y, const float *x, const float *weight, int n, float eps, float plus);
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, int n, float eps);
    void (*l2_norm)(float *y, const float *x, int n, float eps);
    void (*act)(float *y, const float *x, int n, Act act);
    void (*glu)(float *y, const float *gate, const float *up, int n, Act act, float limit);
    void (*glu_oai)(float *y, const float *gate, const float *up, int n, float alpha, float limit);
    void (*softcap)(float *y, const float *x, int n, float cap);
    void (*softmax)(float *y, const float *x, int n);
    void (*add)(float *y, const float *a, const float *b, int n);
    void (*mul)(float *y, const float *a, const float *b, int n);
    void (*affine)(float *y, const float *x, int n, float a, float b);
    void (*axpy)(float *y, const float *x, int n, float a);
    void (*rope)(float *head, const float *cosine, const float *sine, int dim, bool interleaved);
    void (*quantise_q8_32)(void *row, const float *x, int n);
    void (*quantise_q8_256)(void *row, const float *x, int n);
    void (*round_bf16)(uint16_t *row, const float *x, int n);
    float (*dot)(const float *a, const float *b, int n);

    void (*linear[2])(const LinearJob *job); /* by Precision */
    void (*attend[2])(const AttendJob *job);      /* by Precision */
    /* Writes one entry of `width` numbers in a cache's form. */
    void (*cache_store)(CacheType type, void *entry, const float *x, int width);
    void (*cache_load)(CacheType type, float *x, const void *entry, int width);

    void (*recur)(const RecurJob *job);
    void (*conv)(float *y, const float *const *x, const float *weight, int stride, const float *bias, int taps, int n);
    void (*index_scores)(const IndexJob *job);

    /* Several rows made one; residual streams: see op/op_pool.h, op/op_hyper.h. */
    void (*pool)(float *y, const float *const *values, const float *const *gates, const float *const *biases, int n, int width);
    void (*hyper_collapse)(float *y, const float *x, const float *pre, int n, int width);
    void (*hyper_expand)(float *out, const float *x, const float *y, const float *post, const float *comb, int n, int width);
} Kernels;

/* The table of a level, or of the best level this machine has (or HOULE_CPU forces: ERR_ARGUMENT naming those
 * present when it asks for one the machine lacks). Made once; lives as long as the process. */
Status kernels_of(Level level, const Kernels **kernels, Error *err);
Status kernels_best(const Kernels **kernels, Error *err);

bool level_present(Level level);
/* Why a CPU that has AMX cannot use it, or NULL: it then does what level avx512bf16 does. */
const char *level_why_not_amx(void);
const char *level_word(Level level);
bool level_of_word(const char *word, Level *level);

/* The form of activations for multiplying with a matrix of this form, and the bytes of one row of n inputs. */
ActForm kernel_act_form(const Kernels *kernels, Form form, Precision precision);
size_t act_form_bytes(ActForm form, int n);
/* Converts a row of floats (ACT_FORM_F32 copies). */
void act_form_convert(const Kernels *kernels, ActForm form, void *row, const float *x, int n);

/* Merges a later partial result of attention into an earlier one, in place: the order is the caller's. */
void attend_merge(float *top, float *sum, float *out, float later_top, float later_sum, const float *later, int width);

#endif
