/* jinja_globals.c - the functions that every template sees: range, dict, namespace, cycler, joiner, and those of chat
 * templates: raise_exception, strftime_now. */
#include "text/jinja.h"

#include "text/jinja_int.h"

#include <stdio.h>
#include <string.h>

/* ---- range ------------------------------------------------------------------------------------------------------- */

enum { MAX_RANGE = 100000 }; /* of Jinja's sandbox */

static Status call_range(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    Value start = value_int(0), stop = args->items[0], step = value_int(1);
    if (is_given(args->items[1])) {
        start = args->items[0];
        stop = args->items[1];
    }
    if (is_given(args->items[2]))
        step = args->items[2];
    int64_t from, to, by;
    TRY(value_to_int64(j, start, "range", &from));
    TRY(value_to_int64(j, stop, "range", &to));
    TRY(value_to_int64(j, step, "range", &by));
    REFUSE_IF(by == 0, j, "range() arg 3 must not be zero");
    /* The distance may not fit 64 bits with a sign; without one it does. */
    const uint64_t distance = by > 0 ? (to > from ? (uint64_t)to - (uint64_t)from : 0)
                                     : (from > to ? (uint64_t)from - (uint64_t)to : 0);
    const uint64_t stride = by > 0 ? (uint64_t)by : 0 - (uint64_t)by;
    const uint64_t count = distance == 0 ? 0 : (distance - 1) / stride + 1;
    if (count > MAX_RANGE)
        return jinja_fail(j, ERR_LIMIT, "a range of more than %d items", MAX_RANGE);
    Range *range;
    TRY(jinja_alloc(j, sizeof *range, &range));
    *range = (Range){.start = from, .stop = to, .step = by, .count = (size_t)count};
    *result = (Value){.kind = V_RANGE, .as.range = range};
    return OK;
}

/* ---- dict and namespace ------------------------------------------------------------------------------------------ */

static Status dict_of_args(Jinja *j, const Args *args, const char *what, Dict **out) {
    REFUSE_IF(args->count > 1, j, "%s expected at most 1 argument, got %zu", what, args->count);
    TRY(dict_new(j, out));
    if (args->count == 1)
        TRY(dict_update(j, *out, args->items[0]));
    for (size_t i = 0; i < args->keyword_count; i++)
        TRY(dict_put(j, *out, args->keywords[i].name, args->keywords[i].value));
    return OK;
}

static Status call_dict(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    Dict *dict;
    TRY(dict_of_args(j, args, "dict", &dict));
    *result = value_of_dict(dict);
    return OK;
}

static Status check_attribute(Jinja *j, Value name) {
    REFUSE_IF(name.kind == V_STRING && name.count > 0 && name.as.text[0] == '_', j,
              "a namespace cannot store attributes whose names begin with an underscore ('%.*s')",
              (int)MIN(name.count, 80u), name.as.text);
    return OK;
}

static Status call_namespace(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    Dict *dict;
    TRY(dict_of_args(j, args, "namespace", &dict));
    size_t at = 0;
    for (const DictEntry *entry; (entry = dict_next(dict, &at)) != NULL;)
        TRY(check_attribute(j, entry->key));
    *result = (Value){.kind = V_NAMESPACE, .as.dict = dict};
    return OK;
}

Status namespace_put(Jinja *j, Dict *space, Value name, Value value) {
    TRY(check_attribute(j, name));
    return dict_put(j, space, name, value);
}

/* ---- cycler and joiner ------------------------------------------------------------------------------------------- */

static Status call_cycler(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    REFUSE_IF(args->keyword_count > 0, j, "cycler takes no named arguments");
    REFUSE_IF(args->count == 0, j, "at least one item has to be provided");
    Value items;
    TRY(tuple_new(j, args->items, args->count, &items));
    Cycler *cycler;
    TRY(jinja_alloc(j, sizeof *cycler, &cycler));
    cycler->items = items.as.list;
    *result = (Value){.kind = V_CYCLER, .as.cycler = cycler};
    return OK;
}

static Status call_joiner(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    Joiner *joiner;
    TRY(jinja_alloc(j, sizeof *joiner, &joiner));
    joiner->separator = is_given(args->items[0]) ? args->items[0] : value_str(", ");
    *result = (Value){.kind = V_JOINER, .as.joiner = joiner};
    return OK;
}

Status joiner_call(Jinja *j, Value joiner, const Args *args, Value *result) {
    REFUSE_IF(args->count > 0 || args->keyword_count > 0, j, "a joiner takes no arguments");
    *result = joiner.as.joiner->used ? joiner.as.joiner->separator : value_str("");
    joiner.as.joiner->used = true;
    return OK;
}

/* ---- strftime ---------------------------------------------------------------------------------------------------- */

static const char *const day_names[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"January", "February", "March",     "April",   "May",      "June",
                                          "July",    "August",   "September", "October", "November", "December"};

static bool is_leap(int year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* ISO 8601: the week belongs to the year in which its Thursday lies. */
static void iso_week(const struct tm *t, int *year, int *week) {
    *year = t->tm_year + 1900;
    const int weekday = (t->tm_wday + 6) % 7; /* Monday is 0 */
    *week = (t->tm_yday - weekday + 10) / 7;
    if (*week < 1) {
        (*year)--;
        const int days = is_leap(*year) ? 366 : 365;
        *week = (t->tm_yday + days - weekday + 10) / 7;
    } else if (*week == 53) {
        const int days = is_leap(*year) ? 366 : 365;
        if (t->tm_yday - weekday + 3 >= days) { /* this week's Thursday is in the next year */
            (*year)++;
            *week = 1;
        }
    }
}

static Status write_number(Jinja *j, int number, int width, char pad) {
    char text[16];
    snprintf(text, sizeof text, pad == '0' ? "%0*d" : "%*d", width, number);
    return jinja_write_str(j, text);
}

static Status write_time(Jinja *j, const struct tm *t, const char *format, size_t count);

/* One directive of the C locale. */
static Status write_directive(Jinja *j, const struct tm *t, const char *at) {
    const int hour12 = t->tm_hour % 12 == 0 ? 12 : t->tm_hour % 12;
    int year, week;
    switch (*at) {
    case 'a':
        return jinja_write(j, day_names[t->tm_wday], 3);
    case 'A':
        return jinja_write_str(j, day_names[t->tm_wday]);
    case 'b':
    case 'h':
        return jinja_write(j, month_names[t->tm_mon], 3);
    case 'B':
        return jinja_write_str(j, month_names[t->tm_mon]);
    case 'c':
        return write_time(j, t, "%a %b %e %H:%M:%S %Y", 20);
    case 'C':
        return write_number(j, (t->tm_year + 1900) / 100, 2, '0');
    case 'd':
        return write_number(j, t->tm_mday, 2, '0');
    case 'D':
    case 'x':
        return write_time(j, t, "%m/%d/%y", 8);
    case 'e':
        return write_number(j, t->tm_mday, 2, ' ');
    case 'f':
        return jinja_write_str(j, "000000");
    case 'F':
        return write_time(j, t, "%Y-%m-%d", 8);
    case 'g':
    case 'G':
    case 'V':
        iso_week(t, &year, &week);
        return *at == 'V' ? write_number(j, week, 2, '0')
                          : write_number(j, *at == 'g' ? year % 100 : year, *at == 'g' ? 2 : 1, '0');
    case 'H':
        return write_number(j, t->tm_hour, 2, '0');
    case 'I':
        return write_number(j, hour12, 2, '0');
    case 'j':
        return write_number(j, t->tm_yday + 1, 3, '0');
    case 'k':
        return write_number(j, t->tm_hour, 2, ' ');
    case 'l':
        return write_number(j, hour12, 2, ' ');
    case 'm':
        return write_number(j, t->tm_mon + 1, 2, '0');
    case 'M':
        return write_number(j, t->tm_min, 2, '0');
    case 'n':
        return jinja_write_char(j, '\n');
    case 'p':
        return jinja_write_str(j, t->tm_hour < 12 ? "AM" : "PM");
    case 'P':
        return jinja_write_str(j, t->tm_hour < 12 ? "am" : "pm");
    case 'r':
        return write_time(j, t, "%I:%M:%S %p", 11);
    case 'R':
        return write_time(j, t, "%H:%M", 5);
    case 'S':
        return write_number(j, t->tm_sec, 2, '0');
    case 't':
        return jinja_write_char(j, '\t');
    case 'T':
    case 'X':
        return write_time(j, t, "%H:%M:%S", 8);
    case 'u':
        return write_number(j, t->tm_wday == 0 ? 7 : t->tm_wday, 1, '0');
    case 'U':
        return write_number(j, (t->tm_yday + 7 - t->tm_wday) / 7, 2, '0');
    case 'w':
        return write_number(j, t->tm_wday, 1, '0');
    case 'W':
        return write_number(j, (t->tm_yday + 7 - (t->tm_wday + 6) % 7) / 7, 2, '0');
    case 'y':
        return write_number(j, (t->tm_year + 1900) % 100, 2, '0');
    case 'Y':
        return write_number(j, t->tm_year + 1900, 1, '0');
    case 'z':
    case 'Z':
        return OK; /* a time without zone */
    case '%':
        return jinja_write_char(j, '%');
    default:
        TRY(jinja_write_char(j, '%'));
        return jinja_write(j, at, 1);
    }
}

static Status write_time(Jinja *j, const struct tm *t, const char *format, size_t count) {
    TRY(jinja_spend_bytes(j, count * 8));
    for (size_t i = 0; i < count; i++) {
        if (format[i] != '%' || i + 1 == count) {
            TRY(jinja_write_char(j, format[i]));
            continue;
        }
        i++;
        const bool unpadded = format[i] == '-' && i + 1 < count; /* GNU: %-d is %d without its zero */
        if (!unpadded) {
            TRY(write_directive(j, t, format + i));
            continue;
        }
        i++;
        const size_t mark = jinja_mark(j);
        TRY(write_directive(j, t, format + i));
        Value text;
        TRY(jinja_take(j, mark, &text));
        while (text.count > 1 && (text.as.text[0] == '0' || text.as.text[0] == ' '))
            text = value_slice(text, 1, text.count - 1);
        TRY(jinja_write(j, text.as.text, text.count));
    }
    return OK;
}

static Status call_strftime_now(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    const Value format = args->items[0];
    REFUSE_IF(format.kind != V_STRING, j, "strftime_now: a string is expected, not %s", value_type(format));
    struct tm now;
    TRY(jinja_now(j, &now));
    const size_t mark = jinja_mark(j);
    TRY(write_time(j, &now, format.as.text, format.count));
    return jinja_take(j, mark, result);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static Status call_raise_exception(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    (void)result;
    Value message;
    TRY(value_to_string(j, args->items[0], &message));
    return jinja_fail(j, ERR_ARGUMENT, "%.*s", (int)MIN(message.count, 700u), message.as.text);
}

static Status call_lipsum(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    (void)args;
    (void)result;
    return jinja_fail(j, ERR_UNSUPPORTED, "lipsum: there is no filler text for prompts");
}

static const Builtin globals[] = {
    {"cycler", NULL, call_cycler},
    {"dict", NULL, call_dict},
    {"joiner", "sep?", call_joiner},
    {"lipsum", NULL, call_lipsum},
    {"namespace", NULL, call_namespace},
    {"raise_exception", "message", call_raise_exception},
    {"range", "/start stop? step?", call_range},
    {"strftime_now", "format", call_strftime_now},
};

const Builtin *global_find(const char *name, size_t bytes) {
    return builtin_find(globals, COUNT(globals), name, bytes);
}
