/* plan.c - where each buffer of a program lies: one block of scratch, shared by buffers that are not needed at the
 * same time. Offsets are bytes per token; the number of tokens multiplies them all alike. */
#include "graph/program_parts.h"

#include <stdlib.h>

/* A step of row operations is not followed by a barrier when every thread does all of it, nor is a phase that is skipped: a
 * fast thread may be in the next step while a slow one still reads. So what such a step reads must stay until the step
 * after it is over. */
static int needed_until(const Program *p, int step) {
    while (step < p->n_step && (p->steps[step].kind == STEP_ROWS || p->steps[step].may_skip))
        step++;
    return step;
}

typedef struct Live {
    size_t offset, end;
    int last;
} Live;

static int by_offset(const void *a, const void *b) {
    const Live *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* First fit; buffers are listed in the order of their first use. The two regions (all tokens, wanted ones) are planned
 * apart. */
static size_t plan_region(Program *p, bool wanted, Live *live) {
    int n_live = 0;
    size_t high = 0;
    for (int i = 0; i < p->n_buffer; i++) {
        Buffer *b = &p->buffers[i];
        if ((b->rows == ROWS_WANTED) != wanted)
            continue;
        int kept = 0;
        for (int j = 0; j < n_live; j++)
            if (live[j].last >= b->first)
                live[kept++] = live[j];
        n_live = kept;
        size_t at = 0;
        for (int j = 0; j < n_live; j++) { /* sorted by offset */
            if (live[j].offset >= at + b->row_bytes)
                break;
            at = MAX(at, live[j].end);
        }
        b->offset = at;
        live[n_live++] = (Live){at, at + b->row_bytes, b->last};
        qsort(live, (size_t)n_live, sizeof *live, by_offset);
        high = MAX(high, at + b->row_bytes);
    }
    return high;
}

Status plan(Program *p, Error *err) {
    Live *live = mem_array((size_t)p->n_buffer + 1, sizeof *live, MEM_GRAPH);
    FAIL_IF(live == NULL, ERR_MEMORY, "no memory to plan the program");
    for (int i = 0; i < p->n_buffer; i++)
        if (p->buffers[i].last != INT32_MAX)
            p->buffers[i].last = needed_until(p, p->buffers[i].last);
    p->all_bytes = plan_region(p, false, live);
    p->wanted_bytes = plan_region(p, true, live);
    mem_free(live);
    return OK;
}
