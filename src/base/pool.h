/* pool.h - the threads of the process.
 *
 * A pool of n threads is n - 1 workers and the caller. pool_run() hands one function to all of them and returns when
 * all are through; inside it, pool_barrier() lets all wait for all. Between runs the workers spin for a short while,
 * because the next step of a model is microseconds away, and then sleep, so that an idle process costs nothing.
 *
 *     caller   ──run──┬── fn(0) ──barrier── … ──┬── return
 *     worker 1 ···spin┴── fn(1) ──barrier── … ──┴──spin, sleep···
 *
 * One run at a time: a second caller waits for the first. */
#ifndef HOULE_BASE_POOL_H
#define HOULE_BASE_POOL_H

#include "base/status.h"

typedef struct Pool Pool;

/* n_thread >= 1; 0 means pool_default_threads(). */
Status pool_open(int n_thread, Pool **pool, Error *err);
void pool_close(Pool *pool);
int pool_threads(const Pool *pool);
/* Gives the threads their processors (see topology.h), where the machine tells them and HOULE_PIN is not 0. Workers stay
 * bound; the caller of a run is only moved to its processor. Before the first run; for the one pool of a program. */
void pool_place(Pool *pool);

typedef void (*PoolFn)(void *arg, int thread, int n_thread);
void pool_run(Pool *pool, PoolFn fn, void *arg);
/* Only inside fn, by every thread of the run, the same number of times. */
void pool_barrier(Pool *pool);

/* Asks the system for the longest turns on the processor, 100 ms, for the calling thread; workers do so by themselves. Its share
 * stays what it was, but a thread that wakes for a moment (to send a token, to read a request) then runs at once: between
 * threads of equal turns Linux lets it wait for the clock's next tick, 4 ms later, once in fifty times (EEVDF prefers the one
 * whose turn ends first). Linux 6.12 and newer; before, nothing happens. */
void pool_take_long_turns(void);

/* Physical cores that this process may use: affinity, one per core, and the cgroup's CPU quota, at least 1. */
int pool_default_threads(void);

#endif
