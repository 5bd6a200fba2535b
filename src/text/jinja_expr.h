/* jinja_expr.h - evaluating expressions. */
#ifndef HOULE_TEXT_JINJA_EXPR_H
#define HOULE_TEXT_JINJA_EXPR_H

#include "text/jinja_eval.h"

static inline Value *variable(Activation *a, Place place) {
    for (uint32_t hops = place.hops; hops > 0; hops--)
        a = a->outer;
    return &a->slots[place.slot];
}

Status eval_expr(Jinja *j, Activation *a, const Expr *e, Value *result);
/* An E_CALL with `caller` as one more keyword argument, unless it is V_MISSING. */
Status eval_call(Jinja *j, Activation *a, const Expr *e, Value caller, Value *result);
/* A chain of E_FILTER that begins with the text of a block. */
Status eval_filters(Jinja *j, Activation *a, const Expr *filter, Value text, Value *result);

#endif
