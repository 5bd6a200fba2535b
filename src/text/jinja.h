/* jinja.h - what the files of the Jinja interpreter share: values, the state of one rendering, and its rules.
 *
 * A template is compiled once into a Program (jinja_ast.h), which is read-only from then on; each rendering has its
 * own Jinja state, so that any number of threads may render the same template.
 *
 *     text ──jinja_lexer──▶ tokens ──jinja_parser──▶ tree ──jinja_scope──▶ tree with slots ──jinja_eval──▶ text
 *                                                                  values, operators, filters, tests, methods
 *
 * Semantics are those of Jinja 3.1 on Python 3: the sandboxed environment with trim_blocks and lstrip_blocks, loop
 * controls and {% generation %}. Templates are foreign code, hence:
 *   - there are no attributes but those in our tables; nothing leads out of the values below;
 *   - everything allocates from one arena with a limit, spends fuel for each step and each 64 bytes of work, and
 *     counts its depth; whatever goes beyond a limit is an ordinary error.
 *
 * Functions return a Status; the message (with the template's line) is in the Error that the rendering was given. A
 * failure always ends the rendering: nothing is unwound behind it but what the caller of the rendering frees. */
#ifndef HOULE_TEXT_JINJA_H
#define HOULE_TEXT_JINJA_H

#include "base/arena.h"
#include "base/text.h"
#include "text/template.h"

#include <time.h>

typedef enum ValueKind {
    V_MISSING = 0, /* no value: an argument that was not given, a variable not assigned, the end of an iteration */
    V_UNDEFINED,   /* Jinja's undefined: prints nothing, refuses nearly everything else */
    V_NONE,
    V_BOOL,
    V_INT,
    V_BIG, /* an integer beyond 64 bits */
    V_FLOAT,
    V_STRING,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_VIEW,  /* dict.keys(), .values(), .items() */
    V_RANGE,
    V_ITERATOR, /* what generators are in Python: can be walked once */
    V_NAMESPACE,
    V_FUNCTION, /* range, dict, ... */
    V_METHOD,   /* a method with its object: 'a'.upper */
    V_MACRO,
    V_LOOP, /* the loop variable */
    V_CYCLER,
    V_JOINER,
    V_SELF,  /* self: the template's blocks */
    V_BLOCK, /* self.name */
    V_KINDS
} ValueKind;

/* flags of V_STRING */
enum {
    STR_ASCII = 1,  /* every byte is below 128, so that bytes are characters */
    STR_MARKUP = 2, /* is HTML already: escape leaves it alone, and what is added to it is escaped */
};

/* flags of V_UNDEFINED: what the message is made of */
enum { UNDEF_NAME, UNDEF_ATTRIBUTE, UNDEF_ITEM, UNDEF_HINT, UNDEF_UNSAFE };

/* flags of V_TUPLE */
enum { TUPLE_GROUP = 1 }; /* of groupby: has the attributes grouper and list */

typedef struct Jinja Jinja;
typedef struct List List;
typedef struct Dict Dict;
typedef struct View View;
typedef struct Range Range;
typedef struct Iterator Iterator;
typedef struct BigInt BigInt;
typedef struct Method Method;
typedef struct Macro Macro;
typedef struct Loop Loop;
typedef struct Cycler Cycler;
typedef struct Joiner Joiner;
typedef struct BlockRef BlockRef;
typedef struct Builtin Builtin;

/* 16 bytes, passed by value. What it points to lives in the rendering's arena, in the program's, or in the JSON that
 * the caller gave; strings are slices, shared and never changed. */
typedef struct Value {
    uint8_t kind;   /* ValueKind */
    uint8_t flags;
    uint16_t extra; /* V_UNDEFINED: kind of the object whose attribute is missing */
    uint32_t count; /* bytes of a string or of an undefined's text */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *text;
        const BigInt *big;
        List *list; /* tuples too */
        Dict *dict; /* namespaces too */
        const View *view;
        const Range *range;
        Iterator *iterator;
        const Builtin *builtin;
        const Method *method;
        const Macro *macro;
        Loop *loop;
        Cycler *cycler;
        Joiner *joiner;
        const BlockRef *block;
        void *object;
    } as;
} Value;

struct List {
    Value *items;
    size_t count;
    size_t capacity;
    bool busy; /* being printed: a list that contains itself */
};

typedef struct DictEntry {
    Value key; /* V_MISSING: removed */
    Value value;
    uint32_t hash;
} DictEntry;

/* Entries in the order of insertion; from nine on, an index of hashes (open addressing, 0 = free, else entry + 1). */
struct Dict {
    DictEntry *entries;
    size_t used; /* entries in use, removed ones included */
    size_t live;
    size_t capacity;
    uint32_t *index;
    size_t index_capacity; /* 0 = no index: search the entries */
    bool busy;
};

typedef enum ViewKind { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS } ViewKind;

struct View {
    Dict *dict;
    ViewKind which;
};

struct Range {
    int64_t start, stop, step;
    size_t count;
};

/* Gives the next item, V_MISSING at the end. */
typedef Status (*IteratorNext)(Jinja *j, Iterator *it, Value *item);

struct Iterator {
    IteratorNext next;
    const char *type; /* Python's name of such an iterator, for messages */
    Value source;
    size_t at;    /* item or byte of the source */
    size_t guard; /* size of the dict when the walk began */
    bool done;
    void *state; /* of generators */
};

typedef struct Keyword {
    Value name; /* a string */
    Value value;
} Keyword;

/* The arguments of a call. */
typedef struct Args {
    const Value *items;
    size_t count;
    const Keyword *keywords;
    size_t keyword_count;
} Args;

/* A filter, test, method or global function. `parameters` lists names separated by spaces, "?" after the optional
 * ones, "/" in front when none may be given by name, "*" when all must; the function then gets exactly that many items
 * (V_MISSING for those left out) and no keywords. NULL: the function takes the arguments as they are. `self` is the
 * filtered or tested value, or the method's object. */
struct Builtin {
    const char *name;
    const char *parameters;
    Status (*call)(Jinja *j, Value self, const Args *args, Value *result);
};

struct Method {
    Value self;
    const Builtin *builtin;
};

struct Cycler {
    List *items;
    size_t at;
};

struct Joiner {
    Value separator;
    bool used;
};

/* Where names are looked up that no scope of the template defines: variables, then globals. */
typedef struct Context Context;
struct Context {
    Context *outer;
    Dict *vars;
};

enum { GROW_SLOTS = 4, JINJA_FREE_LISTS = 32 };

/* A string that was made by concatenation has room behind it; as long as it ends where the room begins, the next
 * concatenation continues in place. That keeps `ns.text = ns.text ~ piece` linear. */
typedef struct GrowSlot {
    const char *start, *end, *limit;
} GrowSlot;

struct Jinja {
    Arena arena;
    const TemplateLimits *limits;
    Error *err;
    Text *out;       /* the output; captured text and strings under construction are its tail */
    size_t out_base; /* where this rendering's output begins */
    uint64_t fuel;   /* steps left */
    int line;        /* of the template, for messages */
    int depth;
    bool autoescape; /* inside {% autoescape true %} */
    struct Activation *free_activations[JINJA_FREE_LISTS]; /* by number of slots: jinja_eval.c */
    const struct Program *program;
    bool has_blocks; /* so that assignments at the top level must be kept for them */
    Value *stack; /* arguments under construction */
    size_t stack_count;
    GrowSlot grow[GROW_SLOTS];
    unsigned grow_next;
    struct tm now;
    bool now_known;
    uint64_t random;
};

/* ---- failing and paying ------------------------------------------------------------------------------------------ */

/* Records "line N: message". */
void jinja_record(Jinja *j, Status status, const char *format, ...) PRINTF_LIKE(3, 4);
/* Records it and is the status: a constant, so that compilers know that what follows does not run. */
#define jinja_fail(j, status, ...) (jinja_record((j), (status), __VA_ARGS__), (status))
/* Errors in the template or in what it does with its values: ERR_FORMAT. */
#define REFUSE(j, ...) return jinja_fail((j), ERR_FORMAT, __VA_ARGS__)
#define REFUSE_IF(condition, j, ...)                                                                                   \
    do {                                                                                                               \
        if (UNLIKELY(condition))                                                                                       \
            return jinja_fail((j), ERR_FORMAT, __VA_ARGS__);                                                           \
    } while (0)

/* Spends steps. */
Status jinja_spend(Jinja *j, size_t steps);
/* Spends the steps that work on so many bytes costs. */
static inline Status jinja_spend_bytes(Jinja *j, size_t bytes) { return jinja_spend(j, bytes / 64 + 1); }
/* Zeroed memory that lives as long as the rendering. */
Status jinja_alloc(Jinja *j, size_t bytes, void *out_pointer);
Status jinja_alloc_array(Jinja *j, size_t count, size_t element_bytes, void *out_pointer);
/* Each recursion passes here; jinja_leave ends it. */
Status jinja_enter(Jinja *j);
static inline void jinja_leave(Jinja *j) { j->depth--; }

/* ---- output and strings under construction ----------------------------------------------------------------------- */

Status jinja_write(Jinja *j, const char *bytes, size_t count);
Status jinja_write_str(Jinja *j, const char *string);
Status jinja_write_char(Jinja *j, char c);
Status jinja_write_code_point(Jinja *j, uint32_t code_point);
Status jinja_write_repeat(Jinja *j, const char *bytes, size_t count, size_t times);
Status jinja_write_double(Jinja *j, char style, int precision, double number);
/* Begins a string under construction; what is written from here on is taken back out by jinja_take. */
static inline size_t jinja_mark(const Jinja *j) { return j->out->count; }
Status jinja_take(Jinja *j, size_t mark, Value *string);
void jinja_drop(Jinja *j, size_t mark);

/* ---- values ------------------------------------------------------------------------------------------------------ */

static inline Value value_missing(void) { return (Value){.kind = V_MISSING}; }
static inline Value value_none(void) { return (Value){.kind = V_NONE}; }
static inline Value value_bool(bool b) { return (Value){.kind = V_BOOL, .as.boolean = b}; }
static inline Value value_int(int64_t n) { return (Value){.kind = V_INT, .as.integer = n}; }
static inline Value value_float(double d) { return (Value){.kind = V_FLOAT, .as.real = d}; }
static inline Value value_of_list(List *l) { return (Value){.kind = V_LIST, .as.list = l}; }
static inline Value value_of_tuple(List *l) { return (Value){.kind = V_TUPLE, .as.list = l}; }
static inline Value value_of_dict(Dict *d) { return (Value){.kind = V_DICT, .as.dict = d}; }
static inline Value value_of_iterator(Iterator *it) { return (Value){.kind = V_ITERATOR, .as.iterator = it}; }
static inline Value value_of_builtin(const Builtin *b) { return (Value){.kind = V_FUNCTION, .as.builtin = b}; }

/* A string that shares the bytes (valid UTF-8, at most UINT32_MAX of them). */
Value value_string(const char *bytes, size_t count);
Value value_str(const char *string);
/* A part of a string; keeps its flags. */
Value value_slice(Value string, size_t at, size_t count);
static inline bool is_ascii(Value string) { return (string.flags & STR_ASCII) != 0; }
static inline bool is_markup(Value v) { return v.kind == V_STRING && (v.flags & STR_MARKUP) != 0; }
static inline bool is_given(Value v) { return v.kind != V_MISSING; }
/* Not given or none. */
static inline bool is_nothing(Value v) { return v.kind == V_MISSING || v.kind == V_NONE; }
/* Characters of a string; byte offset of the n-th character (n may be the length). */
size_t string_length(Value string);
size_t string_offset(Value string, size_t character);
bool string_is(Value v, const char *string);
/* Copies bytes into the arena; two strings become one. */
Status string_new(Jinja *j, const char *bytes, size_t count, Value *string);
Status string_concat(Jinja *j, Value a, Value b, Value *string);

Value undefined_name(Value name);
Value undefined_hint(const char *hint);
/* object[key] or object.key that is not there. */
Value undefined_item(Value object, Value key);
Value undefined_unsafe(Value object, Value key);
/* Fails with the undefined's message. */
Status undefined_fail(Jinja *j, Value undefined);

Status list_new(Jinja *j, size_t capacity, List **list);
Status list_push(Jinja *j, List *list, Value item);
Status list_of_iterable(Jinja *j, Value iterable, List **list);
Status tuple_new(Jinja *j, const Value *items, size_t count, Value *tuple);

Status dict_new(Jinja *j, Dict **dict);
/* Fails for keys that cannot be hashed (lists, dicts). */
Status dict_put(Jinja *j, Dict *dict, Value key, Value value);
Status dict_get(Jinja *j, Dict *dict, Value key, Value *value); /* V_MISSING: not there */
Status dict_remove(Jinja *j, Dict *dict, Value key, Value *removed);
/* By a plain string; no failure, no fuel. NULL: not there. */
Value *dict_find(const Dict *dict, const char *key, size_t bytes);
/* The next live entry from *at on, NULL at the end; *at moves behind it. */
DictEntry *dict_next(const Dict *dict, size_t *at);
Status dict_copy(Jinja *j, const Dict *dict, Dict **copy);
void dict_clear(Dict *dict);
/* The live entries ordered by key: jinja_sequences.c. */
Status dict_sorted_entries(Jinja *j, const Dict *dict, const DictEntry **entries);
/* What Python's dict.update and dict() accept: a mapping, or pairs. */
Status dict_update(Jinja *j, Dict *dict, Value source);

/* A JSON value; the JSON must outlive the rendering, its strings are shared. */
Status value_of_json(Jinja *j, const void *json, Value *value);

/* Python's name of the value's type: "str", "NoneType", "generator". */
const char *value_type(Value v);
static inline bool is_integer(Value v) { return v.kind == V_INT || v.kind == V_BIG || v.kind == V_BOOL; }
static inline bool is_number(Value v) { return is_integer(v) || v.kind == V_FLOAT; }
bool value_truth(Value v);
Status value_equal(Jinja *j, Value a, Value b, bool *equal);
/* Negative, zero, positive; `op` is how the message calls it ("<"). *unordered: NaN is in it. */
Status value_compare(Jinja *j, Value a, Value b, const char *op, int *order, bool *unordered);
Status value_hash(Jinja *j, Value v, uint32_t *hash);
/* Python's `is`. */
bool value_same(Value a, Value b);
/* len(); *has is false for what has none. */
size_t value_length(Value v, bool *has);

/* Begins to walk over a value; `it` belongs to the caller. Fails for what cannot be walked over. */
Status iterator_open(Jinja *j, Iterator *it, Value over);
bool value_is_iterable(Value v); /* iterator_open would take it */
/* A generator: `next` is called with the given source and state. */
Status generator_new(Jinja *j, IteratorNext next, Value source, void *state, Value *generator);
static inline Status iterator_next(Jinja *j, Iterator *it, Value *item) {
    if (it->done) {
        *item = value_missing();
        return OK;
    }
    const Status status = it->next(j, it, item);
    if (status == OK && item->kind == V_MISSING)
        it->done = true;
    return status;
}

/* ---- text of values: jinja_repr.c, jinja_number.c, jinja_json.c -------------------------------------------------- */

/* Python's str() and repr() to the output. */
Status write_value(Jinja *j, Value v);
Status write_repr(Jinja *j, Value v);
Status write_escaped(Jinja *j, const char *bytes, size_t count); /* for HTML */
/* str(): strings are returned as they are. */
Status value_to_string(Jinja *j, Value v, Value *string);
Status value_escape(Jinja *j, Value v, Value *markup);
/* Python's repr of a float. */
Status write_float(Jinja *j, double number);
/* For their repr: jinja_eval.c, jinja_loop.c. */
Status write_macro_name(Jinja *j, const Macro *macro);
Status write_loop_position(Jinja *j, Loop *loop);
Status write_value_as_json(Jinja *j, Value v, bool ensure_ascii, bool sort_keys, Value indent, Value item_separator,
                        Value key_separator);

/* ---- operators: jinja_ops.c -------------------------------------------------------------------------------------- */

typedef enum BinaryOp { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW } BinaryOp;
typedef enum CompareOp { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN } CompareOp;

Status value_binary(Jinja *j, BinaryOp op, Value a, Value b, Value *result);
Status value_negate(Jinja *j, Value v, bool negative, Value *result);
Status value_test(Jinja *j, CompareOp op, Value a, Value b, bool *result);
Status value_contains(Jinja *j, Value container, Value item, bool *result);
/* object.name and object[key], with Jinja's fallbacks; undefined when there is none. */
Status value_get_attribute(Jinja *j, Value object, Value name, Value *result);
Status value_get_item(Jinja *j, Value object, Value key, Value *result);
/* The attribute alone (method or property), V_MISSING when there is none. */
Status value_attribute(Jinja *j, Value object, Value name, Value *result);
/* A property of loops, macros, numbers, ranges, ...: jinja_methods.c. V_MISSING when there is none. */
Status value_property(Jinja *j, Value object, Value name, Value *result);
/* The template's block of that name: jinja_eval.c. V_MISSING when there is none. */
Status block_reference(Jinja *j, Value self, Value name, Value *result);
/* object[start:stop:step]; V_NONE for parts left out. */
Status value_get_slice(Jinja *j, Value object, Value start, Value stop, Value step, Value *result);
/* As an int64_t, for counts and widths; `what` for the message. Fails for anything but integers in range. */
Status value_to_int64(Jinja *j, Value v, const char *what, int64_t *number);

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* Calls any callable value: jinja_eval.c. */
Status value_call(Jinja *j, Value callee, const Args *args, Value *result);
/* jinja_globals.c. Names that begin with "_" are refused. */
Status namespace_put(Jinja *j, Dict *space, Value name, Value value);
Status joiner_call(Jinja *j, Value joiner, const Args *args, Value *result);
/* Binds the arguments by the builtin's parameters and calls it: jinja_call.c. */
Status builtin_call(Jinja *j, const Builtin *builtin, Value self, const Args *args, Value *result);
/* By binary search in tables sorted by name; NULL = none. */
const Builtin *builtin_find(const Builtin *table, size_t count, const char *name, size_t bytes);
const Builtin *filter_find(const char *name, size_t bytes);
const Builtin *test_find(const char *name, size_t bytes);
const Builtin *method_find(ValueKind kind, const char *name, size_t bytes);
const Builtin *global_find(const char *name, size_t bytes);
/* Places for arguments on the state's stack; given back by setting stack_count to what it was. */
Status stack_push(Jinja *j, Value v);

/* str.format, format_map and the % operator: jinja_format.c. */
Status format_percent(Jinja *j, Value format, Value values, Value *result);
Status format_braces(Jinja *j, Value format, const Args *args, Value mapping, Value *result);

/* The time that strftime_now shows. */
Status jinja_now(Jinja *j, struct tm *now);

#endif
