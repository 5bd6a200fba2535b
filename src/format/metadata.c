/* metadata.c - keys and values of a model's header: the list, and reading numbers out of it. */
#include "format/metadata.h"

#include "base/bytes.h"
#include "base/half.h"

#include <assert.h>
#include <string.h>

size_t meta_number_bytes(MetaType type) {
    static const uint8_t bytes[] = {
        [META_U8] = 1,  [META_I8] = 1,   [META_U16] = 2, [META_I16] = 2, [META_U32] = 4, [META_I32] = 4,
        [META_F32] = 4, [META_BOOL] = 1, [META_U64] = 8, [META_I64] = 8, [META_F64] = 8,
    };
    return (unsigned)type < COUNT(bytes) ? bytes[type] : 0;
}

const char *meta_type_name(MetaType type) {
    static const char *const names[] = {
        [META_U8] = "uint8",      [META_I8] = "int8",     [META_U16] = "uint16",  [META_I16] = "int16",
        [META_U32] = "uint32",    [META_I32] = "int32",   [META_F32] = "float32", [META_BOOL] = "bool",
        [META_STRING] = "string", [META_ARRAY] = "array", [META_U64] = "uint64",  [META_I64] = "int64",
        [META_F64] = "float64",
    };
    return (unsigned)type < COUNT(names) ? names[type] : "unknown";
}

Status meta_list_add(MetaList *list, const char *path, const char *key, MetaValue **value, Error *err) {
    const size_t length = strlen(key);
    FAIL_IF(map_find(&list->by_key, key, length) != NULL, ERR_FORMAT, "%s: metadata key %s is there twice", path, key);
    FAIL_IF(!mem_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items, MEM_FORMAT) ||
                !map_put(&list->by_key, key, length, (int64_t)list->count),
            ERR_MEMORY, "%s: no memory for its metadata", path);
    *value = &list->items[list->count++];
    **value = (MetaValue){.key = key};
    return OK;
}

const MetaValue *meta_list_find(const MetaList *list, const char *key) {
    const int64_t *index = map_find(&list->by_key, key, strlen(key));
    return index != NULL ? &list->items[*index] : NULL;
}

void meta_list_free(MetaList *list) {
    mem_free(list->items);
    map_free(&list->by_key);
    *list = (MetaList){0};
}

void meta_decode(MetaType type, const uint8_t *at, MetaValue *value) {
    switch (type) {
    case META_U8:
        value->as.integer = *at;
        break;
    case META_I8:
        value->as.integer = (int8_t)*at;
        break;
    case META_U16:
        value->as.integer = load_u16(at);
        break;
    case META_I16:
        value->as.integer = (int16_t)load_u16(at);
        break;
    case META_U32:
        value->as.integer = load_u32(at);
        break;
    case META_I32:
        value->as.integer = (int32_t)load_u32(at);
        break;
    case META_F32:
        value->as.real = (double)float_of_bits(load_u32(at));
        break;
    case META_BOOL:
        value->as.integer = *at != 0;
        break;
    case META_U64:
        value->as.natural = load_u64(at);
        break;
    case META_I64:
        value->as.integer = (int64_t)load_u64(at);
        break;
    case META_F64: {
        const uint64_t bits = load_u64(at);
        memcpy(&value->as.real, &bits, sizeof bits);
        break;
    }
    case META_STRING:
    case META_ARRAY:
        assert(false && "callers ask meta_number_bytes first");
    }
    value->type = type;
}

static bool is_real(MetaType type) {
    return type == META_F32 || type == META_F64;
}

bool meta_int(const MetaValue *meta, int64_t *number) {
    if (meta == NULL || meta_number_bytes(meta->type) == 0 || is_real(meta->type) ||
        (meta->type == META_U64 && meta->as.natural > INT64_MAX))
        return false;
    *number = meta->as.integer;
    return true;
}

bool meta_real(const MetaValue *meta, double *number) {
    if (meta == NULL || meta_number_bytes(meta->type) == 0)
        return false;
    *number = is_real(meta->type)      ? meta->as.real
              : meta->type == META_U64 ? (double)meta->as.natural
                                       : (double)meta->as.integer;
    return true;
}

bool meta_array_element(const MetaValue *array, size_t index, MetaValue *element) {
    if (array->type != META_ARRAY || index >= array->as.array.count)
        return false;
    const size_t bytes = meta_number_bytes(array->as.array.type);
    if (bytes == 0)
        return false;
    *element = (MetaValue){0};
    meta_decode(array->as.array.type, array->as.array.data + index * bytes, element);
    return true;
}

bool meta_array_int(const MetaValue *array, size_t index, int64_t *number) {
    MetaValue value;
    return meta_array_element(array, index, &value) && meta_int(&value, number);
}

bool meta_array_real(const MetaValue *array, size_t index, double *number) {
    MetaValue value;
    return meta_array_element(array, index, &value) && meta_real(&value, number);
}

bool meta_array_string(const MetaValue *array, size_t index, const char **bytes, size_t *count) {
    if (array->type != META_ARRAY || array->as.array.type != META_STRING || index >= array->as.array.count)
        return false;
    const uint64_t *starts = array->as.array.starts;
    *bytes = (const char *)array->as.array.data + starts[index];
    *count = (size_t)(starts[index + 1] - 8 - starts[index]);
    return true;
}
