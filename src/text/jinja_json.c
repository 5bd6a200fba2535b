/* jinja_json.c - values as JSON, as Python's json.dumps writes it: keys in their order, ", " and ": " between items,
 * floats by repr, NaN and infinities as JavaScript's words. */
#include "text/jinja.h"

#include "text/jinja_int.h"
#include "text/jinja_unicode.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct JsonStyle {
    bool ensure_ascii, sort_keys;
    bool pretty;
    Value indent; /* one level's, when pretty */
    Value item_separator, key_separator;
} JsonStyle;

static Status write_json_string(Jinja *j, const JsonStyle *style, Value string) {
    TRY(jinja_spend_bytes(j, string.count * 2));
    TRY(jinja_write_char(j, '"'));
    size_t plain = 0;
    for (size_t at = 0; at < string.count;) {
        const unsigned char byte = (unsigned char)string.as.text[at];
        if (byte >= 0x20 && byte != '"' && byte != '\\' && (byte < 0x7F || !style->ensure_ascii)) {
            at++;
            continue;
        }
        TRY(jinja_write(j, string.as.text + plain, at - plain));
        const uint32_t c = char_next(string, &at);
        plain = at;
        static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        char escape[16];
        const char *name = c < 0x80 && c != 0 ? strchr(named, (int)c) : NULL;
        if (name != NULL)
            snprintf(escape, sizeof escape, "\\%c", letters[name - named]);
        else if (c >= 0x10000)
            snprintf(escape, sizeof escape, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (c >> 10)),
                     (unsigned)(0xDC00 | (c & 0x3FF)));
        else
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)c);
        TRY(jinja_write_str(j, escape));
    }
    TRY(jinja_write(j, string.as.text + plain, string.count - plain));
    return jinja_write_char(j, '"');
}

static Status write_json(Jinja *j, const JsonStyle *style, Value v, int level);

static Status new_line(Jinja *j, const JsonStyle *style, int level) {
    if (!style->pretty)
        return OK;
    TRY(jinja_write_char(j, '\n'));
    return jinja_write_repeat(j, style->indent.as.text, style->indent.count, (size_t)level);
}

static Status separate(Jinja *j, const JsonStyle *style, bool *first, int level) {
    if (!*first)
        TRY(jinja_write(j, style->item_separator.as.text, style->item_separator.count));
    *first = false;
    return new_line(j, style, level);
}

static Status write_json_list(Jinja *j, const JsonStyle *style, List *list, int level) {
    REFUSE_IF(list->busy, j, "Circular reference detected");
    if (list->count == 0)
        return jinja_write_str(j, "[]");
    list->busy = true;
    TRY(jinja_write_char(j, '['));
    bool first = true;
    for (size_t i = 0; i < list->count; i++) {
        TRY(separate(j, style, &first, level + 1));
        TRY(write_json(j, style, list->items[i], level + 1));
    }
    list->busy = false;
    TRY(new_line(j, style, level));
    return jinja_write_char(j, ']');
}

static Status write_json_key(Jinja *j, const JsonStyle *style, Value key) {
    if (key.kind == V_STRING)
        return write_json_string(j, style, key);
    REFUSE_IF(!is_number(key) && key.kind != V_NONE, j, "keys must be str, int, float, bool or None, not %s",
              value_type(key));
    TRY(jinja_write_char(j, '"'));
    TRY(write_json(j, style, key, 0));
    return jinja_write_char(j, '"');
}

static Status write_json_dict(Jinja *j, const JsonStyle *style, Dict *dict, int level) {
    REFUSE_IF(dict->busy, j, "Circular reference detected");
    if (dict->live == 0)
        return jinja_write_str(j, "{}");
    const DictEntry *sorted = NULL;
    if (style->sort_keys)
        TRY(dict_sorted_entries(j, dict, &sorted));
    dict->busy = true;
    TRY(jinja_write_char(j, '{'));
    bool first = true;
    size_t at = 0;
    for (size_t i = 0; i < dict->live; i++) {
        const DictEntry *entry = sorted != NULL ? &sorted[i] : dict_next(dict, &at);
        TRY(separate(j, style, &first, level + 1));
        TRY(write_json_key(j, style, entry->key));
        TRY(jinja_write(j, style->key_separator.as.text, style->key_separator.count));
        TRY(write_json(j, style, entry->value, level + 1));
    }
    dict->busy = false;
    TRY(new_line(j, style, level));
    return jinja_write_char(j, '}');
}

static Status write_json(Jinja *j, const JsonStyle *style, Value v, int level) {
    switch (v.kind) {
    case V_NONE:
        return jinja_write_str(j, "null");
    case V_BOOL:
        return jinja_write_str(j, v.as.boolean ? "true" : "false");
    case V_INT:
    case V_BIG:
        return int_write(j, v, 10, false);
    case V_FLOAT:
        if (isnan(v.as.real))
            return jinja_write_str(j, "NaN");
        if (isinf(v.as.real))
            return jinja_write_str(j, v.as.real < 0 ? "-Infinity" : "Infinity");
        return write_float(j, v.as.real);
    case V_STRING:
        return write_json_string(j, style, v);
    case V_LIST:
    case V_TUPLE:
    case V_DICT:
        TRY(jinja_enter(j));
        if (v.kind == V_DICT)
            TRY(write_json_dict(j, style, v.as.dict, level));
        else
            TRY(write_json_list(j, style, v.as.list, level));
        jinja_leave(j);
        return OK;
    default:
        REFUSE(j, "Object of type %s is not JSON serializable", value_type(v));
    }
}

Status write_value_as_json(Jinja *j, Value v, bool ensure_ascii, bool sort_keys, Value indent, Value item_separator,
                        Value key_separator) {
    JsonStyle style = {.ensure_ascii = ensure_ascii,
                       .sort_keys = sort_keys,
                       .pretty = !is_nothing(indent),
                       .item_separator = item_separator,
                       .key_separator = key_separator};
    if (style.pretty && indent.kind == V_STRING) {
        style.indent = indent;
    } else if (style.pretty) {
        int64_t spaces;
        TRY(value_to_int64(j, indent, "indent", &spaces));
        const size_t mark = jinja_mark(j);
        TRY(jinja_write_repeat(j, " ", 1, spaces > 0 ? (size_t)spaces : 0));
        TRY(jinja_take(j, mark, &style.indent));
    }
    return write_json(j, &style, v, 0);
}
