/* keeper.c - see keeper.h. The lock guards the list; a job's digests are touched by the keeper's thread alone. */
#include "store/keeper.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { READ_BYTES = 1 << 20 };
static const uint64_t turn_bytes = 16u << 20;  /* hashed of one file before the next gets a turn */
static const uint64_t sync_bytes = 256u << 20; /* unsynced at the most ... */
static const uint64_t sync_after_us = 3000000; /* ... and for so long */

typedef struct Job {
    Partial *partial;
    KeptState state;
    bool forget; /* asked for */
    bool rechecked;
    uint64_t bytes, hashed;
    uint64_t synced; /* partial_done_bytes at the last sync */
    uint64_t synced_us;
    Digest sha256, git_sha1;
    char wanted_sha256[DIGEST_HEX], wanted_sha1[DIGEST_HEX], found[DIGEST_HEX];
} Job;

struct Keeper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
    Error err;
    void (*wake)(void *user);
    void *user;
    uint8_t *buffer;
    size_t n_job;
    Job *jobs;
};

/* What the keeper changes of a job while it does not hold the lock; copied back under it. */
typedef struct Turn {
    uint64_t hashed;
    KeptState state;
    char found[DIGEST_HEX];
} Turn;

/* ---- the thread's work, without the lock ------------------------------------------------------------------------- */

static void drop_digests(Job *job) {
    digest_drop(&job->sha256);
    digest_drop(&job->git_sha1);
}

static Status begin_digests(Job *job, Error *err) {
    TRY(digest_begin(&job->sha256, DIGEST_SHA256, err));
    if (job->wanted_sha1[0] == '\0')
        return OK;
    TRY(digest_begin(&job->git_sha1, DIGEST_SHA1, err));
    char lead[40]; /* git hashes a file behind "blob SIZE" and a NUL */
    const int n = snprintf(lead, sizeof lead, "blob %llu", (unsigned long long)job->bytes);
    digest_add(&job->git_sha1, lead, (size_t)n + 1);
    return OK;
}

/* Reads on from where the last turn ended, up to the frontier. */
static Status hash_on(Keeper *k, Job *job, Turn *turn, Error *err) {
    if (job->sha256.state == NULL)
        TRY(begin_digests(job, err));
    const uint64_t end = MIN(partial_frontier(job->partial), turn->hashed + turn_bytes);
    while (turn->hashed < end) {
        const size_t count = (size_t)MIN(end - turn->hashed, (uint64_t)READ_BYTES);
        TRY(partial_read(job->partial, turn->hashed, k->buffer, count, err));
        digest_add(&job->sha256, k->buffer, count);
        if (job->git_sha1.state != NULL)
            digest_add(&job->git_sha1, k->buffer, count);
        turn->hashed += count;
    }
    return OK;
}

/* The whole file is hashed: is it the right one? When it is not, the disk may be at fault: then the chunks that differ
 * from what came over the network are fetched again. If none differs, what came was wrong. */
static Status decide(Job *job, Turn *turn, Error *err) {
    char sha1[DIGEST_HEX] = "";
    if (job->git_sha1.state != NULL)
        TRY(digest_end(&job->git_sha1, sha1, err));
    TRY(digest_end(&job->sha256, turn->found, err));
    const bool right = (job->wanted_sha256[0] == '\0' || strcmp(turn->found, job->wanted_sha256) == 0) &&
                       (job->wanted_sha1[0] == '\0' || strcmp(sha1, job->wanted_sha1) == 0);
    turn->state = KEPT_RIGHT;
    if (right)
        return OK;
    size_t altered = 0;
    if (!job->rechecked)
        TRY(partial_recheck(job->partial, &altered, err));
    job->rechecked = true;
    turn->state = altered > 0 ? KEPT_REOPENED : KEPT_WRONG;
    if (altered == 0)
        return partial_forget(job->partial, err);
    turn->hashed = 0;
    return OK;
}

static Status work_on(Keeper *k, Job *job, bool forget, Turn *turn, Error *err) {
    if (forget) {
        drop_digests(job);
        TRY(partial_forget(job->partial, err));
        turn->hashed = 0;
        turn->state = KEPT_REOPENED;
        return OK;
    }
    TRY(hash_on(k, job, turn, err));
    if (turn->hashed == job->bytes)
        return decide(job, turn, err);
    const uint64_t done = partial_done_bytes(job->partial), now = clock_us();
    if (done < job->synced) /* forgotten in between */
        job->synced = done;
    if (done - job->synced >= sync_bytes || (done > job->synced && now - job->synced_us >= sync_after_us)) {
        job->synced = done;
        TRY(partial_sync(job->partial, err));
        job->synced_us = clock_us();
    }
    return OK;
}

static void *keep(void *user) {
    Keeper *k = user;
    pthread_mutex_lock(&k->lock);
    while (!k->stop && k->err.status == OK) {
        bool busy = false;
        for (size_t i = 0; i < k->n_job && !k->stop && k->err.status == OK; i++) {
            Job *job = &k->jobs[i];
            if (job->state != KEPT_FILLING && !job->forget)
                continue;
            const bool forget = job->forget;
            const Turn before = {.hashed = job->hashed, .state = job->state};
            Turn turn = before;
            job->forget = false;
            pthread_mutex_unlock(&k->lock);
            Error err = {0};
            const Status status = work_on(k, job, forget, &turn, &err);
            pthread_mutex_lock(&k->lock);
            const bool changed = turn.state != before.state || status != OK;
            job->hashed = turn.hashed;
            job->state = turn.state;
            memcpy(job->found, turn.found, sizeof job->found);
            busy = busy || changed || turn.hashed != before.hashed;
            if (status != OK)
                k->err = err;
            if (changed) {
                pthread_mutex_unlock(&k->lock);
                k->wake(k->user);
                pthread_mutex_lock(&k->lock);
            }
        }
        if (!busy && !k->stop && k->err.status == OK) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += 1;
            pthread_cond_timedwait(&k->changed, &k->lock, &until);
        }
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* ---- the other side ---------------------------------------------------------------------------------------------- */

Status keeper_open(size_t n_item, void (*wake)(void *user), void *user, Keeper **out, Error *err) {
    *out = NULL;
    Keeper *k = mem_zalloc(sizeof *k, MEM_NETWORK);
    FAIL_IF(k == NULL, ERR_MEMORY, "no memory for a download");
    k->wake = wake;
    k->user = user;
    k->n_job = n_item;
    k->jobs = mem_array(n_item, sizeof *k->jobs, MEM_NETWORK);
    k->buffer = mem_alloc(READ_BYTES, MEM_NETWORK);
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->changed, NULL);
    const bool memory = k->jobs != NULL && k->buffer != NULL;
    if (!memory || pthread_create(&k->thread, NULL, keep, k) != 0) {
        pthread_mutex_destroy(&k->lock);
        pthread_cond_destroy(&k->changed);
        mem_free(k->jobs);
        mem_free(k->buffer);
        mem_free(k);
        return error_set(err, memory ? ERR_IO : ERR_MEMORY, "no %s for a download", memory ? "thread" : "memory");
    }
    *out = k;
    return OK;
}

void keeper_close(Keeper *k) {
    if (k == NULL)
        return;
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    for (size_t i = 0; i < k->n_job; i++) {
        Job *job = &k->jobs[i];
        if (job->state == KEPT_FILLING && partial_done_bytes(job->partial) > 0)
            partial_sync(job->partial, NULL); /* best effort: without it the next run only has to look at the bytes */
        drop_digests(job);
    }
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->changed);
    mem_free(k->jobs);
    mem_free(k->buffer);
    mem_free(k);
}

void keeper_watch(Keeper *k, size_t item, Partial *partial, uint64_t bytes, const char *sha256, const char *git_sha1) {
    pthread_mutex_lock(&k->lock);
    Job *job = &k->jobs[item];
    *job = (Job){.partial = partial, .state = KEPT_FILLING, .bytes = bytes, .synced_us = clock_us()};
    job->synced = partial_done_bytes(partial);
    snprintf(job->wanted_sha256, sizeof job->wanted_sha256, "%s", sha256 != NULL ? sha256 : "");
    snprintf(job->wanted_sha1, sizeof job->wanted_sha1, "%s", git_sha1 != NULL ? git_sha1 : "");
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

void keeper_nudge(Keeper *k) {
    pthread_mutex_lock(&k->lock);
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

void keeper_forget(Keeper *k, size_t item) {
    pthread_mutex_lock(&k->lock);
    k->jobs[item].forget = true;
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

void keeper_go_on(Keeper *k, size_t item) {
    pthread_mutex_lock(&k->lock);
    if (k->jobs[item].state == KEPT_REOPENED)
        k->jobs[item].state = KEPT_FILLING;
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

KeptState keeper_state(Keeper *k, size_t item, char sha256[DIGEST_HEX]) {
    pthread_mutex_lock(&k->lock);
    const KeptState state = k->jobs[item].state;
    snprintf(sha256, DIGEST_HEX, "%s", k->jobs[item].found);
    pthread_mutex_unlock(&k->lock);
    return state;
}

uint64_t keeper_hashed_bytes(Keeper *k) {
    uint64_t sum = 0;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->n_job; i++)
        sum += k->jobs[i].hashed;
    pthread_mutex_unlock(&k->lock);
    return sum;
}

Status keeper_check(Keeper *k, Error *err) {
    pthread_mutex_lock(&k->lock);
    const Error found = k->err;
    pthread_mutex_unlock(&k->lock);
    return found.status == OK ? OK : error_set(err, found.status, "%s", found.text);
}
