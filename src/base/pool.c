/* pool.c - see pool.h. */
#include "base/pool.h"

#include "base/mem.h"
#include "base/topology.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define cpu_relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("yield")
#else
#define cpu_relax() ((void)0)
#endif

enum {
    SPINS_BEFORE_YIELD = 1 << 14, /* about 100-300 us: longer than any gap between the steps of a model */
    SPINS_WHEN_CROWDED = 1 << 6,
    SPINS_BEFORE_SLEEP = 1 << 16, /* a millisecond or so of waiting for the next run */
};

typedef struct Worker {
    Pool *pool;
    int index;
    pthread_t thread;
} Worker;

struct Pool {
    int n_thread;
    int spins; /* before a waiting thread yields: few when there are more threads than processors */
    Worker *workers; /* n_thread - 1 */
    pthread_mutex_t run_lock;
    Topology *topology; /* NULL: threads run where they like */
    Place caller;       /* where thread 0 of a run is moved to */

    /* The current run. */
    PoolFn fn;
    void *arg;
    _Alignas(64) atomic_uint generation; /* grows by one with each run */
    _Alignas(64) atomic_int unfinished;  /* workers that have not returned from fn */
    atomic_bool closing;

    /* The barrier inside a run. */
    _Alignas(64) atomic_int waiting;
    _Alignas(64) atomic_uint barrier_generation;

    /* Where workers sleep between runs. */
    pthread_mutex_t sleep_lock;
    pthread_cond_t wake;
    atomic_int sleeping;
};

static void spin_once(const Pool *pool, int *spins) {
    if (++*spins < pool->spins)
        cpu_relax();
    else
        sched_yield(); /* more threads than processors: let the one we wait for run */
}

void pool_barrier(Pool *pool) {
    if (pool->n_thread == 1)
        return;
    const unsigned generation = atomic_load_explicit(&pool->barrier_generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->waiting, 1, memory_order_acq_rel) + 1 == pool->n_thread) {
        atomic_store_explicit(&pool->waiting, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->barrier_generation, 1, memory_order_release);
        return;
    }
    int spins = 0;
    while (atomic_load_explicit(&pool->barrier_generation, memory_order_acquire) == generation)
        spin_once(pool, &spins);
}

/* Returns when a run newer than `seen` has begun, or the pool closes. */
static void wait_for_run(Pool *pool, unsigned seen) {
    for (int spins = 0; spins < SPINS_BEFORE_SLEEP; spins++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen)
            return;
        if (spins < pool->spins)
            cpu_relax();
        else
            sched_yield();
    }
    pthread_mutex_lock(&pool->sleep_lock);
    atomic_fetch_add(&pool->sleeping, 1);
    while (atomic_load(&pool->generation) == seen)
        pthread_cond_wait(&pool->wake, &pool->sleep_lock);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->sleep_lock);
}

static void begin_run(Pool *pool) {
    atomic_fetch_add(&pool->generation, 1);
    /* A worker counts itself as sleeping, under the lock, before it looks at the generation for the last time; so
     * either it sees the new generation or we see that it sleeps. */
    if (atomic_load(&pool->sleeping) > 0) {
        pthread_mutex_lock(&pool->sleep_lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->sleep_lock);
    }
}

/* The kernel's own declaration (sched_setattr(2)); the C library has none before glibc 2.41. */
typedef struct SchedAttr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
} SchedAttr;

void pool_take_long_turns(void) {
    enum { KEEP_POLICY = 8 };
    SchedAttr attr = {.size = sizeof attr, .flags = KEEP_POLICY, .nice = getpriority(PRIO_PROCESS, 0),
                      .runtime_ns = 100 * 1000 * 1000};
    (void)syscall(SYS_sched_setattr, 0, &attr, 0); /* refused or ignored: all stays as it was */
}

static void *worker_main(void *arg) {
    Worker *worker = arg;
    Pool *pool = worker->pool;
    unsigned seen = 0;
    pool_take_long_turns();
    for (;;) {
        wait_for_run(pool, seen);
        seen++;
        if (atomic_load(&pool->closing))
            return NULL;
        pool->fn(pool->arg, worker->index, pool->n_thread);
        atomic_fetch_sub_explicit(&pool->unfinished, 1, memory_order_release);
    }
}

void pool_run(Pool *pool, PoolFn fn, void *arg) {
    if (pool->n_thread == 1) {
        pthread_mutex_lock(&pool->run_lock);
        fn(arg, 0, 1);
        pthread_mutex_unlock(&pool->run_lock);
        return;
    }
    pthread_mutex_lock(&pool->run_lock);
    if (pool->topology != NULL)
        topology_move(pool->topology, pool->caller);
    pool->fn = fn;
    pool->arg = arg;
    atomic_store(&pool->unfinished, pool->n_thread - 1);
    begin_run(pool);
    fn(arg, 0, pool->n_thread);
    int spins = 0;
    while (atomic_load_explicit(&pool->unfinished, memory_order_acquire) != 0)
        spin_once(pool, &spins);
    pthread_mutex_unlock(&pool->run_lock);
}

/* Processors that this process may run on, hyper-threads included. */
static int usable_processors(void) {
    cpu_set_t allowed;
    return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

Status pool_open(int n_thread, Pool **out, Error *err) {
    *out = NULL;
    if (n_thread == 0)
        n_thread = pool_default_threads();
    FAIL_IF(n_thread < 1 || n_thread > 1024, ERR_ARGUMENT, "%d threads: 1 to 1024 are possible", n_thread);
    Pool *pool = mem_alloc_aligned(sizeof *pool, MEM_MISC);
    FAIL_IF(pool == NULL, ERR_MEMORY, "no memory for the threads");
    pool->workers = mem_array((size_t)n_thread, sizeof *pool->workers, MEM_MISC);
    if (pool->workers == NULL) {
        mem_free(pool);
        return error_set(err, ERR_MEMORY, "no memory for %d threads", n_thread);
    }
    pool->n_thread = 1;
    pool->spins = n_thread <= usable_processors() ? SPINS_BEFORE_YIELD : SPINS_WHEN_CROWDED;
    pthread_mutex_init(&pool->run_lock, NULL);
    pthread_mutex_init(&pool->sleep_lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (int i = 1; i < n_thread; i++) {
        Worker *worker = &pool->workers[i - 1];
        *worker = (Worker){.pool = pool, .index = i};
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            pool_close(pool);
            return error_set(err, ERR_MEMORY, "thread %d of %d could not be started", i, n_thread);
        }
        pool->n_thread = i + 1; /* workers read it inside a run only, after all of them exist */
    }
    *out = pool;
    return OK;
}

void pool_close(Pool *pool) {
    if (pool == NULL)
        return;
    atomic_store(&pool->closing, true);
    begin_run(pool);
    for (int i = 1; i < pool->n_thread; i++)
        pthread_join(pool->workers[i - 1].thread, NULL);
    pthread_mutex_destroy(&pool->run_lock);
    pthread_mutex_destroy(&pool->sleep_lock);
    pthread_cond_destroy(&pool->wake);
    topology_close(pool->topology);
    mem_free(pool->workers);
    mem_free(pool);
}

static void bind_worker(void *arg, int thread, int n_thread) {
    const Topology *topology = arg;
    if (thread > 0)
        (void)topology_bind(topology, topology_place(topology, thread, n_thread));
}

void pool_place(Pool *pool) {
    const char *wanted = getenv("HOULE_PIN");
    if (pool->n_thread == 1 || pool->topology != NULL || (wanted != NULL && strcmp(wanted, "0") == 0))
        return;
    Topology *topology = topology_open();
    if (topology == NULL)
        return;
    pool_run(pool, bind_worker, topology);
    pool->caller = topology_place(topology, 0, pool->n_thread);
    pool->topology = topology;
}

int pool_threads(const Pool *pool) {
    return pool->n_thread;
}

/* The first number of a small text file, or `otherwise`. */
static long number_in_file(const char *path, long otherwise) {
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return otherwise;
    long number;
    if (fscanf(file, "%ld", &number) != 1)
        number = otherwise;
    fclose(file);
    return number;
}

/* CPU time that the cgroup grants, in whole processors, rounded up; 0 = no limit. */
static int quota_of_cgroup(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL)
        return 0;
    long quota = 0, period = 0;
    const int got = fscanf(file, "%ld %ld", &quota, &period); /* "max 100000" gives 0 numbers */
    fclose(file);
    return got == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int pool_default_threads(void) {
    cpu_set_t allowed;
    int cores = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (!CPU_ISSET(cpu, &allowed))
                continue;
            /* Count a core once: by the first of its hyper-threads that we may use. */
            char path[96];
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
            const long first = number_in_file(path, cpu);
            if (first == cpu || first < 0 || first >= CPU_SETSIZE || !CPU_ISSET((size_t)first, &allowed))
                cores++;
        }
    }
    const int quota = quota_of_cgroup();
    if (quota > 0 && quota < cores)
        cores = quota;
    return MAX(cores, 1);
}
