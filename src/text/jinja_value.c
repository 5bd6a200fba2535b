/* jinja_value.c - strings, undefined, lists, iteration, and the conversion of JSON. Dicts: jinja_dict.c. */
#include "text/jinja.h"

#include <jansson.h>
#include <string.h>

/* ---- strings ----------------------------------------------------------------------------------------------------- */

static bool bytes_are_ascii(const char *bytes, size_t count) {
    const uint64_t high_bits = 0x8080808080808080u;
    size_t at = 0;
    for (; at + 8 <= count; at += 8) {
        uint64_t eight;
        memcpy(&eight, bytes + at, 8);
        if ((eight & high_bits) != 0)
            return false;
    }
    for (; at < count; at++)
        if (((unsigned char)bytes[at] & 0x80) != 0)
            return false;
    return true;
}

Value value_string(const char *bytes, size_t count) {
    return (Value){.kind = V_STRING,
                   .flags = bytes_are_ascii(bytes, count) ? STR_ASCII : 0,
                   .count = (uint32_t)count,
                   .as.text = bytes};
}

Value value_str(const char *string) {
    return value_string(string, strlen(string));
}

Value value_slice(Value string, size_t at, size_t count) {
    if (is_ascii(string)) {
        string.as.text += at;
        string.count = (uint32_t)count;
        return string;
    }
    Value part = value_string(string.as.text + at, count);
    part.flags |= string.flags & STR_MARKUP;
    return part;
}

size_t string_length(Value string) {
    if (is_ascii(string))
        return string.count;
    size_t length = 0;
    for (size_t i = 0; i < string.count; i++)
        length += ((unsigned char)string.as.text[i] & 0xC0) != 0x80;
    return length;
}

size_t string_offset(Value string, size_t character) {
    if (is_ascii(string))
        return MIN(character, string.count);
    size_t at = 0;
    while (character > 0 && at < string.count) {
        at++;
        while (at < string.count && ((unsigned char)string.as.text[at] & 0xC0) == 0x80)
            at++;
        character--;
    }
    return at;
}

bool string_is(Value v, const char *string) {
    const size_t count = strlen(string);
    return v.kind == V_STRING && v.count == count && memcmp(v.as.text, string, count) == 0;
}

static Status string_too_long(Jinja *j, size_t count) {
    return jinja_fail(j, ERR_LIMIT, "a string of %zu bytes is too long", count);
}

Status string_new(Jinja *j, const char *bytes, size_t count, Value *string) {
    if (count > UINT32_MAX)
        return string_too_long(j, count);
    TRY(jinja_spend_bytes(j, count));
    char *copy;
    TRY(jinja_alloc(j, count, &copy));
    if (count > 0)
        memcpy(copy, bytes, count);
    *string = value_string(copy, count);
    return OK;
}

/* Appends b in place when a ends where the room of a growing string begins. */
static bool grow_in_place(Jinja *j, Value a, Value b, Value *string) {
    for (unsigned i = 0; i < GROW_SLOTS; i++) {
        GrowSlot *slot = &j->grow[i];
        if (slot->start == NULL || a.as.text + a.count != slot->end || a.as.text < slot->start ||
            b.count > (size_t)(slot->limit - slot->end))
            continue;
        memcpy((char *)a.as.text + a.count, b.as.text, b.count); /* nobody has seen these bytes: they lie behind end */
        slot->end += b.count;
        *string = a;
        string->count = a.count + b.count;
        string->flags = (uint8_t)(a.flags & (b.flags | ~STR_ASCII));
        return true;
    }
    return false;
}

Status string_concat(Jinja *j, Value a, Value b, Value *string) {
    const size_t count = (size_t)a.count + b.count;
    if (count > UINT32_MAX)
        return string_too_long(j, count);
    TRY(jinja_spend_bytes(j, b.count));
    if (b.count == 0 || a.count == 0) {
        const uint8_t markup = a.flags & STR_MARKUP;
        *string = b.count == 0 ? a : b;
        string->flags = (uint8_t)((string->flags & ~STR_MARKUP) | markup);
        return OK;
    }
    if (grow_in_place(j, a, b, string))
        return OK;
    TRY(jinja_spend_bytes(j, a.count));
    const size_t room = count < 256 ? 0 : count; /* short strings are rarely continued */
    char *bytes;
    TRY(jinja_alloc(j, count + room, &bytes));
    memcpy(bytes, a.as.text, a.count);
    memcpy(bytes + a.count, b.as.text, b.count);
    *string = (Value){.kind = V_STRING,
                      .flags = (uint8_t)((a.flags & b.flags & STR_ASCII) | (a.flags & STR_MARKUP)),
                      .count = (uint32_t)count,
                      .as.text = bytes};
    if (room > 0)
        j->grow[j->grow_next++ % GROW_SLOTS] = (GrowSlot){bytes, bytes + count, bytes + count + room};
    return OK;
}

/* ---- undefined --------------------------------------------------------------------------------------------------- */

Value undefined_name(Value name) {
    return (Value){.kind = V_UNDEFINED, .flags = UNDEF_NAME, .count = name.count, .as.text = name.as.text};
}

Value undefined_hint(const char *hint) {
    return (Value){.kind = V_UNDEFINED, .flags = UNDEF_HINT, .count = (uint32_t)strlen(hint), .as.text = hint};
}

Value undefined_item(Value object, Value key) {
    Value v = {.kind = V_UNDEFINED, .flags = UNDEF_ITEM, .extra = object.kind};
    if (key.kind == V_STRING) {
        v.flags = UNDEF_ATTRIBUTE;
        v.count = key.count;
        v.as.text = key.as.text;
    }
    return v;
}

Value undefined_unsafe(Value object, Value key) {
    Value v = undefined_item(object, key);
    v.flags = UNDEF_UNSAFE;
    return v;
}

Status undefined_fail(Jinja *j, Value v) {
    const int count = (int)MIN(v.count, 200u);
    const Value object = {.kind = (uint8_t)v.extra};
    switch (v.flags) {
    case UNDEF_NAME:
        REFUSE(j, "'%.*s' is undefined", count, v.as.text);
    case UNDEF_ATTRIBUTE:
        if (object.kind == V_NONE)
            REFUSE(j, "none has no attribute '%.*s'", count, v.as.text);
        REFUSE(j, "'%s object' has no attribute '%.*s'", value_type(object), count, v.as.text);
    case UNDEF_UNSAFE:
        REFUSE(j, "access to attribute '%.*s' of '%s' object is unsafe", count, v.as.text, value_type(object));
    case UNDEF_ITEM:
        REFUSE(j, "'%s object' has no such element", value_type(object));
    default:
        REFUSE(j, "%.*s", count, v.as.text);
    }
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

Status list_new(Jinja *j, size_t capacity, List **list) {
    List *fresh;
    TRY(jinja_alloc(j, sizeof *fresh, &fresh));
    if (capacity > 0)
        TRY(jinja_alloc_array(j, capacity, sizeof(Value), &fresh->items));
    fresh->capacity = capacity;
    *list = fresh;
    return OK;
}

Status list_push(Jinja *j, List *list, Value item) {
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity < 4 ? 4 : list->capacity * 2;
        Value *items;
        TRY(jinja_alloc_array(j, capacity, sizeof *items, &items));
        if (list->count > 0)
            memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return OK;
}

Status list_of_iterable(Jinja *j, Value iterable, List **list) {
    bool has;
    const size_t length = iterable.kind == V_STRING ? 0 : value_length(iterable, &has);
    List *fresh;
    TRY(list_new(j, length, &fresh));
    Iterator it;
    TRY(iterator_open(j, &it, iterable));
    for (;;) {
        Value item;
        TRY(iterator_next(j, &it, &item));
        if (!is_given(item))
            break;
        TRY(list_push(j, fresh, item));
    }
    *list = fresh;
    return OK;
}

Status tuple_new(Jinja *j, const Value *items, size_t count, Value *tuple) {
    List *list;
    TRY(list_new(j, count, &list));
    if (count > 0)
        memcpy(list->items, items, count * sizeof *items);
    list->count = count;
    *tuple = value_of_tuple(list);
    return OK;
}

/* ---- what a value is --------------------------------------------------------------------------------------------- */

const char *value_type(Value v) {
    static const char *const names[V_KINDS] = {
        [V_MISSING] = "missing",     [V_UNDEFINED] = "Undefined", [V_NONE] = "NoneType",
        [V_BOOL] = "bool",           [V_INT] = "int",             [V_BIG] = "int",
        [V_FLOAT] = "float",         [V_STRING] = "str",          [V_LIST] = "list",
        [V_TUPLE] = "tuple",         [V_DICT] = "dict",           [V_VIEW] = "dict view",
        [V_RANGE] = "range",         [V_ITERATOR] = "generator",  [V_NAMESPACE] = "Namespace",
        [V_FUNCTION] = "function",   [V_METHOD] = "method",       [V_MACRO] = "Macro",
        [V_LOOP] = "LoopContext",    [V_CYCLER] = "Cycler",       [V_JOINER] = "Joiner",
        [V_SELF] = "TemplateReference", [V_BLOCK] = "BlockReference",
    };
    return v.kind < V_KINDS ? names[v.kind] : "unknown";
}

size_t value_length(Value v, bool *has) {
    *has = true;
    switch (v.kind) {
    case V_STRING:
        return string_length(v);
    case V_LIST:
    case V_TUPLE:
        return v.as.list->count;
    case V_DICT:
        return v.as.dict->live;
    case V_VIEW:
        return v.as.view->dict->live;
    case V_RANGE:
        return v.as.range->count;
    case V_UNDEFINED:
        return 0;
    default:
        *has = false;
        return 0;
    }
}

bool value_truth(Value v) {
    switch (v.kind) {
    case V_MISSING:
    case V_UNDEFINED:
    case V_NONE:
        return false;
    case V_BOOL:
        return v.as.boolean;
    case V_INT:
        return v.as.integer != 0;
    case V_FLOAT:
        return v.as.real != 0;
    case V_STRING:
        return v.count > 0;
    default: {
        bool has;
        const size_t length = value_length(v, &has);
        return !has || length > 0;
    }
    }
}

bool value_same(Value a, Value b) {
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case V_NONE:
        return true;
    case V_BOOL:
        return a.as.boolean == b.as.boolean;
    case V_INT: /* Python keeps one object for each small integer */
        return a.as.integer == b.as.integer && a.as.integer >= -5 && a.as.integer <= 256;
    case V_FLOAT:
        return false;
    case V_STRING:
        return a.count == b.count && a.flags == b.flags &&
               (a.as.text == b.as.text || (a.count <= 1 && memcmp(a.as.text, b.as.text, a.count) == 0));
    case V_UNDEFINED:
        return a.flags == b.flags && a.as.text == b.as.text && a.count == b.count;
    default:
        return a.as.object == b.as.object;
    }
}

/* ---- iteration --------------------------------------------------------------------------------------------------- */

static Status next_of_list(Jinja *j, Iterator *it, Value *item) {
    TRY(jinja_spend(j, 1));
    const List *list = it->source.as.list; /* looked at anew each time: it may have grown or shrunk */
    *item = it->at < list->count ? list->items[it->at++] : value_missing();
    return OK;
}

static Status next_of_string(Jinja *j, Iterator *it, Value *item) {
    TRY(jinja_spend(j, 1));
    const Value string = it->source;
    if (it->at >= string.count) {
        *item = value_missing();
        return OK;
    }
    size_t end = it->at + 1;
    while (end < string.count && ((unsigned char)string.as.text[end] & 0xC0) == 0x80)
        end++;
    *item = value_slice(string, it->at, end - it->at);
    item->flags &= (uint8_t)~STR_MARKUP; /* the characters of Markup are plain strings */
    it->at = end;
    return OK;
}

static Status next_of_dict(Jinja *j, Iterator *it, Value *item) {
    TRY(jinja_spend(j, 1));
    const Dict *dict = it->source.kind == V_VIEW ? it->source.as.view->dict : it->source.as.dict;
    const ViewKind which = it->source.kind == V_VIEW ? it->source.as.view->which : VIEW_KEYS;
    REFUSE_IF(dict->live != it->guard, j, "the dictionary changed its size during iteration");
    const DictEntry *entry = dict_next(dict, &it->at);
    if (entry == NULL) {
        *item = value_missing();
        return OK;
    }
    if (which == VIEW_ITEMS) {
        const Value pair[2] = {entry->key, entry->value};
        return tuple_new(j, pair, 2, item);
    }
    *item = which == VIEW_KEYS ? entry->key : entry->value;
    return OK;
}

static Status next_of_range(Jinja *j, Iterator *it, Value *item) {
    TRY(jinja_spend(j, 1));
    const Range *range = it->source.as.range;
    *item = it->at < range->count ? value_int(range->start + (int64_t)it->at * range->step) : value_missing();
    it->at++;
    return OK;
}

static Status next_of_iterator(Jinja *j, Iterator *it, Value *item) {
    TRY(jinja_enter(j)); /* generators can stand behind generators without end */
    TRY(iterator_next(j, it->source.as.iterator, item));
    jinja_leave(j);
    return OK;
}

static Status next_of_nothing(Jinja *j, Iterator *it, Value *item) {
    (void)j;
    (void)it;
    *item = value_missing();
    return OK;
}

static IteratorNext next_of(Value v) {
    switch (v.kind) {
    case V_LIST:
    case V_TUPLE:
        return next_of_list;
    case V_STRING:
        return next_of_string;
    case V_DICT:
    case V_VIEW:
        return next_of_dict;
    case V_RANGE:
        return next_of_range;
    case V_ITERATOR:
        return next_of_iterator;
    case V_UNDEFINED:
        return next_of_nothing;
    default:
        return NULL;
    }
}

bool value_is_iterable(Value v) {
    return next_of(v) != NULL;
}

Status iterator_open(Jinja *j, Iterator *it, Value over) {
    *it = (Iterator){.next = next_of(over), .type = "iterator", .source = over};
    REFUSE_IF(it->next == NULL, j, "'%s' object is not iterable", value_type(over));
    if (over.kind == V_DICT)
        it->guard = over.as.dict->live;
    else if (over.kind == V_VIEW)
        it->guard = over.as.view->dict->live;
    return OK;
}

Status generator_new(Jinja *j, IteratorNext next, Value source, void *state, Value *generator) {
    Iterator *it;
    TRY(jinja_alloc(j, sizeof *it, &it));
    *it = (Iterator){.next = next, .type = "generator", .source = source, .state = state};
    *generator = value_of_iterator(it);
    return OK;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static Status list_of_json(Jinja *j, const json_t *json, Value *value) {
    List *list;
    const size_t count = json_array_size(json);
    TRY(list_new(j, count, &list));
    list->count = count;
    for (size_t i = 0; i < count; i++)
        TRY(value_of_json(j, json_array_get(json, i), &list->items[i]));
    *value = value_of_list(list);
    return OK;
}

static Status dict_of_json(Jinja *j, const json_t *json, Value *value) {
    Dict *dict;
    TRY(dict_new(j, &dict));
    /* jansson's iterator wants a pointer to non-const, and changes nothing. */
    json_t *object = (json_t *)(uintptr_t)json;
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        Value item;
        TRY(value_of_json(j, json_object_iter_value(at), &item));
        TRY(dict_put(j, dict, value_string(json_object_iter_key(at), json_object_iter_key_len(at)), item));
    }
    *value = value_of_dict(dict);
    return OK;
}

Status value_of_json(Jinja *j, const void *any_json, Value *value) {
    const json_t *json = any_json;
    TRY(jinja_enter(j));
    Status status = OK;
    if (json == NULL) {
        *value = value_none();
        jinja_leave(j);
        return OK;
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        status = dict_of_json(j, json, value);
        break;
    case JSON_ARRAY:
        status = list_of_json(j, json, value);
        break;
    case JSON_STRING: {
        const size_t count = json_string_length(json);
        if (count > UINT32_MAX)
            status = string_too_long(j, count);
        else
            *value = value_string(json_string_value(json), count);
        break;
    }
    case JSON_INTEGER:
        *value = value_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *value = value_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *value = value_bool(json_is_true(json));
        break;
    case JSON_NULL:
        *value = value_none();
        break;
    }
    jinja_leave(j);
    return status;
}
