/* jinja_ast.h - a compiled template: the tree, and where its variables live.
 *
 * Everything is in the program's arena and read-only after compiling. The parser builds the tree; the scope pass
 * (jinja_scope.c) then gives each name a slot in the activation of a function:
 *
 *   Function: the template itself, each block, macro, call block, recursive loop and loop filter. A running function
 *   has an Activation with its slots and a pointer to the activation of the function around it, so that a name is
 *   (hops outwards, slot).
 *   Scope: what Jinja calls a frame: a part of a function with variables of its own (the body of a loop, a with
 *   block, ...). Entering one runs its loads: a variable begins as the outer one's copy, as the context's variable of
 *   that name, or unassigned. */
#ifndef HOULE_TEXT_JINJA_AST_H
#define HOULE_TEXT_JINJA_AST_H

#include "text/jinja.h"

typedef struct Expr Expr;
typedef struct Stmt Stmt;
typedef struct Function Function;

typedef enum ExprKind {
    E_CONST,
    E_NAME,
    E_NAMESPACE_NAME, /* ns.attribute as a target */
    E_TUPLE,
    E_LIST,
    E_DICT, /* items: key, value, key, value, ... */
    E_CONDITION,
    E_OR,
    E_AND,
    E_NOT,
    E_COMPARE,
    E_BINARY,
    E_NEGATE,
    E_POSITIVE,
    E_CONCAT,
    E_ATTRIBUTE,
    E_ITEM,
    E_SLICE,
    E_CALL,
    E_FILTER,
    E_TEST,
} ExprKind;

/* Where a name is: set by the scope pass. */
typedef struct Place {
    uint32_t hops;
    uint32_t slot;
} Place;

typedef struct ExprList {
    Expr **items;
    size_t count;
} ExprList;

typedef struct NamedExpr {
    Value name;
    Expr *value;
} NamedExpr;

typedef struct CallArgs {
    ExprList items;
    NamedExpr *keywords;
    size_t keyword_count;
    Expr *more_items;    /* *args, or NULL */
    Expr *more_keywords; /* **kwargs, or NULL */
} CallArgs;

/* Whether what is printed here is escaped: known while compiling, unless {% autoescape expression %} decides it. */
typedef enum EscapeMode { ESCAPE_OFF, ESCAPE_ON, ESCAPE_RUN_TIME } EscapeMode;

struct Expr {
    uint8_t kind; /* ExprKind */
    uint8_t op;   /* BinaryOp; EscapeMode of E_CONCAT */
    uint16_t depth; /* of the tree below */
    int line;
    union {
        Value constant;
        struct {
            Value name;
            Place place;
            Value attribute; /* E_NAMESPACE_NAME */
            bool store;      /* a target of set; for, with and macros' parameters are not */
        } name;
        ExprList list;
        struct {
            Expr *test, *yes, *no; /* no may be NULL */
        } condition;
        struct {
            Expr *left, *right; /* unary: right is NULL */
        } binary;
        struct {
            Expr **operands; /* count + 1 */
            CompareOp *ops;
            size_t count;
        } compare;
        struct {
            Expr *object;
            Value name; /* E_ATTRIBUTE */
            Expr *key;  /* E_ITEM */
        } access;
        struct {
            Expr *object, *start, *stop, *step; /* parts may be NULL */
        } slice;
        struct {
            Expr *callee; /* of filters and tests: the value; NULL in filter blocks */
            Value name;   /* of filters and tests */
            const Builtin *builtin; /* NULL: an unknown filter or test where it is an error only if reached */
            CallArgs args;
        } call;
    } as;
};

typedef enum StmtKind {
    S_OUTPUT,
    S_FOR,
    S_IF,
    S_MACRO,
    S_CALL_BLOCK,
    S_FILTER_BLOCK,
    S_WITH,
    S_AUTOESCAPE,
    S_BLOCK,
    S_SET,
    S_SET_BLOCK,
    S_BREAK,
    S_CONTINUE,
    S_REFUSED, /* include, import, extends: there is no loader */
} StmtKind;

typedef struct Body {
    Stmt **items;
    size_t count;
} Body;

typedef enum LoadKind {
    LOAD_NONE,      /* a parameter: the construct assigns it */
    LOAD_CONTEXT,   /* the context's variable of that name */
    LOAD_COPY,      /* the value of the outer scope's variable */
    LOAD_UNASSIGNED,
} LoadKind;

typedef struct Load {
    LoadKind kind;
    uint32_t slot;
    Place from; /* LOAD_COPY */
    Value name;
} Load;

typedef struct Scope {
    Load *loads;
    size_t count;
} Scope;

struct Function {
    Function *outer; /* NULL: the template, a block */
    Value name;      /* of macros; V_NONE for call blocks */
    uint32_t slots;
    Scope scope;
    Body body;
    /* Macros and call blocks. */
    Expr **parameters; /* E_NAME */
    Expr **defaults;   /* NULL where there is none */
    size_t parameter_count;
    bool takes_caller, takes_keywords, takes_items; /* mentions caller, kwargs, varargs */
    bool explicit_caller;
    Place caller, keywords, items;
};

typedef struct StoredName {
    Value name;
    Place place;
} StoredName;

typedef struct Block {
    Value name;
    Function *function;
    Place self, super;
    bool uses_self, uses_super;
    bool required;
} Block;

typedef struct IfBranch {
    Expr *test; /* NULL: else */
    Body body;
} IfBranch;

struct Stmt {
    uint8_t kind;   /* StmtKind */
    uint8_t escape; /* EscapeMode of S_OUTPUT */
    bool top_level; /* S_SET, S_SET_BLOCK, S_MACRO: blocks see what is assigned here */
    int line;
    union {
        ExprList output;
        struct {
            Expr *target, *iterable, *test; /* test may be NULL */
            Expr *test_target;              /* the target once more, for the filter's own variables */
            Body body, otherwise;
            bool recursive, has_otherwise;
            bool extended; /* the loop variable is used */
            Place loop;
            Function *test_function; /* when there is a test */
            Function *function;      /* when recursive: body and otherwise belong to it */
            Scope scope, otherwise_scope;
        } loop;
        struct {
            IfBranch *branches;
            size_t count;
        } branch;
        struct {
            Function *function;
            Expr *target; /* E_NAME of the macro */
        } macro;
        struct {
            Function *function;
            Expr *call;      /* NULL: {% generation %}, which only renders its body */
            bool escaped;
        } call_block;
        struct {
            Expr *filter;
            Body body;
            Scope scope;
        } filter_block;
        struct {
            Expr **targets, **values;
            size_t count;
            Body body;
            Scope scope;
        } with;
        struct {
            Expr *value;
            Body body;
            Scope scope;
        } autoescape;
        struct {
            Block *block;
            bool scoped;
            StoredName *visible; /* when scoped: what the block sees of the scopes around it */
            size_t visible_count;
        } block;
        struct {
            Expr *target, *value;
        } set;
        struct {
            Expr *target;
            Expr *filter; /* NULL: none; applied to the text */
            Body body;
            Scope scope;
        } set_block;
        const char *refusal;
    } as;
};

typedef struct Program {
    Arena arena;
    Function *root;
    Block **blocks;
    size_t block_count;
    bool uses_self;
    Place self;
} Program;

#endif
