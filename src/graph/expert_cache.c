/* expert_cache.c - see expert_cache.h.
 *
 * One lock protects everything but the bytes in the slots, which are written by the thread that reads a piece while its
 * slot is LOADING and read by those who hold it. Estimates fall with every token: p (1 - a)^t after t tokens without use.
 * They are kept as log2 p - t0 log2(1 - a), t0 being when p was made: as the factor is the same for all, these
 * numbers are in the order of today's estimates, whenever they were made, and need no upkeep. */
#include "graph/expert_cache.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum {
    READERS = 8,     /* reads in flight. pieces of 4.4 MB, virtual disk: 0.73 GB/s by one, 0.98 by 4, 1.4 by 8 */
    MAX_CLASSES = 32,
    PATIENCE = 6,    /* uses of layers after which a piece that was asked for and not used counts as forgotten */
};

/* Estimates fall to a half in 1 / PAST tokens, about 44: a token counts for 1/64. */
static const double PAST = 0.0227200765; /* -log2(1 - 1/64) */

typedef enum SlotState { SLOT_EMPTY, SLOT_LOADING, SLOT_READY } SlotState;

typedef struct Slot {
    uint8_t *bytes;
    int piece;           /* -1: none */
    int holders;
    SlotState state;
    const uint8_t *at[PIECE_RANGES];
} Slot;

typedef struct Piece {
    CachePiece source;
    int slot;            /* -1: not in memory */
    int size_class;
    double likely;       /* see above */
    uint64_t wanted;     /* the clock of wishes when it was asked for; 0: nobody waits for it */
    uint64_t used;       /* that clock when its use was last counted */
    uint64_t step;       /* the step of that use */
    bool queued, guessed; /* in which queue it stands */
} Piece;

/* Slots of one size. */
typedef struct SizeClass {
    size_t slot_bytes;
    int n_piece, least, first, n; /* its slots are first .. first + n - 1 */
} SizeClass;

typedef struct Queue {
    int *pieces; /* a ring of n_piece */
    int first, n;
} Queue;

struct ExpertCache {
    Piece *pieces;
    int n_piece;
    Slot *slots;
    int n_slot;
    SizeClass classes[MAX_CLASSES];
    int n_class;
    uint8_t *memory;
    size_t bytes;
    Queue wishes, guesses;
    uint64_t now;        /* tokens */
    uint64_t wish_clock; /* grows with each layer's wishes */
    uint64_t step;       /* number of the one that runs */
    double step_fall;    /* by how much its tokens lower what is not used in it: PAST times their number */
    CacheCounts counts;
    Error failure;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a piece is there, or a slot is free */
    pthread_cond_t work;    /* for readers: something is to be read, or can be now */
    pthread_t readers[READERS];
    int n_reader;
    int waiting;            /* for `changed` */
    bool closing;
};

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static size_t slot_bytes_of(const CachePiece *p) {
    size_t bytes = 0;
    for (int r = 0; r < PIECE_RANGES; r++)
        bytes += p->range[r].bytes > 0 ? direct_file_room(p->range[r].bytes) : 0;
    return bytes;
}

/* Pieces of nearly one size share a class: the largest that has none yet makes one, and takes all down to three quarters
 * of it. Sizes halve with every third class, so a few classes cover what models have. */
static Status classify(const CachePiece *pieces, int n_piece, SizeClass classes[MAX_CLASSES], int *n_class, Error *err) {
    size_t below = SIZE_MAX;
    *n_class = 0;
    for (;;) {
        size_t largest = 0;
        for (int i = 0; i < n_piece; i++) {
            const size_t bytes = slot_bytes_of(&pieces[i]);
            largest = bytes < below ? MAX(largest, bytes) : largest;
        }
        if (largest == 0)
            return OK;
        FAIL_IF(*n_class == MAX_CLASSES, ERR_UNSUPPORTED, "experts of more than %d sizes", MAX_CLASSES);
        SizeClass *c = &classes[(*n_class)++];
        *c = (SizeClass){.slot_bytes = largest};
        const size_t least = largest - largest / 4;
        for (int i = 0; i < n_piece; i++) {
            const size_t bytes = slot_bytes_of(&pieces[i]);
            if (bytes >= least && bytes < below) {
                c->n_piece++;
                c->least = MAX(c->least, pieces[i].least);
            }
        }
        c->least = MIN(MAX(c->least, 1), c->n_piece);
        below = least;
    }
}

static size_t administration(int n_piece, size_t n_slot) {
    return (size_t)n_piece * (sizeof(Piece) + 2 * sizeof(int)) + n_slot * sizeof(Slot) + sizeof(ExpertCache) + DIRECT_BLOCK;
}

Status expert_cache_bounds(const CachePiece *pieces, int n_piece, size_t *least, size_t *most, Error *err) {
    SizeClass classes[MAX_CLASSES];
    int n_class;
    *least = *most = 0;
    TRY(classify(pieces, n_piece, classes, &n_class, err));
    for (int c = 0; c < n_class; c++) {
        *least += (size_t)classes[c].least * (classes[c].slot_bytes + sizeof(Slot));
        *most += (size_t)classes[c].n_piece * (classes[c].slot_bytes + sizeof(Slot));
    }
    *least += administration(n_piece, 0);
    *most += administration(n_piece, 0);
    return OK;
}

/* Shares the bytes out: the least that each class needs, then in proportion to what all of its pieces take, since a
 * token uses as many of each layer. */
static void share_out(ExpertCache *c, size_t bytes) {
    double left = (double)bytes - (double)administration(c->n_piece, 0), wished = 0;
    for (int i = 0; i < c->n_class; i++) {
        const SizeClass *k = &c->classes[i];
        left -= (double)k->least * (double)(k->slot_bytes + sizeof(Slot));
        wished += (double)(k->n_piece - k->least) * (double)(k->slot_bytes + sizeof(Slot));
    }
    const double share = wished > 0 ? fmin(fmax(left, 0) / wished, 1) : 0;
    for (int i = 0; i < c->n_class; i++) {
        SizeClass *k = &c->classes[i];
        k->first = c->n_slot;
        k->n = k->least + (int)((double)(k->n_piece - k->least) * share);
        c->n_slot += k->n;
    }
}

/* ---- which piece goes ---------------------------------------------------------------------------------------------- */

/* What has not had its turn in this step must not look as if it had been passed over by all of its tokens: otherwise a long
 * prompt would throw out what its next layers need, and so find nothing in the end. */
static double likely(const ExpertCache *c, const Piece *p) {
    return p->likely - (p->step == c->step ? c->step_fall : 0);
}

static bool is_wanted(const ExpertCache *c, const Piece *p) {
    return p->wanted != 0 && c->wish_clock - p->wanted < PATIENCE;
}

/* A slot for a piece, emptied; -1: none can be had now. Pieces that wait to be used go only where a thread cannot go on
 * otherwise (`urgent`), the one that was asked for last first. */
static int take_slot(ExpertCache *c, int piece, bool urgent) {
    const SizeClass *k = &c->classes[c->pieces[piece].size_class];
    int best = -1, last = -1;
    for (int i = k->first; i < k->first + k->n; i++) {
        const Slot *s = &c->slots[i];
        if (s->state == SLOT_EMPTY) {
            best = i;
            break;
        }
        if (s->state == SLOT_LOADING || s->holders > 0)
            continue;
        const Piece *p = &c->pieces[s->piece];
        if (is_wanted(c, p)) {
            if (last < 0 || p->wanted >= c->pieces[c->slots[last].piece].wanted)
                last = i;
        } else if (best < 0 || likely(c, p) < likely(c, &c->pieces[c->slots[best].piece])) {
            best = i;
        }
    }
    if (best < 0 && urgent)
        best = last;
    if (best >= 0 && c->slots[best].piece >= 0) {
        c->pieces[c->slots[best].piece].slot = -1;
        c->slots[best].piece = -1;
        c->slots[best].state = SLOT_EMPTY;
    }
    return best;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static void tell_changed(ExpertCache *c) {
    if (c->waiting > 0)
        pthread_cond_broadcast(&c->changed);
}

/* Reads a piece into a slot that was taken for it. The lock is given back meanwhile. */
static void load(ExpertCache *c, int piece, int slot) {
    Piece *p = &c->pieces[piece];
    Slot *s = &c->slots[slot];
    p->slot = slot;
    s->piece = piece;
    s->state = SLOT_LOADING;
    pthread_mutex_unlock(&c->lock);
    Error err = {0};
    Status status = OK;
    uint8_t *to = s->bytes;
    size_t bytes = 0;
    for (int r = 0; r < PIECE_RANGES; r++) {
        s->at[r] = to;
        if (p->source.range[r].bytes == 0)
            continue;
        if (status == OK)
            status = direct_file_read(p->source.range[r].file, p->source.range[r].offset, p->source.range[r].bytes, to, &s->at[r],
                                      &err);
        to += direct_file_room(p->source.range[r].bytes);
        bytes += p->source.range[r].bytes;
    }
    if (status != OK)
        memset(s->bytes, 0, c->classes[p->size_class].slot_bytes);
    pthread_mutex_lock(&c->lock);
    if (status != OK && c->failure.status == OK)
        c->failure = err;
    c->counts.bytes_read += status == OK ? bytes : 0;
    s->state = SLOT_READY;
    tell_changed(c);
}

static void push(ExpertCache *c, Queue *q, int piece) {
    q->pieces[(q->first + q->n++) % c->n_piece] = piece;
}

static int pop(ExpertCache *c, Queue *q) {
    const int piece = q->pieces[q->first];
    q->first = (q->first + 1) % c->n_piece;
    q->n--;
    return piece;
}

/* The next piece to be read and a slot for it; false when there is nothing to do. */
static bool next_read(ExpertCache *c, int *piece, int *slot) {
    while (c->wishes.n > 0) {
        *piece = c->wishes.pieces[c->wishes.first];
        Piece *p = &c->pieces[*piece];
        const bool needed = p->slot < 0 && is_wanted(c, p);
        *slot = needed ? take_slot(c, *piece, false) : -1;
        if (needed && *slot < 0)
            return false; /* until a slot is free: what stands behind is needed later */
        pop(c, &c->wishes);
        p->queued = false;
        if (needed) {
            c->counts.misses++;
            return true;
        }
    }
    while (c->guesses.n > 0) {
        *piece = pop(c, &c->guesses);
        Piece *p = &c->pieces[*piece];
        p->guessed = false;
        *slot = p->slot < 0 && is_wanted(c, p) ? take_slot(c, *piece, false) : -1;
        if (*slot >= 0) {
            c->counts.guesses++;
            return true;
        }
    }
    return false;
}

static void *reader_main(void *arg) {
    ExpertCache *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->closing) {
        int piece, slot;
        if (next_read(c, &piece, &slot))
            load(c, piece, slot);
        else
            pthread_cond_wait(&c->work, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- opening --------------------------------------------------------------------------------------------------------- */

static void assign_classes(ExpertCache *c) {
    for (int i = 0; i < c->n_piece; i++) {
        Piece *p = &c->pieces[i];
        const size_t bytes = slot_bytes_of(&p->source);
        p->slot = -1;
        p->likely = -INFINITY;
        while (p->size_class + 1 < c->n_class && bytes <= c->classes[p->size_class + 1].slot_bytes)
            p->size_class++;
    }
}

static Status start(ExpertCache *c, Error *err) {
    while (c->n_reader < READERS && pthread_create(&c->readers[c->n_reader], NULL, reader_main, c) == 0)
        c->n_reader++;
    FAIL_IF(c->n_reader == 0, ERR_MEMORY, "no thread can be started to read experts");
    return OK;
}

Status expert_cache_open(const CachePiece *pieces, int n_piece, size_t bytes, ExpertCache **out, Error *err) {
    *out = NULL;
    size_t least, most;
    TRY(expert_cache_bounds(pieces, n_piece, &least, &most, err));
    FAIL_IF(bytes < least || n_piece < 1, ERR_MEMORY, "a cache of %zu bytes for experts that need %zu at the least", bytes, least);
    ExpertCache *c = mem_zalloc(sizeof *c, MEM_WEIGHTS);
    FAIL_IF(c == NULL, ERR_MEMORY, "no memory for a cache of experts");
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    pthread_cond_init(&c->work, NULL);
    c->n_piece = n_piece;
    c->wish_clock = 1;
    Status status = classify(pieces, n_piece, c->classes, &c->n_class, err);
    share_out(c, bytes);
    c->pieces = mem_array((size_t)n_piece, sizeof *c->pieces, MEM_WEIGHTS);
    c->wishes.pieces = mem_array((size_t)n_piece, sizeof(int), MEM_WEIGHTS);
    c->guesses.pieces = mem_array((size_t)n_piece, sizeof(int), MEM_WEIGHTS);
    c->slots = mem_array((size_t)c->n_slot, sizeof *c->slots, MEM_WEIGHTS);
    size_t all = 0;
    for (int k = 0; k < c->n_class; k++)
        all += (size_t)c->classes[k].n * c->classes[k].slot_bytes;
    c->memory = mem_alloc_aligned(all + DIRECT_BLOCK, MEM_WEIGHTS);
    if (status == OK && (c->pieces == NULL || c->wishes.pieces == NULL || c->guesses.pieces == NULL || c->slots == NULL ||
                         c->memory == NULL))
        status = error_set(err, ERR_MEMORY, "no memory for a cache of experts of %zu MiB", all >> 20);
    if (status == OK) {
        c->bytes = all + administration(n_piece, (size_t)c->n_slot);
        for (int i = 0; i < n_piece; i++)
            c->pieces[i].source = pieces[i];
        assign_classes(c);
        uint8_t *at = c->memory + (DIRECT_BLOCK - (uintptr_t)c->memory % DIRECT_BLOCK) % DIRECT_BLOCK;
        for (int k = 0; k < c->n_class; k++)
            for (int i = 0; i < c->classes[k].n; i++, at += c->classes[k].slot_bytes)
                c->slots[c->classes[k].first + i] = (Slot){.bytes = at, .piece = -1};
        status = start(c, err);
    }
    if (status != OK) {
        expert_cache_close(c);
        return status;
    }
    *out = c;
    return OK;
}

void expert_cache_close(ExpertCache *c) {
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < c->n_reader; i++)
        pthread_join(c->readers[i], NULL);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    pthread_cond_destroy(&c->work);
    mem_free(c->memory);
    mem_free(c->slots);
    mem_free(c->guesses.pieces);
    mem_free(c->wishes.pieces);
    mem_free(c->pieces);
    mem_free(c);
}

size_t expert_cache_bytes(const ExpertCache *c) {
    return c->bytes;
}

/* ---- asking for pieces ----------------------------------------------------------------------------------------------- */

void expert_cache_step(ExpertCache *c, int tokens) {
    pthread_mutex_lock(&c->lock);
    c->now += (uint64_t)tokens;
    c->counts.tokens += (uint64_t)tokens;
    c->step++;
    c->step_fall = PAST * tokens;
    pthread_mutex_unlock(&c->lock);
}

/* Under the lock: p is asked for by the layer that is at work. */
static void want(ExpertCache *c, int piece) {
    Piece *p = &c->pieces[piece];
    p->wanted = c->wish_clock;
    if (p->slot < 0 && !p->queued) {
        p->queued = true;
        push(c, &c->wishes, piece);
        pthread_cond_signal(&c->work);
    }
}

void expert_cache_layer(ExpertCache *c) {
    pthread_mutex_lock(&c->lock);
    c->wish_clock++; /* what was forgotten may go now */
    if (c->wishes.n > 0)
        pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
}

void expert_cache_use(ExpertCache *c, int piece, float share) {
    pthread_mutex_lock(&c->lock);
    Piece *p = &c->pieces[piece];
    if (p->used != c->wish_clock) { /* two matrices may be one piece */
        const double kept = exp2(p->likely - PAST * (double)c->now); /* what is left of the estimate today */
        p->likely = log2(kept + (1 - exp2(-c->step_fall)) * (double)share) + PAST * (double)c->now;
        p->used = c->wish_clock;
        p->step = c->step;
        c->counts.uses++;
    }
    want(c, piece);
    pthread_mutex_unlock(&c->lock);
}

void expert_cache_ahead(ExpertCache *c, int piece) {
    pthread_mutex_lock(&c->lock);
    want(c, piece);
    pthread_mutex_unlock(&c->lock);
}

void expert_cache_guess(ExpertCache *c, int piece) {
    pthread_mutex_lock(&c->lock);
    Piece *p = &c->pieces[piece];
    p->wanted = c->wish_clock;
    if (p->slot < 0 && !p->queued && !p->guessed) {
        p->guessed = true;
        push(c, &c->guesses, piece);
        pthread_cond_signal(&c->work);
    }
    pthread_mutex_unlock(&c->lock);
}

static void wait_changed(ExpertCache *c) {
    c->waiting++;
    pthread_cond_wait(&c->changed, &c->lock);
    c->waiting--;
}

void expert_cache_hold(ExpertCache *c, int piece, const uint8_t *bytes[PIECE_RANGES]) {
    pthread_mutex_lock(&c->lock);
    Piece *p = &c->pieces[piece];
    const bool ready = p->slot >= 0 && c->slots[p->slot].state == SLOT_READY;
    const uint64_t since = ready ? 0 : clock_ns();
    while (p->slot < 0) {
        const int slot = take_slot(c, piece, true);
        if (slot < 0) {
            wait_changed(c);
            continue;
        }
        c->counts.misses++;
        load(c, piece, slot);
    }
    Slot *s = &c->slots[p->slot];
    s->holders++;
    while (s->state != SLOT_READY)
        wait_changed(c);
    if (!ready)
        c->counts.wait_ns += clock_ns() - since;
    memcpy(bytes, s->at, sizeof s->at);
    pthread_mutex_unlock(&c->lock);
}

/* A slot can be had, perhaps: for a reader, or for a thread that cannot go on without. */
static void tell_free(ExpertCache *c) {
    if (c->wishes.n > 0)
        pthread_cond_signal(&c->work);
    tell_changed(c);
}

void expert_cache_drop(ExpertCache *c, int piece) {
    pthread_mutex_lock(&c->lock);
    if (--c->slots[c->pieces[piece].slot].holders == 0)
        tell_free(c);
    pthread_mutex_unlock(&c->lock);
}

void expert_cache_done(ExpertCache *c, int piece) {
    pthread_mutex_lock(&c->lock);
    c->pieces[piece].wanted = 0;
    tell_free(c);
    pthread_mutex_unlock(&c->lock);
}

Status expert_cache_check(ExpertCache *c, Error *err) {
    pthread_mutex_lock(&c->lock);
    const Error failure = c->failure;
    pthread_mutex_unlock(&c->lock);
    FAIL_IF(failure.status != OK, failure.status, "%s", failure.text);
    return OK;
}

CacheCounts expert_cache_counts(ExpertCache *c) {
    pthread_mutex_lock(&c->lock);
    const CacheCounts counts = c->counts;
    pthread_mutex_unlock(&c->lock);
    return counts;
}

double cache_hit_rate(const CacheCounts *n) {
    return n->uses > 0 ? 1 - (double)MIN(n->misses, n->uses) / (double)n->uses : 1;
}

uint64_t cache_read_per_token(const CacheCounts *n) {
    return n->tokens > 0 ? n->bytes_read / n->tokens : 0;
}
