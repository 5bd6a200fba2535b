/* grammar_vocab.c - see grammar_vocab.h. */
#include "text/grammar_vocab.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct SortedToken {
    const char *bytes;
    uint32_t count;
    int32_t id;
} SortedToken;

size_t special_spelling(int32_t id, char bytes[SPECIAL_BYTES]) {
    bytes[0] = (char)SPECIAL_BYTE;
    return 1 + (size_t)snprintf(bytes + 1, SPECIAL_BYTES - 1, "[%d]", (int)id);
}

int32_t vocab_special_at(const GrammarVocab *vocab, const char *text, size_t count, size_t *name_bytes) {
    int32_t found = -1;
    *name_bytes = 0;
    for (size_t i = 0; i < vocab->special_count; i++) {
        const VocabToken *name = &vocab->names[i];
        if (name->count > *name_bytes && name->count <= count &&
            memcmp(vocab->bytes + name->start, text, name->count) == 0) {
            found = vocab->specials[i];
            *name_bytes = name->count;
        }
    }
    return found;
}

static int compare_tokens(const void *a, const void *b) {
    const SortedToken *x = a, *y = b;
    const int order = memcmp(x->bytes, y->bytes, MIN(x->count, y->count));
    if (order != 0)
        return order;
    return x->count != y->count ? (x->count > y->count ? 1 : -1) : (x->id > y->id) - (x->id < y->id);
}

static bool usable(const GrammarToken *t) {
    return t->count > 0 && t->count <= GRAMMAR_MAX_TOKEN_BYTES;
}

/* Copies the bytes of all tokens behind one another: spellings, and the names of special ones. */
static void copy_bytes(GrammarVocab *v, const GrammarToken *tokens) {
    size_t used = 0;
    for (size_t id = 0; id < v->count; id++) {
        const GrammarToken *t = &tokens[id];
        if (!usable(t))
            continue;
        memcpy(v->bytes + used, t->bytes, t->count);
        VocabToken piece = {.start = (uint32_t)used, .count = t->count};
        used += t->count;
        if (t->special) {
            v->specials[v->special_count] = (int32_t)id;
            v->names[v->special_count++] = piece;
            piece.start = (uint32_t)used;
            piece.count = (uint32_t)special_spelling((int32_t)id, v->bytes + used);
            used += SPECIAL_BYTES;
        }
        v->spelling[id] = piece;
        v->longest = MAX(v->longest, piece.count);
    }
}

/* Opens and closes nodes along the sorted tokens; without `nodes` only counts them. */
static size_t place_nodes(GrammarVocab *v, const SortedToken *sorted, size_t count, bool counting, uint32_t *path) {
    size_t nodes = 1, depth = 0;
    path[0] = 0;
    if (!counting)
        v->nodes[0] = (VocabNode){0};
    for (size_t i = 0; i < count; i++) {
        const SortedToken *t = &sorted[i];
        size_t shared = 0;
        if (i > 0)
            while (shared < t->count && shared < sorted[i - 1].count && t->bytes[shared] == sorted[i - 1].bytes[shared])
                shared++;
        for (; depth > shared; depth--)
            if (!counting)
                v->nodes[path[depth]].end = (uint32_t)nodes;
        for (; depth < t->count; depth++, nodes++) {
            path[depth + 1] = (uint32_t)nodes;
            if (!counting)
                v->nodes[nodes] = (VocabNode){
                    .first_token = (uint32_t)i, .depth = (uint16_t)(depth + 1), .byte = (uint8_t)t->bytes[depth]};
        }
        if (!counting)
            v->tokens[i] = t->id;
    }
    if (!counting) {
        for (; depth > 0; depth--)
            v->nodes[path[depth]].end = (uint32_t)nodes;
        v->nodes[0].end = (uint32_t)nodes;
        v->nodes[nodes] = (VocabNode){.first_token = (uint32_t)count};
    }
    return nodes;
}

static bool fill_vocab(GrammarVocab *v, const GrammarToken *tokens, size_t bytes, size_t specials) {
    v->bytes = mem_alloc(bytes + 1, MEM_TEXT);
    v->spelling = mem_array(v->count + 1, sizeof *v->spelling, MEM_TEXT);
    v->tokens = mem_array(v->count + 1, sizeof *v->tokens, MEM_TEXT);
    v->specials = mem_array(specials + 1, sizeof *v->specials, MEM_TEXT);
    v->names = mem_array(specials + 1, sizeof *v->names, MEM_TEXT);
    uint32_t *path = mem_array(GRAMMAR_MAX_TOKEN_BYTES + 2, sizeof *path, MEM_TEXT);
    SortedToken *sorted = mem_array(v->count + 1, sizeof *sorted, MEM_TEXT);
    bool done = v->bytes && v->spelling && v->tokens && v->specials && v->names && path && sorted;
    if (done) {
        copy_bytes(v, tokens);
        size_t used = 0;
        for (size_t id = 0; id < v->count; id++)
            if (v->spelling[id].count > 0)
                sorted[used++] = (SortedToken){v->bytes + v->spelling[id].start, v->spelling[id].count, (int32_t)id};
        qsort(sorted, used, sizeof *sorted, compare_tokens);
        v->node_count = place_nodes(v, sorted, used, true, path);
        v->nodes = mem_array(v->node_count + 1, sizeof *v->nodes, MEM_TEXT);
        done = v->nodes != NULL;
        if (done)
            place_nodes(v, sorted, used, false, path);
    }
    mem_free(sorted);
    mem_free(path);
    return done;
}

Status grammar_vocab_new(const GrammarToken *tokens, size_t count, const int32_t *ends, size_t end_count,
                         GrammarVocab **vocab, Error *err) {
    *vocab = NULL;
    FAIL_IF(count == 0 || count > GRAMMAR_MAX_VOCAB, ERR_ARGUMENT, "a vocabulary of %zu tokens (1 to %d are possible)",
            count, (int)GRAMMAR_MAX_VOCAB);
    size_t bytes = 0, specials = 0;
    for (size_t id = 0; id < count; id++) {
        if (usable(&tokens[id]))
            bytes += tokens[id].count + (tokens[id].special ? SPECIAL_BYTES : 0);
        specials += tokens[id].special && usable(&tokens[id]);
    }
    FAIL_IF(bytes > UINT32_MAX, ERR_LIMIT, "a vocabulary of %zu bytes", bytes);
    for (size_t i = 0; i < end_count; i++)
        FAIL_IF(ends[i] < 0 || (size_t)ends[i] >= count, ERR_ARGUMENT, "end token %d of a vocabulary of %zu tokens",
                (int)ends[i], count);
    GrammarVocab *v = mem_zalloc(sizeof *v, MEM_TEXT);
    if (v != NULL) {
        v->count = count;
        v->ends = mem_array(end_count + 1, sizeof *v->ends, MEM_TEXT);
    }
    if (v == NULL || v->ends == NULL || !fill_vocab(v, tokens, bytes, specials)) {
        grammar_vocab_free(v);
        return error_set(err, ERR_MEMORY, "no memory for the tree of %zu tokens", count);
    }
    if (end_count > 0)
        memcpy(v->ends, ends, end_count * sizeof *ends);
    v->end_count = end_count;
    *vocab = v;
    return OK;
}

void grammar_vocab_free(GrammarVocab *vocab) {
    if (vocab == NULL)
        return;
    mem_free(vocab->nodes);
    mem_free(vocab->tokens);
    mem_free(vocab->spelling);
    mem_free(vocab->bytes);
    mem_free(vocab->ends);
    mem_free(vocab->specials);
    mem_free(vocab->names);
    mem_free(vocab);
}

size_t grammar_mask_words(const GrammarVocab *vocab) {
    return (vocab->count + 31) / 32;
}
