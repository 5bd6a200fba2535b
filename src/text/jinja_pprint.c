/* jinja_pprint.c - the pprint filter: repr() with dictionaries in the order of their keys, broken into lines where it
 * is wider than 80 columns, as Python's pprint does. */
#include "text/jinja_wrap.h"

#include "text/jinja_str.h"
#include "text/jinja_unicode.h"

#include <string.h>

enum { PAGE_WIDTH = 80 };

/* What still has to stand at the end of the line (closing brackets, a comma), and how deep we are. */
typedef struct Layout {
    size_t indent, allowance;
    int level;
} Layout;

static Status write_plain(Jinja *j, Value v);

/* Keys of one kind are sorted; otherwise they stay as they are. */
static Status ordered_entries(Jinja *j, const Dict *dict, const DictEntry **entries) {
    bool strings = true, numbers = true;
    DictEntry *copy;
    TRY(jinja_alloc_array(j, dict->live, sizeof *copy, &copy));
    size_t at = 0, count = 0;
    for (const DictEntry *entry; (entry = dict_next(dict, &at)) != NULL;) {
        strings = strings && entry->key.kind == V_STRING;
        numbers = numbers && is_number(entry->key);
        copy[count++] = *entry;
    }
    *entries = copy;
    return strings || numbers ? dict_sorted_entries(j, dict, entries) : OK;
}

static Status write_plain_list(Jinja *j, List *list, const char *open, const char *close) {
    list->busy = true;
    TRY(jinja_write_str(j, open));
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            TRY(jinja_write_str(j, ", "));
        TRY(write_plain(j, list->items[i]));
    }
    list->busy = false;
    return jinja_write_str(j, close);
}

static Status write_plain_dict(Jinja *j, Dict *dict) {
    const DictEntry *entries;
    TRY(ordered_entries(j, dict, &entries));
    dict->busy = true;
    TRY(jinja_write_char(j, '{'));
    for (size_t i = 0; i < dict->live; i++) {
        if (i > 0)
            TRY(jinja_write_str(j, ", "));
        TRY(write_plain(j, entries[i].key));
        TRY(jinja_write_str(j, ": "));
        TRY(write_plain(j, entries[i].value));
    }
    dict->busy = false;
    return jinja_write_char(j, '}');
}

static bool is_container(Value v) {
    return v.kind == V_LIST || v.kind == V_TUPLE || v.kind == V_DICT;
}

static bool is_busy(Value v) {
    return v.kind == V_DICT ? v.as.dict->busy : is_container(v) && v.as.list->busy;
}

/* On one line. */
static Status write_plain(Jinja *j, Value v) {
    if (!is_container(v) || is_busy(v))
        return write_repr(j, v);
    TRY(jinja_enter(j));
    if (v.kind == V_DICT)
        TRY(write_plain_dict(j, v.as.dict));
    else if (v.kind == V_LIST)
        TRY(write_plain_list(j, v.as.list, "[", "]"));
    else
        TRY(write_plain_list(j, v.as.list, "(", v.as.list->count == 1 ? ",)" : ")"));
    jinja_leave(j);
    return OK;
}

static Status plain_text(Jinja *j, Value v, Value *text) {
    const size_t mark = jinja_mark(j);
    TRY(write_plain(j, v));
    return jinja_take(j, mark, text);
}

static Status new_line(Jinja *j, size_t indent) {
    TRY(jinja_write_char(j, '\n'));
    return jinja_write_repeat(j, " ", 1, indent);
}

static Status write_pretty(Jinja *j, Value v, Layout layout);

static Status write_pretty_list(Jinja *j, Value v, Layout layout) {
    const bool tuple = v.kind == V_TUPLE;
    const char *close = !tuple ? "]" : v.as.list->count == 1 ? ",)" : ")";
    List *list = v.as.list;
    TRY(jinja_write_char(j, tuple ? '(' : '['));
    list->busy = true;
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) {
            TRY(jinja_write_char(j, ','));
            TRY(new_line(j, layout.indent + 1));
        }
        const bool last = i + 1 == list->count;
        TRY(write_pretty(j, list->items[i],
                         (Layout){.indent = layout.indent + 1,
                                  .allowance = last ? layout.allowance + strlen(close) : 1,
                                  .level = layout.level}));
    }
    list->busy = false;
    return jinja_write_str(j, close);
}

static Status write_pretty_dict(Jinja *j, Dict *dict, Layout layout) {
    const DictEntry *entries;
    TRY(ordered_entries(j, dict, &entries));
    TRY(jinja_write_char(j, '{'));
    dict->busy = true;
    for (size_t i = 0; i < dict->live; i++) {
        if (i > 0) {
            TRY(jinja_write_char(j, ','));
            TRY(new_line(j, layout.indent + 1));
        }
        Value key;
        TRY(plain_text(j, entries[i].key, &key));
        TRY(jinja_write(j, key.as.text, key.count));
        TRY(jinja_write_str(j, ": "));
        TRY(write_pretty(j, entries[i].value,
                         (Layout){.indent = layout.indent + 1 + string_length(key) + 2,
                                  .allowance = i + 1 == dict->live ? layout.allowance + 1 : 1,
                                  .level = layout.level}));
    }
    dict->busy = false;
    return jinja_write_char(j, '}');
}

static Status push_repr(Jinja *j, List *chunks, Value text) {
    Value repr;
    TRY(plain_text(j, text, &repr));
    return list_push(j, chunks, repr);
}

/* A word and the white space behind it. */
static size_t part_end(Value line, size_t at) {
    bool space = false;
    while (at < line.count) {
        size_t next = at;
        const bool is_space = char_is_space(char_next(line, &next));
        if (space && !is_space)
            break;
        space = is_space;
        at = next;
    }
    return at;
}

/* A line that is too wide becomes several strings, cut between words. */
static Status push_parts(Jinja *j, List *chunks, Value line, size_t width, size_t last_width) {
    size_t start = 0, end = 0;
    while (end < line.count) {
        const size_t next = part_end(line, end);
        Value candidate;
        TRY(plain_text(j, value_slice(line, start, next - start), &candidate));
        if (string_length(candidate) > (next == line.count ? last_width : width)) {
            if (end > start)
                TRY(push_repr(j, chunks, value_slice(line, start, end - start)));
            start = end;
        }
        end = next;
    }
    return end > start ? push_repr(j, chunks, value_slice(line, start, end - start)) : OK;
}

static size_t less(size_t a, size_t b) {
    return a > b ? a - b : 0;
}

static Status write_pretty_string(Jinja *j, Value string, Layout layout) {
    List *lines, *chunks;
    TRY(str_split_lines(j, string, true, &lines));
    TRY(list_new(j, 0, &chunks));
    const bool outermost = layout.level == 1;
    layout.indent += outermost;
    layout.allowance += outermost;
    const size_t width = less(PAGE_WIDTH, layout.indent);
    for (size_t i = 0; i < lines->count; i++) {
        const size_t last_width = i + 1 == lines->count ? less(width, layout.allowance) : width;
        Value repr;
        TRY(plain_text(j, lines->items[i], &repr));
        if (string_length(repr) <= last_width)
            TRY(list_push(j, chunks, repr));
        else
            TRY(push_parts(j, chunks, lines->items[i], width, last_width));
    }
    const bool brackets = outermost && chunks->count > 1;
    if (brackets)
        TRY(jinja_write_char(j, '('));
    for (size_t i = 0; i < chunks->count; i++) {
        if (i > 0)
            TRY(new_line(j, layout.indent));
        TRY(jinja_write(j, chunks->items[i].as.text, chunks->items[i].count));
    }
    return brackets ? jinja_write_char(j, ')') : OK;
}

static Status write_pretty(Jinja *j, Value v, Layout layout) {
    Value plain;
    TRY(plain_text(j, v, &plain));
    const bool container = is_container(v) && !(v.kind == V_TUPLE && (v.flags & TUPLE_GROUP) != 0);
    const bool can_break = !is_busy(v) && (container || (v.kind == V_STRING && v.count > 0 && !is_markup(v)));
    if (!can_break || string_length(plain) <= less(PAGE_WIDTH, layout.indent + layout.allowance))
        return jinja_write(j, plain.as.text, plain.count);
    layout.level++;
    TRY(jinja_enter(j));
    if (v.kind == V_STRING)
        TRY(write_pretty_string(j, v, layout));
    else if (v.kind == V_DICT)
        TRY(write_pretty_dict(j, v.as.dict, layout));
    else
        TRY(write_pretty_list(j, v, layout));
    jinja_leave(j);
    return OK;
}

Status filter_pprint(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    const size_t mark = jinja_mark(j);
    TRY(write_pretty(j, v, (Layout){0}));
    return jinja_take(j, mark, result);
}
