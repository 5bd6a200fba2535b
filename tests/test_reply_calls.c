/* test_reply_calls.c - calls written as a format's grammar allows are read back by the format's parser as they were
 * meant; text in JSON strings keeps its grammar. The vocabulary is the 256 bytes, and marks as special tokens. */
#include "text/reply.h"
#include "text/reply_calls.h"
#include "base/base64.h"
#include "format/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 256, END = 256, VOCAB = 257 };

static const char tools_text[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"tide\", \"strict\": true, \"parameters\": {\"type\": "
    "\"object\","
    " \"properties\": {\"port\": {\"type\": \"string\", \"enum\": [\"Brest\", \"Lo \\\"rient\\\\\"]}, \"note\": "
    "{\"type\": \"string\"},"
    " \"hours\": {\"type\": \"integer\"}, \"route\": {\"type\": \"object\", \"properties\": {\"via\": {\"type\": \"array\","
    " \"items\": {\"type\": \"string\"}}, \"legs\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"properties\":"
    " {\"at\": {\"type\": \"boolean\"}}, \"required\": [\"at\"], \"additionalProperties\": false}}},"
    " \"additionalProperties\": false}}, \"required\": [\"port\", \"hours\"], \"additionalProperties\": false}}},"
    " {\"type\": \"function\", \"function\": {\"name\": \"moon\", \"parameters\": {\"type\": \"object\", "
    "\"properties\": {}}}}]";

static GrammarVocab *byte_vocab(void) {
    GrammarToken tokens[VOCAB];
    static char bytes[BYTES];
    const int32_t end = END;
    GrammarVocab *vocab;
    for (int i = 0; i < BYTES; i++) {
        bytes[i] = (char)i;
        tokens[i] = (GrammarToken){.bytes = &bytes[i], .count = 1};
    }
    tokens[END] = (GrammarToken){.bytes = "<end>", .count = 5, .special = true};
    assert_int_equal(grammar_vocab_new(tokens, VOCAB, &end, 1, &vocab, NULL), OK);
    return vocab;
}

/* How many bytes may follow one more. */
static int count_behind(const GrammarState *state, int token) {
    GrammarState *next;
    uint32_t bits[(VOCAB + 31) / 32];
    int n = 0;
    assert_int_equal(grammar_state_clone(state, &next, NULL), OK);
    assert_int_equal(grammar_accept(next, token, NULL), OK);
    assert_int_equal(grammar_mask(next, bits, NULL), OK);
    for (int i = 0; i < BYTES; i++)
        n += bits[i >> 5] >> (i & 31) & 1;
    grammar_state_free(next);
    return n;
}

/* A text that the grammar allows, drawn from it. Free texts and numbers would go on for long: after a while, what
 * leaves the least choice is taken, which is how a mark or a quote begins, and now and then a line is ended, as marks
 * may ask for it, and what is open is closed. */
static void write_one(Grammar *grammar, unsigned seed, Text *out) {
    GrammarState *state;
    uint32_t bits[(VOCAB + 31) / 32];
    assert_int_equal(grammar_state_new(grammar, &state, NULL), OK);
    for (int n = 0; n < 4000 && !grammar_is_done(state); n++) {
        Error err = {0};
        if (grammar_mask(state, bits, &err) != OK)
            fail_msg("%s behind %s", err.text, out->bytes != NULL ? out->bytes : "");
        if (grammar_may_end(state) && n > 20)
            break;
        int allowed[VOCAB], n_allowed = 0;
        for (int i = 0; i < BYTES; i++)
            if ((bits[i >> 5] >> (i & 31) & 1) != 0 && (i >= 32 || i == '\n') && i < 127)
                allowed[n_allowed++] = i;
        for (int i = 127; n_allowed == 0 && i < BYTES; i++) /* within a mark */
            if ((bits[i >> 5] >> (i & 31) & 1) != 0)
                allowed[n_allowed++] = i;
        if (n_allowed == 0)
            break;
        seed = seed * 1664525u + 1013904223u;
        int token = allowed[(seed >> 16) % (unsigned)n_allowed], least = BYTES + 1;
        const char last = out->count > 0 ? out->bytes[out->count - 1] : '\0';
        const char wanted = n % 7 == 0 ? '\n' : last == '\n' ? '<' : '\0';
        for (int i = 0; n > 80 && n_allowed > 1 && i < n_allowed; i++) {
            const int more = allowed[i] == ',', behind = allowed[i] == wanted ? 0 : count_behind(state, allowed[i]) + more;
            if (behind < least) {
                least = behind;
                token = allowed[i];
            }
        }
        assert_int_equal(grammar_accept(state, token, NULL), OK);
        text_append_char(out, (char)token);
    }
    if (!grammar_may_end(state))
        fail_msg("no end: %.300s", out->bytes);
    grammar_state_free(state);
}

static void check_arguments(const ReplyCall *call) {
    json_t *value;
    assert_true(call->complete);
    assert_int_equal(json_parse(call->arguments.bytes, call->arguments.count, "arguments", false, &value, NULL), OK);
    if (strcmp(call->name, "tide") == 0) {
        const char *port = json_string_value(json_object_get(value, "port"));
        assert_non_null(port);
        assert_true(strcmp(port, "Brest") == 0 || strcmp(port, "Lo \"rient\\") == 0);
        assert_true(json_is_integer(json_object_get(value, "hours")));
    } else
        assert_string_equal(call->name, "moon");
    json_decref(value);
}

/* Guards: a forced call that the server's own parser then shows as text. */
static void test_all_formats(void **unused) {
    (void)unused;
    GrammarVocab *vocab = byte_vocab();
    json_t *tools;
    int forced = 0;
    assert_int_equal(json_parse(tools_text, strlen(tools_text), "tools", false, &tools, NULL), OK);
    for (size_t i = 0; reply_format_name(i) != NULL; i++) {
        const char *format = reply_format_name(i);
        const ReplyCallsSpec spec = {.format = format, .tools = tools, .forced = true};
        ReplyCalls *calls;
        Error err = {0};
        const Status status = reply_calls_open(&spec, &calls, &err);
        if (status == ERR_UNSUPPORTED) {
            assert_string_equal(format, "plain");
            continue;
        }
        assert_int_equal(status, OK);
        Grammar *grammar;
        const GrammarOptions options = {.space = GRAMMAR_SPACE_ONE};
        if (grammar_compile(vocab, reply_calls_grammar(calls), &options, &grammar, &err) != OK)
            fail_msg("%s: %s", format, err.text);
        for (unsigned seed = 1; seed < 20; seed++) {
            Text text = {0};
            Reply *reply;
            write_one(grammar, seed, &text);
            assert_int_equal(reply_open(format, tools, false, &reply, &err), OK);
            assert_int_equal(reply_feed(reply, text.bytes, text.count, &err), OK);
            assert_int_equal(reply_finish(reply, &err), OK);
            if (reply_call_count(reply) != 1 || reply_content(reply)->count != 0)
                fail_msg("%s: no call, or more than that: %s", format, text.bytes);
            check_arguments(reply_call(reply, 0));
            reply_close(reply);
            text_free(&text);
        }
        forced++;
        grammar_free(grammar);
        reply_calls_close(calls);
    }
    assert_true(forced > 20);
    json_decref(tools);
    grammar_vocab_free(vocab);
}

static bool allows(const GrammarVocab *vocab, const GrammarSpec *spec, const char *text) {
    Grammar *grammar;
    GrammarState *state;
    Error err = {0};
    if (grammar_compile(vocab, spec, NULL, &grammar, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(grammar_state_new(grammar, &state, NULL), OK);
    const bool good = grammar_accept_bytes(state, text, strlen(text), NULL) == OK && grammar_may_end(state);
    grammar_state_free(state);
    grammar_free(grammar);
    return good;
}

/* Guards: free text that must stay free, and a call in it that must keep its schema. */
static void test_free_text(void **unused) {
    (void)unused;
    GrammarVocab *vocab = byte_vocab();
    json_t *tools;
    ReplyCalls *calls;
    Error err = {0};
    assert_int_equal(json_parse(tools_text, strlen(tools_text), "tools", false, &tools, NULL), OK);
    ReplyCallsSpec spec = {.format = "qwen3_coder", .tools = tools};
    assert_int_equal(reply_calls_open(&spec, &calls, &err), OK);
    const GrammarSpec *g = reply_calls_grammar(calls);
    assert_true(allows(vocab, g, "Nothing to call here, 1 < 2 </x>."));
    assert_true(
        allows(vocab, g,
               "So: <tool_call>\n<function=tide>\n<parameter=port>\nBrest\n</parameter>\n<parameter=hours>\n12\n"
               "</parameter>\n</function>\n</tool_call> and so on"));
    assert_false(allows(vocab, g, "So: <tool_call>\n<function=sun>"));
    assert_false(allows(vocab, g, "<function=tide>\n<parameter=port>\nParis"));
    reply_calls_close(calls);
    spec.format = "qwen2_5";
    assert_int_equal(reply_calls_open(&spec, &calls, &err), OK);
    assert_false(
        allows(vocab, reply_calls_grammar(calls), "<tool_call>\n{\"name\": \"tide\", \"arguments\": {\"port\": 1"));
    reply_calls_close(calls);
    spec.only = "none";
    assert_int_equal(reply_calls_open(&spec, &calls, &err), ERR_NOT_FOUND);
    json_decref(tools);
    grammar_vocab_free(vocab);
}

/* Guards: a grammar's quotes, backslashes and newlines that would end or break the string around them. */
static void test_in_json_string(void **unused) {
    (void)unused;
    GrammarVocab *vocab = byte_vocab();
    static const char lark[] = "start: \"a\\n\" /[\"\\\\]/ (\"x\" | \"\\t\")* /[^b]/";
    const GrammarSpec spec = {
        .kind = GRAMMAR_LARK, .text = lark, .text_count = sizeof lark - 1, .in_json_string = true};
    assert_true(allows(vocab, &spec, "a\\n\\\"xx\\tc"));
    assert_true(allows(vocab, &spec, "a\\n\\\\\\\""));
    assert_true(allows(vocab, &spec, "a\\n\\\"\\u0001"));
    assert_false(allows(vocab, &spec, "a\n\\\"c"));
    assert_false(allows(vocab, &spec, "a\\n\"c"));
    assert_false(allows(vocab, &spec, "a\\n\\\"\\"));
    assert_false(allows(vocab, &spec, "a\\n\\\"b"));
    grammar_vocab_free(vocab);
}

static void test_base64(void **unused) {
    (void)unused;
    static const struct {
        const char *bytes, *letters;
    } cases[] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                 {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        Text text = {0}, back = {0};
        base64_append(&text, cases[i].bytes, strlen(cases[i].bytes));
        assert_string_equal(text.bytes != NULL ? text.bytes : "", cases[i].letters);
        assert_true(base64_append_decoded(&back, cases[i].letters, strlen(cases[i].letters)));
        assert_string_equal(back.bytes != NULL ? back.bytes : "", cases[i].bytes);
        text_free(&text);
        text_free(&back);
    }
    static const char *const bad[] = {"Z", "Zg=", "Z===", "Zg=a", "Z g=", "Zg==Zg==", "\xc3\xa9=="};
    for (size_t i = 0; i < COUNT(bad); i++) {
        Text back = {0};
        assert_false(base64_append_decoded(&back, bad[i], strlen(bad[i])));
        text_free(&back);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_formats),
        cmocka_unit_test(test_free_text),
        cmocka_unit_test(test_in_json_string),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
