/* registry_load.c - the part of loading a model that needs no lock: its files are opened, what it will take is planned in
 * what its settings and the budget leave, and its scheduler is started. When, and beside which others, is registry.c's
 * business. */
#include "serve/registry_parts.h"

#include "engine/draft.h"
#include "format/model_files.h"
#include "store/store.h"

#include <stdlib.h>

enum { LEAST_CONTEXT = 1024 };

Status served_find_path(const Served *e, char **path, Error *err) {
    if (e->path == NULL)
        return store_resolve(e->name, path, err);
    *path = mem_strdup(e->path, MEM_MISC);
    FAIL_IF(*path == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

static uint64_t limit_of(const Registry *r, const Served *e) {
    const uint64_t budget = r->stats.budget_bytes, own = e->wish.memory_bytes;
    return own > 0 ? MIN(own, budget) : budget;
}

static Status plan(const Registry *r, const Served *e, Loaded *l, Error *err) {
    const ModelSettings *w = &e->wish;
    const int declared = model_context(l->model);
    SchedulerSpec *s = &l->spec;
    *s = (SchedulerSpec){.precision = w->precision_given ? w->precision : PRECISION_FAST,
                         .cache_type = w->cache_type_given ? w->cache_type : CACHE_F16,
                         .pool = r->spec.pool,
                         .sequences = w->sequences > 0 ? w->sequences : USUAL_SEQUENCES,
                         .max_rows = w->max_rows > 0 ? w->max_rows : USUAL_ROWS,
                         .max_waiting = w->max_waiting > 0 ? w->max_waiting : USUAL_WAITING,
                         .spill = r->spill,
                         .draft_tokens = w->draft_tokens_given ? w->draft_tokens : draft_usual(w->draft != NULL),
                         .draft = l->draft};
    s->context = w->context > 0 ? w->context : declared > 0 ? MIN(declared, USUAL_CONTEXT) : USUAL_CONTEXT;
    if (model_result(l->model) != RESULT_LOGITS) { /* what it computes in is taken by each request */
        s->context = declared > 0 ? MIN(s->context, declared) : s->context;
        return OK;
    }
    for (;;) {
        size_t bytes;
        s->cache_tokens = w->cache_tokens > 0 ? w->cache_tokens : 2 * (int64_t)s->context;
        TRY(scheduler_memory(l->model, s, &bytes, err));
        l->run_bytes = bytes;
        /* Unless the user said how long texts may be, they get what fits beside the weights. */
        if (w->context > 0 || w->cache_tokens > 0 || s->context <= LEAST_CONTEXT ||
            (l->weight_bytes > limit_of(r, e) ? l->least_bytes : l->weight_bytes) + l->run_bytes <= limit_of(r, e))
            return OK;
        s->context = MAX(s->context / 2, LEAST_CONTEXT);
    }
}

/* Whose numbers the prefixes on disk are: these files, in this state, computed in this way. */
static Status identify(const Loaded *l, Text *identity, Error *err) {
    const ModelFiles *files = model_files(l->model);
    const char *level = getenv("HOULE_CPU");
    for (int i = 0; i < model_files_count(files); i++) {
        int64_t seconds, nanoseconds;
        uint64_t bytes;
        registry_stat(model_files_file_path(files, i), &seconds, &nanoseconds, &bytes);
        text_append_format(identity, "%s %llu %lld.%09lld\n", model_files_file_path(files, i),
                           (unsigned long long)bytes, (long long)seconds, (long long)nanoseconds);
    }
    text_append_format(identity, "%d %d %s", (int)l->spec.precision, (int)l->spec.cache_type,
                       level != NULL ? level : "");
    return text_check(identity, err);
}

static uint64_t weights_of(const Model *m) {
    return weights_mapped_bytes(model_weights(m)) + weights_copied_bytes(model_weights(m));
}

Status loaded_open(const Registry *r, const Served *e, const char *draft, Loaded *l, Error *err) {
    const Tokenizer *tokenizer;
    const ChatTemplate *chat;
    TRY(served_find_path(e, &l->path, err));
    const size_t before = mem_bytes(MEM_TEXT) + mem_bytes(MEM_FORMAT) + mem_bytes(MEM_GRAPH);
    TRY(model_open(l->path, &l->model, err));
    TRY(model_tokenizer(l->model, &tokenizer, err));
    (void)model_chat(l->model, &chat, NULL); /* a broken template costs the chats only: they get its message */
    if (draft != NULL) {
        TRY(model_open(draft, &l->draft, err));
        (void)model_tokenizer(l->draft, &tokenizer, NULL); /* it will be compared with the model's */
    }
    const size_t after = mem_bytes(MEM_TEXT) + mem_bytes(MEM_FORMAT) + mem_bytes(MEM_GRAPH);
    const Weights *weights = model_weights(l->model);
    const uint64_t besides = weights_copied_bytes(weights) + (l->draft != NULL ? weights_of(l->draft) : 0) +
                             (after > before ? after - before : 0);
    StreamPlan stream;
    TRY(weights_stream_plan(weights, 0, &stream, err));
    l->weight_bytes = weights_mapped_bytes(weights) + besides;
    l->least_bytes = MIN(stream.least + besides, l->weight_bytes);
    TRY(plan(r, e, l, err));
    const uint64_t limit = limit_of(r, e);
    char need[16], have[16];
    FAIL_IF(l->least_bytes + l->run_bytes > limit, ERR_MEMORY,
            "%s takes %s at the least, %s are allowed (\"memory\" or --memory); a smaller \"context\" takes less", e->name,
            format_bytes(l->least_bytes + l->run_bytes, need), format_bytes(limit, have));
    if (l->weight_bytes + l->run_bytes <= limit)
        return OK;
    TRY(model_stream(l->model, (size_t)(limit - l->run_bytes - besides), err));
    l->weight_bytes = weights_resident_bytes(weights) + besides - weights_copied_bytes(weights);
    return OK;
}

Status loaded_start(Loaded *l, Error *err) {
    Text identity = {0};
    if (model_result(l->model) != RESULT_LOGITS)
        return OK;
    Status status = identify(l, &identity, err);
    if (status == OK) {
        l->spec.identity = identity.bytes;
        l->spec.identity_bytes = identity.count;
        status = scheduler_open(l->model, l->spec, &l->scheduler, err);
    }
    l->spec.identity = NULL;
    text_free(&identity);
    return status;
}

void loaded_close(Loaded *l) {
    scheduler_close(l->scheduler);
    model_close(l->draft);
    model_close(l->model);
    mem_free(l->path);
}
