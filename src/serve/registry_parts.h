/* registry_parts.h - what the files of the registry share: its entries, and who may touch them (under the lock). */
#ifndef HOULE_SERVE_REGISTRY_PARTS_H
#define HOULE_SERVE_REGISTRY_PARTS_H

#include "serve/registry.h"

#include <pthread.h>

/* What models get of which nobody says otherwise. */
enum { USUAL_SEQUENCES = 8, USUAL_WAITING = 64, USUAL_ROWS = 256 };

/* Folders are looked through again after so long at the earliest. */
enum { RESCAN_US = 1000000 };

struct Served {
    Registry *registry;
    Served *next;
    char *name;
    char *path;       /* NULL: the store says, when it is needed */
    char *licence;    /* as the store knows it, or NULL */
    json_t *settings; /* what was configured, over the defaults of all; the texts of `wish` belong to it */
    ModelSettings wish;
    bool found; /* by looking through folders, not configured: goes when its file has gone */
    bool seen;  /* by the scan that is going on */
    uint64_t file_bytes;

    ServedState state;
    Model *model, *draft; /* draft: NULL when none was wished for */
    Scheduler *scheduler;
    SchedulerSpec spec;
    GrammarVocab *vocab; /* under vocab_lock */
    int users;
    bool leaving; /* is to be given up: nobody new may have it */
    bool gone;    /* its name is another's, or nobody's: it is not found any more, and freed when nobody uses it */
    uint64_t weight_bytes, run_bytes;
    uint64_t used_us, load_us, failed_us;
    int64_t keep_s;
    int64_t modified, modified_ns; /* of its files, when it was loaded */
    Error err;
};

typedef struct Alias {
    struct Alias *next;
    char *name, *target;
    bool configured;
} Alias;

struct Registry {
    RegistrySpec spec;
    char *models_folder;
    Spill *spill;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_mutex_t vocab_lock; /* making one takes a while */
    pthread_t keeper;
    bool has_keeper, closing;
    bool loading; /* one at a time: what it takes is not known to others before it has it */
    Served *models;
    Alias *aliases;
    json_t *presets; /* by name; NULL = none */
    uint64_t scanned_us;
    RegistryStats stats;
};

/* All under the lock. */
Served *registry_find(Registry *r, const char *name);
Status registry_scan(Registry *r, Error *err);
Served *registry_add_entry(Registry *r, const char *name, const char *path, json_t *settings, Error *err);
Status registry_add_alias(Registry *r, const char *name, const char *alias, bool configured, Error *err);
/* Forgets an alias that was not configured; true when there was one. */
bool registry_drop_alias(Registry *r, const char *name);
/* Reads settings; the result points into them. */
Status registry_read_settings(const char *name, const json_t *settings, ModelSettings *wish, Error *err);
void registry_free_entry(Served *e);
/* When it is given up if nobody asks for it; UINT64_MAX: never. */
uint64_t served_expires_us(const Served *e);

/* Where its files are, in a fresh string (mem_free). */
Status served_find_path(const Served *e, char **path, Error *err);

/* A model that is being loaded: zeroed, then loaded_open. */
typedef struct Loaded {
    Model *model, *draft;
    Scheduler *scheduler;
    SchedulerSpec spec;
    uint64_t weight_bytes, run_bytes;
    uint64_t least_bytes; /* of weights, when they are streamed */
    char *path;
} Loaded;

/* Not under the lock, as what follows. Reads headers, maps the weights, builds the tokenizer and compiles the template;
 * says what all of it takes. draft: the path of the model that guesses for it, or NULL. */
Status loaded_open(const Registry *r, const Served *e, const char *draft, Loaded *loaded, Error *err);
/* With its memory taken from the budget: nothing may be computed before. */
Status loaded_start(Loaded *loaded, Error *err);
/* Whether it was opened as a whole or failed on the way. */
void loaded_close(Loaded *loaded);

#endif
