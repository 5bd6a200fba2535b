/* streams_simd.c - rows of several tokens made one, and residual streams mixed; compiled once per level. Lanes are the
 * numbers of a row, which do not meet: every number is summed in the order of op_pool.c and op_hyper.c. */
#include "kernel/kernel_parts.h"
#include "kernel/simd.h"

static inline VF load_some(const float *p, int n) {
    return n == 16 ? vf_load(p) : vf_load_part(p, n, 0);
}

static inline void store_some(float *p, VF v, int n) {
    if (n == 16)
        vf_store(p, v);
    else
        vf_store_part(p, v, n);
}

static void pool(float *y, const float *const *values, const float *const *gates, const float *const *biases, int n, int width) {
    for (int c = 0; c < width; c += 16) {
        const int some = width - c < 16 ? width - c : 16;
        VF top = vf_set(-INFINITY), sum = vf_set(0), total = vf_set(0);
        for (int i = 0; gates != NULL && i < n; i++) {
            const VF g = load_some(gates[i] + c, some);
            top = vf_max(biases != NULL ? g + load_some(biases[i] + c, some) : g, top);
        }
        for (int i = 0; i < n; i++) {
            VF w = vf_set(1);
            if (gates != NULL) {
                const VF g = load_some(gates[i] + c, some);
                w = vf_exp((biases != NULL ? g + load_some(biases[i] + c, some) : g) - top);
            }
            sum += w;
            total = vf_fma(w, load_some(values[i] + c, some), total);
        }
        store_some(y + c, total / sum, some);
    }
}

static void hyper_collapse(float *y, const float *x, const float *pre, int n, int width) {
    for (int d = 0; d < width; d += 16) {
        const int some = width - d < 16 ? width - d : 16;
        VF sum = vf_set(0);
        for (int s = 0; s < n; s++)
            sum = vf_fma(vf_set(pre[s]), load_some(x + (size_t)s * (size_t)width + d, some), sum);
        store_some(y + d, sum, some);
    }
}

enum { STREAMS = 16 };

static void hyper_expand(float *out, const float *x, const float *y, const float *post, const float *comb, int n, int width) {
    for (int d = 0; d < width; d += 16) {
        const int some = width - d < 16 ? width - d : 16;
        VF old[STREAMS];
        for (int j = 0; j < n; j++)
            old[j] = load_some(x + (size_t)j * (size_t)width + d, some);
        const VF result = load_some(y + d, some);
        for (int k = 0; k < n; k++) {
            VF sum = vf_set(post[k]) * result;
            for (int j = 0; j < n; j++)
                sum = vf_fma(vf_set(comb[j * n + k]), old[j], sum);
            store_some(out + (size_t)k * (size_t)width + d, sum, some);
        }
    }
}

void K(kernels_fill_streams)(Kernels *k) {
    k->pool = pool;
    k->hyper_collapse = hyper_collapse;
    k->hyper_expand = hyper_expand;
}
