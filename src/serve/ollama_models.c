/* ollama_models.c - the models as Ollama's clients see them: /api/tags, show, ps, version, pull, copy, delete. */
#include "serve/api.h"

#include "base/clock.h"
#include "base/digest.h"
#include "format/model_files.h"
#include "store/model_name.h"
#include "store/pull.h"
#include "store/store.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

/* ---- tags, ps, version ------------------------------------------------------------------------------------------- */

/* Of where the model lies, how large and how old: the content is not read for a list. */
static json_t *digest_value(const ServedInfo *m) {
    char hex[DIGEST_HEX];
    Text text = {0};
    text_append_format(&text, "%s %llu %lld", m->path != NULL ? m->path : m->name, (unsigned long long)m->file_bytes,
                       (long long)m->modified);
    if (text.failed || digest_of_bytes(DIGEST_SHA256, text.bytes, text.count, hex, NULL) != OK)
        hex[0] = '\0';
    text_free(&text);
    return json_string(hex);
}

static json_t *info_value(const ApiCall *call, const ServedInfo *m) {
    char time[32];
    ModelFacts facts;
    iso_time(m->modified, time);
    facts_of(call->server->facts, m->path, m->modified, m->file_bytes, &facts);
    return json_pack("{s:s, s:s, s:s, s:I, s:o, s:o}", "name", m->name, "model", m->name, "modified_at", time, "size",
                     (json_int_t)m->file_bytes, "digest", digest_value(m), "details", facts_details(&facts));
}

static json_t *running_value(const ApiCall *call, const ServedInfo *m) {
    char time[32];
    json_t *value = info_value(call, m);
    iso_time(m->expires_s >= 0 ? unix_seconds() + m->expires_s : unix_seconds() + (int64_t)100 * 365 * 86400, time);
    json_object_set_new(value, "expires_at", json_string(time));
    json_object_set_new(value, "size", json_integer((json_int_t)(m->weight_bytes + m->run_bytes)));
    json_object_set_new(value, "size_vram", json_integer(0));
    json_object_set_new(value, "context_length", json_integer(m->context));
    return value;
}

static Status list_models(ApiCall *call, bool running, Error *err) {
    ServedList list;
    TRY(registry_list(call->server->registry, &list, err));
    json_t *models = json_array();
    for (size_t i = 0; i < list.count; i++) {
        const ServedInfo *m = &list.items[i];
        if (keys_allow(call->server->keys, &call->caller, m->name) && (!running || m->state == SERVED_READY))
            json_array_append_new(models, running ? running_value(call, m) : info_value(call, m));
    }
    served_list_free(&list);
    return api_reply_json(call, 200, json_pack("{s:o}", "models", models), err);
}

Status ollama_tags(ApiCall *call, Error *err) {
    return list_models(call, false, err);
}

Status ollama_ps(ApiCall *call, Error *err) {
    return list_models(call, true, err);
}

Status ollama_version(ApiCall *call, Error *err) {
    return api_reply_json(call, 200, json_pack("{s:s}", "version", call->server->spec.version), err);
}

/* ---- show -------------------------------------------------------------------------------------------------------- */

static json_t *meta_value(const MetaValue *m) {
    int64_t integer;
    double real;
    if (m->type == META_STRING)
        return json_stringn(m->as.string.bytes, m->as.string.count);
    if (m->type == META_BOOL)
        return json_boolean(m->as.integer != 0);
    if (meta_int(m, &integer))
        return json_integer(integer);
    return meta_real(m, &real) ? json_real(real) : NULL;
}

/* A GGUF's numbers and short texts under their own names; a configuration's context length under the name that clients
 * look for. */
static json_t *model_info(const ModelFiles *files, const ModelFacts *facts) {
    json_t *info = json_object();
    const json_t *config = model_files_config(files);
    for (size_t i = 0; i < model_files_metas(files); i++) {
        const MetaValue *m = model_files_meta(files, i);
        if (m->type == META_ARRAY || starts_with(m->key, "tokenizer.") ||
            (m->type == META_STRING && m->as.string.count > 256))
            continue;
        json_t *value = meta_value(m);
        if (value != NULL)
            json_object_set_new(info, m->key, value);
    }
    const json_t *text =
        json_object_get(config, "text_config") != NULL ? json_object_get(config, "text_config") : config;
    const char *type = json_string_value(json_object_get(text, "model_type"));
    if (type == NULL)
        type = json_string_value(json_object_get(config, "model_type"));
    if (type != NULL) {
        const json_t *length = json_object_get(text, "max_position_embeddings"),
                     *width = json_object_get(text, "hidden_size");
        Text key = {0};
        json_object_set_new(info, "general.architecture", json_string(type));
        text_append_format(&key, "%s.context_length", type);
        if (!key.failed && json_is_integer(length))
            json_object_set(info, key.bytes, (json_t *)(uintptr_t)length);
        text_clear(&key);
        text_append_format(&key, "%s.embedding_length", type);
        if (!key.failed && json_is_integer(width))
            json_object_set(info, key.bytes, (json_t *)(uintptr_t)width);
        text_free(&key);
    }
    if (facts->parameters > 0 && json_object_get(info, "general.parameter_count") == NULL)
        json_object_set_new(info, "general.parameter_count", json_integer((json_int_t)facts->parameters));
    return info;
}

/* Whether it fills texts in stands in its vocabulary, which is too much to look at for a list. */
static json_t *capabilities_of(const ModelFiles *files, const ModelFacts *facts) {
    json_t *list = facts_capabilities(facts);
    Tokenizer *tokenizer = NULL;
    if (tokenizer_open_model(files, &tokenizer, NULL) == OK && fill_marks(tokenizer) != NULL)
        json_array_append_new(list, json_string("insert"));
    tokenizer_close(tokenizer);
    return list;
}

/* "name value" in lines, as their files have it. */
static json_t *parameters_text(const json_t *parameters) {
    const char *key;
    json_t *value, *one;
    size_t i;
    Text text = {0};
    JsonWriter w = {.out = &text};
    json_object_foreach((json_t *)(uintptr_t)parameters, key, value) {
        json_t *list = json_is_array(value) ? json_incref(value) : json_pack("[O]", value);
        json_array_foreach(list, i, one) {
            text_append_format(&text, "%s%-30s ", text.count > 0 ? "\n" : "", key);
            w.comma = false;
            json_write_value(&w, one);
        }
        json_decref(list);
    }
    json_t *result = json_of_text(&text);
    text_free(&text);
    return result;
}

static json_t *shown_value(const ApiCall *call, const char *path, const ModelFiles *files, const ChatTemplate *chat,
                           const json_t *preset) {
    static const char *const as_they_are[] = {"system", "messages", "license"};
    const char *from = json_string_value(json_object_get(preset, "from")),
               *own = json_string_value(json_object_get(preset, "template"));
    int64_t modified, nanoseconds;
    uint64_t bytes;
    char time[32];
    ModelFacts facts;
    registry_stat(path, &modified, &nanoseconds, &bytes);
    facts_of(call->server->facts, path, modified, bytes, &facts);
    json_t *info = model_info(files, &facts), *details = facts_details(&facts);
    const char *template = own != NULL ? own : chat != NULL ? chat_template_text(chat, NULL, NULL) : NULL;
    if (from != NULL)
        json_object_set_new(details, "parent_model", json_string(from));
    if (own != NULL)
        facts_of_template(&facts, own);
    iso_time(modified, time);
    const char *licence = json_string_value(json_object_get(info, "general.license"));
    json_t *value = json_pack("{s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:s}", "license", licence != NULL ? licence : "",
                              "modelfile", "", "parameters", parameters_text(json_object_get(preset, "parameters")),
                              "template", template != NULL ? template : "", "details", details, "model_info", info,
                              "capabilities", capabilities_of(files, &facts), "modified_at", time);
    for (size_t i = 0; i < COUNT(as_they_are); i++)
        if (json_object_get(preset, as_they_are[i]) != NULL)
            json_object_set(value, as_they_are[i], json_object_get(preset, as_they_are[i]));
    return value;
}

/* Reads headers, and the tokenizer: the model need not be in memory. */
Status ollama_show(ApiCall *call, Error *err) {
    Fields f = fields_of(call, call->body);
    const char *name = NULL, *older = NULL;
    bool verbose = false;
    char *known, *path;
    ModelFiles *files;
    ChatTemplate *chat = NULL;
    TRY(field_string(&f, "model", &name, err));
    TRY(field_string(&f, "name", &older, err));
    TRY(field_bool(&f, "verbose", &verbose, err));
    TRY(fields_end(&f, err));
    if (name == NULL)
        name = older;
    if (name == NULL)
        return field_wrong(call, "model", err, "the name of a model is expected");
    TRY(registry_name(call->server->registry, name, &known, &path, err));
    json_t *preset = registry_preset(call->server->registry, name);
    Status status = keys_allow(call->server->keys, &call->caller, known) ||
                            (preset != NULL && keys_allow(call->server->keys, &call->caller, name))
                        ? OK
                        : error_set(err, ERR_DENIED, "this key may not use the model");
    if (status == OK)
        status = model_files_open(path, &files, err);
    if (status == OK) {
        (void)chat_template_open(files, &chat, NULL);
        status = api_reply_json(call, 200, shown_value(call, path, files, chat, preset), err);
        chat_template_close(chat);
        model_files_close(files);
    }
    json_decref(preset);
    mem_free(known);
    mem_free(path);
    return status;
}

/* ---- copy and delete --------------------------------------------------------------------------------------------- */

static Status reply_empty(ApiCall *call) {
    Text nothing = {0};
    http_reply(call->http, 200, NULL, &nothing);
    return OK;
}

/* A copy is another name: the files are there once. */
Status ollama_copy(ApiCall *call, Error *err) {
    Fields f = fields_of(call, call->body);
    const char *source = NULL, *destination = NULL;
    TRY(field_string(&f, "source", &source, err));
    TRY(field_string(&f, "destination", &destination, err));
    TRY(fields_end(&f, err));
    if (source == NULL || destination == NULL)
        return field_wrong(call, source == NULL ? "source" : "destination", err, "a name is expected");
    TRY(registry_alias(call->server->registry, source, destination, err));
    return reply_empty(call);
}

Status ollama_delete(ApiCall *call, Error *err) {
    Fields f = fields_of(call, call->body);
    const char *name = NULL, *older = NULL;
    Text report = {0};
    char *known, *path;
    TRY(field_string(&f, "model", &name, err));
    TRY(field_string(&f, "name", &older, err));
    TRY(fields_end(&f, err));
    if (name == NULL)
        name = older;
    if (name == NULL)
        return field_wrong(call, "model", err, "the name of a model is expected");
    json_t *preset = registry_preset(call->server->registry, name);
    if (registry_drop_preset(call->server->registry, name, &known)) {
        const Status status = known != NULL ? archive_delete_preset(call->server->archive, known, err)
                                            : error_set(err, ERR_MEMORY, "no memory for a name");
        if (status == OK)
            created_delete(call, preset, NULL);
        json_decref(preset);
        mem_free(known);
        TRY(status);
        return reply_empty(call);
    }
    json_decref(preset);
    if (registry_forget(call->server->registry, name))
        return reply_empty(call);
    TRY(registry_name(call->server->registry, name, &known, &path, err));
    Status status = registry_unload(call->server->registry, known, err);
    if (status == OK)
        status = store_remove(known, &report, err);
    if (status == ERR_NOT_FOUND)
        call->http_status = 400; /* it is served, but not the store's to delete */
    text_free(&report);
    mem_free(known);
    mem_free(path);
    TRY(status);
    registry_rescan(call->server->registry);
    return reply_empty(call);
}

/* ---- pull -------------------------------------------------------------------------------------------------------- */

typedef struct Pull {
    ApiCall *call;
    char *name;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    bool stop, done, fresh;
    char what[128];
    uint64_t completed, total;
    Status status;
    Error err;
} Pull;

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total) {
    Pull *p = user;
    pthread_mutex_lock(&p->lock);
    strncpy(p->what, what, sizeof p->what - 1);
    p->completed = done;
    p->total = total;
    p->fresh = true;
    const bool go_on = !p->stop;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return go_on;
}

static void *run_pull(void *user) {
    Pull *p = user;
    const Progress progress = {.report = on_progress, .user = p};
    const PullRequest request = {.what = p->name, .wait = true, .progress = &progress};
    PullResult result;
    Error err = {0};
    const Status status = store_pull(&request, &result, &err);
    if (status == OK) { /* who is told of success can ask for the model */
        pull_result_free(&result);
        registry_rescan(p->call->server->registry);
    }
    pthread_mutex_lock(&p->lock);
    p->status = status;
    p->err = err;
    p->done = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static bool client_left(const Pull *p) {
    struct pollfd socket = {.fd = p->call->http != NULL ? http_socket(p->call->http) : -1, .events = POLLRDHUP};
    return atomic_load(&p->call->server->cancelling) || (socket.fd >= 0 && poll(&socket, 1, 0) > 0);
}

static bool next_progress(void *user, Text *out) {
    Pull *p = user;
    bool more = true;
    while (out->count == 0 && more) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 250000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&p->lock);
        if (!p->done)
            pthread_cond_timedwait(&p->changed, &p->lock, &until);
        if (client_left(p)) {
            p->stop = true;
            more = false;
        } else if (p->done) {
            more = false;
            ndjson_append(out, p->status == OK ? json_pack("{s:s}", "status", "success")
                                               : api_error_value(p->call, p->status, &p->err));
        } else if (p->fresh) {
            ndjson_append(out, json_pack("{s:s, s:s, s:I, s:I}", "status", p->what, "digest", p->what, "total",
                                         (json_int_t)p->total, "completed", (json_int_t)p->completed));
        }
        p->fresh = false;
        pthread_mutex_unlock(&p->lock);
    }
    return more;
}

static void close_pull(void *user) {
    Pull *p = user;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    api_release(p->call);
    mem_free(p->name);
    mem_free(p);
}

static Status wait_for_pull(Pull *p, Error *err) {
    Text out = {0};
    while (next_progress(p, &out))
        text_clear(&out);
    text_free(&out);
    FAIL_IF(!p->done, ERR_CANCELLED, "the client has left");
    FAIL_IF(p->status != OK, p->status, "%s", p->err.text);
    return api_reply_json(p->call, 200, json_pack("{s:s}", "status", "success"), err);
}

Status ollama_pull(ApiCall *call, Error *err) {
    Fields f = fields_of(call, call->body);
    const char *name = NULL, *older = NULL;
    bool stream = true, insecure = false;
    TRY(field_string(&f, "model", &name, err));
    TRY(field_string(&f, "name", &older, err));
    TRY(field_bool(&f, "stream", &stream, err));
    TRY(field_bool(&f, "insecure", &insecure, err));
    TRY(fields_end(&f, err));
    if (name == NULL)
        name = older;
    if (name == NULL || !model_name_possible(name)) /* no addresses, no paths of this machine */
        return field_wrong(call, "model", err, "the name of a model on the hub is expected: OWNER/NAME");
    if (insecure)
        return field_wrong(call, "insecure", err, "not possible here");
    Pull *p = mem_zalloc(sizeof *p, MEM_NETWORK);
    FAIL_IF(p == NULL, ERR_MEMORY, "no memory for a download");
    p->call = call;
    p->name = mem_strdup(name, MEM_NETWORK);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    if (p->name == NULL || pthread_create(&p->thread, NULL, run_pull, p) != 0) {
        mem_free(p->name);
        mem_free(p);
        return error_set(err, ERR_MEMORY, "no memory for a download");
    }
    api_hold(call);
    if (stream) {
        http_stream(call->http, 200, "application/x-ndjson",
                    (HttpSource){.next = next_progress, .close = close_pull, .user = p});
        return OK;
    }
    const Status status = wait_for_pull(p, err);
    close_pull(p);
    return status;
}
