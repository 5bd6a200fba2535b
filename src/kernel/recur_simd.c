/* recur_simd.c - recurrent layers (op/op_recur.h) and causal convolutions; compiled once per level.
 *
 * The columns of a head's matrix never meet, so it is kept and worked on in blocks of 32 columns, each block whole in
 * the first cache for all tokens of a job:
 *
 *     state of a head:   [block of 32 columns][key_width rows][32]
 *
 * The matrix is swept once per token. A sweep ends the token before (fade, add the outer product) and at the same time
 * asks for the next one what it needs of the faded matrix:
 *
 *     known = (diag(decay) S)^T key        seen = (diag(decay) S)^T query
 *     u     = strength * (value - known)   out  = seen + (query . key) u
 *
 * Both sums run over the rows in ascending order. A job's first token has no token before it, and after its last token
 * a sweep without questions brings the matrix up to date; a row of the matrix goes through the same operations either
 * way, so the cut of a prompt cannot be seen in the bits. */
#include "kernel/kernel_parts.h"
#include "kernel/simd.h"

/* A sweep covers SWEEP registers of columns. TOGETHER blocks are worked on side by side, as far as the first cache
 * reaches: what a token needs is then prepared once for them. (Measured at 32 heads of 128 x 128, a core of Zen 5,
 * AVX-512: 24 us per token with two blocks, 26 with one; 28 when a block has 64 columns.) */
#if defined(__AVX512F__)
enum { SWEEP = 2, TOGETHER = 2 };
#else
enum { SWEEP = 4, TOGETHER = 1 };
#endif
enum { SWEEP_COLS = SWEEP * LANES };

/* What the rows of a sweep need. */
typedef struct Sides {
    const float *decay, *key;   /* of the token that ends */
    const float *known, *seen;  /* key and query of the next token, times its decay */
} Sides;

typedef struct Sums {
    float known[SWEEP_COLS], seen[SWEEP_COLS];
} Sums;

/* s points at the first of the columns in row 0, u at the ending token's number for it. */
static ALWAYS_INLINE void sweep(float *s, int key_width, Sides sides, const float *u, Sums *sums, bool update, bool ask,
                                bool delta) {
    VR u_now[SWEEP], known[SWEEP], seen[SWEEP];
    for (int v = 0; v < SWEEP; v++) {
        u_now[v] = update ? vr_load(u + v * LANES) : vr_set(0);
        known[v] = seen[v] = vr_set(0);
    }
    for (int i = 0; i < key_width; i++, s += RECUR_BLOCK) {
        const VR decay = vr_set(update ? sides.decay[i] : 0), key = vr_set(update ? sides.key[i] : 0);
        const VR ask_key = vr_set(ask && delta ? sides.known[i] : 0), ask_query = vr_set(ask ? sides.seen[i] : 0);
        for (int v = 0; v < SWEEP; v++) {
            VR x = vr_load(s + v * LANES);
            if (update) {
                x = vr_fma(key, u_now[v], decay * x);
                vr_store(s + v * LANES, x);
            }
            if (ask && delta)
                known[v] = vr_fma(ask_key, x, known[v]);
            if (ask)
                seen[v] = vr_fma(ask_query, x, seen[v]);
        }
    }
    for (int v = 0; ask && v < SWEEP; v++) {
        vr_store(sums->known + v * LANES, known[v]);
        vr_store(sums->seen + v * LANES, seen[v]);
    }
}

static NOINLINE void sweep_first(float *s, int key_width, Sides sides, Sums *sums, bool delta) {
    if (delta)
        sweep(s, key_width, sides, NULL, sums, false, true, true);
    else
        sweep(s, key_width, sides, NULL, sums, false, true, false);
}

static NOINLINE void sweep_next(float *s, int key_width, Sides sides, const float *u, Sums *sums, bool delta) {
    if (delta)
        sweep(s, key_width, sides, u, sums, true, true, true);
    else
        sweep(s, key_width, sides, u, sums, true, true, false);
}

static NOINLINE void sweep_last(float *s, int key_width, Sides sides, const float *u) {
    sweep(s, key_width, sides, u, NULL, true, false, false);
}

/* The token's decay for every row, and what is asked of the faded matrix; returns query . key. */
static ALWAYS_INLINE float prepare(const RecurJob *job, int row, float *decay, float *known, float *seen,
                                   bool by_channel) {
    const float *q = job->query + (size_t)row * job->query_stride, *k = job->key + (size_t)row * job->key_stride;
    const float *d = job->decay + (size_t)row * job->decay_stride;
    const VR scale = vr_set(job->scale), d_all = vr_set(*d);
    VR products = vr_set(0);
    int i = 0;
    for (; i + LANES <= job->key_width; i += LANES) {
        const VR ki = vr_load(k + i), qi = scale * vr_load(q + i), di = by_channel ? vr_load(d + i) : d_all;
        products = vr_fma(qi, ki, products);
        vr_store(decay + i, di);
        vr_store(known + i, di * ki);
        vr_store(seen + i, di * qi);
    }
    float product = vr_sum(products);
    for (; i < job->key_width; i++) {
        const float qi = job->scale * q[i], di = by_channel ? d[i] : *d;
        product += qi * k[i];
        decay[i] = di;
        known[i] = di * k[i];
        seen[i] = di * qi;
    }
    return product;
}

/* Rows of different tokens are far apart, which hides them from the processor's own prefetching. */
static inline void fetch(const RecurJob *job, int row, int at, int n_col) {
    if (row >= job->n_row)
        return;
    const float *q = job->query + (size_t)row * job->query_stride, *k = job->key + (size_t)row * job->key_stride;
    const float *d = job->decay + (size_t)row * job->decay_stride;
    const float *v = job->value + (size_t)row * job->value_stride + at;
    for (int i = 0; i < job->key_width; i += 16) {
        PREFETCH(q + i);
        PREFETCH(k + i);
        if (job->by_channel)
            PREFETCH(d + i);
    }
    for (int i = 0; i < n_col; i += 16)
        PREFETCH(v + i);
}

/* From what the matrix answered to u and the outputs of n columns. */
static ALWAYS_INLINE void answer(const Sums *sums, const float *value, float strength, float product, bool delta,
                                 float *u, float *out, int n) {
    float padded[SWEEP_COLS] = {0};
    if (n < SWEEP_COLS) {
        memcpy(padded, value, (size_t)n * sizeof *padded);
        value = padded;
    }
    for (int c = 0; c < SWEEP_COLS; c += LANES) {
        VR x = vr_load(value + c);
        if (delta)
            x -= vr_load(sums->known + c);
        x = vr_set(strength) * x;
        const VR y = vr_fma(vr_set(product), x, vr_load(sums->seen + c));
        vr_store(u + c, x);
        if (n >= SWEEP_COLS)
            vr_store(out + c, y);
        else
            vr_store(padded + c, y);
    }
    if (n < SWEEP_COLS)
        memcpy(out, padded, (size_t)n * sizeof *padded);
}

enum { GROUP_COLS = TOGETHER * RECUR_BLOCK };

/* GROUP_COLS columns or fewer, all tokens. */
static void columns(const RecurJob *job, int at, int n_col) {
    const size_t width = (size_t)((job->key_width + 15) & ~15);
    float *known = job->scratch, *seen = known + width, *decays[2] = {seen + width, seen + 2 * width};
    const int sweeps = (n_col + SWEEP_COLS - 1) / SWEEP_COLS;
    float *state[GROUP_COLS / SWEEP_COLS];
    float u[GROUP_COLS] = {0};
    for (int w = 0; w < sweeps; w++) {
        const int column = at + w * SWEEP_COLS;
        state[w] = job->state + (size_t)(column / RECUR_BLOCK * RECUR_BLOCK) * (size_t)job->key_width + column % RECUR_BLOCK;
    }
    Sides sides = {.known = known, .seen = seen};
    for (int row = 0; row < job->n_row; row++) {
        float *decay = decays[row % 2];
        fetch(job, row + 1, at, n_col);
        const float product = job->by_channel ? prepare(job, row, decay, known, seen, true)
                                              : prepare(job, row, decay, known, seen, false);
        const float strength = job->strength != NULL ? job->strength[(size_t)row * job->strength_stride] : 1.0f;
        const float *value = job->value + (size_t)row * job->value_stride + at;
        float *out = job->out + (size_t)row * job->out_stride + at;
        for (int w = 0; w < sweeps; w++) {
            Sums sums;
            const int c = w * SWEEP_COLS;
            if (row == 0)
                sweep_first(state[w], job->key_width, sides, &sums, job->delta);
            else
                sweep_next(state[w], job->key_width, sides, u + c, &sums, job->delta);
            answer(&sums, value + c, strength, product, job->delta, u + c, out + c, n_col - c);
        }
        sides.decay = decay;
        sides.key = job->key + (size_t)row * job->key_stride;
    }
    for (int w = 0; w < sweeps; w++)
        sweep_last(state[w], job->key_width, sides, u + w * SWEEP_COLS);
}

static void recur(const RecurJob *job) {
    for (int at = 0; at < job->n_col; at += GROUP_COLS)
        columns(job, at, job->n_col - at < GROUP_COLS ? job->n_col - at : GROUP_COLS);
}

static void conv(float *y, const float *const *x, const float *weight, int stride, const float *bias, int taps, int n) {
    int c = 0;
    for (; c + LANES <= n; c += LANES) {
        VR sum = bias != NULL ? vr_load(bias + c) : vr_set(0);
        for (int j = 0; j < taps; j++)
            sum = vr_fma(vr_load(weight + (size_t)j * (size_t)stride + c), vr_load(x[j] + c), sum);
        vr_store(y + c, sum);
    }
    for (; c < n; c++) {
        float sum = bias != NULL ? bias[c] : 0;
        for (int j = 0; j < taps; j++)
            sum += weight[(size_t)j * (size_t)stride + c] * x[j][c];
        y[c] = sum;
    }
}

void K(kernels_fill_recur)(Kernels *k) {
    k->recur = recur;
    k->conv = conv;
}
