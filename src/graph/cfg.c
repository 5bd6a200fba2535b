/* cfg.c - see cfg.h and cfg_parts.h. */
#include "graph/cfg_parts.h"

#include "base/arena.h"
#include "format/json.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_READ = 1024, MAX_KINDS = 16 };

/* Lists with a word for each layer. A word that the description never asks for is one that it does not know. */
typedef enum KindList { KIND_MIXER, KIND_FFN, KIND_LISTS } KindList;
static const struct { const char *key, *what, *plain; } kind_lists[KIND_LISTS] = {
    {"layer_types", "mixer", "full_attention"}, {"mlp_layer_types", "feed-forward block", "dense"},
};

/* What layer_types can say for some family or other. */
static const char *const mixers[] = {
#include "graph/cfg_mixers.inc"
};
static const char *const older_mixers[][2] = {{"mamba", "linear_attention"}, {"attention", "full_attention"}};

struct Cfg {
    json_t *whole, *text; /* text is whole, or its part for the language model */
    json_t *defaults;         /* what absent keys stand for, or NULL */
    bool gguf;
    Error err;                /* first complaint */
    const char *read[MAX_READ]; /* names that were asked for, in the arena */
    int n_read;
    const char *kinds[KIND_LISTS][MAX_KINDS]; /* words that were asked for: constants of the families */
    int n_kind[KIND_LISTS];
    Arena arena;
};

/* Names of one and the same thing in configurations of different makers and years. */
enum { MAX_ALIASES = 7 };
static const char *const aliases[][MAX_ALIASES] = {
    {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts"},
    {"num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token", "top_k_experts", "moe_top_k",
     "experts_per_token"},
    {"n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"},
    {"moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size"},
    {"rms_norm_eps", "norm_eps", "layer_norm_eps", "layernorm_epsilon", "layer_norm_epsilon"},
    {"num_hidden_layers", "n_layers", "num_layers", "n_layer"},
    {"num_attention_heads", "n_head", "n_heads"},
    {"num_key_value_heads", "num_kv_heads", "n_head_kv", "num_attention_groups"},
    {"head_dim", "attention_head_dim"},
    {"hidden_act", "hidden_activation", "mlp_hidden_act"},
    {"dtype", "torch_dtype"},
    {"n_group", "num_expert_groups", "num_expert_group"},
    {"topk_group", "topk_expert_groups"},
    {"norm_topk_prob", "route_norm", "moe_renormalize"},
    {"routed_scaling_factor", "router_scaling_factor", "route_scale", "moe_router_scaling_factor"},
    {"first_k_dense_replace", "num_dense_layers"},
    {"sliding_window", "attention_window"},
    {"num_nextn_predict_layers", "num_mtp_layers"},
    {"layer_types", "layers_block_type"},
    /* recurrent layers: heads that share queries and keys, all heads, their widths, taps of the convolution */
    {"linear_num_key_heads", "mamba_n_groups", "n_groups"},
    {"linear_num_value_heads", "mamba_n_heads", "mamba_num_heads"},
    {"linear_key_head_dim", "mamba_d_state", "ssm_state_size"},
    {"linear_value_head_dim", "mamba_d_head", "mamba_head_dim"},
    {"linear_conv_kernel_dim", "mamba_d_conv", "conv_kernel", "short_conv_kernel_size"},
    {"mamba_conv_bias", "use_conv_bias"},
    {"mamba_expand", "expand"},
    {"time_step_limit", "mamba_dt_limit"},
    {"tie_word_embeddings", "tie_embedding"},
    {"linear_lower_bound", "kda_lower_bound"},
    {"hc_mult", "hc_count"},
    /* indexes: heads, their width, how many tokens they choose */
    {"index_n_heads", "indexer_n_heads"},
    {"index_head_dim", "indexer_head_dim"},
    {"index_topk", "indexer_budget"},
};

/* What can stand in a configuration without changing what the text model computes. */
static const char *const harmless[] = {
#include "graph/cfg_harmless.inc"
};

Status cfg_open(const json_t *config, bool gguf, Cfg **out, Error *err) {
    *out = NULL;
    FAIL_IF(!json_is_object(config), ERR_FORMAT, "config.json: an object is expected");
    Cfg *c = mem_zalloc(sizeof *c, MEM_GRAPH);
    FAIL_IF(c == NULL, ERR_MEMORY, "no memory for the configuration");
    c->whole = json_incref((json_t *)config);
    c->text = c->whole;
    c->gguf = gguf;
    arena_init(&c->arena, MEM_GRAPH);
    static const char *const parts[] = {"text_config", "llm_config", "language_config", "thinker_config"};
    for (size_t i = 0; i < COUNT(parts); i++) {
        json_t *part = json_object_get(c->text, parts[i]);
        if (json_is_object(part) && json_object_size(part) > 0) {
            c->text = part;
            i = (size_t)-1; /* a thinker holds a text_config of its own */
        }
    }
    *out = c;
    return OK;
}

void cfg_close(Cfg *c) {
    if (c == NULL)
        return;
    json_decref(c->whole);
    json_decref(c->defaults);
    arena_free(&c->arena);
    mem_free(c);
}

bool cfg_is_gguf(const Cfg *c) {
    return c->gguf;
}

void cfg_refuse(const Cfg *c, const char *format, ...) {
    Error *err = &((Cfg *)c)->err;
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(err, ERR_UNSUPPORTED, "%s", text);
}

static void note_read(const Cfg *cfg, const char *key) {
    Cfg *c = (Cfg *)cfg; /* reading leaves a trace, but changes nothing that a reader could see */
    for (int i = 0; i < c->n_read; i++)
        if (strcmp(c->read[i], key) == 0)
            return;
    const char *copy = c->n_read < MAX_READ ? arena_strdup(&c->arena, key) : NULL;
    if (copy != NULL) /* without memory a key is reported as unread: a warning too many */
        c->read[c->n_read++] = copy;
}

void cfg_defaults(Cfg *c, const char *json) {
    json_decref(c->defaults);
    (void)!json_parse(json, strlen(json), "defaults of the configuration", false, &c->defaults, &c->err);
}

/* "a.b.c" inside an object; NULL when absent. */
static json_t *get_path(json_t *object, const char *path) {
    while (object != NULL) {
        const char *dot = strchr(path, '.');
        char part[96];
        const size_t length = dot != NULL ? (size_t)(dot - path) : strlen(path);
        if (length >= sizeof part)
            return NULL;
        memcpy(part, path, length);
        part[length] = '\0';
        object = json_object_get(object, part);
        if (dot == NULL)
            break;
        path = dot + 1;
    }
    return object;
}

static const char *const *alias_group(const char *key) {
    for (size_t i = 0; i < COUNT(aliases); i++)
        for (int j = 0; j < MAX_ALIASES && aliases[i][j] != NULL; j++)
            if (strcmp(aliases[i][j], key) == 0)
                return aliases[i];
    return NULL;
}

/* Defaults hold for absent keys; those of an object that is there belong to another one. */
static json_t *get_default(const Cfg *c, const char *key) {
    char first[96];
    const size_t length = strcspn(key, ".");
    if (c->defaults == NULL || c->gguf || length >= sizeof first)
        return NULL;
    memcpy(first, key, length);
    first[length] = '\0';
    const bool inside = key[length] == '.' && (json_object_get(c->text, first) != NULL || json_object_get(c->whole, first) != NULL);
    return inside ? NULL : get_path(c->defaults, key);
}

static json_t *get(const Cfg *c, const char *key) {
    note_read(c, key);
    const char *const *group = alias_group(key);
    json_t *value = get_path(c->text, key);
    bool given = value != NULL;
    for (int j = 0; group != NULL && j < MAX_ALIASES && group[j] != NULL; j++) {
        json_t *other = get_path(c->text, group[j]);
        if (value == NULL || json_is_null(value)) {
            note_read(c, group[j]);
            value = other;
            given = given || value != NULL;
        } else if (other != NULL && json_equal(value, other)) { /* said twice; what contradicts stays unread */
            note_read(c, group[j]);
        }
    }
    /* Composite configurations keep some keys outside (tie_word_embeddings, quantization_config). */
    if ((value == NULL || json_is_null(value)) && c->text != c->whole) {
        value = get_path(c->whole, key);
        given = given || value != NULL;
    }
    if (!given)
        value = get_default(c, key);
    for (int j = 0; value == NULL && !given && group != NULL && j < MAX_ALIASES && group[j] != NULL; j++)
        value = get_default(c, group[j]);
    return json_is_null(value) ? NULL : value;
}

static int int_of(const Cfg *c, const char *key, const json_t *value, int otherwise) {
    if (value == NULL)
        return otherwise;
    if (json_is_boolean(value))
        return json_is_true(value);
    if (json_is_integer(value)) {
        const json_int_t n = json_integer_value(value);
        if (n >= INT_MIN && n <= INT_MAX)
            return (int)n;
    } else if (json_is_real(value)) {
        const double d = json_real_value(value);
        if (d == floor(d) && fabs(d) <= INT_MAX)
            return (int)d;
    }
    cfg_refuse(c, "config.json: %s is not a whole number in range", key);
    return otherwise;
}

/* What JSON has no numbers for is an object in newer configurations: {"__float__": "Infinity"}. */
static bool is_infinity(const json_t *value) {
    const char *word = json_string_value(json_object_get(value, "__float__"));
    return word != NULL && strcmp(word, "Infinity") == 0;
}

static float real_of(const Cfg *c, const char *key, const json_t *value, float otherwise) {
    if (value == NULL)
        return otherwise;
    if (is_infinity(value))
        return INFINITY;
    if (!json_is_number(value)) {
        cfg_refuse(c, "config.json: %s is not a number", key);
        return otherwise;
    }
    return (float)json_number_value(value);
}

bool cfg_has(const Cfg *c, const char *key) {
    return get(c, key) != NULL;
}

int cfg_int(const Cfg *c, const char *key, int otherwise) {
    return int_of(c, key, get(c, key), otherwise);
}

static int needed(const Cfg *c, const char *key, const json_t *value) {
    if (value == NULL)
        cfg_refuse(c, "config.json: %s is missing", key);
    const int n = int_of(c, key, value, 1);
    if (n < 1)
        cfg_refuse(c, "config.json: %s is %d, at least 1 is expected", key, n);
    return n < 1 ? 1 : n;
}

int cfg_need(const Cfg *c, const char *key) {
    return needed(c, key, get(c, key));
}

float cfg_real(const Cfg *c, const char *key, float otherwise) {
    return real_of(c, key, get(c, key), otherwise);
}

bool cfg_bool(const Cfg *c, const char *key, bool otherwise) {
    const json_t *value = get(c, key);
    return value == NULL ? otherwise : json_is_boolean(value) ? json_is_true(value) : int_of(c, key, value, 0) != 0;
}

const char *cfg_str(const Cfg *c, const char *key, const char *otherwise) {
    const json_t *value = get(c, key);
    return json_is_string(value) ? json_string_value(value) : otherwise;
}

int cfg_list_length(const Cfg *c, const char *key) {
    const json_t *value = get(c, key);
    return value == NULL ? 0 : json_is_array(value) ? (int)json_array_size(value) : -1;
}

int cfg_count(const Cfg *c, const char *key, int otherwise) {
    const json_t *value = get(c, key);
    const size_t n = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    return n > 0 && n <= INT_MAX ? (int)n : otherwise;
}

/* A key of layer i alone: per_layer_config, an object of objects by layer. */
static const json_t *of_layer(const Cfg *c, const char *key, int i) {
    char path[128];
    snprintf(path, sizeof path, "per_layer_config.%s", key);
    note_read(c, path);
    static const char *const forms[] = {"per_layer_config.%d.%s", "per_layer_config.%02d.%s", "per_layer_config.%03d.%s"};
    const json_t *value = NULL;
    for (size_t f = 0; value == NULL && f < COUNT(forms); f++) { /* "5", or as many digits as the last layer has */
        snprintf(path, sizeof path, forms[f], i, key);
        value = get_path(c->text, path);
    }
    return json_is_null(value) ? NULL : value;
}

static const json_t *element(const Cfg *c, const char *key, int i) {
    const json_t *value = of_layer(c, key, i);
    if (value != NULL)
        return value;
    value = get(c, key);
    if (!json_is_array(value))
        return value;
    value = json_array_get(value, (size_t)i);
    return json_is_null(value) ? NULL : value;
}

int cfg_need_at(const Cfg *c, const char *key, int i) {
    return needed(c, key, element(c, key, i));
}

int cfg_int_at(const Cfg *c, const char *key, int i, int otherwise) {
    return int_of(c, key, element(c, key, i), otherwise);
}

int64_t cfg_long_at(const Cfg *c, const char *key, int i, int64_t otherwise) {
    const json_t *value = element(c, key, i);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

float cfg_real_at(const Cfg *c, const char *key, int i, float otherwise) {
    return real_of(c, key, element(c, key, i), otherwise);
}

const char *cfg_str_at(const Cfg *c, const char *key, int i, const char *otherwise) {
    const json_t *value = element(c, key, i);
    return json_is_string(value) ? json_string_value(value) : otherwise;
}

bool cfg_list_has(const Cfg *c, const char *key, int i) {
    const json_t *value = get(c, key);
    for (size_t at = 0; json_is_array(value) && at < json_array_size(value); at++)
        if (json_integer_value(json_array_get(value, at)) == i && json_is_integer(json_array_get(value, at)))
            return true;
    return false;
}

static bool is_listed(const char *const *list, size_t count, const char *word) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return false;
}

static const char *newer_mixer(const char *word) {
    for (size_t k = 0; k < COUNT(older_mixers); k++)
        if (strcmp(word, older_mixers[k][0]) == 0)
            return older_mixers[k][1];
    return word;
}

static bool kind_is(const Cfg *cfg, KindList list, int i, const char *kind) {
    Cfg *c = (Cfg *)cfg; /* as in note_read() */
    if (!is_listed(c->kinds[list], (size_t)c->n_kind[list], kind) && c->n_kind[list] < MAX_KINDS)
        c->kinds[list][c->n_kind[list]++] = kind;
    return strcmp(newer_mixer(cfg_str_at(c, kind_lists[list].key, i, "")), kind) == 0;
}

bool layer_is(const Cfg *c, int i, const char *type) {
    assert(is_listed(mixers, COUNT(mixers), type));
    return kind_is(c, KIND_MIXER, i, type);
}

bool layer_ffn_is(const Cfg *c, int i, const char *type) {
    return kind_is(c, KIND_FFN, i, type);
}

bool layer_is_local(const Cfg *c, int i, int every) {
    if (cfg_list_length(c, "layer_types") > 0)
        return layer_is(c, i, "sliding_attention") || layer_is(c, i, "chunked_attention");
    every = cfg_int(c, "sliding_window_pattern", every);
    return every > 0 && (i + 1) % every != 0;
}

bool layer_is_sparse(const Cfg *c, int i) {
    const int first = cfg_int(c, "first_k_dense_replace", 0);
    if (cfg_list_length(c, "mlp_layer_types") > 0)
        return layer_ffn_is(c, i, "sparse");
    return i >= first;
}

bool layer_has_index(const Cfg *c, int i) {
    if (cfg_has(c, "indexer_types")) {
        const char *word = cfg_str_at(c, "indexer_types", i, NULL);
        return word != NULL ? strcmp(word, "full") == 0 : cfg_is_gguf(c) && cfg_int_at(c, "indexer_types", i, 1) != 0;
    }
    const char *pattern = cfg_str(c, "index_topk_pattern", NULL);
    if (pattern != NULL)
        return (size_t)i >= strlen(pattern) || pattern[i] == 'F';
    const int every = cfg_int(c, "index_topk_freq", 1), offset = cfg_int(c, "index_skip_topk_offset", 2);
    return every <= 1 || i - offset + 1 <= 0 || (i - offset + 1) % every == 0;
}

/* "3-40", "0, 2, 5-7": the layers from `first` on that say `word`. */
static void list_layers(const json_t *list, size_t first, const char *word, Text *text) {
    const size_t count = json_array_size(list);
    for (size_t i = first, ranges = 0; i < count; i++) {
        if (strcmp(newer_mixer(json_string_value(json_array_get(list, i))), word) != 0)
            continue;
        size_t last = i;
        while (last + 1 < count && strcmp(newer_mixer(json_string_value(json_array_get(list, last + 1))), word) == 0)
            last++;
        if (ranges++ == 8) {
            text_append_str(text, ", ...");
            return;
        }
        text_append_format(text, last > i ? "%s%zu-%zu" : "%s%zu", ranges > 1 ? ", " : "", i, last);
        i = last;
    }
}

Status cfg_kinds(const Cfg *c, bool described, Error *err) {
    if (c->gguf) /* the lists are our own, made of its keys */
        return OK;
    for (int k = 0; k < KIND_LISTS; k++) {
        const json_t *list = get(c, kind_lists[k].key);
        const char *const *known = described ? c->kinds[k] : mixers;
        const size_t n_known = described ? (size_t)c->n_kind[k] : COUNT(mixers);
        if (!json_is_array(list) || (k == KIND_FFN && !described))
            continue;
        for (size_t i = 0; i < json_array_size(list); i++)
            FAIL_IF(!json_is_string(json_array_get(list, i)), ERR_FORMAT, "config.json: %s[%zu] is no word", kind_lists[k].key, i);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *word = newer_mixer(json_string_value(json_array_get(list, i)));
            if (strcmp(word, kind_lists[k].plain) == 0 || is_listed(known, n_known, word))
                continue;
            Text layers = {0}, shown = {0};
            list_layers(list, i, word, &layers);
            text_append_printable(&shown, word, MIN(strlen(word), 64));
            const Status status = error_set(err, ERR_UNSUPPORTED, "config.json: %s '%s' is not known; layers %s use it",
                                            kind_lists[k].what, shown.bytes != NULL ? shown.bytes : "",
                                            layers.bytes != NULL ? layers.bytes : "");
            text_free(&layers);
            text_free(&shown);
            return status;
        }
    }
    return OK;
}

void cfg_covered(const Cfg *c, const char *key) {
    (void)get(c, key);
}

const char *cfg_model_type(const Cfg *c) {
    const char *type = json_string_value(json_object_get(c->text, "model_type"));
    return type != NULL ? type : "";
}

const char *cfg_outer_type(const Cfg *c) {
    const char *type = json_string_value(json_object_get(c->whole, "model_type"));
    return type != NULL ? type : "";
}

Status cfg_refused(const Cfg *c, Error *err) {
    FAIL_IF(c->err.status != OK, c->err.status, "%s", c->err.text);
    return OK;
}

/* Read by itself, as an object of which something was read, or as part of an object that was read. */
static bool was_read(const Cfg *c, const char *key) {
    const size_t length = strlen(key);
    for (int i = 0; i < c->n_read; i++)
        if (strncmp(c->read[i], key, length) == 0 && (c->read[i][length] == '\0' || c->read[i][length] == '.'))
            return true;
    for (size_t i = 0; i < COUNT(harmless); i++)
        if (strcmp(harmless[i], key) == 0)
            return true;
    return false;
}

/* False, zero, empty and null mean "off" for every switch that has been published. */
static bool is_off(const json_t *value) {
    return json_is_null(value) || json_is_false(value) || (json_is_integer(value) && json_integer_value(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static void list_key(Text *list, const char *key) {
    if (list->count > 0)
        text_append_str(list, ", ");
    text_append_printable(list, key, strlen(key));
}

/* Keys of single layers: known when any layer's was asked for. */
static void list_unread_of_layers(const Cfg *c, json_t *layers, Text *list) {
    const char *layer, *key;
    json_t *object, *value;
    json_object_foreach(layers, layer, object)
        json_object_foreach(object, key, value) {
            char path[128];
            if (snprintf(path, sizeof path, "per_layer_config.%s", key) < (int)sizeof path && was_read(c, path))
                continue;
            snprintf(path, sizeof path, "per_layer_config.%s.%s", layer, key);
            list_key(list, path);
        }
}

Status cfg_unread(const Cfg *c, Text *list, Error *err) {
    const char *key;
    json_t *value;
    json_object_foreach(c->text, key, value) {
        if (strcmp(key, "per_layer_config") == 0)
            list_unread_of_layers(c, value, list);
        else if (!was_read(c, key) && !is_off(value))
            list_key(list, key);
    }
    return text_check(list, err);
}
