/* hash_files.h - checksums of many files at once, as fast as the disk and the processors allow. */
#ifndef HOULE_STORE_HASH_FILES_H
#define HOULE_STORE_HASH_FILES_H

#include "base/digest.h"
#include "base/progress.h"

typedef struct HashTask {
    const char *path;
    uint64_t bytes; /* expected, for progress */
    bool git;       /* the git blob's SHA-1 is wanted too */
    /* Out: */
    Status status; /* ERR_NOT_FOUND, ERR_IO: this file could not be read; `why` tells */
    uint64_t found_bytes;
    char sha256[DIGEST_HEX], git_sha1[DIGEST_HEX];
    char why[160];
} HashTask;

/* Reads all files to their ends. A file that cannot be read only fails its task; the call fails when it is cancelled or
 * there is no memory. */
Status hash_files(HashTask *tasks, size_t count, const Progress *progress, const char *what, Error *err);

#endif
