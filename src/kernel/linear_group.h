/* linear_group.h - what the ways of multiplying many rows share: groups of outputs, and weights that are
 * fetched before they are used. */
#ifndef HOULE_KERNEL_LINEAR_GROUP_H
#define HOULE_KERNEL_LINEAR_GROUP_H

#include "base/compiler.h"
#include "kernel/kernel_parts.h"

enum {
    ROW_BLOCK = 512,     /* rows that use a tile before it is gone: unpacking costs a per cent or two */
    GROUP_PANELS = 4,
    GROUP_OUTS = GROUP_PANELS * LINEAR_PANEL,
    FEW_OUTS = 2 * LINEAR_PANEL, /* a group of few rows: two of them fit the L2 cache however long their rows are */
};

/* Weights that are fetched while others are multiplied: some pieces of them with each few rows. */
typedef struct Ahead {
    const uint8_t *next; /* piece */
    size_t stride, bytes;
    int left, share;     /* pieces: all, and with each few rows */
} Ahead;

/* Where results go until all inputs are done: [ROW_BLOCK][GROUP_OUTS], for the outputs of the group at `begin`. */
typedef struct Group {
    const Matrix *m;
    int begin, count, panels; /* panels: those in use, made even */
    bool whole;               /* all of them full and in place: with the last inputs, results go where they belong */
    float *buffer;
    Ahead *run;           /* the next group's weights, of few rows; NULL: none, or they were read beforehand */
} Group;

static inline const uint8_t *act_row(const LinearJob *job, int r) {
    return job->acts + (size_t)(job->act_rows != NULL ? job->act_rows[r] : r) * job->act_bytes;
}

/* The first row of a panel's tile. */
static inline int panel_row(const Group *g, int panel) {
    return MAX(0, MIN(g->begin + LINEAR_PANEL * panel, g->m->rows - LINEAR_PANEL));
}

/* Always inlined: gcc drops calls of functions that only prefetch. */
static ALWAYS_INLINE void prefetch_lines(const void *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64)
        PREFETCH((const uint8_t *)p + i);
}

/* While many rows are multiplied, the group's next inputs are fetched. */
static inline Ahead ahead_of(const LinearJob *job, const Group *g, int col, int n_row, int most) {
    const Matrix *m = job->m;
    const int next = col + TILE_COLS;
    if (n_row <= LINEAR_FEW_ROWS || next >= m->cols || !form_by_rows(m->form))
        return (Ahead){0};
    const size_t bytes = m->row_bytes * TILE_COLS / (size_t)m->cols;
    return (Ahead){.next = m->data + (size_t)g->begin * m->row_bytes + bytes * (size_t)(next / TILE_COLS),
                   .stride = m->row_bytes, .bytes = bytes, .left = MIN(g->count, m->rows - g->begin),
                   .share = (g->count * most + n_row - 1) / n_row};
}

static ALWAYS_INLINE void fetch_ahead(Ahead *a) {
    for (int i = MIN(a->share, a->left); i > 0; i--, a->left--, a->next += a->stride)
        prefetch_lines(a->next, a->bytes);
}

/* Very few rows: time goes by in waiting for weights, which machines deliver fastest when they are read in order. A group's
 * weights are one run of bytes; before it is used, the next one is read into the L2 cache by plain loads, which start the
 * hardware's prefetcher (Zen 5, from memory, one thread: prefetch instructions are mostly dropped in such numbers, and
 * plain loads about double the rate). */
static inline void touch(const Matrix *m, int begin, int end) {
    if (begin >= end || !form_by_rows(m->form))
        return;
    const volatile uint8_t *p = m->data + (size_t)begin * m->row_bytes;
    const size_t bytes = (size_t)(end - begin) * m->row_bytes;
    for (size_t at = 0; at < bytes; at += 64)
        (void)p[at];
}

/* With more rows there is something to do while weights come: those of the next group, or the next job, are fetched between the
 * products, in order. */
static inline Ahead run_ahead(const LinearJob *job, int begin, int end, int parts) {
    const Matrix *m = job->m;
    end = MIN(end, m->rows);
    const bool last = begin >= end;
    if (last ? job->ahead == NULL : !form_by_rows(m->form))
        return (Ahead){0};
    const int lines = (int)(((size_t)(last ? FEW_OUTS : end - begin) * m->row_bytes + 63) / 64);
    return (Ahead){.next = last ? job->ahead : m->data + (size_t)begin * m->row_bytes, .stride = 64, .bytes = 64, .left = lines,
                   .share = (lines + parts - 1) / parts};
}

/* One row, whose weights are read in plain order. */
enum {
    WALK_AHEAD = 8192, /* bytes: what memory delivers while it is waited for. GB/s at 4, 8 and 12 KB ahead: one thread,
                          Q8_0 28.7, 30.9, 32.8, Q4_K 33.1, 34.9, 34.6, reading alone 37.4; two threads (16 KB last),
                          Q8_0 40.3, 41.1, 40.8, Q4_K 44.2, 44.3, 43.3, reading alone 44.6 */
};

/* What is read WALK_AHEAD bytes behind p: the same matrix, but from `edge` on what the thread multiplies with next. */
typedef struct WalkFetch {
    const uint8_t *edge;
    ptrdiff_t jump;
} WalkFetch;

static inline WalkFetch walk_fetch(const LinearJob *job) {
    const uint8_t *end = job->m->data + (size_t)job->end * job->m->row_bytes;
    /* Addresses as numbers: they belong to different objects. */
    return (WalkFetch){.edge = end - MIN((size_t)WALK_AHEAD, (size_t)(job->end - job->begin) * job->m->row_bytes),
                       .jump = job->ahead != NULL ? (ptrdiff_t)((uintptr_t)job->ahead - (uintptr_t)end) : 0};
}

static ALWAYS_INLINE const uint8_t *walk_behind(const WalkFetch *f, const uint8_t *p) {
    return (const uint8_t *)((uintptr_t)p + WALK_AHEAD + (uintptr_t)(p >= f->edge ? f->jump : 0));
}

#endif
