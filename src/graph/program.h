/* program.h - a description made ready to run: steps of kernels over planned memory.
 *
 * A program is made once per model, precision and CPU level, and runs steps of any number of tokens from any number of
 * sequences: prompts, single tokens and both mixed are the same walk. A step takes a few phases per layer; threads meet
 * at a barrier after each. Phases of row operations are done by every thread for itself when there are few rows, which
 * costs less than a barrier. */
#ifndef HOULE_GRAPH_PROGRAM_H
#define HOULE_GRAPH_PROGRAM_H

#include "base/pool.h"
#include "graph/cache.h"
#include "graph/layers.h"
#include "graph/weights.h"

typedef struct Program Program;

typedef struct ProgramSpec {
    Precision precision;
    const Kernels *kernels;
    int max_rows;   /* tokens in one step */
    int max_wanted; /* rows of logits in one step */
    int max_context; /* entries that attention may span, for its scratch */
    int n_thread;
    bool profile;     /* measure the time of every step */
    bool keep_hidden; /* values marked by mark_hidden() stay until the end of the step */
    bool no_result;   /* what comes after the last hidden rows (the matrix of a vocabulary) is not computed */
} ProgramSpec;

/* Makes the plan; allocates the scratch. Graph and weights must outlive the program. */
Status program_open(const Graph *graph, const Weights *weights, ProgramSpec spec, Program **program, Error *err);
void program_close(Program *program);
/* Bytes of scratch for such a spec: what program_open allocates. */
Status program_bytes(const Graph *graph, const Weights *weights, ProgramSpec spec, size_t *bytes, Error *err);

/* The tokens of one sequence in a step: rows row0 .. row0 + n_row - 1, following what the sequence has. */
typedef struct Run {
    Sequence *sequence;
    int row0, n_row;
} Run;

typedef struct Batch {
    int n_row;
    const int32_t *tokens;
    const uint8_t *segments; /* which part of its text each token belongs to (embed_segments); NULL = all to the first */
    int n_run;
    const Run *runs;       /* cover all rows, in order */
    int n_wanted;
    const int32_t *wanted; /* ascending rows whose logits are wanted */
    /* Asked now and then: true stops the step, which then fails with ERR_CANCELLED. May be NULL. */
    bool (*stop)(void *user);
    void *user;
} Batch;

/* Runs a step; the sequences must have room (sequence_reserve) and are advanced by the caller afterwards. What the
 * following give stays valid until the next step; each row has a place of its own: rows need not follow one another. */
Status program_run(Program *program, Pool *pool, const Batch *batch, Error *err);
/* Logits [V] of the row-th of the rows that were wanted. */
const float *program_logits(const Program *program, int row);
/* With keep_hidden: a row of the value after a layer (0: before the first), *width numbers; NULL when it was not marked. */
const float *program_hidden(const Program *program, int layer, int row, int *width);
/* What entered the output matrix for the row-th wanted row; only with keep_hidden. */
const float *program_last_hidden(const Program *program, int row, int *width);

/* ---- where the time went (ProgramSpec.profile) ----------------------------------------------------------------------- */

/* Runs in which a sequence has several rows, and those in which every sequence has one. */
typedef enum Phase { PHASE_PROMPT, PHASE_GENERATION, PHASE_COUNT } Phase;

/* Forgets what was measured so far. */
void program_clear_profile(Program *program);

/* Steps of one kind, over the same matrices, in layers of one kind (layers.h), taken together. */
typedef struct ProfileRow {
    const char *kind;       /* "linear" */
    char name[96];          /* "q_proj k_proj v_proj": of the matrices, or of the operations */
    int layer_kind;         /* -1: outside the layers */
    int count;              /* steps */
    double seconds;         /* of one run, all these steps */
    double waiting_seconds; /* of that, how long a thread waits for the others, on average */
    double weight_bytes;    /* read by one run; of experts, those that a single row uses */
} ProfileRow;
/* The rows of a phase, longest first, in a fresh array (mem_free); none when nothing of the phase has run. */
Status program_profile(const Program *program, Phase phase, const LayerKinds *kinds, ProfileRow **rows, int *n, Error *err);
/* Seconds of one run that a layer took; layer -1: what stands outside the layers. */
double program_layer_seconds(const Program *program, Phase phase, int layer);

#endif
