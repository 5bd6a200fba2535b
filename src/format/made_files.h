/* made_files.h - a model that nobody published: tensors by name and shape, with bytes made here.
 *
 * For measuring and planning. What comes out is a ModelFiles like any other, so that everything downstream is as for a real
 * model: names are looked up, shapes checked, bytes read in place. The bytes of large tensors lie in memory that repeats
 * itself (base/repeat_map.h), so a model needs no more memory than the caller grants. */
#ifndef HOULE_FORMAT_MADE_FILES_H
#define HOULE_FORMAT_MADE_FILES_H

#include "format/model_files.h"

/* A config.json (whatever its name), or a folder with one: settings, and no tensors yet. */
Status made_files_open(const char *path, ModelFiles **files, Error *err);

/* The same of settings that were read already; `name` is what messages call them. Takes a reference. */
Status made_files_of_config(const char *name, json_t *config, ModelFiles **files, Error *err);

/* What a tensor's bytes stand for, beside its type. */
typedef enum MadeContent {
    MADE_NUMBERS, /* weights, floats, scales as floats */
    MADE_POWERS,  /* exponents of two, in bytes (E8M0) */
} MadeContent;

/* Adds a tensor [rows, cols]; its bytes come by made_files_fill. A name that is there is an error. */
Status made_files_add(ModelFiles *files, const char *name, DType type, size_t rows, size_t cols, MadeContent content,
                      Error *err);
/* Adds a small tensor of floats, zeros for the caller to write. */
Status made_files_add_floats(ModelFiles *files, const char *name, size_t rows, size_t cols, float **numbers, Error *err);

/* Writes `bytes` bytes (whole blocks) of a type: valid codes, finite scales. */
typedef Status (*MadeFillFn)(DType type, MadeContent content, uint8_t *tile, size_t bytes, Error *err);
/* Gives all tensors their bytes: in about `memory_bytes` of memory, however large they are together. */
Status made_files_fill(ModelFiles *files, size_t memory_bytes, MadeFillFn fill, Error *err);
/* Gives tensors without bytes, made ones or those of a header (model_files_open_head), addresses that read as zeros and take
 * no memory: enough for whoever asks for forms and sizes only. */
Status made_files_give_addresses(ModelFiles *files, Error *err);

#endif
