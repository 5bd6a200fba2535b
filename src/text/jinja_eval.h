/* jinja_eval.h - running a compiled template. */
#ifndef HOULE_TEXT_JINJA_EVAL_H
#define HOULE_TEXT_JINJA_EVAL_H

#include "text/jinja_ast.h"

/* A running function: its variables. */
typedef struct Activation Activation;
struct Activation {
    Activation *outer; /* of the function around it in the text; the next free one while in a free list */
    const Function *function;
    Context *context;
    bool captured; /* a macro or a loop may outlive it: it is not used again */
    Value slots[];
};

struct Macro {
    const Function *function;
    Activation *outer;
};

struct Loop {
    Iterator *it;
    Value iterable;
    Value after, current, before; /* V_MISSING: none */
    Value last_changed;           /* V_MISSING: changed() was not called */
    int64_t index0;
    size_t length;
    bool length_known;
    int depth0;
    const Stmt *statement;
    Activation *outer; /* in which the loop stands */
};

struct BlockRef {
    const Program *program;
    const Block *block;
    Context *context;
};

/* What V_SELF points to. */
typedef struct SelfRef {
    const Program *program;
    Context *context;
} SelfRef;

/* Runs the program with the variables of `context` and writes to the state's output. */
Status eval_program(Jinja *j, const Program *program, Context *context);

/* ---- jinja_loop.c ------------------------------------------------------------------------------------------------ */

/* The next item for the body; V_MISSING at the end. */
Status loop_advance(Jinja *j, Loop *loop, Value *item);
/* loop.index, loop.last, ...; V_MISSING for other names. */
Status loop_property(Jinja *j, Loop *loop, Value name, Value *result);
Status loop_cycle(Jinja *j, const Loop *loop, const Args *args, Value *result);
Status loop_changed(Jinja *j, Loop *loop, const Args *args, Value *result);
/* loop(children): renders a recursive loop once more: jinja_eval.c. */
Status loop_recurse(Jinja *j, const Loop *loop, const Args *args, Value *result);

#endif
