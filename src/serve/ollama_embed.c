/* ollama_embed.c - POST /api/embed and /api/embeddings: the work of /v1/embeddings, asked for and told in Ollama's
 * words. */
#include "serve/api.h"

#include "base/clock.h"

#include <string.h>

/* Vectors without their wrapping: all of them, or (the older form) the first. */
static json_t *reshape(const ApiCall *call, json_t *value, bool older) {
    json_t *all = json_array(), *one;
    size_t i;
    json_array_foreach(json_object_get(value, "data"), i, one)
        json_array_append(all, json_object_get(one, "embedding"));
    json_t *out =
        older ? json_pack("{s:O}", "embedding", json_array_get(all, 0))
              : json_pack("{s:s, s:O, s:I, s:I, s:O}", "model", call->model, "embeddings", all, "total_duration",
                          (json_int_t)((clock_us() - call->began_us) * 1000), "load_duration",
                          (json_int_t)(MAX(call->counts.seconds[TIMING_LOAD], 0) * 1e9), "prompt_eval_count",
                          json_object_get(json_object_get(value, "usage"), "prompt_tokens"));
    json_decref(all);
    json_decref(value);
    return out;
}

static json_t *reshape_new(const ApiCall *call, json_t *value) {
    return reshape(call, value, false);
}

static json_t *reshape_older(const ApiCall *call, json_t *value) {
    return reshape(call, value, true);
}

static Status embed_inputs(ApiCall *call, const char *field_name, Error *err) {
    Fields f = fields_of(call, call->body);
    const char *model = NULL;
    const json_t *options = NULL;
    bool truncate = false;
    int64_t dimensions = 0;
    TRY(field_string(&f, "model", &model, err));
    const json_t *input = field(&f, field_name);
    TRY(field_bool(&f, "truncate", &truncate, err));
    TRY(field_int(&f, "dimensions", 0, 1 << 20, &dimensions, err));
    TRY(field_object(&f, "options", &options, err));
    (void)field(&f, "keep_alive");
    TRY(fields_end(&f, err));
    Fields inner = fields_of(call, options);
    fields_ignore(&inner, ollama_machine_options);
    TRY(fields_end(&inner, err));
    if (!json_is_string(input) && !json_is_array(input))
        return field_wrong(call, field_name, err, "a text or an array of texts is expected");
    json_t *inputs = json_is_string(input) ? json_pack("[O]", input) : json_copy((json_t *)(uintptr_t)input);
    json_t *body = json_pack("{s:s*, s:o}", "model", model, "input", inputs);
    FAIL_IF(body == NULL, ERR_MEMORY, "no memory for the inputs");
    call->cut_inputs = truncate;
    if (dimensions > 0)
        json_object_set_new(body, "dimensions", json_integer(dimensions));
    json_decref(call->body);
    call->body = body;
    return openai_embeddings(call, err);
}

Status ollama_embed(ApiCall *call, Error *err) {
    call->reshape = reshape_new;
    return embed_inputs(call, "input", err);
}

Status ollama_embeddings(ApiCall *call, Error *err) {
    call->reshape = reshape_older;
    return embed_inputs(call, "prompt", err);
}
