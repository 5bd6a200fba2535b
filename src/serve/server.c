/* server.c - see server.h: who may ask, which handler answers, what is logged.
 *
 * The order of checks: the Host and Origin headers (a web page must not reach a server on the user's machine through
 * the browser), the key, the route; then the body is taken and parsed. */
#include "serve/responses.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"
#include "format/json.h"
#include "store/fit.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { PEM_BYTES = 1 << 20 };

/* ---- routes ------------------------------------------------------------------------------------------------------ */

static Status health(ApiCall *call, Error *err) {
    const RegistryStats s = registry_stats(call->server->registry);
    return api_reply_json(call, 200, json_pack("{s:s, s:i}", "status", "ok", "models_loaded", s.loaded), err);
}

/* Ready when the model named (?model=), or any, is loaded: for what sends requests here only then. */
static Status ready(ApiCall *call, Error *err) {
    const char *name = http_query(call->http, "model");
    ServedList list;
    TRY(registry_list(call->server->registry, &list, err));
    bool is = false;
    for (size_t i = 0; i < list.count; i++)
        is = is || (list.items[i].state == SERVED_READY && (name == NULL || strcmp(list.items[i].name, name) == 0));
    served_list_free(&list);
    is = is && !atomic_load(&call->server->stopping);
    return api_reply_json(call, is ? 200 : 503, json_pack("{s:b}", "ready", is), err);
}

static Status metrics(ApiCall *call, Error *err) {
    Text text = {0};
    const Status status =
        metrics_write(call->server->metrics, call->server->registry, http_active(call->server->http), &text, err);
    if (status != OK) {
        text_free(&text);
        return status;
    }
    http_reply(call->http, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
    return OK;
}

enum { OPEN = 1, ADMIN = 2, UPLOAD = 4, BODILESS = 8, STREAMS = 16 };

static const struct Route {
    const char *method, *path; /* a path that ends with '*' stands for all that begin so */
    ApiForm form;
    ApiHandler handler;
    unsigned flags;
} routes[] = {
    {"GET", "/", API_OLLAMA, page_front, OPEN},
    {"GET", "/page/*", API_OPENAI, page_file, OPEN},
    {"GET", "/health", API_OPENAI, health, OPEN},
    {"GET", "/ready", API_OPENAI, ready, OPEN},
    {"GET", "/metrics", API_OPENAI, metrics, 0},
    {"GET", "/v1/models", API_OPENAI, openai_models, 0},
    {"GET", "/models", API_OPENAI, openai_models, 0},
    {"GET", "/v1/models/*", API_OPENAI, openai_models, 0},
    {"POST", "/v1/chat/completions", API_OPENAI, openai_chat, STREAMS},
    {"POST", "/v1/completions", API_OPENAI, openai_completions, STREAMS},
    {"POST", "/v1/embeddings", API_OPENAI, openai_embeddings, 0},
    {"POST", "/v1/rerank", API_OPENAI, openai_rerank, 0},
    {"POST", "/rerank", API_OPENAI, openai_rerank, 0},
    {"POST", "/v1/responses", API_OPENAI, responses_create, STREAMS},
    {"POST", "/v1/responses/input_tokens", API_OPENAI, responses_count, 0},
    {"POST", "/v1/responses/compact", API_OPENAI, responses_compact, 0},
    {"GET", "/v1/responses/*", API_OPENAI, responses_retrieve, 0},
    {"POST", "/v1/responses/*", API_OPENAI, responses_cancel, BODILESS},
    {"DELETE", "/v1/responses/*", API_OPENAI, responses_delete, 0},
    {"POST", "/v1/messages", API_ANTHROPIC, anthropic_messages, STREAMS},
    {"POST", "/v1/messages/count_tokens", API_ANTHROPIC, anthropic_count, 0},
    {"POST", "/api/chat", API_OLLAMA, ollama_chat, STREAMS},
    {"POST", "/api/generate", API_OLLAMA, ollama_generate, STREAMS},
    {"GET", "/api/tags", API_OLLAMA, ollama_tags, 0},
    {"POST", "/api/show", API_OLLAMA, ollama_show, 0},
    {"GET", "/api/ps", API_OLLAMA, ollama_ps, 0},
    {"GET", "/api/version", API_OLLAMA, ollama_version, OPEN},
    {"POST", "/api/pull", API_OLLAMA, ollama_pull, ADMIN},
    {"DELETE", "/api/delete", API_OLLAMA, ollama_delete, ADMIN},
    {"POST", "/api/copy", API_OLLAMA, ollama_copy, ADMIN},
    {"POST", "/api/create", API_OLLAMA, ollama_create, ADMIN},
    {"POST", "/api/push", API_OLLAMA, ollama_push, ADMIN},
    {"GET", "/api/blobs/*", API_OLLAMA, blob_head, 0},
    {"POST", "/api/blobs/*", API_OLLAMA, blob_end, ADMIN | UPLOAD},
    {"POST", "/api/embed", API_OLLAMA, ollama_embed, 0},
    {"POST", "/api/embeddings", API_OLLAMA, ollama_embeddings, 0},
    {"POST", "/infill", API_OPENAI, infill, STREAMS},
    {"POST", "/tokenize", API_OPENAI, text_tokenize, 0},
    {"POST", "/detokenize", API_OPENAI, text_detokenize, 0},
    {"POST", "/apply-template", API_OPENAI, text_apply_template, 0},
};

static bool path_fits(const char *pattern, const char *path, const char **rest) {
    const size_t bytes = strlen(pattern);
    *rest = "";
    if (bytes < 2 || pattern[bytes - 1] != '*')
        return strcmp(pattern, path) == 0;
    *rest = path + bytes - 1;
    return strncmp(pattern, path, bytes - 1) == 0 && path[bytes - 1] != '\0';
}

/* NULL when there is none; *other: the path is there, for another method. */
static const struct Route *route_of(const char *method, const char *path, const char **rest, bool *other) {
    *other = false;
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (size_t i = 0; i < COUNT(routes); i++) {
        if (!path_fits(routes[i].path, path, rest))
            continue;
        if (strcmp(routes[i].method, method) == 0)
            return &routes[i];
        *other = true;
    }
    return NULL;
}

/* ---- who may ask ------------------------------------------------------------------------------------------------- */

static bool is_loopback_name(const char *name, size_t bytes) {
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]", "::1"};
    for (size_t i = 0; i < COUNT(names); i++)
        if (strlen(names[i]) == bytes && strncasecmp(names[i], name, bytes) == 0)
            return true;
    return false;
}

/* Of "name:port", "[::1]:port": without the port. */
static size_t name_bytes(const char *host) {
    const char *bracket = host[0] == '[' ? strchr(host, ']') : NULL;
    const char *colon = strchr(bracket != NULL ? bracket : host, ':');
    return colon != NULL ? (size_t)(colon - host) : strlen(host);
}

static bool host_allowed(const Server *s, const char *host) {
    if (host == NULL)
        return false;
    const size_t bytes = name_bytes(host);
    for (int i = 0; i < s->n_host; i++)
        if (strlen(s->hosts[i]) == bytes && strncasecmp(s->hosts[i], host, bytes) == 0)
            return true;
    /* Where keys are asked for, a page that gets here under a name of its own has none. */
    return s->loopback ? is_loopback_name(host, bytes) : s->n_host == 0;
}

static bool origin_allowed(const Server *s, const char *origin, const char *host) {
    for (int i = 0; i < s->n_origin; i++)
        if (strcmp(s->origins[i], "*") == 0 || strcasecmp(s->origins[i], origin) == 0)
            return true;
    const char *name = strstr(origin, "://");
    if (name == NULL)
        return false;
    name += 3;
    return (host != NULL && strcasecmp(name, host) == 0) || (s->loopback && is_loopback_name(name, name_bytes(name)));
}

static const char *key_of(const HttpCall *http) {
    const char *bearer = http_header(http, "Authorization");
    if (bearer != NULL && strncasecmp(bearer, "Bearer ", 7) == 0)
        return bearer + 7;
    return http_header(http, "x-api-key");
}

static Status check_origin(ApiCall *call, Error *err) {
    const Server *s = call->server;
    const char *host = http_header(call->http, "Host"), *origin = http_header(call->http, "Origin");
    if (!host_allowed(s, host)) {
        call->code = "host_not_allowed";
        return error_set(err, ERR_DENIED,
                         "the Host header names a host that this server is not known by (--allow-host adds it)");
    }
    if (origin == NULL)
        return OK;
    if (!origin_allowed(s, origin, host)) {
        call->code = "origin_not_allowed";
        return error_set(err, ERR_DENIED, "web pages of this origin may not use this server (--allow-origin adds it)");
    }
    http_add_header(call->http, "Access-Control-Allow-Origin", origin);
    http_add_header(call->http, "Vary", "Origin");
    return OK;
}

static Status check_key(ApiCall *call, unsigned flags, Error *err) {
    if ((flags & OPEN) != 0)
        return OK;
    const Status status = keys_admit(call->server->keys, key_of(call->http), &call->caller, &call->retry_s, err);
    if (status == ERR_DENIED)
        call->http_status = 401;
    if (status == ERR_BUSY) {
        call->http_status = 429;
        call->code = "rate_limit_exceeded";
    }
    TRY(status);
    FAIL_IF((flags & ADMIN) != 0 && !call->caller.admin, ERR_DENIED, "this key may not change which models there are");
    return OK;
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static void preflight(ApiCall *call) {
    Text nothing = {0};
    http_add_header(call->http, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    const char *headers = http_header(call->http, "Access-Control-Request-Headers");
    http_add_header(call->http, "Access-Control-Allow-Headers", headers != NULL ? headers : "*");
    http_add_header(call->http, "Access-Control-Max-Age", "600");
    http_reply(call->http, 204, NULL, &nothing);
}

/* The route decides in which form even refusals are told, so it comes first; who asks is checked before it is used. */
static Status admit(ApiCall *call, Error *err) {
    const char *method = http_method(call->http), *path = http_path(call->http);
    bool other;
    const struct Route *route = route_of(method, path, &call->rest, &other);
    if (route != NULL) {
        call->form = route->form;
        call->handler = route->handler;
        call->route = route->path;
        call->bodiless = (route->flags & BODILESS) != 0;
        call->streams = (route->flags & STREAMS) != 0;
    } else if (strncmp(path, "/api/", 5) == 0)
        call->form = API_OLLAMA;
    TRY(check_origin(call, err));
    if (strcmp(method, "OPTIONS") == 0) {
        preflight(call);
        return OK;
    }
    TRY(check_key(call, route != NULL ? route->flags : 0, err));
    if (atomic_load(&call->server->stopping) && (route == NULL || (route->flags & OPEN) == 0)) {
        call->code = "server_stopping";
        return error_set(err, ERR_BUSY, "the server is being stopped");
    }
    if (route == NULL) {
        call->http_status = other ? 405 : 404;
        call->code = other ? "method_not_allowed" : "unknown_url";
        return error_set(err, ERR_NOT_FOUND,
                         other ? "this method is not possible here" : "there is nothing at this address");
    }
    return (route->flags & UPLOAD) != 0 ? blob_begin(call, err) : OK;
}

static void on_admit(void *user, HttpCall *http) {
    Server *s = user;
    ApiCall *call = mem_zalloc(sizeof *call, MEM_NETWORK);
    if (call == NULL) {
        Text nothing = {0};
        http_reply(http, 503, NULL, &nothing);
        return;
    }
    call->server = s;
    call->http = http;
    call->references = 1;
    call->route = "none";
    call->rest = "";
    call->began_us = http_began_us(http);
    call->id = atomic_fetch_add(&s->next_id, 1);
    for (int i = 0; i < TIMING_COUNT; i++)
        call->counts.seconds[i] = -1;
    *http_state(http) = call;
    snprintf(call->request_id, sizeof call->request_id, "req_%08llx%08llx", (unsigned long long)s->began_unix & 0xffffffff,
             (unsigned long long)call->id & 0xffffffff);
    http_add_header(http, "X-Request-Id", call->request_id);
    http_add_header(http, "X-Content-Type-Options", "nosniff");
    if (call->caller.id == 0) /* those without a key are told apart by their addresses */
        call->caller.id = hash_bytes(http_address(http), strlen(http_address(http)));
    Error err = {0};
    const Status status = admit(call, &err);
    if (status != OK)
        api_reply_error(call, status, &err);
}

static void on_answer(void *user, HttpCall *http) {
    ApiCall *call = *http_state(http);
    const Text *body = http_body(http);
    Error err = {0};
    Status status = OK;
    (void)user;
    const bool expected = strcmp(http_method(http), "POST") == 0 && !call->bodiless;
    if (call->upload == NULL && (expected || body->count > 0)) {
        status = json_parse(body->bytes != NULL ? body->bytes : "", body->count, "the body", false, &call->body, &err);
        if (status != OK)
            call->code = "invalid_json";
        if (status == OK && !json_is_object(call->body))
            status = error_set(&err, ERR_ARGUMENT, "the body must be a JSON object");
        if (status == ERR_FORMAT || status == ERR_LIMIT)
            call->http_status = 400;
    }
    if (status == OK)
        status = call->handler(call, &err);
    if (api_wait(call))
        return;
    if (status != OK && !http_replied(http))
        api_reply_error(call, status, &err);
}

static void on_finished(void *user, HttpCall *http) {
    ApiCall *call = *http_state(http);
    (void)user;
    if (call == NULL)
        return;
    call->status = http_status(http);
    call->sent = http_sent_bytes(http);
    call->http = NULL;
    api_release(call);
}

static void on_notice(void *user, const char *event, const char *model, uint64_t us, uint64_t bytes, const char *text) {
    const Server *s = user;
    char time[32];
    if (s->spec.log == NULL)
        return;
    iso_time(unix_seconds(), time);
    json_t *line = json_pack("{s:s, s:s, s:s, s:f, s:I}", "time", time, "event", event, "model", model, "ms",
                             (double)us / 1000, "memory_bytes", (json_int_t)bytes);
    if (text[0] != '\0' && utf8_valid(text, strlen(text)))
        json_object_set_new(line, "text", json_string(text));
    api_log(s, line);
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

static Status copy_texts(const char *const *texts, int n, char ***copies, int *n_copy, Error *err) {
    *copies = mem_array((size_t)n + 1, sizeof **copies, MEM_MISC);
    FAIL_IF(*copies == NULL, ERR_MEMORY, "no memory for the server");
    for (int i = 0; i < n; i++) {
        (*copies)[i] = mem_strdup(texts[i], MEM_MISC);
        FAIL_IF((*copies)[i] == NULL, ERR_MEMORY, "no memory for the server");
        (*n_copy)++;
    }
    return OK;
}

static Status check_spec(const ServerSpec *spec, bool loopback, Error *err) {
    FAIL_IF(!loopback && spec->keys == NULL, ERR_DENIED,
            "listening on %s lets other machines in: that needs API keys (--keys FILE; 'houle serve --keys FILE "
            "--make-key NAME' makes one)",
            spec->host);
    FAIL_IF((spec->certificate == NULL) != (spec->key == NULL), ERR_ARGUMENT,
            "TLS needs both a certificate and its key");
    FAIL_IF(spec->body_bytes < 1024 || spec->header_bytes < 4096, ERR_ARGUMENT, "limits too small for any request");
    return OK;
}

/* Models that clients have made. One whose base has gone is there again when that is. */
static Status open_presets(Server *s, Error *err) {
    const char *name;
    json_t *presets, *preset;
    TRY(archive_presets(s->archive, &presets, err));
    json_object_foreach(presets, name, preset) {
        Error own = {0};
        if (registry_set_preset(s->registry, name, preset, &own) != OK)
            on_notice(s, "preset_failed", name, 0, 0, own.text);
    }
    json_decref(presets);
    return OK;
}

static Status open_parts(Server *s, Error *err) {
    TRY(copy_texts(s->spec.hosts, s->spec.n_host, &s->hosts, &s->n_host, err));
    TRY(copy_texts(s->spec.origins, s->spec.n_origin, &s->origins, &s->n_origin, err));
    TRY(metrics_open(&s->metrics, err));
    TRY(keys_open(s->spec.keys, &s->keys, err));
    TRY(archive_open(&s->spec.archive, &s->archive, err));
    TRY(response_jobs_open(&s->jobs, err));
    TRY(facts_open(&s->facts, err));
    RegistrySpec registry = s->spec.registry;
    registry.notice = on_notice;
    registry.user = s;
    if (registry.memory_bytes == 0) { /* leave a tenth for everything else on the machine */
        const Machine machine = fit_machine();
        registry.memory_bytes = machine.available_bytes / 10 * 9;
    }
    TRY(registry_open(&registry, &s->registry, err));
    return open_presets(s, err);
}

static Status listen_now(Server *s, Error *err) {
    char *certificate = NULL, *key = NULL;
    Status status = OK;
    if (s->spec.certificate != NULL)
        status = file_read(s->spec.certificate, PEM_BYTES, &certificate, NULL, err);
    if (status == OK && s->spec.key != NULL)
        status = file_read(s->spec.key, PEM_BYTES, &key, NULL, err);
    const HttpSpec http = {.host = s->spec.host,
                           .port = s->spec.port,
                           .certificate = certificate,
                           .key = key,
                           .body_bytes = s->spec.body_bytes,
                           .header_bytes = s->spec.header_bytes,
                           .connections = s->spec.connections,
                           .connections_per_address = s->spec.connections_per_address,
                           .idle_seconds = s->spec.idle_seconds,
                           .admit = on_admit,
                           .answer = on_answer,
                           .finished = on_finished,
                           .user = s};
    if (status == OK)
        status = http_open(&http, &s->http, err);
    mem_free(certificate);
    if (key != NULL)
        explicit_bzero(key, strlen(key));
    mem_free(key);
    return status;
}

Status server_open(const ServerSpec *spec, Server **out, Error *err) {
    *out = NULL;
    const bool loopback = is_loopback_name(spec->host, strlen(spec->host));
    TRY(check_spec(spec, loopback, err));
    json_setup();
    Server *s = mem_zalloc(sizeof *s, MEM_MISC);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for the server");
    s->spec = *spec;
    s->loopback = loopback;
    s->began_us = clock_us();
    s->began_unix = unix_seconds();
    Status status = open_parts(s, err);
    if (status == OK)
        status = listen_now(s, err);
    if (status == OK) {
        Text url = {0};
        const bool v6 = strchr(spec->host, ':') != NULL;
        text_append_format(&url, "%s://%s%s%s:%d", spec->certificate != NULL ? "https" : "http", v6 ? "[" : "",
                           spec->host, v6 ? "]" : "", http_port(s->http));
        s->url = text_take(&url);
        if (s->url == NULL)
            status = error_set(err, ERR_MEMORY, "no memory for the server");
    }
    if (status != OK) {
        server_close(s);
        return status;
    }
    *out = s;
    return OK;
}

Registry *server_registry(Server *s) {
    return s->registry;
}

const char *server_url(const Server *s) {
    return s->url;
}

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

void server_drain(Server *s, int seconds) {
    const uint64_t until = clock_us() + (uint64_t)seconds * 1000000;
    atomic_store(&s->stopping, true);
    http_quiesce(s->http);
    while ((http_active(s->http) > 0 || response_jobs_running(s->jobs) > 0) && clock_us() < until)
        nap();
}

void server_close(Server *s) {
    if (s == NULL)
        return;
    atomic_store(&s->stopping, true);
    atomic_store(&s->cancelling, true);
    if (s->registry != NULL)
        registry_stop(s->registry);
    if (s->http != NULL) {
        http_quiesce(s->http);
        for (int i = 0; i < 250 && http_active(s->http) > 0;
             i++) /* those that wait for tokens look up within half a second */
            nap();
    }
    http_close(s->http);
    response_jobs_close(s->jobs);
    facts_close(s->facts);
    archive_close(s->archive);
    registry_close(s->registry);
    keys_close(s->keys);
    metrics_close(s->metrics);
    for (int i = 0; i < s->n_host; i++)
        mem_free(s->hosts[i]);
    for (int i = 0; i < s->n_origin; i++)
        mem_free(s->origins[i]);
    mem_free(s->hosts);
    mem_free(s->origins);
    mem_free(s->url);
    mem_free(s);
}
