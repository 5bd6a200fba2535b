/* graph_parts.h - what a description is made of, for the passes over it. Families see graph.h only. */
#ifndef HOULE_GRAPH_PARTS_H
#define HOULE_GRAPH_PARTS_H

#include "base/arena.h"
#include "base/map.h"
#include "graph/cfg_parts.h"
#include "graph/graph.h"

typedef enum OpKind {
    /* Rows, one at a time. */
    OP_EMBED,     /* token's row of a table */
    OP_WANTED,    /* rows whose logits are wanted */
    OP_NORM, OP_ADD, OP_MUL, OP_AFFINE, OP_ACT, OP_CAP, OP_SOFTMAX, OP_GLU,
    OP_RUNS,      /* copies runs of one or two values */
    OP_WEIGHT_MUL, OP_WEIGHT_ADD,
    OP_ROPE, OP_POSITION_SCALE,
    OP_ROUTE,     /* experts and their weights */
    OP_COMBINE,   /* weighted sum of the experts' outputs */
    OP_TOKEN,     /* the token's id */
    OP_NGRAM,     /* rows for runs of tokens */
    OP_DOT,       /* products of runs */
    OP_SLICE,     /* a view: costs nothing */
    /* Matrices. */
    OP_LINEAR, OP_GROUPED, OP_EXPERTS_UP, OP_EXPERTS_DOWN,
    /* States. */
    OP_STORE, OP_ATTEND, OP_CONV, OP_RECUR,
    OP_CHOOSE,    /* lists of entries to attend to */
    OP_POOL,      /* several entries made one */
    /* Residual streams. */
    OP_HYPER_WEIGHTS, OP_HYPER_COLLAPSE, OP_HYPER_EXPAND,
    OP_KIND_COUNT
} OpKind;

/* The rows of a value: every token of the step, the wanted ones, or `used` slots for every token (experts). */
typedef enum RowKind { ROWS_ALL, ROWS_WANTED, ROWS_SLOTS } RowKind;

typedef struct Value {
    int width;
    RowKind rows;
    int per_row;  /* ROWS_SLOTS: slots per token, else 1 */
    Val base;     /* a view: the value it lies in, else NO_VAL */
    int offset;   /* of the view in its base */
    int op;       /* which makes it */
} Value;

typedef enum WeightRole {
    WEIGHT_MATRIX,  /* [out, in]: multiplied; also looked up by rows when a table is tied to the output */
    WEIGHT_EXPERTS, /* experts matrices [out, in] */
    WEIGHT_VECTOR,  /* small: kept as floats */
} WeightRole;

/* One way in which files hold the experts of a layer (names under the layer's scope). */
typedef struct ExpertLayout {
    const char *each;    /* "experts.%d.gate_proj.weight": a tensor per expert; NULL */
    const char *stacked; /* "experts.gate_up_proj": one tensor [E, rows, in] */
    int part, parts;     /* which of how many equal parts of the rows this weight is */
    bool interleaved;    /* rows part, part + parts, ... instead of a run */
    bool transposed;     /* [E, in, rows] is stored */
} ExpertLayout;
enum { EXPERT_LAYOUTS = 4 };

typedef struct WeightDecl {
    const char *name;    /* canonical, whole */
    WeightRole role;
    int rows, cols;      /* of one matrix; a vector is [1, cols] */
    int count;           /* matrices: experts, groups or parts of a table, else 1 */
    int last_rows;       /* WEIGHT_EXPERTS: the last matrix has fewer rows; 0: as many as the others */
    int whole, begin;    /* the tensor holds `whole` rows (per group) of which ours begin at `begin`; 0: all */
    bool transposed;     /* the stored part is [cols, rows] */
    VectorMap map;       /* WEIGHT_VECTOR */
    bool optional;       /* may be absent: then it counts as zeros (biases) */
    bool kept_only;      /* read and kept, not used in this graph (multi-token prediction) */
    Split split;
    int layer;
    ExpertLayout layout[EXPERT_LAYOUTS]; /* WEIGHT_EXPERTS: tried in order */
    const char *fused;   /* canonical name of a tensor that may hold this matrix as rows [fused_begin, + rows) */
} WeightDecl;

/* Tokens that are looked up as another one. */
enum { MAX_BLANKS = 4 };
typedef struct Blanks {
    int token[MAX_BLANKS], n, as;
} Blanks;

/* By what a table is looked up. */
typedef enum EmbedBy { BY_TOKEN, BY_PLACE, BY_SEGMENT } EmbedBy;
typedef struct OpEmbed { EmbedBy by; int first; Blanks blanks; } OpEmbed;

typedef struct StateDecl {
    const char *name;
    RowState rows;  /* heads > 0 */
    int floats;     /* or a memory of so many floats per sequence */
    int recent;     /* or `width` floats of each of the last `recent` tokens */
    int width;
    int layer;
    bool passing;   /* rows of one step and one layer: the next layer writes over them */
} StateDecl;

typedef struct OpNorm { NormKind kind; int run; float eps, plus; int weight_runs; } OpNorm; /* weights repeat or go on */
typedef struct OpRuns { int runs, a_begin, a_width, a_stride, b_begin, b_width, b_stride, a_repeat; } OpRuns;
typedef struct OpRope { int table; RopeAt at; int run; } OpRope;
typedef struct RopeTable { Rope rope; int stride; } RopeTable; /* angles of position / stride * stride */
typedef struct OpRoute {
    int experts, used, groups, groups_used, zero_experts;
    bool group_by_top2, renormalise;
    float renormalise_eps, renormalise_min, scale;
    Score score;
} OpRoute;

typedef struct OpConv { int inputs, taps, dilation; Act act; } OpConv; /* weight[i] [taps, width of in[i]], then bias */

enum { OP_INPUTS = 6, MAX_TAPS = 16 };
enum { HYPER_STREAMS = 16, POOL_ROWS = 512 }; /* at the most */

typedef struct Op {
    OpKind kind;
    Val in[OP_INPUTS];
    Val out;        /* NO_VAL for stores */
    int weight[6];  /* indices of weights, -1 */
    State state;
    int layer;      /* -1 outside the layers */
    const char *name; /* the last part of the scope, for people */
    union {
        OpNorm norm;
        struct { float factor, plus; } affine;
        struct { Act act; int run; } act; /* softmax: run */
        Glu glu;
        struct { float cap; } cap;
        OpRuns runs;
        OpRope rope;
        struct { float scale; int floor_at, plus; } position;
        struct { bool exact; int groups; } linear;
        OpRoute route;
        struct { bool no_gate; Glu glu; Act act; bool scale_input; int used, experts; } experts;
        Attend attend;
        OpConv conv;
        Recur recur; /* in: query, key, value, decay, strength */
        Choice choice;
        Pool pool;
        Hyper hyper;
        OpEmbed embed;
        Ngram ngram;
        struct { float scale; bool root; } dot;
        struct { int n; bool repeated; } vector; /* n numbers: for each run in turn, or one for each run */
    } u;
} Op;

/* What is known beside the configuration. */
typedef struct GraphHints {
    /* Whether the files have a tensor of that canonical name. NULL: nothing is known of the files; then optional parts are
     * taken to be there as config.json says. */
    bool (*has_tensor)(void *user, const char *name);
    void *user;
    /* Only the layers whose number is marked are described, each as if it stood where it does; the first takes what comes
     * before the layers. NULL: all. */
    const bool *layers;
    int n_layers; /* marks; layers beyond are left out */
} GraphHints;

struct Graph {
    Arena arena;
    Error err;       /* the first mistake; building stops there */
    const Cfg *cfg;
    const Family *family;
    GraphHints hints;

    Op *ops;
    int n_op;
    size_t op_capacity;
    Value *values;
    int n_value;
    size_t value_capacity;
    WeightDecl *weights;
    int n_weight;
    size_t weight_capacity;
    Map weight_of; /* name + shape key -> index */
    StateDecl *states;
    int n_state;
    size_t state_capacity;
    RopeTable *ropes; /* the different rotations in use */
    int n_rope;
    size_t rope_capacity;

    char scope[192];
    size_t scope_ends[16];
    int depth;
    int layer;
    NormKind norm_kind;
    float norm_eps;
    bool norm_plus_one;
    bool keeping;    /* weights declared now are kept only */

    Val output;
    Result result;
    bool whole_texts; /* tokens see what follows them: a text is one step */
    int places;       /* tokens of a text at most, where positions are learned; 0 = any number */
    int segments;     /* kinds of segments that are told apart; 0 = none */
    Val prepared;    /* what Decoder.prepare made, or NO_VAL */
    Val *hidden;   /* [n_layer + 1]: input of the first layer, output of each; NO_VAL where not marked */
    int n_layer, vocab, width;
    int vocab_rows;  /* of the embedding */
    Blanks blanks;
    Val last_hidden; /* what enters the output matrix */
    Val last_choice;
};

/* Makes the description; `hints` may be NULL. */
Status graph_build(const Family *family, Cfg *cfg, const GraphHints *hints, Graph **graph, Error *err);
void graph_free(Graph *graph);

/* Builder parts shared by the files that add operations. They return -1/NO_VAL/NULL once the graph has failed. */
Op *graph_op(Graph *g, OpKind kind, Val a, Val b, int width);   /* makes the op and its value (width > 0) */
Val graph_out(const Op *op);                                     /* its value; op may be NULL */
Val graph_value(Graph *g, int width, RowKind rows, int per_row);
/* Norm of each run of `run` numbers by weights "name.weight" as they are, whatever norm_style() says; as many of them
 * as `weights`: run, or the whole width. */
Val graph_norm(Graph *g, Val x, const char *name, int run, int weights, float eps);
int graph_weight(Graph *g, WeightDecl decl);                     /* name under the scope; the same name is one weight */
int graph_vector(Graph *g, const char *name, const char *suffix, int n);
void graph_fail(Graph *g, const char *format, ...) PRINTF_LIKE(2, 3);
void graph_no_memory(Graph *g);
bool graph_ok(const Graph *g);
const char *graph_scoped(Graph *g, const char *name, const char *suffix);

/* The cosines and sines of a rotation for one position: [dim/2] each. `declared` is the length that the sequence is
 * declared to reach (for factors that depend on it). */
void rope_angles(const Rope *rope, int64_t position, int64_t declared, float *cosine, float *sine);

#endif
