/* store_work.h - the store opened for changing it. Inside this room. */
#ifndef HOULE_STORE_STORE_WORK_H
#define HOULE_STORE_STORE_WORK_H

#include "store/store.h"
#include "store/store_index.h"

typedef struct StoreWork {
    char *folder, *models; /* paths */
    StoreIndex *index;
    int models_fd, partial_fd;
} StoreWork;

/* A name that nobody else may pull or remove for the time being. */
typedef struct StoreLock {
    int fd; /* -1 = none */
    char file[48];
} StoreLock;

/* Makes the folders and the index if they are not there; finishes removals that a crash cut off. */
Status store_work_open(StoreWork *work, Error *err);
void store_work_close(StoreWork *work);

/* ERR_BUSY when another process has the name. */
Status store_work_lock(StoreWork *work, const char *name, StoreLock *lock, Error *err);
void store_work_unlock(StoreWork *work, StoreLock *lock);

/* What the index holds, removals under way excepted. */
Status store_work_list(StoreWork *work, StoreList *list, Error *err);
/* Removes a model of the index: its files if they are the store's, then its row. `report` may be NULL. */
Status store_work_remove(StoreWork *work, const StoreModel *model, Text *report, Error *err);

/* Does what is left of removals: files of models that were marked, or replaced by a newer revision. */
Status store_work_finish(StoreWork *work, Text *report, Error *err);

/* The root below the models folder of an owned model; NULL when it is not below. */
const char *store_work_relative(const StoreWork *work, const StoreModel *model);
/* A small file of ours in an owned model's folder, replaced as a whole. */
Status store_work_write(StoreWork *work, const char *relative, const char *content, size_t bytes, Error *err);

#endif
