/* fill_in.h - prompts for text that belongs in the middle: what stands before and behind it, between marks that the
 * model was trained with. The marks are published with the models; which a model has, its tokenizer tells. */
#ifndef HOULE_TEXT_FILL_IN_H
#define HOULE_TEXT_FILL_IN_H

#include "text/tokenizer.h"

enum { FILL_ENDS = 6 };

typedef struct FillMarks {
    const char *prefix, *suffix, *middle; /* middle NULL: what comes follows the last of the others */
    bool suffix_first;
    const char *repository, *file; /* in front of a project's name, of each file; NULL = none */
    const char *end;               /* behind what was filled in, beside the usual ends; NULL = none */
} FillMarks;

typedef struct FillText {
    const char *bytes;
    size_t count;
} FillText;

typedef struct FillFile {
    FillText name, text;
} FillFile;

/* The marks of a model; NULL when it was not trained to fill in. */
const FillMarks *fill_marks(const Tokenizer *tokenizer);
/* Marks at which what was filled in ends: at most FILL_ENDS. */
int fill_ends(const FillMarks *marks, const char *ends[FILL_ENDS]);
/* Appends the prompt: other files of the project, what stands before and behind, and how the middle begins (may be
 * empty). Special tokens in the texts are text. */
Status fill_prompt(const Tokenizer *tokenizer, const FillMarks *marks, const FillFile *files, size_t n_file,
                   FillText before, FillText behind, FillText middle, TokenIds *ids, Error *err);

#endif
