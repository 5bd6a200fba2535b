/* server.h - the server as a whole: what `houle serve` starts and stops. docs/serve.md describes what it answers. */
#ifndef HOULE_SERVE_SERVER_H
#define HOULE_SERVE_SERVER_H

#include "serve/registry.h"
#include "serve/archive.h"

typedef struct Server Server;

typedef struct ServerSpec {
    const char *host; /* anything but this machine's loopback needs keys */
    int port;
    const char *certificate, *key; /* files (PEM): TLS */
    const char *keys;              /* file of API keys; NULL = none asked for */
    const char *const *hosts;      /* names by which clients may call this server, beside the address it listens on */
    int n_host;
    const char *const *origins; /* web pages that may use it: "https://chat.example"; "*" = all */
    int n_origin;
    size_t body_bytes, header_bytes;
    int connections, connections_per_address, idle_seconds;
    int ping_seconds;    /* a stream without news gets a sign of life after so many, 1 at least */
    int request_seconds; /* a request's deadline; 0 = none */
    int queue_seconds;   /* how long a request may wait for its model's memory */
    bool log_requests;
    ArchiveSpec archive;
    RegistrySpec registry; /* its notice is the server's own */
    const char *version;
    /* One line of JSON (without newline) for the log; any thread. */
    void (*log)(void *user, const char *line);
    void *user;
} ServerSpec;

Status server_open(const ServerSpec *spec, Server **server, Error *err);
Registry *server_registry(Server *server);
/* The address that is listened on: "http://127.0.0.1:8080". */
const char *server_url(const Server *server);
/* Takes no more requests and waits for those that are being answered, at most so long; the rest is cancelled. */
void server_drain(Server *server, int seconds);
/* Cancels what still runs. */
void server_close(Server *server);

#endif
