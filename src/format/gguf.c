/* gguf.c - GGUF, versions 2 and 3, little-endian:
 *
 *     "GGUF" version n_tensors n_keys │ key type value … │ name n_dims dims… type offset … │ padding │ data
 *       4      u32      u64      u64  │    n_keys times  │       n_tensors times           │ to the alignment
 *
 * Strings are a u64 length and bytes. Offsets count from the start of the data. Nothing that the file says is believed:
 * every length is compared with the bytes that are left before it is used, and lists grow with what was really read, so
 * that a count of 2^61 costs one error. Values of arrays stay in the mapping.
 *
 * A split model is files x-00001-of-0000N.gguf …, each a GGUF of its own; the keys split.no (from 0) and split.count
 * say which. The model's metadata is in the first. */
#include "format/gguf.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    GGUF_MAX_KEY = 65535,
    /* The specification says 64 and language models keep to it; programs for image models write up to 127. */
    GGUF_MAX_NAME = 128,
    GGUF_MAX_DIMS = 4,
    GGUF_MAX_STRINGS = 1 << 24, /* in one array; the largest vocabularies have 2^18 words and 2^20 merges */
    GGUF_DEFAULT_ALIGNMENT = 32,
    MIN_META_BYTES = 8 + 1 + 4 + 1,       /* a key of one letter, type, value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8, /* a name of one letter, no dimensions, type, offset */
};

typedef struct Reader {
    ModelFiles *files;
    MetaList *metas;
    const char *path;
    int file;
    const uint8_t *bytes;
    size_t size, at;
    size_t have; /* of size: less when only the beginning of a file is here */
    bool more;   /* the header goes on behind what is here */
} Reader;

/* ---- pieces ---------------------------------------------------------------------------------------------------- */

static Status take(Reader *r, size_t count, const char *what, const uint8_t **bytes, Error *err) {
    *bytes = r->bytes + r->at;
    FAIL_IF(count > r->size - r->at, ERR_FORMAT, "%s: the file ends inside %s: at byte %zu of %zu, %zu more are needed",
            r->path, what, r->at, r->size, count);
    r->more = count > r->have - r->at;
    FAIL_IF(r->more, ERR_LIMIT, "%s: the header goes on behind the first %zu bytes", r->path, r->have);
    r->at += count;
    return OK;
}

static Status take_u32(Reader *r, const char *what, uint32_t *number, Error *err) {
    const uint8_t *at;
    TRY(take(r, 4, what, &at, err));
    *number = load_u32(at);
    return OK;
}

static Status take_u64(Reader *r, const char *what, uint64_t *number, Error *err) {
    const uint8_t *at;
    TRY(take(r, 8, what, &at, err));
    *number = load_u64(at);
    return OK;
}

static Status take_string(Reader *r, const char *what, const char **string, size_t *count, Error *err) {
    uint64_t length;
    const uint8_t *at;
    TRY(take_u64(r, what, &length, err));
    FAIL_IF(length > r->size - r->at, ERR_FORMAT, "%s: %s of %" PRIu64 " bytes runs past the end of the file", r->path,
            what, length);
    TRY(take(r, (size_t)length, what, &at, err));
    *string = (const char *)at;
    *count = (size_t)length;
    return OK;
}

/* ---- metadata -------------------------------------------------------------------------------------------------- */

/* Finds where each string of an array begins, so that elements can be had at random. */
static Status read_strings(Reader *r, const char *key, uint64_t count, MetaValue *value, Error *err) {
    FAIL_IF(count > (r->size - r->at) / 8, ERR_FORMAT,
            "%s: %s: an array of %" PRIu64 " strings runs past the end of the file", r->path, key, count);
    FAIL_IF(count > GGUF_MAX_STRINGS, ERR_LIMIT, "%s: %s: an array of %" PRIu64 " strings; at most %d are allowed",
            r->path, key, count, GGUF_MAX_STRINGS);
    uint64_t *starts = arena_array(&r->files->arena, (size_t)count + 1, sizeof *starts);
    FAIL_IF(starts == NULL, ERR_MEMORY, "%s: no memory for the %" PRIu64 " strings of %s", r->path, count, key);
    const size_t data = r->at;
    for (size_t i = 0; i < count; i++) {
        const char *string;
        size_t length;
        TRY(take_string(r, "a string of an array", &string, &length, err));
        starts[i] = r->at - length - data;
    }
    starts[count] = r->at + 8 - data;
    value->as.array.data = r->bytes + data;
    value->as.array.starts = starts;
    return OK;
}

static Status read_array(Reader *r, const char *key, MetaValue *value, Error *err) {
    uint32_t type;
    uint64_t count;
    TRY(take_u32(r, "an array", &type, err));
    TRY(take_u64(r, "an array", &count, err));
    FAIL_IF(type == META_ARRAY, ERR_UNSUPPORTED, "%s: %s: arrays of arrays are not supported", r->path, key);
    const size_t element_bytes = meta_number_bytes((MetaType)type);
    FAIL_IF(type != META_STRING && element_bytes == 0, ERR_FORMAT, "%s: %s: unknown element type %" PRIu32, r->path,
            key, type);
    value->as.array.type = (MetaType)type;
    value->as.array.count = (size_t)count;
    if (type == META_STRING)
        return read_strings(r, key, count, value, err);
    FAIL_IF(count > (r->size - r->at) / element_bytes, ERR_FORMAT,
            "%s: %s: an array of %" PRIu64 " numbers runs past the end of the file", r->path, key, count);
    return take(r, (size_t)count * element_bytes, "an array", &value->as.array.data, err);
}

static Status read_meta(Reader *r, Error *err) {
    const char *bytes, *key;
    size_t count;
    TRY(take_string(r, "a metadata key", &bytes, &count, err));
    TRY(container_copy_name(r->files, r->path, "metadata key", bytes, count, GGUF_MAX_KEY, &key, err));
    uint32_t type;
    TRY(take_u32(r, "a metadata value", &type, err));
    MetaValue *value;
    TRY(meta_list_add(r->metas, r->path, key, &value, err));
    value->type = (MetaType)type;
    if (type == META_STRING)
        return take_string(r, "a metadata string", &value->as.string.bytes, &value->as.string.count, err);
    if (type == META_ARRAY)
        return read_array(r, key, value, err);
    const size_t number_bytes = meta_number_bytes((MetaType)type);
    FAIL_IF(number_bytes == 0, ERR_FORMAT, "%s: %.100s: unknown value type %" PRIu32, r->path, key, type);
    const uint8_t *at;
    TRY(take(r, number_bytes, "a metadata value", &at, err));
    meta_decode((MetaType)type, at, value);
    return OK;
}

static Status read_alignment(const Reader *r, size_t *alignment, Error *err) {
    const MetaValue *meta = meta_list_find(r->metas, "general.alignment");
    *alignment = GGUF_DEFAULT_ALIGNMENT;
    if (meta == NULL)
        return OK;
    FAIL_IF(meta->type != META_U32, ERR_FORMAT, "%s: general.alignment is a %s; a uint32 is expected", r->path,
            meta_type_name(meta->type));
    *alignment = (size_t)meta->as.integer;
    FAIL_IF(*alignment == 0 || (*alignment & (*alignment - 1)) != 0, ERR_FORMAT,
            "%s: general.alignment is %zu; a power of two is expected", r->path, *alignment);
    return OK;
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

/* Reads what is known of one tensor; its offset still counts from the start of the data. */
static Status read_tensor_info(Reader *r, size_t alignment, Tensor *tensor, Error *err) {
    const char *bytes;
    size_t count;
    *tensor = (Tensor){.file = r->file};
    TRY(take_string(r, "a tensor name", &bytes, &count, err));
    TRY(container_copy_name(r->files, r->path, "tensor name", bytes, count, GGUF_MAX_NAME, &tensor->name, err));
    uint32_t n_dim, type;
    TRY(take_u32(r, "the shape of a tensor", &n_dim, err));
    FAIL_IF(n_dim > GGUF_MAX_DIMS, ERR_FORMAT, "%s: tensor %s has %" PRIu32 " dimensions; at most %d are allowed",
            r->path, tensor->name, n_dim, GGUF_MAX_DIMS);
    tensor->n_dim = (int)n_dim;
    for (int i = tensor->n_dim - 1; i >= 0; i--) { /* the file has the contiguous one first */
        uint64_t dim;
        TRY(take_u64(r, "the shape of a tensor", &dim, err));
        FAIL_IF(dim > INT64_MAX, ERR_FORMAT, "%s: tensor %s has a dimension of %" PRIu64, r->path, tensor->name, dim);
        tensor->dims[i] = (size_t)dim;
    }
    TRY(take_u32(r, "the type of a tensor", &type, err));
    FAIL_IF(!dtype_of_ggml(type, &tensor->type), ERR_UNSUPPORTED,
            "%s: tensor %s has type %" PRIu32 ", which is unknown or was removed from the format", r->path,
            tensor->name, type);
    TRY(container_size_tensor(r->path, tensor, err));
    uint64_t offset;
    TRY(take_u64(r, "the offset of a tensor", &offset, err));
    FAIL_IF(offset % alignment != 0, ERR_FORMAT, "%s: tensor %s is at offset %" PRIu64 ", no multiple of %zu", r->path,
            tensor->name, offset, alignment);
    tensor->offset = (size_t)offset;
    return OK;
}

static Status read_tensors(Reader *r, uint64_t n_tensors, Error *err) {
    size_t alignment;
    TRY(read_alignment(r, &alignment, err));
    const size_t first = r->files->n_tensor;
    for (uint64_t i = 0; i < n_tensors; i++) {
        Tensor tensor;
        TRY(read_tensor_info(r, alignment, &tensor, err));
        TRY(container_add_tensor(r->files, &tensor, err));
    }
    /* Where the data begins is known only now. */
    const size_t past = r->at % alignment;
    size_t start = r->at;
    const bool begins = size_add(start, past > 0 ? alignment - past : 0, &start) && start <= r->size;
    for (size_t i = first; i < r->files->n_tensor; i++) {
        Tensor *t = &r->files->tensors[i];
        if (t->bytes == 0 && (!begins || t->offset > r->size - start)) {
            t->offset = r->size; /* an empty tensor may be anywhere; its pointer may not */
        } else {
            FAIL_IF(!begins || t->offset > r->size - start || t->bytes > r->size - start - t->offset, ERR_FORMAT,
                    "%s: tensor %s: %zu bytes at offset %zu of the data run past the end of the file (is it complete?)",
                    r->path, t->name, t->bytes, t->offset);
            t->offset += start;
        }
        t->data = r->have == r->size ? r->bytes + t->offset : NULL;
    }
    return container_check_ranges(r->files, first, true, start, r->size, err);
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static Status read_header(Reader *r, Error *err) {
    FAIL_IF(r->have < 4 || memcmp(r->bytes, "GGUF", 4) != 0, ERR_FORMAT, "%s: not a GGUF file%s", r->path,
            r->size == 0 ? ": it is empty" : "");
    r->at = 4;
    uint32_t version;
    uint64_t n_tensors, n_metas;
    TRY(take_u32(r, "the header", &version, err));
    FAIL_IF(version != 0 && version % 65536 == 0, ERR_UNSUPPORTED, "%s: a GGUF file for big-endian machines", r->path);
    FAIL_IF(version < 2 || version > 3, ERR_UNSUPPORTED, "%s: GGUF version %" PRIu32 "; 2 and 3 are supported", r->path,
            version);
    r->files->version = (int)version;
    TRY(take_u64(r, "the header", &n_tensors, err));
    TRY(take_u64(r, "the header", &n_metas, err));
    FAIL_IF(n_metas > (r->size - r->at) / MIN_META_BYTES || n_tensors > (r->size - r->at) / MIN_TENSOR_BYTES, ERR_FORMAT,
            "%s: the header announces %" PRIu64 " metadata keys and %" PRIu64
            " tensors, too many for a file of %zu bytes",
            r->path, n_metas, n_tensors, r->size);
    for (uint64_t i = 0; i < n_metas; i++)
        TRY(read_meta(r, err));
    return read_tensors(r, n_tensors, err);
}

static Status read_file(ModelFiles *files, const char *path, MetaList *metas, Error *err) {
    Reader r = {.files = files, .metas = metas, .path = path};
    TRY(container_add_file(files, path, &r.file, err));
    r.bytes = file_map_bytes(files->maps[r.file]);
    r.size = r.have = file_map_size(files->maps[r.file]);
    return read_header(&r, err);
}

Status gguf_open_head(ModelFiles *files, const uint8_t *bytes, size_t have, size_t file_bytes, bool *more, Error *err) {
    files->kind = CONTAINER_GGUF;
    Reader r = {.files = files, .metas = &files->metas, .path = files->path, .bytes = bytes, .size = file_bytes,
                .have = have};
    const Status status = read_header(&r, err);
    *more = r.more;
    return status;
}

enum { SPLIT_TAIL = sizeof "-00001-of-00003.gguf" - 1 };

/* Recognises "…-00001-of-00003.gguf": part 1 of 3, and the length of what comes before. */
static bool split_name(const char *path, size_t *prefix, int *part, int *parts) {
    const size_t length = strlen(path);
    if (length < SPLIT_TAIL)
        return false;
    const char *tail = path + length - SPLIT_TAIL;
    static const char pattern[] = "-00000-of-00000.gguf";
    int numbers[2] = {0, 0}, which = 0;
    for (size_t i = 0; i < SPLIT_TAIL; i++) {
        if (pattern[i] == '0') {
            if (tail[i] < '0' || tail[i] > '9')
                return false;
            numbers[which] = numbers[which] * 10 + (tail[i] - '0');
        } else if (tail[i] != pattern[i]) {
            return false;
        } else if (i > 0) {
            which = 1;
        }
    }
    *prefix = length - SPLIT_TAIL;
    *part = numbers[0];
    *parts = numbers[1];
    return true;
}

bool gguf_is_later_part(const char *name) {
    size_t prefix;
    int part, parts;
    return split_name(name, &prefix, &part, &parts) && part > 1;
}

/* The path of another part of the same model, in a fresh string. */
static char *part_path(const char *path, size_t prefix, int part, int parts) {
    char *other = mem_strdup(path, MEM_FORMAT);
    if (other != NULL) {
        char tail[2 * SPLIT_TAIL];
        snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", part, parts);
        memcpy(other + prefix, tail, SPLIT_TAIL);
    }
    return other;
}

static Status check_part(const MetaList *metas, const char *path, int part, int parts, Error *err) {
    int64_t no = -1, count = -1;
    const bool known =
        meta_int(meta_list_find(metas, "split.no"), &no) && meta_int(meta_list_find(metas, "split.count"), &count);
    FAIL_IF(!known || no != part - 1 || count != parts, ERR_FORMAT,
            "%s: its keys split.no and split.count say part %" PRId64 " of %" PRId64 ", its name part %d of %d", path,
            no + 1, count, part, parts);
    return OK;
}

/* Reads part 1 into the model itself; of later parts only the tensors are wanted. */
static Status read_part(ModelFiles *files, const char *path, int part, int parts, Error *err) {
    MetaList own = {0};
    MetaList *metas = part == 1 ? &files->metas : &own;
    Status status = read_file(files, path, metas, err);
    if (status == OK)
        status = check_part(metas, path, part, parts, err);
    meta_list_free(&own);
    return status;
}

static Status read_parts(ModelFiles *files, const char *path, size_t prefix, int parts, Error *err) {
    container_clear(files);
    for (int part = 1; part <= parts; part++) {
        char *other = part_path(path, prefix, part, parts);
        FAIL_IF(other == NULL, ERR_MEMORY, "%s: no memory to open its parts", path);
        const bool missing = !file_exists(other);
        const Status status =
            missing ? error_set(err, ERR_NOT_FOUND, "%s: part %d of %d of the model is missing", other, part, parts)
                    : read_part(files, other, part, parts, err);
        mem_free(other);
        TRY(status);
    }
    int64_t total;
    FAIL_IF(meta_int(meta_list_find(&files->metas, "split.tensors.count"), &total) &&
                (uint64_t)total != files->n_tensor,
            ERR_FORMAT, "%s: the parts have %zu tensors together; split.tensors.count says %" PRId64, path,
            files->n_tensor, total);
    return OK;
}

Status gguf_open(ModelFiles *files, const char *path, Error *err) {
    files->kind = CONTAINER_GGUF;
    TRY(read_file(files, path, &files->metas, err));
    int64_t count = 1;
    if (!meta_int(meta_list_find(&files->metas, "split.count"), &count) || count <= 1)
        return OK;
    size_t prefix;
    int part, parts;
    FAIL_IF(count > CONTAINER_MAX_FILES, ERR_LIMIT, "%s: part of a model of %" PRId64 " files; at most %d are allowed",
            path, count, CONTAINER_MAX_FILES);
    FAIL_IF(!split_name(path, &prefix, &part, &parts) || parts != count, ERR_FORMAT,
            "%s: one of the %" PRId64 " parts of a model, but its name does not end in -0000N-of-%05" PRId64
            ".gguf: give it the name it had",
            path, count, count);
    TRY(check_part(&files->metas, path, part, parts, err));
    return read_parts(files, path, prefix, parts, err);
}
