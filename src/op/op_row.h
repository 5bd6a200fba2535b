/* op_row.h - operations on one row of numbers, in plain C: the definitions.
 *
 * A row is what one token has at one place of the network. These functions say what each operation means; the fast
 * versions in src/kernel have the same signatures and are checked against them. Output may be the input (in place)
 * unless said otherwise. n counts floats. */
#ifndef HOULE_OP_ROW_H
#define HOULE_OP_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Act {
    ACT_NONE,
    ACT_SILU,      /* x * sigmoid(x) */
    ACT_GELU_TANH, /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), Hendrycks & Gimpel 2016 */
    ACT_GELU_ERF,  /* 0.5 x (1 + erf(x / sqrt 2)) */
    ACT_RELU,
    ACT_RELU2,     /* max(x, 0)^2, So et al. 2021 (Primer) */
    ACT_SIGMOID,
    ACT_TANH,
    ACT_SOFTPLUS,  /* log(1 + e^x) */
    ACT_EXP,
} Act;

/* y = x / sqrt(mean(x^2) + eps) * (weight + plus); Zhang & Sennrich 2019. weight may be NULL (all ones, plus 0). */
void op_rms_norm(float *y, const float *x, const float *weight, int n, float eps, float plus);
/* y = (x - mean) / sqrt(var + eps) * weight + bias; weight and bias may be NULL. */
void op_layer_norm(float *y, const float *x, const float *weight, const float *bias, int n, float eps);
/* y = x / sqrt(sum(x^2) + eps) */
void op_l2_norm(float *y, const float *x, int n, float eps);

void op_act(float *y, const float *x, int n, Act act);
/* y = act(gate) * up. limit > 0 clamps first: gate to at most limit, up to [-limit, limit]. */
void op_glu(float *y, const float *gate, const float *up, int n, Act act, float limit);
/* A gated unit with clamps and a shift (published by OpenAI with its open weights): g = min(gate, limit), u = clamp(up, +-limit); y = (u + 1) * g * sigmoid(alpha * g). */
void op_glu_oai(float *y, const float *gate, const float *up, int n, float alpha, float limit);
/* y = cap * tanh(x / cap) */
void op_softcap(float *y, const float *x, int n, float cap);
/* Softmax over n numbers, stable; all -inf gives zeros. */
void op_softmax(float *y, const float *x, int n);

void op_add(float *y, const float *a, const float *b, int n);
void op_mul(float *y, const float *a, const float *b, int n);
/* y = a * x + b, the same a and b for all */
void op_affine(float *y, const float *x, int n, float a, float b);
/* y += a * x */
void op_axpy(float *y, const float *x, int n, float a);

/* Rotates pairs of a head by the angles whose cosines and sines are given (dim / 2 each): Su et al. 2021.
 * Pairs are (i, i + dim/2), or (2i, 2i + 1) when interleaved. Numbers from dim on are left as they are. */
void op_rope(float *head, const float *cosine, const float *sine, int dim, bool interleaved);

/* ---- activations in 8 bits ---------------------------------------------------------------------------------------
 * q = round(x / d) in -127..127 with d = max|x| / 127 over a group (0 for a group of zeros, or of numbers below
 * ACT_TINY); ties to even. Two forms, for the two kinds of integer weights (see op/form.h): one scale for each 32
 * numbers, or for each 256. A row is a run of blocks of 256 numbers, the last one padded with zeros, so that a product
 * of 256 inputs finds all it needs together. Numbers that are not finite make their group's d (and s) NaN and q zero,
 * so that they reach the result. */
#define ACT_TINY 0x1p-118f

typedef struct ActBlock32 {
    int8_t q[256];
    float d[8];          /* of each 32 */
    float s[8];          /* d * sum of q, of each 32 */
    int16_t counts[16];  /* sum of q, of each 16 */
} ActBlock32;

typedef struct ActBlock256 {
    int8_t q[256];
    int16_t counts[16];  /* sum of q, of each 16 */
    int16_t counts32[8]; /* of each 32 */
    float d;
    float unused[3];
} ActBlock256;

_Static_assert(sizeof(ActBlock32) == 352 && sizeof(ActBlock256) == 320, "blocks without holes, in multiples of 32");

size_t act_q8_32_bytes(int n);
size_t act_q8_256_bytes(int n);
void op_quantise_q8_32(void *row, const float *x, int n);
void op_quantise_q8_256(void *row, const float *x, int n);

/* bf16 rows: n numbers, padded to an even count with zero. */
size_t act_bf16_bytes(int n);
void op_round_bf16(uint16_t *row, const float *x, int n);

#endif
