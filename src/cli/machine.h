/* machine.h - what this machine's kernels take, measured once and remembered: the rates that plans are made of.
 *
 * Kept in $XDG_CACHE_HOME/houle/rates.json (~/.cache/houle): of one CPU, level, number of threads and build of the program;
 * anything else is measured anew. Forms of weights are measured as they are first asked for. */
#ifndef HOULE_CLI_MACHINE_H
#define HOULE_CLI_MACHINE_H

#include "cli/roof.h"
#include "graph/estimate.h"

/* The CPU as the system calls it; "unknown" where it does not say. */
enum { CPU_NAME_BYTES = 128 };
void cpu_name(char name[CPU_NAME_BYTES]);

/* Rates for the forms that are wanted (wanted[FORM_COUNT]), and the roof. anew: nothing remembered is used. A cache that
 * cannot be read or written is no error. *disturbed: other processes were so busy that the rates are too low; they are not
 * remembered then. */
Status machine_rates(Pool *pool, const bool *wanted, bool anew, Roof *roof, Rates *rates, bool *disturbed, Error *err);

#endif
