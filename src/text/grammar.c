/* grammar.c - see grammar.h: compiling by kind, states, and the cache that all states of a grammar share.
 *
 * The cache only grows while it is used. When it takes more than allowed, a new one is begun with the states that are
 * alive, and the old one is dropped: for this a grammar knows its states. One lock guards all of it; what is done
 * under it is mostly a table look-up. */
#include "text/grammar.h"

#include "text/grammar_mask.h"
#include "text/grammar_parts.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { CACHE_BYTES = 64 << 20, DEPTH = 256, MAX_DEPTH = 4096, MAX_SPEC_DEPTH = 8, MAX_TEXT_BYTES = 4 << 20 };

struct Grammar {
    const GrammarVocab *vocab;
    Machine machine;
    Steps steps;
    pthread_mutex_t lock;
    GrammarState *states;
    size_t cache_bytes;
    int depth;
};

struct GrammarState {
    Grammar *grammar;
    GrammarState *next, *before;
    uint32_t at;
    bool ended;
};

static void kind_build(Net *net, uint32_t from, uint32_t to, const GrammarSpec *spec, GrammarSpace space,
                       const GrammarVocab *vocab, int depth);

/* What a JSON string escapes, and how: two characters, or \u00XX. */
static void escaped_byte(Net *net, uint32_t from, uint32_t to, unsigned byte) {
    static const char with_letter[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *at = byte != 0 ? strchr(with_letter, (int)byte) : NULL;
    char text[7];
    if (at != NULL)
        snprintf(text, sizeof text, "\\%c", letters[at - with_letter]);
    else
        snprintf(text, sizeof text, "\\u%04x", byte);
    net_string(net, from, to, text);
}

/* The bytes on edges that were added since then, as they are written in a JSON string. */
static void escape_edges(Net *net, size_t first) {
    const size_t end = net->edge_count;
    for (size_t i = first; i < end && net->status == OK; i++) {
        const NetEdge edge = net->edges[i];
        if (edge.kind != EDGE_BYTES)
            continue;
        ByteSet plain = net->sets[edge.what];
        bool changed = false;
        for (unsigned byte = 0; byte < 128; byte++) {
            if (!byte_set_has(&plain, byte) || (byte >= 32 && byte != '"' && byte != '\\'))
                continue;
            plain.bits[byte >> 6] &= ~((uint64_t)1 << (byte & 63));
            escaped_byte(net, edge.from, edge.to, byte);
            changed = true;
        }
        if (!changed)
            continue;
        const bool any = (plain.bits[0] | plain.bits[1] | plain.bits[2] | plain.bits[3]) != 0;
        if (any)
            net_bytes(net, edge.from, edge.to, &plain);
        const uint32_t nowhere = net_node(net); /* the edge as it was leads to nothing */
        net->edges[i].to = nowhere;
    }
}

static void spec_build(Net *net, uint32_t from, uint32_t to, const GrammarSpec *spec, GrammarSpace space,
                       const GrammarVocab *vocab, int depth) {
    const size_t edges = net->edge_count;
    kind_build(net, from, to, spec, space, vocab, depth);
    if (spec->in_json_string)
        escape_edges(net, edges);
}

static void kind_build(Net *net, uint32_t from, uint32_t to, const GrammarSpec *spec, GrammarSpace space,
                       const GrammarVocab *vocab, int depth) {
    if (depth > MAX_SPEC_DEPTH) {
        net_fail(net, ERR_LIMIT, "tags nested deeper than %d", (int)MAX_SPEC_DEPTH);
        return;
    }
    const bool textual = spec->kind == GRAMMAR_REGEX || spec->kind == GRAMMAR_GBNF || spec->kind == GRAMMAR_LARK;
    if (textual && (spec->text == NULL || spec->text_count > MAX_TEXT_BYTES)) {
        net_fail(net, ERR_LIMIT, "a grammar of %zu bytes (%d are possible)", spec->text_count, (int)MAX_TEXT_BYTES);
        return;
    }
    switch (spec->kind) {
    case GRAMMAR_SCHEMA:
        schema_build(net, from, to, spec->schema, space);
        return;
    case GRAMMAR_OBJECT:
        value_build(net, from, to, space, true);
        return;
    case GRAMMAR_VALUE:
        value_build(net, from, to, space, false);
        return;
    case GRAMMAR_REGEX:
        regex_build(net, from, to, spec->text, spec->text_count);
        return;
    case GRAMMAR_GBNF:
        gbnf_build(net, from, to, spec->text, spec->text_count);
        return;
    case GRAMMAR_LARK:
        lark_build(net, from, to, spec->text, spec->text_count, vocab, space);
        return;
    case GRAMMAR_CHOICE:
        choice_build(net, from, to, spec->choices, spec->count);
        return;
    case GRAMMAR_TEXT:
        any_text_build(net, from, to);
        return;
    case GRAMMAR_TAGS:
        tags_build(net, from, to, spec, space, vocab, depth + 1, spec_build);
        return;
    }
    net_fail(net, ERR_ARGUMENT, "no such kind of grammar: %d", (int)spec->kind);
}

static Status build_machine(const GrammarVocab *vocab, const GrammarSpec *spec, GrammarSpace space, Machine *machine,
                            Error *err) {
    Net net;
    net_init(&net, err);
    const uint32_t rule = net_rule(&net, "start");
    if (net.status == OK)
        spec_build(&net, net.rules[rule].start, net.rules[rule].end, spec, space, vocab, 0);
    const Status status = net_finish(&net, rule, machine, err);
    net_free(&net);
    return status;
}

Status grammar_compile(const GrammarVocab *vocab, const GrammarSpec *spec, const GrammarOptions *options,
                       Grammar **grammar, Error *err) {
    *grammar = NULL;
    Error local = {0};
    if (err == NULL)
        err = &local;
    const GrammarOptions chosen = options != NULL ? *options : (GrammarOptions){0};
    FAIL_IF(chosen.depth < 0 || chosen.depth > MAX_DEPTH, ERR_ARGUMENT, "a grammar's depth of %d (up to %d)",
            chosen.depth, (int)MAX_DEPTH);
    Grammar *g = mem_zalloc(sizeof *g, MEM_TEXT);
    FAIL_IF(g == NULL, ERR_MEMORY, "no memory for a grammar");
    g->vocab = vocab;
    g->cache_bytes = chosen.cache_bytes > 0 ? chosen.cache_bytes : CACHE_BYTES;
    g->depth = chosen.depth > 0 ? chosen.depth : DEPTH;
    Status status = build_machine(vocab, spec, chosen.space, &g->machine, err);
    if (status == OK)
        status = steps_init(&g->steps, &g->machine, g->depth, err);
    if (status == OK && pthread_mutex_init(&g->lock, NULL) != 0) {
        steps_free(&g->steps);
        status = error_set(err, ERR_MEMORY, "no memory for a lock");
    }
    if (status != OK) {
        machine_free(&g->machine);
        mem_free(g);
        return status;
    }
    *grammar = g;
    return OK;
}

void grammar_free(Grammar *grammar) {
    if (grammar == NULL)
        return;
    steps_free(&grammar->steps);
    machine_free(&grammar->machine);
    pthread_mutex_destroy(&grammar->lock);
    mem_free(grammar);
}

size_t grammar_bytes(Grammar *grammar) {
    pthread_mutex_lock(&grammar->lock);
    const size_t bytes = sizeof *grammar + grammar->machine.bytes + steps_bytes(&grammar->steps);
    pthread_mutex_unlock(&grammar->lock);
    return bytes;
}

/* Begins a new cache when the old one is too large. Without memory for it the old one goes on. */
static void trim_cache(Grammar *g) {
    if (steps_bytes(&g->steps) <= g->cache_bytes)
        return;
    Steps fresh;
    Error ignored = {0};
    if (steps_init(&fresh, &g->machine, g->depth, &ignored) != OK)
        return;
    size_t count = 0;
    for (const GrammarState *s = g->states; s != NULL; s = s->next)
        count++;
    uint32_t *moved = mem_array(count + 1, sizeof *moved, MEM_TEXT);
    bool done = moved != NULL;
    size_t i = 0;
    for (const GrammarState *s = g->states; s != NULL && done; s = s->next) {
        moved[i] = steps_copy(&fresh, &g->steps, s->at);
        done = moved[i++] != STATE_NONE;
    }
    if (done) {
        i = 0;
        for (GrammarState *s = g->states; s != NULL; s = s->next)
            s->at = moved[i++];
        Steps old = g->steps;
        g->steps = fresh;
        fresh = old;
    }
    steps_free(&fresh);
    mem_free(moved);
}

static void enlist(Grammar *g, GrammarState *s) {
    s->next = g->states;
    if (g->states != NULL)
        g->states->before = s;
    g->states = s;
}

Status grammar_state_new(Grammar *grammar, GrammarState **state, Error *err) {
    *state = NULL;
    GrammarState *s = mem_zalloc(sizeof *s, MEM_TEXT);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for a grammar's state");
    s->grammar = grammar;
    pthread_mutex_lock(&grammar->lock);
    steps_begin(&grammar->steps, err);
    s->at = steps_start(&grammar->steps);
    const Status status = grammar->steps.status;
    if (status == OK)
        enlist(grammar, s);
    pthread_mutex_unlock(&grammar->lock);
    if (status != OK) {
        mem_free(s);
        return status;
    }
    *state = s;
    return OK;
}

Status grammar_state_clone(const GrammarState *state, GrammarState **clone, Error *err) {
    *clone = NULL;
    GrammarState *s = mem_zalloc(sizeof *s, MEM_TEXT);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for a grammar's state");
    Grammar *g = state->grammar;
    pthread_mutex_lock(&g->lock);
    *s = (GrammarState){.grammar = g, .at = state->at, .ended = state->ended};
    enlist(g, s);
    pthread_mutex_unlock(&g->lock);
    *clone = s;
    return OK;
}

void grammar_state_free(GrammarState *state) {
    if (state == NULL)
        return;
    Grammar *g = state->grammar;
    pthread_mutex_lock(&g->lock);
    if (state->before != NULL)
        state->before->next = state->next;
    else
        g->states = state->next;
    if (state->next != NULL)
        state->next->before = state->before;
    pthread_mutex_unlock(&g->lock);
    mem_free(state);
}

static bool accepts_now(const GrammarState *state) {
    return state->grammar->steps.states[state->at].accepts;
}

bool grammar_may_end(const GrammarState *state) {
    pthread_mutex_lock(&state->grammar->lock);
    const bool may = state->ended || accepts_now(state);
    pthread_mutex_unlock(&state->grammar->lock);
    return may;
}

bool grammar_is_done(const GrammarState *state) {
    Grammar *g = state->grammar;
    pthread_mutex_lock(&g->lock);
    const bool done = state->ended || (accepts_now(state) && g->steps.states[state->at].place_count == 0);
    pthread_mutex_unlock(&g->lock);
    return done;
}

Status grammar_mask(GrammarState *state, uint32_t *bits, Error *err) {
    Grammar *g = state->grammar;
    const GrammarVocab *v = g->vocab;
    const size_t words = grammar_mask_words(v);
    Status status = OK;
    memset(bits, 0, words * sizeof *bits);
    pthread_mutex_lock(&g->lock);
    trim_cache(g);
    const bool may_end = state->ended || accepts_now(state);
    if (!state->ended)
        status = mask_write(&g->steps, v, state->at, bits, err);
    pthread_mutex_unlock(&g->lock);
    TRY(status);
    for (size_t i = 0; i < v->end_count; i++) {
        const uint32_t id = (uint32_t)v->ends[i];
        bits[id >> 5] &= ~((uint32_t)1 << (id & 31));
        if (may_end)
            bits[id >> 5] |= (uint32_t)1 << (id & 31);
    }
    for (size_t i = 0; i < words; i++)
        if (bits[i] != 0)
            return OK;
    FAIL_IF(!may_end, ERR_LIMIT, "no token of the vocabulary goes on as the grammar demands, or it nests too deeply");
    return OK;
}

/* Walks without moving the state; STATE_DEAD where the text stops being possible. */
static uint32_t state_after(Steps *s, uint32_t state, const char *bytes, size_t count) {
    for (size_t i = 0; i < count && state != STATE_DEAD && state != STATE_NONE; i++)
        state = steps_byte(s, state, (uint8_t)bytes[i]);
    return state;
}

Status grammar_accept_bytes(GrammarState *state, const char *bytes, size_t count, Error *err) {
    Grammar *g = state->grammar;
    pthread_mutex_lock(&g->lock);
    trim_cache(g);
    steps_begin(&g->steps, err);
    const uint32_t after = state->ended && count > 0 ? STATE_DEAD : state_after(&g->steps, state->at, bytes, count);
    Status status = g->steps.status;
    if (after == STATE_DEAD)
        status = error_set(err, ERR_ARGUMENT, "the grammar does not allow these bytes here");
    else if (status == OK)
        state->at = after;
    pthread_mutex_unlock(&g->lock);
    return status;
}

Status grammar_accept(GrammarState *state, int32_t token, Error *err) {
    const GrammarVocab *v = state->grammar->vocab;
    FAIL_IF(token < 0 || (size_t)token >= v->count, ERR_ARGUMENT, "token %d of a vocabulary of %zu", (int)token,
            v->count);
    for (size_t i = 0; i < v->end_count; i++)
        if (v->ends[i] == token) {
            FAIL_IF(!grammar_may_end(state), ERR_ARGUMENT, "the grammar does not allow the text to end here");
            state->ended = true;
            return OK;
        }
    const VocabToken piece = v->spelling[token];
    FAIL_IF(piece.count == 0, ERR_ARGUMENT, "token %d is never allowed", (int)token);
    return grammar_accept_bytes(state, v->bytes + piece.start, piece.count, err);
}

Status grammar_forced(GrammarState *state, char *bytes, size_t limit, size_t *count, Error *err) {
    Grammar *g = state->grammar;
    const Machine *m = &g->machine;
    Steps *s = &g->steps;
    *count = 0;
    if (state->ended)
        return OK;
    pthread_mutex_lock(&g->lock);
    trim_cache(g);
    steps_begin(s, err);
    for (uint32_t at = state->at; *count < limit && s->status == OK && !s->states[at].accepts;) {
        uint32_t only = STATE_NONE, next_class = 0;
        size_t ways = 0;
        for (uint32_t c = 0; c < m->class_count && ways < 2 && s->status == OK; c++) {
            const uint32_t next = steps_class(s, at, c);
            if (next == STATE_DEAD || next == STATE_NONE)
                continue;
            ways += m->bytes_in[c];
            only = next;
            next_class = c;
        }
        if (ways != 1 || m->byte_of[next_class] == SPECIAL_BYTE)
            break;
        bytes[(*count)++] = (char)m->byte_of[next_class];
        at = only;
    }
    const Status status = s->status;
    pthread_mutex_unlock(&g->lock);
    return status;
}
