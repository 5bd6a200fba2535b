/* jinja_sequences.c - see jinja_sequences.h.
 *
 * As in Jinja, map, select, reject, unique, batch, slice, items and reverse give iterators: they do nothing until
 * they are walked over, are true even when nothing comes out of them, have no length, and are empty the second time. */
#include "text/jinja_sequences.h"

#include "text/jinja_int.h"
#include "text/jinja_number.h"
#include "text/jinja_str.h"
#include "text/jinja_unicode.h"

#include <string.h>

/* ---- sorting ----------------------------------------------------------------------------------------------------- */

typedef struct Sorted {
    Value key, item;
} Sorted;

/* Whether the right one must go before the left one. */
static Status goes_first(Jinja *j, const Sorted *left, const Sorted *right, bool reverse, bool *first) {
    int order = 0;
    bool unordered;
    if (reverse)
        TRY(value_compare(j, left->key, right->key, "<", &order, &unordered));
    else
        TRY(value_compare(j, right->key, left->key, "<", &order, &unordered));
    *first = order < 0 && !unordered;
    return OK;
}

static Status merge(Jinja *j, const Sorted *from, Sorted *to, size_t start, size_t middle, size_t end, bool reverse) {
    size_t left = start, right = middle;
    for (size_t i = start; i < end; i++) {
        bool take_right = left == middle;
        if (!take_right && right < end)
            TRY(goes_first(j, &from[left], &from[right], reverse, &take_right));
        to[i] = take_right ? from[right++] : from[left++];
    }
    return OK;
}

static Status sort_pairs(Jinja *j, Sorted *pairs, size_t count, bool reverse) {
    Sorted *other;
    TRY(jinja_alloc_array(j, count, sizeof *other, &other));
    Sorted *from = pairs, *to = other;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width)
            TRY(merge(j, from, to, start, MIN(start + width, count), MIN(start + 2 * width, count), reverse));
        Sorted *swap = from;
        from = to;
        to = swap;
    }
    if (from != pairs && count > 0)
        memcpy(pairs, from, count * sizeof *pairs);
    return OK;
}

Status sort_by_keys(Jinja *j, Value *items, Value *keys, size_t count, bool reverse) {
    Sorted *pairs;
    TRY(jinja_alloc_array(j, count, sizeof *pairs, &pairs));
    for (size_t i = 0; i < count; i++)
        pairs[i] = (Sorted){.key = keys[i], .item = items[i]};
    TRY(sort_pairs(j, pairs, count, reverse));
    for (size_t i = 0; i < count; i++) {
        keys[i] = pairs[i].key;
        items[i] = pairs[i].item;
    }
    return OK;
}

Status dict_sorted_entries(Jinja *j, const Dict *dict, const DictEntry **entries) {
    Value *keys, *values;
    TRY(jinja_alloc_array(j, dict->live, sizeof *keys, &keys));
    TRY(jinja_alloc_array(j, dict->live, sizeof *values, &values));
    size_t at = 0, count = 0;
    for (const DictEntry *entry; (entry = dict_next(dict, &at)) != NULL; count++) {
        keys[count] = entry->key;
        values[count] = entry->value;
    }
    TRY(sort_by_keys(j, values, keys, count, false));
    DictEntry *sorted;
    TRY(jinja_alloc_array(j, count, sizeof *sorted, &sorted));
    for (size_t i = 0; i < count; i++)
        sorted[i] = (DictEntry){.key = keys[i], .value = values[i]};
    *entries = sorted;
    return OK;
}

/* ---- attributes of items ----------------------------------------------------------------------------------------- */

static Status attribute_parts(Jinja *j, Value attribute, List *parts) {
    if (attribute.kind != V_STRING)
        return list_push(j, parts, attribute);
    for (size_t start = 0, end; start <= attribute.count; start = end + 1) {
        const char *dot = memchr(attribute.as.text + start, '.', attribute.count - start);
        end = dot != NULL ? (size_t)(dot - attribute.as.text) : attribute.count;
        Value part = value_slice(attribute, start, end - start), number;
        bool digits = part.count > 0, valid;
        for (size_t at = 0; at < part.count && digits;)
            digits = char_is_digit(char_next(part, &at));
        if (digits) {
            TRY(number_int_of_text(j, part, 10, &valid, &number));
            REFUSE_IF(!valid, j, "invalid number in an attribute");
            part = number;
        }
        TRY(list_push(j, parts, part));
    }
    return OK;
}

Status getter_open(Jinja *j, Value attribute, Value otherwise, bool ignore_case, Getter *getter) {
    *getter = (Getter){.otherwise = otherwise.kind == V_NONE ? value_missing() : otherwise, .ignore_case = ignore_case};
    if (is_nothing(attribute))
        return OK;
    List *parts;
    TRY(list_new(j, 0, &parts));
    TRY(attribute_parts(j, attribute, parts));
    getter->parts = parts->items;
    getter->count = parts->count;
    return OK;
}

Status getter_get(Jinja *j, const Getter *getter, Value item, Value *value) {
    for (size_t i = 0; i < getter->count; i++) {
        TRY(value_get_item(j, item, getter->parts[i], &item));
        if (item.kind == V_UNDEFINED && is_given(getter->otherwise))
            item = getter->otherwise;
    }
    if (getter->ignore_case && item.kind == V_STRING)
        TRY(str_cased(j, item, CASE_LOWER, &item));
    *value = item;
    return OK;
}

/* sorted() takes true, false and integers; a text here is an argument in the wrong place. */
Status reverse_argument(Jinja *j, Value v, bool *reverse) {
    REFUSE_IF(is_given(v) && !is_integer(v), j, "sort: reverse must be true or false, not %s", value_type(v));
    *reverse = value_truth(v);
    return OK;
}

/* ---- order and choice -------------------------------------------------------------------------------------------- */

/* sort's attribute may be several, separated by commas: the key is then a list. */
Status filter_sort(Jinja *j, Value v, const Args *args, Value *result) {
    bool reverse;
    TRY(reverse_argument(j, args->items[0], &reverse));
    const bool ignore_case = !value_truth(args->items[1]);
    Value attribute = args->items[2];
    Getter getters[16];
    size_t count = 0;
    if (attribute.kind == V_STRING) {
        for (size_t start = 0, end; start <= attribute.count; start = end + 1) {
            const char *comma = memchr(attribute.as.text + start, ',', attribute.count - start);
            end = comma != NULL ? (size_t)(comma - attribute.as.text) : attribute.count;
            REFUSE_IF(count == COUNT(getters), j, "sort: more than %zu attributes", COUNT(getters));
            TRY(getter_open(j, value_slice(attribute, start, end - start), value_missing(), ignore_case,
                            &getters[count++]));
        }
    } else {
        TRY(getter_open(j, attribute, value_missing(), ignore_case, &getters[count++]));
    }
    List *items;
    TRY(list_of_iterable(j, v, &items));
    Value *keys;
    TRY(jinja_alloc_array(j, items->count, sizeof *keys, &keys));
    for (size_t i = 0; i < items->count; i++) {
        Value parts[COUNT(getters)];
        for (size_t k = 0; k < count; k++)
            TRY(getter_get(j, &getters[k], items->items[i], &parts[k]));
        TRY(tuple_new(j, parts, count, &keys[i]));
    }
    *result = value_of_list(items);
    return sort_by_keys(j, items->items, keys, items->count, reverse);
}

Status filter_dictsort(Jinja *j, Value v, const Args *args, Value *result) {
    const bool ignore_case = !value_truth(args->items[0]);
    const Value by = is_given(args->items[1]) ? args->items[1] : value_str("key");
    REFUSE_IF(!string_is(by, "key") && !string_is(by, "value"), j,
              "dictsort: you can only sort by either \"key\" or \"value\"");
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    REFUSE_IF(v.kind != V_DICT, j, "dictsort: a mapping is expected, not %s", value_type(v));
    Getter getter;
    TRY(getter_open(j, value_missing(), value_missing(), ignore_case, &getter));
    List *pairs;
    TRY(list_new(j, v.as.dict->live, &pairs));
    Value *keys;
    TRY(jinja_alloc_array(j, v.as.dict->live, sizeof *keys, &keys));
    size_t at = 0;
    for (const DictEntry *entry; (entry = dict_next(v.as.dict, &at)) != NULL;) {
        TRY(getter_get(j, &getter, string_is(by, "key") ? entry->key : entry->value, &keys[pairs->count]));
        Value pair;
        TRY(tuple_new(j, (Value[]){entry->key, entry->value}, 2, &pair));
        TRY(list_push(j, pairs, pair));
    }
    *result = value_of_list(pairs);
    bool reverse;
    TRY(reverse_argument(j, args->items[2], &reverse));
    return sort_by_keys(j, pairs->items, keys, pairs->count, reverse);
}

Status filter_groupby(Jinja *j, Value v, const Args *args, Value *result) {
    const bool ignore_case = !value_truth(args->items[2]);
    Getter key_getter, name_getter;
    TRY(getter_open(j, args->items[0], args->items[1], ignore_case, &key_getter));
    TRY(getter_open(j, args->items[0], args->items[1], false, &name_getter));
    List *items, *groups;
    TRY(list_of_iterable(j, v, &items));
    TRY(list_new(j, 0, &groups));
    Value *keys;
    TRY(jinja_alloc_array(j, items->count, sizeof *keys, &keys));
    for (size_t i = 0; i < items->count; i++)
        TRY(getter_get(j, &key_getter, items->items[i], &keys[i]));
    TRY(sort_by_keys(j, items->items, keys, items->count, false));
    for (size_t start = 0, end; start < items->count; start = end) {
        List *members;
        TRY(list_new(j, 0, &members));
        bool same = true;
        for (end = start; end < items->count && same;) {
            TRY(list_push(j, members, items->items[end++]));
            if (end < items->count)
                TRY(value_equal(j, keys[start], keys[end], &same));
        }
        Value name, group;
        TRY(getter_get(j, &name_getter, members->items[0], &name));
        TRY(tuple_new(j, (Value[]){name, value_of_list(members)}, 2, &group));
        group.flags |= TUPLE_GROUP;
        TRY(list_push(j, groups, group));
    }
    *result = value_of_list(groups);
    return OK;
}

static Status extreme(Jinja *j, Value v, const Args *args, bool largest, Value *result) {
    Getter getter;
    TRY(getter_open(j, args->items[1], value_missing(), !value_truth(args->items[0]), &getter));
    Iterator it;
    TRY(iterator_open(j, &it, v));
    Value best = value_missing(), best_key = value_missing();
    for (;;) {
        Value item, key;
        TRY(iterator_next(j, &it, &item));
        if (!is_given(item))
            break;
        TRY(getter_get(j, &getter, item, &key));
        bool better = !is_given(best);
        if (!better)
            TRY(value_test(j, largest ? CMP_GT : CMP_LT, key, best_key, &better));
        if (better) {
            best = item;
            best_key = key;
        }
    }
    *result = is_given(best) ? best : undefined_hint("No aggregated item, sequence was empty.");
    return OK;
}

Status filter_max(Jinja *j, Value v, const Args *args, Value *result) {
    return extreme(j, v, args, true, result);
}

Status filter_min(Jinja *j, Value v, const Args *args, Value *result) {
    return extreme(j, v, args, false, result);
}

Status filter_sum(Jinja *j, Value v, const Args *args, Value *result) {
    Getter getter;
    TRY(getter_open(j, args->items[0], value_missing(), false, &getter));
    Value sum = is_given(args->items[1]) ? args->items[1] : value_int(0);
    REFUSE_IF(sum.kind == V_STRING, j, "sum() can't sum strings");
    Iterator it;
    TRY(iterator_open(j, &it, v));
    for (;;) {
        Value item;
        TRY(iterator_next(j, &it, &item));
        if (!is_given(item))
            break;
        TRY(getter_get(j, &getter, item, &item));
        TRY(value_binary(j, OP_ADD, sum, item, &sum));
    }
    *result = sum;
    return OK;
}

Status filter_first(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    Iterator it;
    TRY(iterator_open(j, &it, v));
    TRY(iterator_next(j, &it, result));
    if (!is_given(*result))
        *result = undefined_hint("No first item, sequence was empty.");
    return OK;
}

/* ---- backwards --------------------------------------------------------------------------------------------------- */

static Status next_reversed(Jinja *j, Iterator *it, Value *item) {
    TRY(jinja_spend(j, 1));
    const List *list = it->state;
    *item = it->at > 0 && it->at <= list->count ? list->items[--it->at] : value_missing();
    return OK;
}

/* Python's reversed(): *possible is false for what it refuses. */
static Status reversed(Jinja *j, Value v, bool *possible, Value *iterator) {
    *possible = v.kind == V_LIST || v.kind == V_TUPLE || v.kind == V_STRING || v.kind == V_DICT || v.kind == V_VIEW ||
                v.kind == V_RANGE || v.kind == V_UNDEFINED;
    if (!*possible)
        return OK;
    List *list = v.as.list;
    if (v.kind != V_LIST && v.kind != V_TUPLE)
        TRY(list_of_iterable(j, v, &list));
    for (size_t i = 0; is_markup(v) && i < list->count; i++)
        list->items[i].flags |= STR_MARKUP;
    TRY(generator_new(j, next_reversed, v, list, iterator));
    iterator->as.iterator->at = list->count;
    return OK;
}

Status filter_reverse(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    if (v.kind == V_STRING)
        return value_get_slice(j, v, value_none(), value_none(), value_int(-1), result);
    bool possible;
    TRY(reversed(j, v, &possible, result));
    if (possible)
        return OK;
    REFUSE_IF(!value_is_iterable(v), j, "reverse: the argument must be iterable");
    List *list;
    TRY(list_of_iterable(j, v, &list));
    for (size_t i = 0; i < list->count / 2; i++) {
        const Value one = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = one;
    }
    *result = value_of_list(list);
    return OK;
}

Status filter_last(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    bool possible;
    Value iterator;
    TRY(reversed(j, v, &possible, &iterator));
    REFUSE_IF(!possible, j, "last: '%s' object is not reversible", value_type(v));
    TRY(iterator_next(j, iterator.as.iterator, result));
    if (!is_given(*result))
        *result = undefined_hint("No last item, sequence was empty.");
    return OK;
}

/* ---- whole sequences --------------------------------------------------------------------------------------------- */

Status filter_length(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    bool has;
    const size_t length = value_length(v, &has);
    if (!has && v.kind == V_LOOP)
        return value_property(j, v, value_str("length"), result);
    REFUSE_IF(!has, j, "object of type '%s' has no len()", value_type(v));
    *result = value_int((int64_t)length);
    return OK;
}

Status filter_list(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    List *list;
    TRY(list_of_iterable(j, v, &list));
    *result = value_of_list(list);
    return OK;
}

Status filter_random(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    bool has;
    const size_t length = value_length(v, &has);
    REFUSE_IF(!has || v.kind == V_VIEW || v.kind == V_DICT, j, "random: a sequence is expected, not %s", value_type(v));
    if (length == 0) {
        *result = undefined_hint("No random item, sequence was empty.");
        return OK;
    }
    if (j->random == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        j->random = ((uint64_t)now.tv_sec << 32 ^ (uint64_t)now.tv_nsec) | 1;
    }
    j->random ^= j->random << 13; /* xorshift: this is for variety, not for secrets */
    j->random ^= j->random >> 7;
    j->random ^= j->random << 17;
    return value_get_item(j, v, value_int((int64_t)(j->random % length)), result);
}

/* Escaping joins everything as HTML when the separator or an item is; see jinja's autoescape. */
static Status escape_parts(Jinja *j, List *items, Value *separator) {
    bool markup = is_markup(*separator);
    for (size_t i = 0; i < items->count; i++)
        markup = markup || is_markup(items->items[i]);
    if (!markup)
        return OK;
    TRY(value_escape(j, *separator, separator));
    for (size_t i = 0; i < items->count; i++)
        TRY(value_escape(j, items->items[i], &items->items[i]));
    return OK;
}

Status filter_join(Jinja *j, Value v, const Args *args, Value *result) {
    Value separator = is_given(args->items[0]) ? args->items[0] : value_str("");
    Getter getter;
    TRY(getter_open(j, args->items[1], value_missing(), false, &getter));
    List *items;
    TRY(list_of_iterable(j, v, &items));
    for (size_t i = 0; i < items->count; i++)
        TRY(getter_get(j, &getter, items->items[i], &items->items[i]));
    TRY(value_to_string(j, separator, &separator));
    if (j->autoescape)
        TRY(escape_parts(j, items, &separator));
    const size_t mark = jinja_mark(j);
    for (size_t i = 0; i < items->count; i++) {
        if (i > 0)
            TRY(jinja_write(j, separator.as.text, separator.count));
        TRY(write_value(j, items->items[i]));
    }
    TRY(jinja_take(j, mark, result));
    if (j->autoescape && is_markup(separator))
        result->flags |= STR_MARKUP;
    return OK;
}

/* ---- generators -------------------------------------------------------------------------------------------------- */

/* The state of all of them; what is not needed stays zero. */
typedef struct Pipe {
    Value source;
    Iterator it;
    bool started;
    Args args;       /* copied: the call is over when the generator runs */
    bool attribute;  /* selectattr, rejectattr */
    bool negate;     /* reject */
    Getter getter;
    Value name;             /* of what is applied to each item; looked up at the first one */
    const Builtin *builtin;
    Args rest; /* its arguments */
    Dict *seen;
    List *all;
    int64_t number;
    Value fill;
    Value held; /* batch: the item that did not fit into the last one */
} Pipe;

static Status copy_args(Jinja *j, const Args *args, Args *copy) {
    Value *items;
    Keyword *keywords;
    TRY(jinja_alloc_array(j, args->count, sizeof *items, &items));
    TRY(jinja_alloc_array(j, args->keyword_count, sizeof *keywords, &keywords));
    if (args->count > 0)
        memcpy(items, args->items, args->count * sizeof *items);
    if (args->keyword_count > 0)
        memcpy(keywords, args->keywords, args->keyword_count * sizeof *keywords);
    *copy = (Args){.items = items, .count = args->count, .keywords = keywords, .keyword_count = args->keyword_count};
    return OK;
}

static Status pipe_new(Jinja *j, Value source, const Args *args, IteratorNext next, Pipe **pipe, Value *generator) {
    TRY(jinja_alloc(j, sizeof **pipe, pipe));
    (*pipe)->source = source;
    if (args != NULL)
        TRY(copy_args(j, args, &(*pipe)->args));
    return generator_new(j, next, source, *pipe, generator);
}

static Status find_builtin(Jinja *j, Value name, bool filter, const Builtin **builtin) {
    if (name.kind == V_UNDEFINED)
        return undefined_fail(j, name);
    *builtin = name.kind != V_STRING ? NULL
               : filter              ? filter_find(name.as.text, name.count)
                                     : test_find(name.as.text, name.count);
    REFUSE_IF(*builtin == NULL, j, "no %s named '%.*s'", filter ? "filter" : "test",
              name.kind == V_STRING ? (int)MIN(name.count, 80u) : 1, name.kind == V_STRING ? name.as.text : "?");
    return OK;
}

static Value take_named(Args *args, const char *name) {
    for (size_t i = 0; i < args->keyword_count; i++)
        if (string_is(args->keywords[i].name, name))
            return args->keywords[i].value;
    return value_missing();
}

/* map('filter', ...) or map(attribute=..., default=...). */
static Status start_map(Jinja *j, Pipe *pipe) {
    const Value attribute = take_named(&pipe->args, "attribute");
    if (pipe->args.count == 0 && is_given(attribute)) {
        const Value otherwise = take_named(&pipe->args, "default");
        REFUSE_IF(pipe->args.keyword_count > 1u + is_given(otherwise), j, "map: unexpected keyword argument");
        return getter_open(j, attribute, otherwise, false, &pipe->getter);
    }
    REFUSE_IF(pipe->args.count == 0, j, "map requires a filter argument");
    pipe->rest = pipe->args;
    pipe->name = pipe->args.items[0];
    pipe->rest.items++;
    pipe->rest.count--;
    return OK;
}

static Status next_mapped(Jinja *j, Iterator *it, Value *item) {
    Pipe *pipe = it->state;
    *item = value_missing();
    if (!pipe->started) {
        pipe->started = true;
        if (!value_truth(pipe->source)) {
            it->done = true;
            return OK;
        }
        TRY(start_map(j, pipe));
        TRY(iterator_open(j, &pipe->it, pipe->source));
    }
    TRY(iterator_next(j, &pipe->it, item));
    if (!is_given(*item))
        return OK;
    if (!is_given(pipe->name))
        return getter_get(j, &pipe->getter, *item, item);
    if (pipe->builtin == NULL)
        TRY(find_builtin(j, pipe->name, true, &pipe->builtin));
    return builtin_call(j, pipe->builtin, *item, &pipe->rest, item);
}

Status filter_map(Jinja *j, Value v, const Args *args, Value *result) {
    Pipe *pipe;
    return pipe_new(j, v, args, next_mapped, &pipe, result);
}

/* select(test, ...), selectattr(attribute, test, ...): without a test, the truth of the value. */
static Status start_select(Jinja *j, Pipe *pipe) {
    pipe->rest = pipe->args;
    if (pipe->attribute) {
        REFUSE_IF(pipe->args.count == 0, j, "missing parameter for attribute name");
        TRY(getter_open(j, pipe->args.items[0], value_missing(), false, &pipe->getter));
        pipe->rest.items++;
        pipe->rest.count--;
    }
    if (pipe->rest.count == 0)
        return OK;
    pipe->name = pipe->rest.items[0];
    pipe->rest.items++;
    pipe->rest.count--;
    return OK;
}

static Status next_selected(Jinja *j, Iterator *it, Value *item) {
    Pipe *pipe = it->state;
    *item = value_missing();
    if (!pipe->started) {
        pipe->started = true;
        if (!value_truth(pipe->source)) {
            it->done = true;
            return OK;
        }
        TRY(start_select(j, pipe));
        TRY(iterator_open(j, &pipe->it, pipe->source));
    }
    for (;;) {
        TRY(iterator_next(j, &pipe->it, item));
        if (!is_given(*item))
            return OK;
        Value value;
        TRY(getter_get(j, &pipe->getter, *item, &value));
        if (pipe->builtin == NULL && is_given(pipe->name))
            TRY(find_builtin(j, pipe->name, false, &pipe->builtin));
        if (pipe->builtin != NULL)
            TRY(builtin_call(j, pipe->builtin, value, &pipe->rest, &value));
        if (value_truth(value) != pipe->negate)
            return OK;
    }
}

static Status new_select(Jinja *j, Value v, const Args *args, bool attribute, bool negate, Value *result) {
    Pipe *pipe;
    TRY(pipe_new(j, v, args, next_selected, &pipe, result));
    pipe->attribute = attribute;
    pipe->negate = negate;
    return OK;
}

Status filter_select(Jinja *j, Value v, const Args *args, Value *result) {
    return new_select(j, v, args, false, false, result);
}

Status filter_reject(Jinja *j, Value v, const Args *args, Value *result) {
    return new_select(j, v, args, false, true, result);
}

Status filter_selectattr(Jinja *j, Value v, const Args *args, Value *result) {
    return new_select(j, v, args, true, false, result);
}

Status filter_rejectattr(Jinja *j, Value v, const Args *args, Value *result) {
    return new_select(j, v, args, true, true, result);
}

static Status next_unique(Jinja *j, Iterator *it, Value *item) {
    Pipe *pipe = it->state;
    if (!pipe->started) {
        pipe->started = true;
        TRY(dict_new(j, &pipe->seen));
        TRY(iterator_open(j, &pipe->it, pipe->source));
    }
    for (;;) {
        TRY(iterator_next(j, &pipe->it, item));
        if (!is_given(*item))
            return OK;
        Value key, known;
        TRY(getter_get(j, &pipe->getter, *item, &key));
        TRY(dict_get(j, pipe->seen, key, &known));
        if (!is_given(known))
            return dict_put(j, pipe->seen, key, value_none());
    }
}

Status filter_unique(Jinja *j, Value v, const Args *args, Value *result) {
    Pipe *pipe;
    TRY(pipe_new(j, v, NULL, next_unique, &pipe, result));
    return getter_open(j, args->items[1], value_missing(), !value_truth(args->items[0]), &pipe->getter);
}

static Status next_item_pair(Jinja *j, Iterator *it, Value *item) {
    Pipe *pipe = it->state;
    if (!pipe->started) {
        pipe->started = true;
        REFUSE_IF(pipe->source.kind != V_DICT && pipe->source.kind != V_UNDEFINED, j,
                  "Can only get item pairs from a mapping.");
        Value pairs = pipe->source;
        if (pairs.kind == V_DICT)
            TRY(builtin_call(j, method_find(V_DICT, "items", 5), pairs, &(Args){0}, &pairs));
        TRY(iterator_open(j, &pipe->it, pairs));
    }
    return iterator_next(j, &pipe->it, item);
}

Status filter_items(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    Pipe *pipe;
    return pipe_new(j, v, NULL, next_item_pair, &pipe, result);
}

static Status next_batch(Jinja *j, Iterator *it, Value *item) {
    Pipe *pipe = it->state;
    if (!pipe->started) {
        pipe->started = true;
        TRY(iterator_open(j, &pipe->it, pipe->source));
    }
    List *batch;
    TRY(list_new(j, 0, &batch));
    *item = value_missing();
    if (is_given(pipe->held))
        TRY(list_push(j, batch, pipe->held));
    pipe->held = value_missing();
    for (;;) {
        Value one;
        TRY(iterator_next(j, &pipe->it, &one));
        if (!is_given(one))
            break;
        if ((int64_t)batch->count == pipe->number) {
            pipe->held = one;
            *item = value_of_list(batch);
            return OK;
        }
        TRY(list_push(j, batch, one));
    }
    if (batch->count == 0)
        return OK;
    if (!is_nothing(pipe->fill))
        while ((int64_t)batch->count < pipe->number)
            TRY(list_push(j, batch, pipe->fill));
    *item = value_of_list(batch);
    return OK;
}

Status filter_batch(Jinja *j, Value v, const Args *args, Value *result) {
    Pipe *pipe;
    TRY(pipe_new(j, v, NULL, next_batch, &pipe, result));
    pipe->fill = args->items[1];
    return value_to_int64(j, args->items[0], "batch", &pipe->number);
}

static Status next_slice(Jinja *j, Iterator *it, Value *item) {
    Pipe *pipe = it->state;
    if (!pipe->started) {
        pipe->started = true;
        TRY(list_of_iterable(j, pipe->source, &pipe->all));
        REFUSE_IF(pipe->number == 0, j, "slice: division by zero");
    }
    *item = value_missing();
    const int64_t slices = pipe->number, at = (int64_t)it->at;
    if (at >= slices)
        return OK;
    it->at++;
    /* The first of them have one item more. */
    const int64_t length = (int64_t)pipe->all->count, each = length / slices, larger = length % slices;
    const int64_t start = at * each + MIN(at, larger), end = start + each + (at < larger);
    List *slice;
    TRY(jinja_spend(j, 1));
    TRY(list_new(j, (size_t)(end - start) + 1, &slice));
    for (int64_t i = start; i < end; i++)
        TRY(list_push(j, slice, pipe->all->items[i]));
    if (!is_nothing(pipe->fill) && at >= larger)
        TRY(list_push(j, slice, pipe->fill));
    *item = value_of_list(slice);
    return OK;
}

Status filter_slice(Jinja *j, Value v, const Args *args, Value *result) {
    Pipe *pipe;
    TRY(pipe_new(j, v, NULL, next_slice, &pipe, result));
    pipe->fill = args->items[1];
    return value_to_int64(j, args->items[0], "slice", &pipe->number);
}
