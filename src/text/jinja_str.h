/* jinja_str.h - the methods of strings, and what filters share with them. */
#ifndef HOULE_TEXT_JINJA_STR_H
#define HOULE_TEXT_JINJA_STR_H

#include "text/jinja.h"

const Builtin *str_method_find(const char *name, size_t bytes);

/* Strips at either end: white space (chars V_MISSING or V_NONE), or the characters of a string. */
Status str_strip(Jinja *j, Value string, Value chars, bool left, bool right, Value *result);
/* count < 0: all. */
Status str_replace(Jinja *j, Value string, Value old, Value fresh, int64_t count, Value *result);
Status str_center(Jinja *j, Value string, int64_t width, const char *fill, Value *result);
Status str_cased(Jinja *j, Value string, int kind, Value *result); /* CaseKind */
Status str_split_lines(Jinja *j, Value string, bool keep_ends, List **lines);
/* Cuts at the last `separator`, at most once: what stands before it, or all. */
Value str_before_last(Value string, char separator);

#endif
