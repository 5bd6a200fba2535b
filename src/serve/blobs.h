/* blobs.h - files that clients send, kept under their SHA-256 in the archive's folder. */
#ifndef HOULE_SERVE_BLOBS_H
#define HOULE_SERVE_BLOBS_H

#include "serve/api.h"

/* The path of a blob ("sha256:..." or "sha256-..."), in a fresh string (mem_free). ERR_NOT_FOUND when it is not here.
 */
Status blob_path(const ApiCall *call, const char *digest, char **path, Error *err);

#endif
