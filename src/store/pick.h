/* pick.h - which files of a repository make the model that was asked for.
 *
 * A repository holds more than one wants: a dozen quantisations, the same weights in three formats, pickles, pictures.
 *   - GGUF: one quantisation, all its parts, and the projector ("mmproj") when there is one.
 *   - otherwise the safetensors files that the index names (or that the usual names tell), and the small files that
 *     they need: configuration, tokenizer, chat template.
 * Pickles are never taken: opening one runs what is in it. Copies ("original/", "consolidated", "fp16" beside the full
 * set) are passed over. */
#ifndef HOULE_STORE_PICK_H
#define HOULE_STORE_PICK_H

#include "store/hub.h"

#include <jansson.h>

typedef struct Pick {
    const HubFile **files; /* in the order in which they are wanted: small ones first */
    size_t n_file;
    bool gguf;
    const char *entry;             /* what model_files_open gets, below the model's folder; "" = the folder itself */
    const char *weights;           /* the first file of weights, for looking at its header */
    char label[QUANT_LABEL_BYTES]; /* GGUF: the quantisation, "" = the name tells none */
    const char *selection;         /* what the model's name has after ':'; "" = nothing */
    const char *others;            /* other quantisations, "Q8_0 (4.0 GiB), ..."; "" = none */
} Pick;

/* `wish` is a quantisation, a file's name, "safetensors", or "". `index` is the parsed *.safetensors.index.json that
 * pick_index names, or NULL. The Pick lives in the arena and points into `model`. */
Status pick_files(const HubModel *model, const char *wish, const json_t *index, Arena *arena, Pick *pick, Error *err);
/* The index that has to be read first; NULL when none is needed. */
const HubFile *pick_index(const HubModel *model, const char *wish);

/* Whether a file is a GGUF model or the first part of one (no projector, no table of importances). */
bool pick_begins_gguf(const char *path);

/* "BF16", "FP8", "AWQ": what a config.json says of the weights' type; "" when it says nothing. */
void pick_label_of_config(const json_t *config, char label[QUANT_LABEL_BYTES]);

#endif
