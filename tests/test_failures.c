/* test_failures.c - no memory, anywhere: the 1st, 2nd, ... n-th allocation fails, until all succeed.
 *
 * Each piece of work is what a user does: opening a model and drawing a few tokens, opening a tokenizer and taking a text
 * there and back, rendering a conversation. Each time it must end with an error that says what memory was wanted for, or
 * with the very result of an undisturbed run (what only makes things faster may do without its memory), and give back all
 * that it took. */
#include "base/mem.h"
#include "base/pool.h"
#include "engine/generate.h"
#include "format/json.h"
#include "golden.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* Does it all, from nothing to nothing; what came out is appended to `result`. */
typedef Status Work(const char *path, Text *result, Error *err);

/* Every allocation up to `all`, then one in fifty more or less: the later ones repeat the earlier (layers, pieces). */
static void fail_each_allocation(Work *work, const char *path, long all) {
    Text expected = {0};
    Error err = {0};
    if (work(path, &expected, &err) != OK) /* also makes what stays for good, like compiled tables */
        fail_msg("%s: with all memory: %s", path, err.text);
    const size_t before = mem_bytes_total();
    bool struck = true;
    for (long n = 1; struck; n += n < all ? 1 : 1 + n / 50) {
        Text result = {0};
        error_clear(&err);
        mem_fail_at(n);
        const Status status = work(path, &result, &err);
        struck = mem_fail_hit();
        mem_fail_at(0);
        if (status == OK) {
            if (result.count != expected.count || memcmp(result.bytes, expected.bytes, expected.count) != 0)
                fail_msg("%s, allocation %ld: \"%.80s\" in place of \"%.80s\"", path, n, result.bytes, expected.bytes);
        } else if (!struck || status != ERR_MEMORY || err.text[0] == '\0') {
            fail_msg("%s, allocation %ld: %s, \"%s\"", path, n, status_word(status), err.text);
        }
        text_free(&result);
        if (mem_bytes_total() != before)
            fail_msg("%s, allocation %ld (%s): %zd bytes stay behind", path, n, status_word(status),
                     (ssize_t)(mem_bytes_total() - before));
    }
    text_free(&expected);
}

static bool short_run(void) {
    return getenv("HOULE_TEST_FEW") != NULL;
}

/* ---- running a model --------------------------------------------------------------------------------------------- */

enum { TOKENS = 5, DRAWN = 4, CONTEXT = 32 };

static Precision precision;
static bool streamed; /* in the least memory that the weights can do with */

static Status draw_tokens(Session *session, Text *result, Error *err) {
    static const int32_t prompt[TOKENS] = {5, 17, 250, 3, 99};
    SampleSpec spec = sample_defaults();
    spec.temperature = 0;
    spec.repeat_penalty = 1.1f;
    Generator *generator = NULL;
    Sampler *sampler = NULL;
    Status status = generator_open(session, 0, &generator, err);
    if (status == OK)
        status = generator_set(generator, prompt, TOKENS, NULL, err);
    if (status == OK)
        status = sampler_open(spec, model_vocab(session_model(session)), &sampler, err);
    for (int i = 0; i < DRAWN && status == OK; i++) {
        int32_t token = -1;
        GenerateEnd end;
        status = generator_next(generator, sampler, true, NULL, &token, &end, err);
        if (status == OK)
            text_append_format(result, "%d ", token);
    }
    if (status == OK)
        status = text_check(result, err);
    sampler_close(sampler);
    generator_close(generator);
    return status;
}

static Status open_and_draw(const char *path, Text *result, Error *err) {
    Pool *pool = NULL;
    Model *model = NULL;
    Session *session = NULL;
    SessionSpec spec = {.precision = precision, .cache_type = CACHE_F16, .context = CONTEXT, .max_rows = 3};
    Status status = pool_open(2, &pool, err);
    spec.pool = pool;
    if (status == OK)
        status = model_open(path, &model, err);
    StreamPlan plan = {0};
    if (status == OK && streamed)
        status = weights_stream_plan(model_weights(model), 0, &plan, err);
    if (status == OK && streamed)
        status = model_stream(model, plan.least, err);
    if (status == OK)
        status = session_open(model, spec, &session, err);
    if (status == OK)
        status = draw_tokens(session, result, err);
    session_close(session);
    model_close(model);
    pool_close(pool);
    return status;
}

static void test_models(void **state) {
    (void)state;
    static const char *const models[] = {
        "text/llama", "text/gemma3", "text/mistral", "text/qwen3_moe", "gguf/families/llama.gguf",
        "gguf/families/deepseek_v3.gguf", "gguf/families/qwen3_next.gguf", "gguf/families/gpt_oss.gguf",
    };
    char path[GOLDEN_PATH_BYTES];
    int found = 0;
    for (size_t i = 0; i < COUNT(models); i++) {
        if (golden_path(path, models[i]) == NULL)
            continue;
        precision = i % 2 == 0 ? PRECISION_FAST : PRECISION_F32;
        streamed = strstr(models[i], "moe") != NULL || strstr(models[i], "gpt_oss") != NULL;
        fail_each_allocation(open_and_draw, path, short_run() ? 60 : 400);
        found++;
    }
    assert_true(found > 0);
}

/* ---- tokenizers -------------------------------------------------------------------------------------------------- */

static Status stream_of(const Tokenizer *tokenizer, const TokenIds *ids, Text *result, Error *err) {
    TokenizerStream *stream;
    TRY(tokenizer_stream_open(tokenizer, 0, &stream, err));
    Status status = OK;
    for (size_t i = 0; i < ids->count && status == OK; i++)
        status = tokenizer_stream_push(stream, ids->ids[i], result, err);
    if (status == OK)
        status = tokenizer_stream_flush(stream, result, err);
    tokenizer_stream_close(stream);
    return status;
}

static Status there_and_back(const char *path, Text *result, Error *err) {
    static const char text[] = "The quick brown f\xC3\xB6x,  12345 jumps\n\nover \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80 "
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    Tokenizer *tokenizer;
    TRY(tokenizer_open(path, &tokenizer, err));
    TokenIds ids = {0};
    Status status = tokenizer_encode(tokenizer, text, sizeof text - 1, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, &ids, err);
    if (status == OK)
        status = tokenizer_decode(tokenizer, ids.ids, ids.count, 0, result, err);
    if (status == OK)
        status = stream_of(tokenizer, &ids, result, err);
    token_ids_free(&ids);
    tokenizer_close(tokenizer);
    return status;
}

static void test_tokenizers(void **state) {
    (void)state;
    static const char *const tokenizers[] = {
        "tokenizer/synth/synth_bytebpe/tokenizer.json", "tokenizer/synth/synth_bytebpe/vocab.gguf",
        "tokenizer/synth/synth_spmbpe/tokenizer.json",  "tokenizer/synth/synth_spmbpe/tokenizer.model",
        "tokenizer/synth/synth_unigram/tokenizer.json", "tokenizer/synth/synth_unigram/tokenizer.model",
    };
    char path[GOLDEN_PATH_BYTES];
    for (size_t i = 0; i < COUNT(tokenizers); i++) {
        assert_non_null(golden_path(path, tokenizers[i]));
        fail_each_allocation(there_and_back, path, short_run() ? 60 : 300);
    }
}

/* ---- templates --------------------------------------------------------------------------------------------------- */

static Status render(const char *path, Text *result, Error *err) {
    static const char talk[] =
        "[{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": "
        "\"Hi\"}]}, {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"call00001\", \"type\": \"function\", "
        "\"function\": {\"name\": \"f\", \"arguments\": \"{\\\"n\\\": [1, 2.5, null]}\"}}]}, {\"role\": \"tool\", "
        "\"tool_call_id\": \"call00001\", \"content\": \"3\"}]";
    static const char tool_text[] = "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"does\", "
                                    "\"parameters\": {\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"array\"}}}}}]";
    json_t *messages = NULL, *tools = NULL;
    FileMap *map = NULL;
    ChatTemplate *chat = NULL;
    Status status = json_parse(talk, sizeof talk - 1, "messages", false, &messages, err);
    if (status == OK)
        status = json_parse(tool_text, sizeof tool_text - 1, "tools", false, &tools, err);
    if (status == OK)
        status = file_map_open(path, &map, err);
    if (status == OK)
        status = chat_template_of_text((const char *)file_map_bytes(map), file_map_size(map), path, &chat, err);
    const ChatRequest request = {.messages = messages, .tools = tools, .add_generation_prompt = true};
    if (status == OK)
        status = chat_template_render(chat, &request, result, err);
    chat_template_close(chat);
    file_map_close(map);
    json_decref(tools);
    json_decref(messages);
    return status;
}

static void test_templates(void **state) {
    (void)state;
    static const char *const templates[] = {"qwen3", "llama3_1", "gpt_oss", "mistral_small_3_2", "deepseek_v3_1"};
    for (size_t i = 0; i < COUNT(templates); i++) {
        char relative[64], path[GOLDEN_PATH_BYTES];
        snprintf(relative, sizeof relative, "template/%s/template.jinja", templates[i]);
        assert_non_null(golden_path(path, relative));
        fail_each_allocation(render, path, short_run() ? 60 : 300);
    }
}

int main(void) {
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
