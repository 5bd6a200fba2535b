/* fuzz_template.c - any bytes as a chat template, rendered with a small conversation under small limits: whatever the
 * template is, it ends, within its limits, with valid UTF-8 or an error, and renders the same twice. */
#include "text/template.h"

#include "base/mem.h"
#include "format/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const TemplateLimits limits = {.steps = 200000,
                                      .memory_bytes = (size_t)8 << 20,
                                      .output_bytes = (size_t)1 << 20,
                                      .depth = 200,
                                      .integer_bits = 4096};

static const char conversation[] =
    "[{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": \"h\\u00e9llo\\n\"}, "
    "{\"role\": "
    "\"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"c1\", \"type\": \"function\", \"function\": "
    "{\"name\": \"f\", "
    "\"arguments\": {\"a\": [1, 2.5, true, null, \"x\"]}}}]}, {\"role\": \"tool\", \"content\": \"12\"}]";

static Status render(const Template *compiled, const json_t *messages, const struct tm *now, Text *out) {
    const TemplateVariable variables[] = {
        {.name = "messages", .json = messages},
        {.name = "tools"},
        {.name = "bos_token", .text = "<s>", .text_bytes = 3},
        {.name = "add_generation_prompt", .json = json_true()},
    };
    return template_render(compiled, variables, COUNT(variables), &(TemplateOptions){&limits, now}, out, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t before = mem_bytes_total();
    json_t *messages;
    Template *compiled;
    if (json_parse(conversation, strlen(conversation), "messages", false, &messages, NULL) != OK)
        abort();
    if (template_compile((const char *)data, size, &compiled, NULL) == OK) {
        const struct tm now = {.tm_year = 125, .tm_mon = 6, .tm_mday = 4, .tm_wday = 5, .tm_yday = 184};
        Text once = {0}, again = {0};
        const Status first = render(compiled, messages, &now, &once), second = render(compiled, messages, &now, &again);
        if (first != second || once.count != again.count || once.count > limits.output_bytes ||
            !utf8_valid(once.bytes, once.count) || (once.count > 0 && memcmp(once.bytes, again.bytes, once.count) != 0))
            abort();
        text_free(&once);
        text_free(&again);
    }
    template_free(compiled);
    json_decref(messages);
    if (mem_bytes_total() != before)
        abort();
    return 0;
}
