/* rope_init.c - the frequencies of rotary positions, for every published scaling.
 *
 * Sources: Su et al. 2021 (RoPE); bloc97 2023 (NTK); Peng et al. 2023 (YaRN); Ding et al. 2024 (LongRoPE); Touvron
 * et al. 2024 (by wavelength); the rope_type names are those of Hugging Face configurations. All in float, as the references do. */
#include "graph/graph_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Reads keys of whichever object describes the rotation: rope_parameters (by layer type or not), rope_scaling, or the
 * configuration itself (rope_theta, partial_rotary_factor). */
typedef struct Source {
    const Cfg *c;
    char object[96]; /* "rope_parameters.", "rope_parameters.full_attention.", "rope_scaling.", or "" */
} Source;

static const char *key_of(const Source *s, const char *key, char buffer[192]) {
    snprintf(buffer, 192, "%s%s", s->object, key);
    return buffer;
}

static float real_key(const Source *s, const char *key, float otherwise) {
    char path[192];
    const bool inside = s->object[0] != '\0' && cfg_has(s->c, key_of(s, key, path));
    return cfg_real(s->c, inside ? path : key, otherwise);
}

static bool has_key(const Source *s, const char *key) {
    char path[192];
    return s->object[0] != '\0' && cfg_has(s->c, key_of(s, key, path));
}

static Source source_of(const Cfg *c, const char *layer_type) {
    Source s = {.c = c};
    if (layer_type != NULL) {
        snprintf(s.object, sizeof s.object, "rope_parameters.%s", layer_type);
        if (cfg_has(c, s.object)) {
            strcat(s.object, ".");
            return s;
        }
    }
    snprintf(s.object, sizeof s.object, "%s", cfg_has(c, "rope_parameters") ? "rope_parameters." : "rope_scaling.");
    return s;
}

static float *new_freqs(Graph *g, int dim) {
    float *freqs = arena_array(&g->arena, (size_t)(dim / 2) + 1, sizeof *freqs);
    if (freqs == NULL)
        graph_fail(g, "no memory for rotary frequencies");
    return freqs;
}

static float *plain_freqs(Graph *g, int dim, int whole, float theta) {
    float *freqs = new_freqs(g, dim);
    for (int i = 0; freqs != NULL && i < dim / 2; i++)
        freqs[i] = 1.0f / powf(theta, (float)(2 * i) / (float)whole);
    return freqs;
}

Rope rope_plain(Graph *g, int dim, float theta) {
    return (Rope){.dim = dim, .freqs = plain_freqs(g, dim, dim, theta), .theta = theta};
}

static float yarn_magnitude(float factor, float mscale) {
    return factor <= 1 ? 1.0f : 0.1f * mscale * logf(factor) + 1.0f;
}

/* The index of the frequency that turns `turns` times within the original context. */
static double yarn_place(double turns, int dim, double theta, double original) {
    return dim * log(original / (turns * 2 * M_PI)) / (2 * log(theta));
}

static void yarn(Graph *g, const Source *s, Rope *r) {
    float *freqs = (float *)r->freqs;
    const float original = real_key(s, "original_max_position_embeddings", cfg_real(s->c, "max_position_embeddings", 4096));
    const float factor = has_key(s, "factor") ? real_key(s, "factor", 1)
                                              : cfg_real(s->c, "max_position_embeddings", original) / original;
    const float mscale = real_key(s, "mscale", 0), mscale_all = real_key(s, "mscale_all_dim", 0);
    if (has_key(s, "attention_factor"))
        r->magnitude = real_key(s, "attention_factor", 1);
    else if (mscale != 0 && mscale_all != 0)
        r->magnitude = yarn_magnitude(factor, mscale) / yarn_magnitude(factor, mscale_all);
    else
        r->magnitude = yarn_magnitude(factor, 1);
    char path[192];
    const float fast = real_key(s, "beta_fast", 32), slow = real_key(s, "beta_slow", 1);
    double low = yarn_place(fast != 0 ? fast : 32, r->dim, r->theta, original);
    double high = yarn_place(slow != 0 ? slow : 1, r->dim, r->theta, original);
    if (cfg_bool(s->c, key_of(s, "truncate", path), true)) {
        low = floor(low);
        high = ceil(high);
    }
    low = low < 0 ? 0 : low;
    high = high > r->dim - 1 ? r->dim - 1 : high;
    if (low == high)
        high += 0.001;
    for (int i = 0; graph_ok(g) && i < r->dim / 2; i++) {
        const float ramp = (float)((i - low) / (high - low));
        const float keep = 1.0f - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
        freqs[i] = freqs[i] / factor * (1 - keep) + freqs[i] * keep;
    }
}

static void by_wavelength(const Source *s, Rope *r) {
    float *freqs = (float *)r->freqs;
    const float factor = real_key(s, "factor", 8), low = real_key(s, "low_freq_factor", 1);
    const float high = real_key(s, "high_freq_factor", 4);
    const float original = real_key(s, "original_max_position_embeddings", cfg_real(s->c, "max_position_embeddings", 8192));
    for (int i = 0; i < r->dim / 2; i++) {
        const float wave = 2 * (float)M_PI / freqs[i];
        if (wave > original / low) {
            freqs[i] /= factor;
        } else if (wave >= original / high) {
            const float smooth = (original / wave - low) / (high - low);
            freqs[i] = (1 - smooth) * freqs[i] / factor + smooth * freqs[i];
        }
    }
}

/* Divides the frequencies by a list of factors under `key`. */
static void divide(Graph *g, const Source *s, const char *key, float *freqs, int dim) {
    char path[192];
    key_of(s, key, path);
    const int n = cfg_list_length(s->c, path);
    const bool spare = cfg_is_gguf(s->c) && n > dim / 2; /* for layers that rotate more */
    if (n != dim / 2 && !spare)
        graph_fail(g, "config.json: %s has %d numbers, %d are expected", path, n, dim / 2);
    for (int i = 0; graph_ok(g) && i < dim / 2; i++)
        freqs[i] /= cfg_real_at(s->c, path, i, 1);
}

static void longrope(Graph *g, const Source *s, Rope *r) {
    const float longest = cfg_real(s->c, "max_position_embeddings", 4096);
    /* The outer key is the older and counts first. */
    const float inner = real_key(s, "original_max_position_embeddings", longest);
    const float original = cfg_real(s->c, "original_max_position_embeddings", inner);
    const float factor = has_key(s, "factor") ? real_key(s, "factor", 1) : longest / original;
    r->magnitude = has_key(s, "attention_factor") ? real_key(s, "attention_factor", 1)
                   : factor <= 1                  ? 1
                                                  : sqrtf(1 + logf(factor) / logf(original));
    float *more = plain_freqs(g, r->dim, r->dim, r->theta);
    if (!graph_ok(g))
        return;
    divide(g, s, "long_factor", more, r->dim);
    divide(g, s, "short_factor", (float *)r->freqs, r->dim);
    r->freqs_long = more;
    r->long_after = (int)original;
}

/* `head_dim`: numbers of a head; `dim` of them are rotated. base 0: rope_theta. */
static Rope rope_with(Graph *g, const Source *from, int head_dim, int dim, float base) {
    const Source s = *from;
    const Cfg *c = s.c;
    char path[192];
    const char *type = cfg_str(c, key_of(&s, "rope_type", path), NULL);
    if (type == NULL)
        type = cfg_str(c, key_of(&s, "type", path), "default");
    /* The base inside, else one for all, or a list for the layers. */
    const float theta = base > 0                    ? base
                        : has_key(&s, "rope_theta") ? real_key(&s, "rope_theta", 10000)
                                                    : cfg_real_at(c, "rope_theta", g->layer, 10000);
    Rope r = {.dim = dim, .theta = theta};
    if (r.dim < 0 || r.dim > head_dim || r.dim % 2 != 0 || !(theta > 0)) {
        graph_fail(g, "config.json: %d of %d numbers of a head cannot be rotated with rope_theta %g", r.dim, head_dim,
                   (double)theta);
        return r;
    }
    const bool proportional = strcmp(type, "proportional") == 0;
    if (proportional) { /* the frequencies of the whole head, the last ones zero */
        const int turning = r.dim / 2;
        r.dim = head_dim;
        float *freqs = plain_freqs(g, r.dim, head_dim, theta);
        const float factor = real_key(&s, "factor", 1);
        for (int i = 0; freqs != NULL && i < r.dim / 2; i++)
            freqs[i] = i < turning ? freqs[i] / factor : 0;
        r.freqs = freqs;
        return r;
    }
    r.freqs = plain_freqs(g, r.dim, r.dim, theta);
    if (!graph_ok(g))
        return r;
    if (strcmp(type, "linear") == 0) {
        const float factor = real_key(&s, "factor", 1);
        for (int i = 0; i < r.dim / 2; i++)
            ((float *)r.freqs)[i] /= factor;
    } else if (strcmp(type, "llama3") == 0) {
        by_wavelength(&s, &r);
    } else if (strcmp(type, "yarn") == 0 && !has_key(&s, "long_factor")) {
        yarn(g, &s, &r);
    } else if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0 || strcmp(type, "yarn") == 0) {
        /* "yarn" with lists of factors is an early name of it */
        longrope(g, &s, &r);
    } else if (strcmp(type, "factors") == 0) { /* from a GGUF tensor */
        divide(g, &s, "factors", (float *)r.freqs, r.dim);
    } else if (strcmp(type, "dynamic") == 0) {
        const float alpha = real_key(&s, "alpha", 0);
        if (alpha > 0) { /* a fixed stretch */
            r.theta = theta * powf(alpha, (float)r.dim / (float)(r.dim - 2));
            r.freqs = plain_freqs(g, r.dim, r.dim, r.theta);
        } else {
            r.dynamic = real_key(&s, "factor", 1);
            r.long_after = (int)real_key(&s, "original_max_position_embeddings",
                                         cfg_real(c, "max_position_embeddings", 2048));
        }
    } else if (strcmp(type, "default") != 0 && strcmp(type, "mrope") != 0) {
        graph_fail(g, "rotary scaling '%s' is not known", type);
    }
    return r;
}

static float rotated_part(const Graph *g, const Source *s, int head_dim) {
    const float part = real_key(s, "partial_rotary_factor", cfg_real_at(s->c, "partial_rotary_factors", g->layer, 1));
    return cfg_has(s->c, "rotary_dim") ? (float)cfg_int(s->c, "rotary_dim", head_dim) / (float)head_dim : part;
}

Rope rope_of(Graph *g, const Cfg *c, int head_dim, const char *layer_type) {
    const Source s = source_of(c, layer_type);
    const float part = rotated_part(g, &s, head_dim);
    return rope_with(g, &s, head_dim, part >= 0 && part <= 1 ? (int)((float)head_dim * part) : -1, 0);
}

Rope rope_sized(Graph *g, const Cfg *c, int dim, const char *layer_type) {
    const Source s = source_of(c, layer_type);
    (void)rotated_part(g, &s, dim); /* says the same in another way, where it is there */
    return rope_with(g, &s, dim, dim, 0);
}

Rope rope_based(Graph *g, const Cfg *c, int dim, float theta) {
    const Source s = source_of(c, NULL);
    return rope_with(g, &s, dim, dim, theta);
}

float rope_score_scale(const Cfg *c) {
    const Source s = source_of(c, NULL);
    const float mscale = real_key(&s, "mscale_all_dim", 0);
    const float m = mscale != 0 && has_key(&s, "factor") ? yarn_magnitude(real_key(&s, "factor", 1), mscale) : 1;
    return m * m;
}

void rope_angles(const Rope *rope, int64_t position, int64_t declared, float *cosine, float *sine) {
    const float magnitude = rope->magnitude != 0 ? rope->magnitude : 1.0f;
    const bool beyond = rope->long_after > 0 && declared > rope->long_after;
    const float *freqs = beyond && rope->freqs_long != NULL ? rope->freqs_long : rope->freqs;
    float theta = rope->theta;
    if (beyond && rope->dynamic > 0)
        theta *= powf(rope->dynamic * (float)declared / (float)rope->long_after - (rope->dynamic - 1),
                      (float)rope->dim / (float)(rope->dim - 2));
    for (int i = 0; i < rope->dim / 2; i++) {
        const float freq = beyond && rope->dynamic > 0 ? 1.0f / powf(theta, (float)(2 * i) / (float)rope->dim) : freqs[i];
        const float angle = (float)position * freq;
        cosine[i] = cosf(angle) * magnitude;
        sine[i] = sinf(angle) * magnitude;
    }
}
