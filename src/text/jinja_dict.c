/* jinja_dict.c - dictionaries in the order of insertion; equality, order and hashes of values.
 *
 * Numbers that are equal have the same hash whatever their kind (1, 1.0 and true are one key). */
#include "text/jinja.h"

#include "base/map.h"
#include "text/jinja_int.h"

#include <math.h>
#include <string.h>

enum { SMALL_DICT = 8 }; /* up to here, a search through the entries beats an index */

/* ---- hashes and equality ----------------------------------------------------------------------------------------- */

static uint32_t hash_word(uint64_t word) {
    word *= 0x9E3779B97F4A7C15u;
    return (uint32_t)(word >> 32);
}

static uint32_t hash_double(double number) {
    if (number >= -0x1p63 && number < 0x1p63 && number == floor(number))
        return hash_word((uint64_t)(int64_t)number);
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return hash_word(bits);
}

Status value_hash(Jinja *j, Value v, uint32_t *hash) {
    switch (v.kind) {
    case V_STRING:
        TRY(jinja_spend_bytes(j, v.count));
        *hash = (uint32_t)hash_secretly(v.as.text, v.count);
        return OK;
    case V_BOOL:
        *hash = hash_word(v.as.boolean);
        return OK;
    case V_INT:
        *hash = hash_word((uint64_t)v.as.integer);
        return OK;
    case V_BIG: {
        double nearest;
        *hash = int_to_double(v, &nearest) ? hash_double(nearest) : 0; /* a float that equals it has this hash */
        return OK;
    }
    case V_FLOAT:
        *hash = hash_double(v.as.real);
        return OK;
    case V_TUPLE: {
        TRY(jinja_enter(j));
        uint32_t sum = 0x345678;
        for (size_t i = 0; i < v.as.list->count; i++) {
            uint32_t one;
            TRY(value_hash(j, v.as.list->items[i], &one));
            sum = sum * 1000003u ^ one;
        }
        jinja_leave(j);
        *hash = sum;
        return OK;
    }
    case V_LIST:
    case V_DICT:
        REFUSE(j, "unhashable type: '%s'", value_type(v));
    case V_VIEW:
        REFUSE_IF(v.as.view->which != VIEW_VALUES, j, "unhashable type: '%s'", value_type(v));
        *hash = hash_word((uint64_t)(uintptr_t)v.as.object);
        return OK;
    case V_NONE:
    case V_UNDEFINED:
        *hash = v.kind;
        return OK;
    case V_RANGE:
        *hash = hash_word(v.as.range->count);
        return OK;
    default:
        *hash = hash_word((uint64_t)(uintptr_t)v.as.object);
        return OK;
    }
}

static Status lists_equal(Jinja *j, const List *a, const List *b, bool *equal) {
    *equal = a == b;
    if (a == b || a->count != b->count)
        return OK;
    TRY(jinja_enter(j));
    *equal = true;
    for (size_t i = 0; i < a->count && i < b->count && *equal; i++)
        TRY(value_equal(j, a->items[i], b->items[i], equal));
    jinja_leave(j);
    return OK;
}

static Status dicts_equal(Jinja *j, const Dict *a, Dict *b, bool *equal) {
    *equal = a == b;
    if (a == b || a->live != b->live)
        return OK;
    TRY(jinja_enter(j));
    *equal = true;
    size_t at = 0;
    for (const DictEntry *entry; *equal && (entry = dict_next(a, &at)) != NULL;) {
        Value other;
        TRY(dict_get(j, b, entry->key, &other));
        if (!is_given(other))
            *equal = false;
        else
            TRY(value_equal(j, entry->value, other, equal));
    }
    jinja_leave(j);
    return OK;
}

static bool ranges_equal(const Range *a, const Range *b) {
    return a->count == b->count && (a->count == 0 || a->start == b->start) && (a->count < 2 || a->step == b->step);
}

/* Views of keys and of items are sets. */
static Status views_equal(Jinja *j, const View *a, const View *b, bool *equal) {
    *equal = false;
    if (a->which != b->which || a->which == VIEW_VALUES) {
        *equal = a == b;
        return OK;
    }
    if (a->which == VIEW_ITEMS)
        return dicts_equal(j, a->dict, b->dict, equal);
    if (a->dict->live != b->dict->live)
        return OK;
    *equal = true;
    size_t at = 0;
    for (const DictEntry *entry; *equal && (entry = dict_next(a->dict, &at)) != NULL;) {
        Value other;
        TRY(dict_get(j, b->dict, entry->key, &other));
        *equal = is_given(other);
    }
    return OK;
}

Status value_equal(Jinja *j, Value a, Value b, bool *equal) {
    TRY(jinja_spend(j, 1));
    if (is_number(a) && is_number(b)) {
        bool unordered;
        *equal = number_compare(a, b, &unordered) == 0 && !unordered;
        return OK;
    }
    *equal = false;
    if (a.kind != b.kind)
        return OK;
    switch (a.kind) {
    case V_STRING:
        if (a.count == b.count) {
            TRY(jinja_spend_bytes(j, a.count));
            *equal = memcmp(a.as.text, b.as.text, a.count) == 0;
        }
        return OK;
    case V_NONE:
    case V_UNDEFINED:
        *equal = true;
        return OK;
    case V_LIST:
    case V_TUPLE:
        return lists_equal(j, a.as.list, b.as.list, equal);
    case V_DICT:
        return dicts_equal(j, a.as.dict, b.as.dict, equal);
    case V_RANGE:
        *equal = ranges_equal(a.as.range, b.as.range);
        return OK;
    case V_VIEW:
        return views_equal(j, a.as.view, b.as.view, equal);
    case V_METHOD: {
        const Method *m = a.as.method, *n = b.as.method;
        *equal = m->builtin == n->builtin && m->self.kind == n->self.kind && m->self.as.object == n->self.as.object;
        return OK;
    }
    default:
        *equal = a.as.object == b.as.object;
        return OK;
    }
}

static Status incomparable(Jinja *j, Value a, Value b, const char *op) {
    if (a.kind == V_UNDEFINED)
        return undefined_fail(j, a);
    if (b.kind == V_UNDEFINED)
        return undefined_fail(j, b);
    REFUSE(j, "'%s' not supported between instances of '%s' and '%s'", op, value_type(a), value_type(b));
}

Status value_compare(Jinja *j, Value a, Value b, const char *op, int *order, bool *unordered) {
    TRY(jinja_spend(j, 1));
    *unordered = false;
    if (is_number(a) && is_number(b)) {
        *order = number_compare(a, b, unordered);
        return OK;
    }
    if (a.kind == V_STRING && b.kind == V_STRING) {
        /* The order of UTF-8 bytes is the order of code points. */
        TRY(jinja_spend_bytes(j, MIN(a.count, b.count)));
        const int cmp = memcmp(a.as.text, b.as.text, MIN(a.count, b.count));
        *order = cmp != 0 ? cmp : (a.count > b.count) - (a.count < b.count);
        return OK;
    }
    if ((a.kind != V_LIST && a.kind != V_TUPLE) || a.kind != b.kind)
        return incomparable(j, a, b, op);
    TRY(jinja_enter(j));
    const List *x = a.as.list, *y = b.as.list;
    *order = (x->count > y->count) - (x->count < y->count);
    for (size_t i = 0; i < x->count && i < y->count; i++) {
        bool equal;
        TRY(value_equal(j, x->items[i], y->items[i], &equal));
        if (!equal) {
            TRY(value_compare(j, x->items[i], y->items[i], op, order, unordered));
            break;
        }
    }
    jinja_leave(j);
    return OK;
}

/* ---- dictionaries ------------------------------------------------------------------------------------------------ */

Status dict_new(Jinja *j, Dict **dict) {
    return jinja_alloc(j, sizeof **dict, dict);
}

static Status keys_equal(Jinja *j, const DictEntry *entry, Value key, uint32_t hash, bool *equal) {
    *equal = false;
    if (entry->hash != hash || !is_given(entry->key))
        return OK;
    return value_equal(j, entry->key, key, equal);
}

static Status find_entry(Jinja *j, const Dict *dict, Value key, uint32_t hash, DictEntry **found) {
    *found = NULL;
    bool equal;
    if (dict->index_capacity == 0) {
        for (size_t i = 0; i < dict->used; i++) {
            TRY(keys_equal(j, &dict->entries[i], key, hash, &equal));
            if (equal) {
                *found = &dict->entries[i];
                return OK;
            }
        }
        return OK;
    }
    const size_t mask = dict->index_capacity - 1;
    for (size_t at = hash & mask; dict->index[at] != 0; at = (at + 1) & mask) {
        TRY(jinja_spend(j, 1)); /* keys chosen to collide cost their price */
        TRY(keys_equal(j, &dict->entries[dict->index[at] - 1], key, hash, &equal));
        if (equal) {
            *found = &dict->entries[dict->index[at] - 1];
            return OK;
        }
    }
    return OK;
}

static void index_entry(Dict *dict, size_t entry) {
    const size_t mask = dict->index_capacity - 1;
    size_t at = dict->entries[entry].hash & mask;
    while (dict->index[at] != 0)
        at = (at + 1) & mask;
    dict->index[at] = (uint32_t)(entry + 1);
}

/* Makes room for one more entry, leaving out the removed ones. */
static Status make_room(Jinja *j, Dict *dict) {
    const size_t capacity = dict->live < 2 ? 4 : dict->live * 2;
    if (capacity > UINT32_MAX / 4)
        return jinja_fail(j, ERR_LIMIT, "a dictionary of %zu entries is too large", dict->live);
    DictEntry *entries;
    TRY(jinja_alloc_array(j, capacity, sizeof *entries, &entries));
    size_t used = 0, at = 0;
    for (const DictEntry *entry; (entry = dict_next(dict, &at)) != NULL;)
        entries[used++] = *entry;
    dict->entries = entries;
    dict->used = used;
    dict->capacity = capacity;
    dict->index_capacity = 0;
    if (capacity > SMALL_DICT) {
        size_t slots = 16;
        while (slots < capacity * 3 / 2)
            slots *= 2;
        TRY(jinja_alloc_array(j, slots, sizeof *dict->index, &dict->index));
        dict->index_capacity = slots;
        for (size_t i = 0; i < used; i++)
            index_entry(dict, i);
    }
    return OK;
}

Status dict_put(Jinja *j, Dict *dict, Value key, Value value) {
    uint32_t hash;
    TRY(value_hash(j, key, &hash));
    DictEntry *entry;
    TRY(find_entry(j, dict, key, hash, &entry));
    if (entry != NULL) {
        entry->value = value;
        return OK;
    }
    if (dict->used == dict->capacity)
        TRY(make_room(j, dict));
    dict->entries[dict->used] = (DictEntry){.key = key, .value = value, .hash = hash};
    if (dict->index_capacity > 0)
        index_entry(dict, dict->used);
    dict->used++;
    dict->live++;
    return OK;
}

Status dict_get(Jinja *j, Dict *dict, Value key, Value *value) {
    uint32_t hash;
    TRY(value_hash(j, key, &hash));
    DictEntry *entry;
    TRY(find_entry(j, dict, key, hash, &entry));
    *value = entry != NULL ? entry->value : value_missing();
    return OK;
}

Status dict_remove(Jinja *j, Dict *dict, Value key, Value *removed) {
    uint32_t hash;
    TRY(value_hash(j, key, &hash));
    DictEntry *entry;
    TRY(find_entry(j, dict, key, hash, &entry));
    *removed = value_missing();
    if (entry != NULL) {
        *removed = entry->value;
        entry->key = value_missing(); /* the index still leads here, and finds a key that equals nothing */
        entry->value = value_missing();
        dict->live--;
    }
    return OK;
}

Value *dict_find(const Dict *dict, const char *key, size_t bytes) {
    const uint32_t hash = (uint32_t)hash_secretly(key, bytes);
    if (dict->index_capacity == 0) {
        for (size_t i = 0; i < dict->used; i++) {
            DictEntry *entry = &dict->entries[i];
            if (entry->hash == hash && entry->key.kind == V_STRING && entry->key.count == bytes &&
                memcmp(entry->key.as.text, key, bytes) == 0)
                return &entry->value;
        }
        return NULL;
    }
    const size_t mask = dict->index_capacity - 1;
    for (size_t at = hash & mask; dict->index[at] != 0; at = (at + 1) & mask) {
        DictEntry *entry = &dict->entries[dict->index[at] - 1];
        if (entry->hash == hash && entry->key.kind == V_STRING && entry->key.count == bytes &&
            memcmp(entry->key.as.text, key, bytes) == 0)
            return &entry->value;
    }
    return NULL;
}

DictEntry *dict_next(const Dict *dict, size_t *at) {
    while (*at < dict->used) {
        DictEntry *entry = &dict->entries[(*at)++];
        if (is_given(entry->key))
            return entry;
    }
    return NULL;
}

Status dict_copy(Jinja *j, const Dict *dict, Dict **copy) {
    TRY(dict_new(j, copy));
    size_t at = 0;
    for (const DictEntry *entry; (entry = dict_next(dict, &at)) != NULL;)
        TRY(dict_put(j, *copy, entry->key, entry->value));
    return OK;
}

void dict_clear(Dict *dict) {
    const bool busy = dict->busy;
    *dict = (Dict){.busy = busy};
}

Status dict_update(Jinja *j, Dict *dict, Value source) {
    if (source.kind == V_UNDEFINED)
        return undefined_fail(j, source);
    if (source.kind == V_DICT) {
        size_t at = 0;
        for (const DictEntry *entry; (entry = dict_next(source.as.dict, &at)) != NULL;)
            TRY(dict_put(j, dict, entry->key, entry->value));
        return OK;
    }
    Iterator it;
    TRY(iterator_open(j, &it, source));
    for (size_t i = 0;; i++) {
        Value pair;
        TRY(iterator_next(j, &it, &pair));
        if (!is_given(pair))
            return OK;
        REFUSE_IF(!value_is_iterable(pair), j, "cannot convert dictionary update sequence element #%zu to a sequence",
                  i);
        List *two;
        TRY(list_of_iterable(j, pair, &two));
        REFUSE_IF(two->count != 2, j, "dictionary update sequence element #%zu has length %zu; 2 is required", i,
                  two->count);
        TRY(dict_put(j, dict, two->items[0], two->items[1]));
    }
}
