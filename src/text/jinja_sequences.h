/* jinja_sequences.h - sorting, attributes of items, and the filters that take or give sequences. */
#ifndef HOULE_TEXT_JINJA_SEQUENCES_H
#define HOULE_TEXT_JINJA_SEQUENCES_H

#include "text/jinja.h"

/* Orders items (and keys) by the keys: stable, also in reverse. */
Status sort_by_keys(Jinja *j, Value *items, Value *keys, size_t count, bool reverse);

/* The argument `reverse` of sort and its kin. */
Status reverse_argument(Jinja *j, Value v, bool *reverse);

/* `attribute` of filters: "a.0.b" is looked up part by part. */
typedef struct Getter {
    const Value *parts;
    size_t count;
    Value otherwise; /* V_MISSING: none; takes the place of an undefined part */
    bool ignore_case;
} Getter;

/* An attribute that is V_MISSING or V_NONE is the item itself. */
Status getter_open(Jinja *j, Value attribute, Value otherwise, bool ignore_case, Getter *getter);
Status getter_get(Jinja *j, const Getter *getter, Value item, Value *value);

/* Filters; jinja_filters.c has the table. */
Status filter_batch(Jinja *j, Value v, const Args *args, Value *result);
Status filter_dictsort(Jinja *j, Value v, const Args *args, Value *result);
Status filter_first(Jinja *j, Value v, const Args *args, Value *result);
Status filter_groupby(Jinja *j, Value v, const Args *args, Value *result);
Status filter_items(Jinja *j, Value v, const Args *args, Value *result);
Status filter_join(Jinja *j, Value v, const Args *args, Value *result);
Status filter_last(Jinja *j, Value v, const Args *args, Value *result);
Status filter_length(Jinja *j, Value v, const Args *args, Value *result);
Status filter_list(Jinja *j, Value v, const Args *args, Value *result);
Status filter_map(Jinja *j, Value v, const Args *args, Value *result);
Status filter_max(Jinja *j, Value v, const Args *args, Value *result);
Status filter_min(Jinja *j, Value v, const Args *args, Value *result);
Status filter_random(Jinja *j, Value v, const Args *args, Value *result);
Status filter_reject(Jinja *j, Value v, const Args *args, Value *result);
Status filter_rejectattr(Jinja *j, Value v, const Args *args, Value *result);
Status filter_reverse(Jinja *j, Value v, const Args *args, Value *result);
Status filter_select(Jinja *j, Value v, const Args *args, Value *result);
Status filter_selectattr(Jinja *j, Value v, const Args *args, Value *result);
Status filter_slice(Jinja *j, Value v, const Args *args, Value *result);
Status filter_sort(Jinja *j, Value v, const Args *args, Value *result);
Status filter_sum(Jinja *j, Value v, const Args *args, Value *result);
Status filter_unique(Jinja *j, Value v, const Args *args, Value *result);

#endif
