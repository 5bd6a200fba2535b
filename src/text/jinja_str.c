/* jinja_str.c - the methods of Python's str. Positions and lengths are in characters; for ASCII they are bytes. */
#include "text/jinja_str.h"

#include "text/jinja_int.h"
#include "text/jinja_unicode.h"

#include <string.h>

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static Status string_arg(Jinja *j, Value v, const char *what) {
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    REFUSE_IF(v.kind != V_STRING, j, "%s: a string is expected, not %s", what, value_type(v));
    return OK;
}

static Status count_arg(Jinja *j, Value v, const char *what, int64_t otherwise, int64_t *number) {
    *number = otherwise;
    return is_given(v) ? value_to_int64(j, v, what, number) : OK;
}

/* Beyond 64 bits is as far as one can go. */
static Status position_arg(Jinja *j, Value v, int64_t *position) {
    if (v.kind == V_BIG) {
        *position = int_sign(v) < 0 ? INT64_MIN / 2 : INT64_MAX / 2;
        return OK;
    }
    TRY(value_to_int64(j, v, "position", position));
    *position = MAX(MIN(*position, INT64_MAX / 2), INT64_MIN / 2);
    return OK;
}

/* The part of the string between two character positions, which may be negative, none or out of range. *first is the
 * position where it begins; false when start lies behind the end (where even "" is not found). */
static Status part_arg(Jinja *j, Value string, Value start, Value end, Value *part, int64_t *first, bool *possible) {
    const int64_t length = (int64_t)string_length(string);
    int64_t from = 0, to = length;
    if (!is_nothing(start))
        TRY(position_arg(j, start, &from));
    if (!is_nothing(end))
        TRY(position_arg(j, end, &to));
    from = from < 0 ? MAX(from + length, 0) : from;
    to = to < 0 ? MAX(to + length, 0) : MIN(to, length);
    *possible = from <= length && from <= to;
    *first = from;
    if (!*possible) {
        *part = value_slice(string, 0, 0);
        return OK;
    }
    const size_t at = string_offset(string, (size_t)from), until = string_offset(string, (size_t)to);
    *part = value_slice(string, at, until - at);
    return OK;
}

static Value keep_markup(Value result, Value self) {
    result.flags |= self.flags & STR_MARKUP;
    return result;
}

/* ---- searching --------------------------------------------------------------------------------------------------- */

static const char *find_last(const char *bytes, size_t count, const char *part, size_t part_count) {
    if (part_count > count)
        return NULL;
    if (part_count == 0)
        return bytes + count;
    for (const char *at = bytes + count - part_count;; at--) {
        at = memrchr(bytes, part[0], (size_t)(at - bytes) + 1);
        if (at == NULL || memcmp(at, part, part_count) == 0)
            return at;
        if (at == bytes)
            return NULL;
    }
}

static const char *find_first(const char *bytes, size_t count, const char *part, size_t part_count) {
    return part_count == 0 ? bytes : memmem(bytes, count, part, part_count);
}

static Status find(Jinja *j, Value self, const Args *args, bool last, bool must, Value *result) {
    TRY(string_arg(j, args->items[0], "find"));
    TRY(jinja_spend_bytes(j, self.count));
    Value part;
    int64_t first;
    bool possible;
    TRY(part_arg(j, self, args->items[1], args->items[2], &part, &first, &possible));
    const Value wanted = args->items[0];
    const char *at = NULL;
    if (possible)
        at = (last ? find_last : find_first)(part.as.text, part.count, wanted.as.text, wanted.count);
    REFUSE_IF(at == NULL && must, j, "substring not found");
    *result = at == NULL
                  ? value_int(-1)
                  : value_int(first + (int64_t)string_length(value_slice(part, 0, (size_t)(at - part.as.text))));
    return OK;
}

static Status str_find(Jinja *j, Value self, const Args *args, Value *result) {
    return find(j, self, args, false, false, result);
}

static Status str_rfind(Jinja *j, Value self, const Args *args, Value *result) {
    return find(j, self, args, true, false, result);
}

static Status str_index(Jinja *j, Value self, const Args *args, Value *result) {
    return find(j, self, args, false, true, result);
}

static Status str_rindex(Jinja *j, Value self, const Args *args, Value *result) {
    return find(j, self, args, true, true, result);
}

static Status str_count(Jinja *j, Value self, const Args *args, Value *result) {
    TRY(string_arg(j, args->items[0], "count"));
    TRY(jinja_spend_bytes(j, self.count));
    Value part;
    int64_t first, count = 0;
    bool possible;
    TRY(part_arg(j, self, args->items[1], args->items[2], &part, &first, &possible));
    const Value wanted = args->items[0];
    if (possible && wanted.count == 0) {
        count = (int64_t)string_length(part) + 1;
    } else if (possible) {
        const char *at = part.as.text, *end = at + part.count;
        while ((at = memmem(at, (size_t)(end - at), wanted.as.text, wanted.count)) != NULL) {
            at += wanted.count;
            count++;
        }
    }
    *result = value_int(count);
    return OK;
}

/* startswith, endswith: one string or a tuple of them. */
static Status has_affix(Jinja *j, Value self, const Args *args, bool at_end, Value *result) {
    Value part;
    int64_t first;
    bool possible, found = false;
    TRY(part_arg(j, self, args->items[1], args->items[2], &part, &first, &possible));
    const Value affix = args->items[0];
    const bool many = affix.kind == V_TUPLE;
    const size_t count = many ? affix.as.list->count : 1;
    for (size_t i = 0; i < count && !found; i++) {
        const Value one = many ? affix.as.list->items[i] : affix;
        TRY(string_arg(j, one, at_end ? "endswith" : "startswith"));
        TRY(jinja_spend_bytes(j, one.count));
        found = possible && one.count <= part.count &&
                memcmp(part.as.text + (at_end ? part.count - one.count : 0), one.as.text, one.count) == 0;
    }
    *result = value_bool(found);
    return OK;
}

static Status str_startswith(Jinja *j, Value self, const Args *args, Value *result) {
    return has_affix(j, self, args, false, result);
}

static Status str_endswith(Jinja *j, Value self, const Args *args, Value *result) {
    return has_affix(j, self, args, true, result);
}

static Status str_removeprefix(Jinja *j, Value self, const Args *args, Value *result) {
    const Value affix = args->items[0];
    TRY(string_arg(j, affix, "removeprefix"));
    const bool there = affix.count <= self.count && memcmp(self.as.text, affix.as.text, affix.count) == 0;
    *result = there ? value_slice(self, affix.count, self.count - affix.count) : self;
    return OK;
}

static Status str_removesuffix(Jinja *j, Value self, const Args *args, Value *result) {
    const Value affix = args->items[0];
    TRY(string_arg(j, affix, "removesuffix"));
    const bool there = affix.count <= self.count &&
                       memcmp(self.as.text + self.count - affix.count, affix.as.text, affix.count) == 0;
    *result = there ? value_slice(self, 0, self.count - affix.count) : self;
    return OK;
}

/* ---- stripping, replacing, filling ------------------------------------------------------------------------------- */

static bool is_stripped(uint32_t c, Value chars) {
    if (chars.kind != V_STRING)
        return char_is_space(c);
    for (size_t at = 0; at < chars.count;)
        if (char_next(chars, &at) == c)
            return true;
    return false;
}

Status str_strip(Jinja *j, Value string, Value chars, bool left, bool right, Value *result) {
    if (!is_nothing(chars))
        TRY(string_arg(j, chars, "strip"));
    size_t start = 0, end = string.count;
    while (left && start < end) {
        size_t next = start;
        if (!is_stripped(char_next(string, &next), chars))
            break;
        start = next;
    }
    while (right && end > start) {
        size_t before = end;
        if (!is_stripped(char_previous(string, &before), chars))
            break;
        end = before;
    }
    TRY(jinja_spend(j, (string.count - (end - start)) / 16 + 1));
    *result = value_slice(string, start, end - start);
    return OK;
}

static Status str_strip_both(Jinja *j, Value self, const Args *args, Value *result) {
    return str_strip(j, self, args->items[0], true, true, result);
}

static Status str_lstrip(Jinja *j, Value self, const Args *args, Value *result) {
    return str_strip(j, self, args->items[0], true, false, result);
}

static Status str_rstrip(Jinja *j, Value self, const Args *args, Value *result) {
    return str_strip(j, self, args->items[0], false, true, result);
}

/* An empty old text stands before each character and at the end. */
static Status insert_between(Jinja *j, Value string, Value fresh, uint64_t count) {
    for (size_t at = 0; at < string.count;) {
        const size_t start = at;
        char_next(string, &at);
        if (count > 0) {
            TRY(jinja_write(j, fresh.as.text, fresh.count));
            count--;
        }
        TRY(jinja_write(j, string.as.text + start, at - start));
    }
    return count > 0 ? jinja_write(j, fresh.as.text, fresh.count) : OK;
}

Status str_replace(Jinja *j, Value string, Value old, Value fresh, int64_t count, Value *result) {
    uint64_t left = count < 0 ? UINT64_MAX : (uint64_t)count;
    TRY(jinja_spend_bytes(j, string.count));
    const size_t mark = jinja_mark(j);
    if (old.count == 0) {
        TRY(insert_between(j, string, fresh, left));
    } else {
        const char *at = string.as.text, *end = at + string.count;
        for (; left > 0; left--) {
            const char *found = memmem(at, (size_t)(end - at), old.as.text, old.count);
            if (found == NULL)
                break;
            TRY(jinja_spend_bytes(j, fresh.count));
            TRY(jinja_write(j, at, (size_t)(found - at)));
            TRY(jinja_write(j, fresh.as.text, fresh.count));
            at = found + old.count;
        }
        if (at == string.as.text) { /* nothing found: share */
            *result = string;
            return OK;
        }
        TRY(jinja_write(j, at, (size_t)(end - at)));
    }
    TRY(jinja_take(j, mark, result));
    *result = keep_markup(*result, string);
    return OK;
}

static Status str_replace_method(Jinja *j, Value self, const Args *args, Value *result) {
    Value old = args->items[0], fresh = args->items[1];
    TRY(string_arg(j, old, "replace"));
    TRY(string_arg(j, fresh, "replace"));
    if (is_markup(self)) {
        TRY(value_escape(j, old, &old));
        TRY(value_escape(j, fresh, &fresh));
    }
    int64_t count;
    TRY(count_arg(j, args->items[2], "replace", -1, &count));
    return str_replace(j, self, old, fresh, count, result);
}

static Status fill_arg(Jinja *j, Value v, const char **fill, size_t *fill_count) {
    *fill = " ";
    *fill_count = 1;
    if (!is_given(v))
        return OK;
    TRY(string_arg(j, v, "the fill character"));
    REFUSE_IF(string_length(v) != 1, j, "The fill character must be exactly one character long");
    *fill = v.as.text;
    *fill_count = v.count;
    return OK;
}

static Status padded(Jinja *j, Value self, size_t left, size_t right, const char *fill, size_t fill_count,
                     Value *result) {
    const size_t mark = jinja_mark(j);
    TRY(jinja_write_repeat(j, fill, fill_count, left));
    TRY(jinja_write(j, self.as.text, self.count));
    TRY(jinja_write_repeat(j, fill, fill_count, right));
    TRY(jinja_take(j, mark, result));
    *result = keep_markup(*result, self);
    return OK;
}

static size_t padding(Value self, int64_t width) {
    const int64_t length = (int64_t)string_length(self);
    return width > length ? (size_t)(width - length) : 0;
}

static Status center(Jinja *j, Value self, int64_t width, const char *fill, size_t fill_count, Value *result) {
    const size_t pad = padding(self, width);
    const size_t left = pad / 2 + (pad & (size_t)width & 1); /* the odd one goes left when the width is odd too */
    return padded(j, self, left, pad - left, fill, fill_count, result);
}

Status str_center(Jinja *j, Value string, int64_t width, const char *fill, Value *result) {
    return center(j, string, width, fill, strlen(fill), result);
}

static Status str_center_method(Jinja *j, Value self, const Args *args, Value *result) {
    const char *fill;
    size_t fill_count;
    int64_t width;
    TRY(value_to_int64(j, args->items[0], "center", &width));
    TRY(fill_arg(j, args->items[1], &fill, &fill_count));
    return center(j, self, width, fill, fill_count, result);
}

static Status str_ljust(Jinja *j, Value self, const Args *args, Value *result) {
    const char *fill;
    size_t fill_count;
    int64_t width;
    TRY(value_to_int64(j, args->items[0], "ljust", &width));
    TRY(fill_arg(j, args->items[1], &fill, &fill_count));
    return padded(j, self, 0, padding(self, width), fill, fill_count, result);
}

static Status str_rjust(Jinja *j, Value self, const Args *args, Value *result) {
    const char *fill;
    size_t fill_count;
    int64_t width;
    TRY(value_to_int64(j, args->items[0], "rjust", &width));
    TRY(fill_arg(j, args->items[1], &fill, &fill_count));
    return padded(j, self, padding(self, width), 0, fill, fill_count, result);
}

static Status str_zfill(Jinja *j, Value self, const Args *args, Value *result) {
    int64_t width;
    TRY(value_to_int64(j, args->items[0], "zfill", &width));
    const bool sign = self.count > 0 && (self.as.text[0] == '+' || self.as.text[0] == '-');
    const size_t mark = jinja_mark(j);
    TRY(jinja_write(j, self.as.text, sign));
    TRY(jinja_write_repeat(j, "0", 1, padding(self, width)));
    TRY(jinja_write(j, self.as.text + sign, self.count - sign));
    TRY(jinja_take(j, mark, result));
    *result = keep_markup(*result, self);
    return OK;
}

static Status str_expandtabs(Jinja *j, Value self, const Args *args, Value *result) {
    int64_t size, column = 0;
    TRY(count_arg(j, args->items[0], "expandtabs", 8, &size));
    TRY(jinja_spend_bytes(j, self.count));
    const size_t mark = jinja_mark(j);
    for (size_t at = 0; at < self.count;) {
        const size_t start = at;
        const uint32_t c = char_next(self, &at);
        if (c == '\t') {
            const int64_t spaces = size > 0 ? size - column % size : 0;
            TRY(jinja_write_repeat(j, " ", 1, (size_t)spaces));
            column += spaces;
            continue;
        }
        column = c == '\n' || c == '\r' ? 0 : column + 1;
        TRY(jinja_write(j, self.as.text + start, at - start));
    }
    TRY(jinja_take(j, mark, result));
    *result = keep_markup(*result, self);
    return OK;
}

/* ---- cutting and joining ----------------------------------------------------------------------------------------- */

static Status push_part(Jinja *j, List *list, Value self, size_t start, size_t end) {
    return list_push(j, list, value_slice(self, start, end - start));
}

static size_t skip_spaces(Value self, size_t at, bool spaces) {
    while (at < self.count) {
        size_t next = at;
        if (char_is_space(char_next(self, &next)) != spaces)
            break;
        at = next;
    }
    return at;
}

static size_t skip_spaces_back(Value self, size_t end, bool spaces) {
    while (end > 0) {
        size_t before = end;
        if (char_is_space(char_previous(self, &before)) != spaces)
            break;
        end = before;
    }
    return end;
}

static Status split_at_spaces(Jinja *j, Value self, uint64_t most, List *list) {
    size_t at = skip_spaces(self, 0, true);
    for (; at < self.count; most--) {
        if (most == 0)
            return push_part(j, list, self, at, self.count);
        const size_t end = skip_spaces(self, at, false);
        TRY(push_part(j, list, self, at, end));
        at = skip_spaces(self, end, true);
    }
    return OK;
}

static Status rsplit_at_spaces(Jinja *j, Value self, uint64_t most, List *list) {
    size_t end = skip_spaces_back(self, self.count, true);
    for (; end > 0; most--) {
        if (most == 0)
            return push_part(j, list, self, 0, end);
        const size_t start = skip_spaces_back(self, end, false);
        TRY(push_part(j, list, self, start, end));
        end = skip_spaces_back(self, start, true);
    }
    return OK;
}

static Status split_at(Jinja *j, Value self, Value separator, uint64_t most, bool from_right, List *list) {
    size_t start = 0, end = self.count;
    for (; most > 0; most--) {
        const char *found = (from_right ? find_last : find_first)(self.as.text + start, end - start,
                                                                  separator.as.text, separator.count);
        if (found == NULL)
            break;
        const size_t at = (size_t)(found - self.as.text);
        if (from_right) {
            TRY(push_part(j, list, self, at + separator.count, end));
            end = at;
        } else {
            TRY(push_part(j, list, self, start, at));
            start = at + separator.count;
        }
    }
    return push_part(j, list, self, start, end);
}

static void turn_round(List *list) {
    for (size_t i = 0; i < list->count / 2; i++) {
        const Value one = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = one;
    }
}

static Status split(Jinja *j, Value self, const Args *args, bool from_right, Value *result) {
    int64_t most;
    TRY(count_arg(j, args->items[1], "split", -1, &most));
    const uint64_t limit = most < 0 ? UINT64_MAX : (uint64_t)most;
    const Value separator = args->items[0];
    List *list;
    TRY(list_new(j, 0, &list));
    TRY(jinja_spend_bytes(j, (size_t)self.count * 2));
    if (is_nothing(separator)) {
        TRY((from_right ? rsplit_at_spaces : split_at_spaces)(j, self, limit, list));
    } else {
        TRY(string_arg(j, separator, "split"));
        REFUSE_IF(separator.count == 0, j, "empty separator");
        TRY(split_at(j, self, separator, limit, from_right, list));
    }
    if (from_right)
        turn_round(list);
    *result = value_of_list(list);
    return OK;
}

static Status str_split(Jinja *j, Value self, const Args *args, Value *result) {
    return split(j, self, args, false, result);
}

static Status str_rsplit(Jinja *j, Value self, const Args *args, Value *result) {
    return split(j, self, args, true, result);
}

Status str_split_lines(Jinja *j, Value string, bool keep_ends, List **lines) {
    TRY(list_new(j, 0, lines));
    TRY(jinja_spend_bytes(j, (size_t)string.count * 2));
    for (size_t start = 0; start < string.count;) {
        size_t end = start, next = start;
        bool ended = false;
        while (next < string.count && !ended) {
            end = next;
            const uint32_t c = char_next(string, &next);
            ended = char_is_line_end(c);
            if (c == '\r' && next < string.count && string.as.text[next] == '\n')
                next++;
        }
        TRY(push_part(j, *lines, string, start, keep_ends || !ended ? next : end));
        start = next;
    }
    return OK;
}

static Status str_splitlines(Jinja *j, Value self, const Args *args, Value *result) {
    List *lines;
    int64_t keep;
    TRY(count_arg(j, args->items[0], "splitlines", 0, &keep));
    TRY(str_split_lines(j, self, keep != 0, &lines));
    *result = value_of_list(lines);
    return OK;
}

static Status partition(Jinja *j, Value self, const Args *args, bool last, Value *result) {
    const Value separator = args->items[0];
    TRY(string_arg(j, separator, "partition"));
    REFUSE_IF(separator.count == 0, j, "empty separator");
    TRY(jinja_spend_bytes(j, self.count));
    const char *found =
        (last ? find_last : find_first)(self.as.text, self.count, separator.as.text, separator.count);
    const Value nothing = value_slice(self, 0, 0);
    Value parts[3] = {last ? nothing : self, nothing, last ? self : nothing};
    if (found != NULL) {
        const size_t at = (size_t)(found - self.as.text), end = at + separator.count;
        parts[0] = value_slice(self, 0, at);
        parts[1] = keep_markup(separator, self);
        parts[2] = value_slice(self, end, self.count - end);
    }
    return tuple_new(j, parts, 3, result);
}

static Status str_partition(Jinja *j, Value self, const Args *args, Value *result) {
    return partition(j, self, args, false, result);
}

static Status str_rpartition(Jinja *j, Value self, const Args *args, Value *result) {
    return partition(j, self, args, true, result);
}

Value str_before_last(Value string, char separator) {
    const char *found = memrchr(string.as.text, separator, string.count);
    return found != NULL ? value_slice(string, 0, (size_t)(found - string.as.text)) : string;
}

static Status str_join(Jinja *j, Value self, const Args *args, Value *result) {
    REFUSE_IF(!value_is_iterable(args->items[0]), j, "can only join an iterable");
    List *items;
    TRY(list_of_iterable(j, args->items[0], &items));
    const size_t mark = jinja_mark(j);
    for (size_t i = 0; i < items->count; i++) {
        Value item = items->items[i];
        REFUSE_IF(item.kind != V_STRING && !is_markup(self), j, "sequence item %zu: expected str instance, %s found", i,
                  value_type(item));
        if (i > 0)
            TRY(jinja_write(j, self.as.text, self.count));
        if (is_markup(self))
            TRY(value_escape(j, item, &item));
        TRY(jinja_spend_bytes(j, item.count));
        TRY(jinja_write(j, item.as.text, item.count));
    }
    TRY(jinja_take(j, mark, result));
    *result = keep_markup(*result, self);
    return OK;
}

/* ---- case and classes -------------------------------------------------------------------------------------------- */

Status str_cased(Jinja *j, Value string, int kind, Value *result) {
    const size_t mark = jinja_mark(j);
    TRY(write_cased(j, string, (CaseKind)kind));
    TRY(jinja_take(j, mark, result));
    *result = keep_markup(*result, string);
    return OK;
}

#define CASE_METHOD(name, kind)                                                                                        \
    static Status str_##name(Jinja *j, Value self, const Args *args, Value *result) {                                 \
        (void)args;                                                                                                    \
        return str_cased(j, self, kind, result);                                                                       \
    }

CASE_METHOD(capitalize, CASE_CAPITALIZE)
CASE_METHOD(casefold, CASE_FOLD)
CASE_METHOD(lower, CASE_LOWER)
CASE_METHOD(swapcase, CASE_SWAP)
CASE_METHOD(title, CASE_WORDS)
CASE_METHOD(upper, CASE_UPPER)

/* True when there is a character and all are of the class. */
static Status all_are(Jinja *j, Value self, bool (*is)(uint32_t), bool empty, Value *result) {
    TRY(jinja_spend(j, self.count / 16 + 1));
    bool all = empty || self.count > 0;
    for (size_t at = 0; at < self.count && all;)
        all = is(char_next(self, &at));
    *result = value_bool(all);
    return OK;
}

static bool is_ascii_char(uint32_t c) {
    return c < 0x80;
}

#define CLASS_METHOD(name, is, empty)                                                                                  \
    static Status str_##name(Jinja *j, Value self, const Args *args, Value *result) {                                 \
        (void)args;                                                                                                    \
        return all_are(j, self, is, empty, result);                                                                    \
    }

CLASS_METHOD(isalnum, char_is_alnum, false)
CLASS_METHOD(isalpha, char_is_alpha, false)
CLASS_METHOD(isascii, is_ascii_char, true)
CLASS_METHOD(isdecimal, char_is_decimal, false)
CLASS_METHOD(isdigit, char_is_digit, false)
CLASS_METHOD(isnumeric, char_is_numeric, false)
CLASS_METHOD(isprintable, char_is_printable, true)
CLASS_METHOD(isspace, char_is_space, false)

static Status str_isidentifier(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    TRY(jinja_spend(j, self.count / 16 + 1));
    bool all = self.count > 0;
    for (size_t at = 0; at < self.count && all;) {
        const bool first = at == 0;
        const uint32_t c = char_next(self, &at);
        all = first ? char_begins_identifier(c) : char_continues_identifier(c);
    }
    *result = value_bool(all);
    return OK;
}

static Status case_is(Jinja *j, Value self, const char *test, Value *result) {
    return builtin_call(j, test_find(test, strlen(test)), self, &(Args){0}, result);
}

static Status str_islower(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    return case_is(j, self, "lower", result);
}

static Status str_isupper(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    return case_is(j, self, "upper", result);
}

static Status str_istitle(Jinja *j, Value self, const Args *args, Value *result) {
    (void)args;
    TRY(jinja_spend(j, self.count / 16 + 1));
    bool cased = false, previous_cased = false, title = true;
    for (size_t at = 0; at < self.count && title;) {
        const uint32_t c = char_next(self, &at);
        const bool upper = char_is_upper(c) || char_is_title(c), lower = char_is_lower(c);
        title = upper ? !previous_cased : lower ? previous_cased : true;
        previous_cased = upper || lower;
        cased = cased || previous_cased;
    }
    *result = value_bool(cased && title);
    return OK;
}

/* ---- translation and formatting ---------------------------------------------------------------------------------- */

static Status str_translate(Jinja *j, Value self, const Args *args, Value *result) {
    const Value table = args->items[0];
    const bool indexed = table.kind == V_STRING || table.kind == V_LIST || table.kind == V_TUPLE;
    REFUSE_IF(table.kind != V_DICT && !indexed, j, "translate: a dict is expected, not %s", value_type(table));
    const size_t mark = jinja_mark(j);
    for (size_t at = 0; at < self.count;) {
        const uint32_t c = char_next(self, &at);
        Value to;
        int64_t code;
        if (indexed)
            TRY(value_get_item(j, table, value_int(c), &to));
        else
            TRY(dict_get(j, table.as.dict, value_int(c), &to));
        if (!is_given(to) || (indexed && to.kind == V_UNDEFINED)) {
            TRY(jinja_write_code_point(j, c));
        } else if (to.kind == V_STRING) {
            TRY(jinja_write(j, to.as.text, to.count));
        } else if (to.kind != V_NONE) {
            TRY(value_to_int64(j, to, "translate", &code));
            REFUSE_IF(code < 0 || code > 0x10FFFF, j, "character mapping must be in range(0x110000)");
            TRY(jinja_write_code_point(j, (uint32_t)code));
        }
    }
    TRY(jinja_take(j, mark, result));
    *result = keep_markup(*result, self);
    return OK;
}

static Status maketrans_of_dict(Jinja *j, const Dict *from, Dict *table) {
    size_t at = 0;
    for (const DictEntry *entry; (entry = dict_next(from, &at)) != NULL;) {
        Value key = entry->key;
        if (key.kind == V_STRING) {
            REFUSE_IF(string_length(key) != 1, j, "string keys in translate table must be of length 1");
            size_t first = 0;
            key = value_int(char_next(key, &first));
        }
        REFUSE_IF(key.kind != V_INT, j, "keys in translate table must be strings or integers");
        TRY(dict_put(j, table, key, entry->value));
    }
    return OK;
}

static Status str_maketrans(Jinja *j, Value self, const Args *args, Value *result) {
    (void)self;
    Dict *table;
    TRY(dict_new(j, &table));
    *result = value_of_dict(table);
    const Value from = args->items[0], to = args->items[1], removed = args->items[2];
    if (!is_given(to)) {
        REFUSE_IF(from.kind != V_DICT, j, "if you give only one argument to maketrans it must be a dict");
        return maketrans_of_dict(j, from.as.dict, table);
    }
    TRY(string_arg(j, from, "maketrans"));
    TRY(string_arg(j, to, "maketrans"));
    REFUSE_IF(string_length(from) != string_length(to), j,
              "the first two maketrans arguments must have equal length");
    for (size_t at = 0, to_at = 0; at < from.count;) {
        const uint32_t c = char_next(from, &at);
        TRY(dict_put(j, table, value_int(c), value_int(char_next(to, &to_at))));
    }
    if (is_given(removed)) {
        TRY(string_arg(j, removed, "maketrans"));
        for (size_t at = 0; at < removed.count;)
            TRY(dict_put(j, table, value_int(char_next(removed, &at)), value_none()));
    }
    return OK;
}

static Status str_format(Jinja *j, Value self, const Args *args, Value *result) {
    return format_braces(j, self, args, value_missing(), result);
}

static Status str_format_map(Jinja *j, Value self, const Args *args, Value *result) {
    return format_braces(j, self, &(Args){0}, args->items[0], result);
}

static const Builtin methods[] = {
    {"capitalize", "", str_capitalize},
    {"casefold", "", str_casefold},
    {"center", "/width fillchar?", str_center_method},
    {"count", "/sub start? end?", str_count},
    {"endswith", "/suffix start? end?", str_endswith},
    {"expandtabs", "tabsize?", str_expandtabs},
    {"find", "/sub start? end?", str_find},
    {"format", NULL, str_format},
    {"format_map", "/mapping", str_format_map},
    {"index", "/sub start? end?", str_index},
    {"isalnum", "", str_isalnum},
    {"isalpha", "", str_isalpha},
    {"isascii", "", str_isascii},
    {"isdecimal", "", str_isdecimal},
    {"isdigit", "", str_isdigit},
    {"isidentifier", "", str_isidentifier},
    {"islower", "", str_islower},
    {"isnumeric", "", str_isnumeric},
    {"isprintable", "", str_isprintable},
    {"isspace", "", str_isspace},
    {"istitle", "", str_istitle},
    {"isupper", "", str_isupper},
    {"join", "/iterable", str_join},
    {"ljust", "/width fillchar?", str_ljust},
    {"lower", "", str_lower},
    {"lstrip", "/chars?", str_lstrip},
    {"maketrans", "/x y? z?", str_maketrans},
    {"partition", "/sep", str_partition},
    {"removeprefix", "/prefix", str_removeprefix},
    {"removesuffix", "/suffix", str_removesuffix},
    {"replace", "/old new count?", str_replace_method},
    {"rfind", "/sub start? end?", str_rfind},
    {"rindex", "/sub start? end?", str_rindex},
    {"rjust", "/width fillchar?", str_rjust},
    {"rpartition", "/sep", str_rpartition},
    {"rsplit", "sep? maxsplit?", str_rsplit},
    {"rstrip", "/chars?", str_rstrip},
    {"split", "sep? maxsplit?", str_split},
    {"splitlines", "keepends?", str_splitlines},
    {"startswith", "/prefix start? end?", str_startswith},
    {"strip", "/chars?", str_strip_both},
    {"swapcase", "", str_swapcase},
    {"title", "", str_title},
    {"translate", "/table", str_translate},
    {"upper", "", str_upper},
    {"zfill", "/width", str_zfill},
};

const Builtin *str_method_find(const char *name, size_t bytes) {
    return builtin_find(methods, COUNT(methods), name, bytes);
}
