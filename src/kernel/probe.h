/* probe.h - how long kernels take on this machine: short measurements of each by itself, called as the engine calls them.
 *
 * Threads of a pool share out units of 64 outputs, or chunks of attention, and meet at a barrier, as in a step of a model;
 * weights come from memory, not from the caches. From such times `houle plan` tells the speed of a whole model, and
 * `houle bench --kernels` prints them. The median of several sweeps counts: what a model will get, not what was got once. */
#ifndef HOULE_KERNEL_PROBE_H
#define HOULE_KERNEL_PROBE_H

#include "base/pool.h"
#include "kernel/kernel.h"

/* The memory that probes share: larger than the last-level cache. */
typedef struct Probes Probes;
Status probes_open(Pool *pool, Probes **probes, Error *err);
void probes_close(Probes *probes); /* NULL is fine */
/* Many measurements were never left alone by other processes: their times are too long. */
bool probes_disturbed(const Probes *probes);

typedef struct ProbeTime {
    double seconds;    /* of one call: one matrix, one layer's attention, one row */
    double bytes;      /* that it reads from memory (weights, cache), or of the row that it goes through */
    double operations; /* a multiplication and an addition count as two; 0: not what it is about */
} ProbeTime;

/* tokens rows times a matrix [rows, cols] of a form. ERR_ARGUMENT where cols do not fit the form. */
typedef struct LinearProbe {
    const Kernels *kernels;
    Form form;
    Precision precision;
    int rows, cols, tokens;
    int ms;             /* to measure for */
} LinearProbe;
Status probe_linear(Probes *probes, const LinearProbe *probe, ProbeTime *time, Error *err);

/* tokens that see `entries` entries each, in all heads of a layer. */
typedef struct AttendProbe {
    const Kernels *kernels;
    CacheType type;
    int heads, kv_heads, width; /* of a head, keys and values alike */
    int tokens, entries;
    int ms;
} AttendProbe;
Status probe_attend(Probes *probes, const AttendProbe *probe, ProbeTime *time, Error *err);

/* tokens of one sequence through the matrices [width, width] of a recurrent layer's heads. */
typedef struct RecurProbe {
    const Kernels *kernels;
    int heads, width, tokens;
    int ms;
} RecurProbe;
Status probe_recur(Probes *probes, const RecurProbe *probe, ProbeTime *time, Error *err);

/* Operations on one row of n numbers, on one thread, in the first cache. */
typedef enum RowProbe {
    ROW_PROBE_RMS_NORM, ROW_PROBE_LAYER_NORM, ROW_PROBE_L2_NORM, ROW_PROBE_SILU, ROW_PROBE_GELU, ROW_PROBE_GLU, ROW_PROBE_GLU_OAI,
    ROW_PROBE_SOFTCAP, ROW_PROBE_SOFTMAX, ROW_PROBE_ADD, ROW_PROBE_MUL, ROW_PROBE_AFFINE, ROW_PROBE_AXPY, ROW_PROBE_ROPE,
    ROW_PROBE_Q8_32, ROW_PROBE_Q8_256, ROW_PROBE_BF16, ROW_PROBE_DOT, ROW_PROBE_COUNT,
} RowProbe;
const char *probe_row_name(RowProbe which);
Status probe_row(Probes *probes, const Kernels *kernels, RowProbe which, int n, int ms, ProbeTime *time, Error *err);

/* Seconds that one thread takes for a number in a row operation where many rows are gone through: they were written by all
 * threads before, each its share of every row's n numbers, and are too many for the near caches. */
Status probe_rows(Probes *probes, const Kernels *kernels, int rows, int n, double *seconds, Error *err);

/* Seconds from one step to the next: all threads write their shares of a row of n numbers, meet, and read all of it. */
Status probe_handover(Probes *probes, const Kernels *kernels, int n, double *seconds, Error *err);

#endif
