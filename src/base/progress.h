/* progress.h - how long work tells how far it is, and learns that it should stop. */
#ifndef HOULE_BASE_PROGRESS_H
#define HOULE_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Progress {
    /* Called now and then, from one thread at a time: `done` of `total` units (0 = not known). Returning false asks
     * the work to stop; it then fails with ERR_CANCELLED. NULL: nobody watches. */
    bool (*report)(void *user, const char *what, uint64_t done, uint64_t total);
    void *user;
} Progress;

/* True when the work should go on. `progress` may be NULL. */
static inline bool progress_report(const Progress *progress, const char *what, uint64_t done, uint64_t total) {
    return progress == NULL || progress->report == NULL || progress->report(progress->user, what, done, total);
}

#endif
