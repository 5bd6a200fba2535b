/* topology.h - the processors that this process may use, and which of them each thread of a pool is given.
 *
 * Asked of hwloc: cores, their hyper-threads, the memory nodes they belong to; of these only what a container's cpuset and the
 * process' affinity leave. Threads are spread evenly over the cores, so over caches and nodes as well:
 *
 *     node 0            node 1
 *     c0  c1  c2  c3    c4  c5  c6  c7
 *     t0      t1        t2      t3          four threads: one for every other core
 *     t0  t1  t2  t3    t4  t5  t6  t7      eight: one for each, and bound to it
 *
 * A thread is bound to a core only when every core (or every hyper-thread) gets one: otherwise there is room to make way for
 * other programs, and where there are several nodes, staying on one is enough. */
#ifndef HOULE_BASE_TOPOLOGY_H
#define HOULE_BASE_TOPOLOGY_H

#include "base/compiler.h"

#include <stdbool.h>

typedef struct Topology Topology;

/* NULL when nothing can be found out, or for lack of memory: threads then run where they like. hwloc's own variables
 * (HWLOC_SYNTHETIC, HWLOC_XMLFILE) describe other machines, on which nothing can be bound. */
Topology *topology_open(void);
void topology_close(Topology *topology);

int topology_cores(const Topology *topology);      /* physical ones */
int topology_processors(const Topology *topology); /* hyper-threads */
int topology_nodes(const Topology *topology);      /* of memory, that have one of these cores */

typedef enum PlaceKind { PLACE_ANY, PLACE_NODE, PLACE_CORE } PlaceKind;

/* A core with the hyper-threads that may be used, or the cores of a node. */
typedef struct Place {
    PlaceKind kind;
    int core; /* 0 .. topology_cores() - 1 */
    int node; /* its number for the operating system */
} Place;

/* 0 <= thread < n_thread. */
Place topology_place(const Topology *topology, int thread, int n_thread);
/* Binds the calling thread; false: it was not possible, and nothing has changed. */
bool topology_bind(const Topology *topology, Place place);
/* Moves the calling thread there, if it is elsewhere, and leaves it free to go. For threads that are not ours. */
void topology_move(const Topology *topology, Place place);

#endif
