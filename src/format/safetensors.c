/* safetensors.c - a u64 length, so many bytes of JSON, then the data:
 *
 *     {"__metadata__": {"format": "pt"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
 *
 * Offsets count from the end of the header. The format forbids overlaps, holes and bytes after the last tensor. A model
 * in shards has an index beside them, a JSON file whose "weight_map" says for each tensor in which file it is.
 *
 * Headers and indices of large models are ten megabytes of JSON with a hundred thousand entries: they are pulled, not
 * parsed into trees. */
#include "format/safetensors.h"

#include "base/bytes.h"
#include "format/json_pull.h"

#include <inttypes.h>
#include <string.h>

/* What the reference implementation allows. */
static const uint64_t max_header_bytes = 100000000;
static const size_t max_name_bytes = 65535;

/* ---- one file -------------------------------------------------------------------------------------------------- */

typedef struct Header {
    ModelFiles *files;
    const char *path;
    int file;
    size_t data;       /* where it begins in the file */
    size_t data_bytes; /* how much there is */
    const uint8_t *start; /* the file's first byte; NULL when only its header is here */
    JsonPull json;
} Header;

static bool is_key(const char *key, size_t bytes, const char *wanted) {
    return strlen(wanted) == bytes && memcmp(key, wanted, bytes) == 0;
}

/* The metadata of the first file that has any is the model's; that of others is checked and left. */
static Status read_metadata(Header *h, bool wanted, Error *err) {
    TRY(json_pull_object(&h->json, err));
    for (;;) {
        bool more;
        const char *bytes, *key;
        size_t count;
        TRY(json_pull_key(&h->json, &more, &bytes, &count, err));
        if (!more)
            return OK;
        TRY(container_copy_name(h->files, h->path, "metadata key", bytes, count, max_name_bytes, &key, err));
        TRY(json_pull_string(&h->json, &bytes, &count, err));
        if (!wanted)
            continue;
        MetaValue *value;
        TRY(meta_list_add(&h->files->metas, h->path, key, &value, err));
        char *copy = arena_strndup(&h->files->arena, bytes, count);
        FAIL_IF(copy == NULL, ERR_MEMORY, "%s: no memory for its metadata", h->path);
        value->type = META_STRING;
        value->as.string.bytes = copy;
        value->as.string.count = count;
    }
}

static Status read_type(Header *h, Tensor *tensor, Error *err) {
    const char *name;
    size_t bytes;
    TRY(json_pull_string(&h->json, &name, &bytes, err));
    FAIL_IF(!dtype_of_safetensors(name, bytes, &tensor->type), ERR_UNSUPPORTED, "%s: tensor %s: unknown dtype %.*s",
            h->path, tensor->name, (int)MIN(bytes, 40), name);
    return OK;
}

static Status read_shape(Header *h, Tensor *tensor, Error *err) {
    TRY(json_pull_array(&h->json, err));
    for (;;) {
        bool more;
        uint64_t dim;
        TRY(json_pull_element(&h->json, &more, err));
        if (!more)
            return OK;
        TRY(json_pull_natural(&h->json, &dim, err));
        FAIL_IF(tensor->n_dim == TENSOR_MAX_DIMS, ERR_UNSUPPORTED, "%s: tensor %s has more than %d dimensions", h->path,
                tensor->name, TENSOR_MAX_DIMS);
        FAIL_IF(dim > INT64_MAX, ERR_FORMAT, "%s: tensor %s has a dimension of %" PRIu64, h->path, tensor->name, dim);
        tensor->dims[tensor->n_dim++] = (size_t)dim;
    }
}

static Status read_offsets(Header *h, uint64_t offsets[2], const char *name, Error *err) {
    TRY(json_pull_array(&h->json, err));
    for (int i = 0;; i++) {
        bool more;
        TRY(json_pull_element(&h->json, &more, err));
        FAIL_IF(more != (i < 2), ERR_FORMAT, "%s: tensor %s: data_offsets must be two numbers", h->path, name);
        if (!more)
            return OK;
        TRY(json_pull_natural(&h->json, &offsets[i], err));
    }
}

static Status read_tensor(Header *h, const char *name, Error *err) {
    enum { TYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    Tensor tensor = {.name = name, .file = h->file};
    uint64_t offsets[2] = {0, 0};
    unsigned seen = 0;
    TRY(json_pull_object(&h->json, err));
    for (;;) {
        bool more;
        const char *key;
        size_t bytes;
        TRY(json_pull_key(&h->json, &more, &key, &bytes, err));
        if (!more)
            break;
        const unsigned what = is_key(key, bytes, "dtype")          ? TYPE
                              : is_key(key, bytes, "shape")        ? SHAPE
                              : is_key(key, bytes, "data_offsets") ? OFFSETS
                                                                   : 0;
        FAIL_IF((seen & what) != 0, ERR_FORMAT, "%s: tensor %s has a key twice", h->path, name);
        seen |= what;
        TRY(what == TYPE      ? read_type(h, &tensor, err)
            : what == SHAPE   ? read_shape(h, &tensor, err)
            : what == OFFSETS ? read_offsets(h, offsets, name, err)
                              : json_pull_skip(&h->json, err));
    }
    FAIL_IF(seen != ALL, ERR_FORMAT, "%s: tensor %s lacks its %s", h->path, name,
            (seen & TYPE) == 0    ? "dtype"
            : (seen & SHAPE) == 0 ? "shape"
                                  : "data_offsets");
    TRY(container_size_tensor(h->path, &tensor, err));
    FAIL_IF(offsets[1] < offsets[0] || offsets[1] - offsets[0] != tensor.bytes, ERR_FORMAT,
            "%s: tensor %s: data_offsets %" PRIu64 " to %" PRIu64 " for a shape of %zu bytes", h->path, name,
            offsets[0], offsets[1], tensor.bytes);
    FAIL_IF(offsets[1] > h->data_bytes, ERR_FORMAT,
            "%s: tensor %s ends at byte %" PRIu64 " of the data, the file after %zu (is it complete?)", h->path, name,
            offsets[1], h->data_bytes);
    tensor.offset = h->data + (size_t)offsets[0];
    tensor.data = h->start != NULL ? h->start + tensor.offset : NULL;
    return container_add_tensor(h->files, &tensor, err);
}

static Status read_header(Header *h, Error *err) {
    const size_t first = h->files->n_tensor;
    const bool wanted = h->files->metas.count == 0;
    bool metadata = false;
    TRY(json_pull_object(&h->json, err));
    for (;;) {
        bool more;
        const char *key, *name;
        size_t bytes;
        TRY(json_pull_key(&h->json, &more, &key, &bytes, err));
        if (!more)
            break;
        if (is_key(key, bytes, "__metadata__")) {
            FAIL_IF(metadata, ERR_FORMAT, "%s: __metadata__ is there twice", h->path);
            metadata = true;
            TRY(read_metadata(h, wanted, err));
        } else {
            TRY(container_copy_name(h->files, h->path, "tensor name", key, bytes, max_name_bytes, &name, err));
            TRY(read_tensor(h, name, err));
        }
    }
    TRY(json_pull_finish(&h->json, err));
    return container_check_ranges(h->files, first, false, h->data, h->data + h->data_bytes, err);
}

/* The header's length, which is the file's first number. */
static Status take_length(Header *h, const uint8_t *bytes, size_t size, Error *err) {
    FAIL_IF(size < 8, ERR_FORMAT, "%s: %zu bytes are too few for a safetensors file", h->path, size);
    const uint64_t length = load_u64(bytes);
    FAIL_IF(length > size - 8, ERR_FORMAT,
            "%s: a header of %" PRIu64 " bytes, in a file of %zu (is it complete? is it safetensors?)", h->path, length,
            size);
    FAIL_IF(length > max_header_bytes, ERR_LIMIT, "%s: a header of %" PRIu64 " bytes; at most %" PRIu64 " are allowed",
            h->path, length, max_header_bytes);
    h->data = 8 + (size_t)length;
    h->data_bytes = size - h->data;
    return OK;
}

static Status read_json(Header *h, const uint8_t *bytes, Error *err) {
    json_pull_open(&h->json, (const char *)bytes + 8, h->data - 8, h->path);
    const Status status = read_header(h, err);
    json_pull_close(&h->json);
    return status;
}

Status safetensors_open(ModelFiles *files, const char *path, Error *err) {
    files->kind = CONTAINER_SAFETENSORS;
    Header h = {.files = files, .path = path};
    TRY(container_add_file(files, path, &h.file, err));
    h.start = file_map_bytes(files->maps[h.file]);
    TRY(take_length(&h, h.start, file_map_size(files->maps[h.file]), err));
    return read_json(&h, h.start, err);
}

Status safetensors_open_head(ModelFiles *files, const uint8_t *bytes, size_t have, size_t file_bytes, bool *more,
                             Error *err) {
    files->kind = CONTAINER_SAFETENSORS;
    Header h = {.files = files, .path = files->path};
    *more = have < 8 && have < file_bytes;
    FAIL_IF(*more, ERR_LIMIT, "%s: the header goes on behind the first %zu bytes", h.path, have);
    TRY(take_length(&h, bytes, file_bytes, err));
    *more = h.data > have;
    FAIL_IF(*more, ERR_LIMIT, "%s: the header goes on behind the first %zu bytes", h.path, have);
    return read_json(&h, bytes, err);
}

/* ---- an index -------------------------------------------------------------------------------------------------- */

typedef struct Place {
    const char *tensor;
    int shard;
} Place;

typedef struct ShardIndex {
    const char *path;
    Place *places;
    size_t n_place, place_capacity;
    const char **shards; /* paths, in the order of their names */
    size_t n_shard, shard_capacity;
    Map shard_by_name;
} ShardIndex;

static Status add_shard(ShardIndex *index, ModelFiles *files, const char *name, size_t bytes, int *shard, Error *err) {
    const int64_t *known = map_find(&index->shard_by_name, name, bytes);
    if (known != NULL) {
        *shard = (int)*known;
        return OK;
    }
    const char *copy;
    TRY(container_copy_name(files, index->path, "file name", name, bytes, 4096, &copy, err));
    FAIL_IF(!path_is_inside(copy), ERR_FORMAT, "%s: %s is no path within the model's folder", index->path, copy);
    FAIL_IF(index->n_shard == CONTAINER_MAX_FILES, ERR_LIMIT, "%s: names more than %d files", index->path,
            CONTAINER_MAX_FILES);
    *shard = (int)index->n_shard;
    FAIL_IF(!mem_grow((void **)&index->shards, &index->shard_capacity, index->n_shard + 1, sizeof *index->shards,
                      MEM_FORMAT) ||
                !map_put(&index->shard_by_name, copy, bytes, *shard),
            ERR_MEMORY, "%s: no memory to read it", index->path);
    index->shards[index->n_shard++] = copy;
    return OK;
}

static Status read_weight_map(ShardIndex *index, ModelFiles *files, JsonPull *json, Error *err) {
    TRY(json_pull_object(json, err));
    for (;;) {
        bool more;
        const char *bytes;
        size_t count;
        Place place;
        TRY(json_pull_key(json, &more, &bytes, &count, err));
        if (!more)
            return OK;
        TRY(container_copy_name(files, index->path, "tensor name", bytes, count, max_name_bytes, &place.tensor, err));
        TRY(json_pull_string(json, &bytes, &count, err));
        TRY(add_shard(index, files, bytes, count, &place.shard, err));
        FAIL_IF(!mem_grow((void **)&index->places, &index->place_capacity, index->n_place + 1, sizeof *index->places,
                          MEM_FORMAT),
                ERR_MEMORY, "%s: no memory for its %zu tensors", index->path, index->n_place + 1);
        index->places[index->n_place++] = place;
    }
}

static Status read_index(ShardIndex *index, ModelFiles *files, JsonPull *json, Error *err) {
    bool found = false;
    TRY(json_pull_object(json, err));
    for (;;) {
        bool more;
        const char *key;
        size_t bytes;
        TRY(json_pull_key(json, &more, &key, &bytes, err));
        if (!more)
            break;
        const bool weights = is_key(key, bytes, "weight_map");
        FAIL_IF(weights && found, ERR_FORMAT, "%s: weight_map is there twice", index->path);
        found = found || weights;
        TRY(weights ? read_weight_map(index, files, json, err) : json_pull_skip(json, err));
    }
    TRY(json_pull_finish(json, err));
    FAIL_IF(index->n_place == 0, ERR_FORMAT, "%s: its weight_map names no tensor", index->path);
    return OK;
}

/* All that are missing are counted before any is opened: a download that broke off should be told as such. */
static Status check_shards(const ShardIndex *index, const char *folder, Error *err) {
    size_t missing = 0;
    const char *first = NULL;
    for (size_t i = 0; i < index->n_shard; i++) {
        char *path = path_join(folder, index->shards[i]);
        FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory to open its files", index->path);
        if (!file_exists(path) && missing++ == 0)
            first = index->shards[i];
        mem_free(path);
    }
    FAIL_IF(missing > 0, ERR_NOT_FOUND, "%s: %zu of its %zu files are missing, the first is %s", index->path, missing,
            index->n_shard, first);
    return OK;
}

static Status open_shards(ShardIndex *index, ModelFiles *files, const char *folder, Error *err) {
    TRY(check_shards(index, folder, err));
    for (size_t i = 0; i < index->n_shard; i++) {
        char *path = path_join(folder, index->shards[i]);
        FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory to open its files", index->path);
        const Status status = safetensors_open(files, path, err);
        mem_free(path);
        TRY(status);
    }
    for (size_t i = 0; i < index->n_place; i++) {
        const Place *place = &index->places[i];
        const Tensor *tensor = container_find(files, place->tensor);
        FAIL_IF(tensor == NULL || tensor->file != place->shard, ERR_FORMAT, "%s: tensor %s is not in %s", index->path,
                place->tensor, index->shards[place->shard]);
    }
    return OK;
}

Status safetensors_open_index(ModelFiles *files, const char *path, Error *err) {
    files->kind = CONTAINER_SAFETENSORS;
    FileMap *map;
    TRY(file_map_open(path, &map, err));
    ShardIndex index = {.path = path};
    JsonPull json;
    json_pull_open(&json, (const char *)file_map_bytes(map), file_map_size(map), path);
    Status status = read_index(&index, files, &json, err);
    json_pull_close(&json);
    file_map_close(map);
    if (status == OK)
        status = open_shards(&index, files, files->folder, err);
    mem_free(index.places);
    mem_free(index.shards);
    map_free(&index.shard_by_name);
    return status;
}
