/* test_experts.c - pieces of files kept within a budget (graph/expert_cache.h), and models whose weights are streamed.
 *
 * Guards against: other bytes than the file's, more memory than was allowed, pieces given up while they are held, a cache
 * that forgets what is used most when everything is used once, waiting for ever, and reads that fail in silence. */
#include "base/direct_file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "engine/session.h"
#include "format/json.h"
#include "golden.h"
#include "graph/expert_cache.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- files --------------------------------------------------------------------------------------------------------- */

enum { FILE_BYTES = 3 << 20 };

/* The byte at a place of the test's file. */
static uint8_t byte_at(size_t offset) {
    return (uint8_t)((offset * 2654435761u) >> 11 ^ offset);
}

static char *write_numbers(const char *name) {
    uint8_t *bytes = mem_alloc(FILE_BYTES, MEM_MISC);
    for (size_t i = 0; i < FILE_BYTES; i++)
        bytes[i] = byte_at(i);
    write_file(name, bytes, FILE_BYTES);
    mem_free(bytes);
    return in_scratch(name);
}

static bool right(const uint8_t *bytes, size_t offset, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != byte_at(offset + i))
            return false;
    return true;
}

static void test_direct_reads(void **state) {
    (void)state;
    char *path = write_numbers("numbers");
    DirectFile *file;
    Error err = {0};
    assert_int_equal(direct_file_open(path, &file, &err), OK);
    uint8_t *buffer = mem_alloc_aligned(8 << 20, MEM_MISC); /* large enough to be aligned to a page */
    static const size_t begins[] = {0, 1, 4095, 4096, 4097, 1 << 20, FILE_BYTES - 1, FILE_BYTES - 4096, FILE_BYTES - 5000};
    static const size_t counts[] = {1, 31, 4096, 4097, 12000, 1 << 20};
    for (size_t i = 0; i < COUNT(begins); i++)
        for (size_t j = 0; j < COUNT(counts); j++) {
            const uint8_t *result = NULL;
            memset(buffer, 0xAA, direct_file_room(counts[j]) + 64);
            error_clear(&err);
            const Status status = direct_file_read(file, begins[i], counts[j], buffer, &result, &err);
            assert_int_equal(buffer[direct_file_room(counts[j])], 0xAA); /* nothing beyond the room */
            if (begins[i] + counts[j] > FILE_BYTES) {
                assert_int_equal(status, ERR_IO);
                assert_non_null(strstr(err.text, path));
                continue;
            }
            assert_int_equal(status, OK);
            assert_int_equal((uintptr_t)result % DIRECT_BLOCK, begins[i] % DIRECT_BLOCK);
            assert_true(right(result, begins[i], counts[j]));
        }
    mem_free(buffer);
    direct_file_close(file);
    mem_free(path);
    assert_int_equal(direct_file_open("/nonexistent/file", &file, &err), ERR_NOT_FOUND);
}

/* ---- file systems without direct transfers ------------------------------------------------------------------------------ */

/* What the linker calls in place of open and pread (tests/meson.build): they refuse direct transfers as asked for here. */
typedef enum Refusal { REFUSE_NOTHING, REFUSE_OPEN, REFUSE_READ } Refusal;
static Refusal refusal;
static atomic_int refused, passed; /* reads */

enum { READERS = 2 };

static void wait_for(atomic_int *count, int n) {
    while (atomic_load(count) < n)
        usleep(100);
}

/* A direct read of all readers is under way before the first is refused; the second refusal comes when the first reader
 * has read in the other way. */
static bool refuse_read(int fd) {
    if (refusal != REFUSE_READ)
        return false;
    if ((fcntl(fd, F_GETFL) & O_DIRECT) == 0) {
        atomic_fetch_add(&passed, 1);
        return false;
    }
    const int before = atomic_fetch_add(&refused, 1);
    wait_for(&refused, READERS);
    wait_for(&passed, before);
    errno = EINVAL;
    return true;
}

static bool refuse_open(int flags) {
    if (refusal != REFUSE_OPEN || (flags & O_DIRECT) == 0)
        return false;
    errno = EINVAL;
    return true;
}

static mode_t mode_of(int flags, va_list args) {
    return (flags & O_CREAT) != 0 ? (mode_t)va_arg(args, unsigned) : 0;
}

#define WRAP(open_, pread_)                                                          \
    int __real_##open_(const char *path, int flags, ...);                             \
    int __wrap_##open_(const char *path, int flags, ...);                             \
    int __wrap_##open_(const char *path, int flags, ...) {                            \
        va_list args;                                                                 \
        va_start(args, flags);                                                        \
        const mode_t mode = mode_of(flags, args);                                     \
        va_end(args);                                                                 \
        return refuse_open(flags) ? -1 : __real_##open_(path, flags, mode);           \
    }                                                                                 \
    ssize_t __real_##pread_(int fd, void *bytes, size_t count, off_t at);             \
    ssize_t __wrap_##pread_(int fd, void *bytes, size_t count, off_t at);             \
    ssize_t __wrap_##pread_(int fd, void *bytes, size_t count, off_t at) {            \
        return refuse_read(fd) ? -1 : __real_##pread_(fd, bytes, count, at);          \
    }
WRAP(open, pread)
WRAP(open64, pread64)

typedef struct Reader {
    DirectFile *file;
    size_t offset;
    Status status;
    bool right;
    Error err;
} Reader;

static void *read_some(void *user) {
    Reader *r = user;
    enum { BYTES = 10000 };
    const uint8_t *result = NULL;
    uint8_t *buffer = mem_alloc_aligned(8 << 20, MEM_MISC);
    r->status = direct_file_read(r->file, r->offset, BYTES, buffer, &result, &r->err);
    r->right = r->status == OK && right(result, r->offset, BYTES);
    mem_free(buffer);
    return NULL;
}

static void read_at_once(Refusal how) {
    char *path = write_numbers("numbers");
    DirectFile *file;
    Error err = {0};
    pthread_t threads[READERS];
    Reader readers[READERS] = {{0}};
    atomic_store(&refused, 0);
    atomic_store(&passed, 0);
    refusal = how;
    assert_int_equal(direct_file_open(path, &file, &err), OK);
    for (int i = 0; i < READERS; i++) {
        readers[i].file = file;
        readers[i].offset = (size_t)i * 70001 + 13;
        assert_int_equal(pthread_create(&threads[i], NULL, read_some, &readers[i]), 0);
    }
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    refusal = REFUSE_NOTHING;
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(readers[i].status, OK);
        assert_true(readers[i].right);
    }
    direct_file_close(file);
    mem_free(path);
}

/* The file cannot be opened for direct transfers. */
static void test_refused_opening(void **state) {
    (void)state;
    read_at_once(REFUSE_OPEN);
}

/* It can, but no read is granted, and several readers learn of it at once: the one that comes second once took it for a
 * broken disk. */
static void test_refused_reads(void **state) {
    (void)state;
    read_at_once(REFUSE_READ);
    if (atomic_load(&refused) == 0)
        skip(); /* the scratch folder's file system does not even open files for them */
    assert_int_equal(atomic_load(&refused), READERS);
}

/* ---- the cache --------------------------------------------------------------------------------------------------------- */

enum { PIECES = 96, PIECE_BYTES = 20000, SMALL_BYTES = 700 };

static size_t offset_of(int piece) {
    return (size_t)piece * 29000 + 17;
}

/* Every third piece has half the size, so that there are two classes; all have a second range. */
static size_t bytes_of(int piece) {
    return piece % 3 == 2 ? PIECE_BYTES / 2 : PIECE_BYTES;
}

static void make_pieces(CachePiece pieces[PIECES], DirectFile *file) {
    memset(pieces, 0, PIECES * sizeof *pieces);
    for (int i = 0; i < PIECES; i++) {
        pieces[i].least = 2;
        pieces[i].range[0].file = pieces[i].range[1].file = file;
        pieces[i].range[0].offset = offset_of(i);
        pieces[i].range[0].bytes = bytes_of(i);
        pieces[i].range[1].offset = offset_of(i) + 22000;
        pieces[i].range[1].bytes = SMALL_BYTES;
    }
}

static bool check_piece(ExpertCache *cache, int piece) {
    const uint8_t *bytes[PIECE_RANGES];
    expert_cache_hold(cache, piece, bytes);
    const bool good = right(bytes[0], offset_of(piece), bytes_of(piece)) && right(bytes[1], offset_of(piece) + 22000, SMALL_BYTES);
    expert_cache_drop(cache, piece);
    return good;
}

typedef struct Fixture {
    char *path;
    DirectFile *file;
    CachePiece pieces[PIECES];
    ExpertCache *cache;
    size_t least, most;
} Fixture;

/* share: of the bytes between the least and all. */
static void open_fixture(Fixture *f, double share) {
    Error err = {0};
    *f = (Fixture){.path = write_numbers("numbers")};
    assert_int_equal(direct_file_open(f->path, &f->file, &err), OK);
    make_pieces(f->pieces, f->file);
    assert_int_equal(expert_cache_bounds(f->pieces, PIECES, &f->least, &f->most, &err), OK);
    assert_true(f->least < f->most);
    const size_t before = mem_bytes(MEM_WEIGHTS), budget = f->least + (size_t)((double)(f->most - f->least) * share);
    assert_int_equal(expert_cache_open(f->pieces, PIECES, f->least - 1, &f->cache, &err), ERR_MEMORY);
    error_clear(&err);
    assert_int_equal(expert_cache_open(f->pieces, PIECES, budget, &f->cache, &err), OK);
    assert_true(expert_cache_bytes(f->cache) <= budget);
    assert_true(mem_bytes(MEM_WEIGHTS) - before <= budget);
}

static void close_fixture(Fixture *f) {
    expert_cache_close(f->cache);
    direct_file_close(f->file);
    mem_free(f->path);
}

static void test_small_and_whole_caches(void **state) {
    (void)state;
    static const double shares[] = {0, 0.1, 0.5, 1};
    for (size_t s = 0; s < COUNT(shares); s++) {
        Fixture f;
        open_fixture(&f, shares[s]);
        for (int step = 0; step < 3; step++) {
            expert_cache_step(f.cache, 1);
            expert_cache_layer(f.cache);
            for (int i = 0; i < PIECES; i++)
                expert_cache_use(f.cache, i, 1);
            for (int i = 0; i < PIECES; i++) {
                assert_true(check_piece(f.cache, i));
                expert_cache_done(f.cache, i);
            }
        }
        const CacheCounts n = expert_cache_counts(f.cache);
        assert_int_equal(n.tokens, 3);
        assert_int_equal(n.uses, 3 * PIECES);
        if (shares[s] == 1)
            assert_int_equal(n.misses, PIECES); /* each is read once */
        else
            assert_true(n.misses > PIECES);
        close_fixture(&f);
    }
}

static uint64_t misses_of(ExpertCache *cache, int begin, int end) {
    const uint64_t before = expert_cache_counts(cache).misses;
    for (int i = begin; i < end; i++) {
        expert_cache_step(cache, 1);
        expert_cache_layer(cache);
        expert_cache_use(cache, i, 1);
        assert_true(check_piece(cache, i));
        expert_cache_done(cache, i);
    }
    return expert_cache_counts(cache).misses - before;
}

/* What is used all the time stays when everything is used once. */
static void test_useful_pieces_stay(void **state) {
    (void)state;
    Fixture f;
    open_fixture(&f, 0.35);
    for (int round = 0; round < 6; round++)
        misses_of(f.cache, 0, 18);
    assert_int_equal(misses_of(f.cache, 0, 18), 0);
    misses_of(f.cache, 18, PIECES);
    assert_in_range(misses_of(f.cache, 0, 18), 0, 3);
    close_fixture(&f);
}

/* A step that needs everything, again and again, finds what there is room for: it does not chase its own tail. */
static void test_long_prompts_find_some(void **state) {
    (void)state;
    Fixture f;
    open_fixture(&f, 0.5);
    uint64_t last = 0;
    for (int step = 0; step < 6; step++) {
        const uint64_t before = expert_cache_counts(f.cache).misses;
        expert_cache_step(f.cache, 512);
        for (int layer = 0; layer < 8; layer++) {
            expert_cache_layer(f.cache);
            for (int i = layer * PIECES / 8; i < (layer + 1) * PIECES / 8; i++)
                expert_cache_use(f.cache, i, 0.25f + 0.01f * (float)(i % 7));
            for (int i = layer * PIECES / 8; i < (layer + 1) * PIECES / 8; i++) {
                assert_true(check_piece(f.cache, i));
                expert_cache_done(f.cache, i);
            }
        }
        last = expert_cache_counts(f.cache).misses - before;
    }
    assert_true(last < PIECES * 7 / 10);
    close_fixture(&f);
}

/* Wishes that nobody comes for do not keep others out for ever, and guesses are no uses. */
static void test_forgotten_wishes(void **state) {
    (void)state;
    Fixture f;
    open_fixture(&f, 0);
    expert_cache_step(f.cache, 1);
    expert_cache_layer(f.cache);
    for (int i = 0; i < PIECES; i++)
        i % 2 == 0 ? expert_cache_ahead(f.cache, i) : expert_cache_guess(f.cache, i);
    for (int i = PIECES - 1; i >= 0; i--) {
        expert_cache_layer(f.cache);
        assert_true(check_piece(f.cache, i));
    }
    assert_int_equal(expert_cache_counts(f.cache).uses, 0);
    close_fixture(&f);
}

typedef struct Hammer {
    Fixture *f;
    uint32_t seed;
    atomic_bool *wrong;
} Hammer;

static void *hammer(void *arg) {
    Hammer *h = arg;
    uint32_t x = h->seed;
    for (int round = 0; round < 60; round++) {
        int wanted[8];
        expert_cache_step(h->f->cache, 1);
        expert_cache_layer(h->f->cache);
        for (int i = 0; i < 8; i++) {
            x = x * 1664525u + 1013904223u;
            wanted[i] = (int)(x >> 9) % PIECES;
            if (i < 5)
                expert_cache_use(h->f->cache, wanted[i], 1);
            else
                expert_cache_guess(h->f->cache, wanted[i]);
        }
        for (int i = 0; i < 5; i++) {
            if (!check_piece(h->f->cache, wanted[i]))
                atomic_store(h->wrong, true);
            if (round % 3 != 0) /* others forget to say so */
                expert_cache_done(h->f->cache, wanted[i]);
        }
    }
    return NULL;
}

static void test_many_threads(void **state) {
    (void)state;
    Fixture f;
    atomic_bool wrong = false;
    for (int share = 0; share < 2; share++) {
        open_fixture(&f, share * 0.3);
        pthread_t threads[6];
        Hammer hammers[6];
        for (int i = 0; i < 6; i++) {
            hammers[i] = (Hammer){.f = &f, .seed = (uint32_t)(i + 7 * share), .wrong = &wrong};
            assert_int_equal(pthread_create(&threads[i], NULL, hammer, &hammers[i]), 0);
        }
        for (int i = 0; i < 6; i++)
            pthread_join(threads[i], NULL);
        assert_false(atomic_load(&wrong));
        close_fixture(&f);
    }
}

static void test_failing_reads(void **state) {
    (void)state;
    Fixture f;
    Error err = {0};
    open_fixture(&f, 0);
    assert_true(check_piece(f.cache, 1));
    assert_int_equal(expert_cache_check(f.cache, &err), OK);
    assert_int_equal(truncate(f.path, 100000), 0);
    const uint8_t *bytes[PIECE_RANGES];
    expert_cache_hold(f.cache, PIECES - 1, bytes); /* zeros, so that what follows is defined */
    for (size_t i = 0; i < bytes_of(PIECES - 1); i++)
        assert_int_equal(bytes[0][i], 0);
    expert_cache_drop(f.cache, PIECES - 1);
    assert_int_equal(expert_cache_check(f.cache, &err), ERR_IO);
    assert_non_null(strstr(err.text, "numbers"));
    close_fixture(&f);
}

static void test_no_memory_for_a_cache(void **state) {
    (void)state;
    Fixture f;
    open_fixture(&f, 0.5);
    const size_t before = mem_bytes_total();
    bool struck = true;
    for (long n = 1; struck; n++) {
        Error err = {0};
        ExpertCache *cache;
        mem_fail_at(n);
        const Status status = expert_cache_open(f.pieces, PIECES, f.least, &cache, &err);
        struck = mem_fail_hit();
        mem_fail_at(0);
        assert_int_equal(status, struck ? ERR_MEMORY : OK);
        expert_cache_close(cache);
        assert_int_equal(mem_bytes_total(), before);
    }
    close_fixture(&f);
}

/* ---- models -------------------------------------------------------------------------------------------------------------- */

static void copy_file(const char *from, const char *name) {
    char *content;
    size_t bytes;
    Error err = {0};
    assert_int_equal(file_read(from, 1 << 28, &content, &bytes, &err), OK);
    write_file(name, content, bytes);
    mem_free(content);
}

/* A file that is cut short under a model shows in the next step, by name: from a mapping there would be zeros, from a read
 * nothing at all. */
static void test_a_model_cut_short(void **state) {
    (void)state;
    char golden[GOLDEN_PATH_BYTES];
    if (golden_path(golden, "gguf/families/qwen3_moe.gguf") == NULL)
        skip();
    copy_file(golden, "cut.gguf");
    char *path = in_scratch("cut.gguf");
    Error err = {0};
    Pool *pool;
    Model *model;
    Session *session;
    StreamPlan plan;
    assert_int_equal(pool_open(2, &pool, &err), OK);
    assert_int_equal(model_open(path, &model, &err), OK);
    assert_int_equal(weights_stream_plan(model_weights(model), 0, &plan, &err), OK);
    assert_int_equal(plan.cache, 0);
    assert_true(plan.least < plan.whole && plan.experts > 0 && plan.tables > 0);
    assert_int_equal(model_stream(model, plan.least - 1, &err), ERR_MEMORY);
    error_clear(&err);
    assert_int_equal(model_stream(model, plan.least, &err), OK);
    assert_true(weights_resident_bytes(model_weights(model)) <= plan.least + weights_copied_bytes(model_weights(model)));
    const SessionSpec spec = {.precision = PRECISION_FAST, .cache_type = CACHE_F16, .context = 64, .pool = pool};
    assert_int_equal(session_open(model, spec, &session, &err), OK);
    static const int32_t tokens[] = {5, 17, 250, 3, 99, 30, 7};
    assert_int_equal(session_feed(session, 0, tokens, COUNT(tokens), 0, NULL, &err), OK);
    const CacheCounts n = weights_counts(model_weights(model));
    assert_true(n.tokens == COUNT(tokens) && n.uses > 0 && n.misses > 0 && n.bytes_read > 0);
    assert_int_equal(truncate(path, 100000), 0);
    assert_int_equal(session_feed(session, 0, tokens, COUNT(tokens), 0, NULL, &err), ERR_IO);
    assert_non_null(strstr(err.text, "cut.gguf"));
    session_close(session);
    model_close(model);
    pool_close(pool);
    mem_free(path);
}

enum { TOKENS = 7 };

/* Logits after a few tokens; streamed: with weights in the least memory they can do with. */
static int logits_of(const char *path, Precision precision, bool streamed, float *logits, int most) {
    static const int32_t tokens[TOKENS] = {5, 17, 250, 3, 99, 30, 7};
    Error err = {0};
    Pool *pool;
    Model *model;
    Session *session;
    StreamPlan plan;
    assert_int_equal(pool_open(2, &pool, &err), OK);
    assert_int_equal(model_open(path, &model, &err), OK);
    const int vocab = model_vocab(model);
    assert_in_range(vocab, 1, most);
    assert_int_equal(weights_stream_plan(model_weights(model), 0, &plan, &err), OK);
    if (streamed)
        assert_int_equal(model_stream(model, plan.least, &err), OK);
    const SessionSpec spec = {.precision = precision, .cache_type = CACHE_F16, .context = 64, .pool = pool};
    assert_int_equal(session_open(model, spec, &session, &err), OK);
    for (int i = 0; i < TOKENS; i += i == 0 ? TOKENS - 3 : 1)
        assert_int_equal(session_feed(session, 0, tokens + i, i == 0 ? TOKENS - 3 : 1, 0, NULL, &err), OK);
    memcpy(logits, session_logits(session), (size_t)vocab * sizeof *logits);
    session_close(session);
    model_close(model);
    pool_close(pool);
    return vocab;
}

/* Values with scales beside them, and halves that alternate in one tensor, of experts so small that a command would not
 * stream them: their slots are larger than they are. */
static void test_forms_of_experts(void **state) {
    (void)state;
    static const char *const models[] = {"text/gpt_oss_mxfp4", "text/gpt_oss", "text/deepseek_v3_fp8", "gguf/families/gpt_oss_mxfp4.gguf"};
    static float whole[4096], streamed[COUNT(whole)];
    char path[GOLDEN_PATH_BYTES];
    for (size_t i = 0; i < COUNT(models); i++)
        for (int precision = 0; golden_path(path, models[i]) != NULL && precision < 2; precision++) {
            const int vocab = logits_of(path, (Precision)precision, false, whole, COUNT(whole));
            assert_int_equal(logits_of(path, (Precision)precision, true, streamed, COUNT(whole)), vocab);
            assert_memory_equal(whole, streamed, (size_t)vocab * sizeof *whole);
        }
}

int main(void) {
    json_setup();
    const struct CMUnitTest tests[] = {
        TEST(test_direct_reads),
        TEST(test_refused_opening),
        TEST(test_refused_reads),
        TEST(test_small_and_whole_caches),
        TEST(test_useful_pieces_stay),
        TEST(test_long_prompts_find_some),
        TEST(test_forgotten_wishes),
        TEST(test_many_threads),
        TEST(test_failing_reads),
        TEST(test_no_memory_for_a_cache),
        TEST(test_a_model_cut_short),
        TEST(test_forms_of_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
