/* form_ggml.h - the ggml part of the table of forms; see form.h. */
#ifndef HOULE_OP_FORM_GGML_H
#define HOULE_OP_FORM_GGML_H

#include "op/form.h"

/* Rows of forms that are not ggml's are empty. */
extern const FormInfo form_infos_ggml[FORM_COUNT], form_infos_iq[FORM_COUNT];

#endif
