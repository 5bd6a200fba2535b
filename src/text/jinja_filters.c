/* jinja_filters.c - the table of filters, and those that make one value of one value. */
#include "text/jinja.h"

#include "text/jinja_int.h"
#include "text/jinja_number.h"
#include "text/jinja_sequences.h"
#include "text/jinja_str.h"
#include "text/jinja_unicode.h"
#include "text/jinja_wrap.h"

#include <math.h>
#include <string.h>

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static Status filter_abs(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    if (v.kind == V_FLOAT) {
        *result = value_float(fabs(v.as.real));
        return OK;
    }
    REFUSE_IF(!is_integer(v), j, "bad operand type for abs(): '%s'", value_type(v));
    return value_negate(j, v, int_sign(v) < 0, result);
}

/* int() of the text, else of the float that it spells ("42.9"), else the default. */
static Status filter_int(Jinja *j, Value v, const Args *args, Value *result) {
    int64_t base = 10;
    if (is_given(args->items[1]) && (!is_integer(args->items[1]) || !int_to_int64(args->items[1], &base)))
        base = 1; /* none of the possible ones */
    *result = is_given(args->items[0]) ? args->items[0] : value_int(0);
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    if (is_integer(v))
        return value_negate(j, v, false, result);
    if (v.kind == V_STRING) {
        bool valid;
        double number;
        TRY(number_int_of_text(j, v, base >= 0 && base <= 36 ? (int)base : 1, &valid, result));
        if (valid)
            return OK;
        *result = is_given(args->items[0]) ? args->items[0] : value_int(0);
        TRY(number_float_of_text(j, v, &valid, &number));
        return valid && isfinite(number) ? int_of_double(j, number, result) : OK;
    }
    if (v.kind == V_FLOAT && !isnan(v.as.real))
        return int_of_double(j, v.as.real, result);
    return OK;
}

static Status filter_float(Jinja *j, Value v, const Args *args, Value *result) {
    *result = is_given(args->items[0]) ? args->items[0] : value_float(0);
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    double number;
    bool valid = is_number(v);
    if (valid)
        TRY(number_to_double(j, v, &number));
    else if (v.kind == V_STRING)
        TRY(number_float_of_text(j, v, &valid, &number));
    if (valid)
        *result = value_float(number);
    return OK;
}

static Status filter_round(Jinja *j, Value v, const Args *args, Value *result) {
    const Value precision = is_given(args->items[0]) ? args->items[0] : value_int(0);
    const Value method = is_given(args->items[1]) ? args->items[1] : value_str("common");
    const bool ceiling = string_is(method, "ceil");
    REFUSE_IF(!ceiling && !string_is(method, "floor") && !string_is(method, "common"), j,
              "round: method must be common, ceil or floor");
    if (string_is(method, "common")) {
        REFUSE_IF(!is_number(v), j, "type %s doesn't define __round__ method", value_type(v));
        int64_t digits = 0;
        if (precision.kind != V_NONE)
            TRY(value_to_int64(j, precision, "round", &digits));
        TRY(number_round(j, v, digits, result));
        return precision.kind == V_NONE && result->kind == V_FLOAT ? int_of_double(j, result->as.real, result) : OK;
    }
    Value scale, scaled;
    TRY(value_binary(j, OP_POW, value_int(10), precision, &scale));
    TRY(value_binary(j, OP_MUL, v, scale, &scaled));
    REFUSE_IF(!is_number(scaled), j, "must be real number, not %s", value_type(scaled));
    if (scaled.kind == V_FLOAT)
        TRY(int_of_double(j, ceiling ? ceil(scaled.as.real) : floor(scaled.as.real), &scaled));
    return value_binary(j, OP_DIV, scaled, scale, result);
}

static Status filter_filesizeformat(Jinja *j, Value v, const Args *args, Value *result) {
    static const char prefixes[] = "kMGTPEZY";
    const bool binary = value_truth(args->items[0]);
    double bytes;
    bool valid = is_number(v);
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    if (v.kind == V_STRING)
        TRY(number_float_of_text(j, v, &valid, &bytes));
    REFUSE_IF(!valid, j, "filesizeformat: a number is expected, not %s", value_type(v));
    if (v.kind != V_STRING)
        TRY(number_to_double(j, v, &bytes));
    const double base = binary ? 1024 : 1000;
    const size_t mark = jinja_mark(j);
    if (bytes == 1) {
        TRY(jinja_write_str(j, "1 Byte"));
    } else if (bytes < base) {
        Value whole;
        TRY(int_of_double(j, bytes, &whole));
        TRY(int_write(j, whole, 10, false));
        TRY(jinja_write_str(j, " Bytes"));
    } else {
        double unit = base * base;
        size_t i = 0;
        for (; i + 1 < sizeof prefixes - 1 && !(bytes < unit); i++)
            unit *= base;
        TRY(jinja_write_double(j, 'f', 1, base * bytes / unit));
        TRY(jinja_write_char(j, ' '));
        TRY(jinja_write_char(j, binary && i == 0 ? 'K' : prefixes[i]));
        TRY(jinja_write_str(j, binary ? "iB" : "B"));
    }
    return jinja_take(j, mark, result);
}

/* ---- any value --------------------------------------------------------------------------------------------------- */

static Status filter_default(Jinja *j, Value v, const Args *args, Value *result) {
    (void)j;
    const bool replace = v.kind == V_UNDEFINED || (value_truth(args->items[1]) && !value_truth(v));
    *result = !replace ? v : is_given(args->items[0]) ? args->items[0] : value_str("");
    return OK;
}

/* The attribute alone, never the item of that name. */
static Status filter_attr(Jinja *j, Value v, const Args *args, Value *result) {
    const Value name = args->items[0];
    REFUSE_IF(name.kind != V_STRING, j, "attr: attribute name must be string, not '%s'", value_type(name));
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    TRY(value_attribute(j, v, name, result));
    if (!is_given(*result))
        *result = undefined_item(v, name);
    return OK;
}

static Status filter_string(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return value_to_string(j, v, result);
}

static Status filter_safe(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    TRY(value_to_string(j, v, result));
    result->flags |= STR_MARKUP;
    return OK;
}

static Status filter_escape(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return value_escape(j, v, result);
}

static Status filter_forceescape(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    TRY(value_to_string(j, v, &v));
    v.flags &= (uint8_t)~STR_MARKUP;
    return value_escape(j, v, result);
}

static Status filter_tojson(Jinja *j, Value v, const Args *args, Value *result) {
    const Value separators = args->items[2];
    Value item_separator = value_str(is_nothing(args->items[1]) ? ", " : ","), key_separator = value_str(": ");
    if (!is_nothing(separators)) {
        REFUSE_IF((separators.kind != V_LIST && separators.kind != V_TUPLE) || separators.as.list->count != 2, j,
                  "tojson: separators are two strings");
        item_separator = separators.as.list->items[0];
        key_separator = separators.as.list->items[1];
        REFUSE_IF(item_separator.kind != V_STRING || key_separator.kind != V_STRING, j,
                  "tojson: separators are two strings");
    }
    const size_t mark = jinja_mark(j);
    TRY(write_value_as_json(j, v, value_truth(args->items[0]), value_truth(args->items[3]), args->items[1],
                            item_separator, key_separator));
    return jinja_take(j, mark, result);
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

static Status cased(Jinja *j, Value v, int kind, Value *result) {
    TRY(value_to_string(j, v, &v));
    return str_cased(j, v, kind, result);
}

static Status filter_upper(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return cased(j, v, CASE_UPPER, result);
}

static Status filter_lower(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return cased(j, v, CASE_LOWER, result);
}

static Status filter_capitalize(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return cased(j, v, CASE_CAPITALIZE, result);
}

static Status filter_center(Jinja *j, Value v, const Args *args, Value *result) {
    int64_t width = 80;
    if (is_given(args->items[0]))
        TRY(value_to_int64(j, args->items[0], "center", &width));
    TRY(value_to_string(j, v, &v));
    return str_center(j, v, width, " ", result);
}

static Status filter_trim(Jinja *j, Value v, const Args *args, Value *result) {
    TRY(value_to_string(j, v, &v));
    return str_strip(j, v, args->items[0], true, true, result);
}

static Status filter_replace(Jinja *j, Value v, const Args *args, Value *result) {
    int64_t count = -1;
    if (!is_nothing(args->items[2]))
        TRY(value_to_int64(j, args->items[2], "replace", &count));
    Value text, old, fresh;
    TRY(value_to_string(j, v, &text));
    TRY(value_to_string(j, args->items[0], &old));
    TRY(value_to_string(j, args->items[1], &fresh));
    if (!j->autoescape) {
        text.flags &= (uint8_t)~STR_MARKUP;
    } else {
        if (is_markup(old) || (is_markup(fresh) && !is_markup(text)))
            TRY(value_escape(j, text, &text));
        if (is_markup(text)) {
            TRY(value_escape(j, old, &old));
            TRY(value_escape(j, fresh, &fresh));
        }
    }
    return str_replace(j, text, old, fresh, count, result);
}

static Status filter_format(Jinja *j, Value v, const Args *args, Value *result) {
    REFUSE_IF(args->count > 0 && args->keyword_count > 0, j,
              "format: can't handle positional and keyword arguments at the same time");
    TRY(value_to_string(j, v, &v));
    Value values;
    if (args->keyword_count > 0) {
        Dict *dict;
        TRY(dict_new(j, &dict));
        for (size_t i = 0; i < args->keyword_count; i++)
            TRY(dict_put(j, dict, args->keywords[i].name, args->keywords[i].value));
        values = value_of_dict(dict);
    } else {
        TRY(tuple_new(j, args->items, args->count, &values));
    }
    return format_percent(j, v, values, result);
}

/* Percent-encoding of UTF-8; in a query, spaces are "+" and slashes are encoded too. */
static Status write_url(Jinja *j, Value v, bool query) {
    TRY(value_to_string(j, v, &v));
    TRY(jinja_spend_bytes(j, v.count));
    for (size_t i = 0; i < v.count; i++) {
        const unsigned char c = (unsigned char)v.as.text[i];
        static const char hex[] = "0123456789ABCDEF";
        const bool plain = (c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80;
        if (plain || (c >= '0' && c <= '9') || (c != 0 && strchr("_.-~", c) != NULL) || (c == '/' && !query))
            TRY(jinja_write_char(j, (char)c));
        else if (c == ' ' && query)
            TRY(jinja_write_char(j, '+'));
        else
            TRY(jinja_write(j, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3));
    }
    return OK;
}

static Status filter_urlencode(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    const size_t mark = jinja_mark(j);
    if (v.kind == V_STRING || !value_is_iterable(v)) {
        TRY(write_url(j, v, false));
        return jinja_take(j, mark, result);
    }
    if (v.kind == V_DICT)
        TRY(builtin_call(j, method_find(V_DICT, "items", 5), v, &(Args){0}, &v));
    List *pairs;
    TRY(list_of_iterable(j, v, &pairs));
    for (size_t i = 0; i < pairs->count; i++) {
        List *pair;
        TRY(list_of_iterable(j, pairs->items[i], &pair));
        REFUSE_IF(pair->count != 2, j, "urlencode: pairs of a key and a value are expected");
        if (i > 0)
            TRY(jinja_write_char(j, '&'));
        TRY(write_url(j, pair->items[0], true));
        TRY(jinja_write_char(j, '='));
        TRY(write_url(j, pair->items[1], true));
    }
    return jinja_take(j, mark, result);
}

static Status filter_xmlattr(Jinja *j, Value v, const Args *args, Value *result) {
    const bool autospace = !is_given(args->items[0]) || value_truth(args->items[0]);
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    REFUSE_IF(v.kind != V_DICT, j, "xmlattr: a mapping is expected, not %s", value_type(v));
    const size_t mark = jinja_mark(j);
    size_t at = 0;
    const char *separator = autospace ? " " : "";
    for (const DictEntry *entry; (entry = dict_next(v.as.dict, &at)) != NULL;) {
        if (entry->value.kind == V_NONE || entry->value.kind == V_UNDEFINED)
            continue;
        REFUSE_IF(entry->key.kind != V_STRING, j, "xmlattr: names must be strings");
        for (size_t i = 0; i < entry->key.count; i++)
            REFUSE_IF(entry->key.as.text[i] != 0 && strchr(" \t\n\v\f\r/>=", entry->key.as.text[i]) != NULL, j,
                      "xmlattr: invalid character in attribute name");
        Value key, value;
        TRY(value_escape(j, entry->key, &key));
        TRY(value_escape(j, entry->value, &value));
        TRY(jinja_write_str(j, separator));
        TRY(jinja_write(j, key.as.text, key.count));
        TRY(jinja_write_str(j, "=\""));
        TRY(jinja_write(j, value.as.text, value.count));
        TRY(jinja_write_char(j, '"'));
        separator = " ";
    }
    TRY(jinja_take(j, mark, result));
    if (j->autoescape)
        result->flags |= STR_MARKUP;
    return OK;
}

static const Builtin filters[] = {
    {"abs", "", filter_abs},
    {"attr", "name", filter_attr},
    {"batch", "linecount fill_with?", filter_batch},
    {"capitalize", "", filter_capitalize},
    {"center", "width?", filter_center},
    {"count", "", filter_length},
    {"d", "default_value? boolean?", filter_default},
    {"default", "default_value? boolean?", filter_default},
    {"dictsort", "case_sensitive? by? reverse?", filter_dictsort},
    {"e", "", filter_escape},
    {"escape", "", filter_escape},
    {"filesizeformat", "binary?", filter_filesizeformat},
    {"first", "", filter_first},
    {"float", "default?", filter_float},
    {"forceescape", "", filter_forceescape},
    {"format", NULL, filter_format},
    {"groupby", "attribute default? case_sensitive?", filter_groupby},
    {"indent", "width? first? blank?", filter_indent},
    {"int", "default? base?", filter_int},
    {"items", "", filter_items},
    {"join", "d? attribute?", filter_join},
    {"last", "", filter_last},
    {"length", "", filter_length},
    {"list", "", filter_list},
    {"lower", "", filter_lower},
    {"map", NULL, filter_map},
    {"max", "case_sensitive? attribute?", filter_max},
    {"min", "case_sensitive? attribute?", filter_min},
    {"pprint", "", filter_pprint},
    {"random", "", filter_random},
    {"reject", NULL, filter_reject},
    {"rejectattr", NULL, filter_rejectattr},
    {"replace", "old new count?", filter_replace},
    {"reverse", "", filter_reverse},
    {"round", "precision? method?", filter_round},
    {"safe", "", filter_safe},
    {"select", NULL, filter_select},
    {"selectattr", NULL, filter_selectattr},
    {"slice", "slices fill_with?", filter_slice},
    {"sort", "reverse? case_sensitive? attribute?", filter_sort},
    {"string", "", filter_string},
    {"striptags", "", filter_striptags},
    {"sum", "attribute? start?", filter_sum},
    {"title", "", filter_title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson},
    {"trim", "chars?", filter_trim},
    {"truncate", "length? killwords? end? leeway?", filter_truncate},
    {"unique", "case_sensitive? attribute?", filter_unique},
    {"upper", "", filter_upper},
    {"urlencode", "", filter_urlencode},
    {"wordcount", "", filter_wordcount},
    {"wordwrap", "width? break_long_words? wrapstring? break_on_hyphens?", filter_wordwrap},
    {"xmlattr", "autospace?", filter_xmlattr},
};

const Builtin *filter_find(const char *name, size_t bytes) {
    return builtin_find(filters, COUNT(filters), name, bytes);
}
