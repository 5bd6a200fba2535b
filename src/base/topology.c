/* topology.c - see topology.h. */
#include "base/topology.h"

#include "base/mem.h"

#include <hwloc.h>
#include <sched.h>

typedef struct Core {
    hwloc_bitmap_t processors; /* those that we may use, at least one */
    int n_processor;
    int node;
} Core;

struct Topology {
    hwloc_topology_t machine;
    hwloc_bitmap_t allowed; /* processors */
    hwloc_bitmap_t nodes;   /* of these cores */
    Core *cores;
    int n_core, n_processor;
};

/* Without caches and devices. Packages and groups are kept, because nodes hang on them. */
static hwloc_topology_t load_machine(void) {
    hwloc_topology_t machine;
    if (hwloc_topology_init(&machine) != 0)
        return NULL;
    hwloc_topology_set_cache_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_icache_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_io_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_NONE);
    if (hwloc_topology_load(machine) == 0)
        return machine;
    hwloc_topology_destroy(machine);
    return NULL;
}

/* hwloc knows the limits of cgroups; those of taskset have to be asked for. */
static bool find_allowed(Topology *t) {
    t->allowed = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(t->machine));
    hwloc_bitmap_t bound = hwloc_bitmap_alloc();
    if (t->allowed != NULL && bound != NULL && hwloc_topology_is_thissystem(t->machine) &&
        hwloc_get_cpubind(t->machine, bound, HWLOC_CPUBIND_THREAD) == 0)
        hwloc_bitmap_and(t->allowed, t->allowed, bound);
    const bool found = t->allowed != NULL && bound != NULL;
    hwloc_bitmap_free(bound);
    return found;
}

/* Where a virtual machine or a container hides the cores, each processor counts as one. */
static bool find_cores(Topology *t) {
    const hwloc_obj_type_t type = hwloc_get_nbobjs_by_type(t->machine, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    const int all = hwloc_get_nbobjs_by_type(t->machine, type);
    t->cores = all > 0 ? mem_array((size_t)all, sizeof *t->cores, MEM_MISC) : NULL;
    t->nodes = hwloc_bitmap_alloc();
    if (t->cores == NULL || t->nodes == NULL)
        return false;
    for (int i = 0; i < all; i++) {
        const hwloc_obj_t object = hwloc_get_obj_by_type(t->machine, type, (unsigned)i);
        if (!hwloc_bitmap_intersects(object->cpuset, t->allowed))
            continue;
        Core *core = &t->cores[t->n_core];
        core->processors = hwloc_bitmap_dup(object->cpuset);
        if (core->processors == NULL)
            return false;
        t->n_core++;
        hwloc_bitmap_and(core->processors, core->processors, t->allowed);
        core->n_processor = hwloc_bitmap_weight(core->processors);
        core->node = MAX(hwloc_bitmap_first(object->nodeset), 0);
        t->n_processor += core->n_processor;
        hwloc_bitmap_set(t->nodes, (unsigned)core->node);
    }
    return t->n_core > 0;
}

Topology *topology_open(void) {
    Topology *t = mem_zalloc(sizeof *t, MEM_MISC);
    if (t == NULL)
        return NULL;
    t->machine = load_machine();
    if (t->machine == NULL || !find_allowed(t) || !find_cores(t)) {
        topology_close(t);
        return NULL;
    }
    return t;
}

void topology_close(Topology *t) {
    if (t == NULL)
        return;
    for (int i = 0; i < t->n_core; i++)
        hwloc_bitmap_free(t->cores[i].processors);
    mem_free(t->cores);
    hwloc_bitmap_free(t->nodes);
    hwloc_bitmap_free(t->allowed);
    if (t->machine != NULL)
        hwloc_topology_destroy(t->machine);
    mem_free(t);
}

int topology_cores(const Topology *t) {
    return t->n_core;
}

int topology_processors(const Topology *t) {
    return t->n_processor;
}

int topology_nodes(const Topology *t) {
    return hwloc_bitmap_weight(t->nodes);
}

/* The core of the which-th processor, when each core's first ones are counted before any second one. */
static int core_of_processor(const Topology *t, int which) {
    for (int round = 0;; round++)
        for (int c = 0; c < t->n_core; c++)
            if (t->cores[c].n_processor > round && which-- == 0)
                return c;
}

Place topology_place(const Topology *t, int thread, int n_thread) {
    const bool full = n_thread == t->n_core || n_thread == t->n_processor;
    if (n_thread > t->n_processor)
        return (Place){.kind = PLACE_ANY};
    Place place = {.kind = full ? PLACE_CORE : topology_nodes(t) > 1 ? PLACE_NODE : PLACE_ANY};
    place.core = full ? core_of_processor(t, thread) : (int)((long)thread * t->n_core / n_thread);
    place.node = t->cores[place.core].node;
    return place;
}

/* The processors of a place, in a fresh set; NULL: any, or no memory. */
static hwloc_bitmap_t processors_of(const Topology *t, Place place) {
    if (place.kind == PLACE_ANY)
        return NULL;
    if (place.kind == PLACE_CORE)
        return hwloc_bitmap_dup(t->cores[place.core].processors);
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    for (int c = 0; set != NULL && c < t->n_core; c++)
        if (t->cores[c].node == place.node)
            hwloc_bitmap_or(set, set, t->cores[c].processors);
    return set;
}

bool topology_bind(const Topology *t, Place place) {
    if (!hwloc_topology_is_thissystem(t->machine))
        return false;
    hwloc_bitmap_t set = processors_of(t, place);
    const bool bound = set != NULL && hwloc_set_cpubind(t->machine, set, HWLOC_CPUBIND_THREAD) == 0;
    hwloc_bitmap_free(set);
    return bound;
}

void topology_move(const Topology *t, Place place) {
    const int here = sched_getcpu();
    const Core *core = &t->cores[place.core];
    if (place.kind == PLACE_ANY || here < 0 || !hwloc_topology_is_thissystem(t->machine))
        return;
    if (place.kind == PLACE_CORE && hwloc_bitmap_isset(core->processors, (unsigned)here))
        return; /* nearly always: it stays where it was moved to */
    hwloc_bitmap_t set = processors_of(t, place), before = hwloc_bitmap_alloc();
    if (set != NULL && before != NULL && !hwloc_bitmap_isset(set, (unsigned)here) &&
        hwloc_get_cpubind(t->machine, before, HWLOC_CPUBIND_THREAD) == 0 && hwloc_bitmap_intersects(before, set) &&
        hwloc_set_cpubind(t->machine, set, HWLOC_CPUBIND_THREAD) == 0)
        (void)hwloc_set_cpubind(t->machine, before, HWLOC_CPUBIND_THREAD);
    hwloc_bitmap_free(set);
    hwloc_bitmap_free(before);
}
