/* gguf_names.h - what published names are called inside GGUF files, and which configuration GGUF's keys amount to. */
#ifndef HOULE_FORMAT_GGUF_NAMES_H
#define HOULE_FORMAT_GGUF_NAMES_H

#include "format/model_files.h"

enum { GGUF_NAME_BYTES = 128 };

/* The GGUF name of a canonical tensor name ("model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight") for an
 * architecture; false when the table has none. Experts' tensors are the stacked ones. */
bool gguf_tensor_name(const char *arch, const char *canonical, char name[GGUF_NAME_BYTES]);

/* A configuration in the names of config.json, made from a GGUF file's keys (and its small tensors of rotary factors).
 * The caller owns *config (json_decref). */
Status gguf_config(const ModelFiles *files, json_t **config, Error *err);

/* general.architecture of a GGUF file, or NULL. It belongs to the files and is NUL-terminated by gguf_config's copy:
 * written into `arch`. */
bool gguf_architecture(const ModelFiles *files, char arch[64]);

/* The architecture that GGUF files of a family (its model_type) name; NULL when there are none of that family. */
const char *gguf_architecture_of(const char *model_type);

#endif
