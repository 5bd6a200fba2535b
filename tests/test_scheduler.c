/* test_scheduler.c - many requests at once give what each gives alone; caches are shared, evicted, read back from disk. */
#include "base/file.h"
#include "engine/scheduler.h"
#include "golden.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { MAX_OUT = 320 };

typedef struct Job {
    int32_t prompt[700];
    int n, want;
    SampleSpec sample;
    int32_t out[MAX_OUT];
    int n_out;
    int stop_after; /* on_token says enough after so many; 0 = never */
    bool done;
    RequestEnd end;
    RequestStats stats;
    Error err;
    pthread_mutex_t *lock;
    pthread_cond_t *wake;
} Job;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

static bool on_token(void *user, const RequestToken *t) {
    Job *j = user;
    if (j->n_out < MAX_OUT)
        j->out[j->n_out++] = t->token;
    return j->stop_after == 0 || j->n_out < j->stop_after;
}

static void on_end(void *user, RequestEnd end, const RequestStats *stats, const Error *err) {
    Job *j = user;
    pthread_mutex_lock(&lock);
    j->end = end;
    j->stats = *stats;
    j->err = *err;
    j->done = true;
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
}

static void wait_for(Job *j) {
    pthread_mutex_lock(&lock);
    while (!j->done)
        pthread_cond_wait(&wake, &lock);
    pthread_mutex_unlock(&lock);
}

static Request *submit(Scheduler *s, Job *j, Status expected) {
    Request *r = NULL;
    Error err = {0};
    const RequestSpec spec = {.tokens = j->prompt, .n = j->n, .sample = j->sample, .max_tokens = j->want, .ignore_end = true,
                              .logprobs = -1, .on_token = on_token, .on_end = on_end, .user = j};
    assert_int_equal(scheduler_submit(s, &spec, &r, &err), expected);
    return r;
}

static void make_job(Job *j, int n, int want, uint32_t seed, bool greedy) {
    *j = (Job){.n = n, .want = want};
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        j->prompt[i] = (int32_t)((seed >> 8) % 384);
    }
    j->sample = sample_defaults();
    j->sample.temperature = greedy ? 0 : 1;
    j->sample.seed = seed;
}

static Pool *pool;
static const char *const folders[] = {"text/llama", "text/gemma3", "text/mistral", "text/qwen3_moe"};

static Scheduler *open_drafting(const Model *m, const Model *draft, int sequences, int64_t tokens, Spill *spill, int drafts) {
    Scheduler *s;
    Error err = {0};
    const SchedulerSpec spec = {.precision = PRECISION_FAST, .cache_type = CACHE_F16, .pool = pool, .context = 640,
                                .cache_tokens = tokens, .sequences = sequences, .max_rows = 96, .max_waiting = 64,
                                .spill = spill, .identity = "test", .identity_bytes = 4, .draft_tokens = drafts, .draft = draft};
    if (scheduler_open(m, spec, &s, &err) != OK)
        fail_msg("%s", err.text);
    return s;
}

static Scheduler *open_scheduler(const Model *m, int sequences, int64_t tokens, Spill *spill, int drafts) {
    return open_drafting(m, NULL, sequences, tokens, spill, drafts);
}

/* Texts of all lengths come and go in a cache that is always too small, so that texts make way while a step is being
 * made, and those that run stand in no order of age. */
static void test_making_way_in_any_order(void **state) {
    (void)state;
    enum { N = 40 };
    static Job alone[N], together[N];
    const int count = getenv("HOULE_TEST_FEW") != NULL ? 16 : N; /* in builds that run slowly */
    Model *m;
    Error err = {0};
    char path[GOLDEN_PATH_BYTES];
    assert_non_null(golden_path(path, "text/llama"));
    assert_int_equal(model_open(path, &m, &err), OK);
    Scheduler *s = open_scheduler(m, 1, 640, NULL, 0);
    for (int i = 0; i < count; i++) {
        make_job(&alone[i], 1 + i * 29 % 40, 20 + i * 71 % 290, (uint32_t)(100 + i), i % 3 == 0);
        together[i] = alone[i];
        request_release(submit(s, &alone[i], OK));
        wait_for(&alone[i]);
    }
    scheduler_close(s);
    s = open_scheduler(m, 8, 200, NULL, 0);
    for (int i = 0; i < count; i++)
        request_release(submit(s, &together[i], OK));
    for (int i = 0; i < count; i++) {
        wait_for(&together[i]);
        if (together[i].end != REQUEST_LENGTH)
            fail_msg("text %d: %s", i, together[i].err.text);
        assert_int_equal(together[i].n_out, alone[i].n_out);
        assert_memory_equal(together[i].out, alone[i].out, (size_t)alone[i].n_out * sizeof *alone[i].out);
    }
    assert_true(scheduler_stats(s).preempted > 0);
    scheduler_close(s);
    model_close(m);
}

/* What each request gives alone, in a scheduler of its own, is what it gives among others: whatever the cut of its
 * prompt, the rows beside it, the pages it got, guesses, and even when it had to make way in between. */
static void test_same_tokens_whatever_else_runs(void **state) {
    (void)state;
    enum { N = 12 };
    static Job alone[N], together[N];
    for (size_t f = 0; f < COUNT(folders); f++) {
        Model *m;
        Error err = {0};
        char path[GOLDEN_PATH_BYTES];
        assert_non_null(golden_path(path, folders[f]));
        assert_int_equal(model_open(path, &m, &err), OK);
        for (int i = 0; i < N; i++) {
            make_job(&alone[i], 1 + i * 37, 40, (uint32_t)(i + 1), i % 2 == 0);
            together[i] = alone[i];
            Scheduler *s = open_scheduler(m, 1, 640, NULL, 0);
            request_release(submit(s, &alone[i], OK));
            wait_for(&alone[i]);
            scheduler_close(s);
            assert_int_equal(alone[i].n_out, 40);
        }
        /* Room for all; then so little that texts make way for others; then with guesses, from the text and from a model. */
        const struct { int sequences; int64_t tokens; int drafts; const Model *draft; } settings[] = {
            {12, 8000, 0, NULL}, {5, 700, 0, NULL}, {1, 640, 6, NULL}, {1, 640, 8, m}, {2, 900, 4, m}};
        for (size_t k = 0; k < COUNT(settings); k++) {
            Scheduler *s = open_drafting(m, settings[k].draft, settings[k].sequences, settings[k].tokens, NULL, settings[k].drafts);
            for (int i = 0; i < N; i++) {
                make_job(&together[i], 1 + i * 37, 40, (uint32_t)(i + 1), i % 2 == 0);
                request_release(submit(s, &together[i], OK));
            }
            for (int i = 0; i < N; i++) {
                wait_for(&together[i]);
                if (together[i].end == REQUEST_FAILED)
                    fail_msg("%s", together[i].err.text);
                assert_int_equal(together[i].end, REQUEST_LENGTH);
                assert_int_equal(together[i].n_out, 40);
                assert_memory_equal(together[i].out, alone[i].out, 40 * sizeof(int32_t));
            }
            assert_true(scheduler_drain(s, 1000000));
            const SchedulerStats stats = scheduler_stats(s);
            assert_int_equal(stats.generated_tokens, 40 * N);
            scheduler_close(s);
        }
        model_close(m);
    }
}

/* The second turn of a conversation finds the first; also in a new process (here: scheduler) through the disk; a piece
 * that is not whole is not taken. */
static void test_prefixes_are_found_again(void **state) {
    (void)state;
    char folder[] = "/tmp/houle_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (size_t f = 0; f < COUNT(folders); f++) {
        Model *m;
        Spill *spill;
        Error err = {0};
        char path[GOLDEN_PATH_BYTES];
        assert_non_null(golden_path(path, folders[f]));
        assert_int_equal(model_open(path, &m, &err), OK);
        char sub[64];
        snprintf(sub, sizeof sub, "%s/%zu", folder, f);
        static Job first, second, cold;
        make_job(&first, 300, 20, 5, true);
        make_job(&cold, 500, 20, 5, true);
        assert_int_equal(spill_open(sub, 1 << 30, &spill, &err), OK);
        Scheduler *s = open_scheduler(m, 2, 2000, spill, 0);
        request_release(submit(s, &first, OK));
        wait_for(&first);
        make_job(&second, 500, 20, 5, true); /* its first 300 tokens are those of the first */
        request_release(submit(s, &second, OK));
        wait_for(&second);
        assert_int_equal(second.stats.cached_tokens, 256);
        scheduler_close(s);
        spill_close(spill);

        Scheduler *fresh = open_scheduler(m, 2, 2000, NULL, 0);
        request_release(submit(fresh, &cold, OK));
        wait_for(&cold);
        assert_int_equal(cold.stats.cached_tokens, 0);
        assert_memory_equal(cold.out, second.out, sizeof cold.out);
        scheduler_close(fresh);

        assert_int_equal(spill_open(sub, 1 << 30, &spill, &err), OK);
        s = open_scheduler(m, 2, 2000, spill, 0);
        static Job again;
        make_job(&again, 500, 20, 5, true);
        request_release(submit(s, &again, OK));
        wait_for(&again);
        assert_int_equal(again.stats.cached_tokens, 448);
        assert_memory_equal(again.out, second.out, sizeof again.out);
        scheduler_close(s);
        spill_close(spill);

        /* Damage every file: nothing is found, nothing is wrong. */
        DIR *dir = opendir(sub);
        int damaged = 0;
        for (struct dirent *e; (e = readdir(dir)) != NULL;) {
            char *file = path_join(sub, e->d_name);
            if (ends_with(file, ".kv")) {
                FILE *out = fopen(file, "r+b");
                fseek(out, damaged % 2 == 0 ? 60 : -1, damaged % 2 == 0 ? SEEK_SET : SEEK_END);
                fputc(0x55, out);
                fputc(0xAA, out);
                fclose(out);
                damaged++;
            }
            mem_free(file);
        }
        closedir(dir);
        assert_true(damaged > 5);
        assert_int_equal(spill_open(sub, 1 << 30, &spill, &err), OK);
        s = open_scheduler(m, 2, 2000, spill, 0);
        make_job(&again, 500, 20, 5, true);
        request_release(submit(s, &again, OK));
        wait_for(&again);
        assert_int_equal(again.stats.cached_tokens, 0);
        assert_memory_equal(again.out, second.out, sizeof again.out);
        scheduler_close(s);
        spill_close(spill);
        model_close(m);
    }
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_ends(void **state) {
    (void)state;
    Model *m;
    Error err = {0};
    char path[GOLDEN_PATH_BYTES];
    assert_non_null(golden_path(path, "text/llama"));
    assert_int_equal(model_open(path, &m, &err), OK);
    static Job jobs[80];
    /* Cancelled while it waits, while it reads, while it writes; a deadline; enough; a full queue; too long. */
    Scheduler *s = open_scheduler(m, 1, 640, NULL, 0);
    make_job(&jobs[0], 600, 30, 1, true);
    Request *running = submit(s, &jobs[0], OK);
    make_job(&jobs[1], 10, 500, 2, true);
    Request *waiting = submit(s, &jobs[1], OK);
    request_cancel(waiting);
    request_release(waiting);
    wait_for(&jobs[1]);
    assert_int_equal(jobs[1].end, REQUEST_CANCELLED);
    assert_int_equal(jobs[1].n_out, 0);
    request_cancel(running);
    request_release(running);
    wait_for(&jobs[0]);
    assert_true(jobs[0].end == REQUEST_CANCELLED || jobs[0].end == REQUEST_LENGTH);
    make_job(&jobs[2], 10, 50, 3, true);
    jobs[2].stop_after = 7;
    request_release(submit(s, &jobs[2], OK));
    wait_for(&jobs[2]);
    assert_int_equal(jobs[2].end, REQUEST_ENOUGH);
    assert_int_equal(jobs[2].n_out, 7);
    make_job(&jobs[3], 641, 1, 3, true);
    submit(s, &jobs[3], ERR_LIMIT);
    make_job(&jobs[4], 3, 1, 3, true);
    jobs[4].prompt[1] = 384;
    submit(s, &jobs[4], ERR_ARGUMENT);
    make_job(&jobs[5], 600, -1, 4, true); /* until the context is full */
    request_release(submit(s, &jobs[5], OK));
    wait_for(&jobs[5]);
    assert_int_equal(jobs[5].end, REQUEST_LENGTH);
    assert_int_equal(jobs[5].n_out, 40);
    int accepted = 0, refused = 0;
    for (int i = 6; i < 80; i++) {
        make_job(&jobs[i], 500, 20, (uint32_t)i, true);
        Request *r;
        const RequestSpec spec = {.tokens = jobs[i].prompt, .n = 500, .sample = jobs[i].sample, .max_tokens = 20,
                                  .ignore_end = true, .logprobs = -1, .on_token = on_token, .on_end = on_end, .user = &jobs[i]};
        Error busy = {0};
        if (scheduler_submit(s, &spec, &r, &busy) == OK) {
            request_release(r);
            accepted++;
        } else {
            assert_int_equal(busy.status, ERR_BUSY);
            jobs[i].done = true;
            refused++;
        }
    }
    assert_true(accepted >= 64 && refused > 0);
    scheduler_close(s); /* ends all that wait */
    for (int i = 6; i < 80; i++)
        assert_true(jobs[i].done);
    model_close(m);
}

/* Running out of memory at any allocation refuses or ends a request, and nothing else. */
static void test_allocation_failures(void **state) {
    (void)state;
    Model *m;
    Error err = {0};
    char path[GOLDEN_PATH_BYTES];
    assert_non_null(golden_path(path, "text/llama"));
    assert_int_equal(model_open(path, &m, &err), OK);
    const bool few = getenv("HOULE_TEST_FEW") != NULL; /* builds that run slowly: fewer places */
    for (long n = 1;; n += few ? 1 + n / 8 : 1) {
        Scheduler *s = NULL;
        Error why = {0};
        const SchedulerSpec spec = {.precision = PRECISION_FAST, .cache_type = CACHE_F16, .pool = pool, .context = 128,
                                    .sequences = 1, .max_rows = 32, .max_waiting = 4};
        static Job job;
        make_job(&job, 80, 5, 9, true);
        mem_fail_at(n);
        if (scheduler_open(m, spec, &s, &why) == OK) {
            Request *r;
            const RequestSpec ask = {.tokens = job.prompt, .n = 80, .sample = job.sample, .max_tokens = 5, .ignore_end = true,
                                     .logprobs = 2, .on_token = on_token, .on_end = on_end, .user = &job};
            Error refused = {0};
            if (scheduler_submit(s, &ask, &r, &refused) == OK) {
                request_release(r);
                wait_for(&job);
            }
        }
        const bool struck = mem_fail_hit();
        mem_fail_at(0);
        scheduler_close(s);
        if (!struck) {
            assert_int_equal(job.n_out, 5);
            break;
        }
    }
    model_close(m);
}

static int open_pool(void **state) {
    (void)state;
    return pool_open(2, &pool, NULL) == OK ? 0 : -1;
}

static int close_pool(void **state) {
    (void)state;
    pool_close(pool);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_making_way_in_any_order), cmocka_unit_test(test_same_tokens_whatever_else_runs),
        cmocka_unit_test(test_prefixes_are_found_again),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
