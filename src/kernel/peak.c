/* peak.c - see peak.h. */
#include "kernel/peak_parts.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
static const PeakLoopFn loops[LEVEL_COUNT][PEAK_KIND_COUNT] = {
    [LEVEL_GENERIC] = {peak_f32_generic, peak_bf16_generic, peak_int8_generic},
    [LEVEL_AVX2] = {peak_f32_avx2, peak_bf16_avx2, peak_int8_avx2},
    [LEVEL_AVX512] = {peak_f32_avx512, peak_bf16_avx512, peak_int8_avx512},
    [LEVEL_AVX512VNNI] = {peak_f32_avx512vnni, peak_bf16_avx512vnni, peak_int8_avx512vnni},
    [LEVEL_AVX512BF16] = {peak_f32_avx512bf16, peak_bf16_avx512bf16, peak_int8_avx512bf16},
    [LEVEL_AMX] = {peak_f32_avx512bf16, peak_bf16_amx, peak_int8_amx},
};
static const PeakReadFn readers[LEVEL_COUNT] = {peak_read_generic, peak_read_avx2, peak_read_avx512, peak_read_avx512,
                                                peak_read_avx512, peak_read_avx512};
#else
static const PeakLoopFn loops[LEVEL_COUNT][PEAK_KIND_COUNT] = {
    [LEVEL_GENERIC] = {peak_f32_generic, peak_bf16_generic, peak_int8_generic}};
static const PeakReadFn readers[LEVEL_COUNT] = {peak_read_generic};
#endif

/* A level that has no loop of its own for a kind does what the level below it does. */
static PeakLoopFn loop_of(Level level, PeakKind kind) {
    for (int l = (int)level; l >= 0; l--)
        if (loops[l][kind] != NULL && loops[l][kind](1) > 0)
            return loops[l][kind];
    return NULL;
}

const char *peak_word(PeakKind kind) {
    static const char *const words[] = {"f32", "bf16", "int8"};
    return words[kind];
}

/* What is read must be many times what the last cache holds, or part of it comes from there: with 64 MiB for each of two
 * threads and a cache of 32 MiB, 112 GB/s were "read" of a memory that gives 75. */
enum { MAX_THREADS = 1024, LEAST_READ_BYTES = 64 << 20 };
static const size_t all_read_bytes = (size_t)512 << 20;

typedef struct Measure {
    int threads;
    uint64_t until_ns, began_ns;
    PeakLoopFn loop;
    PeakReadFn read;
    uint8_t *memory;       /* `bytes` for each thread */
    size_t bytes;
    _Atomic uint64_t done; /* operations or bytes, of all threads */
    _Atomic uint64_t ended_ns, sink;
} Measure;

static void note_end(Measure *m, uint64_t done) {
    atomic_fetch_add(&m->done, done);
    const uint64_t now = clock_ns();
    uint64_t before = atomic_load(&m->ended_ns);
    while (before < now && !atomic_compare_exchange_weak(&m->ended_ns, &before, now)) {
    }
}

static void multiply(void *arg, int thread, int n_thread) {
    (void)n_thread;
    Measure *m = arg;
    uint64_t done = 0;
    if (thread >= m->threads)
        return;
    while (clock_ns() < m->until_ns)
        done += m->loop(20000);
    note_end(m, done);
}

static void read_memory(void *arg, int thread, int n_thread) {
    (void)n_thread;
    Measure *m = arg;
    uint64_t done = 0, sum = 0;
    if (thread >= m->threads)
        return;
    const uint8_t *mine = m->memory + (size_t)thread * m->bytes;
    for (size_t at = 0; clock_ns() < m->until_ns; at = (at + (1 << 20)) % m->bytes) {
        sum += m->read(mine + at, 1 << 20);
        done += 1 << 20;
    }
    atomic_fetch_add(&m->sink, sum);
    note_end(m, done);
}

static void touch_memory(void *arg, int thread, int n_thread) {
    (void)n_thread;
    Measure *m = arg;
    if (thread < m->threads)
        memset(m->memory + (size_t)thread * m->bytes, thread + 1, m->bytes);
}

static double measure(Pool *pool, Measure *m, PoolFn fn, int ms) {
    m->began_ns = clock_ns();
    m->until_ns = m->began_ns + (uint64_t)ms * 1000000u;
    pool_run(pool, fn, m);
    const double seconds = (double)(atomic_load(&m->ended_ns) - m->began_ns) * 1e-9;
    return seconds > 0 ? (double)atomic_load(&m->done) / seconds : 0;
}

double peak_products(Pool *pool, int threads, Level level, PeakKind kind, int ms) {
    if (!level_present(level))
        return 0;
    Measure m = {.threads = MIN(threads, pool_threads(pool)), .loop = loop_of(level, kind)};
    if (m.loop == NULL)
        return 0;
    return measure(pool, &m, multiply, ms);
}

double peak_reading(Pool *pool, int threads, int ms) {
    Level level = LEVEL_GENERIC;
    for (int l = 0; l < LEVEL_COUNT; l++)
        if (level_present((Level)l) && readers[l] != NULL)
            level = (Level)l;
    Measure m = {.threads = MIN(MIN(threads, pool_threads(pool)), MAX_THREADS), .read = readers[level]};
    /* The last piece's prefetches may point behind it, which does no harm. */
    m.bytes = MAX((size_t)LEAST_READ_BYTES, (all_read_bytes / (size_t)m.threads) & ~(size_t)((1 << 20) - 1));
    m.memory = mem_alloc_aligned((size_t)m.threads * m.bytes, MEM_SCRATCH);
    if (m.memory == NULL)
        return 0;
    pool_run(pool, touch_memory, &m);
    const double rate = measure(pool, &m, read_memory, ms);
    mem_free(m.memory);
    return rate;
}
