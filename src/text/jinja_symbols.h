/* jinja_symbols.h - the names of a scope while jinja_scope.c sorts them out: where each is kept, and what it begins as.
 *
 * Everything lies in the template's arena. Statuses are those of jinja_alloc, and ERR_LIMIT for too many names. */
#ifndef HOULE_TEXT_JINJA_SYMBOLS_H
#define HOULE_TEXT_JINJA_SYMBOLS_H

#include "text/jinja_scope.h"

typedef struct SlotTable {
    Function *function;
    struct {
        int level;
        Value name;
    } *items;
    size_t capacity;
} SlotTable;

typedef struct Symbol {
    Value name;
    uint32_t slot;
    bool stored;
    bool newly_stored; /* while branches are merged */
    LoadKind load;
    const Function *from_function; /* LOAD_COPY */
    uint32_t from_slot;
} Symbol;

typedef struct Symbols Symbols;
struct Symbols {
    Symbols *parent;
    SlotTable *slots;
    int level;
    Symbol *items;
    size_t count, capacity;
};

/* A scope inside of `parent` (NULL: the outermost of its function), in code of `function`. */
Status symbols_open(Jinja *j, Symbols *parent, Function *function, Symbols **out);
bool symbols_same_name(Value a, Value b);
/* The symbol of a name in the nearest scope around which has one, and which it is. NULL: none. */
Symbol *symbols_find(Symbols *symbols, Value name, Symbols **owner);

/* The scope's code reads a name; has a parameter; assigns a name. */
Status symbols_note_load(Jinja *j, Symbols *symbols, Value name);
Status symbols_note_parameter(Jinja *j, Symbols *symbols, Value name);
Status symbols_note_store(Jinja *j, Symbols *symbols, Value name);

/* A branch of an if works on a copy; afterwards what the branches found is put together. */
Status symbols_copy(Jinja *j, const Symbols *from, Symbols **out);
Status symbols_merge(Jinja *j, Symbols *symbols, const Symbols *const *branches, size_t count);

/* Doubles an array in the arena when it is full; array_pointer is the address of the pointer to it. */
Status symbols_grow(Jinja *j, void *array_pointer, size_t *capacity, size_t count, size_t element_bytes);

#endif
