/* archive.h - what the server keeps longer than its process: answers that clients go on from, and presets of models.
 *
 *     FOLDER/serve.db      SQLite; each change is on the disk before the call returns
 *     FOLDER/blobs/        files that clients have sent, under their SHA-256 (blobs.c)
 *     FOLDER/created/      models made of them: folders of hard links (ollama_create.c)
 *
 * Answers have a budget of bytes and an age: those not used for longest go first. One that is gone on from is used, and
 * so is all that led to it, so a conversation is never forgotten from its beginning. An answer belongs to the key by
 * whose request it was made; nobody else can read it. Thread-safe; several processes may use one folder. */
#ifndef HOULE_SERVE_ARCHIVE_H
#define HOULE_SERVE_ARCHIVE_H

#include "base/status.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Archive Archive;

typedef struct ArchiveSpec {
    const char *folder;   /* made when it is not there, for its owner only; NULL: kept in memory, gone at the end */
    uint64_t budget_bytes; /* of answers */
    int64_t keep_s;       /* how long an answer that nobody uses is kept */
} ArchiveSpec;

Status archive_open(const ArchiveSpec *spec, Archive **archive, Error *err);
void archive_close(Archive *archive); /* NULL is fine */
const char *archive_folder(const Archive *archive); /* NULL: in memory */

/* ---- answers ----------------------------------------------------------------------------------------------------- */

typedef struct StoredAnswer {
    char *previous; /* what it goes on from, or NULL */
    json_t *body;   /* the object that clients get */
    json_t *input;  /* array: its own items, without those of the answers before */
    size_t input_bytes; /* of that in JSON, as it was read */
    char *events;   /* its stream, when it was made in the background; NULL = none */
    int64_t process; /* that makes it, while it is not complete; 0 = it is */
} StoredAnswer;

void stored_answer_free(StoredAnswer *answer);
/* Puts an answer in the place of what is there under its id. The fields stay the caller's. */
Status archive_put(Archive *archive, const char *id, const char *owner, const StoredAnswer *answer, Error *err);
/* ERR_NOT_FOUND, also for those of other owners. */
Status archive_get(Archive *archive, const char *id, const char *owner, StoredAnswer *answer, Error *err);
Status archive_delete(Archive *archive, const char *id, const char *owner, Error *err);
/* The items of a whole conversation up to an answer, itself included: input and output in turn. ERR_NOT_FOUND when one
 * of them is gone, ERR_LIMIT beyond so many bytes. The caller owns *items. */
Status archive_conversation(Archive *archive, const char *id, const char *owner, size_t most_bytes, json_t **items,
                          Error *err);

/* ---- presets ----------------------------------------------------------------------------------------------------- */

/* Models by other names, with settings of their own (registry.h). */
Status archive_put_preset(Archive *archive, const char *name, const json_t *preset, Error *err);
Status archive_delete_preset(Archive *archive, const char *name, Error *err);
/* An object: all of them by name. The caller owns it. */
Status archive_presets(Archive *archive, json_t **presets, Error *err);

#endif
