/* vectors.c - see vectors.h. */
#include "serve/vectors.h"

#include "base/clock.h"
#include "engine/embed.h"

#include <string.h>

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static Status check_count(Ask *ask, const char *name, size_t count, Error *err) {
    const size_t most = (size_t)served_context(ask->served);
    if (count == 0)
        return field_wrong(ask->call, name, err, "it is empty");
    if (count > most) {
        ask->call->code = "context_length_exceeded";
        return field_wrong(ask->call, name, err, "%zu tokens; the context has %zu", count, most);
    }
    return OK;
}

Status text_list_end(TextList *list, Ask *ask, const char *name, size_t first, bool truncate, Error *err) {
    size_t before = 0, most = (size_t)served_context(ask->served);
    for (int i = 0; i < list->n; i++)
        before += (size_t)list->counts[i];
    if (truncate && list->ids.count - before > most) {
        list->ids.ids[before + most - 1] = list->ids.ids[list->ids.count - 1];
        list->ids.count = before + most;
    }
    const size_t count = list->ids.count - before;
    TRY(check_count(ask, name, count, err));
    FAIL_IF(!mem_grow((void **)&list->counts, &list->capacity, (size_t)list->n + 1, sizeof *list->counts, MEM_NETWORK) ||
                !mem_grow((void **)&list->segments, &list->segment_capacity, list->ids.count, 1, MEM_NETWORK),
            ERR_MEMORY, "no memory for the texts");
    for (size_t i = 0; i < count; i++)
        list->segments[before + i] = i >= first;
    list->counts[list->n++] = (int)count;
    return OK;
}

Status text_list_add(TextList *list, Ask *ask, const char *name, const json_t *value, bool truncate, Error *err) {
    if (json_is_string(value))
        TRY(tokenizer_encode(ask->tokenizer, json_string_value(value), json_string_length(value), ENCODE_ADD_SPECIAL, &list->ids,
                             err));
    else if (json_is_array(value))
        TRY(ask_token_ids(ask, name, value, model_graph(ask->model)->vocab_rows, &list->ids, err));
    else
        return field_wrong(ask->call, name, err, "a text or an array of token ids is expected");
    return text_list_end(list, ask, name, SIZE_MAX, truncate, err);
}

Status text_list_inputs(TextList *list, Error *err) {
    size_t at = 0;
    mem_free(list->inputs);
    list->inputs = mem_array((size_t)list->n + 1, sizeof *list->inputs, MEM_NETWORK);
    FAIL_IF(list->inputs == NULL, ERR_MEMORY, "no memory for the texts");
    for (int i = 0; i < list->n; i++) {
        list->inputs[i] = (TextInput){.tokens = list->ids.ids + at, .segments = list->segments + at, .n = list->counts[i]};
        at += (size_t)list->counts[i];
    }
    return OK;
}

void text_list_free(TextList *list) {
    token_ids_free(&list->ids);
    mem_free(list->segments);
    mem_free(list->counts);
    mem_free(list->inputs);
    *list = (TextList){0};
}

TextSpec text_spec_of(const Ask *ask) {
    const ModelSettings *wish = served_settings(ask->served);
    return (TextSpec){.precision = wish->precision_given ? wish->precision : PRECISION_FAST,
                      .cache_type = wish->cache_type_given ? wish->cache_type : CACHE_F16,
                      .context = served_context(ask->served),
                      .pool = ask->call->server->spec.registry.pool};
}

bool text_work_stops(void *user) {
    const Ask *ask = user;
    return atomic_load(&ask->call->server->cancelling);
}

void text_count(Ask *ask, int tokens) {
    ApiCall *call = ask->call;
    AnswerCounts *c = &call->counts;
    c->prompt = tokens;
    c->finish = "stop";
    c->seconds[TIMING_QUEUE] = c->seconds[TIMING_FIRST_TOKEN] = c->seconds[TIMING_BETWEEN] = -1;
    c->seconds[TIMING_WHOLE] = (double)(clock_us() - call->began_us) * 1e-6;
    call->counted = true;
    metrics_add_answer(call->server->metrics, call->model, c);
    keys_charge(call->server->keys, &call->caller, tokens);
}

/* ---- vectors ----------------------------------------------------------------------------------------------------- */

static Status run(Ask *ask, Embedder *embedder, TextList *list, int dimensions, float **vectors, int *width, Error *err) {
    const int whole = embedder_width(embedder);
    if (dimensions > whole)
        return field_wrong(ask->call, "dimensions", err, "the model's vectors have %d", whole);
    *vectors = mem_array((size_t)list->n * (size_t)whole, sizeof **vectors, MEM_NETWORK);
    FAIL_IF(*vectors == NULL, ERR_MEMORY, "no memory for %d vectors", list->n);
    TRY(embedder_run(embedder, list->inputs, list->n, *vectors, text_work_stops, ask, err));
    *width = dimensions > 0 ? dimensions : whole;
    for (int i = 0; i < list->n; i++) { /* closed up: cutting leaves gaps */
        float *vector = *vectors + (size_t)i * (size_t)whole;
        embed_unit(vector, whole, dimensions);
        memmove(*vectors + (size_t)i * (size_t)*width, vector, (size_t)*width * sizeof *vector);
    }
    return OK;
}

Status embed_texts(Ask *ask, TextList *list, int dimensions, float **vectors, int *width, Error *err) {
    Registry *registry = ask->call->server->registry;
    const TextSpec spec = text_spec_of(ask);
    size_t bytes = 0;
    Embedder *embedder = NULL;
    Error why = {0};
    *vectors = NULL;
    const Status kind = embedder_memory(ask->model, &spec, &bytes, &why);
    if (kind == ERR_UNSUPPORTED)
        return field_wrong(ask->call, "model", err, "%s", why.text);
    FAIL_IF(kind != OK, kind, "%s", why.text);
    TRY(text_list_inputs(list, err));
    TRY(registry_borrow(registry, bytes, err));
    Status status = embedder_open(ask->model, &spec, &embedder, err);
    if (status == OK)
        status = run(ask, embedder, list, dimensions, vectors, width, err);
    embedder_close(embedder);
    registry_give_back(registry, bytes);
    if (status != OK) {
        mem_free(*vectors);
        *vectors = NULL;
    }
    return status;
}
