/* fuzz_config.c - any bytes as JSON: what was read is the same after it was written, and both readers agree. */
#include "format/json.h"
#include "format/json_pull.h"
#include "format/json_write.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const json_t *json) {
    Text text = {0};
    JsonWriter writer = {.out = &text};
    json_write_value(&writer, json);
    json_t *again;
    if (text.failed || json_parse(text.bytes, text.count, "again", false, &again, NULL) != OK ||
        !json_equal(json, again))
        abort();
    JsonPull pull;
    json_pull_open(&pull, text.bytes, text.count, "again");
    if (json_pull_skip(&pull, NULL) != OK ? pull.depth < JSON_PULL_DEPTH : json_pull_finish(&pull, NULL) != OK)
        abort();
    json_pull_close(&pull);
    json_decref(again);
    text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *json;
    JsonPull pull;
    json_pull_open(&pull, (const char *)data, size, "fuzz");
    if (json_pull_skip(&pull, NULL) == OK)
        (void)!json_pull_finish(&pull, NULL);
    json_pull_close(&pull);
    if (json_parse((const char *)data, size, "fuzz", (size & 1) != 0, &json, NULL) == OK)
        check_round_trip(json);
    json_decref(json);
    return 0;
}
