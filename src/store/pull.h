/* pull.h - getting a model: by name from the hub, by address, or from where it lies on this machine.
 *
 * The only part of the program that goes to the network unasked by a request, and only when it is called. */
#ifndef HOULE_STORE_PULL_H
#define HOULE_STORE_PULL_H

#include "base/progress.h"
#include "base/status.h"

#include <stdint.h>

typedef struct PullRequest {
    const char *what;     /* OWNER/NAME[@REVISION][:QUANT-OR-FILE], http(s)://..., or a path */
    const char *quant;    /* the same as after ':'; NULL = not given */
    const char *name;     /* how to call what comes from a path or address; NULL = by its file */
    const char *endpoint; /* base address of the hub; NULL = HF_ENDPOINT, or the public hub */
    const char *token;    /* NULL = HF_TOKEN */
    bool update;          /* take a newer revision */
    bool copy;            /* a path: copy it into the store */
    bool plan_only;       /* say what would be done */
    bool force;           /* also what houle cannot open */
    bool wait;            /* while another pull is at the same model, wait for it; else that is ERR_BUSY */
    int connections;      /* 0 = 8 */
    uint64_t bytes_per_s; /* 0 = no limit */
    const Progress *progress;
    /* What there is to say while it goes on, a line each. May be NULL. */
    void (*notice)(void *user, const char *text);
    void *notice_user;
} PullRequest;

typedef enum PullOutcome {
    PULL_FETCHED,    /* now here, from the network */
    PULL_PRESENT,    /* was here, complete */
    PULL_OUTDATED,   /* is here, but the publisher has a newer revision */
    PULL_FOUND,      /* lies in another program's cache, is used there */
    PULL_REGISTERED, /* a path, used where it lies */
    PULL_COPIED,
    PULL_PLANNED,
} PullOutcome;

typedef struct PullResult {
    PullOutcome outcome;
    char *name;              /* in the store; mem_free (pull_result_free) */
    char *path;              /* for model_files_open; NULL when nothing is there yet */
    uint64_t received_bytes; /* from the network */
} PullResult;

Status store_pull(const PullRequest *request, PullResult *result, Error *err);
void pull_result_free(PullResult *result);

#endif
