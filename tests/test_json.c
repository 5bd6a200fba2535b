/* test_json.c - JSON in and out: what published files contain beyond the standard, what strangers send, and that the
 * reader that pulls agrees with jansson about what JSON is. */
#include "format/json.h"
#include "format/json_pull.h"
#include "format/json_write.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static json_t *parsed(const char *text) {
    json_t *json;
    Error err = {0};
    if (json_parse(text, strlen(text), "text", false, &json, &err) != OK)
        fail_msg("%s: %s", text, err.text);
    return json;
}

static Status status_of(const char *bytes, size_t count, bool unique) {
    json_t *json;
    Error err = {0};
    const Status status = json_parse(bytes, count, "text", unique, &json, &err);
    if (status != OK) {
        assert_null(json);
        assert_memory_equal(err.text, "text: ", 6); /* messages say which text */
    }
    json_decref(json);
    return status;
}

/* config.json files written by Python hold NaN and Infinity; a name or a text that contains the word must stay. */
static void test_python_words(void **state) {
    (void)state;
    json_t *json = parsed("{\"a\":NaN,\"b\":[Infinity,-Infinity , 1],\"NaN\":\"-Infinity \\\"NaN\\\" NaN\"}");
    assert_true(json_is_null(json_object_get(json, "a")));
    assert_true(json_is_null(json_array_get(json_object_get(json, "b"), 0)));
    assert_true(json_is_null(json_array_get(json_object_get(json, "b"), 1)));
    assert_int_equal(json_integer_value(json_array_get(json_object_get(json, "b"), 2)), 1);
    assert_string_equal(json_string_value(json_object_get(json, "NaN")), "-Infinity \"NaN\" NaN");
    json_decref(json);
    json = parsed("NaN");
    assert_true(json_is_null(json));
    json_decref(json);
    assert_int_equal(status_of("NaNs", 4, false), ERR_FORMAT);
    assert_int_equal(status_of("[Infinit]", 9, false), ERR_FORMAT);
}

/* tokenizer_config.json says model_max_length 1000000000000000019884624838656: no 64-bit number, but no error. */
static void test_numbers_beyond_64_bits(void **state) {
    (void)state;
    json_t *json = parsed("[1000000000000000019884624838656,-9223372036854775808,9223372036854775807,"
                          "-9223372036854775809,1e30,12345678901234567890.5]");
    assert_true(json_real_value(json_array_get(json, 0)) == 1e30);
    assert_true(json_integer_value(json_array_get(json, 1)) == INT64_MIN);
    assert_true(json_integer_value(json_array_get(json, 2)) == INT64_MAX);
    assert_true(json_is_real(json_array_get(json, 3)));
    assert_true(json_is_real(json_array_get(json, 5)));
    json_decref(json);
}

static void test_hostile_texts(void **state) {
    (void)state;
    char deep[2 * 300];
    memset(deep, '[', 300);
    memset(deep + 300, ']', 300);
    assert_int_equal(status_of(deep, 600, false), ERR_LIMIT);
    assert_int_equal(status_of(deep + 44, 512, false), OK); /* 256 deep */
    assert_int_equal(status_of("{\"a\":1,\"a\":2}", 13, true), ERR_FORMAT);
    assert_int_equal(status_of("{\"a\":1,\"a\":2}", 13, false), OK);
    assert_int_equal(status_of("", 0, false), ERR_FORMAT);
    assert_int_equal(status_of("[\"\xff\"]", 5, false), ERR_FORMAT);
    assert_int_equal(status_of("[1]]", 4, false), ERR_FORMAT);
    assert_int_equal(status_of("\"open \\", 7, false), ERR_FORMAT);
    assert_int_equal(status_of("[-", 2, false), ERR_FORMAT);
    json_t *json = parsed("\"a\\u0000b\"");
    assert_int_equal(json_string_length(json), 3);
    json_decref(json);
}

/* Without memory: an error, nothing leaked, and jansson allocates where failures can be injected. */
static void test_parsing_without_memory(void **state) {
    (void)state;
    static const char text[] = "{\"a\":[1,2.5,\"x\",{\"b\":NaN}],\"c\":123456789012345678901234567890,"
                               "\"a key that is longer than any small buffer\":\"and a \\n string, too, of some length\"}";
    const size_t before = mem_bytes_total();
    long n = 1;
    for (;; n++) {
        mem_fail_at(n);
        json_t *json;
        Error err = {0};
        const Status status = json_parse(text, strlen(text), "text", true, &json, &err);
        const bool struck = mem_fail_hit();
        mem_fail_at(0);
        json_decref(json);
        assert_int_equal(mem_bytes_total(), before);
        if (!struck) {
            assert_int_equal(status, OK);
            break;
        }
        assert_int_equal(status, ERR_MEMORY);
    }
    assert_true(n > 10);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void test_writing(void **state) {
    (void)state;
    Text out = {0};
    JsonWriter w = {.out = &out};
    json_write_open(&w, '{');
    json_write_key(&w, "a\"b");
    json_write_open(&w, '[');
    json_write_int(&w, INT64_MIN);
    json_write_natural(&w, UINT64_MAX);
    json_write_double(&w, 1);
    json_write_double(&w, 1e-6);
    json_write_float(&w, 1e-5f);
    json_write_double(&w, (double)(0.0f / 0.0f));
    json_write_bool(&w, true);
    json_write_string(&w, NULL);
    json_write_close(&w, ']');
    json_write_key(&w, "s");
    json_write_bytes(&w, "\x01\n\xff\0é", 6);
    json_write_key(&w, "o");
    json_write_open(&w, '{');
    json_write_close(&w, '}');
    json_write_close(&w, '}');
    assert_int_equal(text_check(&out, NULL), OK);
    assert_string_equal(out.bytes,
                        "{\"a\\\"b\":[-9223372036854775808,18446744073709551615,1.0,1e-06,1e-05,null,true,null],"
                        "\"s\":\"\\u0001\\n\xEF\xBF\xBD\\u0000é\",\"o\":{}}");
    text_free(&out);

    static const char text[] = "{\"b\":[1,2.5,null,true,false,\"\\u0000é\\\\\"],\"a\":{}}";
    json_t *json = parsed(text);
    w = (JsonWriter){.out = &out};
    json_write_value(&w, json);
    assert_string_equal(out.bytes, text);
    text_free(&out);
    json_decref(json);
}

/* ---- pulling --------------------------------------------------------------------------------------------------- */

/* A walk over an object of all kinds, strings with and without escapes. */
static void test_pulling(void **state) {
    (void)state;
    static const char text[] =
        " {\"plain\" : \"w\xC3\xB6rd\", \"esc\\u00e9\\ud83c\\udf0d\":\"a\\n\\u0000b\",\"n\":[0,18446744073709551615],"
        "\"skip\":{\"x\":[1.5e-3,{\"y\":null}],\"z\":true},\"e\":[],\"o\":{}} \n";
    JsonPull pull;
    Error err = {0};
    json_pull_open(&pull, text, strlen(text), "text");
    const char *bytes;
    size_t count;
    bool more;
    uint64_t number;
    assert_int_equal(json_pull_object(&pull, &err), OK);
    assert_int_equal(json_pull_key(&pull, &more, &bytes, &count, &err), OK);
    assert_true(more && count == 5);
    assert_int_equal(json_pull_string(&pull, &bytes, &count, &err), OK);
    assert_true(bytes > text && bytes < text + sizeof text); /* handed out where it lies */
    assert_memory_equal(bytes, "w\xC3\xB6rd", count);
    assert_int_equal(json_pull_key(&pull, &more, &bytes, &count, &err), OK);
    assert_int_equal(count, 9);
    assert_memory_equal(bytes, "esc\xC3\xA9\xF0\x9F\x8C\x8D", count);
    assert_int_equal(json_pull_string(&pull, &bytes, &count, &err), OK);
    assert_int_equal(count, 4);
    assert_memory_equal(bytes, "a\n\0b", count);
    assert_int_equal(json_pull_key(&pull, &more, &bytes, &count, &err), OK);
    assert_int_equal(json_pull_array(&pull, &err), OK);
    assert_int_equal(json_pull_element(&pull, &more, &err), OK);
    assert_int_equal(json_pull_natural(&pull, &number, &err), OK);
    assert_int_equal(number, 0);
    assert_int_equal(json_pull_element(&pull, &more, &err), OK);
    assert_int_equal(json_pull_natural(&pull, &number, &err), OK);
    assert_true(number == UINT64_MAX);
    assert_int_equal(json_pull_element(&pull, &more, &err), OK);
    assert_false(more);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(json_pull_key(&pull, &more, &bytes, &count, &err), OK);
        assert_true(more);
        assert_int_equal(json_pull_skip(&pull, &err), OK);
    }
    assert_int_equal(json_pull_key(&pull, &more, &bytes, &count, &err), OK);
    assert_false(more);
    assert_int_equal(json_pull_finish(&pull, &err), OK);
    json_pull_close(&pull);
}

static Status pull_all(const char *text, size_t count) {
    JsonPull pull;
    json_pull_open(&pull, text, count, "text");
    Status status = json_pull_skip(&pull, NULL);
    if (status == OK)
        status = json_pull_finish(&pull, NULL);
    json_pull_close(&pull);
    return status;
}

static void test_what_is_no_natural_number(void **state) {
    (void)state;
    static const char *const texts[] = {"-1", "1.0", "1e3", "18446744073709551616", "01", "x", "", "\"1\"", "-0"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        JsonPull pull;
        uint64_t number;
        json_pull_open(&pull, texts[i], strlen(texts[i]), "text");
        Status status = json_pull_natural(&pull, &number, NULL);
        if (status == OK)
            status = json_pull_finish(&pull, NULL);
        assert_int_equal(status, ERR_FORMAT);
        json_pull_close(&pull);
    }
}

/* What jansson refuses for reasons of its own types, not of JSON: numbers out of range, NUL in a key. */
static bool is_own_limit(const json_error_t *why) {
    return json_error_code(why) == json_error_numeric_overflow || json_error_code(why) == json_error_null_byte_in_key;
}

/* Both readers must accept the same texts, else a header could mean one thing here and another elsewhere. Documents
 * that are changed at random in one to three places, seeded. */
static void test_pulling_agrees_with_jansson(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"a\":[1,-2.5e+3,0.1,1E5,{\"b\":null,\"c\":[true,false]}],\"d\\n\\u00e9\":\"x\\\"y\\\\\"}",
        "[\"\\ud83c\\udf0d\",\"\\u0000\",\"caf\xC3\xA9\",[[]],{},[{}],\"\\/\\b\\f\\r\\t\"]",
        " { \"w\" : { \"dtype\" : \"F32\" , \"shape\" : [ 2 , 3 ] , \"data_offsets\" : [ 0 , 24 ] } } ",
        "-0.0",
        "\"\"",
    };
    static const char alphabet[] = "{}[]:,\"\\ue01-+.E \n\tntfalsr9\x01\x80\xC3\xED\xF0\xA0\x7F";
    json_setup();
    uint64_t seed = 1;
    int agreed = 0, accepted = 0;
    for (int round = 0; round < 200000; round++) {
        char text[128];
        const char *const original = texts[round % (int)COUNT(texts)];
        size_t count = strlen(original);
        memcpy(text, original, count);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t edits = (seed >> 33) % 3 + 1; edits > 0; edits--) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const size_t at = (size_t)(seed >> 33) % count;
            const char c = alphabet[(seed >> 20) % (sizeof alphabet - 1)];
            if ((seed >> 50) % 3 != 0 || count < 2) {
                text[at] = c;
            } else { /* leave a byte out */
                memmove(text + at, text + at + 1, count - at - 1);
                count--;
            }
        }
        json_error_t why;
        json_t *json = json_loadb(text, count, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
        const Status status = pull_all(text, count);
        if (json == NULL && is_own_limit(&why))
            continue;
        if ((json != NULL) != (status == OK))
            fail_msg("jansson %s, pulling says %s: %.*s", json != NULL ? "reads" : why.text, status_word(status),
                     (int)count, text);
        agreed++;
        accepted += json != NULL;
        json_decref(json);
    }
    assert_true(agreed > 190000 && accepted > 10000);
}

static void test_pulling_is_bounded(void **state) {
    (void)state;
    char deep[2 * JSON_PULL_DEPTH + 2];
    memset(deep, '[', JSON_PULL_DEPTH + 1);
    memset(deep + JSON_PULL_DEPTH + 1, ']', JSON_PULL_DEPTH + 1);
    assert_int_equal(pull_all(deep, sizeof deep), ERR_FORMAT);
    assert_int_equal(pull_all(deep + 1, sizeof deep - 2), OK);
    assert_int_equal(pull_all(NULL, 0), ERR_FORMAT);
    static const char escaped[] = "\"a\\n and so on until the buffer has to grow because it is longer than that\"";
    mem_fail_at(1);
    assert_int_equal(pull_all(escaped, strlen(escaped)), ERR_MEMORY);
    mem_fail_at(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_python_words),
        cmocka_unit_test(test_numbers_beyond_64_bits),
        cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_parsing_without_memory),
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_pulling),
        cmocka_unit_test(test_what_is_no_natural_number),
        cmocka_unit_test(test_pulling_agrees_with_jansson),
        cmocka_unit_test(test_pulling_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
