/* hub.h - the hub's HTTP interface: what a model consists of, and where its files are. */
#ifndef HOULE_STORE_HUB_H
#define HOULE_STORE_HUB_H

#include "base/arena.h"
#include "base/digest.h"
#include "base/map.h"
#include "store/fetch.h"
#include "store/model_name.h"

/* Where models come from when neither --endpoint nor HF_ENDPOINT says otherwise. */
#define HUB_DEFAULT_ENDPOINT "https://huggingface.co"

enum { HUB_MAX_FILES = 20000, HUB_MAX_PATH_BYTES = 512, HUB_ANSWER_LIMIT_BYTES = 64 << 20 };

typedef struct HubFile {
    const char *path;        /* checked: stays inside its folder, no control characters, no part that begins with '.' */
    uint64_t bytes;          /* HEAD_UNKNOWN when the hub does not say */
    char sha256[DIGEST_HEX]; /* of large files; "" = not known */
    char git_sha1[DIGEST_HEX]; /* of the git blob, for small files; "" = not known */
} HubFile;

typedef struct HubModel {
    Arena arena;
    const char *id; /* "owner/name" as the hub calls it now */
    const char *publisher;
    const char *commit;       /* the revision, exactly */
    const char *licence;      /* "apache-2.0"; "" = not stated */
    const char *licence_link; /* "" = none */
    bool gated;
    bool disabled;
    HubFile *files;
    size_t n_file, file_capacity;
    Map by_path;
} HubModel;

/* Reads the hub's answer about a model: hostile until checked. */
Status hub_parse_model(const char *bytes, size_t count, HubModel *model, Error *err);
void hub_model_free(HubModel *model);

/* For lists of files from elsewhere (a cache): an empty model called `id`, to which files are added. A path that no
 * model may have, or that is there already, is passed over (*file is NULL). *file is valid until the next is added. */
Status hub_model_init(HubModel *model, const char *id, Error *err);
Status hub_model_add_file(HubModel *model, const char *path, HubFile **file, Error *err);
const HubFile *hub_find_file(const HubModel *model, const char *path); /* NULL = not there */

/* Asks the hub. The revision is name's, or the default branch. */
Status hub_fetch_model(const FetchSettings *settings, const ModelName *name, HubModel *model, Error *err);
/* Size and checksum of a file for which the list did not say them. */
Status hub_fetch_file_facts(const FetchSettings *settings, const ModelName *name, const char *commit, HubFile *file,
                            Error *err);
/* The first `bytes` of a file (all of it when bytes is 0 and it has at most `limit`). */
Status hub_fetch_bytes(const FetchSettings *settings, const ModelName *name, const char *commit, const char *path,
                       uint64_t bytes, size_t limit, FetchReply *reply, Error *err);

/* Addresses, in fresh strings (mem_free); NULL without memory. */
char *hub_file_url(const char *endpoint, const ModelName *name, const char *commit, const char *path);
char *hub_page_url(const char *endpoint, const ModelName *name);
/* Where models come from: what is asked for (NULL = nothing), HF_ENDPOINT, or the hub itself; without '/' at its end.
 * In a fresh string (mem_free); NULL without memory. */
char *hub_endpoint(const char *asked);
/* True for a base address that is http(s) and has no query; says why not. */
Status hub_check_endpoint(const char *endpoint, Error *err);

#endif
