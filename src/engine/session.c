/* session.c - see session.h. */
#include "engine/session.h"

#include <string.h>

enum {
    DEFAULT_ROWS = 512,
    PROCESS_BYTES = 24 << 20, /* of the program itself: code, libraries, stacks, what the allocator keeps */
};

struct Session {
    const Model *model;
    SessionSpec spec;
    Program *program;
    Cache *cache;
    Sequence **sequences;
    int n_sequence;
};

static CacheType cache_type_for(const SessionSpec *spec) {
    return spec->precision == PRECISION_F32 ? CACHE_F32 : spec->cache_type;
}

static Status complete(const Model *model, SessionSpec *spec, ProgramSpec *program, Error *err) {
    if (spec->kernels == NULL)
        TRY(kernels_best(&spec->kernels, err));
    if (spec->sequences == 0)
        spec->sequences = 1;
    if (spec->max_rows == 0)
        spec->max_rows = DEFAULT_ROWS;
    if (spec->max_wanted == 0)
        spec->max_wanted = spec->sequences;
    FAIL_IF(spec->context < 1, ERR_ARGUMENT, "a context of %d tokens", spec->context);
    (void)model;
    *program = (ProgramSpec){.precision = spec->precision, .kernels = spec->kernels, .max_rows = spec->max_rows,
                             .max_wanted = spec->max_wanted, .max_context = spec->context,
                             .n_thread = spec->pool != NULL ? pool_threads(spec->pool) : pool_default_threads(),
                             .keep_hidden = spec->keep_hidden, .profile = spec->profile};
    return OK;
}

Status session_memory(const Model *model, SessionSpec spec, MemoryPlan *plan, Error *err) {
    ProgramSpec program;
    TRY(complete(model, &spec, &program, err));
    const Weights *w = model_weights(model);
    *plan = (MemoryPlan){.weights_mapped = w != NULL ? weights_mapped_bytes(w) : 0,
                         .weights_copied = w != NULL ? weights_copied_bytes(w) : 0,
                         .cache = cache_bytes(model_graph(model), cache_type_for(&spec), (int64_t)spec.context * spec.sequences,
                                              spec.sequences)};
    return program_bytes(model_graph(model), model_weights(model), program, &plan->scratch, err);
}

Status session_fit(Model *model, SessionSpec spec, uint64_t memory, Error *err) {
    MemoryPlan plan;
    StreamPlan stream;
    TRY(session_memory(model, spec, &plan, err));
    const uint64_t others = (uint64_t)plan.cache + plan.scratch + mem_bytes_total() + PROCESS_BYTES;
    const uint64_t left = memory > others ? memory - others : 0;
    TRY(weights_stream_plan(model_weights(model), (size_t)left, &stream, err));
    if (stream.whole <= left)
        return OK;
    char weights[16], session[16];
    stream.least = MIN(stream.least, stream.whole); /* tiny experts take more in slots than in the file */
    FAIL_IF(stream.least > left, ERR_MEMORY,
            "%s needs --memory %lluK at the least: %s for weights that every token uses and a few experts, %s for the context, "
            "scratch and the program; %lluK is given",
            model_files_path(model_files(model)), (unsigned long long)((others + stream.least) / 1024 + 1),
            format_bytes(stream.least, weights), format_bytes(others, session), (unsigned long long)(memory / 1024));
    return model_stream(model, (size_t)left, err);
}

Status session_open(const Model *model, SessionSpec spec, Session **out, Error *err) {
    *out = NULL;
    ProgramSpec program;
    TRY(complete(model, &spec, &program, err));
    Session *s = mem_zalloc(sizeof *s, MEM_MISC);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for a session");
    s->model = model;
    s->spec = spec;
    s->sequences = mem_array((size_t)spec.sequences, sizeof(Sequence *), MEM_MISC);
    Status status = s->sequences == NULL ? error_set(err, ERR_MEMORY, "no memory for a session") : OK;
    if (status == OK)
        status = program_open(model_graph(model), model_weights(model), program, &s->program, err);
    if (status == OK)
        status = cache_open(model_graph(model), cache_type_for(&spec), (int64_t)spec.context * spec.sequences, spec.sequences,
                            &s->cache, err);
    if (status == OK)
        status = session_add_sequence(s, err);
    if (status != OK) {
        session_close(s);
        return status;
    }
    *out = s;
    return OK;
}

void session_close(Session *s) {
    if (s == NULL)
        return;
    cache_close(s->cache); /* and its sequences */
    program_close(s->program);
    mem_free(s->sequences);
    mem_free(s);
}

const Model *session_model(const Session *s) {
    return s->model;
}

const Program *session_program(const Session *s) {
    return s->program;
}

void session_clear_profile(Session *s) {
    program_clear_profile(s->program);
}

int session_max_wanted(const Session *s) {
    return s->spec.max_wanted;
}

Sequence *session_sequence(Session *s, int index) {
    return s->sequences[index];
}

Status session_add_sequence(Session *s, Error *err) {
    FAIL_IF(s->n_sequence == s->spec.sequences, ERR_LIMIT, "the session has all of its %d sequences", s->n_sequence);
    TRY(sequence_open(s->cache, s->spec.context, &s->sequences[s->n_sequence], err));
    s->n_sequence++;
    return OK;
}

Status session_step(Session *s, const Batch *batch, Error *err) {
    for (int i = 0; i < batch->n_run; i++)
        TRY(sequence_reserve(batch->runs[i].sequence, batch->runs[i].n_row, err));
    const Status status = program_run(s->program, s->spec.pool, batch, err);
    for (int i = 0; status != OK && i < batch->n_run; i++)
        sequence_abandon(batch->runs[i].sequence);
    TRY(status);
    for (int i = 0; i < batch->n_run; i++)
        sequence_advance(batch->runs[i].sequence, batch->runs[i].n_row);
    return OK;
}

/* Looks at the watcher from inside a step, so that a long one can be stopped. */
typedef struct Watch {
    const Progress *progress;
    uint64_t done, total;
} Watch;

static bool should_stop(void *user) {
    const Watch *w = user;
    return !progress_report(w->progress, "prompt", w->done, w->total);
}

Status session_feed(Session *s, int sequence, const int32_t *tokens, int n, int chunk, const Progress *progress, Error *err) {
    const int most = chunk > 0 && chunk < s->spec.max_rows ? chunk : s->spec.max_rows;
    Watch watch = {.progress = progress, .total = (uint64_t)n};
    FAIL_IF(n < 1, ERR_ARGUMENT, "no tokens to process");
    /* All or nothing at the limit: a prompt that does not fit is an error before anything is computed. */
    const int64_t after = (int64_t)sequence_tokens(s->sequences[sequence]) + n;
    FAIL_IF(after > s->spec.context, ERR_LIMIT,
            "%lld tokens do not fit the context of %d; shorten the prompt or raise --ctx", (long long)after, s->spec.context);
    for (int at = 0; at < n; at += most) {
        const int rows = MIN(most, n - at);
        const int32_t last = rows - 1;
        const Run run = {.sequence = s->sequences[sequence], .n_row = rows};
        Batch batch = {.n_row = rows, .tokens = tokens + at, .n_run = 1, .runs = &run, .n_wanted = at + rows == n ? 1 : 0,
                       .wanted = &last};
        if (progress != NULL) {
            watch.done = (uint64_t)at;
            batch.stop = should_stop;
            batch.user = &watch;
        }
        TRY(session_step(s, &batch, err));
    }
    return OK;
}

const float *session_logits(const Session *s) {
    return program_logits(s->program, 0);
}
