/* gguf_config.c - a GGUF file's keys as the configuration that the published config.json would have been.
 *
 * Two tables: keys that mean the same for all architectures, and what an architecture implies without saying so in its
 * file (constants of the converter's reader). Sources: the GGUF specification and the key lists in llama.cpp's
 * converter; reference values in tests/golden/gguf/families. */
#include "format/gguf_names.h"
#include "format/json.h"

#include "base/mem.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Keys under "<architecture>." */
static const struct { const char *gguf, *config; } keys[] = {
    {"block_count", "num_hidden_layers"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.value_length", "v_head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"attention.sliding_window", "sliding_window"},
    {"attention.key_length_swa", "swa_head_dim"},
    {"attention.value_length_swa", "swa_v_head_dim"},
    {"attention.scale", "attention_multiplier"},
    {"attention.value_scale", "attention_value_scale"},
    {"attention.temperature_scale", "temperature_scale"},
    {"attention.shared_kv_layers", "num_kv_shared_layers"},
    {"embedding_length_per_layer_input", "hidden_size_per_layer_input"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"logit_scale", "logit_scale"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"rope.freq_base_swa", "rope_local_base_freq"},
    {"vocab_size", "vocab_size"},
    {"expert_count", "num_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
    {"leading_dense_block_count", "first_k_dense_replace"},
    {"interleave_moe_layer_step", "interleave_moe_layer_step"},
    {"swiglu_clamp_exp", "swiglu_limits"},
    {"swiglu_clamp_shexp", "swiglu_limits_shared"},
    {"nextn_predict_layers", "num_nextn_predict_layers"},
    {"full_attention_interval", "full_attention_interval"},
    {"shortconv.l_cache", "conv_L_cache"},
    {"rope.scaling.finetuned", "rope_finetuned"},
    {"ssm.conv_kernel", "conv_kernel"},
    {"ssm.state_size", "ssm_state_size"},
    {"ssm.group_count", "n_groups"},
    {"ssm.time_step_rank", "mamba_num_heads"},
    {"kda.head_dim", "linear_head_dim"},
    {"kda.gate_lower_bound", "linear_lower_bound"},
    {"kda.safe_gate", "kda_safe_gate"},
    {"attention.indexer.kpool", "index_kpool"},
    {"attention.indexer.kpool_select_tail", "index_kpool_always_select_tail"},
    {"attention.q_lora_rank", "q_lora_rank"},
    {"attention.kv_lora_rank", "kv_lora_rank"},
    {"attention.indexer.head_count", "index_n_heads"},
    {"attention.indexer.key_length", "index_head_dim"},
    {"attention.indexer.top_k", "index_topk"},
    {"attention.indexer.types", "indexer_types"},
    {"attention.indexer.block_size", "index_block_size"},
    {"attention.indexer.local_blocks", "index_local_blocks"},
    {"attention.output_group_count", "o_groups"},
    {"attention.output_lora_rank", "o_lora_rank"},
    {"attention.compress_ratios", "compress_ratios"},
    {"attention.compress_rope_freq_base", "compress_rope_theta"},
    {"hyper_connection.count", "hc_mult"},
    {"hyper_connection.sinkhorn_iterations", "hc_sinkhorn_iters"},
    {"hyper_connection.epsilon", "hc_eps"},
    {"hyper_connection.low_rank", "hc_lowrank"},
    {"attention.recurrent_layers", "recurrent_layers"},
    {"ple.ngram_size", "ngram_size"},
    {"ple.heads_per_ngram", "heads_per_ngram"},
    {"ple.conv_kernel", "ple_conv_kernel_size"},
    {"ple.eos_token_id", "eos_token_id"},
    {"ple.layer_multipliers", "ngram_factors"},
    {"ple.head_vocab_sizes", "ngram_table_sizes"},
    {"ple.head_offsets", "ngram_table_offsets"},
    {"hash_layer_count", "num_hash_layers"},
};

/* What an architecture name stands for: the model_type, and constants of it that files leave out, as JSON. */
typedef struct ArchRow {
    const char *arch, *model_type, *implied;
    const char *when; /* only for files with this key (under the architecture), and not 0 */
} ArchRow;
static const ArchRow archs[] = {
#include "format/gguf_archs.inc"
};

/* Families whose GGUF files are like those of another one. */
static const char *const same_files[][2] = {
#include "format/gguf_same_files.inc"
};

static const char *own_architecture_of(const char *model_type) {
    for (size_t i = 0; i < COUNT(archs); i++)
        if (strcmp(archs[i].model_type, model_type) == 0)
            return archs[i].arch;
    return NULL;
}

const char *gguf_architecture_of(const char *model_type) {
    const char *arch = own_architecture_of(model_type);
    for (size_t i = 0; arch == NULL && i < COUNT(same_files); i++)
        if (strcmp(same_files[i][0], model_type) == 0)
            arch = own_architecture_of(same_files[i][1]);
    return arch;
}

bool gguf_architecture(const ModelFiles *files, char arch[64]) {
    const MetaValue *v = model_files_kind(files) == CONTAINER_GGUF ? model_files_meta_find(files, "general.architecture") : NULL;
    if (v == NULL || v->type != META_STRING || v->as.string.count >= 64)
        return false;
    memcpy(arch, v->as.string.bytes, v->as.string.count);
    arch[v->as.string.count] = '\0';
    return true;
}

/* Whether JSON can say it: no texts in a list, no infinity, only UTF-8. Anything else is as if the key were not there. */
static bool has_json(const MetaValue *v) {
    if (v->type == META_STRING)
        return utf8_valid(v->as.string.bytes, v->as.string.count);
    if (v->type != META_ARRAY)
        return (v->type != META_F32 && v->type != META_F64) || isfinite(v->as.real);
    double d;
    int64_t n;
    for (size_t i = 0; i < v->as.array.count; i++)
        if (!meta_array_int(v, i, &n) && !(meta_array_real(v, i, &d) && isfinite(d)))
            return false;
    return true;
}

/* NULL: no memory. */
static json_t *array_json(const MetaValue *v) {
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < v->as.array.count; i++) {
        int64_t n;
        double d;
        json_t *item = NULL;
        if (meta_array_int(v, i, &n))
            item = v->as.array.type == META_BOOL ? json_boolean(n != 0) : json_integer(n);
        else if (meta_array_real(v, i, &d))
            item = json_real(d);
        if (item == NULL || json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *value_json(const MetaValue *v) {
    switch (v->type) {
    case META_BOOL: return json_boolean(v->as.integer != 0);
    case META_F32: case META_F64: return json_real(v->as.real);
    case META_STRING: return json_stringn(v->as.string.bytes, v->as.string.count);
    case META_ARRAY: return array_json(v);
    default: return json_integer(v->as.integer);
    }
}

static const MetaValue *meta_of(const ModelFiles *files, const char *arch, const char *key) {
    char name[192];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    return model_files_meta_find(files, name);
}

static bool set(json_t *object, const char *key, json_t *value) {
    return value != NULL && json_object_set_new(object, key, value) == 0;
}

static bool copy_key(const ModelFiles *files, const char *arch, const char *from, json_t *to, const char *as) {
    const MetaValue *v = meta_of(files, arch, from);
    return v == NULL || !has_json(v) || set(to, as, value_json(v));
}

/* A small tensor of rotary factors as a list. */
static bool copy_factors(const ModelFiles *files, const char *tensor, json_t *to, const char *as) {
    const Tensor *t = model_files_find(files, tensor);
    if (t == NULL || t->type != DT_F32 || t->bytes > 1 << 16)
        return true;
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < t->bytes / 4; i++) {
        float f;
        memcpy(&f, t->data + 4 * i, 4);
        if (!isfinite(f)) { /* whoever needs the factors will miss them */
            json_decref(list);
            return true;
        }
        if (json_array_append_new(list, json_real((double)f)) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return set(to, as, list);
}

/* rope.scaling.* and the factor tensors as rope_parameters. */
static bool copy_rope(const ModelFiles *files, const char *arch, json_t *config) {
    json_t *rope = json_object();
    if (rope == NULL)
        return false;
    const MetaValue *type = meta_of(files, arch, "rope.scaling.type");
    bool done = true;
    char word[32] = "default";
    if (type != NULL && type->type == META_STRING && type->as.string.count < sizeof word) {
        memcpy(word, type->as.string.bytes, type->as.string.count);
        word[type->as.string.count] = '\0';
    }
    if (strcmp(word, "none") == 0)
        strcpy(word, "default");
    if (model_files_find(files, "rope_freqs.weight") != NULL)
        strcpy(word, "factors");
    if (model_files_find(files, "rope_factors_long.weight") != NULL)
        strcpy(word, "longrope");
    done = done && set(rope, "rope_type", json_string(word));
    done = done && copy_factors(files, "rope_freqs.weight", rope, "factors");
    done = done && copy_factors(files, "rope_factors_long.weight", rope, "long_factor");
    done = done && copy_factors(files, "rope_factors_short.weight", rope, "short_factor");
    static const struct { const char *gguf, *config; } parts[] = {
        {"rope.freq_base", "rope_theta"},
        {"rope.scaling.factor", "factor"},
        {"rope.scaling.original_context_length", "original_max_position_embeddings"},
        {"rope.scaling.attn_factor", "attention_factor"},
        {"rope.scaling.yarn_attn_factor", "attention_factor"},
        {"rope.scaling.yarn_beta_fast", "beta_fast"},
        {"rope.scaling.yarn_beta_slow", "beta_slow"},
        {"rope.dimension_sections", "mrope_section"},
    };
    for (size_t i = 0; done && i < COUNT(parts); i++)
        done = copy_key(files, arch, parts[i].gguf, rope, parts[i].config);
    const MetaValue *mscale = meta_of(files, arch, "rope.scaling.yarn_log_multiplier"); /* 0.1 mscale_all_dim = 0.1 mscale */
    if (done && mscale != NULL && mscale->type == META_F32 && isfinite(mscale->as.real))
        done = set(rope, "mscale", json_real(10 * mscale->as.real)) && set(rope, "mscale_all_dim", json_real(10 * mscale->as.real));
    const MetaValue *dim = meta_of(files, arch, "rope.dimension_count");
    if (done && dim != NULL && dim->type != META_ARRAY)
        done = set(config, "rotary_dim", json_integer(dim->as.integer));
    if (!done || (json_object_size(rope) == 1 && strcmp(word, "default") == 0)) { /* a model without rotations says nothing */
        json_decref(rope);
        return done;
    }
    return json_object_set_new(config, "rope_parameters", rope) == 0;
}

/* Which layers see a window: a number or truth per layer as the words of layer_types. A single number stays the period. */
static bool copy_pattern(const ModelFiles *files, const char *arch, json_t *config) {
    const MetaValue *v = meta_of(files, arch, "attention.sliding_window_pattern");
    if (v == NULL || v->type != META_ARRAY)
        return copy_key(files, arch, "attention.sliding_window_pattern", config, "sliding_window_pattern");
    json_t *list = json_array();
    bool done = list != NULL;
    for (size_t i = 0; done && i < v->as.array.count; i++) {
        int64_t local;
        const bool known = meta_array_int(v, i, &local);
        done = json_array_append_new(list, json_string(known && local != 0 ? "sliding_attention" : "full_attention")) == 0;
    }
    return done ? set(config, "layer_types", list) : (json_decref(list), false);
}

static int64_t item_of(const MetaValue *v, size_t i) {
    int64_t n = 0;
    return meta_array_int(v, i, &n) ? n : 0;
}

static bool has_zeros(const MetaValue *v) {
    for (size_t i = 0; v != NULL && v->type == META_ARRAY && i < v->as.array.count; i++)
        if (item_of(v, i) == 0)
            return true;
    return false;
}

/* In networks of several kinds of layers, those without key/value heads are something else: a feed-forward block where
 * a width is given for some of the layers only, this one among them, else a layer with a state. */
static bool copy_kinds(const ModelFiles *files, const char *arch, json_t *config) {
    const MetaValue *heads = meta_of(files, arch, "attention.head_count_kv");
    const MetaValue *widths = meta_of(files, arch, "feed_forward_length");
    if (!has_zeros(heads) || json_object_get(config, "layer_types") != NULL)
        return true;
    const bool apart = has_zeros(widths);
    json_t *list = json_array();
    bool done = list != NULL;
    for (size_t i = 0; done && i < heads->as.array.count; i++) {
        const bool wide = apart && i < widths->as.array.count && item_of(widths, i) > 0;
        const char *word = item_of(heads, i) > 0 ? "full_attention" : wide ? "feed_forward" : "linear_attention";
        done = json_array_append_new(list, json_string(word)) == 0;
    }
    return done ? set(config, "layer_types", list) : (json_decref(list), false);
}

static int64_t whole_of(const ModelFiles *files, const char *arch, const char *key, int64_t otherwise) {
    const MetaValue *v = meta_of(files, arch, key);
    return v == NULL || v->type == META_ARRAY || v->type == META_STRING || v->type == META_F32 || v->type == META_F64 ? otherwise
                                                                                                             : v->as.integer;
}

/* Latent attention: key_length and value_length tell what is cached; the heads' own sizes have keys of their own, which older
 * files lack because they cached whole heads. */
static bool copy_latent(const ModelFiles *files, const char *arch, json_t *config) {
    if (meta_of(files, arch, "attention.kv_lora_rank") == NULL)
        return true;
    const int64_t rope = whole_of(files, arch, "rope.dimension_count", 0);
    const int64_t key = whole_of(files, arch, "attention.key_length_mla", whole_of(files, arch, "attention.key_length", 0));
    const int64_t value = whole_of(files, arch, "attention.value_length_mla", whole_of(files, arch, "attention.value_length", 0));
    return set(config, "qk_rope_head_dim", json_integer(rope)) && set(config, "qk_nope_head_dim", json_integer(key - rope)) &&
           set(config, "v_head_dim", json_integer(value));
}

/* How experts are scored, by number: the enumeration of llama.cpp's reader. */
static bool copy_scoring(const ModelFiles *files, const char *arch, json_t *config) {
    static const char *const words[] = {NULL, "softmax", "sigmoid", "softmax_topk", "sqrtsoftplus"};
    const int64_t n = whole_of(files, arch, "expert_gating_func", 0);
    return n < 1 || n >= (int64_t)COUNT(words) || set(config, "scoring_func", json_string(words[n]));
}

/* The count of layers includes those that only predict further tokens. */
static bool take_predicting_layers(json_t *config) {
    const json_t *more = json_object_get(config, "num_nextn_predict_layers"), *all = json_object_get(config, "num_hidden_layers");
    const json_int_t n = json_integer_value(all) - json_integer_value(more);
    return json_integer_value(more) <= 0 || n < 1 || set(config, "num_hidden_layers", json_integer(n));
}

static size_t vocabulary(const ModelFiles *files) {
    const MetaValue *tokens = model_files_meta_find(files, "tokenizer.ggml.tokens");
    const Tensor *table = model_files_find(files, "token_embd.weight");
    return table != NULL && table->n_dim == 2 ? table->dims[0] : tokens != NULL && tokens->type == META_ARRAY ? tokens->as.array.count : 0;
}

/* The width of a state's heads follows from their number. */
static bool fill_head_dim(const ModelFiles *files, const char *arch, json_t *config) {
    const MetaValue *inner = meta_of(files, arch, "ssm.inner_size"), *heads = meta_of(files, arch, "ssm.time_step_rank");
    if (inner == NULL || heads == NULL || inner->type == META_ARRAY || heads->type == META_ARRAY || heads->as.integer < 1)
        return true;
    return set(config, "mamba_head_dim", json_integer(inner->as.integer / heads->as.integer));
}

/* Jansson's own json_object_update_missing keeps it to itself when there is no memory. */
static bool set_missing(json_t *config, json_t *implied) {
    const char *key;
    json_t *value;
    bool done = true;
    json_object_foreach(implied, key, value) {
        if (done && json_object_get(config, key) == NULL)
            done = json_object_set(config, key, value) == 0;
    }
    return done;
}

static bool fill(const ModelFiles *files, const char *arch, const ArchRow *row, json_t *config) {
    bool done = set(config, "model_type", json_string(row != NULL ? row->model_type : arch));
    done = done && set(config, "gguf_architecture", json_string(arch));
    for (size_t i = 0; done && i < COUNT(keys); i++)
        done = copy_key(files, arch, keys[i].gguf, config, keys[i].config);
    done = done && fill_head_dim(files, arch, config) && copy_rope(files, arch, config) && copy_pattern(files, arch, config) &&
           copy_kinds(files, arch, config) && copy_latent(files, arch, config) && copy_scoring(files, arch, config) &&
           take_predicting_layers(config);
    const MetaValue *kinds = model_files_meta_find(files, "tokenizer.ggml.token_type_count");
    const MetaValue *labels = meta_of(files, arch, "classifier.output_labels");
    if (done && kinds != NULL && has_json(kinds))
        done = set(config, "type_vocab_size", value_json(kinds));
    if (done && labels != NULL && labels->type == META_ARRAY)
        done = set(config, "num_labels", json_integer((json_int_t)labels->as.array.count));
    if (done && vocabulary(files) > 0)
        done = set(config, "vocab_size", json_integer((json_int_t)vocabulary(files)));
    const Tensor *more = model_files_find(files, "per_layer_token_embd.weight");
    if (done && more != NULL && more->n_dim == 2)
        done = set(config, "vocab_size_per_layer_input", json_integer((json_int_t)more->dims[0]));
    if (done && row != NULL && row->implied != NULL) {
        json_t *implied;
        done = json_parse(row->implied, strlen(row->implied), "implied values", false, &implied, NULL) == OK &&
               set_missing(config, implied);
        json_decref(implied);
    }
    return done;
}

static bool is_set(const MetaValue *v) {
    return v != NULL && (v->type == META_ARRAY || v->type == META_STRING || v->type == META_F32 || v->type == META_F64 ||
                         v->as.integer != 0);
}

Status gguf_config(const ModelFiles *files, json_t **out, Error *err) {
    json_setup(); /* before the first value is made: all of them are freed by the same allocator */
    *out = NULL;
    char arch[64];
    FAIL_IF(!gguf_architecture(files, arch), ERR_FORMAT, "%s: general.architecture is missing", model_files_path(files));
    const ArchRow *row = NULL;
    for (size_t i = 0; i < COUNT(archs) && row == NULL; i++)
        if (strcmp(archs[i].arch, arch) == 0 && (archs[i].when == NULL || is_set(meta_of(files, arch, archs[i].when))))
            row = &archs[i];
    json_t *config = json_object();
    if (config == NULL || !fill(files, arch, row, config)) {
        json_decref(config);
        return error_set(err, ERR_MEMORY, "%s: no memory for its configuration", model_files_path(files));
    }
    *out = config;
    return OK;
}
