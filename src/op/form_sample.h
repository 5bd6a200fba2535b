/* form_sample.h - made-up weights of any form, to test and to time kernels with. */
#ifndef HOULE_OP_FORM_SAMPLE_H
#define HOULE_OP_FORM_SAMPLE_H

#include "op/form.h"

typedef enum SampleKind {
    SAMPLE_RANDOM,  /* every code of the form, moderate scales */
    SAMPLE_HIGH,    /* all bits of codes and integer scales set */
    SAMPLE_ZERO,    /* all bits of codes and integer scales clear */
} SampleKind;

/* Bytes that a matrix of this form takes with its scales and zero points; 0 when cols do not fit the form. */
size_t form_sample_bytes(Form form, int rows, int cols);

/* Fills `block` (form_sample_bytes) and describes it. The same seed gives the same weights. bits: 4 or 8, for the forms
 * that have a choice. */
Matrix form_sample(Form form, int rows, int cols, int bits, SampleKind kind, uint32_t seed, uint8_t *block);

#endif
