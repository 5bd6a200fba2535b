/* answering.c - what all APIs do while an answer is written: waiting for its pieces, counting, and what is said of it
 * in the end. See api.h. */
#include "serve/api.h"

#include "base/clock.h"

#include <string.h>

/* ---- an answer's life -------------------------------------------------------------------------------------------- */

void *answering_open(Ask *ask, size_t bytes, Status *status, Error *err) {
    Generation *generation;
    *status = ask_start(ask, &generation, err);
    if (*status != OK)
        return NULL;
    Answering *a = mem_zalloc(bytes, MEM_NETWORK);
    if (a == NULL) {
        generation_close(generation);
        *status = error_set(err, ERR_MEMORY, "no memory for the answer");
        return NULL;
    }
    *a = (Answering){.call = ask->call, .generation = generation, .served = ask->served};
    ask->served = NULL;
    api_hold(ask->call);
    return a;
}

void answering_close(Answering *a) {
    api_count(a->call, a->generation, a->over);
    generation_close(a->generation);
    registry_release(a->served);
    api_release(a->call);
    mem_free(a);
}

/* ---- while it runs, and behind it -------------------------------------------------------------------------------- */

int api_ping_ms(const ApiCall *call) {
    return 1000 * call->server->spec.ping_seconds;
}

GenerationNews api_next(ApiCall *call, Generation *generation, int quiet_ms, Piece *piece) {
    const int slice = 500; /* so that a server that stops is noticed */
    const int socket = call->http != NULL ? http_socket(call->http) : -1;
    for (int waited = 0;; waited += slice) {
        const GenerationNews news = generation_next(generation, socket, MIN(slice, quiet_ms - waited), piece);
        if (atomic_load(&call->server->cancelling))
            generation_cancel(generation);
        if (news != NEWS_QUIET || waited + slice >= quiet_ms)
            return news;
    }
}

const char *finish_word(const Ending *e) {
    switch (e->end) {
    case REQUEST_STOP:
    case REQUEST_ENOUGH:
        return e->calls ? "tool_calls" : "stop";
    case REQUEST_LENGTH:
        return "length";
    case REQUEST_CANCELLED:
    case REQUEST_DEADLINE:
        return "abort";
    default:
        return NULL;
    }
}

Status ending_status(const Ending *e, Error *err) {
    if (e->end == REQUEST_CANCELLED)
        return error_set(err, ERR_CANCELLED, "the server is being stopped");
    if (e->end == REQUEST_DEADLINE)
        return error_set(err, ERR_BUSY, "the request's deadline has passed before the answer was complete");
    if (e->end == REQUEST_FAILED)
        return error_set(err, e->err->status != OK ? e->err->status : ERR_INTERNAL, "%s", e->err->text);
    return OK;
}

void api_count(ApiCall *call, const Generation *g, bool whole) {
    if (call->counted)
        return;
    call->counted = true;
    const Usage u = generation_usage(g);
    const Ending e = generation_ending(g, 0);
    AnswerCounts *c = &call->counts;
    c->prompt = u.prompt;
    c->cached = u.cached;
    c->generated = u.generated;
    c->reasoning = u.reasoning;
    const char *word = whole ? finish_word(&e) : "abort";
    c->finish = word != NULL ? word : "error";
    c->seconds[TIMING_QUEUE] = whole ? (double)e.stats.queue_us * 1e-6 : -1;
    c->seconds[TIMING_FIRST_TOKEN] = whole && e.first_us > 0 ? (double)(e.first_us - call->began_us) * 1e-6 : -1;
    c->seconds[TIMING_BETWEEN] = whole && e.stats.generated_tokens > 1
                                     ? (double)(e.last_us - e.first_us) * 1e-6 / (e.stats.generated_tokens - 1)
                                     : -1;
    c->seconds[TIMING_WHOLE] = (double)(clock_us() - call->began_us) * 1e-6;
    metrics_add_answer(call->server->metrics, call->model, c);
    keys_charge(call->server->keys, &call->caller, u.prompt - u.cached + u.generated);
}

json_t *usage_value(const Generation *g) {
    const Usage u = generation_usage(g);
    return json_pack("{s:i, s:i, s:i, s:{s:i, s:i}, s:{s:i, s:i, s:i}}", "prompt_tokens", u.prompt, "completion_tokens",
                     u.generated, "total_tokens", u.prompt + u.generated, "prompt_tokens_details", "cached_tokens",
                     u.cached, "cache_write_tokens", u.prompt - u.cached, "completion_tokens_details", "reasoning_tokens", u.reasoning,
                     "accepted_prediction_tokens", u.accepted, "rejected_prediction_tokens", u.drafted - u.accepted);
}

static double rate(int tokens, uint64_t us) {
    return us > 0 ? (double)tokens * 1e6 / (double)us : 0;
}

static double each(uint64_t us, int tokens) {
    return tokens > 0 ? (double)us * 1e-3 / tokens : 0;
}

json_t *timings_value(const Generation *g) {
    const Ending e = generation_ending(g, 0);
    const RequestStats *s = &e.stats;
    const int read = s->prompt_tokens - s->cached_tokens;
    return json_pack("{s:i, s:i, s:f, s:f, s:f, s:i, s:f, s:f, s:f, s:f, s:i}", "cache_n", s->cached_tokens, "prompt_n", read,
                     "prompt_ms", (double)s->prompt_us * 1e-3, "prompt_per_token_ms", each(s->prompt_us, read),
                     "prompt_per_second", rate(read, s->prompt_us),
                     "predicted_n", s->generated_tokens, "predicted_ms", (double)s->generate_us * 1e-3,
                     "predicted_per_token_ms", each(s->generate_us, s->generated_tokens), "predicted_per_second", rate(s->generated_tokens, s->generate_us), "queue_ms",
                     (double)s->queue_us * 1e-3, "first_difference", s->first_difference);
}

json_t *progress_value(const Generation *g, const Piece *p) {
    return json_pack("{s:i, s:i, s:i, s:f}", "processed", p->done, "total", p->total, "cache", p->cached, "time_ms",
                     (double)(clock_us() - generation_began_us(g)) * 1e-3);
}

static json_t *token_entry(const Tokenizer *t, int32_t id, float logprob) {
    const char *bytes = "";
    size_t count = 0;
    Text text = {0};
    json_t *list = json_array();
    tokenizer_piece(t, id, &bytes, &count);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes[i]));
    (void)tokenizer_decode(t, &id, 1, 0, &text, NULL);
    json_t *entry =
        json_pack("{s:o, s:f, s:o}", "token", json_of_text(&text), "logprob",
                  (double)logprob, "bytes", list);
    text_free(&text);
    return entry;
}

json_t *logprob_value(const Tokenizer *t, const RequestToken *token) {
    json_t *entry = token_entry(t, token->token, token->logprob), *top = json_array();
    for (int i = 0; i < token->n_top; i++)
        json_array_append_new(top, token_entry(t, token->top[i], token->top_logprobs[i]));
    json_object_set_new(entry, "top_logprobs", top);
    return entry;
}
