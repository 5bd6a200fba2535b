/* roof.h - the roofs of this machine, measured once a process: what bench and doctor compare with. */
#ifndef HOULE_CLI_ROOF_H
#define HOULE_CLI_ROOF_H

#include "kernel/peak.h"

#include <jansson.h>

typedef struct Roof {
    int threads;
    Level level;                               /* in force */
    double read_one, read_all;                 /* bytes/s */
    double products[PEAK_KIND_COUNT];          /* operations/s of all threads at that level; 0: no instruction for it */
} Roof;

/* The best of `rounds` measurements of about 0.1 s each. */
Status roof_measure(Pool *pool, int rounds, Roof *roof, Error *err);
/* The kinds of products that quantised weights and bf16 weights are multiplied with at this level, as peaks. */
double roof_int8(const Roof *roof);
double roof_bf16(const Roof *roof);
json_t *roof_json(const Roof *roof);
void roof_print(const Roof *roof);
/* All levels of the machine and all kinds: a table on standard output, or JSON. */
Status roof_print_levels(Pool *pool, int rounds, bool json, Error *err);

#endif
