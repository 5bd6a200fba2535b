/* bench_kernels.h - each kernel by itself: its time, its share of what the machine can do, and beside plain C. */
#ifndef HOULE_CLI_BENCH_KERNELS_H
#define HOULE_CLI_BENCH_KERNELS_H

#include "base/pool.h"
#include "base/status.h"

/* A line for each kernel of the level in force on standard output, or JSON. ms: to measure each for. */
Status bench_kernels(Pool *pool, int ms, bool json, Error *err);

#endif
