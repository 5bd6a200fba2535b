/* model_files.h - an opened model, whatever container it came in.
 *
 * A GGUF file (all its parts when it was split), a Hugging Face folder (config.json + *.safetensors, sharded or not) or
 * a single .safetensors file become the same thing: a list of named tensors, whose bytes are mapped, and metadata.
 * Nothing downstream knows which it was. Everything in the files is checked here: names, types, shapes, ranges.
 * Opening reads headers only and allocates for what was read, never for what a file claims. Read-only and thread-safe
 * once open. */
#ifndef HOULE_FORMAT_MODEL_FILES_H
#define HOULE_FORMAT_MODEL_FILES_H

#include "format/dtype.h"

#include <jansson.h>

enum { TENSOR_MAX_DIMS = 8 };

typedef struct Tensor {
    const char *name;             /* as in the file: valid UTF-8, not empty, without NUL */
    DType type;
    int n_dim;                    /* 0 = a single number */
    size_t dims[TENSOR_MAX_DIMS]; /* row-major: the last is contiguous (GGUF's order is turned round); may be 0 */
    const uint8_t *data;          /* in the mapping; safetensors promises no alignment, not even the number's own */
    size_t bytes;                 /* all within the file; 0 when a dimension is 0 */
    int file;                     /* which of the files */
    size_t offset;                /* of data in that file */
} Tensor;

typedef enum ContainerKind { CONTAINER_GGUF, CONTAINER_SAFETENSORS } ContainerKind;

typedef struct ModelFiles ModelFiles;

/* Opens
 *   - a GGUF or safetensors file, told by its content, whatever its name; of a split GGUF any part, all are opened;
 *   - an index (*.safetensors.index.json): the shards that it names;
 *   - a folder: its index if there is one, else model.safetensors (diffusion_pytorch_model.safetensors), else all
 *     *.safetensors but consolidated*.safetensors, else its only GGUF model. Folders within are not looked at. A
 *     folder that holds config.json and/or tokenizer files but no weights opens too, without tensors. */
Status model_files_open(const char *path, ModelFiles **files, Error *err);
void model_files_close(ModelFiles *files); /* NULL is fine */

/* Opens what the first `have` bytes of one file of `file_bytes` tell, for looking at a model before it is downloaded:
 * metadata, and the tensors of that file with data = NULL. `name` is what messages call it. The bytes must outlive the
 * result. Fails with *more set to true when the header goes on behind them: then read more and try again. No other
 * file is opened, and there is none to ask for (model_files_count is 0). */
Status model_files_open_head(const char *name, const uint8_t *bytes, size_t have, size_t file_bytes, bool *more,
                             ModelFiles **files, Error *err);

ContainerKind model_files_kind(const ModelFiles *files);
/* GGUF's version; 0 for safetensors. */
int model_files_version(const ModelFiles *files);
/* The path that was opened; the folder in which the model's other files (tokenizer.json, ...) lie, or NULL (GGUF). */
const char *model_files_path(const ModelFiles *files);
const char *model_files_folder(const ModelFiles *files);

size_t model_files_tensors(const ModelFiles *files);
const Tensor *model_files_tensor(const ModelFiles *files, size_t index);
const Tensor *model_files_find(const ModelFiles *files, const char *name); /* NULL = not there */
/* The numbers of a tensor: the product of its dimensions, which is known to fit. */
size_t tensor_numbers(const Tensor *tensor);
/* The length of a row (the last dimension; 1 for a single number) and how many rows there are. */
size_t tensor_columns(const Tensor *tensor);
size_t tensor_rows(const Tensor *tensor);

/* The files behind it: for messages, for reading around the page cache, for dropping pages. */
int model_files_count(const ModelFiles *files);
const char *model_files_file_path(const ModelFiles *files, int file);
size_t model_files_file_bytes(const ModelFiles *files, int file);
struct FileMap *model_files_map(const ModelFiles *files, int file);
/* ERR_IO, naming the file, once a mapped file turned out shorter than it was. */
Status model_files_check(const ModelFiles *files, Error *err);

/* ---- metadata ------------------------------------------------------------------------------------------------
 * GGUF's keys and values (of the first part, when it was split), or the strings of safetensors' __metadata__ (of the
 * first file that has any). */

typedef enum MetaType {
    META_U8, META_I8, META_U16, META_I16, META_U32, META_I32, META_F32, META_BOOL, META_STRING, META_ARRAY,
    META_U64, META_I64, META_F64
} MetaType; /* GGUF's numbers */

typedef struct MetaValue {
    const char *key; /* valid UTF-8, not empty, without NUL */
    MetaType type;
    union {
        int64_t integer;  /* integers and bool (0 or 1) */
        uint64_t natural; /* META_U64, which may lie above INT64_MAX; below it `integer` is the same */
        double real;      /* F32 and F64 */
        struct { const char *bytes; size_t count; } string; /* any bytes, not NUL-terminated */
        struct {
            MetaType type; /* never META_ARRAY */
            size_t count;
            const uint8_t *data;    /* first element as stored (unaligned), numbers little-endian */
            const uint64_t *starts; /* for strings: offset from data of each element's bytes; count + 1 entries,
                                       element i has the bytes [starts[i], starts[i + 1] - 8) */
        } array;
    } as;
} MetaValue;

size_t model_files_metas(const ModelFiles *files);
const MetaValue *model_files_meta(const ModelFiles *files, size_t index);
const MetaValue *model_files_meta_find(const ModelFiles *files, const char *key); /* NULL = not there */
const char *meta_type_name(MetaType type); /* as GGUF calls it: "uint32", "string" */

/* The value as a number; `meta` may be NULL. false when it is of another kind (a real is no integer, an integer is a
 * real) or out of range. */
bool meta_int(const MetaValue *meta, int64_t *number);
bool meta_real(const MetaValue *meta, double *number);
/* Element of an array of numbers as a value of its own, without key. */
bool meta_array_element(const MetaValue *array, size_t index, MetaValue *element);
/* Element of an array likewise; strings: bytes and count, not NUL-terminated. */
bool meta_array_int(const MetaValue *array, size_t index, int64_t *number);
bool meta_array_real(const MetaValue *array, size_t index, double *number);
bool meta_array_string(const MetaValue *array, size_t index, const char **bytes, size_t *count);

/* ---- Hugging Face folder ------------------------------------------------------------------------------------- */

/* config.json / generation_config.json as parsed, or NULL when there is none. They belong to `files`. */
const json_t *model_files_config(const ModelFiles *files);
const json_t *model_files_generation_config(const ModelFiles *files);

#endif
