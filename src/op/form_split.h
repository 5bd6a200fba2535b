/* form_split.h - forms whose values and scales are separate tensors; see form.h. */
#ifndef HOULE_OP_FORM_SPLIT_H
#define HOULE_OP_FORM_SPLIT_H

#include "op/form.h"

extern const FormInfo form_infos_split[FORM_COUNT];

/* One scale of the matrix's scale tensor. */
float form_scale_at(const Matrix *m, size_t row, size_t col);
void form_gptq_decode_ordered(const Matrix *m, int row, int col, int n, float *out);

#endif
