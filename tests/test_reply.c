/* test_reply.c - outputs taken apart while they are written. The golden outputs are fed whole, byte by byte, and cut in
 * two at every byte: each way must give the same message, which text_test.py compares with the reference's. */
#include "text/reply.h"

#include "base/mem.h"
#include "format/json.h"
#include "golden.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- what was found, as a text ----------------------------------------------------------------------------------- */

/* The message of all deltas: content|reasoning|name(arguments)... Ids that are made up differ. */
typedef struct Heard {
    Text content, reasoning, calls;
    size_t begun, ended;
    bool open; /* a call has begun and not ended */
} Heard;

static void heard_free(Heard *heard) {
    text_free(&heard->content);
    text_free(&heard->reasoning);
    text_free(&heard->calls);
}

/* Every delta must make sense where it stands. */
static void hear(Heard *heard, const Reply *reply) {
    for (size_t i = 0; i < reply_delta_count(reply); i++) {
        const ReplyDelta *delta = reply_delta(reply, i);
        switch (delta->kind) {
        case REPLY_CONTENT:
        case REPLY_REASONING:
            assert_false(heard->open);
            assert_true(delta->bytes > 0);
            text_append(delta->kind == REPLY_CONTENT ? &heard->content : &heard->reasoning, delta->text, delta->bytes);
            break;
        case REPLY_CALL:
            assert_false(heard->open);
            assert_int_equal(delta->index, heard->begun);
            assert_true(delta->id[0] != '\0' && delta->name[0] != '\0');
            heard->begun++;
            heard->open = true;
            text_append_format(&heard->calls, "%s(", delta->name);
            break;
        case REPLY_ARGUMENTS:
            assert_true(heard->open && delta->index + 1 == heard->begun && delta->bytes > 0);
            text_append(&heard->calls, delta->text, delta->bytes);
            break;
        case REPLY_CALL_END:
            assert_true(heard->open && delta->index == heard->ended);
            heard->ended++;
            heard->open = false;
            text_append_str(&heard->calls, ")");
            break;
        }
    }
}

typedef struct Given {
    const char *format;
    const json_t *tools;
    bool inside_reasoning;
    const char *text;
    size_t bytes;
} Given;

/* Feeds pieces: up to `first`, then of `step` bytes each. */
static Status listen(Given given, size_t first, size_t step, Heard *heard, Error *err) {
    Reply *reply;
    TRY(reply_open(given.format, given.tools, given.inside_reasoning, &reply, err));
    Status status = OK;
    for (size_t at = 0, next; at < given.bytes && status == OK; at = next) {
        next = MIN(at < first ? first : at + step, given.bytes);
        status = reply_feed(reply, given.text + at, next - at, err);
        if (status == OK)
            hear(heard, reply);
    }
    if (status == OK)
        status = reply_finish(reply, err);
    if (status == OK) {
        hear(heard, reply);
        assert_int_equal(heard->begun, reply_call_count(reply));
        assert_int_equal(heard->ended, heard->begun);
        for (size_t i = 0; i < reply_call_count(reply); i++) {
            const ReplyCall *call = reply_call(reply, i);
            json_t *arguments = NULL;
            const bool valid = call->arguments.count > 0 && json_parse(call->arguments.bytes, call->arguments.count, "",
                                                                       false, &arguments, NULL) == OK;
            json_decref(arguments);
            assert_true(call->ended);
            if (call->complete) /* nothing is called complete that is no JSON */
                assert_true(valid);
        }
    }
    reply_close(reply);
    return status;
}

static Heard heard_of(Given given, size_t first, size_t step) {
    Heard heard = {0};
    Error err = {0};
    if (listen(given, first, step, &heard, &err) != OK)
        fail_msg("%s", err.text);
    assert_false(heard.content.failed || heard.reasoning.failed || heard.calls.failed);
    return heard;
}

static void assert_same(const Text *a, const Text *b) {
    assert_int_equal(a->count, b->count);
    if (a->count > 0)
        assert_memory_equal(a->bytes, b->bytes, a->count);
}

static void check_cut(Given given, const Heard *whole, size_t first, size_t step) {
    Heard cut = heard_of(given, first, step);
    assert_same(&cut.content, &whole->content);
    assert_same(&cut.reasoning, &whole->reasoning);
    assert_same(&cut.calls, &whole->calls);
    heard_free(&cut);
}

static void means(const char *format, bool inside_reasoning, const char *text, const char *content,
                  const char *reasoning, const char *calls) {
    static const char tool_text[] =
        "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": "
        "\"object\", \"properties\": {\"s\": {\"type\": \"string\"}, \"n\": {\"type\": "
        "\"integer\"}, \"b\": {\"type\": \"boolean\"}, \"l\": {\"type\": \"array\", \"items\": {\"type\": \"integer\"}}, "
        "\"o\": {\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\"}, \"k\": {\"type\": \"array\", "
        "\"items\": {\"type\": \"object\", \"properties\": {\"v\": {\"type\": \"number\"}}}}}}}}}}]";
    json_t *tools;
    assert_int_equal(json_parse(tool_text, strlen(tool_text), "tools", false, &tools, NULL), OK);
    const Given given = {format, tools, inside_reasoning, text, strlen(text)};
    Heard whole = heard_of(given, given.bytes, 1);
    assert_string_equal(whole.content.bytes != NULL ? whole.content.bytes : "", content);
    assert_string_equal(whole.reasoning.bytes != NULL ? whole.reasoning.bytes : "", reasoning);
    assert_string_equal(whole.calls.bytes != NULL ? whole.calls.bytes : "", calls);
    for (size_t i = 0; i < given.bytes; i++)
        check_cut(given, &whole, i, 1);
    heard_free(&whole);
    json_decref(tools);
}

/* ---- small outputs ----------------------------------------------------------------------------------------------- */

/* White space before a mark is layout; a text without marks would only stutter for it. */
static void test_space_is_given_at_once(void **state) {
    (void)state;
    static const char *const pieces[] = {"one.", "\n", "\n", "two ", " "};
    Reply *reply;
    Error err = {0};
    assert_int_equal(reply_open("plain", NULL, false, &reply, &err), OK);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        assert_int_equal(reply_feed(reply, pieces[i], strlen(pieces[i]), &err), OK);
        assert_int_equal(reply_delta_count(reply), 1);
        assert_int_equal(reply_delta(reply, 0)->bytes, strlen(pieces[i]));
    }
    assert_int_equal(reply_finish(reply, &err), OK);
    assert_int_equal(reply_delta_count(reply), 0);
    assert_string_equal(reply_content(reply)->bytes, "one.\n\ntwo  ");
    reply_close(reply);
}

static void test_small_outputs(void **state) {
    (void)state;
    means("plain", false, "<think>a</think> <tool_call>{}", "<think>a</think> <tool_call>{}", "", "");
    means("qwen3", false, "<think>\nwhy\n</think>\n\nbecause", "because", "why", "");
    means("qwen3", true, "why</think>because", "because", "why", "");
    means("qwen3", true, "cut in the midd", "", "cut in the midd", "");
    means("qwen3", false, "a <tool_cal> b", "a <tool_cal> b", "", "");
    means("qwen3", false, "x<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>", "x", "",
          "f({\"n\": 1})");
    means("qwen3", false, "<tool_call>{\"arguments\": {\"n\": 1}, \"name\": \"f\"}</tool_call>", "", "",
          "f({\"n\": 1})");
    means("qwen3", false, "<tool_call>no call</tool_call>", "<tool_call>no call</tool_call>", "", "");
    means("qwen3_5", true,
          "t</think><tool_call><function=f><parameter=s>\n12\n</parameter><parameter=n>12</parameter>"
          "</function></tool_call>",
          "", "t", "f({\"s\": \"12\", \"n\": 12})");
    means("seed_oss", false,
          "<seed:think>t</seed:think>a<seed:tool_call>\n<function=f>\n<parameter=s>x</parameter>\n"
          "</function>\n</seed:tool_call>",
          "a", "t", "f({\"s\": \"x\"})");
    means("minimax_m1", false,
          "<tool_calls>\n{\"name\": \"f\", \"arguments\": {}}\n{\"name\": \"f\", \"arguments\": "
          "{\"n\": 2}}\n</tool_calls>",
          "", "", "f({})f({\"n\": 2})");
    means("granite_3", false, "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"n\": 2}}]", "", "", "f({\"n\": 2})");
    means("llama3_1", false, "{\"name\": \"f\", \"parameters\": {\"n\": 2}}", "", "", "f({\"n\": 2})");
    means("llama3_1", false, "{\"name\": \"other\", \"parameters\": {}}", "{\"name\": \"other\", \"parameters\": {}}",
          "", "");
    means("gpt_oss", false,
          "<|channel|>analysis<|message|>t<|end|><|start|>assistant<|channel|>final<|message|>a<|return|>", "a", "t",
          "");
}

/* Each notation as its models are taught to write it: whole, with braces and quotes in texts, with tools that nobody
 * offered, cut short, and what only looks like a call. */
static void test_notations(void **state) {
    (void)state;
    static const struct {
        const char *format;
        bool inside_reasoning;
        const char *text, *content, *reasoning, *calls;
    } cases[] = {
#include "reply_cases.inc"
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        means(cases[i].format, cases[i].inside_reasoning, cases[i].text, cases[i].content, cases[i].reasoning,
              cases[i].calls);
}

/* A client must see what was cut off: the call stays, and is not complete. */
static void test_calls_cut_short(void **state) {
    (void)state;
    static const char text[] = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": [1, ";
    Reply *reply;
    assert_int_equal(reply_open("qwen3", NULL, false, &reply, NULL), OK);
    assert_int_equal(reply_feed(reply, text, strlen(text), NULL), OK);
    assert_int_equal(reply_finish(reply, NULL), OK);
    assert_int_equal(reply_call_count(reply), 1);
    const ReplyCall *call = reply_call(reply, 0);
    assert_true(call->ended && !call->complete);
    assert_int_equal(reply_content(reply)->count, 0);
    Error err = {0};
    assert_int_equal(reply_feed(reply, "x", 1, &err), ERR_ARGUMENT);
    reply_close(reply);
    assert_int_equal(reply_open("no such format", NULL, false, &reply, NULL), ERR_NOT_FOUND);
    assert_null(reply);
    reply_close(NULL);
}

/* What an earlier piece left behind as the end of the input must not be taken for text again. */
static void test_feeds_of_nothing(void **state) {
    (void)state;
    static const char *const pieces[] = {"<think>", "a\xC3", "\xA9</think>b ", "<tool_call>", "\n{\"name\": \"f\", ",
                                         "\"arguments\": {}}", "</tool_call>", "c"};
    for (size_t i = 0; reply_format_name(i) != NULL; i++) {
        Reply *reply;
        assert_int_equal(reply_open(reply_format_name(i), NULL, false, &reply, NULL), OK);
        for (size_t k = 0; k < COUNT(pieces); k++) {
            assert_int_equal(reply_feed(reply, pieces[k], strlen(pieces[k]), NULL), OK);
            for (int again = 0; again < 2; again++) {
                assert_int_equal(reply_feed(reply, NULL, 0, NULL), OK);
                assert_int_equal(reply_delta_count(reply), 0);
            }
        }
        assert_int_equal(reply_finish(reply, NULL), OK);
        if (strcmp(reply_format_name(i), "qwen3") == 0) {
            assert_string_equal(reply_content(reply)->bytes, "b c");
            assert_string_equal(reply_reasoning(reply)->bytes, "a\xC3\xA9");
            assert_int_equal(reply_call_count(reply), 1);
        }
        reply_close(reply);
    }
}

static bool opens(const char *format, const char *prompt) {
    return reply_inside_reasoning(format, prompt, strlen(prompt));
}

static void test_prompts_that_open_the_reasoning(void **state) {
    (void)state;
    assert_true(opens("qwen3", "<|im_start|>assistant\n<think>\n"));
    assert_true(opens("deepseek_r1", "x<think>"));
    assert_false(opens("qwen3", "<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    assert_false(opens("qwen3", "the tag <think> is"));
    assert_false(opens("qwen3", ""));
    assert_false(opens("plain", "<think>"));
    assert_true(opens("ministral_3_reasoning", "[THINK]"));
    assert_true(opens("gpt_oss", "<|start|>assistant<|channel|>analysis<|message|>"));
    assert_false(opens("gpt_oss", "<|start|>assistant"));
    assert_false(opens("no such format", "<think>"));
}

/* Rows are found by name: in order, each once. */
static void test_formats(void **state) {
    (void)state;
    for (size_t i = 0; reply_format_name(i) != NULL; i++) {
        assert_true(reply_format_known(reply_format_name(i)));
        if (i > 0)
            assert_true(strcmp(reply_format_name(i - 1), reply_format_name(i)) < 0);
    }
    assert_string_equal(reply_format_choose(NULL, ""), "plain");
    assert_string_equal(reply_format_choose(NULL, "{{ '<think>' }}{{ '</think>' }}<tool_call>"), "qwen3");
}

/* ---- golden outputs ---------------------------------------------------------------------------------------------- */

typedef void Visit(Given given);

/* Each case of each format of the reference. */
static size_t each_golden(Visit *visit) {
    size_t count = 0;
    for (size_t i = 0; reply_format_name(i) != NULL; i++) {
        char relative[128], path[GOLDEN_PATH_BYTES];
        snprintf(relative, sizeof relative, "toolparse/%s.json", reply_format_name(i));
        if (golden_path(path, relative) == NULL)
            continue;
        json_t *data;
        assert_int_equal(json_read(path, 1 << 24, &data, NULL), OK);
        const json_t *cases = json_object_get(data, "cases");
        for (size_t c = 0; c < json_array_size(cases); c++, count++) {
            const json_t *one = json_array_get(cases, c), *text = json_object_get(one, "text");
            visit((Given){reply_format_name(i), json_object_get(data, "tools"),
                          json_is_true(json_object_get(one, "starts_inside_reasoning")), json_string_value(text),
                          json_string_length(text)});
        }
        json_decref(data);
    }
    return count;
}

static void cut_everywhere(Given given) {
    Heard whole = heard_of(given, given.bytes, 1);
    check_cut(given, &whole, 0, 1);
    for (size_t i = 1; i < given.bytes; i++)
        check_cut(given, &whole, i, given.bytes);
    heard_free(&whole);
}

static void test_golden_cut_everywhere(void **state) {
    (void)state;
    assert_true(each_golden(cut_everywhere) > 100);
}

/* Whatever format reads whatever output, the deltas make sense. */
static void read_by_all_formats(Given given) {
    for (size_t i = 0; reply_format_name(i) != NULL; i++) {
        given.format = reply_format_name(i);
        given.inside_reasoning = !given.inside_reasoning;
        Heard heard = heard_of(given, 0, 5);
        check_cut(given, &heard, 0, 1);
        heard_free(&heard);
    }
}

static void test_golden_in_other_formats(void **state) {
    (void)state;
    assert_true(each_golden(read_by_all_formats) > 100);
}

static void without_memory(Given given) {
    const size_t before = mem_bytes_total();
    long n = 1;
    for (bool struck = true; struck; n++) {
        Heard heard = {0};
        Error err = {0};
        mem_fail_at(n);
        Reply *reply;
        Status status = reply_open(given.format, given.tools, given.inside_reasoning, &reply, &err);
        for (size_t at = 0; at < given.bytes && status == OK; at += 16)
            status = reply_feed(reply, given.text + at, MIN(given.bytes - at, (size_t)16), &err);
        if (status == OK)
            status = reply_finish(reply, &err);
        struck = mem_fail_hit();
        mem_fail_at(0);
        if (status != (struck ? ERR_MEMORY : OK))
            fail_msg("%s, allocation %ld: %s, \"%s\"", given.format, n, status_word(status), err.text);
        reply_close(reply);
        heard_free(&heard);
        assert_int_equal(mem_bytes_total(), before);
    }
    assert_true(n > 1);
}

static void test_golden_without_memory(void **state) {
    (void)state;
    assert_true(each_golden(without_memory) > 100);
}

int main(void) {
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_space_is_given_at_once),
        cmocka_unit_test(test_small_outputs),
        cmocka_unit_test(test_notations),
        cmocka_unit_test(test_calls_cut_short),
        cmocka_unit_test(test_feeds_of_nothing),
        cmocka_unit_test(test_prompts_that_open_the_reasoning),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_golden_cut_everywhere),
        cmocka_unit_test(test_golden_in_other_formats),
        cmocka_unit_test(test_golden_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
