/* store_index.h - the list of the store's models, in SQLite.
 *
 * Each change is one transaction, written through to the disk before the call returns. The files are changed around it
 * in such an order that a crash at any point leaves either a model that can be completed by pulling it again, or one
 * that is marked for removal and removed the next time. Several processes may use it at once. */
#ifndef HOULE_STORE_STORE_INDEX_H
#define HOULE_STORE_STORE_INDEX_H

#include "store/store_model.h"

typedef struct StoreIndex StoreIndex;

/* Opens the index in a folder. With `write` false nothing is made: ERR_NOT_FOUND when there is none. */
Status store_index_open(const char *folder, bool write, StoreIndex **index, Error *err);
void store_index_close(StoreIndex *index);

/* Appends models (with their files) to the list, in the order of their names. Roots of owned models are made absolute
 * below `models_folder`. */
Status store_index_read(StoreIndex *index, const char *models_folder, StoreList *list, Error *err);

/* Adds a model with its files in the given state, in place of one that has the same name and state. For owned models
 * model->root is below the models folder. *id may be NULL. */
Status store_index_add(StoreIndex *index, const StoreModel *model, int64_t *id, Error *err);
/* A file is in place; its SHA-256 is now known. */
Status store_index_set_present(StoreIndex *index, int64_t id, const char *path, const char *sha256, Error *err);
/* A file is no longer what it was: to be fetched anew. */
Status store_index_set_damaged(StoreIndex *index, int64_t id, const char *path, Error *err);
/* The model is complete. Another complete one of the same name becomes one to be removed. */
Status store_index_complete(StoreIndex *index, int64_t id, const char *label, Error *err);
/* First step of removing; the last is store_index_forget, after the files are gone. */
Status store_index_mark_removing(StoreIndex *index, int64_t id, Error *err);
Status store_index_forget(StoreIndex *index, int64_t id, Error *err);

#endif
