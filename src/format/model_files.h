/* model_files.h - an opened model, whatever container it came in.
 *
 * A GGUF file (all its parts when it was split), a Hugging Face folder (config.json + *.safetensors, sharded or not) or
 * a single .safetensors file become the same thing: a list of named tensors, whose bytes are mapped, and metadata.
 * Nothing downstream knows which it was. Everything in the files is checked here: names, types, shapes, ranges.
 * Opening reads headers only and allocates for what was read, never for what a file claims. Read-only and thread-safe
 * once open. */
#ifndef HOULE_FORMAT_MODEL_FILES_H
#define HOULE_FORMAT_MODEL_FILES_H

#include "format/metadata.h"
#include "format/tensor.h"

#include <jansson.h>

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

size_t model_files_metas(const ModelFiles *files);
const MetaValue *model_files_meta(const ModelFiles *files, size_t index);
const MetaValue *model_files_meta_find(const ModelFiles *files, const char *key); /* NULL = not there */

/* ---- Hugging Face folder ------------------------------------------------------------------------------------- */

/* config.json / generation_config.json as parsed, or NULL when there is none. They belong to `files`. */
const json_t *model_files_config(const ModelFiles *files);
const json_t *model_files_generation_config(const ModelFiles *files);

#endif
