/* program_parts.h - what lowering (lower.c), planning (plan.c) and running (run*.c) share. */
#ifndef HOULE_GRAPH_PROGRAM_PARTS_H
#define HOULE_GRAPH_PROGRAM_PARTS_H

#include "graph/program.h"

#include <stdatomic.h>

/* A piece of scratch: a value, or a value converted for multiplying. */
typedef struct Buffer {
    size_t row_bytes;     /* of one token: all its slots */
    int per_row;          /* slots of a token */
    RowKind rows;
    bool by_rows;         /* made by row operations: each thread's own while there are few rows */
    int first, last;      /* steps between which it is needed */
    size_t offset;        /* bytes per token before it, in its region */
} Buffer;

/* Where an operand is: a buffer, and how far inside a row. */
typedef struct Ref {
    int buffer;  /* -1: none */
    size_t offset; /* bytes */
    int width;   /* numbers */
} Ref;

typedef struct RowOp RowOp;
typedef struct Step Step;

/* What a thread has while a step of tokens runs. */
typedef struct Ctx {
    Program *program;
    const Batch *batch;
    const Kernels *kernels;
    Pool *pool;
    int thread, n_thread;
    uint8_t *own;      /* this thread's region for few rows */
    uint8_t *scratch;  /* this thread's, for kernels */
    bool own_all, own_wanted; /* few rows: row operations on this kind go to `own` */
} Ctx;

typedef void (*RowFn)(const Ctx *ctx, const RowOp *op, int row);

struct RowOp {
    RowFn run;
    const Op *op;
    Ref in[3], out;
    const float *vector[3];
    ActForm form;      /* conversions: in -> out, `parts` runs of each slot, out.width numbers each */
    int parts;
};

/* One matrix of a linear step. */
typedef struct LinearPart {
    int weight;        /* index; matrix `group` of it for each group */
    int groups;
    Ref acts;          /* converted input */
    size_t act_bytes;  /* from one group's row to the next group's */
    Precision precision;
    Ref out;
    const float *bias;
    int out_width;     /* of one group */
    int pair;          /* index of the part that is `up` to this `gate`, or -1; a pair gives act(gate) * up */
    bool is_up;        /* done with its gate */
    Glu glu;
    int first_unit, units;
} LinearPart;

/* Which experts the next layer may choose: what its router would say to the input of this layer's router. Residual streams
 * change slowly from layer to layer. */
typedef struct Guess {
    const Op *router, *route; /* of the next layer with experts; NULL: there is none */
    int weights[3];           /* of its experts, in the order of use; -1: none */
    Ref seen;                 /* the input of this layer's router */
} Guess;

typedef enum StepKind { STEP_ROWS, STEP_LINEAR, STEP_STORE, STEP_MIX, STEP_EXPERTS_UP, STEP_EXPERTS_DOWN } StepKind;

/* How an operation that mixes tokens (attention, recurrent layers) is run: units of work that threads take, for
 * instance one head of one sequence. Units may run in any order and at the same time. */
typedef struct MixOps MixOps;
struct MixOps {
    int (*units)(const Ctx *ctx, const Step *step);
    void (*run)(const Ctx *ctx, const Step *step, int unit);
    size_t (*scratch)(const Program *program, const Op *op); /* bytes of a thread's scratch; NULL = none */
    size_t (*shared)(const Program *program, const Op *op);  /* bytes of memory for all threads, until the last phase ends; NULL = none */
    const MixOps *then; /* a second phase, begun when the first is over; costs nothing when it has no units */
};
/* NULL: not an operation of this kind. */
const MixOps *mix_ops_of(OpKind kind);
extern const MixOps mix_attend, mix_choose, mix_conv, mix_recur;

struct Step {
    StepKind kind;
    RowKind rows;
    int layer;
    const char *name;
    /* STEP_ROWS, STEP_STORE */
    RowOp *row_ops;
    int n_row_op;
    /* STEP_LINEAR */
    LinearPart *parts;
    int n_part, n_unit;
    /* STEP_MIX, STEP_EXPERTS_* */
    const Op *op;
    Ref in[OP_INPUTS], out;
    const float *vector[6]; /* of op->weight where those are vectors */
    const MixOps *mix;
    bool may_skip;          /* no barrier follows when it has no units */
    ActForm form;
    Precision precision;
    /* STEP_EXPERTS_UP, for reading ahead */
    int next_weight;        /* what these experts use afterwards, or -1 */
    Guess guess;
};

enum {
    MAX_ROUTED = 4096, /* experts of a layer */
    FEW_ROWS = 2,     /* up to here each thread does all row operations itself */
    LINEAR_UNIT = 64, /* outputs that a thread takes at once */
    /* Rows that a matrix is unpacked for at once, where what comes out has to stay in the cache: of a gated unit's two
     * halves, and of an expert. Other matrices are unpacked once for all rows of a step. */
    PAIR_ROWS = 256,
    EXPERT_ROWS = 96,
};

/* What a thread spent in a step: with its own units, and waiting for the others'. */
typedef struct StepTime {
    uint64_t work_ns, wait_ns;
} StepTime;

struct Program {
    const Graph *graph;
    const Weights *weights; /* NULL: only planned */
    ProgramSpec spec;
    Arena arena;
    Step *steps;
    int n_step;
    Buffer *buffers;
    int n_buffer;
    int *buffer_of_value;
    int *buffer_of_rope;    /* angles of each rotation: dim/2 cosines, then dim/2 sines */

    size_t all_bytes, wanted_bytes; /* per token, of both regions */
    size_t scratch_bytes;   /* of one thread */
    size_t own_bytes;       /* of one thread */
    size_t shared_bytes;    /* of all threads together */
    uint8_t *memory;
    size_t memory_bytes;
    uint8_t *all, *wanted, *shared;
    Ctx *threads;
    atomic_int *next_unit;  /* per step */
    atomic_int stop_behind; /* the step after which all threads return; INT_MAX: none */
    StepTime *times;        /* with spec.profile: [phase][thread][step], else NULL */
    uint64_t runs[PHASE_COUNT];
    const Batch *batch;
};

const char *step_kind_word(StepKind kind);

/* Which times a step counts for. */
static inline Phase phase_of(const Batch *batch) {
    return batch->n_row > batch->n_run ? PHASE_PROMPT : PHASE_GENERATION;
}
static inline size_t step_times(const Program *p) {
    return (size_t)PHASE_COUNT * (size_t)p->spec.n_thread * (size_t)p->n_step + 1;
}
static inline StepTime *step_times_of(const Program *p, Phase phase, int thread) {
    return p->times == NULL ? NULL : p->times + ((size_t)phase * (size_t)p->spec.n_thread + (size_t)thread) * (size_t)p->n_step;
}

/* A program without memory: its steps and what they would take. weights NULL: forms are not known. */
Status program_plan(const Graph *graph, const Weights *weights, ProgramSpec spec, Program **program, Error *err);
Status lower(Program *program, Error *err);
Status plan(Program *program, Error *err);

/* The numbers of an operand in a row (slot) of its buffer. */
static inline uint8_t *ref_at(const Ctx *ctx, Ref ref, int row) {
    const Program *p = ctx->program;
    const Buffer *b = &p->buffers[ref.buffer];
    const bool wanted = b->rows == ROWS_WANTED;
    const bool own = b->by_rows && (wanted ? ctx->own_wanted : ctx->own_all);
    uint8_t *region;
    size_t rows;
    if (own) {
        region = ctx->own + (wanted ? p->all_bytes * FEW_ROWS : 0);
        rows = FEW_ROWS;
    } else {
        region = wanted ? p->wanted : p->all;
        rows = (size_t)(wanted ? p->spec.max_wanted : p->spec.max_rows);
    }
    return region + b->offset * rows + (size_t)row * b->row_bytes + ref.offset;
}

static inline float *ref_floats(const Ctx *ctx, Ref ref, int row) {
    return (float *)(void *)ref_at(ctx, ref, row);
}

static inline int rows_of_kind(const Batch *batch, RowKind rows) {
    return rows == ROWS_WANTED ? batch->n_wanted : batch->n_row;
}

/* Which sequence a row belongs to, and its place in it. */
const Run *run_of_row(const Batch *batch, int row);
int place_of_row(const Batch *batch, int row);
RowFn row_fn_of(OpKind kind);

/* From one slot of a buffer to the next: of a token or of the next token. */
static inline size_t slot_bytes(const Program *p, Ref ref) {
    return p->buffers[ref.buffer].row_bytes / (size_t)p->buffers[ref.buffer].per_row;
}

/* y = act(gate) * up in any of its forms; y may be gate. */
static inline void apply_glu(const Kernels *k, const Glu *glu, float *y, const float *gate, const float *up, int n) {
    if (glu->oai) {
        k->glu_oai(y, gate, up, n, glu->alpha != 0 ? glu->alpha : 1.702f, glu->limit);
    } else if (glu->late && glu->limit > 0) {
        k->act(y, gate, n, glu->act);
        k->glu(y, y, up, n, ACT_NONE, glu->limit);
    } else {
        k->glu(y, gate, up, n, glu->act, glu->limit);
    }
}

/* Units of work of a step: n of them, from `unit` on. ahead: weights that this thread multiplies with afterwards, or NULL. */
void run_linear(const Ctx *ctx, const Step *step, int unit, int n, const uint8_t *ahead);
/* Where the weights of a unit of a linear step begin; NULL: they are not one run of bytes. */
const uint8_t *linear_weights(const Ctx *ctx, const Step *step, int unit);
void row_store(const Ctx *ctx, const RowOp *op, int row);
/* Experts: each thread sorts the slots by expert for itself first; one tells the weights what is going to be used. */
void experts_begin(const Ctx *ctx, const Step *step);
int experts_units(const Ctx *ctx, const Step *step);
void run_experts(const Ctx *ctx, const Step *step, int unit, int n);
size_t experts_bytes(const Program *p, const Op *op);
size_t linear_bytes(const Program *p);

/* Writes the chosen experts' numbers (as integers in the place of floats), then their weights. vector: correction, scale by
 * expert, table of experts by token; each may be NULL. */
void route(const Ctx *ctx, const OpRoute *r, const float *const vector[3], const float *logits, int32_t token, float *out);
void row_convert(const Ctx *ctx, const RowOp *op, int row);
void row_token(const Ctx *ctx, const RowOp *op, int row);
void row_ngram(const Ctx *ctx, const RowOp *op, int row);
void row_dot(const Ctx *ctx, const RowOp *op, int row);
void row_pool(const Ctx *ctx, const RowOp *op, int row);
void row_hyper_weights(const Ctx *ctx, const RowOp *op, int row);
void row_hyper_collapse(const Ctx *ctx, const RowOp *op, int row);
void row_hyper_expand(const Ctx *ctx, const RowOp *op, int row);
void row_angles(const Ctx *ctx, const RowOp *op, int row);

#endif
