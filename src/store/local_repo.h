/* local_repo.h - a folder on this machine seen as a repository: its files, and what its small files say of it. */
#ifndef HOULE_STORE_LOCAL_REPO_H
#define HOULE_STORE_LOCAL_REPO_H

#include "store/pick.h"

/* The files of a folder and of those in it, as the hub would list them; links are followed, hidden ones passed over.
 * Digests are known where a link leads to a blob that is called by its digest. What cannot be read is not there. */
Status local_repo_list(const char *folder, const char *id, HubModel *model, Error *err);

/* Picks among them (see pick.h), with the index of the safetensors read from the folder. */
Status local_repo_pick(const char *folder, const HubModel *model, const char *wish, Arena *arena, Pick *pick,
                       Error *err);

/* The type of the weights that config.json tells, "" for none. */
Status local_repo_label(const char *folder, char label[QUANT_LABEL_BYTES], Error *err);
/* The licence that the model card (README.md) names, in the arena; "" for none. */
Status local_repo_licence(const char *folder, Arena *arena, const char **licence, Error *err);

/* A small JSON file; *json is NULL when there is none that can be read. Fails for want of memory only. */
Status local_read_json(const char *path, json_t **json, Error *err);
/* The entries of a folder; none when it cannot be listed. Fails for want of memory only. */
struct FolderEntry;
Status local_entries(const char *path, Arena *arena, struct FolderEntry **entries, size_t *count, Error *err);
/* "folder/name" in the arena. */
Status local_join(Arena *arena, const char *folder, const char *name, const char **path, Error *err);

#endif
