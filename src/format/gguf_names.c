/* gguf_names.c - the tensor names of GGUF files, as llama.cpp's converter writes them.
 *
 * One table for all architectures, then rows that hold for some only; those come first. `*` stands for ".weight" or
 * ".bias", which go through unchanged. Names in layers are given without "model.layers.N." and "blk.N.". */
#include "format/gguf_names.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

typedef struct NameRow {
    const char *archs; /* names between blanks, or NULL = all */
    const char *canonical, *gguf;
} NameRow;

static const NameRow layer_rows[] = {
#include "format/gguf_layer_names.inc"
};

static const NameRow outer_rows[] = {
    {NULL, "model.embed_tokens*", "token_embd*"},
    {NULL, "model.norm*", "output_norm*"},
    {NULL, "model.norm_f*", "output_norm*"},
    {NULL, "model.embedding_norm*", "token_embd_norm*"},
    {NULL, "lm_head*", "output*"},
    {NULL, "embeddings.word_embeddings*", "token_embd*"},
    {NULL, "embeddings.position_embeddings*", "position_embd*"},
    {NULL, "embeddings.token_type_embeddings*", "token_types*"},
    {NULL, "embeddings.LayerNorm*", "token_embd_norm*"},
    {NULL, "classifier.dense*", "cls*"},
    {NULL, "classifier.out_proj*", "cls.output*"},
    {NULL, "model.embed_tokens_per_layer*", "per_layer_token_embd*"},
    {NULL, "model.per_layer_model_projection*", "per_layer_model_proj*"},
    {NULL, "model.per_layer_projection_norm*", "per_layer_proj_norm*"},
    {NULL, "model.hyper_connection_mixer.hc_norm*", "output_hc_norm*"},
    {NULL, "model.hyper_connection_mixer.input_mix_weight_down*", "output_hc_down*"},
    {NULL, "model.hyper_connection_mixer.input_mix_weight_up*", "output_hc_up*"},
    {NULL, "model.hc_head_fn*", "output_hc_fn*"},
    {NULL, "model.hc_head_base", "output_hc_base.weight"},
    {NULL, "model.hc_head_scale", "output_hc_scale.weight"},
};

static bool arch_listed(const char *archs, const char *arch) {
    if (archs == NULL)
        return true;
    char word[72];
    snprintf(word, sizeof word, " %s ", arch);
    return strstr(archs, word) != NULL;
}

/* Matches `pattern` (with an optional trailing *) against the name; gives what stands for the *. */
static bool matches(const char *pattern, const char *name, const char **rest) {
    const char *star = strchr(pattern, '*');
    if (star == NULL) {
        *rest = "";
        return strcmp(pattern, name) == 0;
    }
    const size_t length = (size_t)(star - pattern);
    *rest = name + length;
    return strncmp(pattern, name, length) == 0 && (strcmp(*rest, ".weight") == 0 || strcmp(*rest, ".bias") == 0);
}

static bool look_up(const NameRow *rows, size_t n, const char *arch, const char *name, const char *prefix,
                    char out[GGUF_NAME_BYTES]) {
    for (size_t i = 0; i < n; i++) {
        const char *rest;
        if (!arch_listed(rows[i].archs, arch) || !matches(rows[i].canonical, name, &rest))
            continue;
        const size_t kept = strcspn(rows[i].gguf, "*");
        const int bytes = snprintf(out, GGUF_NAME_BYTES, "%s%.*s%s", prefix, (int)kept, rows[i].gguf, rest);
        return bytes > 0 && bytes < GGUF_NAME_BYTES;
    }
    return false;
}

bool gguf_tensor_name(const char *arch, const char *canonical, char name[GGUF_NAME_BYTES]) {
    static const char *const layers[] = {"model.layers.", "encoder.layer."};
    const char *number = NULL;
    for (size_t i = 0; i < COUNT(layers); i++)
        if (starts_with(canonical, layers[i]))
            number = canonical + strlen(layers[i]);
    if (number == NULL)
        return look_up(outer_rows, COUNT(outer_rows), arch, canonical, "", name);
    const char *dot = strchr(number, '.');
    if (dot == NULL || dot - number > 6)
        return false;
    char prefix[24];
    snprintf(prefix, sizeof prefix, "blk.%.*s.", (int)(dot - number), number);
    return look_up(layer_rows, COUNT(layer_rows), arch, dot + 1, prefix, name);
}
