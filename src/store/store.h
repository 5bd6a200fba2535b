/* store.h - the models on this machine: which there are, where they lie, and how to be rid of them.
 *
 *     $XDG_DATA_HOME/houle/              (~/.local/share/houle)
 *         index.db                       what there is (SQLite)
 *         models/OWNER/NAME/[QUANT-]COMMIT/   a model that was pulled: a plain folder, with houle.json beside its files
 *         models/.partial/               downloads that are under way
 *
 * Files are used where they lie and never rewritten. Models in the caches of other programs (caches.h) are found too.
 * Nothing here uses the network: that is pull.h. */
#ifndef HOULE_STORE_STORE_H
#define HOULE_STORE_STORE_H

#include "base/progress.h"
#include "base/text.h"
#include "store/store_model.h"

/* What MODEL means on every command line and in every request: the path for model_files_open, in a fresh string
 * (mem_free). In this order: a file; a folder with config.json or tokenizer.json; a name of the store or of another
 * program's cache, or an end of one that only one model has; a folder of any other kind. What is written as a path
 * ("/...", "./...", "....gguf") is not looked up in the store. Nothing there: ERR_NOT_FOUND, with names that look
 * alike; several: ERR_ARGUMENT. */
Status store_resolve(const char *name, char **path, Error *err);

/* All models: those of the index, then those of the caches that are not in the index. */
Status store_list(StoreList *list, Error *err);
/* The one that a name means, among those listed. The model may be unfinished (state). */
Status store_find(const StoreList *list, const char *name, const StoreModel **model, Error *err);
/* Bytes of an unfinished model that are here. */
uint64_t store_present_bytes(const StoreModel *model);

/* Removes a model. Files that the store put there are deleted, if they are still as it left them; others are left, and
 * the model is only forgotten. What was done is appended to `report`, line by line. Models of other programs are
 * refused (ERR_DENIED). */
Status store_remove(const char *name, Text *report, Error *err);

typedef enum FileVerdict {
    FILE_GOOD,
    FILE_UNKNOWN,
    FILE_MISSING,
    FILE_SHORT,
    FILE_ALTERED,
    FILE_UNREADABLE
} FileVerdict;

typedef struct VerifiedFile {
    const StoreModel *model;
    const ModelFile *file;
    FileVerdict verdict;
    char detail[192]; /* "" when good */
} VerifiedFile;

typedef struct VerifyReport {
    VerifiedFile *files; /* mem_free */
    size_t n_file, n_bad, n_unknown;
    uint64_t bytes;
} VerifyReport;

/* Reads all files of the models again and compares them with their checksums. What is found altered is remembered, so
 * that the next pull fetches it anew. */
Status store_verify(const StoreModel *const *models, size_t n_model, const Progress *progress, VerifyReport *report,
                    Error *err);
const char *verdict_word(FileVerdict verdict);

/* The store's folder, and the one of its models, in fresh strings (mem_free). ERR_ARGUMENT without a home. */
Status store_folders(char **folder, char **models, Error *err);

#endif
