/* embeddings.c - POST /v1/embeddings: texts or tokens in, one vector for each.
 *
 * The vector is made of what enters the output matrix: of the last token, the first, or the mean of all, as the model's
 * files say; a model whose files say nothing is no embedding model, and the request is refused. Inputs are computed one
 * after the other in a session of their own, whose memory is taken from the budget for as long as it is there. */
#include "serve/api.h"

#include "base/file.h"
#include "engine/session.h"
#include "format/json.h"

#include <math.h>
#include <string.h>

enum { INPUTS_MOST = 2048, ROWS = 256 };

typedef enum Pooling { POOLING_NONE, POOLING_MEAN, POOLING_FIRST, POOLING_LAST } Pooling;

typedef struct Embedding {
    Ask ask;
    Session *session;
    size_t borrowed;
    Pooling pooling;
    int dimensions; /* wanted; 0 = all */
    bool base64;
    int tokens;
    float *vector;
    int width;
} Embedding;

/* ---- how the model wants it -------------------------------------------------------------------------------------- */

static Pooling pooling_of_gguf(const ModelFiles *files) {
    const MetaValue *arch = model_files_meta_find(files, "general.architecture");
    Text key = {0};
    int64_t kind = 0;
    if (arch == NULL || arch->type != META_STRING)
        return POOLING_NONE;
    text_append(&key, arch->as.string.bytes, arch->as.string.count);
    text_append_str(&key, ".pooling_type");
    const bool found = !key.failed && meta_int(model_files_meta_find(files, key.bytes), &kind);
    text_free(&key);
    return !found      ? POOLING_NONE
           : kind == 1 ? POOLING_MEAN
           : kind == 2 ? POOLING_FIRST
           : kind == 3 ? POOLING_LAST
                       : POOLING_NONE;
}

/* The file that sentence-transformers writes beside such models. */
static Pooling pooling_of_folder(const char *folder) {
    char *path = path_join(folder, "1_Pooling/config.json");
    json_t *config = NULL;
    Pooling pooling = POOLING_NONE;
    if (path != NULL && file_exists(path) && json_read(path, 1 << 20, &config, NULL) == OK)
        pooling = json_is_true(json_object_get(config, "pooling_mode_lasttoken"))     ? POOLING_LAST
                  : json_is_true(json_object_get(config, "pooling_mode_mean_tokens")) ? POOLING_MEAN
                  : json_is_true(json_object_get(config, "pooling_mode_cls_token"))   ? POOLING_FIRST
                                                                                      : POOLING_NONE;
    json_decref(config);
    mem_free(path);
    return pooling;
}

static Status find_pooling(Embedding *e, Error *err) {
    const ModelFiles *files = model_files(e->ask.model);
    const char *folder = model_files_folder(files);
    e->pooling = folder != NULL ? pooling_of_folder(folder) : pooling_of_gguf(files);
    if (e->pooling == POOLING_NONE)
        return field_wrong(e->ask.call, "model", err, "its files name no pooling: it is no embedding model");
    return OK;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

static Status open_session(Embedding *e, int context, Error *err) {
    const SessionSpec spec = {.precision = PRECISION_FAST,
                              .cache_type = CACHE_F16,
                              .context = context,
                              .sequences = 1,
                              .max_rows = ROWS,
                              .max_wanted = e->pooling == POOLING_MEAN ? ROWS : 1,
                              .keep_hidden = true,
                              .pool = e->ask.call->server->spec.registry.pool};
    MemoryPlan plan;
    TRY(session_memory(e->ask.model, spec, &plan, err));
    TRY(registry_borrow(e->ask.call->server->registry, plan.cache + plan.scratch, err));
    e->borrowed = plan.cache + plan.scratch;
    return session_open(e->ask.model, spec, &e->session, err);
}

static Status add_row(Embedding *e, int row, Error *err) {
    int width;
    const float *hidden = program_last_hidden(session_program(e->session), row, &width);
    FAIL_IF(hidden == NULL, ERR_UNSUPPORTED, "this model gives no vectors");
    if (e->vector == NULL) {
        e->vector = mem_array((size_t)width, sizeof *e->vector, MEM_NETWORK);
        FAIL_IF(e->vector == NULL, ERR_MEMORY, "no memory for a vector");
        e->width = width;
    }
    for (int i = 0; i < width; i++)
        e->vector[i] += hidden[i];
    return OK;
}

/* Cancelled when the server stops, between steps. */
static Status compute(Embedding *e, const int32_t *tokens, int n, Error *err) {
    Sequence *sequence = session_sequence(e->session, 0);
    int32_t wanted[ROWS];
    sequence_cut(sequence, 0);
    if (e->vector != NULL)
        memset(e->vector, 0, (size_t)e->width * sizeof *e->vector);
    for (int at = 0; at < n; at += ROWS) {
        const int rows = MIN(ROWS, n - at);
        const bool last = at + rows == n;
        int n_wanted = 0;
        for (int i = 0; i < rows; i++)
            if (e->pooling == POOLING_MEAN || (e->pooling == POOLING_FIRST && at + i == 0) ||
                (e->pooling == POOLING_LAST && last && i == rows - 1))
                wanted[n_wanted++] = i;
        const Run run = {.sequence = sequence, .row0 = 0, .n_row = rows};
        const Batch batch = {
            .n_row = rows, .tokens = tokens + at, .n_run = 1, .runs = &run, .n_wanted = n_wanted, .wanted = wanted};
        FAIL_IF(atomic_load(&e->ask.call->server->cancelling), ERR_CANCELLED, "the server is being stopped");
        TRY(session_step(e->session, &batch, err));
        for (int i = 0; i < n_wanted; i++)
            TRY(add_row(e, i, err));
    }
    return OK;
}

/* Cut to the wanted dimensions, then to unit length: the mean's divisor does not matter. */
static int finish_vector(Embedding *e) {
    const int n = e->dimensions > 0 ? MIN(e->dimensions, e->width) : e->width;
    double squares = 0;
    for (int i = 0; i < n; i++)
        squares += (double)e->vector[i] * e->vector[i];
    const double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (int i = 0; i < n; i++)
        e->vector[i] = (float)(e->vector[i] * scale);
    return n;
}

/* ---- fields and reply -------------------------------------------------------------------------------------------- */

static json_t *base64_value(const float *vector, int n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = (const unsigned char *)vector; /* little-endian, as every machine that this runs on */
    const size_t count = (size_t)n * sizeof *vector;
    Text text = {0};
    for (size_t i = 0; i < count; i += 3) {
        const unsigned b1 = i + 1 < count ? bytes[i + 1] : 0, b2 = i + 2 < count ? bytes[i + 2] : 0;
        const unsigned word = (unsigned)bytes[i] << 16 | b1 << 8 | b2;
        text_append_char(&text, digits[word >> 18]);
        text_append_char(&text, digits[word >> 12 & 63]);
        text_append_char(&text, i + 1 < count ? digits[word >> 6 & 63] : '=');
        text_append_char(&text, i + 2 < count ? digits[word & 63] : '=');
    }
    json_t *value = text.failed ? NULL : json_stringn(text.bytes, text.count);
    text_free(&text);
    return value;
}

static json_t *vector_value(const Embedding *e, int n) {
    if (e->base64)
        return base64_value(e->vector, n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_real((double)e->vector[i]));
    return list;
}

static Status tokens_of(Embedding *e, const json_t *input, Error *err) {
    Ask *ask = &e->ask;
    size_t i;
    json_t *id;
    ask->prompt.count = 0;
    if (json_is_string(input))
        TRY(tokenizer_encode(ask->tokenizer, json_string_value(input), json_string_length(input), ENCODE_ADD_SPECIAL,
                             &ask->prompt, err));
    json_array_foreach ((json_t *)(uintptr_t)input, i, id) {
        const int64_t number = json_is_integer(id) ? json_integer_value(id) : -1;
        if (number < 0 || number >= model_vocab(ask->model))
            return field_wrong(ask->call, "input", err, "token %zu is not of this model's vocabulary", i);
        FAIL_IF(!token_ids_append(&ask->prompt, (int32_t)number), ERR_MEMORY, "no memory for the input");
    }
    if (ask->prompt.count == 0)
        return field_wrong(ask->call, "input", err, "it is empty");
    if (ask->prompt.count > (size_t)served_context(ask->served)) {
        ask->call->code = "context_length_exceeded";
        return field_wrong(ask->call, "input", err, "%zu tokens; the context has %d", ask->prompt.count,
                           served_context(ask->served));
    }
    return OK;
}

static Status read_fields(Embedding *e, const json_t **inputs, Error *err) {
    ApiCall *call = e->ask.call;
    Fields f = fields_of(call, call->body);
    const char *format = "float";
    int64_t dimensions = 0;
    (void)field(&f, "model");
    (void)field(&f, "user");
    const json_t *input = field(&f, "input");
    TRY(field_string(&f, "encoding_format", &format, err));
    TRY(field_int(&f, "dimensions", 1, 1 << 20, &dimensions, err));
    TRY(fields_end(&f, err));
    e->base64 = strcmp(format, "base64") == 0;
    if (!e->base64 && strcmp(format, "float") != 0)
        return field_wrong(call, "encoding_format", err, "\"float\" or \"base64\" is expected");
    e->dimensions = (int)dimensions;
    const bool several = json_is_array(input) && !json_is_integer(json_array_get(input, 0));
    if (!json_is_string(input) && (json_array_size(input) == 0 || json_array_size(input) > INPUTS_MOST))
        return field_wrong(call, "input", err, "a text, token ids, or an array of up to %d of these is expected",
                           INPUTS_MOST);
    for (size_t i = 0; several && i < json_array_size(input); i++)
        if (!json_is_string(json_array_get(input, i)) && !json_is_array(json_array_get(input, i)))
            return field_wrong(call, "input", err, "input %zu is neither a text nor token ids", i);
    *inputs = several ? input : NULL;
    return OK;
}

static Status embed_all(Embedding *e, Error *err) {
    ApiCall *call = e->ask.call;
    const json_t *inputs = NULL;
    TRY(read_fields(e, &inputs, err));
    TRY(find_pooling(e, err));
    TRY(open_session(e, served_context(e->ask.served), err));
    json_t *data = json_array();
    const size_t n = inputs != NULL ? json_array_size(inputs) : 1;
    Status status = OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        status = tokens_of(e, inputs != NULL ? json_array_get(inputs, i) : json_object_get(call->body, "input"), err);
        if (status == OK)
            status = compute(e, e->ask.prompt.ids, (int)e->ask.prompt.count, err);
        if (status != OK)
            break;
        e->tokens += (int)e->ask.prompt.count;
        const int width = finish_vector(e);
        json_array_append_new(data, json_pack("{s:s, s:I, s:o}", "object", "embedding", "index", (json_int_t)i,
                                              "embedding", vector_value(e, width)));
    }
    if (status == OK && json_array_size(data) != n)
        status = error_set(err, ERR_MEMORY, "no memory for the vectors");
    if (status != OK) {
        json_decref(data);
        return status;
    }
    return api_reply_json(call, 200,
                          json_pack("{s:s, s:o, s:s, s:{s:i, s:i}}", "object", "list", "data", data, "model",
                                    call->model, "usage", "prompt_tokens", e->tokens, "total_tokens", e->tokens),
                          err);
}

Status openai_embeddings(ApiCall *call, Error *err) {
    Embedding e = {0};
    Status status = ask_model(call, json_string_value(json_object_get(call->body, "model")), &e.ask, err);
    if (status == OK)
        status = embed_all(&e, err);
    session_close(e.session);
    registry_give_back(call->server->registry, e.borrowed);
    mem_free(e.vector);
    ask_free(&e.ask);
    return status;
}
