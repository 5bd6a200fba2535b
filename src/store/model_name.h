/* model_name.h - how models are called: what a user types, what a file's name tells.
 *
 *     owner/name[@revision][:selection]         "acme/small-4B-GGUF:Q8_0", "acme/large@v1.0"
 *
 * The selection is a quantisation's label or a file of the repository; without one the usual choice is made. Names in
 * the store look the same, so that what was pulled is found by what was typed, or by an unambiguous end of it. */
#ifndef HOULE_STORE_MODEL_NAME_H
#define HOULE_STORE_MODEL_NAME_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { HUB_PART_BYTES = 97, HUB_REVISION_BYTES = 129, HUB_SELECTION_BYTES = 256, QUANT_LABEL_BYTES = 24 };

typedef struct ModelName {
    char owner[HUB_PART_BYTES];
    char repo[HUB_PART_BYTES];
    char revision[HUB_REVISION_BYTES];   /* "" = the default branch */
    char selection[HUB_SELECTION_BYTES]; /* "" = not given */
} ModelName;

/* Reads a hub name; "hf.co/" in front of it is passed over. ERR_ARGUMENT says which part is wrong. */
Status model_name_parse(const char *text, ModelName *name, Error *err);
/* True when the text could be meant as a hub name: two parts around one '/', no path-like beginning. */
bool model_name_possible(const char *text);
/* Reads the address of a model's page or file on the hub whose base address is `endpoint`: ".../owner/name",
 * ".../owner/name/tree/REVISION", ".../owner/name/{blob,resolve}/REVISION/FILE". ERR_NOT_FOUND (without a message)
 * when the address is not one of these. */
Status model_name_of_url(const char *url, const char *endpoint, ModelName *name, Error *err);

/* The quantisation that a file's name tells ("UD-Q4_K_XL", "IQ2_XXS", "BF16", "MXFP4"), upper case; false when it tells
 * none. The last label in the file's name counts; failing that, the last in the folder's name. */
bool quant_of_path(const char *path, char label[QUANT_LABEL_BYTES]);
/* Whether a label is what was asked for: equal but for case, or equal behind "UD-". */
bool quant_matches(const char *label, const char *wish);

/* A file of a model cut into several: "x-00002-of-00005.gguf". */
typedef struct SplitName {
    size_t stem_bytes; /* of the path, in front of "-00002-of-..." */
    int part, parts;   /* part counts from 1 */
    const char *tail;  /* in the path: ".gguf" */
} SplitName;
bool split_of_path(const char *path, SplitName *split);

/* How well a query names a model: 0 = not at all, else the smaller the better. "owner/name:quant" is matched without
 * regard to case in full, without the quant, without the owner, without "-GGUF" at the end, and by an end of the name
 * that begins after '/', '-', '_' or '.'. */
enum { NAME_MATCH_LOOSE = 10 }; /* from here on only the end of the name fits */
int name_match(const char *name, const char *query);
/* How many single letters differ (insertions, deletions, changes, swaps), without regard to case; at most `limit` + 1.
 */
int name_distance(const char *a, const char *b, int limit);

#endif
