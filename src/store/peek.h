/* peek.h - looking at a model on the hub without fetching it: its configuration or header, and what its files take. */
#ifndef HOULE_STORE_PEEK_H
#define HOULE_STORE_PEEK_H

#include "format/model_files.h"
#include "store/fetch.h"
#include "store/model_name.h"

typedef struct Peek {
    char name[2 * HUB_PART_BYTES + QUANT_LABEL_BYTES + 2]; /* "owner/name:Q4_K_M" */
    uint64_t bytes;        /* of all files that would be fetched */
    uint64_t weight_bytes;
    char label[QUANT_LABEL_BYTES]; /* of a GGUF: its quantisation; "" = none told */
    /* One of the two: the header of a GGUF file, whose tensors have no bytes; or the parsed config.json. */
    ModelFiles *head;
    bool whole;            /* the header lists all tensors: the model is one file */
    json_t *config;
    char *head_bytes;      /* what the header lies in */
} Peek;

/* what: OWNER/NAME[@REVISION][:QUANT-OR-FILE]. endpoint and token may be NULL: as for a pull. Nothing is written. */
Status store_peek(const char *what, const char *endpoint, const Progress *progress, Peek *peek, Error *err);
void peek_close(Peek *peek); /* a zeroed one is fine */

#endif
