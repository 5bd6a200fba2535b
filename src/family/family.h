/* family.h - the table of families. */
#ifndef HOULE_FAMILY_H
#define HOULE_FAMILY_H

#include "graph/graph.h"

/* The family of a model_type (the text part's, else the whole's), or NULL. */
const Family *family_find(const char *model_type, const char *outer_type);
/* All of them: NULL past the end. */
const Family *family_at(int index);

#endif
