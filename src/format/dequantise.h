/* dequantise.h - one function per block form: the float32 values of one block. Inside this room; others call
 * dequantise_row (dtype.h). */
#ifndef HOULE_FORMAT_DEQUANTISE_H
#define HOULE_FORMAT_DEQUANTISE_H

#include "base/bytes.h"
#include "base/half.h"

#include <stdbool.h>

static inline float load_f16(const uint8_t *at) {
    return float_of_f16(load_u16(at));
}

/* Writes block_length numbers. `block` has block_bytes bytes and any alignment. */
typedef void DequantiseBlock(const uint8_t *block, float *out);

DequantiseBlock dequantise_q4_0, dequantise_q4_1, dequantise_q5_0, dequantise_q5_1, dequantise_q8_0, dequantise_q8_1;
DequantiseBlock dequantise_q2_k, dequantise_q3_k, dequantise_q4_k, dequantise_q5_k, dequantise_q6_k, dequantise_q8_k;
DequantiseBlock dequantise_tq1_0, dequantise_tq2_0, dequantise_q1_0, dequantise_q2_0;
DequantiseBlock dequantise_mxfp4, dequantise_nvfp4;
DequantiseBlock dequantise_iq1_s, dequantise_iq1_m, dequantise_iq2_xxs, dequantise_iq2_xs, dequantise_iq2_s;
DequantiseBlock dequantise_iq3_xxs, dequantise_iq3_s, dequantise_iq4_nl, dequantise_iq4_xs;

#endif
