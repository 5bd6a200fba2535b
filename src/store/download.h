/* download.h - many files at once over several connections, resumed, limited, checked, moved into place.
 *
 * Each connection (slot) takes a run of missing chunks, asks for that range, and hashes and writes what comes. A slot
 * without work takes over the second half of the longest run. What a server does wrong (ignores ranges, cuts, stalls,
 * sends too much, answers 429) costs a retry of that slot; what cannot become right ends the download with a message
 * and leaves everything that was fetched for the next time. */
#ifndef HOULE_STORE_DOWNLOAD_H
#define HOULE_STORE_DOWNLOAD_H

#include "base/digest.h"
#include "store/fetch.h"

enum {
    DOWNLOAD_CHUNK_BYTES = 4 << 20, /* lost at most per connection when the process is killed */
    DOWNLOAD_MAX_CONNECTIONS = 32,
};

typedef struct DownloadItem {
    const char *what; /* for messages */
    const char *page; /* the model's page; NULL = none */
    const char *url;
    const char *identity; /* see partial.h: the content's own name, the same whenever it is asked for again */
    const char *path;     /* below the target folder */
    uint64_t bytes;
    const char *sha256;            /* expected digits, or NULL */
    const char *git_sha1;          /* of the git blob, or NULL */
    bool replace;                  /* a file that is there already is ours and may be replaced */
    bool done;                     /* out: moved into place */
    char found_sha256[DIGEST_HEX]; /* out, once done */
} DownloadItem;

typedef struct DownloadJob {
    const FetchSettings *settings;
    DownloadItem *items;
    size_t n_item;
    int partial_folder, target_folder; /* handles */
    int connections;
    uint64_t bytes_per_s; /* limit, 0 = none */
    /* Called after each file that is in place and checked; a failure ends the download. May be NULL. */
    Status (*placed)(void *user, size_t item, Error *err);
    void *user;
    uint64_t received_bytes; /* out: bodies, from the network */
} DownloadJob;

/* Fetches all items that are not done. Progress is reported in bytes of the whole. */
Status download_run(DownloadJob *job, Error *err);

#endif
