/* container.h - the inside of a ModelFiles, and what the readers of the containers fill it with. Inside this room. */
#ifndef HOULE_FORMAT_CONTAINER_H
#define HOULE_FORMAT_CONTAINER_H

#include "base/arena.h"
#include "base/file.h"
#include "base/map.h"
#include "format/metadata.h"
#include "format/tensor.h"

#include <jansson.h>

/* As many files as base/file.c can guard against being cut short. */
enum { CONTAINER_MAX_FILES = 4096 };

/* The memory of tensors that were made up (made_files.c). */
typedef struct MadeBytes MadeBytes;

/* What model_files.h gives out as an opened model. */
typedef struct ModelFiles {
    ContainerKind kind;
    int version;
    char *path;
    char *folder;
    Arena arena; /* names, keys, what had to be unescaped, starts of strings */
    FileMap **maps;
    size_t n_map, map_capacity;
    Tensor *tensors;
    size_t n_tensor, tensor_capacity;
    Map by_name;
    MetaList metas;
    json_t *config;
    json_t *generation_config;
    MadeBytes *made; /* or NULL; whoever makes it says how it is freed */
    void (*free_made)(MadeBytes *made);
} ModelFiles;

/* Forgets all files and what was read from them; path and folder stay. */
void container_clear(ModelFiles *files);

/* Maps a file and adds it; *file is its number. */
Status container_add_file(ModelFiles *files, const char *path, int *file, Error *err);

/* A copy that ends in NUL, after checks: not empty, at most `limit` bytes, UTF-8, no NUL within. `what` ("tensor name")
 * is for the message. */
Status container_copy_name(ModelFiles *files, const char *path, const char *what, const char *bytes, size_t count,
                           size_t limit, const char **name, Error *err);

/* Sets tensor->bytes from its type and shape. Fails where rows are no multiple of the type's block or a product does
 * not fit into 63 bits. */
Status container_size_tensor(const char *path, Tensor *tensor, Error *err);

/* Adds a tensor; refuses a name that is there. */
Status container_add_tensor(ModelFiles *files, const Tensor *tensor, Error *err);
/* NULL = not there. */
const Tensor *container_find(const ModelFiles *files, const char *name);

/* The tensors from number `first` on must not overlap. Without `gaps` their bytes must also cover [start, end) of the
 * file whole. */
Status container_check_ranges(const ModelFiles *files, size_t first, bool gaps, size_t start, size_t end, Error *err);

#endif
