/* estimate.h - how long a step of a description will take, from what kernels were measured to take by themselves.
 *
 * The description is lowered as for running, without weights; each of its steps costs
 *
 *     matrices, one row     the meeting of the threads, and a time for each byte as it is stored
 *     matrices, more rows   for each of their numbers a time to unpack it (once for a block of rows), and one for each row
 *     gated units           the same, and a time for each number of their halves
 *     attention             a time for each byte of cache (one row), or for each product, for each entry that a row sees, and
 *                           for each number of the queries
 *     rows                  a time for each operation and for each number
 *
 * All rates come from the caller, who measures them (cli/machine.c); there are no constants here. */
#ifndef HOULE_GRAPH_ESTIMATE_H
#define HOULE_GRAPH_ESTIMATE_H

#include "graph/made_weights.h"
#include "kernel/kernel.h"

/* Multiplying with one form of weights, all threads together. Seconds. */
typedef struct LinearRate {
    double step;     /* of a matrix, whatever its size: threads meet and begin */
    double byte;     /* one row: for each stored byte */
    double unpack;   /* more rows: for each number, once for a block of rows */
    double product;  /* and for each number and row */
} LinearRate;

typedef struct Rates {
    int threads;
    double barrier;                /* threads hand over a row of numbers and meet */
    double row_op, row_number;     /* a row operation: each, and each of its numbers, on one thread */
    double row_number_far;         /* each number, where rows are too many for the near caches */
    double glu_number;             /* a gated unit's two halves, each number, on one thread */
    double attend_byte, attend_product; /* of the cache; each multiplication and addition */
    double attend_entry, attend_number; /* many rows: each entry that a row of a head sees, each number of its query */
    double recur_byte, recur_product;
    LinearRate linear[FORM_COUNT]; /* product 0: was not measured */
} Rates;

typedef struct EstimateSpec {
    CacheType cache;
    int tokens;   /* of one sequence in the step */
    int depth;    /* that are in the cache before */
} EstimateSpec;

/* The lowered description: one serves for all forms of its weights. The graph must outlive it. */
typedef struct Estimator Estimator;
Status estimator_open(const Graph *graph, const Kernels *kernels, Estimator **estimator, Error *err);
void estimator_close(Estimator *estimator); /* NULL is fine */
/* Seconds of a step. forms: of every weight of the graph. */
double estimate_step(const Estimator *estimator, const WeightForm *forms, const Rates *rates, EstimateSpec spec);

#endif
