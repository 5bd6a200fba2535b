/* http.c - see http.h.
 *
 * The library counts a connection as idle while our callbacks block, so its timeout is put off around them. */
#include "serve/http.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CALL_HEADERS = 12, STREAM_BLOCK_BYTES = 16384, STACK_BYTES = 1 << 20 };

struct HttpServer {
    struct MHD_Daemon *daemon;
    HttpSpec spec;
    int port;
    atomic_bool quiet;
    int old_socket; /* after quiescing it is ours to close */
    atomic_int active;
};

typedef struct ReplyHeader {
    const char *name;
    char value[256];
} ReplyHeader;

struct HttpCall {
    HttpServer *server;
    struct MHD_Connection *connection;
    const char *method, *path;
    Text body;
    bool (*take)(void *user, const char *bytes, size_t count); /* of an upload; NULL: the body is kept */
    void *take_user;
    uint64_t body_most, received;
    bool too_large, replied, counted;
    int status;
    enum MHD_Result queued;
    uint64_t began_us;
    atomic_uint_fast64_t sent;
    ReplyHeader headers[CALL_HEADERS];
    int n_header;
    char address[INET6_ADDRSTRLEN];
    void *state;
};

/* A reply that is being streamed. It may outlive the call's last callback by a moment. */
typedef struct Stream {
    HttpSource source;
    HttpCall *call;
    Text pending;
    size_t given;
    bool ended;
} Stream;

/* ---- the request ------------------------------------------------------------------------------------------------- */

const char *http_method(const HttpCall *call) {
    return call->method;
}

const char *http_path(const HttpCall *call) {
    return call->path;
}

const char *http_header(const HttpCall *call, const char *name) {
    return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
}

const char *http_query(const HttpCall *call, const char *name) {
    return MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, name);
}

const Text *http_body(const HttpCall *call) {
    return &call->body;
}

const char *http_address(const HttpCall *call) {
    return call->address;
}

int http_socket(const HttpCall *call) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info != NULL ? (int)info->connect_fd : -1;
}

void http_take_upload(HttpCall *call, uint64_t most_bytes, bool (*take)(void *user, const char *bytes, size_t count),
                      void *user) {
    call->take = take;
    call->take_user = user;
    call->body_most = most_bytes;
}

void **http_state(HttpCall *call) {
    return &call->state;
}

bool http_replied(const HttpCall *call) {
    return call->replied;
}

int http_status(const HttpCall *call) {
    return call->status;
}

uint64_t http_sent_bytes(const HttpCall *call) {
    return atomic_load(&call->sent);
}

uint64_t http_began_us(const HttpCall *call) {
    return call->began_us;
}

static void find_address(HttpCall *call) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
    if (address != NULL && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, call->address,
                  sizeof call->address);
    else if (address != NULL && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, call->address,
                  sizeof call->address);
}

/* ---- the reply --------------------------------------------------------------------------------------------------- */

void http_add_header(HttpCall *call, const char *name, const char *value) {
    if (call->n_header == CALL_HEADERS || strpbrk(value, "\r\n") != NULL ||
        strlen(value) >= sizeof call->headers[0].value)
        return;
    ReplyHeader *h = &call->headers[call->n_header++];
    h->name = name;
    memcpy(h->value, value, strlen(value) + 1);
}

/* Time that passed in our code does not count as the client's idleness. */
static void restart_timeout(HttpCall *call) {
    MHD_set_connection_option(call->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    MHD_set_connection_option(call->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                              (unsigned)call->server->spec.idle_seconds);
}

static void queue(HttpCall *call, int status, const char *type, struct MHD_Response *response) {
    call->replied = true;
    call->status = status;
    if (type != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    for (int i = 0; i < call->n_header; i++)
        MHD_add_response_header(response, call->headers[i].name, call->headers[i].value);
    if (atomic_load(&call->server->quiet))
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    restart_timeout(call);
    call->queued = MHD_queue_response(call->connection, (unsigned)status, response);
    MHD_destroy_response(response);
}

void http_reply(HttpCall *call, int status, const char *type, Text *body) {
    static char nothing[1];
    if (body->failed) { /* no memory for the reply: the connection is closed without one */
        text_free(body);
        call->replied = true;
        call->queued = MHD_NO;
        return;
    }
    const size_t bytes = body->count;
    char *content = bytes > 0 ? text_take(body) : NULL;
    text_free(body);
    struct MHD_Response *response = content != NULL
                                        ? MHD_create_response_from_buffer_with_free_callback(bytes, content, mem_free)
                                        : MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        mem_free(content);
        call->replied = true;
        call->queued = MHD_NO;
        return;
    }
    atomic_store(&call->sent, bytes);
    queue(call, status, type, response);
}

static ssize_t read_stream(void *user, uint64_t position, char *buffer, size_t most) {
    Stream *s = user;
    (void)position;
    while (s->given == s->pending.count) {
        if (s->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        text_clear(&s->pending);
        s->given = 0;
        s->ended = !s->source.next(s->source.user, &s->pending);
        restart_timeout(s->call);
        if (s->pending.failed)
            return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    const size_t bytes = MIN(most, s->pending.count - s->given);
    memcpy(buffer, s->pending.bytes + s->given, bytes);
    s->given += bytes;
    atomic_fetch_add(&s->call->sent, bytes);
    return (ssize_t)bytes;
}

static void free_stream(void *user) {
    Stream *s = user;
    s->source.close(s->source.user);
    text_free(&s->pending);
    mem_free(s);
}

void http_stream(HttpCall *call, int status, const char *type, HttpSource source) {
    Stream *s = mem_zalloc(sizeof *s, MEM_NETWORK);
    struct MHD_Response *response = NULL;
    if (s != NULL) {
        *s = (Stream){.source = source, .call = call};
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, s, free_stream);
    }
    if (response == NULL) {
        source.close(source.user);
        mem_free(s);
        call->replied = true;
        call->queued = MHD_NO;
        return;
    }
    http_add_header(call, "Cache-Control", "no-cache");
    http_add_header(call, "X-Accel-Buffering", "no");
    queue(call, status, type, response);
}

/* ---- what the library calls -------------------------------------------------------------------------------------- */

/* The uri with its escapes: before anything is parsed. */
static void *begin_call(void *user, const char *uri, struct MHD_Connection *connection) {
    (void)uri;
    HttpServer *server = user;
    HttpCall *call = mem_zalloc(sizeof *call, MEM_NETWORK);
    if (call != NULL) {
        call->server = server;
        call->connection = connection;
        call->queued = MHD_NO;
        call->began_us = clock_us();
        find_address(call);
    }
    return call;
}

/* 1 MiB more than allowed is read and thrown away, so that most clients get to see why they were refused. */
static bool take_body(HttpCall *call, const char *bytes, size_t count) {
    call->received += count;
    call->too_large = call->received > call->body_most; /* where no length was stated, it is known only now */
    if (call->too_large)
        return call->received <= call->body_most + (1 << 20);
    return call->take != NULL ? call->take(call->take_user, bytes, count) : text_append(&call->body, bytes, count);
}

static void refuse_size(HttpCall *call) {
    Text text = {0};
    text_append_format(
        &text,
        "{\"error\":{\"message\":\"the body is larger than %zu bytes\",\"type\":\"invalid_request_error\","
        "\"param\":null,\"code\":\"request_too_large\"}}",
        (size_t)call->body_most);
    http_reply(call, 413, "application/json", &text);
}

static enum MHD_Result handle(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_bytes, void **slot) {
    HttpServer *server = user;
    HttpCall *call = *slot;
    (void)connection;
    (void)version;
    if (call == NULL)
        return MHD_NO;
    if (call->method == NULL) { /* the head */
        call->method = method;
        call->path = url;
        call->counted = true;
        atomic_fetch_add(&server->active, 1);
        call->body_most = server->spec.body_bytes;
        server->spec.admit(server->spec.user, call); /* may allow more */
        const char *length = http_header(call, MHD_HTTP_HEADER_CONTENT_LENGTH);
        int64_t bytes;
        if (!call->replied && length != NULL && parse_int64(length, &bytes) && (uint64_t)bytes > call->body_most)
            refuse_size(call);
        return call->replied ? call->queued : MHD_YES;
    }
    if (*upload_bytes > 0) {
        const bool taken = call->replied || take_body(call, upload, *upload_bytes);
        *upload_bytes = 0;
        return taken ? MHD_YES : MHD_NO;
    }
    if (call->replied)
        return MHD_YES;
    if (call->too_large)
        refuse_size(call);
    else
        server->spec.answer(server->spec.user, call);
    return call->replied ? call->queued : MHD_NO;
}

static void end_call(void *user, struct MHD_Connection *connection, void **slot, enum MHD_RequestTerminationCode code) {
    HttpServer *server = user;
    HttpCall *call = *slot;
    (void)connection;
    (void)code;
    *slot = NULL;
    if (call == NULL)
        return;
    if (call->method != NULL)
        server->spec.finished(server->spec.user, call);
    if (call->counted)
        atomic_fetch_sub(&server->active, 1);
    text_free(&call->body);
    mem_free(call);
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

static Status find_host(const HttpSpec *spec, struct sockaddr_storage *address, Error *err) {
    char port[8];
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    FAIL_IF(spec->port < 0 || spec->port > 65535, ERR_ARGUMENT, "port %d: 0 to 65535 are possible", spec->port);
    snprintf(port, sizeof port, "%d", spec->port);
    const int wrong = getaddrinfo(spec->host, port, &hints, &found);
    FAIL_IF(wrong != 0 || found == NULL, ERR_ARGUMENT, "%s: %s", spec->host,
            wrong != 0 ? gai_strerror(wrong) : "no address");
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return OK;
}

Status http_open(const HttpSpec *spec, HttpServer **out, Error *err) {
    *out = NULL;
    struct sockaddr_storage address = {0};
    TRY(find_host(spec, &address, err));
    FAIL_IF(spec->certificate != NULL && MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES, ERR_UNSUPPORTED,
            "this build of libmicrohttpd has no TLS");
    HttpServer *s = mem_zalloc(sizeof *s, MEM_NETWORK);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for the server");
    s->spec = *spec;
    s->old_socket = -1;
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC;
    if (address.ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    struct MHD_OptionItem options[16];
    int n = 0;
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_SOCK_ADDR, 0, &address};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_LIMIT, spec->connections, NULL};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_TIMEOUT, spec->idle_seconds, NULL};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_PER_IP_CONNECTION_LIMIT, spec->connections_per_address, NULL};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)spec->header_bytes, NULL};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_STACK_SIZE, STACK_BYTES, NULL};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)begin_call, s};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)end_call, s};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_LISTENING_ADDRESS_REUSE, 1, NULL};
    if (spec->certificate != NULL) {
        flags |= MHD_USE_TLS;
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)spec->certificate};
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)spec->key};
    }
    options[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    s->daemon =
        MHD_start_daemon(flags, (uint16_t)spec->port, NULL, NULL, handle, s, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (s->daemon == NULL) {
        mem_free(s);
        return error_set(err, ERR_IO,
                         "%s port %d cannot be listened on (taken by another program, not an address of this "
                         "machine%s)",
                         spec->host, spec->port, spec->certificate != NULL ? ", or the certificate is wrong" : "");
    }
    s->spec.certificate = s->spec.key = s->spec.host = NULL;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    s->port = info != NULL ? info->port : spec->port;
    *out = s;
    return OK;
}

void http_quiesce(HttpServer *server) {
    if (atomic_exchange(&server->quiet, true))
        return;
    server->old_socket = (int)MHD_quiesce_daemon(server->daemon);
}

void http_close(HttpServer *server) {
    if (server == NULL)
        return;
    MHD_stop_daemon(server->daemon);
    if (server->old_socket >= 0)
        close(server->old_socket);
    mem_free(server);
}

int http_port(const HttpServer *server) {
    return server->port;
}

int http_active(HttpServer *server) {
    return atomic_load(&server->active);
}
