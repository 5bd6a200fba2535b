/* jinja_tests.c - what may stand behind `is`. */
#include "text/jinja.h"

#include "text/jinja_int.h"
#include "text/jinja_unicode.h"

static Status modulo_is(Jinja *j, Value v, Value divisor, int64_t rest, Value *result) {
    Value modulo;
    TRY(value_binary(j, OP_MOD, v, divisor, &modulo));
    bool equal;
    TRY(value_equal(j, modulo, value_int(rest), &equal));
    *result = value_bool(equal);
    return OK;
}

static Status test_odd(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return modulo_is(j, v, value_int(2), 1, result);
}

static Status test_even(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return modulo_is(j, v, value_int(2), 0, result);
}

static Status test_divisibleby(Jinja *j, Value v, const Args *args, Value *result) {
    return modulo_is(j, v, args->items[0], 0, result);
}

/* Tests that only look at the value. */
#define PLAIN_TEST(name, condition)                                                                                    \
    static Status test_##name(Jinja *j, Value v, const Args *args, Value *result) {                                   \
        (void)j;                                                                                                       \
        (void)args;                                                                                                    \
        *result = value_bool(condition);                                                                               \
        return OK;                                                                                                     \
    }

PLAIN_TEST(boolean, v.kind == V_BOOL)
PLAIN_TEST(defined, v.kind != V_UNDEFINED)
PLAIN_TEST(escaped, is_markup(v))
PLAIN_TEST(false, v.kind == V_BOOL && !v.as.boolean)
PLAIN_TEST(float, v.kind == V_FLOAT)
PLAIN_TEST(integer, v.kind == V_INT || v.kind == V_BIG)
PLAIN_TEST(iterable, value_is_iterable(v) || v.kind == V_LOOP)
PLAIN_TEST(mapping, v.kind == V_DICT)
PLAIN_TEST(none, v.kind == V_NONE)
PLAIN_TEST(number, is_number(v))
PLAIN_TEST(sameas, value_same(v, args->items[0]))
PLAIN_TEST(sequence, v.kind == V_STRING || v.kind == V_LIST || v.kind == V_TUPLE || v.kind == V_DICT ||
                         v.kind == V_RANGE || v.kind == V_UNDEFINED)
PLAIN_TEST(string, v.kind == V_STRING)
PLAIN_TEST(true, v.kind == V_BOOL && v.as.boolean)
PLAIN_TEST(undefined, v.kind == V_UNDEFINED)
PLAIN_TEST(callable, v.kind == V_FUNCTION || v.kind == V_METHOD || v.kind == V_MACRO || v.kind == V_LOOP ||
                         v.kind == V_JOINER || v.kind == V_BLOCK || v.kind == V_UNDEFINED)

static Status name_is(Jinja *j, Value v, const Builtin *(*find)(const char *, size_t), Value *result) {
    uint32_t hash;
    TRY(value_hash(j, v, &hash)); /* what cannot be a key is an error */
    *result = value_bool(v.kind == V_STRING && find(v.as.text, v.count) != NULL);
    return OK;
}

static Status test_filter(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return name_is(j, v, filter_find, result);
}

static Status test_test(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return name_is(j, v, test_find, result);
}

/* Some cased characters, and none of the other case. */
static Status case_is(Jinja *j, Value v, bool upper, Value *result) {
    TRY(value_to_string(j, v, &v));
    TRY(jinja_spend_bytes(j, (size_t)v.count * 4));
    bool any = false, other = false;
    for (size_t at = 0; at < v.count && !other;) {
        const uint32_t c = char_next(v, &at);
        any = any || (upper ? char_is_upper(c) : char_is_lower(c));
        other = (upper ? char_is_lower(c) : char_is_upper(c)) || char_is_title(c);
    }
    *result = value_bool(any && !other);
    return OK;
}

static Status test_lower(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return case_is(j, v, false, result);
}

static Status test_upper(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    return case_is(j, v, true, result);
}

static Status compare(Jinja *j, CompareOp op, Value a, Value b, Value *result) {
    bool holds;
    TRY(value_test(j, op, a, b, &holds));
    *result = value_bool(holds);
    return OK;
}

#define COMPARE_TEST(name, op)                                                                                         \
    static Status test_##name(Jinja *j, Value v, const Args *args, Value *result) {                                   \
        return compare(j, op, v, args->items[0], result);                                                              \
    }

COMPARE_TEST(eq, CMP_EQ)
COMPARE_TEST(ne, CMP_NE)
COMPARE_TEST(lt, CMP_LT)
COMPARE_TEST(le, CMP_LE)
COMPARE_TEST(gt, CMP_GT)
COMPARE_TEST(ge, CMP_GE)
COMPARE_TEST(in, CMP_IN)

static const Builtin tests[] = {
    {"!=", "/other", test_ne},
    {"<", "/other", test_lt},
    {"<=", "/other", test_le},
    {"==", "/other", test_eq},
    {">", "/other", test_gt},
    {">=", "/other", test_ge},
    {"boolean", "", test_boolean},
    {"callable", "", test_callable},
    {"defined", "", test_defined},
    {"divisibleby", "num", test_divisibleby},
    {"eq", "/other", test_eq},
    {"equalto", "/other", test_eq},
    {"escaped", "", test_escaped},
    {"even", "", test_even},
    {"false", "", test_false},
    {"filter", "", test_filter},
    {"float", "", test_float},
    {"ge", "/other", test_ge},
    {"greaterthan", "/other", test_gt},
    {"gt", "/other", test_gt},
    {"in", "seq", test_in},
    {"integer", "", test_integer},
    {"iterable", "", test_iterable},
    {"le", "/other", test_le},
    {"lessthan", "/other", test_lt},
    {"lower", "", test_lower},
    {"lt", "/other", test_lt},
    {"mapping", "", test_mapping},
    {"ne", "/other", test_ne},
    {"none", "", test_none},
    {"number", "", test_number},
    {"odd", "", test_odd},
    {"sameas", "other", test_sameas},
    {"sequence", "", test_sequence},
    {"string", "", test_string},
    {"test", "", test_test},
    {"true", "", test_true},
    {"undefined", "", test_undefined},
    {"upper", "", test_upper},
};

const Builtin *test_find(const char *name, size_t bytes) {
    return builtin_find(tests, COUNT(tests), name, bytes);
}
