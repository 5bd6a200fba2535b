/* test_topology.c - guards against threads that share a core while others idle, that crowd on one memory node, or that are
 * bound where other programs need room. Machines are hwloc's synthetic ones, but for the last tests. */
#include "base/pool.h"
#include "base/topology.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka needs the four above. */
#include <cmocka.h>

enum { MOST_THREADS = 64 };

static Topology *machine(const char *description) {
    assert_int_equal(setenv("HWLOC_SYNTHETIC", description, 1), 0);
    Topology *t = topology_open();
    assert_int_equal(unsetenv("HWLOC_SYNTHETIC"), 0);
    assert_non_null(t);
    return t;
}

/* Threads of each core and of each node. */
typedef struct Load {
    int of_core[MOST_THREADS], of_node[MOST_THREADS];
} Load;

static Load load_of(const Topology *t, int n_thread, PlaceKind kind) {
    Load load = {0};
    for (int i = 0; i < n_thread; i++) {
        const Place place = topology_place(t, i, n_thread);
        assert_int_equal(place.kind, kind);
        assert_in_range(place.core, 0, topology_cores(t) - 1);
        load.of_core[place.core]++;
        load.of_node[place.node]++;
    }
    return load;
}

static void test_two_sockets(void **state) {
    (void)state;
    Topology *t = machine("pack:2 [numa] core:8 pu:2");
    assert_int_equal(topology_cores(t), 16);
    assert_int_equal(topology_processors(t), 32);
    assert_int_equal(topology_nodes(t), 2);
    const Load one_each = load_of(t, 16, PLACE_CORE), two_each = load_of(t, 32, PLACE_CORE);
    for (int c = 0; c < 16; c++) {
        assert_int_equal(one_each.of_core[c], 1); /* no hyper-thread beside another while cores idle */
        assert_int_equal(two_each.of_core[c], 2);
    }
    for (int i = 0; i < 16; i++) { /* neighbours work on neighbouring rows: they share a node */
        assert_int_equal(topology_place(t, i, 16).node, i / 8);
        assert_int_equal(topology_place(t, i, 16).core, i);
    }
    for (int n = 1; n < 32; n++) {
        if (n == 16)
            continue;
        const Load load = load_of(t, n, PLACE_NODE); /* bound to no core: others may need it */
        assert_in_range(load.of_node[0] - load.of_node[1], 0, 1);
        for (int c = 0; n < 16 && c < 16; c++)
            assert_in_range(load.of_core[c], 0, 1);
    }
    (void)load_of(t, 33, PLACE_ANY);
    topology_close(t);
}

static void test_one_node(void **state) {
    (void)state;
    Topology *t = machine("pack:1 core:8 pu:2");
    assert_int_equal(topology_nodes(t), 1);
    (void)load_of(t, 4, PLACE_ANY);
    (void)load_of(t, 8, PLACE_CORE);
    (void)load_of(t, 12, PLACE_ANY);
    (void)load_of(t, 16, PLACE_CORE);
    topology_close(t);
}

static void test_nodes_inside_sockets(void **state) {
    (void)state;
    Topology *t = machine("pack:2 group:2 [numa] core:4 pu:1");
    assert_int_equal(topology_nodes(t), 4);
    const Load load = load_of(t, 8, PLACE_NODE), full = load_of(t, 16, PLACE_CORE);
    for (int node = 0; node < 4; node++) {
        assert_int_equal(load.of_node[node], 2);
        assert_int_equal(full.of_node[node], 4);
    }
    topology_close(t);
}

/* Some containers and virtual machines show processors only. */
static void test_no_cores_told(void **state) {
    (void)state;
    Topology *t = machine("pu:6");
    assert_int_equal(topology_cores(t), 6);
    assert_int_equal(topology_nodes(t), 1);
    (void)load_of(t, 6, PLACE_CORE);
    (void)load_of(t, 3, PLACE_ANY);
    topology_close(t);
}

static void test_nothing_is_bound_on_another_machine(void **state) {
    (void)state;
    Topology *t = machine("pack:1 core:2 pu:1");
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_false(topology_bind(t, topology_place(t, 1, 2)));
    topology_move(t, topology_place(t, 0, 2));
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
    topology_close(t);
}

/* As under taskset: what is not allowed is neither counted nor bound to. */
static void test_affinity_is_kept_to(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    Topology *t = topology_open();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_non_null(t);
    assert_int_equal(topology_cores(t), 1);
    assert_int_equal(topology_processors(t), 1);
    assert_true(topology_bind(t, topology_place(t, 0, 1)));
    cpu_set_t bound;
    assert_int_equal(sched_getaffinity(0, sizeof bound, &bound), 0);
    assert_true(CPU_EQUAL(&bound, &one));
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    topology_close(t);
}

typedef struct Seen {
    cpu_set_t of[MOST_THREADS];
} Seen;

static void look(void *arg, int thread, int n_thread) {
    (void)n_thread;
    Seen *seen = arg;
    assert_int_equal(sched_getaffinity(0, sizeof seen->of[thread], &seen->of[thread]), 0);
}

/* Workers have a core each, which nobody else has; the caller goes where it likes, with HOULE_PIN=0 all do. */
static void test_pool(void **state) {
    (void)state;
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    Topology *t = topology_open();
    assert_non_null(t);
    const int n = topology_cores(t);
    topology_close(t);
    if (n > MOST_THREADS)
        skip();
    for (int off = 0; off < 2; off++) {
        Pool *pool;
        Seen seen;
        Error err = {0};
        assert_int_equal(pool_open(n, &pool, &err), OK);
        if (off)
            assert_int_equal(setenv("HOULE_PIN", "0", 1), 0);
        pool_place(pool);
        assert_int_equal(unsetenv("HOULE_PIN"), 0);
        pool_run(pool, look, &seen);
        pool_close(pool);
        assert_true(CPU_EQUAL(&seen.of[0], &before));
        cpu_set_t taken;
        CPU_ZERO(&taken);
        for (int i = 1; i < n; i++) {
            cpu_set_t both;
            CPU_AND(&both, &taken, &seen.of[i]);
            if (off)
                assert_true(CPU_EQUAL(&seen.of[i], &before));
            else
                assert_int_equal(CPU_COUNT(&both), 0);
            CPU_OR(&taken, &taken, &seen.of[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_sockets),
        cmocka_unit_test(test_one_node),
        cmocka_unit_test(test_nodes_inside_sockets),
        cmocka_unit_test(test_no_cores_told),
        cmocka_unit_test(test_nothing_is_bound_on_another_machine),
        cmocka_unit_test(test_affinity_is_kept_to),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
