/* jinja_symbols.c - see jinja_symbols.h. */
#include "text/jinja_symbols.h"

#include <string.h>

/* Names are found by looking through all of them. Published templates have a few dozen. */
enum { MAX_SYMBOLS = 1000, MAX_SLOTS = 4000 };

bool symbols_same_name(Value a, Value b) {
    return a.count == b.count && memcmp(a.as.text, b.as.text, a.count) == 0;
}

Status symbols_grow(Jinja *j, void *array_pointer, size_t *capacity, size_t count, size_t element_bytes) {
    if (count < *capacity)
        return OK;
    const size_t wanted = *capacity == 0 ? 8 : *capacity * 2;
    void *grown, *old;
    TRY(jinja_alloc_array(j, wanted, element_bytes, &grown));
    memcpy(&old, array_pointer, sizeof old);
    if (count > 0)
        memcpy(grown, old, count * element_bytes);
    memcpy(array_pointer, &grown, sizeof grown);
    *capacity = wanted;
    return OK;
}

Status symbols_open(Jinja *j, Symbols *parent, Function *function, Symbols **out) {
    TRY(jinja_alloc(j, sizeof **out, out));
    (*out)->parent = parent;
    (*out)->level = parent != NULL ? parent->level + 1 : 0;
    if (parent != NULL && parent->slots->function == function) {
        (*out)->slots = parent->slots;
        return OK;
    }
    TRY(jinja_alloc(j, sizeof(SlotTable), &(*out)->slots));
    (*out)->slots->function = function;
    return OK;
}

/* The scope's own symbol of a name; NULL: none. */
static Symbol *own_symbol(Symbols *symbols, Value name) {
    for (size_t i = 0; i < symbols->count; i++)
        if (symbols_same_name(symbols->items[i].name, name))
            return &symbols->items[i];
    return NULL;
}

Symbol *symbols_find(Symbols *symbols, Value name, Symbols **owner) {
    for (; symbols != NULL; symbols = symbols->parent) {
        Symbol *symbol = own_symbol(symbols, name);
        if (symbol != NULL) {
            *owner = symbols;
            return symbol;
        }
    }
    return NULL;
}

static Status slot_of(Jinja *j, const Symbols *symbols, Value name, uint32_t *slot) {
    SlotTable *table = symbols->slots;
    const uint32_t count = table->function->slots;
    for (uint32_t i = 0; i < count; i++)
        if (table->items[i].level == symbols->level && symbols_same_name(table->items[i].name, name)) {
            *slot = i;
            return OK;
        }
    if (count == MAX_SLOTS)
        return jinja_fail(j, ERR_LIMIT, "more than %d variables", MAX_SLOTS);
    TRY(symbols_grow(j, &table->items, &table->capacity, count, sizeof *table->items));
    table->items[count].level = symbols->level;
    table->items[count].name = name;
    *slot = count;
    table->function->slots++;
    return OK;
}

static Status define(Jinja *j, Symbols *symbols, Value name, LoadKind load, Symbol **out) {
    Symbol *symbol = own_symbol(symbols, name);
    if (symbol == NULL) {
        if (symbols->count == MAX_SYMBOLS)
            return jinja_fail(j, ERR_LIMIT, "more than %d variables in one scope", MAX_SYMBOLS);
        TRY(symbols_grow(j, &symbols->items, &symbols->capacity, symbols->count, sizeof *symbols->items));
        symbol = &symbols->items[symbols->count++];
        *symbol = (Symbol){.name = name};
        TRY(slot_of(j, symbols, name, &symbol->slot));
    }
    symbol->load = load;
    *out = symbol;
    return OK;
}

static void load_copy(Symbol *symbol, const Symbol *outer, const Symbols *owner) {
    symbol->load = LOAD_COPY;
    symbol->from_function = owner->slots->function;
    symbol->from_slot = outer->slot;
}

Status symbols_note_load(Jinja *j, Symbols *symbols, Value name) {
    Symbols *owner;
    Symbol *symbol = symbols_find(symbols, name, &owner);
    return symbol != NULL ? OK : define(j, symbols, name, LOAD_CONTEXT, &symbol);
}

Status symbols_note_parameter(Jinja *j, Symbols *symbols, Value name) {
    Symbol *symbol;
    TRY(define(j, symbols, name, LOAD_NONE, &symbol));
    symbol->stored = true;
    return OK;
}

Status symbols_note_store(Jinja *j, Symbols *symbols, Value name) {
    Symbol *symbol = own_symbol(symbols, name);
    if (symbol == NULL) {
        Symbols *owner = NULL;
        const Symbol *outer = symbols->parent != NULL ? symbols_find(symbols->parent, name, &owner) : NULL;
        TRY(define(j, symbols, name, LOAD_UNASSIGNED, &symbol));
        if (outer != NULL)
            load_copy(symbol, outer, owner);
    }
    symbol->stored = true;
    return OK;
}

Status symbols_copy(Jinja *j, const Symbols *from, Symbols **out) {
    TRY(jinja_alloc(j, sizeof **out, out));
    **out = *from;
    (*out)->items = NULL;
    (*out)->capacity = 0;
    if (from->count > 0) {
        TRY(jinja_alloc_array(j, from->count, sizeof *from->items, &(*out)->items));
        memcpy((*out)->items, from->items, from->count * sizeof *from->items);
        (*out)->capacity = from->count;
    }
    return OK;
}

Status symbols_merge(Jinja *j, Symbols *symbols, const Symbols *const *branches, size_t count) {
    for (size_t b = 0; b < count; b++) {
        for (size_t i = 0; i < branches[b]->count; i++) {
            const Symbol *found = &branches[b]->items[i];
            Symbol *symbol = own_symbol(symbols, found->name);
            if (symbol == NULL)
                TRY(define(j, symbols, found->name, found->load, &symbol));
            symbol->load = found->load;
            symbol->from_function = found->from_function;
            symbol->from_slot = found->from_slot;
            symbol->newly_stored = symbol->newly_stored || (found->stored && !symbol->stored);
        }
    }
    for (size_t i = 0; i < symbols->count; i++) {
        Symbol *symbol = &symbols->items[i];
        if (!symbol->newly_stored)
            continue;
        symbol->newly_stored = false;
        symbol->stored = true;
        /* Perhaps not all branches assign it: it must have a value where none did. */
        Symbols *owner = NULL;
        const Symbol *outer = symbols->parent != NULL ? symbols_find(symbols->parent, symbol->name, &owner) : NULL;
        symbol->load = LOAD_CONTEXT;
        if (outer != NULL)
            load_copy(symbol, outer, owner);
    }
    return OK;
}
