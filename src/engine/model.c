/* model.c - see model.h. */
#include "engine/model.h"

#include "format/gguf_names.h"
#include "graph/cfg_parts.h"
#include "graph/describe.h"
#include "text/reply.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { MAX_END_TOKENS = 16 };

/* What is loaded when it is first wanted. */
typedef struct ModelTexts {
    pthread_mutex_t lock;
    _Atomic(Tokenizer *) tokenizer;
    ChatTemplate *chat;
} ModelTexts;

struct Model {
    const ModelFiles *files;
    ModelFiles *own_files; /* to be closed with the model, or NULL */
    json_t *config;
    Cfg *cfg;
    const Family *family;
    Graph *graph;
    Weights *weights;
    int end_tokens[MAX_END_TOKENS];
    int n_end;
    SampleSpec sampling;
    char *unread;
    ModelTexts *texts;
};

static void add_end(Model *m, int64_t id) {
    for (int i = 0; i < m->n_end; i++)
        if (m->end_tokens[i] == id)
            return;
    if (id >= 0 && id < model_vocab(m) && m->n_end < MAX_END_TOKENS)
        m->end_tokens[m->n_end++] = (int)id;
}

static void add_ends(Model *m, const json_t *value) {
    if (json_is_integer(value))
        add_end(m, json_integer_value(value));
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++)
        add_ends(m, json_array_get(value, i));
}

/* A recommended value, where there is one that can be meant. */
static void recommend(float *value, double recommended) {
    if (recommended >= 0 && recommended <= 1e6)
        *value = (float)recommended;
}

static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : -1;
}

static void read_generation(Model *m) {
    SampleSpec *s = &m->sampling;
    *s = sample_defaults();
    if (model_files_kind(m->files) == CONTAINER_GGUF) {
        static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                           "tokenizer.ggml.eom_token_id"};
        for (size_t i = 0; i < COUNT(keys); i++) {
            const MetaValue *v = model_files_meta_find(m->files, keys[i]);
            if (v != NULL && v->type != META_ARRAY && v->type != META_STRING)
                add_end(m, v->as.integer);
        }
        const struct { const char *key; float *value; } reals[] = {
            {"general.sampling.temp", &s->temperature},
            {"general.sampling.top_p", &s->top_p},
            {"general.sampling.min_p", &s->min_p},
        };
        for (size_t i = 0; i < COUNT(reals); i++) {
            const MetaValue *v = model_files_meta_find(m->files, reals[i].key);
            if (v != NULL && (v->type == META_F32 || v->type == META_F64))
                recommend(reals[i].value, v->as.real);
        }
        const MetaValue *k = model_files_meta_find(m->files, "general.sampling.top_k");
        if (k != NULL && (k->type == META_I32 || k->type == META_U32))
            s->top_k = (int)MAX(MIN(k->as.integer, 1 << 20), 0);
        return;
    }
    const json_t *generation = model_files_generation_config(m->files);
    add_ends(m, json_object_get(generation, "eos_token_id"));
    if (m->n_end == 0) {
        const json_t *text = json_object_get(m->config, "text_config");
        add_ends(m, json_object_get(m->config, "eos_token_id"));
        add_ends(m, json_object_get(text, "eos_token_id"));
    }
    if (!json_is_false(json_object_get(generation, "do_sample")))
        recommend(&s->temperature, number_of(generation, "temperature"));
    recommend(&s->top_p, number_of(generation, "top_p"));
    recommend(&s->min_p, number_of(generation, "min_p"));
    if (number_of(generation, "repetition_penalty") > 0)
        recommend(&s->repeat_penalty, number_of(generation, "repetition_penalty"));
    const double top_k = number_of(generation, "top_k");
    if (top_k >= 0)
        s->top_k = (int)MIN(top_k, 1 << 20);
}

/* Says what is missing: the description, and perhaps an operation that no family has yet. */
static Status unknown_family(const Model *m, Error *err) {
    Error why = {0};
    const char *name = cfg_model_type(m->cfg)[0] != '\0' ? cfg_model_type(m->cfg) : cfg_outer_type(m->cfg);
    const bool mixers = cfg_kinds(m->cfg, false, &why) == OK;
    return error_set(err, ERR_UNSUPPORTED, "%s: the family '%s' is not known%s%s; 'houle inspect --families' lists those that run",
                     model_files_path(m->files), name, mixers ? "" : ", and ", mixers ? "" : why.text);
}

static Status describe(Model *m, const bool *layers, int n_layers, Error *err) {
    const char *path = model_files_path(m->files);
    char arch[64];
    const bool gguf = model_files_kind(m->files) == CONTAINER_GGUF;
    if (gguf) {
        TRY(gguf_config(m->files, &m->config, err));
    } else {
        FAIL_IF(model_files_config(m->files) == NULL, ERR_NOT_FOUND,
                "%s: there is no config.json, so the kind of model is not known", path);
        m->config = json_incref((json_t *)model_files_config(m->files));
    }
    TRY(cfg_open(m->config, gguf, &m->cfg, err));
    m->family = family_find(cfg_model_type(m->cfg), cfg_outer_type(m->cfg));
    if (m->family == NULL)
        return unknown_family(m, err);
    Binder binder = {.files = m->files, .arch = gguf_architecture(m->files, arch) ? arch : NULL};
    const bool has_tensors = model_files_tensors(m->files) > 0;
    const GraphHints hints = {.has_tensor = has_tensors ? binder_has_tensor : NULL, .user = &binder, .layers = layers,
                              .n_layers = n_layers};
    TRY(graph_build(m->family, m->cfg, &hints, &m->graph, err));
    m->graph->hints = (GraphHints){0}; /* they end here */
    Text unread = {0};
    const Status listed = cfg_unread(m->cfg, &unread, err);
    m->unread = text_take(&unread);
    TRY(listed);
    FAIL_IF(m->unread == NULL, ERR_MEMORY, "no memory for the model");
    read_generation(m);
    return OK;
}

/* How a model is opened. */
typedef struct Opening {
    bool weights;        /* bind them */
    const MadeKind *made; /* make them up first, in so much memory */
    size_t memory_bytes;
    const bool *layers;  /* as in GraphHints */
    int n_layers;
} Opening;

static Status open_weights(Model *m, ModelFiles *own, const Opening *how, Error *err) {
    if (how->made != NULL) {
        TRY(made_weights_add(m->graph, how->made, own, err));
        TRY(how->memory_bytes > 0 ? made_weights_fill(own, how->memory_bytes, err) : made_files_give_addresses(own, err));
    }
    return weights_open(m->graph, m->files, &m->weights, err);
}

static Status open_parts(const ModelFiles *files, ModelFiles *own, const Opening *how, Model **out, Error *err) {
    *out = NULL;
    Model *m = mem_zalloc(sizeof *m, MEM_MISC);
    if (m == NULL) {
        model_files_close(own);
        return error_set(err, ERR_MEMORY, "no memory for the model");
    }
    m->files = files;
    m->own_files = own;
    m->texts = mem_zalloc(sizeof *m->texts, MEM_TEXT);
    if (m->texts != NULL)
        pthread_mutex_init(&m->texts->lock, NULL);
    Status status = m->texts == NULL ? error_set(err, ERR_MEMORY, "no memory for the model")
                                     : describe(m, how->layers, how->n_layers, err);
    if (status == OK && how->weights)
        status = open_weights(m, own, how, err);
    if (status != OK) {
        if (strstr(err != NULL ? err->text : "", model_files_path(files)) == NULL)
            error_context(err, "%s", model_files_path(files));
        model_close(m);
        return status;
    }
    *out = m;
    return OK;
}

Status model_open_files(ModelFiles *files, Model **out, Error *err) {
    return open_parts(files, files, &(Opening){.weights = true}, out, err);
}

Status model_bind(const ModelFiles *files, Model **out, Error *err) {
    return open_parts(files, NULL, &(Opening){.weights = true}, out, err);
}

Status model_describe(const ModelFiles *files, Model **out, Error *err) {
    return open_parts(files, NULL, &(Opening){0}, out, err);
}

Status model_open_made(ModelFiles *files, const MadeSpec *spec, Model **out, Error *err) {
    const Opening how = {.weights = true, .made = spec->kind, .memory_bytes = spec->memory_bytes, .layers = spec->layers,
                         .n_layers = spec->n_layers};
    return open_parts(files, files, &how, out, err);
}

Status model_open(const char *path, Model **out, Error *err) {
    *out = NULL;
    ModelFiles *files;
    TRY(model_files_open(path, &files, err));
    return model_open_files(files, out, err);
}

Status model_fit(Model *m, uint64_t bytes, Error *err) {
    const uint64_t copied = weights_copied_bytes(m->weights);
    return copied + weights_mapped_bytes(m->weights) <= bytes ? OK : model_stream(m, (size_t)(bytes - MIN(bytes, copied)), err);
}

Status model_stream(Model *m, size_t bytes, Error *err) {
    return weights_stream(m->weights, bytes, err);
}

void model_close(Model *m) {
    if (m == NULL)
        return;
    weights_close(m->weights);
    graph_free(m->graph);
    cfg_close(m->cfg);
    json_decref(m->config);
    model_files_close(m->own_files);
    mem_free(m->unread);
    if (m->texts != NULL) {
        tokenizer_close(m->texts->tokenizer);
        chat_template_close(m->texts->chat);
        pthread_mutex_destroy(&m->texts->lock);
        mem_free(m->texts);
    }
    mem_free(m);
}

const ModelFiles *model_files(const Model *m) { return m->files; }
const Cfg *model_cfg(const Model *m) { return m->cfg; }
const Family *model_family(const Model *m) { return m->family; }
const Graph *model_graph(const Model *m) { return m->graph; }
const Weights *model_weights(const Model *m) { return m->weights; }
int model_vocab(const Model *m) { return m->graph->vocab; }
uint64_t model_parameters(const Model *m) { return graph_parameters(m->graph).total; }
SampleSpec model_sampling(const Model *m) { return m->sampling; }
const char *model_unread_keys(const Model *m) { return m->unread; }

Result model_result(const Model *m) { return m->graph->result; }

Status model_must_write(const Model *m, Error *err) {
    FAIL_IF(m->graph->result != RESULT_LOGITS, ERR_UNSUPPORTED, "%s: this model reads texts and writes none: %s",
            model_files_path(m->files),
            m->graph->result == RESULT_SCORES ? "it scores them (/v1/rerank)" : "it makes vectors of them (houle embed, /v1/embeddings)");
    return OK;
}

int model_context(const Model *m) {
    const int declared = cfg_int(m->cfg, "max_position_embeddings", 0);
    return m->graph->places > 0 ? m->graph->places : declared;
}

const int *model_end_tokens(const Model *m, int *count) {
    *count = m->n_end;
    return m->end_tokens;
}

bool model_ends_at(const Model *m, int32_t token) {
    for (int i = 0; i < m->n_end; i++)
        if (m->end_tokens[i] == token)
            return true;
    const Tokenizer *tokenizer = atomic_load(&m->texts->tokenizer);
    return tokenizer != NULL && tokenizer_ends(tokenizer, token);
}

Status model_tokenizer(const Model *m, const Tokenizer **tokenizer, Error *err) {
    ModelTexts *texts = m->texts;
    pthread_mutex_lock(&texts->lock);
    Tokenizer *loaded = atomic_load(&texts->tokenizer);
    const Status status = loaded != NULL ? OK : tokenizer_open_model(m->files, &loaded, err);
    if (status == OK)
        atomic_store(&texts->tokenizer, loaded);
    pthread_mutex_unlock(&texts->lock);
    *tokenizer = status == OK ? loaded : NULL;
    return status;
}

Status model_chat(const Model *m, const ChatTemplate **chat, Error *err) {
    ModelTexts *texts = m->texts;
    pthread_mutex_lock(&texts->lock);
    const Status status = texts->chat != NULL ? OK : chat_template_open(m->files, &texts->chat, err);
    *chat = status == OK ? texts->chat : NULL;
    pthread_mutex_unlock(&texts->lock);
    return status;
}

const char *model_reply_format(const Model *m, const ChatRequest *request) {
    const ChatTemplate *chat;
    const char *text = model_chat(m, &chat, NULL) == OK ? chat_template_text(chat, request, NULL) : NULL;
    const char *format = reply_format_choose(m->family->reply_format, text);
    return strcmp(format, "plain") == 0 ? NULL : format;
}
