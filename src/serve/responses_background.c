/* responses_background.c - answers of /v1/responses that nobody waits for: each has a thread of its own.
 *
 * The events are kept while it is made, so that a client may come, leave and come again; then they are stored with the
 * answer. Who asks for the events of one that runs gets those that are there, and the others as they come.
 *
 *     thread of the answer:   pieces -> items, events ──▶ [Job.events]      ──▶ archive
 *     threads of clients:                                   └──▶ each from where it left off */
#include "serve/responses.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { JOBS_MOST = 64, LOOK_MS = 500 };

typedef struct Job Job;
struct Job {
    Job *next;
    ResponseJobs *jobs;
    Answering *answering;
    ResponseMaker maker;
    bool keep_events;
    /* under the lock */
    int references; /* the thread's, and one for each client that follows */
    bool cancelled, over;
    Text events;
};

struct ResponseJobs {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Job *first; /* those that run */
    int running, threads;
};

/* A client that follows an answer. */
typedef struct Follower {
    ApiCall *call;
    Job *job;
    size_t at;     /* byte of the events */
    int64_t after; /* of a first look: events up to this one are known */
} Follower;

/* ---- the list ---------------------------------------------------------------------------------------------------- */

Status response_jobs_open(ResponseJobs **out, Error *err) {
    ResponseJobs *jobs = *out = mem_zalloc(sizeof *jobs, MEM_NETWORK);
    FAIL_IF(jobs == NULL, ERR_MEMORY, "no memory for the server");
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->changed, NULL);
    return OK;
}

void response_jobs_close(ResponseJobs *jobs) {
    if (jobs == NULL)
        return;
    pthread_mutex_lock(&jobs->lock);
    while (jobs->threads > 0)
        pthread_cond_wait(&jobs->changed, &jobs->lock);
    pthread_mutex_unlock(&jobs->lock);
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->lock);
    mem_free(jobs);
}

int response_jobs_running(ResponseJobs *jobs) {
    pthread_mutex_lock(&jobs->lock);
    const int n = jobs->running;
    pthread_mutex_unlock(&jobs->lock);
    return n;
}

/* Under the lock. */
static Job *find(const ResponseJobs *jobs, const char *id) {
    Job *job = jobs->first;
    while (job != NULL && strcmp(job->maker.id, id) != 0)
        job = job->next;
    return job;
}

/* Under the lock. */
static void take_out(ResponseJobs *jobs, const Job *job) {
    Job **at = &jobs->first;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    jobs->running--;
}

/* Under the lock. */
static void let_go(Job *job) {
    if (--job->references > 0)
        return;
    response_maker_free(&job->maker);
    text_free(&job->events);
    mem_free(job);
}

bool response_job_runs(ResponseJobs *jobs, const char *id) {
    pthread_mutex_lock(&jobs->lock);
    const bool runs = find(jobs, id) != NULL;
    pthread_mutex_unlock(&jobs->lock);
    return runs;
}

bool response_job_cancel(ResponseJobs *jobs, const char *id) {
    pthread_mutex_lock(&jobs->lock);
    Job *job = find(jobs, id);
    if (job != NULL) {
        job->cancelled = true;
        job->references++;
        generation_cancel(job->answering->generation);
        while (!job->over)
            pthread_cond_wait(&jobs->changed, &jobs->lock);
        let_go(job);
    }
    pthread_mutex_unlock(&jobs->lock);
    return job != NULL;
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

/* Events that there is no memory for are the last: who follows sees the stream break off, and none with a hole. */
static void publish(Job *job, Text *fresh) {
    if (fresh->count == 0 && !fresh->failed)
        return;
    pthread_mutex_lock(&job->jobs->lock);
    if (fresh->failed)
        job->events.failed = true;
    else if (!job->events.failed)
        text_append(&job->events, fresh->bytes, fresh->count);
    pthread_cond_broadcast(&job->jobs->changed);
    pthread_mutex_unlock(&job->jobs->lock);
    text_clear(fresh);
}

static bool was_cancelled(Job *job) {
    pthread_mutex_lock(&job->jobs->lock);
    const bool was = job->cancelled;
    pthread_mutex_unlock(&job->jobs->lock);
    return was;
}

static void *run_job(void *user) {
    Job *job = user;
    ResponseJobs *jobs = job->jobs;
    Answering *a = job->answering;
    Piece piece;
    Text fresh = {0};
    Error err = {0};
    json_object_set_new(job->maker.body, "status", json_string("in_progress"));
    for (GenerationNews news; (news = api_next(a->call, a->generation, LOOK_MS, &piece)) != NEWS_DONE;) {
        if (news == NEWS_GONE) /* the bell is broken; the rest cannot be learned */
            break;
        if (news == NEWS_PIECE)
            response_take(&job->maker, &piece, &fresh);
        publish(job, &fresh);
    }
    a->over = true;
    (void)response_end(&job->maker, a->call, a->generation, was_cancelled(job), &fresh, &err);
    /* What followers see last, whoever comes later finds too. */
    Text all = {.failed = job->events.failed || fresh.failed};
    text_append(&all, job->events.bytes, job->events.count);
    text_append(&all, fresh.bytes != NULL ? fresh.bytes : "", fresh.count);
    Error failed = {0};
    if (response_store(&job->maker, 0, job->keep_events && !all.failed ? all.bytes : NULL, &failed) != OK)
        memcpy(a->call->error, failed.text, sizeof a->call->error);
    text_free(&all);
    publish(job, &fresh);
    text_free(&fresh);
    a->call->status = err.status == OK ? 200 : 500;
    pthread_mutex_lock(&jobs->lock);
    take_out(jobs, job);
    job->over = true;
    job->answering = NULL;
    pthread_cond_broadcast(&jobs->changed);
    let_go(job);
    pthread_mutex_unlock(&jobs->lock);
    answering_close(a);
    pthread_mutex_lock(&jobs->lock);
    jobs->threads--;
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* ---- following one ----------------------------------------------------------------------------------------------- */

static bool next(void *user, Text *out) {
    Follower *f = user;
    ResponseJobs *jobs = f->job->jobs;
    struct timespec until;
    bool more = true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += f->call->server->spec.ping_seconds;
    pthread_mutex_lock(&jobs->lock);
    while (out->count == 0 && more) {
        const Text *events = &f->job->events;
        if (f->at < events->count) {
            response_events_after(out, events->bytes + f->at, events->count - f->at, f->after);
            f->at = events->count;
        } else if (f->job->over || events->failed)
            more = false;
        else if (pthread_cond_timedwait(&jobs->changed, &jobs->lock, &until) != 0)
            text_append_str(out, ": still at work\n\n");
    }
    pthread_mutex_unlock(&jobs->lock);
    return more;
}

static void close_follower(void *user) {
    Follower *f = user;
    ResponseJobs *jobs = f->job->jobs;
    pthread_mutex_lock(&jobs->lock);
    let_go(f->job);
    pthread_mutex_unlock(&jobs->lock);
    api_release(f->call);
    mem_free(f);
}

/* The job is held for it. */
static void follow(ApiCall *call, Follower *f, Job *job, int64_t after) {
    *f = (Follower){.call = call, .job = job, .after = after};
    api_hold(call);
    api_stream(call, "text/event-stream; charset=utf-8",
               (HttpSource){.next = next, .close = close_follower, .user = f});
}

bool response_job_stream(ApiCall *call, const char *id, int64_t after) {
    ResponseJobs *jobs = call->server->jobs;
    Follower *f = mem_zalloc(sizeof *f, MEM_NETWORK);
    pthread_mutex_lock(&jobs->lock);
    Job *job = f != NULL ? find(jobs, id) : NULL;
    if (job != NULL && !job->keep_events)
        job = NULL;
    if (job != NULL)
        job->references++;
    pthread_mutex_unlock(&jobs->lock);
    if (job == NULL) {
        mem_free(f);
        return false;
    }
    follow(call, f, job, after);
    return true;
}

/* ---- starting one ------------------------------------------------------------------------------------------------ */

static Status begin(Job *job, Error *err) {
    ResponseJobs *jobs = job->jobs;
    TRY(response_store(&job->maker, getpid(), NULL, err));
    response_begin(&job->maker, &job->events);
    pthread_mutex_lock(&jobs->lock);
    const bool room = jobs->running < JOBS_MOST;
    if (room) {
        jobs->running++;
        jobs->threads++;
        job->next = jobs->first;
        jobs->first = job;
    }
    pthread_mutex_unlock(&jobs->lock);
    FAIL_IF(!room, ERR_BUSY, "%d answers are being made in the background already; try again later", JOBS_MOST);
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_job, job) == 0) {
        pthread_detach(thread);
        return OK;
    }
    pthread_mutex_lock(&jobs->lock);
    take_out(jobs, job);
    jobs->threads--;
    pthread_mutex_unlock(&jobs->lock);
    return error_set(err, ERR_MEMORY, "a thread could not be started");
}

Status response_job_start(ApiCall *call, Answering *a, ResponseMaker *maker, bool stream, Error *err) {
    Job *job = mem_zalloc(sizeof *job, MEM_NETWORK);
    Follower *f = mem_zalloc(sizeof *f, MEM_NETWORK);
    json_t *body = json_deep_copy(maker->body);
    ApiCall *own = api_detach(call);
    if (job == NULL || f == NULL || body == NULL || own == NULL) {
        if (own != NULL)
            api_release(own);
        json_decref(body);
        mem_free(f);
        mem_free(job);
        response_maker_free(maker);
        answering_close(a);
        return error_set(err, ERR_MEMORY, "no memory for the answer");
    }
    api_release(a->call);
    a->call = own;
    *job = (Job){.jobs = call->server->jobs, .answering = a, .maker = *maker, .keep_events = stream, .references = 2};
    job->maker.generation = a->generation;
    char id[RESPONSE_ID_BYTES];
    memcpy(id, job->maker.id, sizeof id);
    const Status status = begin(job, err);
    if (status != OK) {
        (void)archive_delete(call->server->archive, id, call->caller.name, NULL);
        response_maker_free(&job->maker);
        text_free(&job->events);
        mem_free(job);
        mem_free(f);
        json_decref(body);
        answering_close(a);
        return status;
    }
    if (stream) {
        json_decref(body);
        follow(call, f, job, -1);
        return OK;
    }
    pthread_mutex_lock(&call->server->jobs->lock);
    let_go(job);
    pthread_mutex_unlock(&call->server->jobs->lock);
    mem_free(f);
    return api_reply_json(call, 200, body, err);
}
