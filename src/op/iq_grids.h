/* iq_grids.h - the codebooks of ggml's IQ forms and the level tables of the 4-bit ones.
 *
 * Published format data: a quantised block stores indices into these. An entry of a grid is one machine word whose byte
 * i (lowest first) is the i-th value, so that a kernel loads an entry at once; on a big-endian machine read it by
 * shifts. Used by the definition of the forms (form_iq.c, form_ggml.c) and by their kernels. */
#ifndef HOULE_OP_IQ_GRIDS_H
#define HOULE_OP_IQ_GRIDS_H

#include <stdint.h>

/* Eight magnitudes of {8, 25, 43}. */
extern const uint64_t iq2_xxs_grid[256];
extern const uint64_t iq2_xs_grid[512];
extern const uint64_t iq2_s_grid[1024];
/* Eight signed bytes of {-1, 0, 1}; IQ1_S and IQ1_M. */
extern const uint64_t iq1_grid[2048];
/* Four magnitudes: of {4, 12, 20, 28, 36, 44, 52, 62}, and of {1, 3, 5, ... 15}. */
extern const uint32_t iq3_xxs_grid[256];
extern const uint32_t iq3_s_grid[512];

/* IQ2_XXS, IQ2_XS and IQ3_XXS store seven of eight signs: the number of minus signs is even. Entry s is s with the
 * eighth sign as bit 7; bit i set = value i is negative. */
extern const uint8_t iq_signs[128];

/* The 16 levels of IQ4_NL and IQ4_XS; twice the 16 values of FP4 (E2M1), of MXFP4 and NVFP4. */
extern const int8_t iq4_levels[16];
extern const int8_t fp4_levels_doubled[16];

#endif
