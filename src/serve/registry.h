/* registry.h - the models that can be asked for, and those of them that are in memory, under one budget.
 *
 * A model of experts that does not fit into the budget as a whole is streamed (graph/weights.h) in what the budget
 * leaves beside its cache, or in its own setting "memory"; what it then takes is fixed as well.
 *
 * A model is loaded by the first request that needs it and given up when others need its memory: the one whose loading
 * took least time for each second that it has not been used goes first; pinned ones never do. What a model takes
 * (weights, cache, scratch) is known before it is loaded, and the sum never exceeds the budget: a request waits until
 * others have ended, and is told to come again when that takes too long. What was computed of conversations survives on
 * disk (engine/spill.h).
 *
 * A model that cannot be loaded costs nothing but its own requests. Thread-safe. */
#ifndef HOULE_SERVE_REGISTRY_H
#define HOULE_SERVE_REGISTRY_H

#include "engine/scheduler.h"
#include "text/grammar.h"

enum { USUAL_CONTEXT = 8192 }; /* tokens, of models of which nobody says otherwise */

typedef struct Registry Registry;
typedef struct Served Served; /* a model that was asked for, held until it is released */

/* What may be said of a model in the configuration; 0 or NULL = not said. */
typedef struct ModelSettings {
    int context, sequences, max_waiting, draft_tokens, max_rows;
    int64_t cache_tokens;
    uint64_t memory_bytes; /* that it may take, weights, cache and scratch; at most the server's budget */
    bool cache_type_given, precision_given;
    CacheType cache_type;
    Precision precision;
    bool pin;
    bool keep_alive_given;
    int64_t keep_alive_s;     /* < 0: for ever; 0: unload after each use */
    bool draft_tokens_given;  /* 0 of them: nothing is guessed ahead */
    const char *draft;        /* a smaller model that guesses ahead: a path, or a name like that of any model here */
    const char *reply_format; /* in place of the one that the model's files tell */
    const json_t *defaults;   /* sampling fields laid under each request's */
} ModelSettings;

typedef struct RegistrySpec {
    Pool *pool;
    uint64_t memory_bytes;    /* the budget */
    int64_t keep_alive_s;     /* of models without a wish; < 0: for ever */
    const char *cache_folder; /* prefixes on disk; NULL = none */
    uint64_t cache_disk_bytes;
    const char
        *models_folder; /* each folder or model file in it is a model; looked through again when a name is not known */
    bool with_store;    /* models of the store and of other programs' caches */
    const json_t *defaults; /* settings of all models, see registry_add */
    /* One line about a load, an eviction, a failure; from any thread. */
    void (*notice)(void *user, const char *event, const char *model, uint64_t us, uint64_t bytes, const char *text);
    void *user;
} RegistrySpec;

Status registry_open(const RegistrySpec *spec, Registry **registry, Error *err);
/* Nothing is loaded any more: who waits for a model is sent away. */
void registry_stop(Registry *registry);
/* All models must have been released. */
void registry_close(Registry *registry);

/* A model by configuration: settings is an object ("path", "aliases", "context", ...; docs/serve.md), checked here.
 * path NULL: settings' "path", else the name is resolved by the store. */
Status registry_add(Registry *registry, const char *name, const char *path, const json_t *settings, Error *err);

/* The model that a request means, loaded; waits for that, at most so long. ERR_NOT_FOUND, ERR_BUSY (no memory in time),
 * or why it cannot be loaded. *load_us: how long it had to be waited for; may be NULL. */
Status registry_acquire(Registry *registry, const char *name, uint64_t wait_us, Served **served, uint64_t *load_us,
                        Error *err);
/* Whether that would not have to wait, as things stand. */
bool registry_is_ready(Registry *registry, const char *name);
/* Any thread, also the scheduler's. */
void registry_release(Served *served);
/* One more holder. */
void registry_hold(Served *served);

const char *served_name(const Served *served);
const Model *served_model(const Served *served);
Scheduler *served_scheduler(const Served *served);
const ModelSettings *served_settings(const Served *served);
int served_context(const Served *served);
/* Its vocabulary for grammars: made by the first call, kept as long as the model is held. */
Status served_vocab(Served *served, const GrammarVocab **vocab, Error *err);
/* How long the model stays after its last use, from now on; < 0: for ever, 0: it goes when nobody uses it. */
void served_keep_alive(Served *served, int64_t seconds);

typedef enum ServedState { SERVED_ABSENT, SERVED_LOADING, SERVED_READY, SERVED_LEAVING, SERVED_BROKEN } ServedState;

typedef struct ServedInfo {
    char *name, *path, *licence; /* licence: as its publisher named it to the store; NULL = not known */
    ServedState state;
    bool pinned, is_preset;
    int users, context; /* context: 0 as long as it is not decided */
    uint64_t file_bytes;              /* on disk; 0 = not known */
    uint64_t weight_bytes, run_bytes; /* in memory */
    int64_t modified;                 /* Unix time of its files */
    int64_t expires_s;                /* seconds until it goes unused; -1: not decided by time */
    char error[ERROR_TEXT_BYTES];     /* of the last load */
    SchedulerStats stats;             /* when ready */
    bool streamed;                    /* its experts are read from disk when they are chosen: counts */
    CacheCounts experts;
} ServedInfo;

typedef struct ServedList {
    ServedInfo *items;
    size_t count;
} ServedList;

/* All models that can be asked for by name. */
Status registry_list(Registry *registry, ServedList *list, Error *err);
void served_list_free(ServedList *list);
/* The name under which a name is known, in a fresh string (mem_free); ERR_NOT_FOUND. Loads nothing. */
Status registry_name(Registry *registry, const char *name, char **known, char **path, Error *err);
/* Unloads a model as soon as nobody uses it. */
Status registry_unload(Registry *registry, const char *name, Error *err);
/* Takes bytes from the budget for work beside the models, giving up models that nobody uses: ERR_BUSY when that does
 * not suffice. */
Status registry_borrow(Registry *registry, uint64_t bytes, Error *err);
void registry_give_back(Registry *registry, uint64_t bytes);
/* Another name for a model. */
Status registry_alias(Registry *registry, const char *name, const char *alias, Error *err);
/* Forgets an alias; true when there was one. */
bool registry_forget(Registry *registry, const char *name);
/* How much of a name counts: some clients put ":latest" behind each. */
size_t registry_stem_bytes(const char *name);
/* A preset: {"from": a model's name, or "path": a model's files; "fields": laid under each request; "system",
 * "template", "messages"}. In the place of one of the same name. */
Status registry_set_preset(Registry *registry, const char *name, const json_t *preset, Error *err);
/* The preset of a name, a new reference; NULL when there is none. */
json_t *registry_preset(Registry *registry, const char *name);
/* Forgets one; false when there is none. *own: its name as it was given, in a fresh string (mem_free). */
bool registry_drop_preset(Registry *registry, const char *name, char **own);
/* Models of the store are read anew. */
void registry_rescan(Registry *registry);

/* When the newest of a path's files, was changed, and their bytes; false when it is not there. */
bool registry_stat(const char *path, int64_t *seconds, int64_t *nanoseconds, uint64_t *bytes);

typedef struct RegistryStats {
    uint64_t budget_bytes, used_bytes, weight_bytes, run_bytes;
    uint64_t loads, load_failures, evictions;
    int loaded;
} RegistryStats;
RegistryStats registry_stats(Registry *registry);

#endif
