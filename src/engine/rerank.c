/* rerank.c - see rerank.h. */
#include "engine/rerank.h"

#include "base/file.h"
#include "text/published.h"

#include <string.h>

struct Reranker {
    const Model *model;
    const Tokenizer *tokenizer;
    const RerankPrompt *prompt; /* NULL: the network scores pairs by itself */
    int32_t yes, no;
    TextBatch *batch;
    /* of the run that is going on */
    float *scores;
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Of the folder: its last parts, which may be those of another program's cache ("models--OWNER--NAME/snapshots/COMMIT"). */
static const RerankPrompt *prompt_of_path(const char *path) {
    const char *from = path + strlen(path);
    for (int parts = 0; from > path && (from[-1] != '/' || ++parts < 3);)
        from--;
    return rerank_prompt(from, strlen(from));
}

/* By the name that the files give themselves: the first lines of README.md, or a GGUF's general.name; else by the folder's. */
static const RerankPrompt *prompt_of(const Model *model) {
    const ModelFiles *files = model_files(model);
    if (model_files_kind(files) == CONTAINER_GGUF) {
        const MetaValue *name = model_files_meta_find(files, "general.name");
        return name != NULL && name->type == META_STRING ? rerank_prompt(name->as.string.bytes, name->as.string.count) : NULL;
    }
    enum { FIRST_LINES = 1024 };
    const char *folder = model_files_folder(files);
    FileMap *map = NULL;
    char *path = path_join(folder, "README.md");
    const bool open = path != NULL && file_exists(path) && file_map_open(path, &map, NULL) == OK;
    mem_free(path);
    const RerankPrompt *prompt =
        open ? rerank_prompt((const char *)file_map_bytes(map), MIN(file_map_size(map), (size_t)FIRST_LINES)) : NULL;
    file_map_close(map);
    return prompt != NULL ? prompt : prompt_of_path(folder);
}

static Status check(const Model *model, const RerankPrompt **prompt, Error *err) {
    const Result result = model_result(model);
    const char *path = model_files_path(model_files(model));
    *prompt = result == RESULT_LOGITS ? prompt_of(model) : NULL;
    FAIL_IF(result == RESULT_HIDDEN || (result == RESULT_LOGITS && *prompt == NULL), ERR_UNSUPPORTED,
            "%s: its files do not make it a model that judges pairs of texts", path);
    FAIL_IF(result == RESULT_SCORES && model_vocab(model) != 1, ERR_UNSUPPORTED,
            "%s: it tells %d labels apart; a model with one score is needed", path, model_vocab(model));
    return OK;
}

static TextBatchSpec batch_spec(const TextSpec *spec, const RerankPrompt *prompt) {
    return (TextBatchSpec){.text = *spec, .which = prompt != NULL ? TEXT_ROWS_LAST : TEXT_ROWS_FIRST};
}

Status reranker_check(const Model *model, Error *err) {
    const RerankPrompt *prompt;
    return check(model, &prompt, err);
}

Status reranker_memory(const Model *model, const TextSpec *spec, size_t *bytes, Error *err) {
    const RerankPrompt *prompt;
    TRY(check(model, &prompt, err));
    const TextBatchSpec batch = batch_spec(spec, prompt);
    return text_batch_memory(model, &batch, bytes, err);
}

static Status find_answers(Reranker *r, Error *err) {
    if (r->prompt == NULL)
        return OK;
    r->yes = tokenizer_find(r->tokenizer, r->prompt->yes, strlen(r->prompt->yes));
    r->no = tokenizer_find(r->tokenizer, r->prompt->no, strlen(r->prompt->no));
    const int vocab = model_vocab(r->model);
    FAIL_IF(r->yes < 0 || r->no < 0 || r->yes >= vocab || r->no >= vocab, ERR_FORMAT, "%s: its vocabulary has no tokens \"%s\" and \"%s\"",
            model_files_path(model_files(r->model)), r->prompt->yes, r->prompt->no);
    return OK;
}

Status reranker_open(const Model *model, const TextSpec *spec, Reranker **out, Error *err) {
    const RerankPrompt *prompt;
    const Tokenizer *tokenizer;
    *out = NULL;
    TRY(check(model, &prompt, err));
    TRY(model_tokenizer(model, &tokenizer, err));
    Reranker *r = mem_zalloc(sizeof *r, MEM_MISC);
    FAIL_IF(r == NULL, ERR_MEMORY, "no memory to judge texts");
    *r = (Reranker){.model = model, .tokenizer = tokenizer, .prompt = prompt};
    const TextBatchSpec batch = batch_spec(spec, prompt);
    Status status = find_answers(r, err);
    if (status == OK)
        status = text_batch_open(model, &batch, &r->batch, err);
    if (status != OK) {
        reranker_close(r);
        return status;
    }
    *out = r;
    return OK;
}

void reranker_close(Reranker *r) {
    if (r == NULL)
        return;
    text_batch_close(r->batch);
    mem_free(r);
}

/* ---- pairs ------------------------------------------------------------------------------------------------------- */

/* The frame has special tokens, what stands in it must not have any. */
static Status encode_prompt(const Reranker *r, const char *instruction, const char *query, size_t query_bytes,
                            const char *document, size_t document_bytes, TokenIds *ids, Error *err) {
    const RerankPrompt *p = r->prompt;
    Text text = {0};
    text_append_str(&text, p->instruction);
    text_append_str(&text, instruction != NULL ? instruction : p->usual);
    text_append_str(&text, p->query);
    text_append(&text, query, query_bytes);
    text_append_str(&text, p->document);
    text_append(&text, document, document_bytes);
    Status status = text_check(&text, err);
    if (status == OK)
        status = tokenizer_encode(r->tokenizer, p->before, strlen(p->before), ENCODE_PARSE_SPECIAL, ids, err);
    if (status == OK)
        status = tokenizer_encode(r->tokenizer, text.bytes, text.count, 0, ids, err);
    if (status == OK)
        status = tokenizer_encode(r->tokenizer, p->after, strlen(p->after), ENCODE_PARSE_SPECIAL, ids, err);
    text_free(&text);
    return status;
}

Status reranker_encode(const Reranker *r, const char *instruction, const char *query, size_t query_bytes, const char *document,
                       size_t document_bytes, TokenIds *ids, size_t *first, Error *err) {
    if (r->prompt == NULL)
        return tokenizer_encode_pair(r->tokenizer, query, query_bytes, document, document_bytes, ids, first, err);
    const size_t before = ids->count;
    TRY(encode_prompt(r, instruction, query, query_bytes, document, document_bytes, ids, err));
    *first = ids->count - before;
    return OK;
}

static void take_row(void *user, int text, const float *row, int width) {
    Reranker *r = user;
    (void)width;
    r->scores[text] = r->prompt != NULL ? row[r->yes] - row[r->no] : row[0];
}

Status reranker_run(Reranker *r, const TextInput *pairs, int n, float *scores, bool (*stop)(void *user), void *user, Error *err) {
    const TextSink sink = {.take = take_row, .user = r, .stop = stop, .stop_user = user};
    r->scores = scores;
    return text_batch_run(r->batch, pairs, n, &sink, err);
}
