/* test_chat_template.c - from a model's files to a prompt: where templates and tokens are found, which template and
 * which form of the messages is chosen, and in which format the answer will come. */
#include "text/chat_template.h"
#include "text/reply.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "format/json.h"
#include "golden.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- a folder for each test -------------------------------------------------------------------------------------- */

static char folder[64];
static const char *const names[] = {"additional_chat_templates/rag.jinja",
                                    "additional_chat_templates",
                                    "chat_template.jinja",
                                    "chat_template.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "config.json",
                                    "model.gguf"};

static const char *at(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state) {
    (void)state;
    json_setup();
    snprintf(folder, sizeof folder, "/tmp/houle_test_XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    mem_fail_at(0);
    for (size_t i = 0; i < COUNT(names); i++)
        remove(at(names[i]));
    return rmdir(folder);
}

static void put_file(const char *name, const char *bytes, size_t count) {
    FILE *file = fopen(at(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void put_text_file(const char *name, const char *text) {
    put_file(name, text, strlen(text));
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------- */

static void put_u32(Text *out, uint32_t number) {
    const char bytes[4] = {(char)number, (char)(number >> 8), (char)(number >> 16), (char)(number >> 24)};
    text_append(out, bytes, sizeof bytes);
}

static void put_u64(Text *out, uint64_t number) {
    char bytes[8];
    store_u64(bytes, number);
    text_append(out, bytes, sizeof bytes);
}

static void put_string(Text *out, const char *string) {
    put_u64(out, strlen(string));
    text_append_str(out, string);
}

static void put_meta_string(Text *out, const char *key, const char *value) {
    put_string(out, key);
    put_u32(out, META_STRING);
    put_string(out, value);
}

static void put_meta_u32(Text *out, const char *key, uint32_t value) {
    put_string(out, key);
    put_u32(out, META_U32);
    put_u32(out, value);
}

/* Two templates, three tokens; the token of the end does not exist. */
static void save_gguf(void) {
    Text out = {0};
    text_append_str(&out, "GGUF");
    put_u32(&out, 3);
    put_u64(&out, 0);
    put_u64(&out, 6);
    put_meta_string(&out, "general.architecture", "none");
    put_meta_string(&out, "tokenizer.chat_template", "{{ bos_token }}default");
    put_meta_string(&out, "tokenizer.chat_template.tool_use", "{{ bos_token }}tools {{ tools | length }}");
    put_string(&out, "tokenizer.ggml.tokens");
    put_u32(&out, META_ARRAY);
    put_u32(&out, META_STRING);
    put_u64(&out, 3);
    put_string(&out, "<unk>");
    put_string(&out, "<s>");
    put_string(&out, "a");
    put_meta_u32(&out, "tokenizer.ggml.bos_token_id", 1);
    put_meta_u32(&out, "tokenizer.ggml.eos_token_id", 3);
    assert_false(out.failed);
    put_file("model.gguf", out.bytes, out.count);
    text_free(&out);
}

/* ---- looking at them --------------------------------------------------------------------------------------------- */

static Status open_chat(const char *path, ChatTemplate **chat, Error *err) {
    *chat = NULL;
    ModelFiles *files;
    TRY(model_files_open(path, &files, err));
    const Status status = chat_template_open(files, chat, err);
    model_files_close(files);
    return status;
}

static ChatTemplate *opened(const char *path) {
    ChatTemplate *chat;
    Error err = {0};
    if (open_chat(path, &chat, &err) != OK)
        fail_msg("%s", err.text);
    return chat;
}

static ChatTemplate *of_text(const char *text) {
    ChatTemplate *chat;
    Error err = {0};
    if (chat_template_of_text(text, strlen(text), "text", &chat, &err) != OK)
        fail_msg("%s", err.text);
    return chat;
}

static json_t *parsed(const char *text) {
    json_t *json = NULL;
    Error err = {0};
    if (text != NULL && json_parse(text, strlen(text), "text", false, &json, &err) != OK)
        fail_msg("%s: %s", text, err.text);
    return json;
}

typedef struct Ask {
    const char *messages, *tools, *variables, *name;
} Ask;

static Status ask(const ChatTemplate *chat, Ask given, Text *prompt, Error *err) {
    json_t *messages = parsed(given.messages), *tools = parsed(given.tools), *variables = parsed(given.variables);
    const ChatRequest request = {.messages = messages,
                                 .tools = tools,
                                 .variables = variables,
                                 .template_name = given.name,
                                 .add_generation_prompt = true};
    const Status status = chat_template_render(chat, &request, prompt, err);
    json_decref(messages);
    json_decref(tools);
    json_decref(variables);
    return status;
}

static void renders(const ChatTemplate *chat, Ask given, const char *expected) {
    Text prompt = {0};
    Error err = {0};
    if (ask(chat, given, &prompt, &err) != OK)
        fail_msg("%s", err.text);
    assert_string_equal(prompt.bytes != NULL ? prompt.bytes : "", expected);
    text_free(&prompt);
}

static void refused(const ChatTemplate *chat, Ask given, Status status, const char *words) {
    Text prompt = {0};
    Error err = {0};
    const Status got = ask(chat, given, &prompt, &err);
    if (got != status || strstr(err.text, words) == NULL)
        fail_msg("%s, \"%s\"; expected was %s, \"%s\"", status_word(got), err.text, status_word(status), words);
    text_free(&prompt);
}

/* ---- where templates are found ----------------------------------------------------------------------------------- */

static void test_folder_with_config(void **state) {
    (void)state;
    put_text_file(
        "tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\", \"pad_token\": null, \"chat_template\": ["
        "{\"name\": \"default\", \"template\": \"{{ bos_token }}plain\"},"
        "{\"name\": \"tool_use\", \"template\": \"{{ bos_token }}with {{ tools[0].name }}\"}]}");
    put_text_file("special_tokens_map.json", "{\"eos_token\": \"no\", \"unk_token\": \"<unk>\"}");
    ChatTemplate *chat = opened(folder);
    assert_string_equal(chat_template_token(chat, "bos_token"), "<s>");
    assert_string_equal(chat_template_token(chat, "eos_token"), "</s>");
    assert_string_equal(chat_template_token(chat, "unk_token"), "<unk>");
    assert_null(chat_template_token(chat, "pad_token"));
    assert_string_equal(chat_template_name(chat, 0), "default");
    assert_string_equal(chat_template_name(chat, 1), "tool_use");
    assert_null(chat_template_name(chat, 2));
    assert_string_equal(chat_template_text(chat, NULL, NULL), "{{ bos_token }}plain");
    renders(chat, (Ask){.messages = "[]"}, "<s>plain");
    renders(chat, (Ask){.messages = "[]", .tools = "[]"}, "<s>plain");
    renders(chat, (Ask){.messages = "[]", .tools = "[{\"name\": \"f\"}]"}, "<s>with f");
    renders(chat, (Ask){.messages = "[]", .tools = "[{\"name\": \"f\"}]", .name = "default"}, "<s>plain");
    renders(chat, (Ask){.messages = "[]", .variables = "{\"bos_token\": \"\"}"}, "plain");
    refused(chat, (Ask){.messages = "[]", .name = "rag"}, ERR_NOT_FOUND, "rag");
    assert_null(chat_template_text(chat, &(ChatRequest){.template_name = "rag"}, NULL));
    refused(chat, (Ask){.messages = "{}"}, ERR_ARGUMENT, "messages");
    refused(chat, (Ask){.messages = "[1]"}, ERR_ARGUMENT, "messages[0]");
    refused(chat, (Ask){.messages = "[]", .variables = "[]"}, ERR_ARGUMENT, "object");
    chat_template_close(chat);
}

/* A file of its own comes before what the configuration says. */
static void test_folder_with_files(void **state) {
    (void)state;
    put_text_file("tokenizer_config.json", "{\"chat_template\": \"old\"}");
    put_text_file("chat_template.jinja", "new{% if enable_thinking is defined %} {{ enable_thinking }}{% endif %}");
    assert_int_equal(mkdir(at("additional_chat_templates"), 0700), 0);
    put_text_file("additional_chat_templates/rag.jinja", "rag");
    ChatTemplate *chat = opened(folder);
    renders(chat, (Ask){.messages = "[]"}, "new");
    renders(chat, (Ask){.messages = "[]", .variables = "{\"enable_thinking\": false}"}, "new False");
    renders(chat, (Ask){.messages = "[]", .name = "rag"}, "rag");
    chat_template_close(chat);
}

static void test_gguf(void **state) {
    (void)state;
    save_gguf();
    ChatTemplate *chat = opened(at("model.gguf"));
    renders(chat, (Ask){.messages = "[]"}, "<s>default");
    renders(chat, (Ask){.messages = "[]", .tools = "[1, 2]"}, "<s>tools 2");
    assert_null(chat_template_token(chat, "eos_token"));
    chat_template_close(chat);
}

static void test_none_and_broken(void **state) {
    (void)state;
    ChatTemplate *chat;
    Error err = {0};
    put_text_file("tokenizer_config.json", "{}");
    assert_int_equal(open_chat(folder, &chat, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, folder));
    assert_null(chat);
    err = (Error){0};
    put_text_file("chat_template.jinja", "{% if %}");
    assert_int_equal(open_chat(folder, &chat, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "line 1"));
    err = (Error){0};
    remove(at("chat_template.jinja"));
    put_text_file("tokenizer_config.json", "{\"chat_template\": [{\"name\": 1}]}");
    assert_int_equal(open_chat(folder, &chat, &err), ERR_FORMAT);
    chat_template_close(NULL);
}

/* ---- forms of messages ------------------------------------------------------------------------------------------- */

#define CALL(arguments)                                                                                                \
    "[{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"c\", \"function\": {\"name\": \"f\", "  \
    "\"arguments\": " arguments "}}]}]"
#define EACH_CALL(shown)                                                                                               \
    "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ " shown " }}{% endfor %}{% endfor %}"

/* Clients send text; a template that walks over the arguments must get an object, one that joins them text. */
static void test_arguments_of_calls(void **state) {
    (void)state;
    static const char *const as_text = CALL("\"{\\\"a\\\": [1, 2.0]}\""), *const as_object = CALL("{\"a\": [1, 2.0]}");
    ChatTemplate *walks = of_text(EACH_CALL("(c.function or {}).get('arguments', 0) | tojson"));
    renders(walks, (Ask){.messages = as_text}, "{\"a\": [1, 2.0]}");
    renders(walks, (Ask){.messages = as_object}, "{\"a\": [1, 2.0]}");
    renders(walks, (Ask){.messages = CALL("\"\"")}, "{}");
    renders(walks, (Ask){.messages = CALL("\"[1]\"")}, "\"[1]\"");
    renders(walks, (Ask){.messages = CALL("\"{\"")}, "\"{\"");
    renders(walks,
            (Ask){.messages = "[{\"tool_calls\": [{\"function\": {\"arguments\": null}}, {\"function\": {}}, 1]}]"},
            "null00");
    chat_template_close(walks);
    ChatTemplate *joins = of_text(EACH_CALL("'' + c.function.arguments"));
    renders(joins, (Ask){.messages = as_text}, "{\"a\": [1, 2.0]}");
    renders(joins, (Ask){.messages = as_object}, "{\"a\": [1, 2.0]}");
    chat_template_close(joins);
    ChatTemplate *prints = of_text(EACH_CALL("c.function.arguments")); /* an object would be printed as Python does */
    renders(prints, (Ask){.messages = as_object}, "{\"a\": [1, 2.0]}");
    chat_template_close(prints);
}

#define PARTS                                                                                                          \
    "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", \"text\": "       \
    "\"b\"}]}]"
#define IMAGE "[{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {}}]}]"

static void test_parts_of_content(void **state) {
    (void)state;
    ChatTemplate *text = of_text("{% for m in messages %}{{ '<' + m.content + '>' }}{% endfor %}");
    renders(text, (Ask){.messages = PARTS}, "<ab>");
    renders(text, (Ask){.messages = "[{\"content\": []}]"}, "<>");
    refused(text, (Ask){.messages = IMAGE}, ERR_ARGUMENT, "image_url");
    chat_template_close(text);
    ChatTemplate *printed = of_text("{% for m in messages %}<{{ m.content }}>{% endfor %}");
    renders(printed, (Ask){.messages = PARTS}, "<ab>");
    chat_template_close(printed);
    ChatTemplate *parts = of_text("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
                                  "{% for p in m.content %}<{{ p.text if p.type == 'text' else p.type }}>{% endfor %}"
                                  "{% endif %}{% endfor %}");
    renders(parts, (Ask){.messages = PARTS}, "<a><b>");
    renders(parts, (Ask){.messages = IMAGE}, "<image_url>");
    chat_template_close(parts);
}

/* Without content there is null; templates that cannot read it get an empty text, the others must see it. */
static void test_missing_content(void **state) {
    (void)state;
    static const char none[] = "[{\"role\": \"user\", \"content\": null}, {\"role\": \"user\"}]";
    ChatTemplate *joins = of_text("{% for m in messages %}{{ '<' + m.content + '>' }}{% endfor %}");
    renders(joins, (Ask){.messages = none}, "<><>");
    chat_template_close(joins);
    ChatTemplate *asks = of_text("{% for m in messages %}{% if m.content is none %}none{% endif %}{% endfor %}");
    renders(asks, (Ask){.messages = none}, "none");
    chat_template_close(asks);
}

static void test_names_of_reasoning(void **state) {
    (void)state;
    ChatTemplate *chat = of_text("{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }} {% endfor %}");
    renders(chat,
            (Ask){.messages = "[{\"reasoning\": \"a\"}, {\"thinking\": \"b\"}, {\"reasoning_content\": \"c\"}, {}]"},
            "a|a b|b c|c | ");
    chat_template_close(chat);
}

/* What the caller holds is not changed. */
static void test_messages_stay(void **state) {
    (void)state;
    ChatTemplate *chat = of_text("{% for m in messages %}{{ m.content.upper() }}{{ m.tool_calls }}{% endfor %}");
    json_t *messages =
        parsed("[{\"role\": \"user\", \"thinking\": \"t\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}],"
               "\"tool_calls\": [{\"function\": {\"arguments\": \"{}\"}}]}]");
    json_t *copy = json_deep_copy(messages);
    Text prompt = {0};
    assert_int_equal(chat_template_render(chat, &(ChatRequest){.messages = messages}, &prompt, NULL), OK);
    assert_true(json_equal(messages, copy));
    text_free(&prompt);
    json_decref(messages);
    json_decref(copy);
    chat_template_close(chat);
}

/* ---- published templates ----------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *format;
    bool text_arguments; /* must be given text */
} published[] = {
    {"deepseek_r1_distill_llama", "deepseek_r1", true},
    {"deepseek_r1_distill_qwen", "deepseek_r1", true},
    {"deepseek_v3", "deepseek_v3", true},
    {"deepseek_v3_1", "deepseek_v3_1", false},
    {"ernie_4_5", "plain", false},
    {"gemma3", "plain", false},
    {"glm_4_6", "glm_4_6", false},
    {"glm_4_7_flash", "glm_4_6", false},
    {"gpt_oss", "gpt_oss", false},
    {"kimi_k2", "kimi_k2", false},
    {"kimi_k2_thinking", "kimi_k2_thinking", false},
    {"llama3_1", "llama3_1", false},
    {"llama3_2", "llama3_1", false},
    {"llama3_npm", "plain", false},
    {"minimax_m1", "minimax_m1", false},
    {"minimax_m2", "minimax_m2", false},
    {"ministral_3_reasoning", "ministral_3_reasoning", false},
    {"mistral_nemo", "mistral_nemo", false},
    {"mistral_small_3_2", "mistral_small_3_2", false},
    {"qwen2_5", "qwen2_5", false},
    {"qwen3", "qwen3", false},
    {"qwen3_5", "qwen3_5", false},
    {"qwen3_coder", "qwen3_coder", false},
    {"qwq", "qwen3", false},
    {"smollm2", "plain", false},
    {"smollm3", "smollm3", false},
};

static char *published_template(const char *name, size_t *bytes) {
    char relative[256], path[GOLDEN_PATH_BYTES], *text = NULL;
    snprintf(relative, sizeof relative, "template/%s/template.jinja", name);
    if (golden_path(path, relative) != NULL)
        assert_int_equal(file_read(path, TEMPLATE_MAX_BYTES, &text, bytes, NULL), OK);
    return text;
}

/* The format of the answer is told by the template, and calls sent as clients do come out as JSON, not as Python. */
static void test_published_templates(void **state) {
    (void)state;
    static const char conversation[] =
        "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Rain?\"}]}, {\"role\": \"assistant\", "
        "\"content\": null, \"tool_calls\": [{\"id\": \"call00001\", \"type\": \"function\", \"function\": {\"name\": "
        "\"weather\", \"arguments\": \"{\\\"city\\\": \\\"Oslo\\\"}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": "
        "\"call00001\", \"content\": \"yes\"}]";
    size_t seen = 0;
    for (size_t i = 0; i < COUNT(published); i++) {
        size_t bytes;
        char *text = published_template(published[i].name, &bytes);
        if (text == NULL)
            continue; /* the copy in the tree holds part of them */
        seen++;
        assert_string_equal(reply_format_choose(NULL, text), published[i].format);
        ChatTemplate *chat = of_text(text);
        Text prompt = {0};
        Error err = {0};
        const Status status =
            ask(chat, (Ask){.messages = conversation, .variables = "{\"bos_token\": \"\", \"eos_token\": \"\"}"},
                &prompt, &err);
        if (status == OK && (strstr(prompt.bytes, "'Oslo'") != NULL || strstr(prompt.bytes, "\\\"Oslo") != NULL))
            fail_msg("%s: %s", published[i].name, prompt.bytes);
        if (status != OK && status != ERR_ARGUMENT) /* some refuse tools */
            fail_msg("%s: %s", published[i].name, err.text);
        if (status == OK && strcmp(published[i].format, "plain") != 0 && strcmp(published[i].format, "smollm3") != 0)
            assert_non_null(strstr(prompt.bytes, "Oslo"));
        text_free(&prompt);
        chat_template_close(chat);
        mem_free(text);
    }
    assert_true(seen >= 10);
}

/* ---- without memory ---------------------------------------------------------------------------------------------- */

static Status open_and_render(const char *path, const json_t *messages, Error *err) {
    ChatTemplate *chat;
    TRY(open_chat(path, &chat, err));
    Text prompt = {0};
    const Status status = chat_template_render(chat, &(ChatRequest){.messages = messages}, &prompt, err);
    text_free(&prompt);
    chat_template_close(chat);
    return status;
}

static void all_without_memory(const char *path, const json_t *messages) {
    const size_t before = mem_bytes_total();
    long n = 1;
    for (bool struck = true; struck; n++) {
        Error err = {0};
        mem_fail_at(n);
        const Status status = open_and_render(path, messages, &err);
        struck = mem_fail_hit();
        mem_fail_at(0);
        if (status != (struck ? ERR_MEMORY : OK))
            fail_msg("allocation %ld of %s: %s, \"%s\"", n, path, status_word(status), err.text);
        assert_int_equal(mem_bytes_total(), before);
    }
    assert_true(n > 100);
}

static void test_without_memory(void **state) {
    (void)state;
    json_t *messages =
        parsed("[{\"role\": \"user\", \"reasoning\": \"t\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}],"
               "\"tool_calls\": [{\"function\": {\"arguments\": \"{}\"}}]}]");
    put_text_file("tokenizer_config.json",
                  "{\"bos_token\": \"<s>\", \"chat_template\": \"{{ bos_token ~ messages }}\"}");
    assert_int_equal(mkdir(at("additional_chat_templates"), 0700), 0);
    put_text_file("additional_chat_templates/rag.jinja", EACH_CALL("'' + c.function.arguments"));
    all_without_memory(folder, messages);
    save_gguf();
    all_without_memory(at("model.gguf"), messages);
    json_decref(messages);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_folder_with_config),  IN_FOLDER(test_folder_with_files),  IN_FOLDER(test_gguf),
        IN_FOLDER(test_none_and_broken),     IN_FOLDER(test_arguments_of_calls), IN_FOLDER(test_parts_of_content),
        IN_FOLDER(test_missing_content),     IN_FOLDER(test_names_of_reasoning), IN_FOLDER(test_messages_stay),
        IN_FOLDER(test_published_templates), IN_FOLDER(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
