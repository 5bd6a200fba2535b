/* test_grammar.c - grammars as masks: what each kind lets through, that masks say what accepting does, what is refused
 * and with which pointer, limits, special tokens, and memory that runs out anywhere. */
#include "base/mem.h"
#include "base/text.h"
#include "format/json.h"
#include "text/grammar.h"

#include <pthread.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* All bytes, some longer tokens, a special one and the end. */
enum { TOOL = 300, END = 301, COUNT_IDS = 302, WORDS = (COUNT_IDS + 31) / 32 };

static GrammarVocab *vocab;

static GrammarVocab *make_vocab(Error *err) {
    static char single[256];
    static const char *const longer[] = {
        "\",",  "\": \"", "\":",    "{\"", "\"}",          "},",
        "true", "12",     "00",     "abc", "aaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "é",    "<tool",  "_call>", " "};
    GrammarToken tokens[COUNT_IDS] = {0};
    for (size_t i = 0; i < 256; i++) {
        single[i] = (char)i;
        tokens[i] = (GrammarToken){.bytes = &single[i], .count = 1};
    }
    for (size_t i = 0; i < COUNT(longer); i++)
        tokens[256 + i] = (GrammarToken){.bytes = longer[i], .count = (uint32_t)strlen(longer[i])};
    tokens[TOOL] = (GrammarToken){.bytes = "<tool_call>", .count = 11, .special = true};
    tokens[END] = (GrammarToken){.bytes = "<end>", .count = 5, .special = true};
    const int32_t end = END;
    GrammarVocab *made;
    return grammar_vocab_new(tokens, COUNT_IDS, &end, 1, &made, err) == OK ? made : NULL;
}

static int set_up(void **state) {
    (void)state;
    vocab = make_vocab(NULL);
    return vocab == NULL;
}

static int tear_down(void **state) {
    (void)state;
    grammar_vocab_free(vocab);
    return 0;
}

static Status compile_text(GrammarKind kind, const char *text, Grammar **grammar, Error *err) {
    GrammarSpec spec = {.kind = kind, .text = text, .text_count = text != NULL ? strlen(text) : 0};
    json_t *schema = NULL;
    *grammar = NULL;
    if (kind == GRAMMAR_SCHEMA) {
        const Status status = json_parse(text, strlen(text), "schema", true, &schema, err);
        if (status != OK)
            return status;
        spec.schema = schema;
    }
    const Status status = grammar_compile(vocab, &spec, NULL, grammar, err);
    json_decref(schema);
    return status;
}

static Grammar *compiled(GrammarKind kind, const char *text) {
    Grammar *grammar;
    Error err = {0};
    if (compile_text(kind, text, &grammar, &err) != OK)
        fail_msg("%s: %s", text, err.text);
    return grammar;
}

static bool takes(Grammar *grammar, const char *text) {
    GrammarState *state;
    assert_int_equal(grammar_state_new(grammar, &state, NULL), OK);
    const bool fine = grammar_accept_bytes(state, text, strlen(text), NULL) == OK && grammar_may_end(state);
    grammar_state_free(state);
    return fine;
}

/* The texts of the one list fit, those of the other do not. */
static void check(GrammarKind kind, const char *grammar_text, const char *const *right, const char *const *wrong) {
    Grammar *grammar = compiled(kind, grammar_text);
    for (; *right != NULL; right++)
        if (!takes(grammar, *right))
            fail_msg("%s refuses %s", grammar_text, *right);
    for (; *wrong != NULL; wrong++)
        if (takes(grammar, *wrong))
            fail_msg("%s takes %s", grammar_text, *wrong);
    grammar_free(grammar);
}
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_regex(void **state) {
    (void)state;
    check(GRAMMAR_REGEX, "(ab|c)+[x-z]{2,3}?", LIST("abxy", "cabzzz"), LIST("ab", "abx", "abxyzx", "xx"));
    check(GRAMMAR_REGEX, "^\\d{3}-\\w*$", LIST("123-", "123-a_9"), LIST("12-", "123-é"));
    check(GRAMMAR_REGEX, "[^a]|\\u00e9é", LIST("b", "日", "éé"), LIST("a", "é日"));
    check(GRAMMAR_REGEX, "(^a|b)c", LIST("ac", "bc"), LIST("c", "abc"));
    check(GRAMMAR_REGEX, "x{40,60}", LIST("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
          LIST("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
    check(GRAMMAR_REGEX, "(?i)hÉ", LIST("Hé", "hÉ"), LIST("he"));
    check(GRAMMAR_REGEX, "\\p{Lu}.", LIST("Éa", "A日"), LIST("aa", "A\n"));
}

static void test_json(void **state) {
    (void)state;
    Grammar *grammar = NULL;
    assert_int_equal(grammar_compile(vocab, &(GrammarSpec){.kind = GRAMMAR_OBJECT}, NULL, &grammar, NULL), OK);
    assert_true(takes(grammar, "{}"));
    assert_true(takes(grammar, "{\"a\": [1, -2.5e+3, \"\\ud83d\\ude00\\n\"],\n\t\"b\": {\"c\": null}\n}"));
    assert_false(takes(grammar, "[]"));
    assert_false(takes(grammar, "{\"a\":\"\\ud83d\"}")); /* half a pair */
    assert_false(takes(grammar, "{\"a\":01}"));
    assert_false(takes(grammar, "{\"a\":\"\xff\"}"));
    assert_false(takes(grammar, "{\"a\":\"\n\"}"));
    assert_false(takes(grammar, "{\"a\":1,}"));
    grammar_free(grammar);
}

static void test_schema_objects(void **state) {
    (void)state;
    check(GRAMMAR_SCHEMA,
          "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"},\"c\":{"
          "\"type\":\"null\"}},"
          "\"required\":[\"b\"]}",
          LIST("{\"b\":\"\"}", "{\"a\":1,\"b\":\"x\"}", "{\"a\": 1, \"b\": \"x\", \"c\": null}",
               "{\"b\":\"x\",\"c\":null}"),
          LIST("{}", "{\"a\":1}", "{\"b\":\"x\",\"a\":1}", "{\"a\":1,\"b\":2}", "{\"b\":\"x\",\"d\":1}",
               "{\"b\":\"x\",}"));
    check(GRAMMAR_SCHEMA, "{\"properties\":{\"foo\":{\"const\":1}},\"additionalProperties\":{\"type\":\"boolean\"}}",
          LIST("{}", "{\"foo\":1}", "{\"foo\":1,\"fo\":true}", "{\"fooo\":false}"),
          LIST("{\"foo\":true}", "{\"fo\\u006f\":true}", "{\"bar\":1}"));
    check(GRAMMAR_SCHEMA,
          "{\"type\":\"object\",\"patternProperties\":{\"^x_\":{\"type\":\"integer\"}},\"additionalProperties\":false}",
          LIST("{}", "{\"x_\":1}", "{\"x_1\":1,\"x_2\":2}"), LIST("{\"y\":1}", "{\"x_\":\"\"}"));
    check(GRAMMAR_SCHEMA,
          "{\"properties\":{\"a\":true,\"b\":true,\"c\":true},\"minProperties\":2,\"maxProperties\":2,"
          "\"additionalProperties\":false}",
          LIST("{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":2}"), LIST("{}", "{\"a\":1}", "{\"a\":1,\"b\":2,\"c\":3}"));
    check(GRAMMAR_SCHEMA,
          "{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[a-c]+$\",\"maxLength\":2},\"additionalProperties\":{"
          "\"type\":\"null\"}}",
          LIST("{\"ab\":null}"), LIST("{\"abc\":null}", "{\"d\":null}"));
}

static void test_schema_numbers(void **state) {
    (void)state;
    check(GRAMMAR_SCHEMA, "{\"type\":\"integer\",\"minimum\":-15,\"maximum\":120}",
          LIST("-15", "-1", "0", "9", "99", "120"), LIST("-16", "121", "-150", "1200", "01", "-0", "1.0"));
    check(GRAMMAR_SCHEMA, "{\"type\":\"integer\",\"exclusiveMinimum\":2.5,\"exclusiveMaximum\":10}", LIST("3", "9"),
          LIST("2", "10"));
    check(GRAMMAR_SCHEMA, "{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":1.25}",
          LIST("0.0001", "1", "1.25", "1.250", "1.0"), LIST("0", "0.0", "1.2500001", "1.3", "-1", "2"));
    check(GRAMMAR_SCHEMA, "{\"type\":\"number\",\"multipleOf\":0.05,\"minimum\":-1}", LIST("0.05", "0.1", "3", "-0.95"),
          LIST("0.01", "0.051", "-1.05"));
    check(GRAMMAR_SCHEMA, "{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":10}", LIST("14", "21", "700"),
          LIST("7", "15", "0"));
    check(GRAMMAR_SCHEMA, "{\"type\":\"number\",\"minimum\":-1.5,\"maximum\":-0.5}", LIST("-0.5", "-1", "-1.5"),
          LIST("0", "-0.4", "-1.51", "1"));
}

static void test_schema_others(void **state) {
    (void)state;
    check(GRAMMAR_SCHEMA, "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
          LIST("\"ab\"", "\"日本\"", "\"\\u00e9\\\\\\n\""), LIST("\"a\"", "\"abcd\""));
    check(GRAMMAR_SCHEMA, "{\"type\":\"string\",\"pattern\":\"a\",\"maxLength\":3}",
          LIST("\"a\"", "\"xax\"", "\"\\\"a\""), LIST("\"x\"", "\"xxxa\""));
    check(GRAMMAR_SCHEMA, "{\"type\":\"string\",\"format\":\"date\"}", LIST("\"2024-02-29\""),
          LIST("\"2023-02-29\"", "\"2023-13-01\""));
    check(GRAMMAR_SCHEMA, "{\"type\":\"string\",\"format\":\"ipv6\"}",
          LIST("\"::1\"", "\"fe80::1:2\"", "\"1:2:3:4:5:6:7:8\""), LIST("\"1::2::3\"", "\"1:2\""));
    check(GRAMMAR_SCHEMA, "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}",
          LIST("[1,2]", "[1, 2, 3]"), LIST("[]", "[1]", "[1,2,3,4]", "[1,\"\"]"));
    check(GRAMMAR_SCHEMA,
          "{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"minItems\":1,\"items\":false}",
          LIST("[1]", "[1,\"a\"]"), LIST("[]", "[\"a\"]", "[1,\"a\",2]"));
    check(GRAMMAR_SCHEMA, "{\"enum\":[1,\"a\\n\",null,{\"b\":[true]}]}",
          LIST("1", "\"a\\n\"", "null", "{\"b\":[true]}"), LIST("2", "true"));
    check(GRAMMAR_SCHEMA, "{\"enum\":[1,\"a\",7],\"type\":\"integer\",\"minimum\":2}", LIST("7"), LIST("1", "\"a\""));
    check(GRAMMAR_SCHEMA, "{\"type\":[\"boolean\",\"null\"]}", LIST("true", "null"), LIST("1"));
    check(GRAMMAR_SCHEMA, "{\"type\":\"string\",\"nullable\":true}", LIST("null", "\"\""), LIST("1"));
    check(GRAMMAR_SCHEMA, "{\"anyOf\":[{\"minimum\":5},{\"maxLength\":1}],\"type\":[\"integer\",\"string\"]}",
          LIST("5", "\"a\""), LIST("null"));
    check(GRAMMAR_SCHEMA,
          "{\"allOf\":[{\"properties\":{\"a\":{\"minimum\":3}},\"required\":[\"a\"]},{\"properties\":{\"a\":{\"type\":"
          "\"integer\",\"maximum\":4}}}]}",
          LIST("{\"a\":3}", "{\"a\":4}"), LIST("{\"a\":5}", "{}", "{\"a\":2}"));
    check(GRAMMAR_SCHEMA,
          "{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"}},\"required\":[\"k\"]},"
          "{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"b\"},\"n\":{\"type\":\"integer\"}},\"required\":["
          "\"k\"]}]}",
          LIST("{\"k\":\"a\"}", "{\"k\":\"b\",\"n\":1}"), LIST("{\"k\":\"a\",\"n\":1}", "{}"));
    check(GRAMMAR_SCHEMA,
          "{\"$ref\":\"#/$defs/"
          "tree\",\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},"
          "\"kids\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
          "tree\"}}},\"required\":[\"v\"],\"additionalProperties\":false}}}",
          LIST("{\"v\":1}", "{\"v\":1,\"kids\":[{\"v\":2,\"kids\":[]},{\"v\":3}]}"),
          LIST("{\"kids\":[]}", "{\"v\":1,\"kids\":[{}]}"));
}

/* What cannot be enforced is refused by name and place: never let through. */
static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *schema, *pointer;
        Status status;
    } cases[] = {
        {"{\"type\":\"array\",\"uniqueItems\":true}", "#/uniqueItems", ERR_UNSUPPORTED},
        {"{\"properties\":{\"a\":{\"contains\":{}}}}", "#/properties/a/contains", ERR_UNSUPPORTED},
        {"{\"if\":{},\"then\":{}}", "#/if", ERR_UNSUPPORTED},
        {"{\"items\":{\"not\":{\"const\":1}}}", "#/items/not", ERR_UNSUPPORTED},
        {"{\"properties\":{\"x/y\":{\"dependentRequired\":{}}}}", "#/properties/x~1y/dependentRequired",
         ERR_UNSUPPORTED},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "#/oneOf", ERR_UNSUPPORTED},
        {"{\"type\":\"string\",\"format\":\"regex\"}", "#/format", ERR_UNSUPPORTED},
        {"{\"$ref\":\"other.json\"}", "#/$ref", ERR_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"a(?=b)\"}", "#/pattern", ERR_UNSUPPORTED},
        {"{\"type\":\"strange\"}", "#/type", ERR_ARGUMENT},
        {"{\"minLength\":\"3\"}", "#/minLength", ERR_ARGUMENT},
        {"{\"enumm\":[1]}", "#/enumm", ERR_UNSUPPORTED},
        {"{\"unevaluatedProperties\":false}", "#/unevaluatedProperties", ERR_UNSUPPORTED},
        {"{\"type\":\"object\",\"minProperties\":3}", "#/minProperties", ERR_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"^(a|b)*$\",\"maxLength\":1000000}", "#/maxLength", ERR_LIMIT},
        {"false", "no text", ERR_ARGUMENT},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        Grammar *grammar;
        Error err = {0};
        const Status status = compile_text(GRAMMAR_SCHEMA, cases[i].schema, &grammar, &err);
        if (status != cases[i].status || strstr(err.text, cases[i].pointer) == NULL)
            fail_msg("%s: %s, %s", cases[i].schema, status_word(status), err.text);
        assert_null(grammar);
    }
    static const struct {
        GrammarKind kind;
        const char *text;
        Status status;
    } texts[] = {
        {GRAMMAR_REGEX, "a(b", ERR_FORMAT},
        {GRAMMAR_REGEX, "(a)\\1", ERR_UNSUPPORTED},
        {GRAMMAR_REGEX, "\\bword", ERR_UNSUPPORTED},
        {GRAMMAR_REGEX, "[b-a]", ERR_FORMAT},
        {GRAMMAR_REGEX, "((((.{900}){900}){900}){900}){900}*+", ERR_UNSUPPORTED},
        {GRAMMAR_GBNF, "root ::= a", ERR_FORMAT},
        {GRAMMAR_GBNF, "root ::= \"a", ERR_FORMAT},
        {GRAMMAR_GBNF, "", ERR_FORMAT},
        {GRAMMAR_GBNF, "root ::= a \"x\"\na ::= root | \"y\"",
         ERR_UNSUPPORTED}, /* left recursion by way of another rule */
        {GRAMMAR_LARK, "start: X", ERR_FORMAT},
        {GRAMMAR_LARK, "start: <none>", ERR_UNSUPPORTED},
        {GRAMMAR_LARK, "start: /a/x", ERR_UNSUPPORTED},
        {GRAMMAR_LARK, "begin: \"a\"", ERR_FORMAT},
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        Grammar *grammar;
        Error err = {0};
        const Status status = compile_text(texts[i].kind, texts[i].text, &grammar, &err);
        if (status != texts[i].status)
            fail_msg("%s: %s, %s", texts[i].text, status_word(status), err.text);
    }
}

static void test_gbnf(void **state) {
    (void)state;
    check(GRAMMAR_GBNF,
          "# sums\nroot ::= expr \"\\n\"?\nexpr ::= expr [-+] term | term\nterm ::= num |\n  \"(\" expr \")\"\nnum ::= "
          "[0-9]{1,3}",
          LIST("1", "1+2-(3+4)", "12\n"), LIST("", "1+", "1234", "(1"));
    check(GRAMMAR_GBNF, "root ::= . [^\\n]* \"\\x41\"", LIST("日A", "xyzA"), LIST("A", "x\nA"));
}

static void test_lark(void **state) {
    (void)state;
    check(GRAMMAR_LARK,
          "start: expr\n?expr: expr \"+\" term -> add\n     | term\nterm: NUMBER | \"(\" expr \")\"\n"
          "NUMBER: /[0-9]+/ (\".\" \"0\"..\"9\"~1..2)?\n%import common.WS_INLINE\n%ignore WS_INLINE // blanks\n",
          LIST("1", "1 + 2.5", "( 1+ 2 )+3"), LIST("1+", "1.234"));
    check(GRAMMAR_LARK, "start: \"call \"i %json {\"type\": \"integer\"} [\";\"]", LIST("CALL 12", "call 1;"),
          LIST("call x", "12"));
}

static Status mask_of(GrammarState *state, uint32_t bits[WORDS]) {
    return grammar_mask(state, bits, NULL);
}

static bool allowed(const uint32_t *bits, int id) {
    return bits[id >> 5] >> (id & 31) & 1;
}

/* A mask must allow exactly the tokens that can be accepted: short cuts for counted strings, called rules and cached
 * parts must not be seen from outside. */
static void check_masks(const char *schema, const char *text) {
    Grammar *grammar = compiled(GRAMMAR_SCHEMA, schema);
    GrammarState *state;
    uint32_t bits[WORDS];
    assert_int_equal(grammar_state_new(grammar, &state, NULL), OK);
    for (size_t at = 0;; at++) {
        assert_int_equal(mask_of(state, bits), OK);
        for (int32_t id = 0; id < COUNT_IDS; id++) {
            GrammarState *copy;
            assert_int_equal(grammar_state_clone(state, &copy, NULL), OK);
            const bool accepted = grammar_accept(copy, id, NULL) == OK;
            if (accepted != allowed(bits, id))
                fail_msg("%s: after %zu bytes of %s token %d is %s", schema, at, text, (int)id,
                         accepted ? "accepted" : "allowed");
            grammar_state_free(copy);
        }
        if (text[at] == '\0')
            break;
        assert_int_equal(grammar_accept_bytes(state, text + at, 1, NULL), OK);
    }
    grammar_state_free(state);
    grammar_free(grammar);
}

static void test_masks(void **state) {
    (void)state;
    check_masks("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":60,\"minLength\":40},"
                "\"b\":{\"type\":\"string\"}}}",
                "{\"a\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", \"b\": \"abc\"}");
    check_masks("{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":5},"
                "\"maxItems\":2},\"minItems\":1}",
                "[[\"abc\", \"\"], [\"a\"]]");
    check_masks("{}", "{\"a\": [[{\"b\": true}], 12.5e-3, \"\\u00e9\"]}");
    check_masks("{\"type\":\"integer\",\"minimum\":3,\"maximum\":1200}", "1200");
}

static void test_course(void **state) {
    (void)state;
    Grammar *grammar =
        compiled(GRAMMAR_SCHEMA,
                 "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"boolean\"}},\"required\":[\"name\"]}");
    GrammarState *s;
    uint32_t bits[WORDS];
    char forced[64];
    size_t count;
    assert_int_equal(grammar_state_new(grammar, &s, NULL), OK);
    assert_int_equal(grammar_forced(s, forced, sizeof forced, &count, NULL), OK);
    assert_int_equal(count, 1); /* a blank or the key may follow */
    assert_int_equal(grammar_accept_bytes(s, "{\"", 2, NULL), OK);
    assert_int_equal(grammar_forced(s, forced, sizeof forced, &count, NULL), OK);
    assert_int_equal(count, 6);
    assert_memory_equal(forced, "name\":", 6);
    assert_int_equal(grammar_accept_bytes(s, forced, count, NULL), OK);
    assert_int_equal(mask_of(s, bits), OK);
    assert_true(allowed(bits, 't') && allowed(bits, ' ') && allowed(bits, 262) && !allowed(bits, '1') &&
                !allowed(bits, END));
    assert_int_equal(grammar_accept(s, '1', NULL), ERR_ARGUMENT); /* and the state stays */
    assert_int_equal(grammar_accept(s, END, NULL), ERR_ARGUMENT);
    assert_int_equal(grammar_accept(s, 262, NULL), OK);
    assert_false(grammar_may_end(s));
    assert_int_equal(grammar_accept(s, '}', NULL), OK);
    assert_true(grammar_is_done(s)); /* nothing can follow */
    assert_int_equal(mask_of(s, bits), OK);
    for (int id = 0; id < COUNT_IDS; id++)
        assert_int_equal(allowed(bits, id), id == END);
    assert_int_equal(grammar_accept(s, END, NULL), OK);
    assert_true(grammar_is_done(s));
    assert_int_equal(grammar_accept(s, 'a', NULL), ERR_ARGUMENT);
    assert_int_equal(grammar_accept(s, -1, NULL), ERR_ARGUMENT);
    assert_int_equal(grammar_accept(s, COUNT_IDS, NULL), ERR_ARGUMENT);
    grammar_state_free(s);
    grammar_free(grammar);
}

/* Free text, then calls whose arguments are held to the schema; the special token and its spelling alike. */
static void test_tags(void **state) {
    (void)state;
    json_t *schema;
    const char *text = "{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\"}},\"required\":[\"x\"]}";
    assert_int_equal(json_parse(text, strlen(text), "schema", true, &schema, NULL), OK);
    const GrammarSpec arguments = {.kind = GRAMMAR_SCHEMA, .schema = schema};
    const GrammarTag tags[] = {
        {.begin = "<tool_call>{\"name\": \"f\", \"arguments\": ",
         .trigger = "<tool_call>",
         .content = &arguments,
         .end = "}</tool_call>"},
        {.begin = "<tool_call>{\"name\": \"g\", \"arguments\": ",
         .trigger = "<tool_call>",
         .content = &arguments,
         .end = "}</tool_call>"},
    };
    GrammarSpec spec = {.kind = GRAMMAR_TAGS, .tags = tags, .count = 2};
    Grammar *grammar;
    assert_int_equal(grammar_compile(vocab, &spec, NULL, &grammar, NULL), OK);
#define CALL(name, value) "<tool_call>{\"name\": \"" name "\", \"arguments\": {\"x\": " value "}}</tool_call>"
    assert_true(takes(grammar, ""));
    assert_true(takes(grammar, "No call < here <tool_cal l>"));
    assert_true(takes(grammar, "Let me see. <<tool_call" CALL("g", "12") " and " CALL("f", "3")));
    assert_false(takes(grammar, CALL("h", "12")));
    assert_false(takes(grammar, CALL("f", "null")));
    assert_false(takes(grammar, "<tool_call>"));
    GrammarState *s;
    uint32_t bits[WORDS];
    assert_int_equal(grammar_state_new(grammar, &s, NULL), OK);
    assert_int_equal(grammar_accept(s, 'a', NULL), OK);
    assert_int_equal(mask_of(s, bits), OK);
    assert_true(allowed(bits, TOOL) && allowed(bits, END) && allowed(bits, 269));
    assert_int_equal(grammar_accept(s, TOOL, NULL), OK);
    assert_int_equal(mask_of(s, bits), OK);
    assert_true(allowed(bits, '{') && allowed(bits, 259) && !allowed(bits, 'a') && !allowed(bits, END) &&
                !allowed(bits, TOOL));
    const char *rest = "{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>";
    assert_int_equal(grammar_accept_bytes(s, rest, strlen(rest), NULL), OK);
    assert_true(grammar_may_end(s) && !grammar_is_done(s));
    grammar_state_free(s);
    grammar_free(grammar);

    spec.required = spec.single = true;
    assert_int_equal(grammar_compile(vocab, &spec, NULL, &grammar, NULL), OK);
    assert_false(takes(grammar, "no call"));
    assert_true(takes(grammar, "so: " CALL("f", "1")));
    assert_false(takes(grammar, CALL("f", "1") " "));
    grammar_free(grammar);
    spec.bare = true;
    assert_int_equal(grammar_compile(vocab, &spec, NULL, &grammar, NULL), OK);
    assert_true(takes(grammar, CALL("f", "1")));
    assert_false(takes(grammar, " " CALL("f", "1")));
    grammar_free(grammar);
    json_decref(schema);
}

static void test_specials(void **state) {
    (void)state;
    Grammar *grammar = compiled(GRAMMAR_LARK, "start: \"a\" <tool_call> \"b\"");
    GrammarState *s;
    uint32_t bits[WORDS];
    assert_int_equal(grammar_state_new(grammar, &s, NULL), OK);
    assert_int_equal(grammar_accept(s, 'a', NULL), OK);
    assert_int_equal(mask_of(s, bits), OK);
    for (int id = 0; id < COUNT_IDS; id++)
        assert_int_equal(allowed(bits, id), id == TOOL || id == 0xFF); /* byte FF begins its spelling */
    assert_int_equal(grammar_accept(s, TOOL, NULL), OK);
    assert_int_equal(grammar_accept(s, 'b', NULL), OK);
    assert_true(grammar_is_done(s));
    grammar_state_free(s);
    grammar_free(grammar);
    /* In a string of JSON a control token must not appear, however its name is spelled. */
    grammar = compiled(GRAMMAR_SCHEMA, "{\"type\":\"string\"}");
    assert_int_equal(grammar_state_new(grammar, &s, NULL), OK);
    assert_int_equal(grammar_accept(s, '"', NULL), OK);
    assert_int_equal(mask_of(s, bits), OK);
    assert_false(allowed(bits, TOOL));
    assert_false(allowed(bits, END));
    grammar_state_free(s);
    grammar_free(grammar);
}

/* A cache that is thrown away all the time, and nesting without end. */
static void test_limits(void **state) {
    (void)state;
    Grammar *grammar;
    GrammarState *s, *other;
    uint32_t bits[WORDS];
    const GrammarOptions options = {.cache_bytes = 1, .depth = 16};
    assert_int_equal(grammar_compile(vocab, &(GrammarSpec){.kind = GRAMMAR_VALUE}, &options, &grammar, NULL), OK);
    assert_int_equal(grammar_state_new(grammar, &s, NULL), OK);
    assert_int_equal(grammar_accept_bytes(s, "[[", 2, NULL), OK);
    assert_int_equal(grammar_state_clone(s, &other, NULL), OK);
    const char *text = "{\"a\": [1, 2], \"b\": \"xyz\"}]";
    for (; *text != '\0'; text++) {
        assert_int_equal(mask_of(s, bits), OK);
        assert_true(allowed(bits, *text));
        assert_int_equal(grammar_accept(s, *text, NULL), OK);
    }
    assert_int_equal(grammar_accept_bytes(other, "]]", 2, NULL), OK);
    assert_true(grammar_is_done(other));
    grammar_state_free(other);
    int depth = 0;
    while (depth < 1000 && grammar_accept(s, ',', NULL) == OK && grammar_accept(s, '[', NULL) == OK)
        depth++;
    while (depth < 1000 && grammar_accept(s, '[', NULL) == OK)
        depth++;
    assert_true(depth > 4 && depth < 40);
    assert_int_equal(mask_of(s, bits), OK); /* other things are possible */
    assert_false(allowed(bits, '['));
    assert_true(allowed(bits, '1'));
    grammar_state_free(s);
    grammar_free(grammar);
}

static void compile_and_use(GrammarKind kind, const char *text, Error *err) {
    Grammar *grammar;
    GrammarState *s = NULL, *copy = NULL;
    uint32_t bits[WORDS];
    char forced[16];
    size_t count;
    if (compile_text(kind, text, &grammar, err) != OK)
        return;
    if (grammar_state_new(grammar, &s, err) == OK && grammar_mask(s, bits, err) == OK &&
        grammar_forced(s, forced, sizeof forced, &count, err) == OK &&
        grammar_accept_bytes(s, forced, count, err) == OK && grammar_state_clone(s, &copy, err) == OK)
        grammar_mask(copy, bits, err);
    grammar_state_free(copy);
    grammar_state_free(s);
    grammar_free(grammar);
}

static void test_no_memory(void **state) {
    (void)state;
    static const struct {
        GrammarKind kind;
        const char *text;
    } cases[] = {
        {GRAMMAR_SCHEMA,
         "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^a+$\",\"maxLength\":4},\"b\":{"
         "\"$ref\":\"#/$defs/n\"},"
         "\"c\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":3,\"multipleOf\":2},{\"enum\":[null,\"x\"]}]}},"
         "\"required\":[\"a\"],"
         "\"additionalProperties\":{\"type\":\"boolean\"},\"allOf\":[{\"properties\":{\"a\":{\"minLength\":1}}}],"
         "\"$defs\":{\"n\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/n\"},\"maxItems\":20}}}"},
        {GRAMMAR_REGEX, "(^a|é){2,40}\\p{Lu}"},
        {GRAMMAR_GBNF, "root ::= root \"a\" | [b-d]{3,20}"},
        {GRAMMAR_LARK, "start: \"x\"i Y %json {\"type\":\"null\"}\nY: /a/ \"b\"..\"c\"\n%ignore \" \"\n"},
    };
    json_setup();
    for (size_t i = 0; i < COUNT(cases); i++) {
        bool struck = true;
        for (long n = 1; struck; n += n < 300 ? 1 : 7) {
            Error err = {0};
            mem_fail_at(n);
            compile_and_use(cases[i].kind, cases[i].text, &err);
            struck = mem_fail_hit();
            mem_fail_at(0);
            if (struck ? err.status != ERR_MEMORY && err.status != OK : err.status != OK)
                fail_msg("%s, allocation %ld: %s: %s", cases[i].text, n, status_word(err.status), err.text);
        }
    }
    const size_t before = mem_bytes_total();
    for (long n = 1;; n++) {
        mem_fail_at(n);
        GrammarVocab *made = make_vocab(NULL);
        const bool struck = mem_fail_hit();
        mem_fail_at(0);
        grammar_vocab_free(made);
        if (!struck)
            break;
        assert_null(made);
    }
    assert_int_equal(mem_bytes_total(), before);
}

static void *use_shared(void *argument) {
    Grammar *grammar = argument;
    uint32_t bits[WORDS];
    for (int i = 0; i < 50; i++) {
        GrammarState *s;
        if (grammar_state_new(grammar, &s, NULL) != OK)
            return (void *)1;
        for (const char *c = "{\"a\": [1, {\"b\": \"xyz\"}], \"c\": null}"; *c != '\0'; c++)
            if (grammar_mask(s, bits, NULL) != OK || !allowed(bits, *c) || grammar_accept(s, *c, NULL) != OK)
                return (void *)1;
        grammar_state_free(s);
    }
    return NULL;
}

/* One grammar, many threads, a cache that is renewed under them. */
static void test_threads(void **state) {
    (void)state;
    Grammar *grammar;
    pthread_t threads[4];
    const GrammarOptions options = {.cache_bytes = 100000};
    assert_int_equal(grammar_compile(vocab, &(GrammarSpec){.kind = GRAMMAR_OBJECT}, &options, &grammar, NULL), OK);
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_shared, grammar), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    grammar_free(grammar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regex),          cmocka_unit_test(test_json),
        cmocka_unit_test(test_schema_objects), cmocka_unit_test(test_schema_numbers),
        cmocka_unit_test(test_schema_others),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_gbnf),           cmocka_unit_test(test_lark),
        cmocka_unit_test(test_masks),          cmocka_unit_test(test_course),
        cmocka_unit_test(test_tags),           cmocka_unit_test(test_specials),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
