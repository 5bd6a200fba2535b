/* container.c - see container.h: the checks that all containers share. */
#include "format/container.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

void container_clear(ModelFiles *files) {
    for (size_t i = 0; i < files->n_map; i++)
        file_map_close(files->maps[i]);
    mem_free(files->maps);
    mem_free(files->tensors);
    map_free(&files->by_name);
    meta_list_free(&files->metas);
    arena_free(&files->arena);
    if (files->made != NULL)
        files->free_made(files->made);
    files->made = NULL;
    files->maps = NULL;
    files->tensors = NULL;
    files->n_map = files->map_capacity = files->n_tensor = files->tensor_capacity = 0;
    files->version = 0;
}

Status container_add_file(ModelFiles *files, const char *path, int *file, Error *err) {
    FAIL_IF(files->n_map == CONTAINER_MAX_FILES, ERR_LIMIT, "%s: a model of more than %d files", path,
            CONTAINER_MAX_FILES);
    FAIL_IF(!mem_grow((void **)&files->maps, &files->map_capacity, files->n_map + 1, sizeof *files->maps, MEM_FORMAT),
            ERR_MEMORY, "%s: no memory to open it", path);
    TRY(file_map_open(path, &files->maps[files->n_map], err));
    *file = (int)files->n_map++;
    return OK;
}

Status container_copy_name(ModelFiles *files, const char *path, const char *what, const char *bytes, size_t count,
                           size_t limit, const char **name, Error *err) {
    FAIL_IF(count == 0, ERR_FORMAT, "%s: an empty %s", path, what);
    FAIL_IF(count > limit, ERR_FORMAT, "%s: a %s of %zu bytes; at most %zu are allowed", path, what, count, limit);
    char *copy = arena_strndup(&files->arena, bytes, count);
    FAIL_IF(copy == NULL, ERR_MEMORY, "%s: no memory for its names", path);
    /* The copy is checked, not the mapping: that one may change while we look. */
    FAIL_IF(memchr(copy, '\0', count) != NULL || !utf8_valid(copy, count), ERR_FORMAT,
            "%s: a %s that is not UTF-8 text: \"%.60s\"", path, what, copy);
    *name = copy;
    return OK;
}

Status container_size_tensor(const char *path, Tensor *tensor, Error *err) {
    const DTypeInfo *info = dtype_info(tensor->type);
    const size_t columns = tensor_columns(tensor);
    bool empty = false;
    for (int i = 0; i < tensor->n_dim; i++)
        empty = empty || tensor->dims[i] == 0;
    FAIL_IF(columns % info->block_length != 0, ERR_FORMAT,
            "%s: tensor %s: rows of %zu numbers; %s needs a multiple of %d", path, tensor->name, columns, info->name,
            info->block_length);
    size_t bytes = dtype_row_bytes(tensor->type, columns), numbers = columns;
    bool fits = bytes > 0 || columns == 0;
    for (int i = 0; i < tensor->n_dim - 1 && fits && !empty; i++)
        fits = size_mul(bytes, tensor->dims[i], &bytes) && size_mul(numbers, tensor->dims[i], &numbers);
    FAIL_IF(!empty && (!fits || bytes > INT64_MAX || numbers > INT64_MAX), ERR_FORMAT,
            "%s: tensor %s: a shape whose size does not fit into 63 bits", path, tensor->name);
    tensor->bytes = empty ? 0 : bytes;
    return OK;
}

/* A head (model_files_open_head) has no files, only the name that it was given. */
static const char *path_of_file(const ModelFiles *files, size_t file) {
    return file < files->n_map ? file_map_path(files->maps[file]) : files->path;
}

Status container_add_tensor(ModelFiles *files, const Tensor *tensor, Error *err) {
    const char *path = path_of_file(files, (size_t)tensor->file);
    const size_t length = strlen(tensor->name);
    const int64_t *known = map_find(&files->by_name, tensor->name, length);
    if (known != NULL) {
        const int other = files->tensors[*known].file;
        return error_set(err, ERR_FORMAT, "%s: tensor %s is there twice%s%s", path, tensor->name,
                         other == tensor->file ? "" : ", also in ",
                         other == tensor->file ? "" : path_name(path_of_file(files, (size_t)other)));
    }
    FAIL_IF(!mem_grow((void **)&files->tensors, &files->tensor_capacity, files->n_tensor + 1, sizeof *files->tensors,
                      MEM_FORMAT) ||
                !map_put(&files->by_name, tensor->name, length, (int64_t)files->n_tensor),
            ERR_MEMORY, "%s: no memory for its %zu tensors", path, files->n_tensor + 1);
    files->tensors[files->n_tensor++] = *tensor;
    return OK;
}

const Tensor *container_find(const ModelFiles *files, const char *name) {
    const int64_t *index = map_find(&files->by_name, name, strlen(name));
    return index != NULL ? &files->tensors[*index] : NULL;
}

static int by_offset(const void *a, const void *b) {
    const Tensor *const x = *(const Tensor *const *)a, *const y = *(const Tensor *const *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

Status container_check_ranges(const ModelFiles *files, size_t first, bool gaps, size_t start, size_t end, Error *err) {
    const size_t count = files->n_tensor - first;
    if (count == 0 && (gaps || start == end))
        return OK;
    const char *path = path_of_file(files, files->n_map > 0 ? files->n_map - 1 : 0);
    const Tensor **sorted = mem_array(count + 1, sizeof *sorted, MEM_FORMAT);
    FAIL_IF(sorted == NULL, ERR_MEMORY, "%s: no memory to check its tensors", path);
    bool in_order = true; /* as nearly all files are */
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &files->tensors[first + i];
        in_order = in_order && (i == 0 || by_offset(&sorted[i - 1], &sorted[i]) <= 0);
    }
    if (!in_order)
        qsort(sorted, count, sizeof *sorted, by_offset);
    Status status = OK;
    size_t covered = start;
    const char *before = NULL;
    for (size_t i = 0; i < count && status == OK; i++) {
        const Tensor *t = sorted[i];
        if (t->bytes == 0)
            continue; /* it occupies nothing, wherever it is */
        if (t->offset < covered && before != NULL)
            status = error_set(err, ERR_FORMAT, "%s: the bytes of tensors %s and %s overlap", path, before, t->name);
        else if (t->offset > covered && !gaps)
            status = error_set(err, ERR_FORMAT, "%s: %zu bytes before tensor %s belong to none", path,
                               t->offset - covered, t->name);
        covered = t->offset + t->bytes;
        before = t->name;
    }
    if (status == OK && !gaps && covered != end)
        status = error_set(err, ERR_FORMAT, "%s: %zu bytes after the last tensor", path, end - covered);
    mem_free(sorted);
    return status;
}
