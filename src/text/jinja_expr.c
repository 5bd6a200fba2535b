/* jinja_expr.c - see jinja_expr.h. */
#include "text/jinja_expr.h"

#include <string.h>

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static Status push_more_items(Jinja *j, Activation *a, const Expr *more) {
    Value iterable;
    TRY(eval_expr(j, a, more, &iterable));
    Iterator it;
    TRY(iterator_open(j, &it, iterable));
    for (;;) {
        Value item;
        TRY(iterator_next(j, &it, &item));
        if (!is_given(item))
            return OK;
        TRY(stack_push(j, item));
    }
}

static Status push_keyword(Jinja *j, size_t first_keyword, Value name, Value value) {
    for (size_t i = first_keyword; i < j->stack_count; i += 2)
        REFUSE_IF(j->stack[i].count == name.count && memcmp(j->stack[i].as.text, name.as.text, name.count) == 0, j,
                  "the keyword argument '%.*s' is given twice", (int)MIN(name.count, 80u), name.as.text);
    TRY(stack_push(j, name));
    return stack_push(j, value);
}

static Status push_more_keywords(Jinja *j, Activation *a, const Expr *more, size_t first_keyword) {
    Value mapping;
    TRY(eval_expr(j, a, more, &mapping));
    REFUSE_IF(mapping.kind != V_DICT, j, "argument after ** must be a mapping, not %s", value_type(mapping));
    size_t at = 0;
    for (const DictEntry *entry; (entry = dict_next(mapping.as.dict, &at)) != NULL;) {
        REFUSE_IF(entry->key.kind != V_STRING, j, "keywords must be strings");
        TRY(push_keyword(j, first_keyword, entry->key, entry->value));
    }
    return OK;
}

/* Evaluates the arguments onto the stack: items, then names and values of the keywords in turn. The stack never
 * moves, so that `args` stays valid until the caller resets it. */
static Status push_args(Jinja *j, Activation *a, const CallArgs *given, Value caller, Args *args) {
    const size_t base = j->stack_count;
    for (size_t i = 0; i < given->items.count; i++) {
        Value item;
        TRY(eval_expr(j, a, given->items.items[i], &item));
        TRY(stack_push(j, item));
    }
    if (given->more_items != NULL)
        TRY(push_more_items(j, a, given->more_items));
    const size_t first_keyword = j->stack_count;
    for (size_t i = 0; i < given->keyword_count; i++) {
        Value value;
        TRY(eval_expr(j, a, given->keywords[i].value, &value));
        TRY(push_keyword(j, first_keyword, given->keywords[i].name, value));
    }
    if (is_given(caller))
        TRY(push_keyword(j, first_keyword, value_str("caller"), caller));
    if (given->more_keywords != NULL)
        TRY(push_more_keywords(j, a, given->more_keywords, first_keyword));
    *args = (Args){.count = first_keyword - base, .keyword_count = (j->stack_count - first_keyword) / 2};
    if (j->stack != NULL) {
        args->items = j->stack + base;
        args->keywords = (const Keyword *)(const void *)(j->stack + first_keyword); /* two values each */
    }
    return OK;
}

_Static_assert(sizeof(Keyword) == 2 * sizeof(Value), "keywords lie on the stack as pairs of values");

Status eval_call(Jinja *j, Activation *a, const Expr *e, Value caller, Value *result) {
    Value callee;
    TRY(eval_expr(j, a, e->as.call.callee, &callee));
    const size_t base = j->stack_count;
    Args args;
    TRY(push_args(j, a, &e->as.call.args, caller, &args));
    j->line = e->line;
    TRY(value_call(j, callee, &args, result));
    j->stack_count = base;
    return OK;
}

static Status call_builtin(Jinja *j, Activation *a, const Expr *e, Value self, Value *result) {
    if (e->as.call.builtin == NULL)
        REFUSE(j, "no %s named '%.*s'", e->kind == E_FILTER ? "filter" : "test",
               (int)MIN(e->as.call.name.count, 80u), e->as.call.name.as.text);
    const size_t base = j->stack_count;
    Args args;
    TRY(push_args(j, a, &e->as.call.args, value_missing(), &args));
    j->line = e->line;
    TRY(builtin_call(j, e->as.call.builtin, self, &args, result));
    j->stack_count = base;
    return OK;
}

Status eval_filters(Jinja *j, Activation *a, const Expr *filter, Value text, Value *result) {
    TRY(jinja_enter(j));
    if (filter->as.call.callee != NULL)
        TRY(eval_filters(j, a, filter->as.call.callee, text, &text));
    TRY(call_builtin(j, a, filter, text, result));
    jinja_leave(j);
    return OK;
}

/* ---- literals and operators -------------------------------------------------------------------------------------- */

static Status eval_items(Jinja *j, Activation *a, const Expr *e, Value *result) {
    List *list;
    const size_t count = e->as.list.count;
    TRY(list_new(j, count, &list));
    for (size_t i = 0; i < count; i++)
        TRY(eval_expr(j, a, e->as.list.items[i], &list->items[i]));
    list->count = count;
    *result = e->kind == E_LIST ? value_of_list(list) : value_of_tuple(list);
    return OK;
}

static Status eval_dict(Jinja *j, Activation *a, const Expr *e, Value *result) {
    Dict *dict;
    TRY(dict_new(j, &dict));
    for (size_t i = 0; i < e->as.list.count; i += 2) {
        Value key, value;
        TRY(eval_expr(j, a, e->as.list.items[i], &key));
        TRY(eval_expr(j, a, e->as.list.items[i + 1], &value));
        TRY(dict_put(j, dict, key, value));
    }
    *result = value_of_dict(dict);
    return OK;
}

static Status eval_compare(Jinja *j, Activation *a, const Expr *e, Value *result) {
    Value left;
    TRY(eval_expr(j, a, e->as.compare.operands[0], &left));
    bool holds = true;
    for (size_t i = 0; i < e->as.compare.count && holds; i++) {
        Value right;
        TRY(eval_expr(j, a, e->as.compare.operands[i + 1], &right));
        TRY(value_test(j, e->as.compare.ops[i], left, right, &holds));
        left = right;
    }
    *result = value_bool(holds);
    return OK;
}

/* Puts the strings on the stack from `base` on together. When the first makes up most of the result, it may have room
 * behind it to go on in place; otherwise all are copied once. */
static Status join_parts(Jinja *j, size_t base, Value *result) {
    size_t total = 0;
    for (size_t i = base; i < j->stack_count; i++)
        total += j->stack[i].count;
    if (total >= 256 && j->stack[base].count >= total / 2) {
        *result = j->stack[base];
        for (size_t i = base + 1; i < j->stack_count; i++)
            TRY(string_concat(j, *result, j->stack[i], result));
        return OK;
    }
    const size_t mark = jinja_mark(j);
    for (size_t i = base; i < j->stack_count; i++)
        TRY(jinja_write(j, j->stack[i].as.text, j->stack[i].count));
    return jinja_take(j, mark, result);
}

static Status eval_concat(Jinja *j, Activation *a, const Expr *e, Value *result) {
    const size_t base = j->stack_count;
    bool markup = false;
    for (size_t i = 0; i < e->as.list.count; i++) {
        Value part;
        TRY(eval_expr(j, a, e->as.list.items[i], &part));
        TRY(value_to_string(j, part, &part));
        markup = markup || (is_markup(part) && e->op == ESCAPE_ON);
        TRY(stack_push(j, part));
    }
    for (size_t i = base; i < j->stack_count; i++) {
        if (markup)
            TRY(value_escape(j, j->stack[i], &j->stack[i]));
        else
            j->stack[i].flags &= (uint8_t)~STR_MARKUP;
    }
    TRY(join_parts(j, base, result));
    if (markup)
        result->flags |= STR_MARKUP;
    j->stack_count = base;
    return OK;
}

static Status eval_logic(Jinja *j, Activation *a, const Expr *e, Value *result) {
    TRY(eval_expr(j, a, e->as.binary.left, result));
    if (value_truth(*result) == (e->kind == E_AND))
        return eval_expr(j, a, e->as.binary.right, result);
    return OK;
}

static Status eval_condition(Jinja *j, Activation *a, const Expr *e, Value *result) {
    Value test;
    TRY(eval_expr(j, a, e->as.condition.test, &test));
    if (value_truth(test))
        return eval_expr(j, a, e->as.condition.yes, result);
    if (e->as.condition.no != NULL)
        return eval_expr(j, a, e->as.condition.no, result);
    *result = undefined_hint("the inline if-expression evaluated to false and no else section was defined");
    return OK;
}

static Status eval_binary(Jinja *j, Activation *a, const Expr *e, Value *result) {
    Value left, right;
    TRY(eval_expr(j, a, e->as.binary.left, &left));
    TRY(eval_expr(j, a, e->as.binary.right, &right));
    j->line = e->line;
    return value_binary(j, (BinaryOp)e->op, left, right, result);
}

static Status eval_unary(Jinja *j, Activation *a, const Expr *e, Value *result) {
    Value operand;
    TRY(eval_expr(j, a, e->as.binary.left, &operand));
    if (e->kind == E_NOT) {
        *result = value_bool(!value_truth(operand));
        return OK;
    }
    return value_negate(j, operand, e->kind == E_NEGATE, result);
}

static Status eval_access(Jinja *j, Activation *a, const Expr *e, Value *result) {
    Value object, key;
    TRY(eval_expr(j, a, e->as.access.object, &object));
    if (e->kind == E_ATTRIBUTE) {
        j->line = e->line;
        return value_get_attribute(j, object, e->as.access.name, result);
    }
    TRY(eval_expr(j, a, e->as.access.key, &key));
    j->line = e->line;
    return value_get_item(j, object, key, result);
}

static Status eval_slice(Jinja *j, Activation *a, const Expr *e, Value *result) {
    Value object, parts[3];
    TRY(eval_expr(j, a, e->as.slice.object, &object));
    const Expr *const exprs[3] = {e->as.slice.start, e->as.slice.stop, e->as.slice.step};
    for (int i = 0; i < 3; i++) {
        parts[i] = value_none();
        if (exprs[i] != NULL)
            TRY(eval_expr(j, a, exprs[i], &parts[i]));
    }
    j->line = e->line;
    return value_get_slice(j, object, parts[0], parts[1], parts[2], result);
}

static Status eval_filter_or_test(Jinja *j, Activation *a, const Expr *e, Value *result) {
    Value self;
    TRY(eval_expr(j, a, e->as.call.callee, &self));
    return call_builtin(j, a, e, self, result);
}

static Status eval_compound(Jinja *j, Activation *a, const Expr *e, Value *result) {
    switch ((ExprKind)e->kind) {
    case E_TUPLE:
    case E_LIST:
        return eval_items(j, a, e, result);
    case E_DICT:
        return eval_dict(j, a, e, result);
    case E_CONDITION:
        return eval_condition(j, a, e, result);
    case E_OR:
    case E_AND:
        return eval_logic(j, a, e, result);
    case E_NOT:
    case E_NEGATE:
    case E_POSITIVE:
        return eval_unary(j, a, e, result);
    case E_COMPARE:
        return eval_compare(j, a, e, result);
    case E_BINARY:
        return eval_binary(j, a, e, result);
    case E_CONCAT:
        return eval_concat(j, a, e, result);
    case E_ATTRIBUTE:
    case E_ITEM:
        return eval_access(j, a, e, result);
    case E_SLICE:
        return eval_slice(j, a, e, result);
    case E_CALL:
        return eval_call(j, a, e, value_missing(), result);
    case E_FILTER:
    case E_TEST:
        return eval_filter_or_test(j, a, e, result);
    case E_CONST:
    case E_NAME:
    case E_NAMESPACE_NAME:
        break;
    }
    return OK;
}

Status eval_expr(Jinja *j, Activation *a, const Expr *e, Value *result) {
    if (e->kind == E_CONST) {
        *result = e->as.constant;
        return OK;
    }
    if (e->kind == E_NAME) {
        *result = *variable(a, e->as.name.place);
        if (!is_given(*result))
            *result = undefined_name(e->as.name.name);
        return OK;
    }
    TRY(jinja_enter(j));
    j->line = e->line;
    TRY(eval_compound(j, a, e, result));
    jinja_leave(j);
    return OK;
}
