/* jinja_repr.c - str() and repr() of values, HTML escapes, and JSON as Python's json.dumps writes it. */
#include "text/jinja.h"

#include "text/jinja_int.h"
#include "text/jinja_unicode.h"

#include <math.h>
#include <string.h>

/* ---- strings ----------------------------------------------------------------------------------------------------- */

/* Double quotes only when there is a single one and no double one inside. */
static Status write_quoted(Jinja *j, Value string) {
    const bool has_single = memchr(string.as.text, '\'', string.count) != NULL;
    const char quote = has_single && memchr(string.as.text, '"', string.count) == NULL ? '"' : '\'';
    TRY(jinja_spend_bytes(j, string.count * 4));
    TRY(jinja_write_char(j, quote));
    size_t plain = 0; /* where the bytes begin that are written as they are */
    for (size_t at = 0; at < string.count;) {
        const size_t start = at;
        const uint32_t c = char_next(string, &at);
        if (c != (uint32_t)quote && c != '\\' && char_is_printable(c))
            continue;
        TRY(jinja_write(j, string.as.text + plain, start - plain));
        plain = at;
        char escape[12];
        if (c == (uint32_t)quote || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else
            snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
        TRY(jinja_write_str(j, escape));
    }
    TRY(jinja_write(j, string.as.text + plain, string.count - plain));
    return jinja_write_char(j, quote);
}

Status write_escaped(Jinja *j, const char *bytes, size_t count) {
    TRY(jinja_spend_bytes(j, count));
    size_t plain = 0;
    for (size_t i = 0; i < count; i++) {
        const char *escape;
        switch (bytes[i]) {
        case '&':
            escape = "&amp;";
            break;
        case '<':
            escape = "&lt;";
            break;
        case '>':
            escape = "&gt;";
            break;
        case '"':
            escape = "&#34;";
            break;
        case '\'':
            escape = "&#39;";
            break;
        default:
            continue;
        }
        TRY(jinja_write(j, bytes + plain, i - plain));
        TRY(jinja_write_str(j, escape));
        plain = i + 1;
    }
    return jinja_write(j, bytes + plain, count - plain);
}

/* ---- containers -------------------------------------------------------------------------------------------------- */

static Status write_items(Jinja *j, List *list, const char *open, const char *close) {
    if (list->busy) {
        TRY(jinja_write_str(j, open));
        TRY(jinja_write_str(j, "..."));
        return jinja_write_str(j, close);
    }
    list->busy = true;
    TRY(jinja_write_str(j, open));
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            TRY(jinja_write_str(j, ", "));
        TRY(write_repr(j, list->items[i]));
    }
    list->busy = false;
    return jinja_write_str(j, close);
}

static Status write_entries(Jinja *j, Dict *dict) {
    if (dict->busy)
        return jinja_write_str(j, "{...}");
    dict->busy = true;
    TRY(jinja_write_char(j, '{'));
    size_t at = 0;
    const char *separator = "";
    for (const DictEntry *entry; (entry = dict_next(dict, &at)) != NULL; separator = ", ") {
        TRY(jinja_write_str(j, separator));
        TRY(write_repr(j, entry->key));
        TRY(jinja_write_str(j, ": "));
        TRY(write_repr(j, entry->value));
    }
    dict->busy = false;
    return jinja_write_char(j, '}');
}

static Status write_view(Jinja *j, Value view) {
    static const char *const names[] = {"dict_keys(", "dict_values(", "dict_items("};
    List *items;
    TRY(list_of_iterable(j, view, &items));
    TRY(jinja_write_str(j, names[view.as.view->which]));
    TRY(write_items(j, items, "[", "]"));
    return jinja_write_char(j, ')');
}

static Status write_range(Jinja *j, const Range *range) {
    TRY(jinja_write_str(j, "range("));
    TRY(int_write(j, value_int(range->start), 10, false));
    TRY(jinja_write_str(j, ", "));
    TRY(int_write(j, value_int(range->stop), 10, false));
    if (range->step != 1) {
        TRY(jinja_write_str(j, ", "));
        TRY(int_write(j, value_int(range->step), 10, false));
    }
    return jinja_write_char(j, ')');
}

static Status write_object(Jinja *j, Value v) {
    TRY(jinja_write_char(j, '<'));
    TRY(jinja_write_str(j, value_type(v)));
    switch (v.kind) {
    case V_MACRO:
        TRY(jinja_write_char(j, ' '));
        TRY(write_macro_name(j, v.as.macro));
        break;
    case V_LOOP:
        TRY(jinja_write_char(j, ' '));
        TRY(write_loop_position(j, v.as.loop));
        break;
    case V_NAMESPACE:
        TRY(jinja_write_char(j, ' '));
        TRY(write_entries(j, v.as.dict));
        break;
    case V_SELF:
        TRY(jinja_write_str(j, " None"));
        break;
    case V_FUNCTION:
        TRY(jinja_write_char(j, ' '));
        TRY(jinja_write_str(j, v.as.builtin->name));
        break;
    case V_METHOD:
        TRY(jinja_write_char(j, ' '));
        TRY(jinja_write_str(j, v.as.method->builtin->name));
        TRY(jinja_write_str(j, " of "));
        TRY(jinja_write_str(j, value_type(v.as.method->self)));
        break;
    default:
        TRY(jinja_write_str(j, " object"));
        break;
    }
    return jinja_write_char(j, '>');
}

static Status write_compound(Jinja *j, Value v) {
    switch (v.kind) {
    case V_LIST:
        return write_items(j, v.as.list, "[", "]");
    case V_TUPLE:
        return write_items(j, v.as.list, "(", v.as.list->count == 1 ? ",)" : ")");
    case V_DICT:
        return write_entries(j, v.as.dict);
    case V_VIEW:
        return write_view(j, v);
    case V_RANGE:
        return write_range(j, v.as.range);
    default:
        return write_object(j, v);
    }
}

Status write_repr(Jinja *j, Value v) {
    if (v.kind == V_STRING) {
        if (!is_markup(v))
            return write_quoted(j, v);
        TRY(jinja_write_str(j, "Markup("));
        TRY(write_quoted(j, v));
        return jinja_write_char(j, ')');
    }
    if (v.kind == V_UNDEFINED)
        return jinja_write_str(j, "Undefined");
    return write_value(j, v);
}

Status write_value(Jinja *j, Value v) {
    switch (v.kind) {
    case V_MISSING:
    case V_UNDEFINED:
        return OK;
    case V_NONE:
        return jinja_write_str(j, "None");
    case V_BOOL:
        return jinja_write_str(j, v.as.boolean ? "True" : "False");
    case V_INT:
    case V_BIG:
        return int_write(j, v, 10, false);
    case V_FLOAT:
        return write_float(j, v.as.real);
    case V_STRING:
        return jinja_write(j, v.as.text, v.count);
    default:
        TRY(jinja_enter(j));
        TRY(write_compound(j, v));
        jinja_leave(j);
        return OK;
    }
}

Status value_to_string(Jinja *j, Value v, Value *string) {
    if (v.kind == V_STRING) {
        *string = v;
        return OK;
    }
    const size_t mark = jinja_mark(j);
    TRY(write_value(j, v));
    return jinja_take(j, mark, string);
}

Status value_escape(Jinja *j, Value v, Value *markup) {
    if (is_markup(v)) {
        *markup = v;
        return OK;
    }
    Value string;
    TRY(value_to_string(j, v, &string));
    const size_t mark = jinja_mark(j);
    TRY(write_escaped(j, string.as.text, string.count));
    TRY(jinja_take(j, mark, markup));
    markup->flags |= STR_MARKUP;
    return OK;
}
