/* How many rows of a prompt go beside generated texts: on machines that are made up, of which all costs are known. */
#include "engine/pace.h"

#include "base/compiler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct Machine {
    double generate, alone, beside, deeper; /* ns: of a step; of a prompt's row; the same in a mixed step; more per token before it */
} Machine;

static double alone_ns(const Machine *m, int prompt) {
    return prompt * (m->alone + m->deeper * prompt / 2);
}

/* What a server has seen before: texts generated, and a short and a long prompt by themselves. */
static Pace learnt(const Machine *m) {
    Pace p = {0};
    pace_learn(&p, 0, 24, 20e6); /* the first step, which touches memory */
    for (int i = 0; i < 4; i++)
        pace_learn(&p, 0, 512, 512 * (m->alone + m->deeper * (512 * i + 256)));
    for (int i = 0; i < 100; i++)
        pace_learn(&p, 1, 0, m->generate);
    return p;
}

typedef struct Outcome {
    double total, longest, late; /* ns; the longest step but the first five; steps over 3 times, their share */
} Outcome;

static Outcome read_prompt(Pace *p, const Machine *m, int prompt, double hiccup) {
    Outcome o = {0};
    int steps = 0, late = 0;
    for (int at = 0; at < prompt; steps++) {
        const int n = MIN(pace_rows(p, true, 512), prompt - at);
        double ns = m->generate + n * (m->beside + m->deeper * at);
        if (hiccup > 0 && steps % 25 == 24)
            ns += hiccup;
        else if (steps >= 5)
            o.longest = MAX(o.longest, ns);
        late += ns > 3 * m->generate;
        pace_learn(p, 1, n, ns);
        o.total += ns;
        at += n;
    }
    o.late = (double)late / steps;
    return o;
}

static void pauses_are_kept(void **state) {
    (void)state;
    static const Machine machines[] = {
        {3e6, 0.27e6, 0.27e6, 0.0002e6},  /* rows beside cost what they cost alone */
        {3e6, 0.27e6, 0.15e6, 0.0002e6},  /* less: the weights are read anyway */
        {3e6, 0.27e6, 0.35e6, 0.0002e6},  /* more */
        {90e6, 4e6, 4e6, 0.0005e6},       /* a large model */
    };
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        const Machine *m = &machines[i];
        Pace p = learnt(m);
        const Outcome o = read_prompt(&p, m, 2000, 0);
        assert_true(o.longest <= 3 * m->generate);
        /* Rows cost `beside`: the time that the allowed pauses leave for them is nearly all used. */
        Machine same = *m;
        same.alone = m->beside;
        assert_true(o.total <= 1.9 * alone_ns(&same, 2000));
    }
}

/* One slow step in 25 must not make the others small. */
static void hiccups_are_outlived(void **state) {
    (void)state;
    const Machine m = {3e6, 0.27e6, 0.27e6, 0.0002e6};
    Pace p = learnt(&m), q = learnt(&m);
    const Outcome smooth = read_prompt(&p, &m, 2000, 0), rough = read_prompt(&q, &m, 2000, 6e6);
    assert_true(rough.longest <= 3 * m.generate);
    assert_true(rough.total <= 1.25 * smooth.total);
}

/* The next prompt begins at depth 0: what the end of the last one cost is soon forgotten. */
static void a_new_prompt_is_quick(void **state) {
    (void)state;
    const Machine m = {3e6, 0.27e6, 0.27e6, 0.0002e6};
    Pace p = learnt(&m);
    const Outcome first = read_prompt(&p, &m, 2000, 0), second = read_prompt(&p, &m, 2000, 0);
    assert_true(second.total <= 1.05 * first.total);
    assert_true(second.longest <= 3 * m.generate);
}

static void limits(void **state) {
    (void)state;
    Pace p = {0};
    assert_int_equal(pace_rows(&p, true, 512), 32);
    assert_int_equal(pace_rows(&p, false, 20), 20);
    pace_learn(&p, 0, 512, 512 * 1e6);
    assert_int_equal(pace_rows(&p, false, 512), 512); /* nobody waits */
    pace_learn(&p, 0, 512, 1e15);                     /* a hiccup of the clock */
    assert_true(pace_rows(&p, false, 512) >= 8);
    pace_learn(&p, 1, 0, 1e3);
    assert_int_equal(pace_rows(&p, true, 512), 8); /* every prompt comes to an end */
    assert_int_equal(pace_rows(&p, true, 4), 4);
    pace_learn(&p, 1, 8, 0); /* a clock that stood still */
    assert_true(pace_rows(&p, true, 512) >= 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_are_kept),
        cmocka_unit_test(hiccups_are_outlived),
        cmocka_unit_test(a_new_prompt_is_quick),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
