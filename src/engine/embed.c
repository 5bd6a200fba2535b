/* embed.c - see embed.h. */
#include "engine/embed.h"

#include "base/file.h"
#include "engine/embed_dense.h"
#include "format/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum Pooling { POOLING_MEAN, POOLING_FIRST, POOLING_LAST } Pooling;

/* How rows become a vector. */
typedef struct Recipe {
    Pooling pooling;
    EmbedDense *dense; /* layers behind the pooling; NULL = none */
} Recipe;

struct Embedder {
    TextBatch *batch;
    Recipe recipe;
    int row_width;
    /* of the run that is going on */
    const TextInput *texts;
    float *rows; /* [n, row_width]: sums of rows */
};

/* ---- the recipe -------------------------------------------------------------------------------------------------- */

static Status pooling_of_gguf(const Model *model, Pooling *pooling, Error *err) {
    const ModelFiles *files = model_files(model);
    const MetaValue *arch = model_files_meta_find(files, "general.architecture");
    char key[96];
    int64_t kind = 0;
    if (arch != NULL && arch->type == META_STRING)
        snprintf(key, sizeof key, "%.*s.pooling_type", (int)MIN(arch->as.string.count, 64), arch->as.string.bytes);
    const bool said = arch != NULL && arch->type == META_STRING && meta_int(model_files_meta_find(files, key), &kind) && kind != 0;
    FAIL_IF(!said && model_result(model) == RESULT_LOGITS, ERR_UNSUPPORTED,
            "%s: its file names no pooling: it is no embedding model", model_files_path(files));
    FAIL_IF(said && (kind < 1 || kind > 3), ERR_UNSUPPORTED, "%s: pooling_type %lld gives no vector", model_files_path(files),
            (long long)kind);
    *pooling = kind == 3 ? POOLING_LAST : kind == 2 ? POOLING_FIRST : POOLING_MEAN;
    return OK;
}

/* One mode by its word, or several flags of which exactly one may be set. */
static bool read_pooling(const json_t *config, Pooling *pooling) {
    static const struct { const char *flag, *word; int pooling; } modes[] = {
        {"pooling_mode_mean_tokens", "mean", POOLING_MEAN},
        {"pooling_mode_cls_token", "cls", POOLING_FIRST},
        {"pooling_mode_lasttoken", "lasttoken", POOLING_LAST},
        {"pooling_mode_max_tokens", "max", -1},
        {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", -1},
        {"pooling_mode_weightedmean_tokens", "weightedmean", -1},
    };
    const char *word = json_string_value(json_object_get(config, "pooling_mode"));
    int found = -1, n = 0;
    for (size_t i = 0; i < COUNT(modes); i++)
        if (word != NULL ? strcmp(word, modes[i].word) == 0 : json_is_true(json_object_get(config, modes[i].flag))) {
            found = modes[i].pooling;
            n++;
        }
    *pooling = found >= 0 ? (Pooling)found : POOLING_MEAN;
    return n == 1 && found >= 0;
}

static Status pooling_of_folder(const char *folder, const char *module, Pooling *pooling, Error *err) {
    char *inner = path_join(folder, module);
    char *path = inner != NULL ? path_join(inner, "config.json") : NULL;
    json_t *config = NULL;
    Status status = path == NULL ? error_set(err, ERR_MEMORY, "no memory for a path") : json_read(path, 1 << 20, &config, err);
    if (status == OK && !read_pooling(config, pooling))
        status = error_set(err, ERR_UNSUPPORTED, "%s: the mean of all tokens, the first or the last is known, not this pooling", path);
    json_decref(config);
    mem_free(path);
    mem_free(inner);
    return status;
}

/* modules.json: the network, the pooling, dense layers, and whether vectors are made of length 1. */
static Status read_module(const char *folder, const json_t *module, bool *pooled, Recipe *r, Error *err) {
    const char *type = json_string_value(json_object_get(module, "type")), *path = json_string_value(json_object_get(module, "path"));
    FAIL_IF(type == NULL || path == NULL || strstr(path, "..") != NULL, ERR_FORMAT, "%s: modules.json: a module without type or path", folder);
    if (ends_with(type, ".Transformer") || ends_with(type, ".Normalize"))
        return OK;
    if (ends_with(type, ".Pooling")) {
        *pooled = true;
        return pooling_of_folder(folder, path, &r->pooling, err);
    }
    if (ends_with(type, ".Dense"))
        return embed_dense_add(&r->dense, folder, path, err);
    return error_set(err, ERR_UNSUPPORTED, "%s: modules.json: a module %.64s is not known", folder, type);
}

static Status read_modules(const char *folder, bool *pooled, Recipe *r, Error *err) {
    char *path = path_join(folder, "modules.json");
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    json_t *modules = NULL;
    Status status = file_exists(path) ? json_read(path, 1 << 20, &modules, err) : OK;
    mem_free(path);
    for (size_t i = 0; status == OK && i < json_array_size(modules); i++)
        status = read_module(folder, json_array_get(modules, i), pooled, r, err);
    json_decref(modules);
    return status;
}

static Status recipe_of_folder(const Model *model, const char *folder, Recipe *r, Error *err) {
    bool pooled = false;
    TRY(read_modules(folder, &pooled, r, err));
    if (pooled)
        return OK;
    char *path = path_join(folder, "1_Pooling");
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    const bool there = file_exists(path);
    mem_free(path);
    if (there)
        return pooling_of_folder(folder, "1_Pooling", &r->pooling, err);
    FAIL_IF(model_result(model) == RESULT_LOGITS, ERR_UNSUPPORTED, "%s: its files name no pooling: it is no embedding model", folder);
    return OK;
}

static Status recipe_of(const Model *model, Recipe *r, Error *err) {
    const ModelFiles *files = model_files(model);
    *r = (Recipe){.pooling = POOLING_MEAN};
    FAIL_IF(model_result(model) == RESULT_SCORES, ERR_UNSUPPORTED, "%s: this model scores texts (/v1/rerank), it makes no vectors",
            model_files_path(files));
    if (model_files_kind(files) == CONTAINER_GGUF)
        return pooling_of_gguf(model, &r->pooling, err);
    return recipe_of_folder(model, model_files_folder(files), r, err);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static TextBatchSpec batch_spec(const TextSpec *spec, Pooling pooling) {
    static const TextRows rows[] = {[POOLING_MEAN] = TEXT_ROWS_ALL, [POOLING_FIRST] = TEXT_ROWS_FIRST, [POOLING_LAST] = TEXT_ROWS_LAST};
    return (TextBatchSpec){.text = *spec, .which = rows[pooling], .hidden = true};
}

Status embedder_check(const Model *model, Error *err) {
    Recipe r;
    const Status status = recipe_of(model, &r, err);
    embed_dense_close(r.dense);
    return status;
}

Status embedder_memory(const Model *model, const TextSpec *spec, size_t *bytes, Error *err) {
    Recipe r;
    const Status status = recipe_of(model, &r, err);
    *bytes = embed_dense_bytes(r.dense);
    embed_dense_close(r.dense);
    TRY(status);
    const TextBatchSpec batch = batch_spec(spec, r.pooling);
    size_t more;
    TRY(text_batch_memory(model, &batch, &more, err));
    *bytes += more;
    return OK;
}

Status embedder_open(const Model *model, const TextSpec *spec, Embedder **out, Error *err) {
    *out = NULL;
    Embedder *e = mem_zalloc(sizeof *e, MEM_MISC);
    FAIL_IF(e == NULL, ERR_MEMORY, "no memory for vectors");
    e->row_width = model_graph(model)->width;
    Status status = recipe_of(model, &e->recipe, err);
    if (status == OK) {
        const TextBatchSpec batch = batch_spec(spec, e->recipe.pooling);
        status = text_batch_open(model, &batch, &e->batch, err);
    }
    if (status == OK && e->recipe.dense != NULL && embed_dense_in(e->recipe.dense) != e->row_width)
        status = error_set(err, ERR_FORMAT, "%s: a dense layer takes %d numbers, the model gives %d",
                           model_files_path(model_files(model)), embed_dense_in(e->recipe.dense), e->row_width);
    if (status != OK) {
        embedder_close(e);
        return status;
    }
    *out = e;
    return OK;
}

void embedder_close(Embedder *e) {
    if (e == NULL)
        return;
    text_batch_close(e->batch);
    embed_dense_close(e->recipe.dense);
    mem_free(e);
}

int embedder_width(const Embedder *e) {
    return e->recipe.dense != NULL ? embed_dense_out(e->recipe.dense) : e->row_width;
}

/* ---- vectors ----------------------------------------------------------------------------------------------------- */

static void take_row(void *user, int text, const float *row, int width) {
    Embedder *e = user;
    float *sum = e->rows + (size_t)text * (size_t)width;
    for (int i = 0; i < width; i++)
        sum[i] += row[i];
}

static void finish(const Embedder *e, int n, float *vectors) {
    const size_t width = (size_t)e->row_width;
    for (int t = 0; t < n; t++) {
        float *row = e->rows + (size_t)t * width;
        for (size_t i = 0; e->recipe.pooling == POOLING_MEAN && i < width; i++)
            row[i] /= (float)e->texts[t].n;
        float *vector = vectors + (size_t)t * (size_t)embedder_width(e);
        if (e->recipe.dense != NULL)
            embed_dense_apply(e->recipe.dense, row, vector);
        else
            memcpy(vector, row, width * sizeof *row);
    }
}

Status embedder_run(Embedder *e, const TextInput *texts, int n, float *vectors, bool (*stop)(void *user), void *user, Error *err) {
    const TextSink sink = {.take = take_row, .user = e, .stop = stop, .stop_user = user};
    e->texts = texts;
    e->rows = mem_array((size_t)n * (size_t)e->row_width + 1, sizeof *e->rows, MEM_MISC);
    FAIL_IF(e->rows == NULL, ERR_MEMORY, "no memory for %d vectors", n);
    const Status status = text_batch_run(e->batch, texts, n, &sink, err);
    if (status == OK)
        finish(e, n, vectors);
    mem_free(e->rows);
    e->rows = NULL;
    return status;
}

int embed_unit(float *vector, int width, int dimensions) {
    const int n = dimensions > 0 ? MIN(dimensions, width) : width;
    double squares = 0;
    for (int i = 0; i < n; i++)
        squares += (double)vector[i] * (double)vector[i];
    const double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (int i = 0; i < n; i++)
        vector[i] = (float)((double)vector[i] * scale);
    return n;
}
