/* page.c - GET / and /page/FILE: the page, for browsers.
 *
 * The files hold no secrets and are given to anybody; what the page asks of the API is checked like everything else. A
 * browser keeps them and asks each time whether they are still the same (ETag): answers to that have no body, and an
 * updated server is noticed at once. Programs that ask for "/" only to see who is there get a line of text. */
#include "serve/page.h"

#include "serve/api.h"

#include <string.h>

/* Nothing but the server's own files is loaded, run or talked to; no page may frame this one. */
static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                             "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const PageFile *find_file(const char *name) {
    for (size_t i = 0; i < page_file_count; i++)
        if (strcmp(page_files[i].name, name) == 0)
            return &page_files[i];
    return NULL;
}

static bool has_already(const HttpCall *http, const PageFile *file) {
    const char *known = http_header(http, "If-None-Match");
    return known != NULL && (strcmp(known, "*") == 0 || strstr(known, file->tag) != NULL);
}

static Status reply_file(ApiCall *call, const PageFile *file) {
    HttpCall *http = call->http;
    Text body = {0};
    http_add_header(http, "Content-Security-Policy", policy);
    http_add_header(http, "Referrer-Policy", "no-referrer");
    http_add_header(http, "Cross-Origin-Resource-Policy", "same-origin");
    http_add_header(http, "Cache-Control", "no-cache");
    http_add_header(http, "ETag", file->tag);
    if (has_already(http, file)) {
        http_reply(http, 304, NULL, &body);
        return OK;
    }
    text_append(&body, (const char *)file->bytes, file->count);
    http_reply(http, 200, file->type, &body);
    return OK;
}

Status page_front(ApiCall *call, Error *err) {
    const char *accept = http_header(call->http, "Accept");
    const PageFile *index = find_file("index.html");
    Text text = {0};
    FAIL_IF(index == NULL, ERR_NOT_FOUND, "this build carries no page");
    http_add_header(call->http, "Vary", "Accept");
    if (accept != NULL && strstr(accept, "text/html") != NULL)
        return reply_file(call, index);
    text_append_format(&text, "houle %s is running. Its models: /v1/models\n", call->server->spec.version);
    http_reply(call->http, 200, "text/plain; charset=utf-8", &text);
    return OK;
}

Status page_file(ApiCall *call, Error *err) {
    const PageFile *file = find_file(call->rest);
    if (file == NULL) {
        call->code = "unknown_url";
        return error_set(err, ERR_NOT_FOUND, "the page has no such file");
    }
    return reply_file(call, file);
}
