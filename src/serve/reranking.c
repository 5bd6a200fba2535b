/* reranking.c - POST /rerank and /v1/rerank: how well documents answer a query, the best first; in the shape that Jina's and
 * Cohere's clients know, or (with "texts") in that of text-embeddings-inference. */
#include "serve/vectors.h"

#include "engine/rerank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENTS_MOST = 2048 };

typedef struct Ranked { int index; float score; } Ranked;

typedef struct Reranking {
    Ask ask;
    TextList pairs;
    const char *query, *instruction;
    const json_t *documents;
    bool plain;  /* an array of scores is the whole reply */
    bool raw;    /* scores as the model gives them, instead of between 0 and 1 */
    bool with_documents;
    int top_n;
    Reranker *reranker;
    float *scores;
    Ranked *ranked;
} Reranking;

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static Status read_fields(Reranking *r, Error *err) {
    static const char *const ignored[] = {"user", "max_chunks_per_doc", "max_tokens_per_doc", "rank_fields", "truncate", NULL};
    ApiCall *call = r->ask.call;
    Fields f = fields_of(call, call->body);
    const json_t *texts = NULL;
    int64_t top_n = DOCUMENTS_MOST;
    (void)field(&f, "model");
    TRY(field_string(&f, "query", &r->query, err));
    TRY(field_string(&f, "instruction", &r->instruction, err));
    TRY(field_array(&f, "documents", &r->documents, err));
    TRY(field_array(&f, "texts", &texts, err));
    TRY(field_int(&f, "top_n", 1, 1 << 30, &top_n, err));
    TRY(field_bool(&f, "return_documents", &r->with_documents, err));
    TRY(field_bool(&f, "return_text", &r->with_documents, err));
    TRY(field_bool(&f, "raw_scores", &r->raw, err));
    fields_ignore(&f, ignored);
    TRY(fields_end(&f, err));
    r->plain = r->documents == NULL && texts != NULL;
    r->documents = r->plain ? texts : r->documents;
    const size_t n = json_array_size(r->documents);
    if (r->query == NULL || r->query[0] == '\0')
        return field_wrong(call, "query", err, "a text is expected");
    if (n == 0 || n > DOCUMENTS_MOST)
        return field_wrong(call, r->plain ? "texts" : "documents", err, "an array of 1 to %d texts is expected", DOCUMENTS_MOST);
    r->top_n = (int)MIN((size_t)top_n, n);
    return OK;
}

/* A text, or an object with it. */
static const json_t *text_of(const json_t *document) {
    return json_is_object(document) ? json_object_get(document, "text") : document;
}

static Status add_pairs(Reranking *r, Error *err) {
    const json_t *query = json_object_get(r->ask.call->body, "query");
    for (size_t i = 0; i < json_array_size(r->documents); i++) {
        const json_t *text = text_of(json_array_get(r->documents, i));
        size_t first;
        if (!json_is_string(text))
            return field_wrong(r->ask.call, "documents", err, "document %zu is no text, nor an object with a \"text\"", i);
        TRY(reranker_encode(r->reranker, r->instruction, json_string_value(query), json_string_length(query),
                            json_string_value(text), json_string_length(text), &r->pairs.ids, &first, err));
        TRY(text_list_end(&r->pairs, &r->ask, "documents", first, false, err));
    }
    return text_list_inputs(&r->pairs, err);
}

/* ---- reply ------------------------------------------------------------------------------------------------------- */

static int by_score(const void *a, const void *b) {
    const Ranked *x = a, *y = b;
    return x->score > y->score ? -1 : x->score < y->score ? 1 : x->index - y->index;
}

static json_t *result_value(const Reranking *r, const Ranked *ranked) {
    json_t *document = (json_t *)(uintptr_t)text_of(json_array_get(r->documents, (size_t)ranked->index));
    const double score = r->raw ? (double)ranked->score : 1 / (1 + exp(-(double)ranked->score));
    json_t *value = json_pack("{s:i, s:f}", "index", ranked->index, r->plain ? "score" : "relevance_score", score);
    if (r->with_documents && r->plain)
        json_object_set(value, "text", document);
    else if (r->with_documents)
        json_object_set_new(value, "document", json_pack("{s:O}", "text", document));
    return value;
}

static Status reply(Reranking *r, Error *err) {
    ApiCall *call = r->ask.call;
    const int tokens = (int)r->pairs.ids.count;
    json_t *results = json_array();
    for (int i = 0; i < r->top_n; i++)
        json_array_append_new(results, result_value(r, &r->ranked[i]));
    if (json_array_size(results) != (size_t)r->top_n) {
        json_decref(results);
        return error_set(err, ERR_MEMORY, "no memory for the scores");
    }
    text_count(&r->ask, tokens);
    if (r->plain)
        return api_reply_json(call, 200, results, err);
    return api_reply_json(call, 200,
                          json_pack("{s:s, s:s, s:o, s:{s:i, s:i}}", "object", "list", "model", call->model, "results", results,
                                    "usage", "prompt_tokens", tokens, "total_tokens", tokens),
                          err);
}

static Status score_all(Reranking *r, Error *err) {
    TRY(add_pairs(r, err));
    r->scores = mem_array((size_t)r->pairs.n, sizeof *r->scores, MEM_NETWORK);
    r->ranked = mem_array((size_t)r->pairs.n, sizeof *r->ranked, MEM_NETWORK);
    FAIL_IF(r->scores == NULL || r->ranked == NULL, ERR_MEMORY, "no memory for the scores");
    TRY(reranker_run(r->reranker, r->pairs.inputs, r->pairs.n, r->scores, text_work_stops, &r->ask, err));
    for (int i = 0; i < r->pairs.n; i++)
        r->ranked[i] = (Ranked){.index = i, .score = r->scores[i]};
    qsort(r->ranked, (size_t)r->pairs.n, sizeof *r->ranked, by_score);
    return reply(r, err);
}

static Status rerank(Reranking *r, Error *err) {
    Registry *registry = r->ask.call->server->registry;
    const TextSpec spec = text_spec_of(&r->ask);
    size_t bytes = 0;
    Error why = {0};
    TRY(read_fields(r, err));
    const Status kind = reranker_memory(r->ask.model, &spec, &bytes, &why);
    if (kind == ERR_UNSUPPORTED)
        return field_wrong(r->ask.call, "model", err, "%s", why.text);
    FAIL_IF(kind != OK, kind, "%s", why.text);
    TRY(registry_borrow(registry, bytes, err));
    Status status = reranker_open(r->ask.model, &spec, &r->reranker, err);
    if (status == OK)
        status = score_all(r, err);
    reranker_close(r->reranker);
    registry_give_back(registry, bytes);
    return status;
}

Status openai_rerank(ApiCall *call, Error *err) {
    Reranking r = {0};
    Status status = ask_only_model(call, &r.ask, err);
    if (status == OK)
        status = rerank(&r, err);
    mem_free(r.scores);
    mem_free(r.ranked);
    text_list_free(&r.pairs);
    ask_free(&r.ask);
    return status;
}
