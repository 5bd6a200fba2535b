/* made_files.c - see made_files.h.
 *
 * Tensors of one type and content share a range of addresses, each beginning at a whole block, over memory that is filled
 * with one tile of 4,096 blocks again and again. */
#include "format/made_files.h"

#include "base/repeat_map.h"
#include "base/text.h"
#include "format/container.h"
#include "format/json.h"

#include <string.h>

enum { TILE_BLOCKS = 4096, ALIGNMENT = 64 };
static const size_t max_config_bytes = (size_t)64 << 20;

/* The memory behind the tensors of one type and content. */
typedef struct MadeRange {
    DType type;
    MadeContent content;
    size_t bytes; /* of addresses, of the tensors added so far */
    RepeatMap map;
} MadeRange;

struct MadeBytes {
    MadeRange ranges[2 * DT_COUNT];
    size_t n_range;
};

static void free_made(MadeBytes *made) {
    for (size_t i = 0; i < made->n_range; i++)
        repeat_map_close(&made->ranges[i].map);
    mem_free(made);
}

Status made_files_of_config(const char *name, json_t *config, ModelFiles **out, Error *err) {
    *out = NULL;
    FAIL_IF(!json_is_object(config), ERR_FORMAT, "%s: not a JSON object", name);
    ModelFiles *files = mem_zalloc(sizeof *files, MEM_FORMAT);
    FAIL_IF(files == NULL, ERR_MEMORY, "%s: no memory to open it", name);
    files->kind = CONTAINER_SAFETENSORS;
    files->config = json_incref(config);
    arena_init(&files->arena, MEM_FORMAT);
    files->path = mem_strdup(name, MEM_FORMAT);
    if (files->path == NULL) {
        model_files_close(files);
        return error_set(err, ERR_MEMORY, "%s: no memory to open it", name);
    }
    *out = files;
    return OK;
}

Status made_files_open(const char *path, ModelFiles **out, Error *err) {
    *out = NULL;
    char *inside = file_is_directory(path) ? path_join(path, "config.json") : mem_strdup(path, MEM_FORMAT);
    json_t *config = NULL;
    Status status = inside == NULL ? error_set(err, ERR_MEMORY, "%s: no memory to open it", path)
                                   : json_read(inside, max_config_bytes, &config, err);
    if (status == OK)
        status = made_files_of_config(path, config, out, err);
    json_decref(config);
    mem_free(inside);
    return status;
}

static Status made_of(ModelFiles *files, MadeBytes **made, Error *err) {
    if (files->made == NULL) {
        files->made = mem_zalloc(sizeof *files->made, MEM_FORMAT);
        files->free_made = free_made;
    }
    *made = files->made;
    FAIL_IF(*made == NULL, ERR_MEMORY, "%s: no memory for made tensors", files->path);
    return OK;
}

static MadeRange *range_of(MadeBytes *made, DType type, MadeContent content) {
    for (size_t i = 0; i < made->n_range; i++)
        if (made->ranges[i].type == type && made->ranges[i].content == content)
            return &made->ranges[i];
    made->ranges[made->n_range] = (MadeRange){.type = type, .content = content};
    return &made->ranges[made->n_range++];
}

/* Adds a tensor whose bytes are not there yet: file is its range, offset its place in that. */
Status made_files_add(ModelFiles *files, const char *name, DType type, size_t rows, size_t cols, MadeContent content,
                      Error *err) {
    MadeBytes *made;
    TRY(made_of(files, &made, err));
    Tensor t = {.type = type, .n_dim = 2, .dims = {rows, cols}};
    TRY(container_copy_name(files, files->path, "tensor name", name, strlen(name), 512, &t.name, err));
    TRY(container_size_tensor(files->path, &t, err));
    MadeRange *range = range_of(made, type, content);
    const size_t step = (size_t)dtype_info(type)->block_bytes * ALIGNMENT, padded = t.bytes / step * step + step;
    t.file = (int)(range - made->ranges);
    t.offset = range->bytes;
    FAIL_IF(padded < t.bytes || !size_add(range->bytes, padded, &range->bytes), ERR_LIMIT, "%s: more than can be addressed",
            files->path);
    return container_add_tensor(files, &t, err);
}

Status made_files_add_floats(ModelFiles *files, const char *name, size_t rows, size_t cols, float **numbers, Error *err) {
    Tensor t = {.type = DT_F32, .n_dim = 2, .dims = {rows, cols}, .file = -1};
    TRY(container_copy_name(files, files->path, "tensor name", name, strlen(name), 512, &t.name, err));
    TRY(container_size_tensor(files->path, &t, err));
    *numbers = arena_alloc(&files->arena, MAX(t.bytes, sizeof(float)));
    FAIL_IF(*numbers == NULL, ERR_MEMORY, "%s: no memory for %zu numbers", name, t.bytes / sizeof(float));
    memset(*numbers, 0, t.bytes);
    t.data = (const uint8_t *)*numbers;
    return container_add_tensor(files, &t, err);
}

static Status fill_range(MadeRange *range, size_t memory_bytes, MadeFillFn fill, Error *err) {
    const size_t unit = dtype_info(range->type)->block_bytes, tile = unit * TILE_BLOCKS;
    TRY(repeat_map_open(range->bytes, repeat_map_period(range->bytes, memory_bytes, unit), &range->map, err));
    uint8_t *bytes = range->map.bytes;
    TRY(fill(range->type, range->content, bytes, tile, err));
    for (size_t at = tile; at < range->map.period; at += tile)
        memcpy(bytes + at, bytes, tile);
    repeat_map_populate(&range->map);
    return OK;
}

static void tell_addresses(ModelFiles *files) {
    for (size_t i = 0; i < files->n_tensor; i++) {
        Tensor *t = &files->tensors[i];
        if (t->data == NULL)
            t->data = files->made->ranges[t->file].map.bytes + t->offset;
    }
}

Status made_files_fill(ModelFiles *files, size_t memory_bytes, MadeFillFn fill, Error *err) {
    MadeBytes *made;
    TRY(made_of(files, &made, err));
    double all = 1;
    for (size_t i = 0; i < made->n_range; i++)
        all += (double)made->ranges[i].bytes;
    for (size_t i = 0; i < made->n_range; i++)
        TRY(fill_range(&made->ranges[i], (size_t)((double)memory_bytes * ((double)made->ranges[i].bytes / all)), fill, err));
    tell_addresses(files);
    return OK;
}

Status made_files_give_addresses(ModelFiles *files, Error *err) {
    MadeBytes *made;
    TRY(made_of(files, &made, err));
    if (made->n_range == 0) { /* a header: the tensors' places are those in its file */
        made->ranges[0] = (MadeRange){.type = DT_U8};
        for (size_t i = 0; i < files->n_tensor; i++)
            made->ranges[0].bytes = MAX(made->ranges[0].bytes, files->tensors[i].offset + files->tensors[i].bytes);
        made->n_range = 1;
    }
    for (size_t i = 0; i < made->n_range; i++)
        TRY(repeat_map_open(made->ranges[i].bytes, 0, &made->ranges[i].map, err));
    tell_addresses(files);
    return OK;
}
