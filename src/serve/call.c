/* call.c - a request's life behind its handler: whoever still works for it holds it, and the last to let go counts it,
 * logs it, and frees it. See api.h. */
#include "serve/api.h"

#include "base/clock.h"

void api_log(const Server *s, json_t *line) {
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(line);
    if (text != NULL)
        s->spec.log(s->spec.user, text);
    mem_free(text);
}

static void log_call(const ApiCall *call) {
    const Server *s = call->server;
    if (s->spec.log == NULL || !s->spec.log_requests)
        return;
    char time[32];
    const AnswerCounts *c = &call->counts;
    iso_time(unix_seconds(), time);
    json_t *line = json_pack("{s:s, s:s, s:I, s:s, s:i, s:f, s:I}", "time", time, "event", "request", "id",
                             (json_int_t)call->id, "route", call->route, "status", call->status, "ms",
                             (double)(clock_us() - call->began_us) / 1000, "bytes", (json_int_t)call->sent);
    if (call->caller.name[0] != '\0')
        json_object_set_new(line, "key", json_string(call->caller.name));
    if (call->model[0] != '\0')
        json_object_set_new(line, "model", json_string(call->model));
    if (call->counted) {
        json_object_set_new(line, "prompt_tokens", json_integer(c->prompt));
        json_object_set_new(line, "cached_tokens", json_integer(c->cached));
        json_object_set_new(line, "completion_tokens", json_integer(c->generated));
        json_object_set_new(line, "finish", json_string(c->finish));
        if (c->seconds[TIMING_FIRST_TOKEN] >= 0)
            json_object_set_new(line, "ttft_ms", json_real(c->seconds[TIMING_FIRST_TOKEN] * 1000));
    }
    /* Messages about requests may quote them; those about the server's own troubles are for its log. */
    if (call->code != NULL)
        json_object_set_new(line, "code", json_string(call->code));
    if (call->status >= 500 && call->error[0] != '\0')
        json_object_set_new(line, "error", json_string(call->error));
    api_log(s, line);
}

void api_hold(ApiCall *call) {
    call->references++;
}

void api_release(ApiCall *call) {
    if (--call->references > 0)
        return;
    metrics_add_reply(call->server->metrics, call->route, call->status);
    log_call(call);
    upload_free(call->upload);
    json_decref(call->body);
    json_decref(call->warnings);
    mem_free(call);
}

ApiCall *api_detach(const ApiCall *call) {
    ApiCall *own = mem_alloc(sizeof *own, MEM_NETWORK);
    if (own == NULL)
        return NULL;
    *own = *call;
    own->http = NULL;
    own->references = 1;
    own->rest = "";
    own->body = NULL;
    own->upload = NULL;
    own->warnings = json_deep_copy(call->warnings);
    own->param = own->code = NULL;
    return own;
}
