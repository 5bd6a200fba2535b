/* grammar_mask.c - see grammar_mask.h.
 *
 * A mask is found by walking the tree of the vocabulary with the recogniser: a branch is left as soon as the state is
 * dead. In a JSON string nearly all of the tree is alive, which takes a millisecond or two; so the result is kept, in
 * two parts. Most tokens are decided by what happens inside the current rule, wherever it was called from: that part
 * is kept for the *local* state, in which everything below the places' common frame is replaced by FRAME_BASE:
 *
 *     stacks       [chars, string, value, member, object]    local    [chars, string | BASE]
 *                  [chars, string, key, object]                       [chars, string | BASE]   the same
 *
 * A token whose bytes lead below BASE ('",' closes the string and goes on) is undecided: the walk notes the branch, and
 * each full state walks these few. Counts of loops that cannot reach a bound within 24 (or else 8) bytes are made equal
 * too, and longer branches undecided: 1,000 lengths of a string then share one walk. */
#include "text/grammar_mask.h"

#include <string.h>

/* How far from its bounds a count must be; tokens longer than 24 bytes are few, longer than 8 are a quarter. */
static const uint32_t elastic_bytes[] = {24, 8};

struct Mask {
    uint32_t *words;     /* a bit for each token; NULL: the list */
    uint32_t *tokens;    /* when they are few */
    uint32_t *undecided; /* nodes of the tree, for local states */
    uint32_t token_count, undecided_count;
};

typedef struct Walk {
    Steps *steps;
    const GrammarVocab *vocab;
    uint32_t *bits;
    uint32_t *undecided;
    size_t undecided_count, undecided_capacity;
    uint32_t depth_limit; /* in bytes; deeper is undecided */
    bool local;
    uint32_t path[GRAMMAR_MAX_TOKEN_BYTES + 2]; /* the state at each depth */
} Walk;

static void set_tokens(Walk *w, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) {
        const uint32_t id = (uint32_t)w->vocab->tokens[i];
        w->bits[id >> 5] |= (uint32_t)1 << (id & 31);
    }
}

static bool note_undecided(Walk *w, uint32_t node) {
    if (!mem_grow((void **)&w->undecided, &w->undecided_capacity, w->undecided_count + 1, sizeof *w->undecided,
                  MEM_TEXT))
        return false;
    w->undecided[w->undecided_count++] = node;
    return true;
}

/* Walks nodes first..last-1, a run of whole branches whose parents' states are in path[]. */
static Status walk_nodes(Walk *w, uint32_t first, uint32_t last, Error *err) {
    const VocabNode *nodes = w->vocab->nodes;
    Steps *s = w->steps;
    const uint8_t *class_of = s->machine->class_of;
    for (uint32_t i = first; i < last;) {
        const VocabNode *node = &nodes[i];
        const uint32_t state = steps_class(s, w->path[node->depth - 1], class_of[node->byte]);
        if (state == STATE_DEAD) {
            i = node->end;
            continue;
        }
        FAIL_IF(state == STATE_NONE, s->status, "no state");
        set_tokens(w, node->first_token, nodes[i + 1].first_token);
        if (w->local && node->end > i + 1 && (s->states[state].leaks || node->depth >= w->depth_limit)) {
            FAIL_IF(!note_undecided(w, i), ERR_MEMORY, "no memory for a mask");
            i = node->end;
            continue;
        }
        w->path[node->depth] = state;
        i++;
    }
    return OK;
}

/* What is below the undecided nodes, from the full state at path[0]. */
static Status walk_undecided(Walk *w, const Mask *local, Error *err) {
    const GrammarVocab *v = w->vocab;
    for (uint32_t k = 0; k < local->undecided_count; k++) {
        const uint32_t index = local->undecided[k];
        const VocabNode *node = &v->nodes[index];
        const char *bytes =
            v->bytes + v->spelling[v->tokens[node->first_token]].start; /* the first token at or below */
        for (uint32_t depth = 0; depth < node->depth; depth++) {
            w->path[depth + 1] = steps_byte(w->steps, w->path[depth], (uint8_t)bytes[depth]);
            FAIL_IF(w->path[depth + 1] == STATE_NONE, w->steps->status, "no state");
            if (w->path[depth + 1] == STATE_DEAD)
                break;
            if (depth + 1 == node->depth)
                TRY(walk_nodes(w, index + 1, node->end, err));
        }
    }
    return OK;
}

/* The frame that all places have in common, above no loop: the loop's counts belong to the local state. */
static uint32_t common_frame(const Steps *s, const StepState *state) {
    uint32_t common = (uint32_t)s->places[state->places_at];
    for (uint32_t k = 1; k < state->place_count && common != FRAME_ROOT; k++) {
        uint32_t other = (uint32_t)s->places[state->places_at + k];
        while (common != other) {
            if (s->frames[common].depth >= s->frames[other].depth)
                common = s->frames[common].parent;
            else
                other = s->frames[other].parent;
        }
    }
    while (common != FRAME_ROOT && s->frames[common].loop != FRAME_CALL)
        common = s->frames[common].parent;
    return common;
}

/* The count that stands for this one during the next *within bytes, each of which ends at most one turn; lowers *within
 * when it is replaced. */
static uint32_t elastic_count(const Steps *s, const Frame *f, uint32_t *within) {
    if (f->loop == FRAME_CALL || f->count >= COUNT_BUSY)
        return f->count;
    const NetLoop *loop = &s->machine->loops[f->loop];
    if (loop->nullable)
        return f->count;
    for (size_t i = 0; i < COUNT(elastic_bytes); i++) {
        const uint32_t bytes = elastic_bytes[i];
        const bool is_free = loop->max != NET_NO_END && f->count + bytes < loop->max && f->count + 1 >= loop->min;
        const bool is_busy = loop->min > bytes && f->count < loop->min - bytes;
        if (!is_free && !is_busy)
            continue;
        *within = MIN(*within, bytes);
        return (is_free ? COUNT_FREE : COUNT_BUSY) + (uint32_t)i; /* near and far ones are different counts */
    }
    return f->count;
}

/* A frame and those above `common`, on another foundation. */
static uint32_t rebased_frame(Steps *s, uint32_t frame, uint32_t common, uint32_t base, uint32_t *chain,
                              uint32_t *within) {
    size_t depth = 0;
    for (uint32_t f = frame; f != common; f = s->frames[f].parent)
        chain[depth++] = f;
    uint32_t copy = base;
    while (depth-- > 0 && s->status == OK) {
        const Frame f = s->frames[chain[depth]];
        copy = steps_frame(s, f.to, f.loop, elastic_count(s, &f, within), copy);
    }
    return copy;
}

/* The local state; the state itself when nothing can be left out, or when so deep that the limit might matter. */
static uint32_t local_state(Steps *s, uint32_t state) {
    if (s->states[state].local != STATE_NONE)
        return s->states[state].local;
    uint32_t local = state;
    const uint32_t count = s->states[state].place_count;
    const uint32_t common = count > 0 ? common_frame(s, &s->states[state]) : FRAME_ROOT;
    if (count > 0 && s->frames[common].depth <= s->depth_limit / 2) {
        uint64_t *places = mem_array(count, sizeof *places, MEM_TEXT);
        uint32_t *chain = mem_array((size_t)s->depth_limit + 2, sizeof *chain, MEM_TEXT);
        uint32_t within = UINT32_MAX;
        if (places == NULL || chain == NULL)
            s->status = error_set(s->err, ERR_MEMORY, "no memory for a mask");
        for (uint32_t k = 0; k < count && s->status == OK; k++) {
            const uint64_t place = s->places[s->states[state].places_at + k];
            const uint32_t frame = rebased_frame(s, (uint32_t)place, common,
                                                 common == FRAME_ROOT ? FRAME_ROOT : FRAME_BASE, chain, &within);
            places[k] = (place & 0xFFFFFFFF00000000u) | frame;
        }
        /* Accepting is a matter of the root, and of no token. */
        if (s->status == OK && (common != FRAME_ROOT || within != UINT32_MAX))
            local = steps_state(s, places, count, false, false);
        if (s->status == OK && within != UINT32_MAX)
            s->states[local].within = within;
        mem_free(places);
        mem_free(chain);
    }
    if (s->status != OK)
        return STATE_NONE;
    s->states[state].local = local;
    return local;
}

static Mask *keep_mask(Steps *s, const Walk *w) {
    const size_t words = grammar_mask_words(w->vocab);
    Mask *mask = arena_alloc(&s->arena, sizeof *mask);
    if (mask == NULL)
        return NULL;
    size_t count = 0;
    for (size_t i = 0; i < words; i++)
        for (uint32_t left = w->bits[i]; left != 0; left &= left - 1)
            count++;
    if (count < words) {
        mask->tokens = arena_array(&s->arena, count + 1, sizeof *mask->tokens);
        if (mask->tokens == NULL)
            return NULL;
        for (size_t i = 0; i < words; i++)
            for (uint32_t bit = 0; bit < 32 && w->bits[i] >> bit != 0; bit++)
                if (w->bits[i] >> bit & 1)
                    mask->tokens[mask->token_count++] = (uint32_t)(i * 32 + bit);
    } else {
        mask->words = arena_array(&s->arena, words, sizeof *mask->words);
        if (mask->words == NULL)
            return NULL;
        memcpy(mask->words, w->bits, words * sizeof *mask->words);
    }
    mask->undecided = arena_array(&s->arena, w->undecided_count + 1, sizeof *mask->undecided);
    if (mask->undecided == NULL)
        return NULL;
    if (w->undecided_count > 0)
        memcpy(mask->undecided, w->undecided, w->undecided_count * sizeof *w->undecided);
    mask->undecided_count = (uint32_t)w->undecided_count;
    return mask;
}

static void copy_mask(const Mask *mask, uint32_t *bits, size_t words) {
    if (mask->words != NULL) {
        memcpy(bits, mask->words, words * sizeof *bits);
        return;
    }
    memset(bits, 0, words * sizeof *bits);
    for (uint32_t i = 0; i < mask->token_count; i++)
        bits[mask->tokens[i] >> 5] |= (uint32_t)1 << (mask->tokens[i] & 31);
}

static Status walk_all(Walk *w, uint32_t state, bool local, Error *err) {
    memset(w->bits, 0, grammar_mask_words(w->vocab) * sizeof *w->bits);
    w->undecided_count = 0;
    w->local = local;
    w->depth_limit = w->steps->states[state].within != 0 ? w->steps->states[state].within : UINT32_MAX;
    w->path[0] = state;
    TRY(walk_nodes(w, 1, (uint32_t)w->vocab->node_count, err));
    Mask *mask = keep_mask(w->steps, w);
    FAIL_IF(mask == NULL, ERR_MEMORY, "no memory for a mask");
    w->steps->states[state].mask = mask;
    return OK;
}

static Status find_mask(Walk *w, uint32_t state, Error *err) {
    Steps *s = w->steps;
    const uint32_t local = local_state(s, state);
    if (local == STATE_NONE)
        return s->status;
    if (s->states[local].mask == NULL)
        TRY(walk_all(w, local, local != state, err));
    if (local == state)
        return OK;
    const Mask *decided = s->states[local].mask;
    if (decided->undecided_count == 0) {
        s->states[state].mask = s->states[local].mask;
        return OK;
    }
    copy_mask(decided, w->bits, grammar_mask_words(w->vocab));
    w->local = false;
    w->path[0] = state;
    TRY(walk_undecided(w, decided, err));
    w->undecided_count = 0;
    Mask *mask = keep_mask(s, w);
    FAIL_IF(mask == NULL, ERR_MEMORY, "no memory for a mask");
    s->states[state].mask = mask;
    return OK;
}

Status mask_write(Steps *steps, const GrammarVocab *vocab, uint32_t state, uint32_t *bits, Error *err) {
    steps_begin(steps, err);
    if (steps->states[state].mask == NULL) {
        Walk *w = mem_zalloc(sizeof *w, MEM_TEXT);
        FAIL_IF(w == NULL, ERR_MEMORY, "no memory for a mask");
        w->steps = steps;
        w->vocab = vocab;
        w->bits = bits;
        const Status status = find_mask(w, state, err);
        mem_free(w->undecided);
        mem_free(w);
        TRY(status);
    }
    copy_mask(steps->states[state].mask, bits, grammar_mask_words(vocab));
    return OK;
}
