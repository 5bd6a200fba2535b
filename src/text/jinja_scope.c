/* jinja_scope.c - see jinja_scope.h.
 *
 * Jinja compiles templates to Python functions whose variables are Python's locals; what a name means follows from
 * that. The rules, which this pass keeps:
 *   - The names used in a scope are collected before any code of it runs. A name that the scope only reads is the one
 *     of the nearest scope around that knows it, else the context's, looked up when the scope is entered.
 *   - A name that the scope assigns is its own. It begins as a copy of the outer one, taken when the scope is entered;
 *     without an outer one it begins unassigned, or, if only some branch of an `if` assigns it, as the context's.
 *   - Branches of `if` are no scopes. Bodies of loops, with, filter, set and autoescape blocks are; those of macros,
 *     call blocks, recursive loops and loop filters are functions besides, which see the variables around them as
 *     they are when the function runs.
 *   - Scopes of one function that lie at the same depth share a variable of the same name (a slot). */
#include "text/jinja_scope.h"

#include "text/jinja_symbols.h"

#include <string.h>

enum { MAX_BLOCKS = 250 };

/* What is known where code is generated. */
typedef struct Frame {
    Symbols *symbols;
    bool top_level; /* the template's own scope: blocks see what is assigned here */
    bool in_loop;   /* break and continue are possible */
    bool soft;      /* within an if: unknown filters are errors only when reached */
    EscapeMode escape;
} Frame;

typedef struct Scoper {
    Jinja *j;
    Program *program;
    size_t block_capacity;
} Scoper;

static Status scope_fail(Scoper *s, int line, const char *message) {
    s->j->line = line;
    return jinja_fail(s->j, ERR_FORMAT, "%s", message);
}

/* ---- walking through expressions --------------------------------------------------------------------------------- */

typedef Status (*ExprVisit)(Scoper *s, void *user, Expr *expr);

static Status each_argument(Scoper *s, const CallArgs *args, ExprVisit visit, void *user) {
    for (size_t i = 0; i < args->items.count; i++)
        TRY(visit(s, user, args->items.items[i]));
    for (size_t i = 0; i < args->keyword_count; i++)
        TRY(visit(s, user, args->keywords[i].value));
    if (args->more_items != NULL)
        TRY(visit(s, user, args->more_items));
    return args->more_keywords != NULL ? visit(s, user, args->more_keywords) : OK;
}

static Status each_of(Scoper *s, ExprVisit visit, void *user, Expr *a, Expr *b, Expr *c, Expr *d) {
    Expr *const all[] = {a, b, c, d};
    for (size_t i = 0; i < COUNT(all); i++)
        if (all[i] != NULL)
            TRY(visit(s, user, all[i]));
    return OK;
}

/* Visits the expressions directly below. */
static Status each_child(Scoper *s, const Expr *e, ExprVisit visit, void *user) {
    switch ((ExprKind)e->kind) {
    case E_CONST:
    case E_NAME:
    case E_NAMESPACE_NAME:
        return OK;
    case E_TUPLE:
    case E_LIST:
    case E_DICT:
    case E_CONCAT:
        for (size_t i = 0; i < e->as.list.count; i++)
            TRY(visit(s, user, e->as.list.items[i]));
        return OK;
    case E_CONDITION:
        return each_of(s, visit, user, e->as.condition.test, e->as.condition.yes, e->as.condition.no, NULL);
    case E_OR:
    case E_AND:
    case E_BINARY:
    case E_NOT:
    case E_NEGATE:
    case E_POSITIVE:
        return each_of(s, visit, user, e->as.binary.left, e->as.binary.right, NULL, NULL);
    case E_COMPARE:
        for (size_t i = 0; i <= e->as.compare.count; i++)
            TRY(visit(s, user, e->as.compare.operands[i]));
        return OK;
    case E_ATTRIBUTE:
    case E_ITEM:
        return each_of(s, visit, user, e->as.access.object, e->as.access.key, NULL, NULL);
    case E_SLICE:
        return each_of(s, visit, user, e->as.slice.object, e->as.slice.start, e->as.slice.stop, e->as.slice.step);
    case E_CALL:
    case E_FILTER:
    case E_TEST:
        if (e->as.call.callee != NULL)
            TRY(visit(s, user, e->as.call.callee));
        return each_argument(s, &e->as.call.args, visit, user);
    }
    return OK;
}

/* ---- which names a scope uses ------------------------------------------------------------------------------------ */

static Status note_expr(Scoper *s, void *symbols, Expr *e) {
    if (e->kind == E_NAME || e->kind == E_NAMESPACE_NAME)
        return symbols_note_load(s->j, symbols, e->as.name.name);
    return each_child(s, e, note_expr, symbols);
}

static Status note_target(Scoper *s, Symbols *symbols, const Expr *target, bool parameter) {
    if (target->kind == E_NAME)
        return parameter ? symbols_note_parameter(s->j, symbols, target->as.name.name)
                         : symbols_note_store(s->j, symbols, target->as.name.name);
    if (target->kind == E_NAMESPACE_NAME)
        return symbols_note_load(s->j, symbols, target->as.name.name);
    for (size_t i = 0; i < target->as.list.count; i++)
        TRY(note_target(s, symbols, target->as.list.items[i], parameter));
    return OK;
}

static Status note_body(Scoper *s, Symbols *symbols, const Body *body);

static Status note_branch(Scoper *s, Symbols *symbols, const IfBranch *branch, const IfBranch *others, size_t count) {
    TRY(note_expr(s, symbols, branch->test));
    Symbols *parts[3];
    for (size_t i = 0; i < 3; i++)
        TRY(symbols_copy(s->j, symbols, &parts[i]));
    TRY(note_body(s, parts[0], &branch->body));
    for (size_t i = 0; i < count; i++) {
        if (others[i].test != NULL)
            TRY(note_branch(s, parts[1], &others[i], NULL, 0));
        else
            TRY(note_body(s, parts[2], &others[i].body));
    }
    const Symbols *const all[] = {parts[0], parts[1], parts[2]};
    return symbols_merge(s->j, symbols, all, 3);
}

/* What a statement uses of the scope that it stands in; inner scopes are looked at when their turn comes. */
static Status note_stmt(Scoper *s, Symbols *symbols, const Stmt *st) {
    switch ((StmtKind)st->kind) {
    case S_OUTPUT:
        for (size_t i = 0; i < st->as.output.count; i++)
            TRY(note_expr(s, symbols, st->as.output.items[i]));
        return OK;
    case S_FOR:
        return note_expr(s, symbols, st->as.loop.iterable);
    case S_IF:
        return note_branch(s, symbols, &st->as.branch.branches[0], st->as.branch.branches + 1,
                           st->as.branch.count - 1);
    case S_MACRO:
        return symbols_note_store(s->j, symbols, st->as.macro.target->as.name.name);
    case S_CALL_BLOCK:
        return st->as.call_block.call != NULL ? note_expr(s, symbols, st->as.call_block.call) : OK;
    case S_FILTER_BLOCK:
        return note_expr(s, symbols, st->as.filter_block.filter);
    case S_WITH:
        for (size_t i = 0; i < st->as.with.count; i++)
            TRY(note_expr(s, symbols, st->as.with.values[i]));
        return OK;
    case S_SET:
        TRY(note_expr(s, symbols, st->as.set.value));
        return note_target(s, symbols, st->as.set.target, false);
    case S_SET_BLOCK:
        return note_target(s, symbols, st->as.set_block.target, false);
    case S_AUTOESCAPE:
    case S_BLOCK:
    case S_BREAK:
    case S_CONTINUE:
    case S_REFUSED:
        return OK;
    }
    return OK;
}

static Status note_body(Scoper *s, Symbols *symbols, const Body *body) {
    for (size_t i = 0; i < body->count; i++)
        TRY(note_stmt(s, symbols, body->items[i]));
    return OK;
}

/* ---- names that are special only when mentioned: loop, caller, kwargs, varargs, self, super ---------------------- */

enum { MAX_WATCHED = 3 };

typedef struct Watch {
    const char *names[MAX_WATCHED];
    bool hidden[MAX_WATCHED]; /* assigned before it was read: an ordinary variable */
    bool read[MAX_WATCHED];
} Watch;

static Status watch_expr(Scoper *s, void *user, Expr *e) {
    Watch *w = user;
    if (e->kind == E_NAME) {
        for (int i = 0; i < MAX_WATCHED && w->names[i] != NULL; i++)
            if (string_is(e->as.name.name, w->names[i]) && !w->hidden[i])
                w->read[i] = true;
        return OK;
    }
    return each_child(s, e, watch_expr, w);
}

static void watch_target(Watch *w, const Expr *target) {
    if (target->kind == E_NAME)
        for (int i = 0; i < MAX_WATCHED && w->names[i] != NULL; i++)
            if (string_is(target->as.name.name, w->names[i]))
                w->hidden[i] = true;
    if (target->kind == E_TUPLE)
        for (size_t i = 0; i < target->as.list.count; i++)
            watch_target(w, target->as.list.items[i]);
}

static Status watch_body(Scoper *s, Watch *w, const Body *body);

static Status watch_function(Scoper *s, Watch *w, const Function *f) {
    for (size_t i = 0; i < f->parameter_count; i++)
        watch_target(w, f->parameters[i]);
    for (size_t i = 0; i < f->parameter_count; i++)
        if (f->defaults[i] != NULL)
            TRY(watch_expr(s, w, f->defaults[i]));
    return watch_body(s, w, &f->body);
}

/* In the order in which Jinja visits the parts, because an assignment hides only what is read after it. */
static Status watch_stmt(Scoper *s, Watch *w, const Stmt *st) {
    switch ((StmtKind)st->kind) {
    case S_OUTPUT:
        for (size_t i = 0; i < st->as.output.count; i++)
            TRY(watch_expr(s, w, st->as.output.items[i]));
        return OK;
    case S_FOR:
        watch_target(w, st->as.loop.target);
        TRY(watch_expr(s, w, st->as.loop.iterable));
        TRY(watch_body(s, w, &st->as.loop.body));
        TRY(watch_body(s, w, &st->as.loop.otherwise));
        return st->as.loop.test != NULL ? watch_expr(s, w, st->as.loop.test) : OK;
    case S_IF:
        for (size_t i = 0; i < st->as.branch.count; i++) {
            if (st->as.branch.branches[i].test != NULL)
                TRY(watch_expr(s, w, st->as.branch.branches[i].test));
            TRY(watch_body(s, w, &st->as.branch.branches[i].body));
        }
        return OK;
    case S_MACRO:
        return watch_function(s, w, st->as.macro.function);
    case S_CALL_BLOCK:
        if (st->as.call_block.call != NULL)
            TRY(watch_expr(s, w, st->as.call_block.call));
        return watch_function(s, w, st->as.call_block.function);
    case S_FILTER_BLOCK:
        TRY(watch_body(s, w, &st->as.filter_block.body));
        return watch_expr(s, w, st->as.filter_block.filter);
    case S_WITH:
        for (size_t i = 0; i < st->as.with.count; i++)
            watch_target(w, st->as.with.targets[i]);
        for (size_t i = 0; i < st->as.with.count; i++)
            TRY(watch_expr(s, w, st->as.with.values[i]));
        return watch_body(s, w, &st->as.with.body);
    case S_AUTOESCAPE:
        TRY(watch_expr(s, w, st->as.autoescape.value));
        return watch_body(s, w, &st->as.autoescape.body);
    case S_SET:
        watch_target(w, st->as.set.target);
        return watch_expr(s, w, st->as.set.value);
    case S_SET_BLOCK:
        watch_target(w, st->as.set_block.target);
        if (st->as.set_block.filter != NULL)
            TRY(watch_expr(s, w, st->as.set_block.filter));
        return watch_body(s, w, &st->as.set_block.body);
    case S_BLOCK:
    case S_BREAK:
    case S_CONTINUE:
    case S_REFUSED:
        return OK;
    }
    return OK;
}

static Status watch_body(Scoper *s, Watch *w, const Body *body) {
    for (size_t i = 0; i < body->count; i++)
        TRY(watch_stmt(s, w, body->items[i]));
    return OK;
}

/* Whether a body holds a scoped block, or assigns to `loop`, at any depth. */
typedef struct LoopFacts {
    bool scoped_block;
    int assigned_line; /* 0: no */
} LoopFacts;

static void find_loop_target(const Expr *target, LoopFacts *facts) {
    if (target->kind == E_NAME && target->as.name.store && string_is(target->as.name.name, "loop"))
        facts->assigned_line = target->line;
    if (target->kind == E_TUPLE)
        for (size_t i = 0; i < target->as.list.count; i++)
            find_loop_target(target->as.list.items[i], facts);
}

static void find_loop_facts(const Body *body, LoopFacts *facts) {
    for (size_t i = 0; i < body->count; i++) {
        const Stmt *st = body->items[i];
        switch ((StmtKind)st->kind) {
        case S_FOR:
            find_loop_facts(&st->as.loop.body, facts);
            find_loop_facts(&st->as.loop.otherwise, facts);
            break;
        case S_IF:
            for (size_t k = 0; k < st->as.branch.count; k++)
                find_loop_facts(&st->as.branch.branches[k].body, facts);
            break;
        case S_MACRO:
            find_loop_facts(&st->as.macro.function->body, facts);
            break;
        case S_CALL_BLOCK:
            find_loop_facts(&st->as.call_block.function->body, facts);
            break;
        case S_FILTER_BLOCK:
            find_loop_facts(&st->as.filter_block.body, facts);
            break;
        case S_WITH:
            find_loop_facts(&st->as.with.body, facts);
            break;
        case S_AUTOESCAPE:
            find_loop_facts(&st->as.autoescape.body, facts);
            break;
        case S_BLOCK:
            facts->scoped_block = facts->scoped_block || st->as.block.scoped;
            find_loop_facts(&st->as.block.block->function->body, facts);
            break;
        case S_SET:
            find_loop_target(st->as.set.target, facts);
            break;
        case S_SET_BLOCK:
            find_loop_target(st->as.set_block.target, facts);
            find_loop_facts(&st->as.set_block.body, facts);
            break;
        default:
            break;
        }
    }
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

static uint32_t hops_to(const Function *from, const Function *to) {
    uint32_t hops = 0;
    for (; from != to && from != NULL; from = from->outer)
        hops++;
    return hops;
}

static Place place_of(const Symbols *from, const Symbols *owner, const Symbol *symbol) {
    return (Place){.hops = hops_to(from->slots->function, owner->slots->function), .slot = symbol->slot};
}

/* Every name of the scope's code was noted before, so that it is found. */
static Place find_place(Symbols *symbols, Value name) {
    Symbols *owner;
    const Symbol *symbol = symbols_find(symbols, name, &owner);
    return symbol != NULL ? place_of(symbols, owner, symbol) : (Place){0};
}

static Status scope_loads(Scoper *s, const Symbols *symbols, Scope *scope) {
    scope->count = symbols->count;
    if (symbols->count == 0)
        return OK;
    TRY(jinja_alloc_array(s->j, symbols->count, sizeof *scope->loads, &scope->loads));
    for (size_t i = 0; i < symbols->count; i++) {
        const Symbol *symbol = &symbols->items[i];
        scope->loads[i] = (Load){.kind = symbol->load, .slot = symbol->slot, .name = symbol->name};
        if (symbol->load == LOAD_COPY)
            scope->loads[i].from = (Place){.hops = hops_to(symbols->slots->function, symbol->from_function),
                                           .slot = symbol->from_slot};
    }
    return OK;
}

static Status place_expr(Scoper *s, void *user, Expr *e) {
    Frame *frame = user;
    if (e->kind == E_NAME || e->kind == E_NAMESPACE_NAME) {
        e->as.name.place = find_place(frame->symbols, e->as.name.name);
        return OK;
    }
    if (e->kind == E_CONCAT)
        e->op = (uint8_t)frame->escape;
    if ((e->kind == E_FILTER || e->kind == E_TEST) && e->as.call.builtin == NULL && !frame->soft) {
        s->j->line = e->line;
        return jinja_fail(s->j, ERR_FORMAT, "no %s named '%.*s'", e->kind == E_FILTER ? "filter" : "test",
                          (int)MIN(e->as.call.name.count, 80u), e->as.call.name.as.text);
    }
    if (e->kind == E_CONDITION) {
        Frame soft = *frame;
        soft.soft = true;
        return each_child(s, e, place_expr, &soft);
    }
    return each_child(s, e, place_expr, frame);
}

static Status place_body(Scoper *s, const Frame *frame, const Body *body);

static Status place_target(Scoper *s, const Frame *frame, Expr *target) {
    Frame copy = *frame;
    return place_expr(s, &copy, target);
}

/* A scope within the same function, unless `function` says otherwise. */
static Status inner_frame(Scoper *s, const Frame *frame, Function *function, Frame *inner) {
    *inner = (Frame){.escape = frame->escape};
    if (function == NULL) {
        function = frame->symbols->slots->function;
        inner->in_loop = frame->in_loop;
    }
    return symbols_open(s->j, frame->symbols, function, &inner->symbols);
}

static Status new_inner_function(Scoper *s, const Frame *frame, Function **function) {
    TRY(jinja_alloc(s->j, sizeof **function, function));
    (*function)->outer = frame->symbols->slots->function;
    return OK;
}

static Status place_loop(Scoper *s, const Frame *frame, Stmt *st) {
    Frame outer = *frame;
    TRY(place_expr(s, &outer, st->as.loop.iterable));
    Watch watch = {.names = {"loop"}};
    TRY(watch_body(s, &watch, &st->as.loop.body));
    LoopFacts facts = {0};
    find_loop_facts(&st->as.loop.body, &facts);
    find_loop_facts(&st->as.loop.otherwise, &facts);
    if (facts.assigned_line != 0)
        return scope_fail(s, facts.assigned_line, "the special variable 'loop' cannot be assigned to inside of a loop");
    st->as.loop.extended = st->as.loop.recursive || watch.read[0] || facts.scoped_block;

    if (st->as.loop.test != NULL) {
        TRY(new_inner_function(s, frame, &st->as.loop.test_function));
        Frame test;
        TRY(inner_frame(s, frame, st->as.loop.test_function, &test));
        TRY(note_target(s, test.symbols, st->as.loop.test_target, true));
        TRY(note_expr(s, test.symbols, st->as.loop.test));
        TRY(place_expr(s, &test, st->as.loop.test_target));
        TRY(place_expr(s, &test, st->as.loop.test));
        TRY(scope_loads(s, test.symbols, &st->as.loop.test_function->scope));
    }

    if (st->as.loop.recursive)
        TRY(new_inner_function(s, frame, &st->as.loop.function));
    Frame body;
    TRY(inner_frame(s, frame, st->as.loop.function, &body));
    body.in_loop = true;
    const Value loop_name = value_str("loop");
    if (st->as.loop.extended)
        TRY(symbols_note_parameter(s->j, body.symbols, loop_name));
    TRY(note_target(s, body.symbols, st->as.loop.target, true));
    TRY(note_body(s, body.symbols, &st->as.loop.body));
    if (st->as.loop.extended)
        st->as.loop.loop = find_place(body.symbols, loop_name);
    TRY(place_target(s, &body, st->as.loop.target));
    TRY(place_body(s, &body, &st->as.loop.body));
    TRY(scope_loads(s, body.symbols, &st->as.loop.scope));

    if (st->as.loop.has_otherwise) {
        /* Recursive loops' else belongs to their function; it shares the slots of the body's table. */
        Frame otherwise;
        TRY(inner_frame(s, frame, st->as.loop.function, &otherwise));
        otherwise.symbols->slots = body.symbols->slots;
        TRY(note_body(s, otherwise.symbols, &st->as.loop.otherwise));
        TRY(place_body(s, &otherwise, &st->as.loop.otherwise));
        TRY(scope_loads(s, otherwise.symbols, &st->as.loop.otherwise_scope));
    }
    return OK;
}

/* Macros and call blocks. */
static Status place_function(Scoper *s, const Frame *frame, Function *f, int line) {
    f->outer = frame->symbols->slots->function;
    Frame inner;
    TRY(inner_frame(s, frame, f, &inner));
    bool own_caller = false, own_keywords = false, own_items = false, caller_default = false;
    for (size_t i = 0; i < f->parameter_count; i++) {
        const Value name = f->parameters[i]->as.name.name;
        TRY(symbols_note_parameter(s->j, inner.symbols, name));
        if (string_is(name, "caller")) {
            own_caller = true;
            caller_default = f->defaults[i] != NULL;
        }
        own_keywords = own_keywords || string_is(name, "kwargs");
        own_items = own_items || string_is(name, "varargs");
    }
    Watch watch = {.names = {"caller", "kwargs", "varargs"}};
    TRY(watch_body(s, &watch, &f->body));
    if (watch.read[0] && own_caller && !caller_default)
        return scope_fail(s, line, "the special parameter 'caller' must be left out or have a default");
    f->takes_caller = watch.read[0];
    f->explicit_caller = own_caller;
    f->takes_keywords = watch.read[1] && !own_keywords;
    f->takes_items = watch.read[2] && !own_items;
    if (f->takes_caller && !own_caller)
        TRY(symbols_note_parameter(s->j, inner.symbols, value_str("caller")));
    if (f->takes_keywords)
        TRY(symbols_note_parameter(s->j, inner.symbols, value_str("kwargs")));
    if (f->takes_items)
        TRY(symbols_note_parameter(s->j, inner.symbols, value_str("varargs")));
    for (size_t i = 0; i < f->parameter_count; i++)
        if (f->defaults[i] != NULL)
            TRY(note_expr(s, inner.symbols, f->defaults[i]));
    TRY(note_body(s, inner.symbols, &f->body));

    f->caller = find_place(inner.symbols, value_str("caller"));
    f->keywords = find_place(inner.symbols, value_str("kwargs"));
    f->items = find_place(inner.symbols, value_str("varargs"));
    for (size_t i = 0; i < f->parameter_count; i++) {
        TRY(place_expr(s, &inner, f->parameters[i]));
        if (f->defaults[i] != NULL)
            TRY(place_expr(s, &inner, f->defaults[i]));
    }
    TRY(place_body(s, &inner, &f->body));
    return scope_loads(s, inner.symbols, &f->scope);
}

static Status place_with(Scoper *s, const Frame *frame, Stmt *st) {
    Frame outer = *frame, inner;
    TRY(inner_frame(s, frame, NULL, &inner));
    for (size_t i = 0; i < st->as.with.count; i++) {
        TRY(note_target(s, inner.symbols, st->as.with.targets[i], true));
        TRY(place_expr(s, &outer, st->as.with.values[i]));
    }
    TRY(note_body(s, inner.symbols, &st->as.with.body));
    for (size_t i = 0; i < st->as.with.count; i++)
        TRY(place_target(s, &inner, st->as.with.targets[i]));
    TRY(place_body(s, &inner, &st->as.with.body));
    return scope_loads(s, inner.symbols, &st->as.with.scope);
}

static Status place_autoescape(Scoper *s, const Frame *frame, Stmt *st) {
    Frame inner;
    TRY(inner_frame(s, frame, NULL, &inner));
    TRY(note_expr(s, inner.symbols, st->as.autoescape.value));
    TRY(note_body(s, inner.symbols, &st->as.autoescape.body));
    TRY(place_expr(s, &inner, st->as.autoescape.value));
    if (st->as.autoescape.value->kind != E_CONST || inner.escape == ESCAPE_RUN_TIME)
        inner.escape = ESCAPE_RUN_TIME;
    else
        inner.escape = value_truth(st->as.autoescape.value->as.constant) ? ESCAPE_ON : ESCAPE_OFF;
    TRY(place_body(s, &inner, &st->as.autoescape.body));
    return scope_loads(s, inner.symbols, &st->as.autoescape.scope);
}

static Status place_filter_block(Scoper *s, const Frame *frame, Stmt *st) {
    Frame inner;
    TRY(inner_frame(s, frame, NULL, &inner));
    TRY(note_body(s, inner.symbols, &st->as.filter_block.body));
    TRY(note_expr(s, inner.symbols, st->as.filter_block.filter));
    TRY(place_body(s, &inner, &st->as.filter_block.body));
    TRY(place_expr(s, &inner, st->as.filter_block.filter));
    return scope_loads(s, inner.symbols, &st->as.filter_block.scope);
}

static Status place_set_block(Scoper *s, const Frame *frame, Stmt *st) {
    Frame inner;
    TRY(inner_frame(s, frame, NULL, &inner));
    TRY(note_body(s, inner.symbols, &st->as.set_block.body));
    if (st->as.set_block.filter != NULL)
        TRY(note_expr(s, inner.symbols, st->as.set_block.filter));
    TRY(place_body(s, &inner, &st->as.set_block.body));
    if (st->as.set_block.filter != NULL)
        TRY(place_expr(s, &inner, st->as.set_block.filter));
    TRY(place_target(s, frame, st->as.set_block.target));
    return scope_loads(s, inner.symbols, &st->as.set_block.scope);
}

/* Where a block stands; its body is a function of its own, placed at the end. */
static Status place_block(Scoper *s, const Frame *frame, Stmt *st) {
    Program *program = s->program;
    Block *block = st->as.block.block;
    for (size_t i = 0; i < program->block_count; i++)
        if (symbols_same_name(program->blocks[i]->name, block->name))
            return scope_fail(s, st->line, "a block of this name is defined twice");
    if (program->block_count == MAX_BLOCKS)
        return jinja_fail(s->j, ERR_LIMIT, "more than %d blocks", MAX_BLOCKS);
    TRY(symbols_grow(s->j, &program->blocks, &s->block_capacity, program->block_count, sizeof *program->blocks));
    program->blocks[program->block_count++] = block;
    if (!st->as.block.scoped)
        return OK;
    size_t capacity = 0;
    for (Symbols *symbols = frame->symbols; symbols != NULL; symbols = symbols->parent) {
        for (size_t i = 0; i < symbols->count; i++) {
            if (!symbols->items[i].stored)
                continue;
            bool known = false;
            for (size_t k = 0; k < st->as.block.visible_count; k++)
                known = known || symbols_same_name(st->as.block.visible[k].name, symbols->items[i].name);
            if (known)
                continue;
            TRY(symbols_grow(s->j, &st->as.block.visible, &capacity, st->as.block.visible_count, sizeof(StoredName)));
            st->as.block.visible[st->as.block.visible_count++] = (StoredName){
                .name = symbols->items[i].name, .place = place_of(frame->symbols, symbols, &symbols->items[i])};
        }
    }
    return OK;
}

static Status place_block_body(Scoper *s, Block *block) {
    Watch watch = {.names = {"self", "super"}};
    TRY(watch_body(s, &watch, &block->function->body));
    Frame frame = {0};
    TRY(symbols_open(s->j, NULL, block->function, &frame.symbols));
    block->uses_self = watch.read[0];
    block->uses_super = watch.read[1];
    if (block->uses_self)
        TRY(symbols_note_parameter(s->j, frame.symbols, value_str("self")));
    if (block->uses_super)
        TRY(symbols_note_parameter(s->j, frame.symbols, value_str("super")));
    TRY(note_body(s, frame.symbols, &block->function->body));
    block->self = find_place(frame.symbols, value_str("self"));
    block->super = find_place(frame.symbols, value_str("super"));
    TRY(place_body(s, &frame, &block->function->body));
    return scope_loads(s, frame.symbols, &block->function->scope);
}

static Status place_if(Scoper *s, const Frame *frame, Stmt *st) {
    Frame soft = *frame;
    soft.soft = true;
    for (size_t i = 0; i < st->as.branch.count; i++) {
        if (st->as.branch.branches[i].test != NULL)
            TRY(place_expr(s, &soft, st->as.branch.branches[i].test));
        TRY(place_body(s, &soft, &st->as.branch.branches[i].body));
    }
    return OK;
}

static Status place_stmt(Scoper *s, const Frame *frame, Stmt *st) {
    Frame copy = *frame;
    st->top_level = frame->top_level;
    switch ((StmtKind)st->kind) {
    case S_OUTPUT:
        st->escape = (uint8_t)frame->escape;
        for (size_t i = 0; i < st->as.output.count; i++)
            TRY(place_expr(s, &copy, st->as.output.items[i]));
        return OK;
    case S_FOR:
        return place_loop(s, frame, st);
    case S_IF:
        return place_if(s, frame, st);
    case S_MACRO:
        TRY(place_function(s, frame, st->as.macro.function, st->line));
        return place_expr(s, &copy, st->as.macro.target);
    case S_CALL_BLOCK:
        if (st->as.call_block.call != NULL)
            TRY(place_expr(s, &copy, st->as.call_block.call));
        return place_function(s, frame, st->as.call_block.function, st->line);
    case S_FILTER_BLOCK:
        return place_filter_block(s, frame, st);
    case S_WITH:
        return place_with(s, frame, st);
    case S_AUTOESCAPE:
        return place_autoescape(s, frame, st);
    case S_BLOCK:
        return place_block(s, frame, st);
    case S_SET:
        TRY(place_expr(s, &copy, st->as.set.value));
        return place_expr(s, &copy, st->as.set.target);
    case S_SET_BLOCK:
        return place_set_block(s, frame, st);
    case S_BREAK:
    case S_CONTINUE:
        if (!frame->in_loop)
            return scope_fail(s, st->line, "break and continue are possible only inside of a loop");
        return OK;
    case S_REFUSED:
        if (strcmp(st->as.refusal, "extends") == 0 && !frame->top_level)
            return scope_fail(s, st->line, "extends is possible only at the top level");
        return OK;
    }
    return OK;
}

static Status place_body(Scoper *s, const Frame *frame, const Body *body) {
    for (size_t i = 0; i < body->count; i++)
        TRY(place_stmt(s, frame, body->items[i]));
    return OK;
}

Status scope_resolve(Jinja *j, Program *program, const Body *body) {
    Scoper s = {.j = j, .program = program};
    TRY(jinja_alloc(j, sizeof *program->root, &program->root));
    program->root->body = *body;
    Watch watch = {.names = {"self"}};
    TRY(watch_body(&s, &watch, body));
    program->uses_self = watch.read[0];
    Frame frame = {.top_level = true};
    TRY(symbols_open(j, NULL, program->root, &frame.symbols));
    if (program->uses_self)
        TRY(symbols_note_parameter(j, frame.symbols, value_str("self")));
    TRY(note_body(&s, frame.symbols, body));
    program->self = find_place(frame.symbols, value_str("self"));
    TRY(place_body(&s, &frame, body));
    TRY(scope_loads(&s, frame.symbols, &program->root->scope));
    for (size_t i = 0; i < program->block_count; i++) /* blocks within blocks are added while this runs */
        TRY(place_block_body(&s, program->blocks[i]));
    return OK;
}
