/* serve_command.c - houle serve: options, signals, the log on standard error. */
#include "cli/run_options.h"

#include "base/file.h"
#include "base/text.h"
#include "serve/config.h"
#include "serve/keys.h"
#include "serve/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#ifndef HOULE_VERSION
#define HOULE_VERSION "unknown"
#endif

static struct {
    const char *host, *models, *config, *keys, *make_key, *certificate, *key, *cache, *state, *ready_file;
    StringList hosts, origins;
    bool admin, store, log_requests;
    int64_t port, threads, connections, per_address, idle, ping, drain, deadline, queue, keep_alive;
    int64_t state_days;
    uint64_t memory, cache_disk, state_disk, body;
} want = {.host = "127.0.0.1",
          .store = true,
          .log_requests = true,
          .port = 8080,
          .connections = 256,
          .per_address = 128,
          .idle = 120,
          .ping = 5,
          .drain = 30,
          .deadline = 3600,
          .queue = 120,
          .keep_alive = -1,
          .cache_disk = (uint64_t)8 << 30,
          .state_disk = (uint64_t)1 << 30,
          .state_days = 30,
          .body = (uint64_t)32 << 20};

static void write_log(void *user, const char *line) {
    (void)user;
    flockfile(stderr);
    fputs(line, stderr);
    putc('\n', stderr);
    funlockfile(stderr);
}

static int make_key(Error *err) {
    char key[KEY_TEXT_BYTES];
    FAIL_IF(want.keys == NULL, 2, "--make-key needs --keys FILE, where the key's hash is written");
    if (keys_make(want.keys, want.make_key, want.admin, key, err) != OK)
        return 1;
    printf("%s\n", key);
    fprintf(stderr, "This is the key '%s'; it is shown only now. %s holds its hash.\n", want.make_key, want.keys);
    return 0;
}

/* A name for a model given as a path: its file's or folder's. */
static Status add_argument(Registry *registry, const char *argument, Error *err) {
    if (!file_exists(argument))
        return registry_add(registry, argument, NULL, NULL, err);
    char *name = mem_strdup(argument, MEM_MISC);
    FAIL_IF(name == NULL, ERR_MEMORY, "no memory for a name");
    while (strlen(name) > 1 && ends_with(name, "/"))
        name[strlen(name) - 1] = '\0';
    if (ends_with(name, ".gguf"))
        name[strlen(name) - 5] = '\0';
    const Status status = registry_add(registry, path_name(name), argument, NULL, err);
    mem_free(name);
    return status;
}

/* $VARIABLE/houle/LAST, or a folder of the home. */
static Status default_folder(const char *variable, const char *in_home, const char *last, const char *option,
                             char **folder, Error *err) {
    char *ours;
    FAIL_IF(!home_folder(variable, in_home, &ours), ERR_ARGUMENT,
            "there is no home; say where with --%s-dir, or --%s-disk 0 for none", option, option);
    *folder = ours != NULL ? path_join(ours, last) : NULL;
    mem_free(ours);
    FAIL_IF(*folder == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

static Status start(int n_argument, char **arguments, Server **server, Error *err) {
    ServerSpec spec = {
        .host = want.host,
        .port = (int)MIN(want.port, 1 << 20),
        .certificate = want.certificate,
        .key = want.key,
        .keys = want.keys,
        .hosts = want.hosts.items,
        .n_host = want.hosts.count,
        .origins = want.origins.items,
        .n_origin = want.origins.count,
        .body_bytes = want.body,
        .header_bytes = 32 << 10,
        .connections = (int)MIN(MAX(want.connections, 1), 10000),
        .connections_per_address = (int)MIN(MAX(want.per_address, 1), 10000),
        .idle_seconds = (int)MIN(MAX(want.idle, 1), 86400),
        .ping_seconds = (int)MIN(MAX(want.ping, 1), 3600),
        .request_seconds = (int)MIN(MAX(want.deadline, 0), 1 << 30),
        .queue_seconds = (int)MIN(MAX(want.queue, 0), 1 << 20),
        .log_requests = want.log_requests,
        .version = HOULE_VERSION,
        .archive = {.budget_bytes = want.state_disk > 0 ? want.state_disk : (uint64_t)64 << 20,
                    .keep_s = MIN(MAX(want.state_days, 0), 36500) * 86400},
        .log = write_log,
        .registry = {.memory_bytes = want.memory,
                     .keep_alive_s = want.keep_alive,
                     .cache_disk_bytes = want.cache_disk,
                     .models_folder = want.models,
                     .with_store = want.store},
    };
    json_t *config = NULL;
    char *cache = NULL, *state = NULL;
    Status status = cli_pool((int)want.threads, &spec.registry.pool, err);
    if (status == OK && want.config != NULL)
        status = config_read(want.config, &config, err);
    if (status == OK && want.cache_disk > 0 && want.cache == NULL)
        status = default_folder("XDG_CACHE_HOME", ".cache", "prefixes", "cache", &cache, err);
    if (status == OK && want.state_disk > 0 && want.state == NULL)
        status = default_folder("XDG_STATE_HOME", ".local/state", "serve", "state", &state, err);
    spec.archive.folder = want.state_disk == 0 ? NULL : want.state != NULL ? want.state : state;
    spec.registry.cache_folder = want.cache_disk == 0 ? NULL : want.cache != NULL ? want.cache : cache;
    spec.registry.defaults = json_object_get(config, "defaults");
    if (status == OK)
        status = server_open(&spec, server, err);
    if (status == OK && config != NULL)
        status = config_apply(config, want.config, server_registry(*server), err);
    for (int i = 0; status == OK && i < n_argument; i++)
        status = add_argument(server_registry(*server), arguments[i], err);
    json_decref(config);
    mem_free(cache);
    mem_free(state);
    return status;
}

/* Scripts that start a server learn its address (the port may be any) and that it listens. */
static Status tell_ready(const Server *server, Error *err) {
    fprintf(stderr, "houle: serving at %s\n", server_url(server));
    return want.ready_file != NULL
               ? file_write_atomic(want.ready_file, server_url(server), strlen(server_url(server)), err)
               : OK;
}

static int run(int n_argument, char **arguments, Error *err) {
    sigset_t ends;
    Server *server = NULL;
    int signal_number = 0;
    if (want.make_key != NULL)
        return make_key(err);
    /* All threads leave these signals to sigwait below. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    Status status = start(n_argument, arguments, &server, err);
    if (status == OK)
        status = tell_ready(server, err);
    if (status == OK) {
        sigwait(&ends, &signal_number);
        fprintf(stderr, "houle: stopping; what is being answered has %d seconds\n", (int)want.drain);
        pthread_sigmask(SIG_UNBLOCK, &ends, NULL); /* a second signal ends it at once */
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        server_drain(server, (int)MIN(MAX(want.drain, 0), 86400));
    }
    server_close(server);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"host", OPT_STRING, &want.host, "ADDRESS", "listen here (127.0.0.1); other than this machine's own needs --keys",
     NULL},
    {"port", OPT_INT, &want.port, "N", "port (8080); 0 = any that is free", NULL},
    {"models", OPT_STRING, &want.models, "FOLDER", "serve every model in this folder", NULL},
    {"store", OPT_FLAG, &want.store, NULL, "serve the models of the store (--no-store: do not)", NULL},
    {"config", OPT_STRING, &want.config, "FILE", "settings of models (JSON)", NULL},
    {"memory", OPT_BYTES, &want.memory, "BYTES", "what all loaded models may take together (9/10 of what is free)",
     NULL},
    {"keep-alive", OPT_INT, &want.keep_alive, "SECONDS",
     "unload models unused for so long (-1 = when their memory is needed)", NULL},
    {"cache-dir", OPT_STRING, &want.cache, "FOLDER",
     "where beginnings of conversations are kept (~/.cache/houle/prefixes)", NULL},
    {"cache-disk", OPT_BYTES, &want.cache_disk, "BYTES", "how much of them (8G); 0 = none on disk", NULL},
    {"state-dir", OPT_STRING, &want.state, "FOLDER",
     "where answers that clients go on from, and models that they create, are kept (~/.local/state/houle/serve)", NULL},
    {"state-disk", OPT_BYTES, &want.state_disk, "BYTES", "how much of the answers (1G); 0 = nothing on disk", NULL},
    {"state-days", OPT_INT, &want.state_days, "DAYS", "how long an answer that nobody uses is kept (30)", NULL},
    {"keys", OPT_STRING, &want.keys, "FILE", "ask for API keys; their hashes are in FILE", NULL},
    {"make-key", OPT_STRING, &want.make_key, "NAME",
     "make a key, write its hash into the file of --keys, print it, and end", NULL},
    {"admin", OPT_FLAG, &want.admin, NULL, "with --make-key: the key may pull, copy and delete models", NULL},
    {"tls-cert", OPT_STRING, &want.certificate, "FILE", "certificate chain (PEM): serve HTTPS", NULL},
    {"tls-key", OPT_STRING, &want.key, "FILE", "its key (PEM)", NULL},
    {"allow-host", OPT_LIST, &want.hosts, "NAME", "a name in the Host header that is right (may be repeated)", NULL},
    {"allow-origin", OPT_LIST, &want.origins, "ORIGIN",
     "web pages that may use the server: https://chat.example (may be repeated)", NULL},
    {"max-body", OPT_BYTES, &want.body, "BYTES", "largest request (32M)", NULL},
    {"connections", OPT_INT, &want.connections, "N", "connections at once (256)", NULL},
    {"connections-per-address", OPT_INT, &want.per_address, "N", "of one address (128)", NULL},
    {"idle", OPT_INT, &want.idle, "SECONDS", "close connections on which nothing moves (120)", NULL},
    {"deadline", OPT_INT, &want.deadline, "SECONDS", "end requests after so long (3600); 0 = never", NULL},
    {"queue", OPT_INT, &want.queue, "SECONDS", "how long a request may wait for its model's memory (120)", NULL},
    {"ping", OPT_INT, &want.ping, "SECONDS", "sign of life in streams while there is nothing to say (5)", NULL},
    {"drain", OPT_INT, &want.drain, "SECONDS", "how long answers may go on when the server is stopped (30)", NULL},
    {"log", OPT_FLAG, &want.log_requests, NULL, "a line of JSON for each request (--no-log: none)", NULL},
    {"ready-file", OPT_STRING, &want.ready_file, "FILE", "write the server's address here once it listens", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads for computing (default: the physical cores this process may use)",
     NULL},
    {0},
};

const Command command_serve = {
    .name = "serve",
    .arguments = "[MODEL...]",
    .summary = "answer OpenAI, Anthropic and Ollama clients",
    .text =
        "Serves the models named, those of --models and --config, and those of the store. Each is loaded when it is\n"
        "first asked for and stays until its memory is needed. Clients of the OpenAI, Anthropic and Ollama APIs work\n"
        "unchanged: their base address is http://127.0.0.1:8080/v1, http://127.0.0.1:8080 and http://127.0.0.1:8080.\n"
        "SIGTERM or Ctrl-C stops it once what is being answered is complete; a second one stops it at once.",
    .example = "  houle serve model.gguf\n"
               "      one model, for programs on this machine\n"
               "  houle serve --models /srv/models --memory 48G --host 0.0.0.0 --keys keys.json --tls-cert c.pem "
               "--tls-key k.pem\n"
               "      all models of a folder, for a network",
    .options = options,
    .min_arguments = 0,
    .max_arguments = -1,
    .run = run,
};
