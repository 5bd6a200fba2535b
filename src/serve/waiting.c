/* waiting.c - streams whose model has yet to be loaded, or waits for room. See api.h.
 *
 *     handler ─▶ ask_model ─▶ api_acquire ──ready, or soon──▶ as ever
 *                                 │ not within the time of a ping
 *                                 ▼
 *     the handler gives up; a stream begins: signs of life ... the model is there ─▶ the handler again, into the stream
 *
 * What goes wrong soon is told by the reply's status, as ever; what goes wrong later by an error in the stream. A thread
 * gets hold of the model, because loading is done by whoever asks. */
#include "serve/api.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

struct Waiting {
    Registry *registry;
    char *name;
    uint64_t wait_us;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    Status status; /* when done; these belong to the thread before */
    Error err;
    Served *served; /* until somebody takes it */
    uint64_t load_us;
    /* once the stream has begun */
    ApiCall *call; /* held */
    LateReply reply;
    bool begun, taken;
};

static void *acquire(void *user) {
    Waiting *w = user;
    const Status status = registry_acquire(w->registry, w->name, w->wait_us, &w->served, &w->load_us, &w->err);
    pthread_mutex_lock(&w->lock);
    w->status = status;
    w->done = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* NULL when there is no thread for it. */
static Waiting *begin(Registry *registry, const char *name, uint64_t wait_us) {
    Waiting *w = mem_zalloc(sizeof *w, MEM_NETWORK);
    if (w == NULL)
        return NULL;
    *w = (Waiting){.registry = registry, .name = mem_strdup(name, MEM_NETWORK), .wait_us = wait_us};
    clock_condition(&w->changed);
    pthread_mutex_init(&w->lock, NULL);
    if (w->name != NULL && pthread_create(&w->thread, NULL, acquire, w) == 0)
        return w;
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    mem_free(w->name);
    mem_free(w);
    return NULL;
}

/* Waits for the thread: a load that has begun goes on to its end. */
static void end(Waiting *w) {
    pthread_join(w->thread, NULL);
    registry_release(w->served);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    text_free(&w->reply.whole);
    mem_free(w->name);
    mem_free(w);
}

/* Whether it is decided within so many seconds. */
static bool wait_for(Waiting *w, int seconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    int result = 0;
    pthread_mutex_lock(&w->lock);
    while (!w->done && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&w->changed, &w->lock, &until);
    const bool done = w->done;
    pthread_mutex_unlock(&w->lock);
    return done;
}

static Status take(Waiting *w, Served **served, uint64_t *load_us, Error *err) {
    *served = w->served;
    *load_us = w->load_us;
    w->served = NULL;
    w->taken = true;
    if (w->status != OK)
        *err = w->err;
    return w->status;
}

/* Ollama's clients get streams unless they say otherwise. */
static bool wants_stream(const ApiCall *call) {
    const json_t *stream = json_object_get(call->body, "stream");
    return call->streams && call->http != NULL &&
           (call->form == API_OLLAMA ? !json_is_false(stream) : json_is_true(stream));
}

Status api_acquire(ApiCall *call, const char *name, uint64_t wait_us, Served **served, uint64_t *load_us, Error *err) {
    Registry *registry = call->server->registry;
    if (call->late != NULL && !call->waiting->taken)
        return take(call->waiting, served, load_us, err);
    FAIL_IF(call->waiting != NULL && call->late == NULL, ERR_BUSY, "%s is being loaded", name);
    Waiting *w = call->late == NULL && wants_stream(call) && !registry_is_ready(registry, name) ? begin(registry, name, wait_us) : NULL;
    if (w == NULL)
        return registry_acquire(registry, name, wait_us, served, load_us, err);
    if (!wait_for(w, call->server->spec.ping_seconds)) {
        call->waiting = w;
        return error_set(err, ERR_BUSY, "%s is being loaded", name);
    }
    const Status status = take(w, served, load_us, err);
    end(w);
    return status;
}

/* ---- the stream -------------------------------------------------------------------------------------------------- */

/* A line of /api/chat or /api/generate, with an empty text. */
static json_t *empty_line(const ApiCall *call) {
    char time[32];
    iso_time(unix_seconds(), time);
    json_t *line = json_pack("{s:s, s:s, s:b}", "model", call->model, "created_at", time, "done", 0);
    if (strcmp(call->route, "/api/chat") == 0)
        json_object_set_new(line, "message", json_pack("{s:s, s:s}", "role", "assistant", "content", ""));
    else
        json_object_set_new(line, "response", json_string(""));
    return line;
}

static void append_sign(const ApiCall *call, Text *out) {
    if (call->form == API_ANTHROPIC)
        sse_append(out, "ping", json_pack("{s:s}", "type", "ping"));
    else if (call->form == API_OLLAMA)
        ndjson_append(out, empty_line(call));
    else
        text_append_str(out, ": still at work\n\n");
}

static void append_error(ApiCall *call, Status status, const Error *err, Text *out) {
    memcpy(call->error, err->text, sizeof call->error);
    if (call->form == API_OLLAMA)
        ndjson_append(out, api_error_value(call, status, err));
    else
        sse_append(out, call->form == API_ANTHROPIC ? "error" : NULL, api_error_value(call, status, err));
}

static bool next(void *user, Text *out) {
    Waiting *w = user;
    ApiCall *call = w->call;
    Error err = {0};
    LateReply *reply = &w->reply;
    if (reply->stream.next != NULL)
        return reply->stream.next(reply->stream.user, out);
    if (!w->begun || !wait_for(w, call->server->spec.ping_seconds)) {
        w->begun = true;
        append_sign(call, out);
        return true;
    }
    call->code = call->param = NULL;
    const Status status = call->handler(call, &err);
    if (status != OK)
        append_error(call, status, &err, out);
    text_append(out, reply->whole.bytes != NULL ? reply->whole.bytes : "", reply->whole.count);
    out->failed = out->failed || reply->whole.failed;
    return reply->stream.next != NULL;
}

static void close_waiting(void *user) {
    Waiting *w = user;
    ApiCall *call = w->call;
    if (w->reply.stream.close != NULL)
        w->reply.stream.close(w->reply.stream.user);
    call->waiting = NULL;
    call->late = NULL;
    end(w);
    api_release(call);
}

bool api_wait(ApiCall *call) {
    Waiting *w = call->waiting;
    if (w == NULL)
        return false;
    w->call = call;
    call->late = &w->reply;
    api_hold(call);
    call->http_status = 0;
    http_stream(call->http, 200, call->form == API_OLLAMA ? "application/x-ndjson" : "text/event-stream; charset=utf-8",
                (HttpSource){.next = next, .close = close_waiting, .user = w});
    return true;
}
