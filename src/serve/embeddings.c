/* embeddings.c - POST /v1/embeddings: texts or tokens in, one vector for each. */
#include "serve/vectors.h"

#include "base/base64.h"

#include <string.h>

enum { INPUTS_MOST = 2048 };

typedef struct Embedding {
    Ask ask;
    TextList texts;
    const json_t *input;
    int dimensions; /* wanted; 0 = all */
    bool base64;
    float *vectors;
    int width;
} Embedding;

/* ---- reply ------------------------------------------------------------------------------------------------------- */

static json_t *base64_value(const float *vector, int n) {
    Text text = {0}; /* little-endian, as every machine that this runs on */
    (void)base64_append(&text, vector, (size_t)n * sizeof *vector);
    json_t *value = json_of_text(&text);
    text_free(&text);
    return value;
}

static json_t *vector_value(const Embedding *e, const float *vector) {
    if (e->base64)
        return base64_value(vector, e->width);
    json_t *list = json_array();
    for (int i = 0; i < e->width; i++)
        json_array_append_new(list, json_real((double)vector[i]));
    return list;
}

static Status reply(const Embedding *e, Error *err) {
    ApiCall *call = e->ask.call;
    json_t *data = json_array();
    for (int i = 0; i < e->texts.n; i++)
        json_array_append_new(data, json_pack("{s:s, s:i, s:o}", "object", "embedding", "index", i, "embedding",
                                              vector_value(e, e->vectors + (size_t)i * (size_t)e->width)));
    if (json_array_size(data) != (size_t)e->texts.n) {
        json_decref(data);
        return error_set(err, ERR_MEMORY, "no memory for the vectors");
    }
    const int tokens = (int)e->texts.ids.count;
    return api_reply_json(call, 200,
                          json_pack("{s:s, s:o, s:s, s:{s:i, s:i}}", "object", "list", "data", data, "model", call->model,
                                    "usage", "prompt_tokens", tokens, "total_tokens", tokens),
                          err);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static bool is_several(const json_t *input) {
    return json_is_array(input) && !json_is_integer(json_array_get(input, 0));
}

static Status read_fields(Embedding *e, Error *err) {
    ApiCall *call = e->ask.call;
    Fields f = fields_of(call, call->body);
    const char *format = "float";
    int64_t dimensions = 0;
    (void)field(&f, "model");
    (void)field(&f, "user");
    e->input = field(&f, "input");
    TRY(field_string(&f, "encoding_format", &format, err));
    TRY(field_int(&f, "dimensions", 1, 1 << 20, &dimensions, err));
    TRY(fields_end(&f, err));
    e->base64 = strcmp(format, "base64") == 0;
    if (!e->base64 && strcmp(format, "float") != 0)
        return field_wrong(call, "encoding_format", err, "\"float\" or \"base64\" is expected");
    e->dimensions = (int)dimensions;
    const size_t n = json_array_size(e->input);
    if (!json_is_string(e->input) && (n == 0 || (is_several(e->input) && n > INPUTS_MOST)))
        return field_wrong(call, "input", err, "a text, token ids, or an array of up to %d of these is expected", INPUTS_MOST);
    return OK;
}

static Status embed_all(Embedding *e, Error *err) {
    const ApiCall *call = e->ask.call;
    TRY(read_fields(e, err));
    const bool several = is_several(e->input);
    for (size_t i = 0; i < (several ? json_array_size(e->input) : 1); i++)
        TRY(text_list_add(&e->texts, &e->ask, "input", several ? json_array_get(e->input, i) : e->input,
                          call->cut_inputs, err));
    TRY(embed_texts(&e->ask, &e->texts, e->dimensions, &e->vectors, &e->width, err));
    text_count(&e->ask, (int)e->texts.ids.count);
    return reply(e, err);
}

Status openai_embeddings(ApiCall *call, Error *err) {
    Embedding e = {0};
    Status status = ask_model(call, json_string_value(json_object_get(call->body, "model")), &e.ask, err);
    if (status == OK)
        status = embed_all(&e, err);
    mem_free(e.vectors);
    text_list_free(&e.texts);
    ask_free(&e.ask);
    return status;
}
