/* model_files.c - see model_files.h: which files make up a model, and the view of them that all others get. */
#include "format/model_files.h"

#include "base/bytes.h"
#include "base/text.h"
#include "format/container.h"
#include "format/gguf.h"
#include "format/json.h"
#include "format/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const size_t max_config_bytes = (size_t)64 << 20;

/* ---- what a file is -------------------------------------------------------------------------------------------- */

static bool begins(const uint8_t *bytes, size_t size, const char *with) {
    return size >= strlen(with) && memcmp(bytes, with, strlen(with)) == 0;
}

/* Told by content, because files in a store of blobs have no suffix; the suffix decides about broken ones. */
static Status tell_kind(const char *path, ContainerKind *kind, Error *err) {
    FileMap *map;
    TRY(file_map_open(path, &map, err));
    const uint8_t *bytes = file_map_bytes(map);
    const size_t size = file_map_size(map);
    Status status = OK;
    if (begins(bytes, size, "version https://git-lfs"))
        status = error_set(err, ERR_FORMAT,
                           "%s: a pointer of Git LFS, not the file itself: get it with 'git lfs pull' or 'houle pull'",
                           path);
    else if (begins(bytes, size, "GGUF") || ends_with(path, ".gguf"))
        *kind = CONTAINER_GGUF;
    else if (ends_with(path, ".safetensors") || (size > 8 && load_u64(bytes) <= size - 8 && bytes[8] == '{'))
        *kind = CONTAINER_SAFETENSORS;
    else if (begins(bytes, size, "PK\003\004") || (size > 1 && bytes[0] == 0x80 && bytes[1] <= 5))
        status = error_set(err, ERR_UNSUPPORTED,
                           "%s: a PyTorch file, which is a program (pickle) and is not run: use a safetensors version",
                           path);
    else
        status = error_set(err, ERR_FORMAT, "%s: neither a GGUF nor a safetensors file", path);
    file_map_close(map);
    return status;
}

/* ---- folders --------------------------------------------------------------------------------------------------- */

typedef struct Listing {
    char **names;
    size_t count, capacity;
} Listing;

static void listing_free(Listing *listing) {
    for (size_t i = 0; i < listing->count; i++)
        mem_free(listing->names[i]);
    mem_free(listing->names);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder that end in `suffix`, sorted: what a model consists of must not depend on the disk. */
static Status list_folder(const char *folder, const char *suffix, Listing *listing, Error *err) {
    DIR *directory = opendir(folder);
    FAIL_IF(directory == NULL, ERR_IO, "%s: cannot be listed: %s", folder, strerror(errno));
    Status status = OK;
    for (const struct dirent *entry; status == OK && (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.' || !ends_with(entry->d_name, suffix))
            continue;
        char *name = mem_strdup(entry->d_name, MEM_FORMAT);
        if (name == NULL || !mem_grow((void **)&listing->names, &listing->capacity, listing->count + 1,
                                      sizeof *listing->names, MEM_FORMAT)) {
            mem_free(name);
            status = error_set(err, ERR_MEMORY, "%s: no memory to list it", folder);
        } else {
            listing->names[listing->count++] = name;
        }
    }
    closedir(directory);
    if (listing->count > 1)
        qsort(listing->names, listing->count, sizeof *listing->names, by_name);
    return status;
}

typedef Status OpenFn(ModelFiles *files, const char *path, Error *err);

static Status open_in_folder(ModelFiles *files, const char *name, OpenFn *open, Error *err) {
    char *path = path_join(files->folder, name);
    FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory to open it", files->folder);
    const Status status = open(files, path, err);
    mem_free(path);
    return status;
}

static Status has_file(const char *folder, const char *name, bool *there, Error *err) {
    char *path = path_join(folder, name);
    FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory to look into it", folder);
    *there = file_exists(path);
    mem_free(path);
    return OK;
}

/* Opens the first of the names that is there. */
static Status try_names(ModelFiles *files, const char *const *names, size_t count, OpenFn *open, bool *opened,
                        Error *err) {
    *opened = false;
    for (size_t i = 0; i < count && !*opened; i++) {
        TRY(has_file(files->folder, names[i], opened, err));
        if (*opened)
            TRY(open_in_folder(files, names[i], open, err));
    }
    return OK;
}

/* All safetensors files together, but those in the layout of the model's makers (consolidated.safetensors, beside the
 * published one): they would be the same weights under other names. */
static Status open_all_safetensors(ModelFiles *files, const Listing *listing, bool *opened, Error *err) {
    *opened = false;
    for (size_t i = 0; i < listing->count; i++) {
        if (starts_with(listing->names[i], "consolidated"))
            continue;
        TRY(open_in_folder(files, listing->names[i], safetensors_open, err));
        *opened = true;
    }
    return OK;
}

/* The only GGUF model in the folder; a split one counts once, projectors for images (mmproj) do not. */
static Status open_only_gguf(ModelFiles *files, const Listing *listing, bool *opened, Error *err) {
    const char *found[2] = {NULL, NULL};
    size_t count = 0;
    for (size_t i = 0; i < listing->count; i++) {
        const char *name = listing->names[i];
        if (starts_with(name, "mmproj") || gguf_is_later_part(name))
            continue;
        if (count < COUNT(found))
            found[count] = name;
        count++;
    }
    FAIL_IF(count > 1, ERR_ARGUMENT, "%s: holds %zu GGUF models (%s, %s%s): say which", files->folder, count, found[0],
            found[1], count > 2 ? ", ..." : "");
    *opened = count == 1;
    return *opened ? open_in_folder(files, found[0], gguf_open, err) : OK;
}

static Status open_listed(ModelFiles *files, const char *suffix,
                          Status (*open)(ModelFiles *, const Listing *, bool *, Error *), bool *opened, Error *err) {
    Listing listing = {0};
    Status status = list_folder(files->folder, suffix, &listing, err);
    if (status == OK)
        status = open(files, &listing, opened, err);
    listing_free(&listing);
    return status;
}

static Status open_folder(ModelFiles *files, Error *err) {
    static const char *const indices[] = {"model.safetensors.index.json",
                                          "diffusion_pytorch_model.safetensors.index.json"};
    static const char *const singles[] = {"model.safetensors", "diffusion_pytorch_model.safetensors"};
    static const char *const others[] = {"config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                                         "vocab.json",  "tekken.json",    "model_index.json"};
    files->kind = CONTAINER_SAFETENSORS;
    bool opened;
    TRY(try_names(files, indices, COUNT(indices), safetensors_open_index, &opened, err));
    if (!opened)
        TRY(try_names(files, singles, COUNT(singles), safetensors_open, &opened, err));
    if (!opened)
        TRY(open_listed(files, ".safetensors", open_all_safetensors, &opened, err));
    if (!opened)
        TRY(open_listed(files, ".gguf", open_only_gguf, &opened, err));
    for (size_t i = 0; i < COUNT(others) && !opened; i++)
        TRY(has_file(files->folder, others[i], &opened, err));
    FAIL_IF(!opened, ERR_NOT_FOUND, "%s: no model in this folder: no *.safetensors, *.gguf, config or tokenizer",
            files->folder);
    return OK;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

static Status read_config(const ModelFiles *files, const char *name, json_t **config, Error *err) {
    char *path = path_join(files->folder, name);
    FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory to open it", files->folder);
    Status status = OK;
    if (file_exists(path))
        status = json_read(path, max_config_bytes, config, err);
    if (status == OK && *config != NULL && !json_is_object(*config))
        status = error_set(err, ERR_FORMAT, "%s: not a JSON object", path);
    mem_free(path);
    return status;
}

/* The folder of a file: what comes before the last '/', or the current one. */
static char *folder_of(const char *path) {
    const char *name = path_name(path);
    if (name == path)
        return mem_strdup(".", MEM_FORMAT);
    const size_t length = (size_t)(name - path);
    return mem_strndup(path, length > 1 ? length - 1 : length, MEM_FORMAT);
}

static Status open_any(ModelFiles *files, Error *err) {
    const char *path = files->path;
    const bool is_folder = file_is_directory(path);
    files->folder = is_folder ? mem_strdup(path, MEM_FORMAT) : folder_of(path);
    FAIL_IF(files->folder == NULL, ERR_MEMORY, "%s: no memory to open it", path);
    ContainerKind kind = CONTAINER_SAFETENSORS;
    if (is_folder) {
        TRY(open_folder(files, err));
        kind = files->kind;
    } else if (ends_with(path, ".safetensors.index.json")) {
        TRY(safetensors_open_index(files, path, err));
    } else {
        TRY(tell_kind(path, &kind, err));
        TRY(kind == CONTAINER_GGUF ? gguf_open(files, path, err) : safetensors_open(files, path, err));
    }
    if (kind == CONTAINER_GGUF) { /* has all in itself; what lies beside it may be another model's */
        mem_free(files->folder);
        files->folder = NULL;
    } else {
        TRY(read_config(files, "config.json", &files->config, err));
        TRY(read_config(files, "generation_config.json", &files->generation_config, err));
    }
    return model_files_check(files, err);
}

Status model_files_open(const char *path, ModelFiles **out, Error *err) {
    *out = NULL;
    ModelFiles *files = mem_zalloc(sizeof *files, MEM_FORMAT);
    FAIL_IF(files == NULL, ERR_MEMORY, "%s: no memory to open it", path);
    arena_init(&files->arena, MEM_FORMAT);
    files->path = mem_strdup(path, MEM_FORMAT);
    const Status status =
        files->path != NULL ? open_any(files, err) : error_set(err, ERR_MEMORY, "%s: no memory to open it", path);
    if (status != OK) {
        model_files_close(files);
        return status;
    }
    *out = files;
    return OK;
}

Status model_files_open_head(const char *name, const uint8_t *bytes, size_t have, size_t file_bytes, bool *more,
                             ModelFiles **out, Error *err) {
    *out = NULL;
    *more = false;
    ModelFiles *files = mem_zalloc(sizeof *files, MEM_FORMAT);
    FAIL_IF(files == NULL, ERR_MEMORY, "%s: no memory to open it", name);
    arena_init(&files->arena, MEM_FORMAT);
    files->path = mem_strdup(name, MEM_FORMAT);
    Status status = OK;
    if (files->path == NULL)
        status = error_set(err, ERR_MEMORY, "%s: no memory to open it", name);
    else if (begins(bytes, have, "GGUF"))
        status = gguf_open_head(files, bytes, have, file_bytes, more, err);
    else
        status = safetensors_open_head(files, bytes, have, file_bytes, more, err);
    if (status != OK) {
        model_files_close(files);
        return status;
    }
    *out = files;
    return OK;
}

void model_files_close(ModelFiles *files) {
    if (files == NULL)
        return;
    container_clear(files);
    json_decref(files->config);
    json_decref(files->generation_config);
    mem_free(files->folder);
    mem_free(files->path);
    mem_free(files);
}

/* ---- the view -------------------------------------------------------------------------------------------------- */

ContainerKind model_files_kind(const ModelFiles *files) {
    return files->kind;
}

int model_files_version(const ModelFiles *files) {
    return files->version;
}

const char *model_files_path(const ModelFiles *files) {
    return files->path;
}

const char *model_files_folder(const ModelFiles *files) {
    return files->folder;
}

size_t model_files_tensors(const ModelFiles *files) {
    return files->n_tensor;
}

const Tensor *model_files_tensor(const ModelFiles *files, size_t index) {
    return index < files->n_tensor ? &files->tensors[index] : NULL;
}

const Tensor *model_files_find(const ModelFiles *files, const char *name) {
    return container_find(files, name);
}

int model_files_count(const ModelFiles *files) {
    return (int)files->n_map;
}

const char *model_files_file_path(const ModelFiles *files, int file) {
    return file_map_path(files->maps[file]);
}

size_t model_files_file_bytes(const ModelFiles *files, int file) {
    return file_map_size(files->maps[file]);
}

FileMap *model_files_map(const ModelFiles *files, int file) {
    return files->maps[file];
}

Status model_files_check(const ModelFiles *files, Error *err) {
    for (size_t i = 0; i < files->n_map; i++)
        FAIL_IF(file_map_broken(files->maps[i]), ERR_IO,
                "%s: has become shorter than it was, or cannot be read any more", file_map_path(files->maps[i]));
    return OK;
}

size_t model_files_metas(const ModelFiles *files) {
    return files->metas.count;
}

const MetaValue *model_files_meta(const ModelFiles *files, size_t index) {
    return index < files->metas.count ? &files->metas.items[index] : NULL;
}

const MetaValue *model_files_meta_find(const ModelFiles *files, const char *key) {
    return meta_list_find(&files->metas, key);
}

const json_t *model_files_config(const ModelFiles *files) {
    return files->config;
}

const json_t *model_files_generation_config(const ModelFiles *files) {
    return files->generation_config;
}
