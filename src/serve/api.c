/* api.c - see api.h: replies, errors, fields. */
#include "serve/api.h"

#include "base/clock.h"
#include "format/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- replies ----------------------------------------------------------------------------------------------------- */

void api_stream(ApiCall *call, const char *type, HttpSource source) {
    if (call->late != NULL)
        call->late->stream = source;
    else
        http_stream(call->http, 200, type, source);
}

void api_reply(ApiCall *call, int status, const char *type, Text *body) {
    if (call->late == NULL) {
        http_reply(call->http, status, type, body);
        return;
    }
    text_free(&call->late->whole);
    call->late->whole = *body;
    *body = (Text){0};
}

Status api_reply_json(ApiCall *call, int status, json_t *value, Error *err) {
    Text text = {0};
    JsonWriter w = {.out = &text};
    if (call->reshape != NULL && status == 200 && value != NULL)
        value = call->reshape(call, value);
    FAIL_IF(value == NULL, ERR_MEMORY, "no memory for the reply");
    if (call->warnings != NULL && json_is_object(value))
        json_object_set(value, "warnings", call->warnings);
    json_write_value(&w, value);
    text_append_char(&text, '\n');
    json_decref(value);
    api_reply(call, status, "application/json", &text);
    return OK;
}

int api_error_status(const ApiCall *call, Status status) {
    if (call->http_status != 0)
        return call->http_status;
    switch (status) {
    case ERR_ARGUMENT:
    case ERR_FORMAT:
    case ERR_UNSUPPORTED:
    case ERR_LIMIT:
        return 400;
    case ERR_DENIED:
        return 403;
    case ERR_NOT_FOUND:
        return 404;
    case ERR_BUSY:
    case ERR_CANCELLED: /* the server is being stopped, or nobody is there to read this */
    case ERR_MEMORY:
        return 503;
    case ERR_NETWORK:
        return 502;
    default:
        return 500;
    }
}

static const char *error_type(const ApiCall *call, int status) {
    if (call->form == API_ANTHROPIC)
        return status == 400   ? "invalid_request_error"
               : status == 401 ? "authentication_error"
               : status == 403 ? "permission_error"
               : status == 404 ? "not_found_error"
               : status == 413 ? "request_too_large"
               : status == 429 ? "rate_limit_error"
               : status == 503 ? "overloaded_error"
                               : "api_error";
    return status == 401   ? "authentication_error"
           : status == 403 ? "permission_error"
           : status == 404 ? "not_found_error"
           : status == 429 ? "rate_limit_error"
           : status < 500  ? "invalid_request_error"
           : status == 503 ? "overloaded_error"
                           : "server_error";
}

json_t *api_error_value(const ApiCall *call, Status status, const Error *err) {
    const int http = api_error_status(call, status);
    const char *type = error_type(call, http), *text = err->text[0] != '\0' ? err->text : status_word(status);
    const char *code = call->code != NULL ? call->code : http == 401 ? "invalid_api_key" : status_word(status);
    /* Messages may quote what strangers sent. */
    const bool good = utf8_valid(text, strlen(text));
    if (!good)
        text = "the request is not valid UTF-8";
    if (call->form == API_OLLAMA)
        return json_pack("{s:s, s:s, s:s*}", "error", text, "code", code, "param", call->param);
    if (call->form == API_ANTHROPIC)
        return json_pack("{s:s, s:{s:s, s:s, s:s, s:s*}, s:s}", "type", "error", "error", "type", type, "message", text,
                         "code", code, "param", call->param, "request_id", call->request_id);
    return json_pack("{s:{s:s, s:s, s:s?, s:s}}", "error", "message", text, "type", type, "param", call->param, "code",
                     code);
}

void api_reply_error(ApiCall *call, Status status, const Error *err) {
    const int http = api_error_status(call, status);
    Error none = {0};
    if (http == 503 || http == 429) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", call->retry_s > 0 ? call->retry_s : 5);
        http_add_header(call->http, "Retry-After", seconds);
    }
    if (http == 401)
        http_add_header(call->http, "WWW-Authenticate", "Bearer");
    memcpy(call->error, err->text, sizeof call->error);
    json_decref(call->warnings);
    call->warnings = NULL;
    if (api_reply_json(call, http, api_error_value(call, status, err), &none) != OK) {
        Text nothing = {0};
        http_reply(call->http, 500, NULL, &nothing);
    }
}

void ndjson_append(Text *out, json_t *value) {
    JsonWriter w = {.out = out};
    if (value == NULL)
        out->failed = true;
    else
        json_write_value(&w, value);
    text_append_char(out, '\n');
    json_decref(value);
}

void sse_append(Text *out, const char *event, json_t *value) {
    if (event != NULL)
        text_append_format(out, "event: %s\n", event);
    text_append_str(out, "data: ");
    ndjson_append(out, value);
    text_append_char(out, '\n');
}

void api_warn(ApiCall *call, const char *format, ...) {
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (call->warnings == NULL)
        call->warnings = json_array();
    json_array_append_new(call->warnings, json_string(text));
}

void api_make_id(ApiCall *call, const char *prefix, char id[64]) {
    const uint64_t number = atomic_fetch_add(&call->server->next_id, 1);
    snprintf(id, 64, "%s%08llx%08llx", prefix, (unsigned long long)call->server->began_unix & 0xffffffff,
             (unsigned long long)number & 0xffffffff);
}

int64_t unix_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

void iso_time(int64_t seconds, char text[32]) {
    const time_t at = (time_t)seconds;
    struct tm tm;
    if (gmtime_r(&at, &tm) == NULL || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        memcpy(text, "1970-01-01T00:00:00Z", 21);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

Fields fields_of(ApiCall *call, const json_t *object) {
    return (Fields){.call = call, .object = object};
}

const json_t *field(Fields *f, const char *name) {
    if (f->n_read < FIELDS_MAX)
        f->read[f->n_read++] = name;
    const json_t *value = json_object_get(f->object, name);
    return json_is_null(value) ? NULL : value;
}

Status field_wrong(ApiCall *call, const char *name, Error *err, const char *format, ...) {
    char text[ERROR_TEXT_BYTES / 2];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    const size_t bytes = MIN(strlen(name), sizeof call->param_text - 1);
    memcpy(call->param_text, name, bytes);
    call->param_text[utf8_complete_prefix(name, bytes)] = '\0';
    call->param = call->param_text;
    return error_set(err, ERR_ARGUMENT, "'%s': %s", call->param_text, text);
}

Status field_bool(Fields *f, const char *name, bool *value, Error *err) {
    const json_t *v = field(f, name);
    if (v == NULL)
        return OK;
    if (!json_is_boolean(v))
        return field_wrong(f->call, name, err, "true or false is expected");
    *value = json_is_true(v);
    return OK;
}

Status field_int(Fields *f, const char *name, int64_t least, int64_t most, int64_t *value, Error *err) {
    const json_t *v = field(f, name);
    if (v == NULL)
        return OK;
    const double real = json_number_value(v);
    if (!json_is_number(v) || !(real >= -9e15 && real <= 9e15) || (double)(int64_t)real != real)
        return field_wrong(f->call, name, err, "a whole number is expected");
    const int64_t number = json_is_integer(v) ? json_integer_value(v) : (int64_t)real;
    if (number < least || number > most)
        return field_wrong(f->call, name, err, "%lld is out of range: %lld to %lld are possible", (long long)number,
                           (long long)least, (long long)most);
    *value = number;
    return OK;
}

Status field_real(Fields *f, const char *name, double least, double most, float *value, Error *err) {
    const json_t *v = field(f, name);
    if (v == NULL)
        return OK;
    const double number = json_number_value(v);
    if (!json_is_number(v))
        return field_wrong(f->call, name, err, "a number is expected");
    if (!(number >= least && number <= most))
        return field_wrong(f->call, name, err, "%g is out of range: %g to %g are possible", number, least, most);
    *value = (float)number;
    return OK;
}

Status field_string(Fields *f, const char *name, const char **value, Error *err) {
    const json_t *v = field(f, name);
    if (v == NULL)
        return OK;
    if (!json_is_string(v))
        return field_wrong(f->call, name, err, "a text is expected");
    if (strlen(json_string_value(v)) != json_string_length(v))
        return field_wrong(f->call, name, err, "the text contains \\u0000");
    *value = json_string_value(v);
    return OK;
}

Status field_array(Fields *f, const char *name, const json_t **value, Error *err) {
    const json_t *v = field(f, name);
    if (v == NULL)
        return OK;
    if (!json_is_array(v))
        return field_wrong(f->call, name, err, "an array is expected");
    *value = v;
    return OK;
}

Status field_object(Fields *f, const char *name, const json_t **value, Error *err) {
    const json_t *v = field(f, name);
    if (v == NULL)
        return OK;
    if (!json_is_object(v))
        return field_wrong(f->call, name, err, "an object is expected");
    *value = v;
    return OK;
}

void fields_ignore(Fields *f, const char *const *names) {
    for (; *names != NULL; names++)
        (void)field(f, *names);
}

Status fields_end(Fields *f, Error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)f->object, key, value) {
        bool read = json_is_null(value);
        for (int i = 0; i < f->n_read && !read; i++)
            read = strcmp(f->read[i], key) == 0;
        if (read)
            continue;
        f->call->code = "unsupported_parameter";
        return field_wrong(f->call, key, err, "this server does not support the field here");
    }
    return OK;
}
