/* grammar_steps.h - a Machine run on bytes, every step remembered.
 *
 * Where a text can be is a set of places, each a node and a stack of frames (what to do when the rule ends). Stacks
 * are linked lists whose equal tails are one; equal sets are one state with a number. A state's steps, one for each
 * class of bytes, are worked out when first needed: an automaton that is made while it runs.
 *
 *     state 7: {(node 12, frame 3), (node 40, frame 9)}      frame 9 ──▶ frame 3 ──▶ root
 *
 * Not thread-safe. */
#ifndef HOULE_TEXT_GRAMMAR_STEPS_H
#define HOULE_TEXT_GRAMMAR_STEPS_H

#include "text/grammar_net.h"

enum {
    STATE_NONE = 0, /* not worked out; as a result: failed */
    STATE_DEAD = 1, /* no text goes on like this */
    FRAME_ROOT = 0,
    FRAME_BASE = 1,          /* stands for frames that are not looked at */
    FRAME_CALL = 0x7FFFFFFF, /* Frame.loop of a plain call */
    /* Counts of a loop that is far from both its bounds. */
    COUNT_FREE = 0x7FFFFFF8, /* may end, may go on; + how far the bounds are (grammar_mask.c) */
    COUNT_BUSY = 0x7FFFFFF0, /* must go on; likewise */
};

typedef struct Frame {
    uint32_t to;   /* the node after the call */
    uint32_t loop; /* or FRAME_CALL */
    uint32_t count;
    uint32_t parent;
    uint16_t depth;
    uint16_t on_base; /* the stack stands on FRAME_BASE */
} Frame;

typedef struct Mask Mask;

typedef struct StepState {
    size_t places_at;
    uint32_t place_count;
    uint32_t hash;
    uint32_t *row; /* [class_count], NULL until the first step */
    Mask *mask;
    uint32_t local;  /* what it looks like without what lies below (grammar_mask.c), STATE_NONE = not known */
    bool accepts;    /* the text may end here */
    bool leaks;      /* one of its places lies below FRAME_BASE */
    uint32_t within; /* its counts (COUNT_FREE, COUNT_BUSY) hold for so many bytes only; 0 = for ever */
} StepState;

typedef struct Steps {
    const Machine *machine;
    uint16_t depth_limit;
    Frame *frames;
    uint32_t *frame_slots;
    StepState *states;
    uint32_t *state_slots;
    uint64_t *places; /* node << 32 | frame, sorted within a state */
    size_t frame_count, frame_capacity, frame_mask, state_count, state_capacity, state_mask, place_count,
        place_capacity;
    Arena arena; /* rows and masks */
    /* scratch of a step */
    uint64_t *found, *seen;
    uint32_t *stamps;
    size_t found_count, found_capacity, seen_mask, seen_count;
    uint32_t stamp;
    uint64_t work_left; /* set by the caller for each of its operations */
    Status status;
    Error *err;
} Steps;

Status steps_init(Steps *steps, const Machine *machine, int depth_limit, Error *err);
void steps_free(Steps *steps);
size_t steps_bytes(const Steps *steps);
/* Before a series of steps: where failures are written, how much they may do. */
void steps_begin(Steps *steps, Error *err);

/* The state of the empty text. STATE_NONE when it failed. */
uint32_t steps_start(Steps *steps);
/* The state after a byte of this class. */
uint32_t steps_slow(Steps *steps, uint32_t state, uint32_t class_index);
static inline uint32_t steps_class(Steps *steps, uint32_t state, uint32_t class_index) {
    const uint32_t *row = steps->states[state].row;
    return row != NULL && row[class_index] != STATE_NONE ? row[class_index] : steps_slow(steps, state, class_index);
}
static inline uint32_t steps_byte(Steps *steps, uint32_t state, uint8_t byte) {
    return steps_class(steps, state, steps->machine->class_of[byte]);
}

/* The frame with this content; 0 (FRAME_ROOT, which is never one of these) when it failed. */
uint32_t steps_frame(Steps *steps, uint32_t to, uint32_t loop, uint32_t count, uint32_t parent);
/* The state with these places (sorted here, equal ones dropped). */
uint32_t steps_state(Steps *steps, uint64_t *places, size_t count, bool accepts, bool leaks);
/* The same state in another Steps of the same machine. */
uint32_t steps_copy(Steps *to, const Steps *from, uint32_t state);

#endif
