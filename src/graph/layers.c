/* layers.c - see layers.h. */
#include "graph/layers.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* FNV-1a over the numbers that decide what an operation costs. Names do not count. */
static void mix(uint64_t *hash, int64_t number) {
    for (int i = 0; i < 8; i++) {
        *hash ^= (uint64_t)number >> (8 * i) & 0xFF;
        *hash *= 1099511628211u;
    }
}

static void mix_weight(const Graph *g, int weight, uint64_t *hash) {
    if (weight < 0) {
        mix(hash, -1);
        return;
    }
    const WeightDecl *d = &g->weights[weight];
    const int numbers[] = {(int)d->role, d->rows, d->cols, d->count, d->begin, d->transposed};
    for (size_t i = 0; i < COUNT(numbers); i++)
        mix(hash, numbers[i]);
}

static uint64_t hash_of_layer(const Graph *g, int layer) {
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        if (op->layer != layer)
            continue;
        mix(&hash, (int64_t)op->kind);
        mix(&hash, op->out != NO_VAL ? g->values[op->out].width : 0);
        for (int j = 0; j < OP_INPUTS; j++)
            mix(&hash, op->in[j] != NO_VAL ? g->values[op->in[j]].width : -1);
        for (size_t w = 0; w < COUNT(op->weight); w++)
            mix_weight(g, op->weight[w], &hash);
        if (op->kind == OP_ATTEND) {
            mix(&hash, op->u.attend.window);
            mix(&hash, op->u.attend.kv_heads);
        }
        if (op->kind == OP_EXPERTS_UP)
            mix(&hash, op->u.experts.used);
    }
    return hash;
}

static const char *mixer_of(const Graph *g, int layer) {
    const char *found = "";
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        if (op->layer != layer)
            continue;
        if (op->kind == OP_ATTEND)
            return op->u.attend.window > 0 ? "attention in a window" : "attention";
        if (op->kind == OP_RECUR)
            found = "recurrent";
        else if (op->kind == OP_CONV && found[0] == '\0')
            found = "convolution";
    }
    return found;
}

static const char *rest_of(const Graph *g, int layer) {
    const char *found = "";
    for (int i = 0; i < g->n_op; i++)
        if (g->ops[i].layer == layer) {
            if (g->ops[i].kind == OP_EXPERTS_UP)
                return "experts";
            if (g->ops[i].kind == OP_GLU)
                found = "feed-forward";
        }
    return found;
}

/* Kinds that read alike get a number. */
static void name_kind(const Graph *g, int layer, LayerKinds *k, int kind) {
    const char *a = mixer_of(g, layer), *b = rest_of(g, layer);
    char words[KIND_WORDS_BYTES - 8];
    snprintf(words, sizeof words, "%s%s%s", a, a[0] != '\0' && b[0] != '\0' ? ", " : "", a[0] == '\0' && b[0] == '\0' ? "other" : b);
    int alike = 1;
    for (int i = 0; i < kind; i++)
        alike += starts_with(k->words[i], words) && strchr(" ", k->words[i][strlen(words)]) != NULL;
    if (alike > 1)
        snprintf(k->words[kind], KIND_WORDS_BYTES, "%s %d", words, alike);
    else
        snprintf(k->words[kind], KIND_WORDS_BYTES, "%s", words);
}

Status layer_kinds_open(const Graph *g, LayerKinds *k, Error *err) {
    *k = (LayerKinds){.n_layer = g->n_layer};
    k->kind = mem_array((size_t)g->n_layer + 1, sizeof *k->kind, MEM_GRAPH);
    bool *described = mem_array((size_t)g->n_layer + 1, sizeof *described, MEM_GRAPH);
    if (k->kind == NULL || described == NULL) {
        mem_free(described);
        layer_kinds_close(k);
        return error_set(err, ERR_MEMORY, "no memory for the kinds of %d layers", g->n_layer);
    }
    for (int i = 0; i < g->n_op; i++)
        if (g->ops[i].layer >= 0 && g->ops[i].layer < g->n_layer)
            described[g->ops[i].layer] = true;
    uint64_t hashes[LAYER_KINDS];
    for (int layer = 0; layer < g->n_layer; layer++) {
        k->kind[layer] = -1;
        if (!described[layer])
            continue;
        const uint64_t hash = hash_of_layer(g, layer);
        int kind = 0;
        while (kind < k->n_kind && hashes[kind] != hash)
            kind++;
        if (kind == k->n_kind && kind < LAYER_KINDS) {
            hashes[kind] = hash;
            name_kind(g, layer, k, kind);
            k->n_kind++;
        }
        k->kind[layer] = MIN(kind, LAYER_KINDS - 1);
        k->count[k->kind[layer]]++;
    }
    mem_free(described);
    return OK;
}

void layer_kinds_close(LayerKinds *k) {
    mem_free(k->kind);
    *k = (LayerKinds){0};
}

/* The layer whose result this value is part of: not where it is what every layer gets, the value between two layers. */
static int layer_of_value(const Graph *g, Val v, int user) {
    if (v == NO_VAL)
        return -1;
    const Val base = g->values[v].base != NO_VAL ? g->values[v].base : v;
    if (base == g->hidden[user] || v == g->hidden[user])
        return -1;
    return g->ops[g->values[base].op].layer;
}

/* Marks a layer and those whose states or choices it uses. */
static int mark(const Graph *g, int layer, bool *chosen) {
    if (layer < 0 || layer >= g->n_layer || chosen[layer])
        return 0;
    int marked = 1;
    chosen[layer] = true;
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        if (op->layer != layer)
            continue;
        for (int j = 0; j < OP_INPUTS; j++)
            if (layer_of_value(g, op->in[j], layer) != layer)
                marked += mark(g, layer_of_value(g, op->in[j], layer), chosen);
        const Attend *a = op->kind == OP_ATTEND ? &op->u.attend : NULL;
        const State states[] = {op->state, a != NULL ? a->keys : NO_STATE, a != NULL ? a->values : NO_STATE,
                                a != NULL && a->more ? a->more_keys : NO_STATE};
        for (size_t s = 0; s < COUNT(states); s++)
            if (states[s] != NO_STATE)
                marked += mark(g, g->states[states[s]].layer, chosen);
    }
    return marked;
}

int layers_choose(const Graph *g, const LayerKinds *k, int n, bool *chosen) {
    int marked = 0, of_kind[LAYER_KINDS] = {0};
    for (int kind = 0; kind < k->n_kind; kind++)
        for (int layer = 0; layer < k->n_layer; layer++)
            if (k->kind[layer] == kind) {
                marked += mark(g, layer, chosen);
                break;
            }
    while (marked < MIN(n, k->n_layer)) { /* a layer of the kind that has the least of its share */
        for (int kind = 0; kind < k->n_kind; kind++)
            of_kind[kind] = 0;
        for (int layer = 0; layer < k->n_layer; layer++)
            if (chosen[layer])
                of_kind[k->kind[layer]]++;
        int poorest = -1;
        for (int kind = 0; kind < k->n_kind; kind++)
            if (of_kind[kind] < k->count[kind] &&
                (poorest < 0 || (int64_t)of_kind[kind] * k->count[poorest] < (int64_t)of_kind[poorest] * k->count[kind]))
                poorest = kind;
        if (poorest < 0)
            break;
        for (int layer = 0; layer < k->n_layer; layer++)
            if (k->kind[layer] == poorest && !chosen[layer]) {
                marked += mark(g, layer, chosen);
                break;
            }
    }
    return marked;
}
