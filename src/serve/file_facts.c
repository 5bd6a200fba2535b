/* file_facts.c - see file_facts.h. A table that is looked through from its beginning: it has as many entries as there are
 * models, and reading headers once is what costs. */
#include "serve/file_facts.h"

#include "base/map.h"
#include "engine/embed.h"
#include "engine/rerank.h"
#include "format/json_write.h"
#include "format/model_files.h"
#include "text/chat_template.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { ENTRIES_MOST = 1024 };

typedef struct Entry {
    char *path; /* NULL: free */
    int64_t modified;
    uint64_t bytes, used;
    bool good;
    ModelFacts facts;
} Entry;

struct FactsCache {
    pthread_mutex_t lock;
    uint64_t clock; /* of uses */
    size_t count, capacity;
    Entry *entries;
};

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void put_word(char *out, size_t most, const char *bytes, size_t count) {
    count = MIN(count, most - 1);
    memcpy(out, bytes, count);
    out[utf8_complete_prefix(out, count)] = '\0';
    if (!utf8_valid(out, strlen(out)))
        out[0] = '\0';
}

/* The mixtures that GGUF files say they are (general.file_type), by number; NULL: see the tensors. */
static const char *file_type_word(int64_t number) {
    static const char *const words[] = {
        "F32", "F16", "Q4_0", "Q4_1", NULL, NULL, NULL, "Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L",
        "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S",
        "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16", NULL, NULL, NULL, "TQ1_0", "TQ2_0",
    };
    return number >= 0 && number < (int64_t)COUNT(words) ? words[number] : NULL;
}

/* The method that a configuration names, the mixture that a GGUF names, or the type that takes most bytes. */
static void read_quantisation(const ModelFiles *files, ModelFacts *f) {
    uint64_t bytes[DT_COUNT] = {0};
    int most = DT_F32;
    int64_t number = -1;
    const json_t *quant = json_object_get(model_files_config(files), "quantization_config");
    const char *method = json_string_value(json_object_get(quant, "quant_method"));
    if (meta_int(model_files_meta_find(files, "general.file_type"), &number) && file_type_word(number) != NULL)
        method = file_type_word(number);
    for (size_t i = 0; i < model_files_tensors(files); i++) {
        const Tensor *t = model_files_tensor(files, i);
        bytes[t->type] += t->bytes;
        most = bytes[t->type] > bytes[most] ? (int)t->type : most;
    }
    if (method == NULL && model_files_tensors(files) > 0)
        method = dtype_name((DType)most);
    put_word(f->quantisation, sizeof f->quantisation, method != NULL ? method : "", method != NULL ? strlen(method) : 0);
    for (char *c = f->quantisation; *c != '\0'; c++)
        *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
}

static void read_family(const ModelFiles *files, ModelFacts *f) {
    const MetaValue *arch = model_files_meta_find(files, "general.architecture");
    const json_t *config = model_files_config(files), *text = json_object_get(config, "text_config");
    const char *type = json_string_value(json_object_get(text != NULL ? text : config, "model_type"));
    if (type == NULL)
        type = json_string_value(json_object_get(config, "model_type"));
    if (arch != NULL && arch->type == META_STRING)
        put_word(f->family, sizeof f->family, arch->as.string.bytes, arch->as.string.count);
    else if (type != NULL)
        put_word(f->family, sizeof f->family, type, strlen(type));
}

void facts_of_template(ModelFacts *f, const char *text) {
    f->tools = text != NULL && strstr(text, "tools") != NULL;
    f->thinks = text != NULL && (strstr(text, "think") != NULL || strstr(text, "reasoning") != NULL);
}

static void read_template(const ModelFiles *files, ModelFacts *f) {
    ChatTemplate *chat = NULL;
    if (chat_template_open(files, &chat, NULL) != OK)
        return;
    facts_of_template(f, chat_template_text(chat, NULL, NULL));
    chat_template_close(chat);
}

/* Of a family that is not known here, its tensors are counted. */
static void read_network(const ModelFiles *files, ModelFacts *f) {
    Model *model = NULL;
    if (model_describe(files, &model, NULL) != OK) {
        for (size_t i = 0; i < model_files_tensors(files); i++)
            f->parameters += tensor_numbers(model_files_tensor(files, i));
        f->writes = true;
        return;
    }
    f->parameters = model_parameters(model);
    f->context = model_context(model);
    f->width = model_graph(model)->width;
    f->ranks = reranker_check(model, NULL) == OK;
    f->embeds = !f->ranks && embedder_check(model, NULL) == OK;
    f->writes = !f->ranks && !f->embeds && model_must_write(model, NULL) == OK;
    model_close(model);
}

static bool read_facts(const char *path, ModelFacts *f) {
    ModelFiles *files;
    *f = (ModelFacts){0};
    if (model_files_open(path, &files, NULL) != OK)
        return false;
    snprintf(f->format, sizeof f->format, "%s", model_files_kind(files) == CONTAINER_GGUF ? "gguf" : "safetensors");
    read_family(files, f);
    read_quantisation(files, f);
    read_network(files, f);
    if (f->writes)
        read_template(files, f);
    model_files_close(files);
    return true;
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

Status facts_open(FactsCache **out, Error *err) {
    FactsCache *c = *out = mem_zalloc(sizeof *c, MEM_MISC);
    FAIL_IF(c == NULL, ERR_MEMORY, "no memory for what is known of models");
    pthread_mutex_init(&c->lock, NULL);
    return OK;
}

void facts_close(FactsCache *c) {
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        mem_free(c->entries[i].path);
    mem_free(c->entries);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

/* Under the lock. NULL: not there. */
static Entry *find(FactsCache *c, const char *path) {
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].path, path) == 0)
            return &c->entries[i];
    return NULL;
}

/* Under the lock. A place for one more: a fresh one, or that of the one unused for longest. NULL without memory. */
static Entry *place(FactsCache *c, const char *path) {
    char *own = mem_strdup(path, MEM_MISC);
    Entry *e = NULL;
    if (own == NULL)
        return NULL;
    if (c->count < ENTRIES_MOST &&
        mem_grow((void **)&c->entries, &c->capacity, c->count + 1, sizeof *c->entries, MEM_MISC)) {
        e = &c->entries[c->count++];
        e->path = NULL;
    }
    if (e == NULL && c->count > 0) {
        e = &c->entries[0];
        for (size_t i = 1; i < c->count; i++)
            e = c->entries[i].used < e->used ? &c->entries[i] : e;
    }
    if (e == NULL) {
        mem_free(own);
        return NULL;
    }
    mem_free(e->path);
    e->path = own;
    return e;
}

bool facts_of(FactsCache *c, const char *path, int64_t modified, uint64_t bytes, ModelFacts *facts) {
    *facts = (ModelFacts){0};
    if (path == NULL)
        return false;
    pthread_mutex_lock(&c->lock);
    Entry *e = find(c, path);
    if (e != NULL && e->modified == modified && e->bytes == bytes) {
        e->used = ++c->clock;
        *facts = e->facts;
        const bool good = e->good;
        pthread_mutex_unlock(&c->lock);
        return good;
    }
    pthread_mutex_unlock(&c->lock);
    const bool good = read_facts(path, facts); /* two may do so at once: they find the same */
    pthread_mutex_lock(&c->lock);
    e = find(c, path);
    e = e != NULL ? e : place(c, path);
    if (e != NULL) {
        char *own = e->path;
        *e = (Entry){.path = own, .modified = modified, .bytes = bytes, .used = ++c->clock, .good = good, .facts = *facts};
    }
    pthread_mutex_unlock(&c->lock);
    return good;
}

/* ---- as clients want it ------------------------------------------------------------------------------------------ */

/* "1.7B", "361.82M" */
static json_t *count_word(uint64_t n) {
    static const struct {
        double least;
        int precision;
        char unit;
    } units[] = {{1e12, 1, 'T'}, {1e9, 1, 'B'}, {1e6, 2, 'M'}, {1e3, 0, 'K'}};
    Text text = {0};
    for (size_t i = 0; i < COUNT(units) && text.count == 0; i++)
        if ((double)n >= units[i].least) {
            text_append_double_as(&text, 'f', units[i].precision, (double)n / units[i].least);
            text_append_char(&text, units[i].unit);
        }
    if (text.count == 0 && n > 0)
        text_append_format(&text, "%llu", (unsigned long long)n);
    json_t *word = json_of_text(&text);
    text_free(&text);
    return word;
}

json_t *facts_details(const ModelFacts *f) {
    json_t *families = f->family[0] != '\0' ? json_pack("[s]", f->family) : json_array();
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s}", "parent_model", "", "format", f->format, "family", f->family,
                     "families", families, "parameter_size", count_word(f->parameters), "quantization_level", f->quantisation);
}

json_t *facts_capabilities(const ModelFacts *f) {
    const struct { bool is; const char *word; } all[] = {{f->writes, "completion"}, {f->embeds, "embedding"}, {f->ranks, "rerank"},
                                                         {f->tools, "tools"}, {f->thinks, "thinking"}};
    json_t *list = json_array();
    for (size_t i = 0; i < COUNT(all); i++)
        if (all[i].is)
            json_array_append_new(list, json_string(all[i].word));
    return list;
}
