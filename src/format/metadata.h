/* metadata.h - keys and values of a model's header, as model_files.h gives them out. */
#ifndef HOULE_FORMAT_METADATA_H
#define HOULE_FORMAT_METADATA_H

#include "base/map.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

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

/* ---- for the readers of containers, inside this room ---- */

typedef struct MetaList {
    MetaValue *items;
    size_t count, capacity;
    Map by_key;
} MetaList;

/* Bytes of a stored number or bool; 0 for strings, arrays and what is no type. */
size_t meta_number_bytes(MetaType type);
/* Adds a key (checked and copied before) whose value the caller fills in; refuses one that is there. */
Status meta_list_add(MetaList *list, const char *path, const char *key, MetaValue **value, Error *err);
const MetaValue *meta_list_find(const MetaList *list, const char *key);
void meta_list_free(MetaList *list);
/* Reads a number or bool as stored into value->as. */
void meta_decode(MetaType type, const uint8_t *at, MetaValue *value);

#endif
