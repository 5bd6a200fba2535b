/* normal_form.h - Unicode's normal forms, in time proportional to the text. */
#ifndef HOULE_TEXT_NORMAL_FORM_H
#define HOULE_TEXT_NORMAL_FORM_H

#include "base/text.h"

typedef enum NormalForm { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD } NormalForm;

/* Appends the normal form of valid UTF-8 to `out`. The array of code points is scratch memory, grown as needed. */
Status normal_form(const char *text, size_t count, NormalForm form, int32_t **code_points, size_t *capacity, Text *out,
                   Error *err);

#endif
