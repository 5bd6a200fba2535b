/* jinja_methods.c - methods of lists, tuples, dicts, numbers, ranges, loops and cyclers, and the properties that are
 * no methods. There is nothing else to be reached from a value. */
#include "text/jinja_eval.h"

#include "text/jinja_int.h"
#include "text/jinja_sequences.h"
#include "text/jinja_str.h"

#include <math.h>
#include <string.h>

/* ---- lists and tuples -------------------------------------------------------------------------------------------- */

static Status list_append(Jinja *j, Value self, const Args *args, Value *result) {
    *result = value_none();
    return list_push(j, self.as.list, args->items[0]);
}

static Status list_clear(Jinja *j, Value self, const Args *args, Value *result) {
    (void)j;
    (void)args;
    self.as.list->count = 0;
    *result = value_none();
    return OK;
}

static Status list_copy(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    Value copy;
    TRY(tuple_new(j, self.as.list->items, self.as.list->count, &copy));
    *result = value_of_list(copy.as.list);
    return OK;
}

static Status list_count(Jinja *j, Value self, const Args *args, Value *result) {
    int64_t count = 0;
    for (size_t i = 0; i < self.as.list->count; i++) {
        bool equal;
        TRY(value_equal(j, self.as.list->items[i], args->items[0], &equal));
        count += equal;
    }
    *result = value_int(count);
    return OK;
}

static Status list_extend(Jinja *j, Value self, const Args *args, Value *result) {
    List *more;
    TRY(list_of_iterable(j, args->items[0], &more)); /* a copy: the list may be extended by itself */
    for (size_t i = 0; i < more->count; i++)
        TRY(list_push(j, self.as.list, more->items[i]));
    *result = value_none();
    return OK;
}

static int64_t clamp_index(int64_t at, int64_t length) {
    if (at < 0)
        at += length;
    return at < 0 ? 0 : at > length ? length : at;
}

static Status find_in_list(Jinja *j, const List *list, Value wanted, int64_t from, int64_t to, int64_t *found) {
    *found = -1;
    for (int64_t i = from; i < to && i < (int64_t)list->count; i++) {
        bool equal;
        TRY(value_equal(j, list->items[i], wanted, &equal));
        if (equal) {
            *found = i;
            return OK;
        }
    }
    return OK;
}

static Status list_index(Jinja *j, Value self, const Args *args, Value *result) {
    const int64_t length = (int64_t)self.as.list->count;
    int64_t from = 0, to = length, found;
    if (is_given(args->items[1]))
        TRY(value_to_int64(j, args->items[1], "index", &from));
    if (is_given(args->items[2]))
        TRY(value_to_int64(j, args->items[2], "index", &to));
    TRY(find_in_list(j, self.as.list, args->items[0], clamp_index(from, length), clamp_index(to, length), &found));
    REFUSE_IF(found < 0, j, "the value is not in the %s", value_type(self));
    *result = value_int(found);
    return OK;
}

static Status list_insert(Jinja *j, Value self, const Args *args, Value *result) {
    List *list = self.as.list;
    int64_t at;
    TRY(value_to_int64(j, args->items[0], "insert", &at));
    at = clamp_index(at, (int64_t)list->count);
    TRY(jinja_spend(j, list->count / 8 + 1));
    TRY(list_push(j, list, value_none()));
    memmove(list->items + at + 1, list->items + at, (list->count - 1 - (size_t)at) * sizeof *list->items);
    list->items[at] = args->items[1];
    *result = value_none();
    return OK;
}

static void remove_at(List *list, size_t at) {
    memmove(list->items + at, list->items + at + 1, (list->count - 1 - at) * sizeof *list->items);
    list->count--;
}

static Status list_pop(Jinja *j, Value self, const Args *args, Value *result) {
    List *list = self.as.list;
    int64_t at = -1;
    if (is_given(args->items[0]))
        TRY(value_to_int64(j, args->items[0], "pop", &at));
    REFUSE_IF(list->count == 0, j, "pop from empty list");
    if (at < 0)
        at += (int64_t)list->count;
    REFUSE_IF(at < 0 || at >= (int64_t)list->count, j, "pop index out of range");
    TRY(jinja_spend(j, (list->count - (size_t)at) / 8 + 1));
    *result = list->items[at];
    remove_at(list, (size_t)at);
    return OK;
}

static Status list_remove(Jinja *j, Value self, const Args *args, Value *result) {
    int64_t found;
    TRY(find_in_list(j, self.as.list, args->items[0], 0, INT64_MAX, &found));
    REFUSE_IF(found < 0, j, "list.remove(x): x not in list");
    remove_at(self.as.list, (size_t)found);
    *result = value_none();
    return OK;
}

static Status list_reverse(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    List *list = self.as.list;
    TRY(jinja_spend(j, list->count / 8 + 1));
    for (size_t i = 0; i < list->count / 2; i++) {
        const Value one = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = one;
    }
    *result = value_none();
    return OK;
}

static Status list_sort(Jinja *j, Value self, const Args *args, Value *result) {
    List *list = self.as.list;
    Value *keys;
    TRY(jinja_alloc_array(j, list->count, sizeof *keys, &keys));
    for (size_t i = 0; i < list->count; i++) {
        keys[i] = list->items[i];
        if (!is_nothing(args->items[0]))
            TRY(value_call(j, args->items[0], &(Args){.items = &list->items[i], .count = 1}, &keys[i]));
    }
    *result = value_none();
    bool reverse;
    TRY(reverse_argument(j, args->items[1], &reverse));
    return sort_by_keys(j, list->items, keys, list->count, reverse);
}

static const Builtin list_methods[] = {
    {"append", "/object", list_append},   {"clear", "", list_clear},
    {"copy", "", list_copy},              {"count", "/value", list_count},
    {"extend", "/iterable", list_extend}, {"index", "/value start? stop?", list_index},
    {"insert", "/index object", list_insert}, {"pop", "/index?", list_pop},
    {"remove", "/value", list_remove},    {"reverse", "", list_reverse},
    {"sort", "*key? reverse?", list_sort},
};

static const Builtin tuple_methods[] = {
    {"count", "/value", list_count},
    {"index", "/value start? stop?", list_index},
};

/* ---- dicts ------------------------------------------------------------------------------------------------------- */

static Status dict_method_clear(Jinja *j, Value self, const Args *args, Value *result) {
    (void)j;
    (void)args;
    dict_clear(self.as.dict);
    *result = value_none();
    return OK;
}

static Status dict_method_copy(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    Dict *copy;
    TRY(dict_copy(j, self.as.dict, &copy));
    *result = value_of_dict(copy);
    return OK;
}

static Status dict_fromkeys(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    Dict *dict;
    TRY(dict_new(j, &dict));
    *result = value_of_dict(dict);
    const Value value = is_given(args->items[1]) ? args->items[1] : value_none();
    Iterator it;
    TRY(iterator_open(j, &it, args->items[0]));
    for (;;) {
        Value key;
        TRY(iterator_next(j, &it, &key));
        if (!is_given(key))
            return OK;
        TRY(dict_put(j, dict, key, value));
    }
}

static Status dict_method_get(Jinja *j, Value self, const Args *args, Value *result) {
    TRY(dict_get(j, self.as.dict, args->items[0], result));
    if (!is_given(*result))
        *result = is_given(args->items[1]) ? args->items[1] : value_none();
    return OK;
}

static Status view_of(Jinja *j, Value self, ViewKind which, Value *result) {
    View *view;
    TRY(jinja_alloc(j, sizeof *view, &view));
    *view = (View){.dict = self.as.dict, .which = which};
    *result = (Value){.kind = V_VIEW, .as.view = view};
    return OK;
}

static Status dict_items(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    return view_of(j, self, VIEW_ITEMS, result);
}

static Status dict_keys(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    return view_of(j, self, VIEW_KEYS, result);
}

static Status dict_values(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    return view_of(j, self, VIEW_VALUES, result);
}

static Status dict_pop(Jinja *j, Value self, const Args *args, Value *result) {
    TRY(dict_remove(j, self.as.dict, args->items[0], result));
    if (is_given(*result))
        return OK;
    REFUSE_IF(!is_given(args->items[1]), j, "pop: the dictionary has no such key");
    *result = args->items[1];
    return OK;
}

static Status dict_popitem(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    Dict *dict = self.as.dict;
    REFUSE_IF(dict->live == 0, j, "popitem(): dictionary is empty");
    size_t last = dict->used - 1;
    while (!is_given(dict->entries[last].key))
        last--;
    const Value pair[2] = {dict->entries[last].key, dict->entries[last].value};
    Value removed;
    TRY(dict_remove(j, dict, pair[0], &removed));
    return tuple_new(j, pair, 2, result);
}

static Status dict_setdefault(Jinja *j, Value self, const Args *args, Value *result) {
    TRY(dict_get(j, self.as.dict, args->items[0], result));
    if (is_given(*result))
        return OK;
    *result = is_given(args->items[1]) ? args->items[1] : value_none();
    return dict_put(j, self.as.dict, args->items[0], *result);
}

static Status dict_method_update(Jinja *j, Value self, const Args *args, Value *result) {
    REFUSE_IF(args->count > 1, j, "update expected at most 1 argument, got %zu", args->count);
    if (args->count == 1)
        TRY(dict_update(j, self.as.dict, args->items[0]));
    for (size_t i = 0; i < args->keyword_count; i++)
        TRY(dict_put(j, self.as.dict, args->keywords[i].name, args->keywords[i].value));
    *result = value_none();
    return OK;
}

static const Builtin dict_methods[] = {
    {"clear", "", dict_method_clear},
    {"copy", "", dict_method_copy},
    {"fromkeys", "/iterable value?", dict_fromkeys},
    {"get", "/key default?", dict_method_get},
    {"items", "", dict_items},
    {"keys", "", dict_keys},
    {"pop", "/key default?", dict_pop},
    {"popitem", "", dict_popitem},
    {"setdefault", "/key default?", dict_setdefault},
    {"update", NULL, dict_method_update},
    {"values", "", dict_values},
};

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static Value plain_number(Value v) {
    return v.kind == V_BOOL ? value_int(v.as.boolean) : v;
}

static Status number_conjugate(Jinja *j, Value self, const Args *args, Value *result) {
    (void)j;
    (void)args;
    *result = plain_number(self);
    return OK;
}

static Status int_bit_length(Jinja *j, Value self, const Args *args, Value *result) {
    (void)j;
    (void)args;
    *result = value_int((int64_t)int_bits(self));
    return OK;
}

static Status int_bit_count(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    int64_t count = 0;
    Value rest = self, bit;
    if (int_sign(self) < 0)
        TRY(int_negate(j, self, &rest));
    while (int_sign(rest) != 0) {
        TRY(int_divide(j, rest, value_int(2), &rest, &bit));
        count += int_sign(bit);
    }
    *result = value_int(count);
    return OK;
}

static Status int_as_ratio(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    return tuple_new(j, (Value[]){plain_number(self), value_int(1)}, 2, result);
}

static Status float_as_ratio(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    const double number = self.as.real;
    REFUSE_IF(!isfinite(number), j, "cannot convert %s to integer ratio", isnan(number) ? "NaN" : "Infinity");
    int exponent;
    double mantissa = frexp(number, &exponent);
    for (int i = 0; i < 300 && mantissa != floor(mantissa); i++) {
        mantissa *= 2;
        exponent--;
    }
    Value top, bottom = value_int(1), scale;
    TRY(int_of_double(j, mantissa, &top));
    TRY(int_power(j, value_int(2), value_int(exponent < 0 ? -exponent : exponent), &scale));
    if (exponent > 0)
        TRY(int_multiply(j, top, scale, &top));
    else
        bottom = scale;
    return tuple_new(j, (Value[]){top, bottom}, 2, result);
}

static Status float_is_integer(Jinja *j, Value self, const Args *args, Value *result) {
    (void)j;
    (void)args;
    *result = value_bool(isfinite(self.as.real) && self.as.real == floor(self.as.real));
    return OK;
}

static const Builtin int_methods[] = {
    {"as_integer_ratio", "", int_as_ratio},
    {"bit_count", "", int_bit_count},
    {"bit_length", "", int_bit_length},
    {"conjugate", "", number_conjugate},
};

static const Builtin float_methods[] = {
    {"as_integer_ratio", "", float_as_ratio},
    {"conjugate", "", number_conjugate},
    {"is_integer", "", float_is_integer},
};

static Value number_property(Value number, Value name) {
    if (string_is(name, "real"))
        return plain_number(number);
    if (string_is(name, "imag"))
        return number.kind == V_FLOAT ? value_float(0) : value_int(0);
    if (number.kind != V_FLOAT && string_is(name, "numerator"))
        return plain_number(number);
    if (number.kind != V_FLOAT && string_is(name, "denominator"))
        return value_int(1);
    return value_missing();
}

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

static Status range_find(Jinja *j, const Range *range, Value wanted, int64_t *found) {
    *found = -1;
    for (size_t i = 0; i < range->count; i++) {
        bool equal;
        TRY(value_equal(j, value_int(range->start + (int64_t)i * range->step), wanted, &equal));
        if (equal) {
            *found = (int64_t)i;
            return OK;
        }
    }
    return OK;
}

static Status range_count(Jinja *j, Value self, const Args *args, Value *result) {
    int64_t found;
    TRY(range_find(j, self.as.range, args->items[0], &found));
    *result = value_int(found >= 0);
    return OK;
}

static Status range_index(Jinja *j, Value self, const Args *args, Value *result) {
    int64_t found;
    TRY(range_find(j, self.as.range, args->items[0], &found));
    REFUSE_IF(found < 0, j, "the value is not in the range");
    *result = value_int(found);
    return OK;
}

static const Builtin range_methods[] = {
    {"count", "/value", range_count},
    {"index", "/value", range_index},
};

static Value range_property(const Range *range, Value name) {
    if (string_is(name, "start"))
        return value_int(range->start);
    if (string_is(name, "step"))
        return value_int(range->step);
    if (string_is(name, "stop"))
        return value_int(range->stop);
    return value_missing();
}

/* ---- loops, cyclers, dict ---------------------------------------------------------------------------------------- */

static Status loop_method_cycle(Jinja *j, Value self, const Args *args, Value *result) {
    return loop_cycle(j, self.as.loop, args, result);
}

static Status loop_method_changed(Jinja *j, Value self, const Args *args, Value *result) {
    return loop_changed(j, self.as.loop, args, result);
}

static const Builtin loop_methods[] = {
    {"changed", NULL, loop_method_changed},
    {"cycle", NULL, loop_method_cycle},
};

static Status cycler_next(Jinja *j, Value self, const Args *args, Value *result) {
    (void)j;
    (void)args;
    Cycler *cycler = self.as.cycler;
    *result = cycler->items->items[cycler->at];
    cycler->at = (cycler->at + 1) % cycler->items->count;
    return OK;
}

static Status cycler_reset(Jinja *j, Value self, const Args *args, Value *result) {
    (void)j;
    (void)args;
    self.as.cycler->at = 0;
    *result = value_none();
    return OK;
}

static const Builtin cycler_methods[] = {
    {"next", "", cycler_next},
    {"reset", "", cycler_reset},
};

/* dict.fromkeys, the one attribute of a function. */
static const Builtin *function_method(Value function, Value name) {
    const bool is_dict = strcmp(function.as.builtin->name, "dict") == 0;
    return is_dict && string_is(name, "fromkeys")
               ? builtin_find(dict_methods, COUNT(dict_methods), name.as.text, name.count)
               : NULL;
}

static Status macro_property(Jinja *j, const Function *f, Value name, Value *result) {
    if (string_is(name, "name")) {
        *result = f->name;
    } else if (string_is(name, "catch_kwargs")) {
        *result = value_bool(f->takes_keywords);
    } else if (string_is(name, "catch_varargs")) {
        *result = value_bool(f->takes_items);
    } else if (string_is(name, "caller")) {
        *result = value_bool(f->takes_caller);
    } else if (string_is(name, "explicit_caller")) {
        *result = value_bool(f->explicit_caller);
    } else if (string_is(name, "arguments")) {
        List *names;
        TRY(list_new(j, f->parameter_count, &names));
        for (size_t i = 0; i < f->parameter_count; i++)
            TRY(list_push(j, names, f->parameters[i]->as.name.name));
        *result = value_of_tuple(names);
    }
    return OK;
}

/* ---- the way in -------------------------------------------------------------------------------------------------- */

const Builtin *method_find(ValueKind kind, const char *name, size_t bytes) {
    switch (kind) {
    case V_STRING:
        return str_method_find(name, bytes);
    case V_LIST:
        return builtin_find(list_methods, COUNT(list_methods), name, bytes);
    case V_TUPLE:
        return builtin_find(tuple_methods, COUNT(tuple_methods), name, bytes);
    case V_DICT:
        return builtin_find(dict_methods, COUNT(dict_methods), name, bytes);
    case V_BOOL:
    case V_INT:
    case V_BIG:
        return builtin_find(int_methods, COUNT(int_methods), name, bytes);
    case V_FLOAT:
        return builtin_find(float_methods, COUNT(float_methods), name, bytes);
    case V_RANGE:
        return builtin_find(range_methods, COUNT(range_methods), name, bytes);
    case V_LOOP:
        return builtin_find(loop_methods, COUNT(loop_methods), name, bytes);
    case V_CYCLER:
        return builtin_find(cycler_methods, COUNT(cycler_methods), name, bytes);
    default:
        return NULL;
    }
}

Status value_property(Jinja *j, Value object, Value name, Value *result) {
    *result = value_missing();
    switch (object.kind) {
    case V_BOOL:
    case V_INT:
    case V_BIG:
    case V_FLOAT:
        *result = number_property(object, name);
        return OK;
    case V_RANGE:
        *result = range_property(object.as.range, name);
        return OK;
    case V_NAMESPACE:
        return dict_get(j, object.as.dict, name, result);
    case V_LOOP:
        return loop_property(j, object.as.loop, name, result);
    case V_MACRO:
        return macro_property(j, object.as.macro->function, name, result);
    case V_CYCLER:
        if (string_is(name, "current"))
            *result = object.as.cycler->items->items[object.as.cycler->at];
        else if (string_is(name, "items"))
            *result = value_of_tuple(object.as.cycler->items);
        else if (string_is(name, "pos"))
            *result = value_int((int64_t)object.as.cycler->at);
        return OK;
    case V_JOINER:
        if (string_is(name, "sep"))
            *result = object.as.joiner->separator;
        else if (string_is(name, "used"))
            *result = value_bool(object.as.joiner->used);
        return OK;
    case V_TUPLE:
        if ((object.flags & TUPLE_GROUP) != 0 && (string_is(name, "grouper") || string_is(name, "list")))
            *result = object.as.list->items[string_is(name, "list")];
        return OK;
    case V_FUNCTION: {
        const Builtin *method = function_method(object, name);
        if (method != NULL)
            *result = value_of_builtin(method);
        return OK;
    }
    case V_BLOCK:
        if (string_is(name, "name"))
            *result = object.as.block->block->name;
        else if (string_is(name, "super"))
            *result = undefined_hint("there is no parent block");
        return OK;
    default:
        return OK;
    }
}
