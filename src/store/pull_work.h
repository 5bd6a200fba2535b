/* pull_work.h - what all ways of getting a model have in common. Inside this room. */
#ifndef HOULE_STORE_PULL_WORK_H
#define HOULE_STORE_PULL_WORK_H

#include "store/fetch.h"
#include "store/fit.h"
#include "store/pull.h"
#include "store/store_work.h"

/* A file that is wanted. The identity, digests and size are in the model's file of the same number. */
typedef struct PullSource {
    const char *url; /* NULL when it does not come from the network */
    bool optional;   /* a licence's text: its absence in a cache is no reason to fetch the weights */
    bool replace;    /* what lies in its place is ours, and wrong */
} PullSource;

typedef struct Pull {
    const PullRequest *request;
    PullResult *result;
    FetchSettings settings;
    StoreWork work;
    StoreLock lock;       /* on the model's name */
    StoreList here;       /* what the index held at the beginning or, when the lock was waited for, after that */
    StoreList superseded; /* what it held before */
    StoreList foreign;    /* what lies in caches; filled when it is needed */
    Arena arena;
    StoreModel model;      /* what is to be: root below the models folder */
    const char *root_path; /* absolute */
    PullSource *sources;   /* of model.files */
    const char *page;      /* NULL = none */
    FitNeeds needs;        /* weight_bytes 0 = not known */
    const char *others;    /* other quantisations; "" = none */
} Pull;

Status pull_hub(Pull *pull, Error *err);
Status pull_url(Pull *pull, Error *err);
Status pull_path(Pull *pull, Error *err);

void pull_notice(const Pull *pull, const char *format, ...) PRINTF_LIKE(2, 3);
/* A formatted string in the pull's arena; NULL without memory. */
const char *pull_format(Pull *pull, const char *format, ...) PRINTF_LIKE(2, 3);
/* Room for the model's files and sources. */
Status pull_reserve(Pull *pull, size_t n_file, Error *err);

/* The complete model of the index that has this very name; NULL = none. */
const StoreModel *pull_find(const Pull *pull, const char *name);
/* Whether all files of a model of the index are in place with their sizes, and none is known to be damaged. */
bool pull_intact(const StoreModel *model);
bool pull_same_content(const ModelFile *a, const ModelFile *b);

/* Sets `present` for the model's files that the store has: in their place, or by a link to equal content. */
Status pull_take_present(Pull *pull, Error *err);
uint64_t pull_missing_bytes(const Pull *pull);
/* Tells what will be done and whether it fits; ERR_IO when the disk is too small. */
Status pull_show_plan(Pull *pull, Error *err);
/* Enters the model as begun, fetches what is missing, and completes it. */
Status pull_fetch(Pull *pull, Error *err);
/* Adds the model to the index as unfinished (the unfinished one of that name gives way). */
Status pull_enter(Pull *pull, int64_t *id, Error *err);
/* The lock on the model's name, waited for if the request says so; `here` is up to date then. */
Status pull_lock(Pull *pull, Error *err);
/* Writes the manifest, marks the model as complete, and removes what it replaces. */
Status pull_complete(Pull *pull, int64_t id, Error *err);
/* Adds a model that is used where it lies, root absolute; the result gets its name and path. */
Status pull_register(Pull *pull, PullOutcome outcome, Error *err);
/* Name and path into the result. */
Status pull_tell_result(Pull *pull, const StoreModel *model, PullOutcome outcome, Error *err);

/* The label becomes the type that most bytes of the weights have. */
void pull_label_of_tensors(Pull *pull, const ModelFiles *files);
/* Looks at the header of a file of weights: `fetch` gets its first bytes. Sets needs and, when it is "", the label. */
typedef Status (*PullHeadFn)(Pull *pull, void *user, const char *path, uint64_t bytes, FetchReply *reply, Error *err);
Status pull_look_at_head(Pull *pull, const char *path, uint64_t file_bytes, PullHeadFn fetch, void *user, Error *err);

#endif
