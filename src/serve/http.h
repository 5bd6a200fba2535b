/* http.h - HTTP as the server sees it: whole requests in, whole or streamed replies out. libmicrohttpd does the wire.
 *
 * Each connection has a thread of its own, so answering may block: on a model that is being loaded, on the next token.
 * What bounds it is the number of connections, in all and from one address. A reply's bytes are asked for when the
 * socket takes them, so a slow reader slows nobody else.
 *
 *     head arrives -> admit (credentials, sizes) -> body arrives -> answer -> bytes leave -> finished */
#ifndef HOULE_SERVE_HTTP_H
#define HOULE_SERVE_HTTP_H

#include "base/text.h"

typedef struct HttpServer HttpServer;
typedef struct HttpCall HttpCall;

typedef struct HttpSpec {
    const char *host;                /* an address or a name of this machine */
    int port;                        /* 0: any that is free (http_port tells) */
    const char *certificate, *key;   /* PEM texts: TLS; NULL = none */
    size_t body_bytes, header_bytes; /* at most */
    int connections, connections_per_address;
    int idle_seconds; /* a connection on which nothing moves for so long is closed */
    /* The head is there. Answer at once (a refusal) or do nothing and get the body. */
    void (*admit)(void *user, HttpCall *call);
    /* The request is whole: one of the replies below must be given. */
    void (*answer)(void *user, HttpCall *call);
    /* The reply has left, or the client has; http_state is to be freed here. */
    void (*finished)(void *user, HttpCall *call);
    void *user;
} HttpSpec;

/* Listens and answers from now on. The spec's texts are not kept. ERR_IO when the address cannot be had. */
Status http_open(const HttpSpec *spec, HttpServer **server, Error *err);
/* No more connections are taken; those that are there go on. */
void http_quiesce(HttpServer *server);
/* Closes all connections and waits for their threads. What blocks them must have been ended before. */
void http_close(HttpServer *server);
int http_port(const HttpServer *server);
/* Requests whose answer has not left yet. */
int http_active(HttpServer *server);

/* ---- the request ------------------------------------------------------------------------------------------------- */

const char *http_method(const HttpCall *call);
const char *http_path(const HttpCall *call);                     /* decoded, without the query */
const char *http_header(const HttpCall *call, const char *name); /* NULL = not there */
const char *http_query(const HttpCall *call, const char *name);
const Text *http_body(const HttpCall *call);
/* The client's address, for logs: "127.0.0.1", "::1". */
const char *http_address(const HttpCall *call);
/* The socket, to wait for the client's leaving (POLLRDHUP); never to read from or write to. */
int http_socket(const HttpCall *call);
/* A place for the server's own. */
void **http_state(HttpCall *call);

/* For use in `admit`: the body goes to `take` piece by piece and is not kept; at most so many bytes of it. False from
 * `take` closes the connection. */
void http_take_upload(HttpCall *call, uint64_t most_bytes, bool (*take)(void *user, const char *bytes, size_t count),
                      void *user);

/* ---- the reply --------------------------------------------------------------------------------------------------- */

/* A header of the reply that follows. Values with line breaks are left out. */
void http_add_header(HttpCall *call, const char *name, const char *value);
/* Replies with these bytes; takes the text, also on failure. */
void http_reply(HttpCall *call, int status, const char *type, Text *body);

/* Where a streamed reply comes from. */
typedef struct HttpSource {
    /* Appends the next bytes, blocking until there are any. False: this was the end. */
    bool (*next)(void *user, Text *out);
    void (*close)(void *user); /* always called, once */
    void *user;
} HttpSource;
void http_stream(HttpCall *call, int status, const char *type, HttpSource source);

bool http_replied(const HttpCall *call);
int http_status(const HttpCall *call); /* of the reply */
uint64_t http_sent_bytes(const HttpCall *call);
uint64_t http_began_us(const HttpCall *call); /* of clock_us */

#endif
