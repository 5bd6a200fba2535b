/* pace.c - see pace.h. */
#include "engine/pace.h"

#include "base/compiler.h"

/* A step that took far longer than expected says something of the machine (a thread that lost its turn, memory that was
 * touched for the first time), not of its rows: it counts as a quarter more than what was expected. */
static double credible(double ns, double expected) {
    return MIN(ns, 1.25 * expected);
}

static void average(double *mean, double now, double weight) {
    *mean = *mean == 0 ? now : *mean + weight * (credible(now, *mean) - *mean);
}

int pace_rows(const Pace *p, bool generating, int room) {
    enum { LEAST = 8, FIRST = 32 };
    const double gap = 2.6;         /* of steps that only generate; what is left of 3 is for whatever else delays a token */
    const double alone_ns = 1e9;    /* a step of a second at the most, so that clients who leave are noticed */
    if (p->row_ns <= 0)
        return MIN(room, FIRST);
    const bool bound = generating && p->generate_ns > 0;
    const double rows = (bound ? (gap - 1) * p->generate_ns - p->beyond_ns : alone_ns) / p->row_ns;
    return rows < LEAST ? MIN(room, LEAST) : rows > room ? room : (int)rows;
}

void pace_learn(Pace *p, int generating, int rows, double ns) {
    if (generating > 0 && rows > 0 && p->generate_ns > 0) {
        const double weight = 0.4; /* it follows the depth of the prompt */
        if (p->row_ns == 0)
            p->row_ns = MAX(ns - p->generate_ns, 0.1 * ns) / rows;
        const double expected = p->generate_ns + rows * p->row_ns + p->beyond_ns;
        p->beyond_ns += weight * (credible(ns, MAX(expected, p->generate_ns)) - expected);
    } else if (rows > 0 && generating == 0) {
        average(&p->row_ns, ns / rows, rows / (rows + 256.0)); /* small steps, as a model's first, say little */
    } else if (generating > 0 && rows == 0) {
        average(&p->generate_ns, ns, 0.2);
    }
}
