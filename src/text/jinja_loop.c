/* jinja_loop.c - the loop variable. It walks ahead of the body by one item when asked for the next one, and reads all
 * that is left when asked for a length that the iterable does not know. */
#include "text/jinja_eval.h"

#include "text/jinja_int.h"

#include <string.h>

Status loop_advance(Jinja *j, Loop *loop, Value *item) {
    if (is_given(loop->after)) {
        *item = loop->after;
        loop->after = value_missing();
    } else {
        TRY(iterator_next(j, loop->it, item));
        if (!is_given(*item))
            return OK;
    }
    loop->index0++;
    loop->before = loop->current;
    loop->current = *item;
    return OK;
}

static Status peek(Jinja *j, Loop *loop, Value *next) {
    if (!is_given(loop->after))
        TRY(iterator_next(j, loop->it, &loop->after));
    *next = loop->after;
    return OK;
}

static Status length_of(Jinja *j, Loop *loop, int64_t *length) {
    if (!loop->length_known) {
        bool has;
        loop->length = value_length(loop->iterable, &has);
        if (!has) {
            List *rest;
            TRY(list_of_iterable(j, value_of_iterator(loop->it), &rest));
            loop->length = rest->count + (size_t)(loop->index0 + 1) + is_given(loop->after);
            Iterator *it;
            TRY(jinja_alloc(j, sizeof *it, &it));
            TRY(iterator_open(j, it, value_of_list(rest)));
            loop->it = it;
        }
        loop->length_known = true;
    }
    *length = (int64_t)loop->length;
    return OK;
}

Status loop_property(Jinja *j, Loop *loop, Value name, Value *result) {
    int64_t length;
    Value next;
    *result = value_missing();
    if (string_is(name, "index"))
        *result = value_int(loop->index0 + 1);
    else if (string_is(name, "index0"))
        *result = value_int(loop->index0);
    else if (string_is(name, "first"))
        *result = value_bool(loop->index0 == 0);
    else if (string_is(name, "depth"))
        *result = value_int(loop->depth0 + 1);
    else if (string_is(name, "depth0"))
        *result = value_int(loop->depth0);
    else if (string_is(name, "last")) {
        TRY(peek(j, loop, &next));
        *result = value_bool(!is_given(next));
    } else if (string_is(name, "nextitem")) {
        TRY(peek(j, loop, &next));
        *result = is_given(next) ? next : undefined_hint("there is no next item");
    } else if (string_is(name, "previtem")) {
        *result = loop->index0 == 0 ? undefined_hint("there is no previous item") : loop->before;
    } else if (string_is(name, "length") || string_is(name, "revindex") || string_is(name, "revindex0")) {
        TRY(length_of(j, loop, &length));
        const int64_t passed = string_is(name, "length") ? 0 : loop->index0 + string_is(name, "revindex0");
        *result = value_int(length - passed);
    }
    return OK;
}

Status loop_cycle(Jinja *j, const Loop *loop, const Args *args, Value *result) {
    REFUSE_IF(args->keyword_count > 0, j, "loop.cycle takes no named arguments");
    REFUSE_IF(args->count == 0, j, "no items for cycling given");
    const int64_t count = (int64_t)args->count;
    *result = args->items[(loop->index0 % count + count) % count];
    return OK;
}

Status loop_changed(Jinja *j, Loop *loop, const Args *args, Value *result) {
    REFUSE_IF(args->keyword_count > 0, j, "loop.changed takes no named arguments");
    Value values;
    TRY(tuple_new(j, args->items, args->count, &values));
    bool same = false;
    if (is_given(loop->last_changed))
        TRY(value_equal(j, loop->last_changed, values, &same));
    loop->last_changed = values;
    *result = value_bool(!same);
    return OK;
}

Status write_loop_position(Jinja *j, Loop *loop) {
    int64_t length;
    TRY(length_of(j, loop, &length));
    TRY(int_write(j, value_int(loop->index0 + 1), 10, false));
    TRY(jinja_write_char(j, '/'));
    return int_write(j, value_int(length), 10, false);
}
