/* jinja_ops.c - operators, comparison, membership, attributes, items and slices. */
#include "text/jinja.h"

#include "text/jinja_int.h"

#include <math.h>
#include <string.h>

/* ---- arithmetic -------------------------------------------------------------------------------------------------- */

static const char *const op_text[] = {
    [OP_ADD] = "+",       [OP_SUB] = "-", [OP_MUL] = "*",           [OP_DIV] = "/",
    [OP_FLOORDIV] = "//", [OP_MOD] = "%", [OP_POW] = "** or pow()",
};

static Status unsupported(Jinja *j, BinaryOp op, Value a, Value b) {
    if (a.kind == V_UNDEFINED)
        return undefined_fail(j, a);
    if (b.kind == V_UNDEFINED)
        return undefined_fail(j, b);
    if (op == OP_ADD && (a.kind == V_STRING || a.kind == V_LIST || a.kind == V_TUPLE))
        REFUSE(j, "can only concatenate %s (not \"%s\") to %s", value_type(a), value_type(b), value_type(a));
    REFUSE(j, "unsupported operand type(s) for %s: '%s' and '%s'", op_text[op], value_type(a), value_type(b));
}

/* Python's floor division and modulo of floats: the remainder has the divisor's sign. */
static void floor_divide(double a, double b, double *quotient, double *remainder) {
    double rest = fmod(a, b);
    double whole = (a - rest) / b;
    if (rest != 0) {
        if ((b < 0) != (rest < 0)) {
            rest += b;
            whole -= 1;
        }
    } else {
        rest = copysign(0.0, b);
    }
    if (whole != 0) {
        const double floored = floor(whole);
        *quotient = whole - floored > 0.5 ? floored + 1 : floored;
    } else {
        *quotient = copysign(0.0, a / b);
    }
    *remainder = rest;
}

static Status float_power(Jinja *j, double a, double b, Value *result) {
    REFUSE_IF(a == 0 && b < 0, j, "0.0 cannot be raised to a negative power");
    REFUSE_IF(a < 0 && isfinite(a) && isfinite(b) && b != floor(b), j,
              "a negative number raised to a fraction is a complex number");
    const double power = pow(a, b);
    REFUSE_IF(isinf(power) && isfinite(a) && isfinite(b), j, "Numerical result out of range");
    *result = value_float(power);
    return OK;
}

static Status float_binary(Jinja *j, BinaryOp op, Value a, Value b, Value *result) {
    double x, y, quotient, remainder;
    TRY(number_to_double(j, a, &x));
    TRY(number_to_double(j, b, &y));
    switch (op) {
    case OP_ADD:
        *result = value_float(x + y);
        return OK;
    case OP_SUB:
        *result = value_float(x - y);
        return OK;
    case OP_MUL:
        *result = value_float(x * y);
        return OK;
    case OP_DIV:
        REFUSE_IF(y == 0, j, "float division by zero");
        *result = value_float(x / y);
        return OK;
    case OP_FLOORDIV:
    case OP_MOD:
        REFUSE_IF(y == 0, j, op == OP_MOD ? "float modulo" : "float floor division by zero");
        floor_divide(x, y, &quotient, &remainder);
        *result = value_float(op == OP_MOD ? remainder : quotient);
        return OK;
    case OP_POW:
        return float_power(j, x, y, result);
    }
    return OK;
}

static Status integer_binary(Jinja *j, BinaryOp op, Value a, Value b, Value *result) {
    switch (op) {
    case OP_ADD:
        return int_add(j, a, b, result);
    case OP_SUB:
        return int_subtract(j, a, b, result);
    case OP_MUL:
        return int_multiply(j, a, b, result);
    case OP_FLOORDIV:
        return int_divide(j, a, b, result, NULL);
    case OP_MOD:
        return int_divide(j, a, b, NULL, result);
    case OP_DIV: {
        double quotient;
        TRY(int_true_divide(j, a, b, &quotient));
        *result = value_float(quotient);
        return OK;
    }
    case OP_POW:
        if (int_sign(b) < 0) {
            REFUSE_IF(int_sign(a) == 0, j, "0.0 cannot be raised to a negative power");
            return float_binary(j, op, a, b, result);
        }
        return int_power(j, a, b, result);
    }
    return OK;
}

/* ---- sequences --------------------------------------------------------------------------------------------------- */

static Status add_sequences(Jinja *j, Value a, Value b, Value *result) {
    const List *x = a.as.list, *y = b.as.list;
    List *sum;
    TRY(jinja_spend(j, (x->count + y->count) / 8));
    TRY(list_new(j, x->count + y->count, &sum));
    if (x->count > 0)
        memcpy(sum->items, x->items, x->count * sizeof(Value));
    if (y->count > 0)
        memcpy(sum->items + x->count, y->items, y->count * sizeof(Value));
    sum->count = x->count + y->count;
    *result = a;
    result->flags = 0;
    result->as.list = sum;
    return OK;
}

static Status add_strings(Jinja *j, Value a, Value b, Value *result) {
    if (is_markup(a) && !is_markup(b))
        TRY(value_escape(j, b, &b));
    else if (is_markup(b) && !is_markup(a))
        TRY(value_escape(j, a, &a));
    return string_concat(j, a, b, result);
}

static Status repeat(Jinja *j, Value sequence, Value times, Value *result) {
    int64_t n;
    if (!int_to_int64(times, &n))
        n = int_sign(times) < 0 ? 0 : INT64_MAX;
    const size_t count = n > 0 ? (size_t)n : 0;
    if (sequence.kind == V_STRING) {
        const size_t mark = jinja_mark(j);
        TRY(jinja_write_repeat(j, sequence.as.text, sequence.count, count));
        TRY(jinja_take(j, mark, result));
        result->flags |= sequence.flags & STR_MARKUP;
        return OK;
    }
    const List *list = sequence.as.list;
    size_t total;
    if (!size_mul(list->count, count, &total) || total > SIZE_MAX / 64)
        return jinja_fail(j, ERR_LIMIT, "a list repeated too many times");
    TRY(jinja_spend(j, total / 8));
    List *repeated;
    TRY(list_new(j, total, &repeated));
    for (size_t i = 0; i < total; i += list->count)
        memcpy(repeated->items + i, list->items, list->count * sizeof(Value));
    repeated->count = total;
    *result = sequence;
    result->flags = 0;
    result->as.list = repeated;
    return OK;
}

static bool is_sequence(Value v) {
    return v.kind == V_STRING || v.kind == V_LIST || v.kind == V_TUPLE;
}

Status value_binary(Jinja *j, BinaryOp op, Value a, Value b, Value *result) {
    if (is_integer(a) && is_integer(b))
        return integer_binary(j, op, a, b, result);
    if (is_number(a) && is_number(b))
        return float_binary(j, op, a, b, result);
    if (b.kind == V_UNDEFINED || a.kind == V_UNDEFINED) {
        if (op == OP_MOD && a.kind == V_STRING)
            return format_percent(j, a, b, result);
        return unsupported(j, op, a, b);
    }
    switch (op) {
    case OP_ADD:
        if (a.kind == V_STRING && b.kind == V_STRING)
            return add_strings(j, a, b, result);
        if ((a.kind == V_LIST || a.kind == V_TUPLE) && a.kind == b.kind)
            return add_sequences(j, a, b, result);
        break;
    case OP_MUL:
        if (is_sequence(a) && is_integer(b))
            return repeat(j, a, b, result);
        if (is_sequence(b) && is_integer(a))
            return repeat(j, b, a, result);
        break;
    case OP_MOD:
        if (a.kind == V_STRING)
            return format_percent(j, a, b, result);
        break;
    default:
        break;
    }
    return unsupported(j, op, a, b);
}

Status value_negate(Jinja *j, Value v, bool negative, Value *result) {
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    REFUSE_IF(!is_number(v), j, "bad operand type for unary %c: '%s'", negative ? '-' : '+', value_type(v));
    if (v.kind == V_FLOAT)
        *result = value_float(negative ? -v.as.real : v.as.real);
    else if (negative)
        return int_negate(j, v, result);
    else
        *result = v.kind == V_BOOL ? value_int(v.as.boolean) : v;
    return OK;
}

/* ---- comparison -------------------------------------------------------------------------------------------------- */

Status value_contains(Jinja *j, Value container, Value item, bool *result) {
    *result = false;
    if (container.kind == V_STRING) {
        if (item.kind != V_STRING)
            REFUSE(j, "'in <string>' requires string as left operand, not %s", value_type(item));
        TRY(jinja_spend_bytes(j, container.count));
        *result = item.count == 0 || memmem(container.as.text, container.count, item.as.text, item.count) != NULL;
        return OK;
    }
    if (container.kind == V_DICT || (container.kind == V_VIEW && container.as.view->which == VIEW_KEYS)) {
        Value found;
        TRY(dict_get(j, container.kind == V_DICT ? container.as.dict : container.as.view->dict, item, &found));
        *result = is_given(found);
        return OK;
    }
    REFUSE_IF(!value_is_iterable(container), j, "argument of type '%s' is not iterable", value_type(container));
    Iterator it;
    TRY(iterator_open(j, &it, container));
    while (!*result) {
        Value one;
        TRY(iterator_next(j, &it, &one));
        if (!is_given(one))
            break;
        *result = value_same(one, item);
        if (!*result)
            TRY(value_equal(j, one, item, result));
    }
    return OK;
}

Status value_test(Jinja *j, CompareOp op, Value a, Value b, bool *result) {
    static const char *const texts[] = {[CMP_LT] = "<", [CMP_LE] = "<=", [CMP_GT] = ">", [CMP_GE] = ">="};
    switch (op) {
    case CMP_EQ:
        return value_equal(j, a, b, result);
    case CMP_NE:
        TRY(value_equal(j, a, b, result));
        *result = !*result;
        return OK;
    case CMP_IN:
        return value_contains(j, b, a, result);
    case CMP_NOT_IN:
        TRY(value_contains(j, b, a, result));
        *result = !*result;
        return OK;
    default: {
        int order = 0;
        bool unordered;
        TRY(value_compare(j, a, b, texts[op], &order, &unordered));
        *result = !unordered && (op == CMP_LT   ? order < 0
                                 : op == CMP_LE ? order <= 0
                                 : op == CMP_GT ? order > 0
                                                : order >= 0);
        return OK;
    }
    }
}

/* ---- attributes and items ---------------------------------------------------------------------------------------- */

Status value_to_int64(Jinja *j, Value v, const char *what, int64_t *number) {
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    REFUSE_IF(!is_integer(v), j, "%s: an integer is expected, not %s", what, value_type(v));
    REFUSE_IF(!int_to_int64(v, number), j, "%s: the integer is too large", what);
    return OK;
}

static bool is_private(Value name) {
    return name.count >= 2 && name.as.text[0] == '_' && name.as.text[1] == '_';
}

Status value_attribute(Jinja *j, Value object, Value name, Value *result) {
    *result = value_missing();
    const Builtin *builtin = method_find((ValueKind)object.kind, name.as.text, name.count);
    if (builtin != NULL) {
        Method *method;
        TRY(jinja_alloc(j, sizeof *method, &method));
        *method = (Method){.self = object, .builtin = builtin};
        *result = (Value){.kind = V_METHOD, .as.method = method};
        return OK;
    }
    return value_property(j, object, name, result);
}

/* What object[key] gives by itself; V_MISSING for whatever Python answers with TypeError or LookupError. */
static Status subscript(Jinja *j, Value object, Value key, Value *result) {
    *result = value_missing();
    int64_t index;
    bool has;
    switch (object.kind) {
    case V_DICT:
        if (key.kind == V_LIST || key.kind == V_DICT)
            return OK;
        return dict_get(j, object.as.dict, key, result);
    case V_STRING:
    case V_LIST:
    case V_TUPLE:
    case V_RANGE:
        if (!is_integer(key) || !int_to_int64(key, &index))
            return OK;
        break;
    case V_SELF:
        return key.kind == V_STRING ? block_reference(j, object, key, result) : OK;
    default:
        return OK;
    }
    const size_t length = value_length(object, &has);
    if (index < 0)
        index += (int64_t)length;
    if (index < 0 || index >= (int64_t)length)
        return OK;
    if (object.kind == V_STRING) {
        if (!is_ascii(object))
            TRY(jinja_spend_bytes(j, object.count));
        const size_t at = string_offset(object, (size_t)index);
        size_t end = at + 1;
        while (end < object.count && ((unsigned char)object.as.text[end] & 0xC0) == 0x80)
            end++;
        *result = value_slice(object, at, end - at);
    } else if (object.kind == V_RANGE) {
        *result = value_int(object.as.range->start + index * object.as.range->step);
    } else {
        *result = object.as.list->items[index];
    }
    return OK;
}

Status value_get_attribute(Jinja *j, Value object, Value name, Value *result) {
    if (object.kind == V_UNDEFINED)
        return undefined_fail(j, object);
    TRY(value_attribute(j, object, name, result));
    if (is_given(*result))
        return OK;
    TRY(subscript(j, object, name, result));
    if (!is_given(*result))
        *result = is_private(name) ? undefined_unsafe(object, name) : undefined_item(object, name);
    return OK;
}

Status value_get_item(Jinja *j, Value object, Value key, Value *result) {
    if (object.kind == V_UNDEFINED)
        return undefined_fail(j, object);
    TRY(subscript(j, object, key, result));
    if (is_given(*result))
        return OK;
    if (key.kind == V_STRING)
        TRY(value_attribute(j, object, key, result));
    if (!is_given(*result))
        *result = key.kind == V_STRING && is_private(key) ? undefined_unsafe(object, key) : undefined_item(object, key);
    return OK;
}

/* ---- slices ------------------------------------------------------------------------------------------------------ */

static Status slice_bound(Jinja *j, Value v, int64_t length, int64_t low, int64_t high, int64_t otherwise,
                          int64_t *bound) {
    if (v.kind == V_NONE) {
        *bound = otherwise;
        return OK;
    }
    REFUSE_IF(!is_integer(v), j, "slice indices must be integers or None, not %s", value_type(v));
    int64_t n;
    if (!int_to_int64(v, &n))
        n = int_sign(v) < 0 ? INT64_MIN : INT64_MAX;
    if (n < 0)
        n = n < -length ? low : n + length;
    *bound = n < low ? low : n > high ? high : n;
    return OK;
}

typedef struct Slice {
    int64_t first, end, stride; /* end: where it stops, not included; -1 before the first item */
    size_t count;
} Slice;

static Status slice_indices(Jinja *j, size_t length, Value start, Value stop, Value step, Slice *slice) {
    int64_t by = 1;
    if (step.kind != V_NONE) {
        REFUSE_IF(!is_integer(step), j, "slice indices must be integers or None, not %s", value_type(step));
        if (!int_to_int64(step, &by))
            by = int_sign(step) < 0 ? -INT64_MAX : INT64_MAX;
        REFUSE_IF(by == 0, j, "slice step cannot be zero");
        if (by == INT64_MIN)
            by = -INT64_MAX;
    }
    const int64_t n = (int64_t)length;
    int64_t from, to;
    if (by > 0) {
        TRY(slice_bound(j, start, n, 0, n, 0, &from));
        TRY(slice_bound(j, stop, n, 0, n, n, &to));
        slice->count = from < to ? (size_t)((to - from - 1) / by) + 1 : 0;
    } else {
        TRY(slice_bound(j, start, n, -1, n - 1, n - 1, &from));
        TRY(slice_bound(j, stop, n, -1, n - 1, -1, &to));
        slice->count = to < from ? (size_t)((from - to - 1) / -by) + 1 : 0;
    }
    slice->first = from;
    slice->end = to;
    slice->stride = by;
    return OK;
}

/* The ends of a range may be any 64-bit numbers, but it is short: only sums that can matter are computed, with
 * integers that may grow. */
static Status range_number(Jinja *j, int64_t start, int64_t at, int64_t step, int64_t *number) {
    Value distance, sum;
    TRY(int_multiply(j, value_int(at), value_int(step), &distance));
    TRY(int_add(j, value_int(start), distance, &sum));
    REFUSE_IF(!int_to_int64(sum, number), j, "the range's end does not fit 64 bits");
    return OK;
}

static Status slice_range(Jinja *j, const Range *range, const Slice *slice, Value *result) {
    Range *part;
    TRY(jinja_alloc(j, sizeof *part, &part));
    part->count = slice->count;
    TRY(range_number(j, range->start, slice->first, range->step, &part->start));
    TRY(range_number(j, range->start, slice->end, range->step, &part->stop));
    TRY(range_number(j, 0, slice->stride, range->step, &part->step));
    *result = (Value){.kind = V_RANGE, .as.range = part};
    return OK;
}

static Status slice_string(Jinja *j, Value string, const Slice *slice, Value *result) {
    const int64_t first = slice->first, stride = slice->stride;
    const size_t count = slice->count;
    if (!is_ascii(string))
        TRY(jinja_spend_bytes(j, string.count));
    if (count == 0) {
        *result = value_slice(string, 0, 0);
        return OK;
    }
    if (stride == 1) {
        const size_t from = string_offset(string, (size_t)first);
        const Value tail = value_slice(string, from, string.count - from);
        *result = value_slice(tail, 0, string_offset(tail, count));
        return OK;
    }
    TRY(jinja_spend(j, count / 4 + 1));
    /* Walk from the first character by |stride| characters in either direction. */
    const size_t mark = jinja_mark(j);
    size_t at = string_offset(string, (size_t)first);
    for (size_t i = 0; i < count; i++) {
        size_t end = at + 1;
        while (end < string.count && ((unsigned char)string.as.text[end] & 0xC0) == 0x80)
            end++;
        TRY(jinja_write(j, string.as.text + at, end - at));
        for (int64_t moved = 0; i + 1 < count && moved != stride; moved += stride > 0 ? 1 : -1) {
            if (is_ascii(string)) {
                at = (size_t)((int64_t)at + stride);
                break;
            }
            do
                at = stride > 0 ? at + 1 : at - 1;
            while (at < string.count && ((unsigned char)string.as.text[at] & 0xC0) == 0x80);
        }
    }
    TRY(jinja_take(j, mark, result));
    result->flags |= string.flags & STR_MARKUP;
    return OK;
}

Status value_get_slice(Jinja *j, Value object, Value start, Value stop, Value step, Value *result) {
    if (object.kind == V_UNDEFINED)
        return undefined_fail(j, object);
    const bool listed = object.kind == V_LIST || object.kind == V_TUPLE;
    REFUSE_IF(object.kind == V_DICT, j, "unhashable type: 'slice'");
    REFUSE_IF(!listed && object.kind != V_STRING && object.kind != V_RANGE, j, "'%s' object is not subscriptable",
              value_type(object));
    bool has;
    Slice slice;
    TRY(slice_indices(j, value_length(object, &has), start, stop, step, &slice));
    if (object.kind == V_STRING)
        return slice_string(j, object, &slice, result);
    if (object.kind == V_RANGE)
        return slice_range(j, object.as.range, &slice, result);
    TRY(jinja_spend(j, slice.count / 8));
    List *part;
    TRY(list_new(j, slice.count, &part));
    for (size_t i = 0; i < slice.count; i++)
        part->items[i] = object.as.list->items[slice.first + (int64_t)i * slice.stride];
    part->count = slice.count;
    *result = object;
    result->flags = 0;
    result->as.list = part;
    return OK;
}
