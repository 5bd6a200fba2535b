/* grammar_steps.c - see grammar_steps.h. */
#include "text/grammar_steps.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_SLOTS = 1024,
    MAX_PLACES = 1 << 15, /* of one state: a grammar that is in so many places at once is hostile or badly written */
    MAX_STATES = 1 << 24,
    MAX_WORK = 60 << 20, /* places visited in one operation; some seconds at most */
};

static uint32_t fail(Steps *s, Status status, const char *message) {
    if (s->status == OK)
        s->status = error_set(s->err, status, "%s", message);
    return STATE_NONE;
}

static uint32_t no_memory(Steps *s) {
    return fail(s, ERR_MEMORY, "no memory for the states of the grammar");
}

void steps_begin(Steps *s, Error *err) {
    s->err = err;
    s->status = OK;
    s->work_left = MAX_WORK;
}

Status steps_init(Steps *s, const Machine *machine, int depth_limit, Error *err) {
    *s = (Steps){.machine = machine, .depth_limit = (uint16_t)depth_limit};
    steps_begin(s, err);
    arena_init(&s->arena, MEM_TEXT);
    s->frame_slots = mem_array(FIRST_SLOTS, sizeof *s->frame_slots, MEM_TEXT);
    s->state_slots = mem_array(FIRST_SLOTS, sizeof *s->state_slots, MEM_TEXT);
    s->seen = mem_array(FIRST_SLOTS, sizeof *s->seen, MEM_TEXT);
    s->stamps = mem_array(FIRST_SLOTS, sizeof *s->stamps, MEM_TEXT);
    s->frame_mask = s->state_mask = s->seen_mask = FIRST_SLOTS - 1;
    const bool grown = mem_grow((void **)&s->frames, &s->frame_capacity, 64, sizeof *s->frames, MEM_TEXT) &&
                       mem_grow((void **)&s->states, &s->state_capacity, 64, sizeof *s->states, MEM_TEXT);
    if (!grown || !s->frame_slots || !s->state_slots || !s->seen || !s->stamps) {
        steps_free(s);
        return error_set(err, ERR_MEMORY, "no memory for the states of the grammar");
    }
    s->frames[FRAME_ROOT] = (Frame){.loop = FRAME_CALL};
    s->frames[FRAME_BASE] = (Frame){.loop = FRAME_CALL, .on_base = 1};
    s->frame_count = 2;
    s->states[STATE_NONE] = s->states[STATE_DEAD] = (StepState){0};
    s->state_count = 2;
    return OK;
}

void steps_free(Steps *s) {
    mem_free(s->frames);
    mem_free(s->frame_slots);
    mem_free(s->states);
    mem_free(s->state_slots);
    mem_free(s->places);
    mem_free(s->found);
    mem_free(s->seen);
    mem_free(s->stamps);
    arena_free(&s->arena);
    *s = (Steps){0};
}

size_t steps_bytes(const Steps *s) {
    return s->frame_capacity * sizeof *s->frames + s->state_capacity * sizeof *s->states +
           (s->frame_mask + s->state_mask + 2) * 4 + s->place_capacity * 8 + s->found_capacity * 8 +
           (s->seen_mask + 1) * 12 + s->arena.bytes_used;
}

static uint64_t mix(uint64_t h) {
    h ^= h >> 31;
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static uint64_t frame_hash(const Frame *f) {
    return mix(mix((uint64_t)f->to << 32 | f->parent) ^ ((uint64_t)f->loop << 32 | f->count));
}

/* A table of numbers twice as large, 0 = free. */
static bool grow_slots(uint32_t **slots, size_t *mask) {
    const size_t capacity = (*mask + 1) * 2;
    uint32_t *larger = mem_array(capacity, sizeof *larger, MEM_TEXT);
    if (larger == NULL)
        return false;
    mem_free(*slots);
    *slots = larger;
    *mask = capacity - 1;
    return true;
}

uint32_t steps_frame(Steps *s, uint32_t to, uint32_t loop, uint32_t count, uint32_t parent) {
    const Frame *above = &s->frames[parent];
    const Frame wanted = {.to = to,
                          .loop = loop,
                          .count = count,
                          .parent = parent,
                          .depth = (uint16_t)(above->depth + 1),
                          .on_base = above->on_base};
    size_t at = frame_hash(&wanted) & s->frame_mask;
    for (; s->frame_slots[at] != 0; at = (at + 1) & s->frame_mask) {
        const Frame *f = &s->frames[s->frame_slots[at]];
        if (f->to == to && f->loop == loop && f->count == count && f->parent == parent)
            return s->frame_slots[at];
    }
    if (!mem_grow((void **)&s->frames, &s->frame_capacity, s->frame_count + 1, sizeof *s->frames, MEM_TEXT))
        return no_memory(s);
    if (s->frame_count * 2 > s->frame_mask) {
        if (!grow_slots(&s->frame_slots, &s->frame_mask))
            return no_memory(s);
        for (uint32_t i = 2; i < s->frame_count; i++) {
            size_t slot = frame_hash(&s->frames[i]) & s->frame_mask;
            while (s->frame_slots[slot] != 0)
                slot = (slot + 1) & s->frame_mask;
            s->frame_slots[slot] = i;
        }
        at = frame_hash(&wanted) & s->frame_mask;
        while (s->frame_slots[at] != 0)
            at = (at + 1) & s->frame_mask;
    }
    s->frames[s->frame_count] = wanted;
    s->frame_slots[at] = (uint32_t)s->frame_count;
    return (uint32_t)s->frame_count++;
}

static int compare_places(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void sort_places(uint64_t *places, size_t count) {
    if (count > 24) {
        qsort(places, count, sizeof *places, compare_places);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        const uint64_t p = places[i];
        size_t at = i;
        for (; at > 0 && places[at - 1] > p; at--)
            places[at] = places[at - 1];
        places[at] = p;
    }
}

static bool same_state(const Steps *s, const StepState *state, uint32_t hash, const uint64_t *places, size_t count,
                       bool accepts, bool leaks) {
    return state->hash == hash && state->place_count == count && state->accepts == accepts && state->leaks == leaks &&
           (count == 0 || memcmp(s->places + state->places_at, places, count * sizeof *places) == 0);
}

uint32_t steps_state(Steps *s, uint64_t *places, size_t count, bool accepts, bool leaks) {
    sort_places(places, count);
    size_t kept = 0;
    uint64_t h = (uint64_t)accepts << 1 | (uint64_t)leaks;
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && places[kept - 1] == places[i])
            continue;
        places[kept++] = places[i];
        h = mix(h ^ places[i]) + 0x632BE59BD9B4E019u;
    }
    if (kept == 0 && !accepts && !leaks)
        return STATE_DEAD;
    if (kept > MAX_PLACES)
        return fail(s, ERR_LIMIT, "the grammar is too ambiguous");
    const uint32_t hash = (uint32_t)mix(h);
    size_t at = hash & s->state_mask;
    for (; s->state_slots[at] != 0; at = (at + 1) & s->state_mask)
        if (same_state(s, &s->states[s->state_slots[at]], hash, places, kept, accepts, leaks))
            return s->state_slots[at];
    if (s->state_count >= MAX_STATES)
        return fail(s, ERR_LIMIT, "the grammar has too many states");
    if (!mem_grow((void **)&s->states, &s->state_capacity, s->state_count + 1, sizeof *s->states, MEM_TEXT) ||
        !mem_grow((void **)&s->places, &s->place_capacity, s->place_count + kept + 1, sizeof *s->places, MEM_TEXT))
        return no_memory(s);
    if (s->state_count * 2 > s->state_mask) {
        if (!grow_slots(&s->state_slots, &s->state_mask))
            return no_memory(s);
        for (uint32_t i = 2; i < s->state_count; i++) {
            size_t slot = s->states[i].hash & s->state_mask;
            while (s->state_slots[slot] != 0)
                slot = (slot + 1) & s->state_mask;
            s->state_slots[slot] = i;
        }
        at = hash & s->state_mask;
        while (s->state_slots[at] != 0)
            at = (at + 1) & s->state_mask;
    }
    if (kept > 0)
        memcpy(s->places + s->place_count, places, kept * sizeof *places);
    s->states[s->state_count] = (StepState){
        .places_at = s->place_count, .place_count = (uint32_t)kept, .hash = hash, .accepts = accepts, .leaks = leaks};
    s->place_count += kept;
    s->state_slots[at] = (uint32_t)s->state_count;
    return (uint32_t)s->state_count++;
}

/* The work list of a step is `found`: places are added once, looked at in order, and those without an edge over bytes
 * are dropped at the end. */
static bool grow_seen(Steps *s) {
    const size_t capacity = (s->seen_mask + 1) * 2;
    uint64_t *seen = mem_array(capacity, sizeof *seen, MEM_TEXT);
    uint32_t *stamps = mem_array(capacity, sizeof *stamps, MEM_TEXT);
    if (seen == NULL || stamps == NULL) {
        mem_free(seen);
        mem_free(stamps);
        return false;
    }
    mem_free(s->seen);
    mem_free(s->stamps);
    s->seen = seen;
    s->stamps = stamps;
    s->seen_mask = capacity - 1;
    s->stamp = 1;
    for (size_t i = 0; i < s->found_count; i++) {
        size_t at = mix(s->found[i]) & s->seen_mask;
        while (s->stamps[at] == s->stamp)
            at = (at + 1) & s->seen_mask;
        s->seen[at] = s->found[i];
        s->stamps[at] = s->stamp;
    }
    return true;
}

static void find_place(Steps *s, uint32_t node, uint32_t frame) {
    const uint64_t place = (uint64_t)node << 32 | frame;
    size_t at = mix(place) & s->seen_mask;
    for (; s->stamps[at] == s->stamp; at = (at + 1) & s->seen_mask)
        if (s->seen[at] == place)
            return;
    if (s->found_count >= 8 * (size_t)MAX_PLACES) {
        fail(s, ERR_LIMIT, "the grammar is too ambiguous");
        return;
    }
    if (!mem_grow((void **)&s->found, &s->found_capacity, s->found_count + 1, sizeof *s->found, MEM_TEXT)) {
        no_memory(s);
        return;
    }
    s->seen[at] = place;
    s->stamps[at] = s->stamp;
    s->found[s->found_count++] = place;
    if (s->found_count * 2 > s->seen_mask && !grow_seen(s))
        no_memory(s);
}

/* False when the stack is as deep as allowed: such a place is left out, the text cannot go there. */
static bool deeper(const Steps *s, uint32_t frame) {
    const Frame *f = &s->frames[frame];
    return f->depth < (f->on_base ? s->depth_limit / 2 : s->depth_limit);
}

static void enter(Steps *s, uint32_t rule_start, uint32_t to, uint32_t loop, uint32_t count, uint32_t parent) {
    if (!deeper(s, parent))
        return;
    const uint32_t frame = steps_frame(s, to, loop, count, parent);
    if (frame != 0)
        find_place(s, rule_start, frame);
}

/* A rule has come to its end. */
static void leave(Steps *s, uint32_t frame) {
    const Machine *m = s->machine;
    const Frame f = s->frames[frame]; /* a copy: frames may move */
    if (f.loop == FRAME_CALL) {
        find_place(s, f.to, f.parent);
        return;
    }
    const NetLoop *loop = &m->loops[f.loop];
    const uint32_t body = m->rule_start[loop->rule];
    if (f.count >= COUNT_BUSY) {
        find_place(s, body, frame);
        if (f.count >= COUNT_FREE)
            find_place(s, f.to, f.parent);
        return;
    }
    uint32_t count = f.count + 1;
    if (loop->max == NET_NO_END)
        count = MIN(count, loop->min); /* beyond min, all counts are alike */
    if (count < loop->max)
        enter(s, body, f.to, f.loop, count, f.parent);
    if (count >= loop->min)
        find_place(s, f.to, f.parent);
}

static void follow(Steps *s, uint64_t place, bool *accepts, bool *leaks) {
    const Machine *m = s->machine;
    const uint32_t node = (uint32_t)(place >> 32), frame = (uint32_t)place;
    if (m->flags[node] & NODE_END) {
        if (frame == FRAME_ROOT)
            *accepts = true;
        else if (frame == FRAME_BASE)
            *leaks = true;
        else
            leave(s, frame);
    }
    for (uint32_t i = m->edge_at[node]; i < m->edge_at[node + 1] && s->status == OK; i++) {
        const NetEdge *e = &m->edges[i];
        if (e->kind == EDGE_FREE) {
            find_place(s, e->to, frame);
        } else if (e->kind == EDGE_CALL) {
            /* A call that nothing follows needs no frame: the called rule ends where this one would. */
            if (m->flags[e->to] & NODE_ONLY_RETURNS)
                find_place(s, m->rule_start[e->what], frame);
            else
                enter(s, m->rule_start[e->what], e->to, FRAME_CALL, 0, frame);
        } else if (e->kind == EDGE_LOOP) {
            if (m->loops[e->what].min == 0)
                find_place(s, e->to, frame);
            enter(s, m->rule_start[m->loops[e->what].rule], e->to, e->what, 0, frame);
        }
    }
}

static void begin_step(Steps *s) {
    s->found_count = 0;
    if (++s->stamp == 0) {
        memset(s->stamps, 0, (s->seen_mask + 1) * sizeof *s->stamps);
        s->stamp = 1;
    }
}

static uint32_t end_step(Steps *s) {
    bool accepts = false, leaks = false;
    for (size_t i = 0; i < s->found_count && s->status == OK; i++)
        follow(s, s->found[i], &accepts, &leaks);
    if (s->work_left < s->found_count)
        return fail(s, ERR_LIMIT, "the grammar takes too much work here: it is too ambiguous");
    s->work_left -= s->found_count;
    if (s->status != OK)
        return STATE_NONE;
    size_t kept = 0;
    for (size_t i = 0; i < s->found_count; i++)
        if (s->machine->flags[s->found[i] >> 32] & NODE_BYTES)
            s->found[kept++] = s->found[i];
    return steps_state(s, s->found, kept, accepts, leaks);
}

uint32_t steps_start(Steps *s) {
    begin_step(s);
    find_place(s, s->machine->start, FRAME_ROOT);
    return end_step(s);
}

uint32_t steps_slow(Steps *s, uint32_t state, uint32_t class_index) {
    if (s->status != OK)
        return STATE_NONE;
    if (state == STATE_DEAD)
        return STATE_DEAD;
    const Machine *m = s->machine;
    if (s->states[state].row == NULL) {
        s->states[state].row = arena_array(&s->arena, m->class_count, sizeof(uint32_t));
        if (s->states[state].row == NULL)
            return no_memory(s);
    }
    begin_step(s);
    const StepState *from = &s->states[state];
    for (uint32_t k = 0; k < from->place_count; k++) {
        const uint64_t place = s->places[from->places_at + k];
        const uint32_t node = (uint32_t)(place >> 32);
        for (uint32_t i = m->edge_at[node]; i < m->edge_at[node + 1]; i++) {
            const NetEdge *e = &m->edges[i];
            if (e->kind == EDGE_BYTES && byte_set_has(&m->sets[e->what], class_index))
                find_place(s, e->to, (uint32_t)place);
        }
    }
    const uint32_t to = end_step(s);
    s->states[state].row[class_index] = to; /* the array may have moved, the row has not */
    return to;
}

uint32_t steps_copy(Steps *to, const Steps *from, uint32_t state) {
    const StepState *old = &from->states[state];
    uint64_t *places = mem_array((size_t)old->place_count + 1, sizeof *places, MEM_TEXT);
    uint32_t *chain = mem_array((size_t)from->depth_limit + 2, sizeof *chain, MEM_TEXT);
    uint32_t copy = STATE_NONE;
    if (places != NULL && chain != NULL) {
        for (uint32_t k = 0; k < old->place_count; k++) {
            const uint64_t place = from->places[old->places_at + k];
            size_t depth = 0;
            for (uint32_t f = (uint32_t)place; f != FRAME_ROOT; f = from->frames[f].parent)
                chain[depth++] = f;
            uint32_t frame = FRAME_ROOT;
            while (depth-- > 0 && to->status == OK) {
                const Frame *f = &from->frames[chain[depth]];
                frame = steps_frame(to, f->to, f->loop, f->count, frame);
            }
            places[k] = (place & 0xFFFFFFFF00000000u) | frame;
        }
        if (to->status == OK)
            copy = steps_state(to, places, old->place_count, old->accepts, false);
    } else {
        no_memory(to);
    }
    mem_free(places);
    mem_free(chain);
    return copy;
}
