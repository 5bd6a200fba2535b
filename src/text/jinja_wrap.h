/* jinja_wrap.h - filters that lay out text. */
#ifndef HOULE_TEXT_JINJA_WRAP_H
#define HOULE_TEXT_JINJA_WRAP_H

#include "text/jinja.h"

Status filter_indent(Jinja *j, Value v, const Args *args, Value *result);
Status filter_pprint(Jinja *j, Value v, const Args *args, Value *result);
Status filter_striptags(Jinja *j, Value v, const Args *args, Value *result);
Status filter_title(Jinja *j, Value v, const Args *args, Value *result);
Status filter_truncate(Jinja *j, Value v, const Args *args, Value *result);
Status filter_wordcount(Jinja *j, Value v, const Args *args, Value *result);
Status filter_wordwrap(Jinja *j, Value v, const Args *args, Value *result);

#endif
