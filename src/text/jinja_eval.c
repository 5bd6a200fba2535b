/* jinja_eval.c - statements, functions and scopes of a running template; expressions are in jinja_expr.c. */
#include "text/jinja_eval.h"

#include "text/jinja_expr.h"

#include <string.h>

typedef enum Flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } Flow;

static Status run_body(Jinja *j, Activation *a, const Body *body, Flow *flow);

/* ---- activations and scopes -------------------------------------------------------------------------------------- */

static Status activation_open(Jinja *j, const Function *function, Activation *outer, Context *context,
                              Activation **out) {
    Activation **free_list = function->slots < JINJA_FREE_LISTS ? &j->free_activations[function->slots] : NULL;
    Activation *a;
    if (free_list != NULL && *free_list != NULL) {
        a = *free_list;
        *free_list = a->outer;
        memset(a->slots, 0, function->slots * sizeof *a->slots);
    } else {
        TRY(jinja_alloc(j, sizeof *a + function->slots * sizeof *a->slots, &a));
    }
    a->outer = outer;
    a->function = function;
    a->context = context;
    a->captured = false;
    *out = a;
    return OK;
}

static void activation_close(Jinja *j, Activation *a) {
    if (a->captured || a->function->slots >= JINJA_FREE_LISTS)
        return;
    a->outer = j->free_activations[a->function->slots];
    j->free_activations[a->function->slots] = a;
}

static void capture(Activation *a) {
    for (; a != NULL && !a->captured; a = a->outer)
        a->captured = true;
}

static Value context_lookup(const Context *context, Value name) {
    for (; context != NULL; context = context->outer) {
        const Value *found = dict_find(context->vars, name.as.text, name.count);
        if (found != NULL)
            return *found;
    }
    const Builtin *builtin = global_find(name.as.text, name.count);
    return builtin != NULL ? value_of_builtin(builtin) : value_missing();
}

static Status scope_enter(Jinja *j, Activation *a, const Scope *scope) {
    for (size_t i = 0; i < scope->count; i++) {
        const Load *load = &scope->loads[i];
        switch (load->kind) {
        case LOAD_NONE:
            break;
        case LOAD_CONTEXT:
            a->slots[load->slot] = context_lookup(a->context, load->name);
            break;
        case LOAD_COPY:
            a->slots[load->slot] = *variable(a, load->from);
            break;
        case LOAD_UNASSIGNED:
            a->slots[load->slot] = value_missing();
            break;
        }
    }
    return jinja_spend(j, scope->count / 4 + 1);
}

/* Macros that were made inside see the variables gone, as Jinja's do. */
static void scope_leave(Activation *a, const Scope *scope) {
    for (size_t i = 0; i < scope->count; i++)
        a->slots[scope->loads[i].slot] = value_missing();
}

/* ---- assignment -------------------------------------------------------------------------------------------------- */

static Status assign(Jinja *j, Activation *a, const Expr *target, Value value);

static Status assign_each(Jinja *j, Activation *a, const Expr *target, Value value) {
    const size_t wanted = target->as.list.count;
    Iterator it;
    TRY(iterator_open(j, &it, value));
    List *items;
    if (value.kind == V_LIST || value.kind == V_TUPLE) {
        items = value.as.list;
    } else {
        TRY(list_new(j, wanted + 1, &items));
        while (items->count <= wanted) {
            Value item;
            TRY(iterator_next(j, &it, &item));
            if (!is_given(item))
                break;
            TRY(list_push(j, items, item));
        }
    }
    REFUSE_IF(items->count > wanted, j, "too many values to unpack (%zu are expected)", wanted);
    REFUSE_IF(items->count < wanted, j, "not enough values to unpack (%zu are expected, %zu given)", wanted,
              items->count);
    for (size_t i = 0; i < wanted; i++)
        TRY(assign(j, a, target->as.list.items[i], items->items[i]));
    return OK;
}

static Status assign(Jinja *j, Activation *a, const Expr *target, Value value) {
    if (target->kind == E_NAME) {
        *variable(a, target->as.name.place) = value;
        return OK;
    }
    if (target->kind == E_TUPLE)
        return assign_each(j, a, target, value);
    const Value space = *variable(a, target->as.name.place);
    const Value attribute = target->as.name.attribute;
    if (space.kind == V_NAMESPACE)
        return namespace_put(j, space.as.dict, attribute, value);
    REFUSE_IF(space.kind != V_DICT, j, "cannot assign attribute on non-namespace object");
    return dict_put(j, space.as.dict, attribute, value);
}

/* set ns.x = ...: everything that is no namespace is refused before anything is assigned. */
static Status check_namespaces(Jinja *j, Activation *a, const Expr *target) {
    if (target->kind == E_NAMESPACE_NAME)
        REFUSE_IF(variable(a, target->as.name.place)->kind != V_NAMESPACE, j,
                  "cannot assign attribute on non-namespace object");
    if (target->kind == E_TUPLE)
        for (size_t i = 0; i < target->as.list.count; i++)
            TRY(check_namespaces(j, a, target->as.list.items[i]));
    return OK;
}

/* What is assigned at the top level is seen by blocks. */
static Status export(Jinja *j, Activation *a, const Expr *target) {
    if (target->kind == E_NAME)
        return dict_put(j, a->context->vars, target->as.name.name, *variable(a, target->as.name.place));
    if (target->kind == E_TUPLE)
        for (size_t i = 0; i < target->as.list.count; i++)
            TRY(export(j, a, target->as.list.items[i]));
    return OK;
}

static Status assign_and_export(Jinja *j, Activation *a, const Stmt *st, const Expr *target, Value value) {
    TRY(assign(j, a, target, value));
    return st->top_level && j->has_blocks ? export(j, a, target) : OK;
}

/* ---- macros ------------------------------------------------------------------------------------------------------ */

static Status macro_new(Jinja *j, const Function *function, Activation *outer, Value *value) {
    Macro *macro;
    TRY(jinja_alloc(j, sizeof *macro, &macro));
    macro->function = function;
    macro->outer = outer;
    capture(outer);
    *value = (Value){.kind = V_MACRO, .as.macro = macro};
    return OK;
}

/* The keyword arguments that have found their parameter, as bits; a call with more of them is refused. */
typedef struct Taken {
    uint64_t bits;
} Taken;

static Value take_keyword(const Args *args, Taken *taken, Value name) {
    for (size_t i = 0; i < args->keyword_count; i++) {
        const Value key = args->keywords[i].name;
        if ((taken->bits >> i & 1) == 0 && key.count == name.count &&
            memcmp(key.as.text, name.as.text, key.count) == 0) {
            taken->bits |= (uint64_t)1 << i;
            return args->keywords[i].value;
        }
    }
    return value_missing();
}

static Status bind_rest(Jinja *j, const Function *f, const Args *args, Taken taken, Activation *a) {
    const uint64_t all = args->keyword_count == 64 ? UINT64_MAX : ((uint64_t)1 << args->keyword_count) - 1;
    if (f->takes_keywords) {
        Dict *rest;
        TRY(dict_new(j, &rest));
        for (size_t i = 0; i < args->keyword_count; i++)
            if ((taken.bits >> i & 1) == 0)
                TRY(dict_put(j, rest, args->keywords[i].name, args->keywords[i].value));
        *variable(a, f->keywords) = value_of_dict(rest);
    } else if (taken.bits != all) {
        size_t first = 0;
        while ((taken.bits >> first & 1) != 0)
            first++;
        const Value name = args->keywords[first].name;
        REFUSE(j, "the macro takes no keyword argument '%.*s'", (int)MIN(name.count, 80u), name.as.text);
    }
    const size_t extra = args->count > f->parameter_count ? args->count - f->parameter_count : 0;
    if (f->takes_items)
        return tuple_new(j, extra > 0 ? args->items + f->parameter_count : NULL, extra, variable(a, f->items));
    REFUSE_IF(extra > 0, j, "the macro takes not more than %zu arguments", f->parameter_count);
    return OK;
}

static Status bind_parameters(Jinja *j, const Function *f, const Args *args, Activation *a) {
    REFUSE_IF(args->keyword_count > 64, j, "more than 64 keyword arguments");
    Taken taken = {0};
    bool found_caller = f->explicit_caller && args->count >= f->parameter_count;
    for (size_t i = 0; i < f->parameter_count; i++) {
        Value value;
        if (i < args->count) {
            value = args->items[i];
        } else {
            value = take_keyword(args, &taken, f->parameters[i]->as.name.name);
            found_caller = found_caller || string_is(f->parameters[i]->as.name.name, "caller");
        }
        *variable(a, f->parameters[i]->as.name.place) = value;
    }
    if (f->takes_caller && !found_caller) {
        const Value caller = take_keyword(args, &taken, value_str("caller"));
        *variable(a, f->caller) = is_nothing(caller) ? undefined_hint("No caller defined") : caller;
    }
    TRY(bind_rest(j, f, args, taken, a));
    TRY(scope_enter(j, a, &f->scope));
    for (size_t i = 0; i < f->parameter_count; i++) {
        Value *parameter = variable(a, f->parameters[i]->as.name.place);
        if (is_given(*parameter))
            continue;
        if (f->defaults[i] == NULL) {
            *parameter = undefined_name(f->parameters[i]->as.name.name);
        } else {
            Value value;
            TRY(eval_expr(j, a, f->defaults[i], &value));
            *parameter = value;
        }
    }
    return OK;
}

static Status macro_call(Jinja *j, const Macro *macro, const Args *args, Value *result) {
    const Function *f = macro->function;
    TRY(jinja_enter(j));
    Activation *a;
    TRY(activation_open(j, f, macro->outer, macro->outer->context, &a));
    const bool escaped = j->autoescape;
    TRY(bind_parameters(j, f, args, a));
    const size_t mark = jinja_mark(j);
    Flow flow = FLOW_ON;
    TRY(run_body(j, a, &f->body, &flow));
    TRY(jinja_take(j, mark, result));
    if (escaped)
        result->flags |= STR_MARKUP;
    activation_close(j, a);
    jinja_leave(j);
    return OK;
}

Status write_macro_name(Jinja *j, const Macro *macro) {
    return macro->function->name.kind == V_STRING ? write_repr(j, macro->function->name)
                                                  : jinja_write_str(j, "anonymous");
}

/* ---- loops ------------------------------------------------------------------------------------------------------- */

typedef struct LoopFilter {
    const Stmt *statement;
    Activation *activation;
    Iterator it;
} LoopFilter;

/* for x in xs if test: the items that pass, as they are asked for. */
static Status next_passing(Jinja *j, Iterator *it, Value *item) {
    LoopFilter *filter = it->state;
    for (;;) {
        TRY(iterator_next(j, &filter->it, item));
        if (!is_given(*item))
            return OK;
        TRY(assign(j, filter->activation, filter->statement->as.loop.test_target, *item));
        Value passes;
        TRY(eval_expr(j, filter->activation, filter->statement->as.loop.test, &passes));
        if (value_truth(passes))
            return OK;
    }
}

static Status filtered(Jinja *j, Activation *outer, const Stmt *st, Value iterable, Value *generator) {
    LoopFilter *filter;
    TRY(jinja_alloc(j, sizeof *filter, &filter));
    filter->statement = st;
    const Function *f = st->as.loop.test_function;
    TRY(activation_open(j, f, outer, outer->context, &filter->activation));
    TRY(scope_enter(j, filter->activation, &f->scope));
    TRY(iterator_open(j, &filter->it, iterable));
    return generator_new(j, next_passing, iterable, filter, generator);
}

static Status loop_new(Jinja *j, Activation *outer, const Stmt *st, Value iterable, int depth0, Iterator *it,
                       Loop **out) {
    Loop *loop;
    TRY(jinja_alloc(j, sizeof *loop, &loop));
    *loop = (Loop){.it = it, .iterable = iterable, .index0 = -1, .depth0 = depth0, .statement = st, .outer = outer};
    capture(outer); /* the loop variable can be kept, and called, after the function has ended */
    *out = loop;
    return OK;
}

/* `a` holds the loop's variables; it is `outer` itself unless the loop is recursive. */
static Status run_loop(Jinja *j, Activation *outer, Activation *a, const Stmt *st, Value iterable, int depth0,
                       Flow *flow) {
    if (st->as.loop.test != NULL)
        TRY(filtered(j, outer, st, iterable, &iterable));
    Iterator own, *it = &own;
    if (st->as.loop.extended)
        TRY(jinja_alloc(j, sizeof *it, &it)); /* the loop variable may outlive this call */
    TRY(iterator_open(j, it, iterable));
    Loop *loop = NULL;
    if (st->as.loop.extended)
        TRY(loop_new(j, outer, st, iterable, depth0, it, &loop));
    bool ran_through = false; /* some iteration got to its end */
    for (;;) {
        Value item;
        if (loop != NULL)
            TRY(loop_advance(j, loop, &item));
        else
            TRY(iterator_next(j, it, &item));
        if (!is_given(item))
            break;
        TRY(assign(j, a, st->as.loop.target, item));
        if (loop != NULL)
            *variable(a, st->as.loop.loop) = (Value){.kind = V_LOOP, .as.loop = loop};
        TRY(scope_enter(j, a, &st->as.loop.scope));
        Flow inner = FLOW_ON;
        TRY(run_body(j, a, &st->as.loop.body, &inner));
        if (inner == FLOW_BREAK)
            break;
        ran_through = ran_through || inner == FLOW_ON;
    }
    scope_leave(a, &st->as.loop.scope);
    if (st->as.loop.has_otherwise && !ran_through) {
        TRY(scope_enter(j, a, &st->as.loop.otherwise_scope));
        TRY(run_body(j, a, &st->as.loop.otherwise, flow));
        scope_leave(a, &st->as.loop.otherwise_scope);
    }
    return OK;
}

static Status run_recursive(Jinja *j, Activation *outer, const Stmt *st, Value iterable, int depth0) {
    TRY(jinja_enter(j));
    Activation *a;
    TRY(activation_open(j, st->as.loop.function, outer, outer->context, &a));
    Flow flow = FLOW_ON;
    TRY(run_loop(j, outer, a, st, iterable, depth0, &flow));
    activation_close(j, a);
    jinja_leave(j);
    return OK;
}

Status loop_recurse(Jinja *j, const Loop *loop, const Args *args, Value *result) {
    REFUSE_IF(args->count != 1 || args->keyword_count != 0, j, "loop() takes one argument");
    REFUSE_IF(!loop->statement->as.loop.recursive, j, "the loop must be marked 'recursive' to be called");
    const size_t mark = jinja_mark(j);
    TRY(run_recursive(j, loop->outer, loop->statement, args->items[0], loop->depth0 + 1));
    TRY(jinja_take(j, mark, result));
    if (j->autoescape)
        result->flags |= STR_MARKUP;
    return OK;
}

static Status run_for(Jinja *j, Activation *a, const Stmt *st, Flow *flow) {
    Value iterable;
    TRY(eval_expr(j, a, st->as.loop.iterable, &iterable));
    return st->as.loop.recursive ? run_recursive(j, a, st, iterable, 0) : run_loop(j, a, a, st, iterable, 0, flow);
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

static Status self_new(Jinja *j, const Program *program, Context *context, Value *value) {
    SelfRef *self;
    TRY(jinja_alloc(j, sizeof *self, &self));
    self->program = program;
    self->context = context;
    *value = (Value){.kind = V_SELF, .as.object = self};
    return OK;
}

Status block_reference(Jinja *j, Value self, Value name, Value *result) {
    const SelfRef *ref = self.as.object;
    for (size_t i = 0; i < ref->program->block_count; i++) {
        const Block *block = ref->program->blocks[i];
        if (block->name.count != name.count || memcmp(block->name.as.text, name.as.text, name.count) != 0)
            continue;
        BlockRef *found;
        TRY(jinja_alloc(j, sizeof *found, &found));
        *found = (BlockRef){.program = ref->program, .block = block, .context = ref->context};
        *result = (Value){.kind = V_BLOCK, .as.block = found};
        return OK;
    }
    return OK;
}

static Status run_block(Jinja *j, const Program *program, const Block *block, Context *context) {
    TRY(jinja_enter(j));
    REFUSE_IF(block->required, j, "the required block '%.*s' is not filled", (int)MIN(block->name.count, 80u),
              block->name.as.text);
    Activation *a;
    TRY(activation_open(j, block->function, NULL, context, &a));
    if (block->uses_self)
        TRY(self_new(j, program, context, variable(a, block->self)));
    if (block->uses_super)
        *variable(a, block->super) = undefined_hint("there is no parent block");
    TRY(scope_enter(j, a, &block->function->scope));
    Flow flow = FLOW_ON;
    TRY(run_body(j, a, &block->function->body, &flow));
    activation_close(j, a);
    jinja_leave(j);
    return OK;
}

static Status run_block_statement(Jinja *j, Activation *a, const Stmt *st) {
    Context *context = a->context;
    if (st->as.block.scoped) {
        TRY(jinja_alloc(j, sizeof *context, &context));
        context->outer = a->context;
        TRY(dict_new(j, &context->vars));
        for (size_t i = 0; i < st->as.block.visible_count; i++) {
            const Value value = *variable(a, st->as.block.visible[i].place);
            if (is_given(value))
                TRY(dict_put(j, context->vars, st->as.block.visible[i].name, value));
        }
    }
    return run_block(j, j->program, st->as.block.block, context);
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

static Status write_output(Jinja *j, Activation *a, const Stmt *st) {
    const bool escape = st->escape == ESCAPE_ON || (st->escape == ESCAPE_RUN_TIME && j->autoescape);
    for (size_t i = 0; i < st->as.output.count; i++) {
        const Expr *e = st->as.output.items[i];
        Value value;
        TRY(eval_expr(j, a, e, &value));
        if (value.kind == V_STRING && (!escape || is_markup(value))) {
            TRY(jinja_spend_bytes(j, value.count));
            TRY(jinja_write(j, value.as.text, value.count));
        } else if (!escape) {
            TRY(write_value(j, value));
        } else {
            TRY(value_escape(j, value, &value));
            TRY(jinja_write(j, value.as.text, value.count));
        }
    }
    return OK;
}

static Status run_if(Jinja *j, Activation *a, const Stmt *st, Flow *flow) {
    for (size_t i = 0; i < st->as.branch.count; i++) {
        const IfBranch *branch = &st->as.branch.branches[i];
        Value test = value_bool(true);
        if (branch->test != NULL)
            TRY(eval_expr(j, a, branch->test, &test));
        if (value_truth(test))
            return run_body(j, a, &branch->body, flow);
    }
    return OK;
}

/* Only text may stand in the output here: the tag writes its result without str(). */
static Status write_text(Jinja *j, Value value, const char *tag) {
    REFUSE_IF(value.kind != V_STRING, j, "the %s block gives %s, not a text", tag, value_type(value));
    return jinja_write(j, value.as.text, value.count);
}

static Status run_call_block(Jinja *j, Activation *a, const Stmt *st) {
    Value caller, result;
    TRY(macro_new(j, st->as.call_block.function, a, &caller));
    if (st->as.call_block.call == NULL)
        TRY(macro_call(j, caller.as.macro, &(Args){0}, &result));
    else
        TRY(eval_call(j, a, st->as.call_block.call, caller, &result));
    return write_text(j, result, "call");
}

static Status run_filter_block(Jinja *j, Activation *a, const Stmt *st, Flow *flow) {
    TRY(scope_enter(j, a, &st->as.filter_block.scope));
    const size_t mark = jinja_mark(j);
    TRY(run_body(j, a, &st->as.filter_block.body, flow));
    if (*flow != FLOW_ON) { /* the loop around was left from within: the text is lost */
        jinja_drop(j, mark);
        return OK;
    }
    Value text;
    TRY(jinja_take(j, mark, &text));
    if (j->autoescape)
        text.flags |= STR_MARKUP;
    TRY(eval_filters(j, a, st->as.filter_block.filter, text, &text));
    TRY(write_text(j, text, "filter"));
    scope_leave(a, &st->as.filter_block.scope);
    return OK;
}

static Status run_set_block(Jinja *j, Activation *a, const Stmt *st, Flow *flow) {
    TRY(scope_enter(j, a, &st->as.set_block.scope));
    const size_t mark = jinja_mark(j);
    TRY(run_body(j, a, &st->as.set_block.body, flow));
    if (*flow != FLOW_ON) {
        jinja_drop(j, mark);
        return OK;
    }
    Value text;
    TRY(jinja_take(j, mark, &text));
    if (st->as.set_block.filter != NULL)
        TRY(eval_filters(j, a, st->as.set_block.filter, text, &text));
    if (j->autoescape) {
        TRY(value_to_string(j, text, &text));
        text.flags |= STR_MARKUP;
    }
    TRY(assign_and_export(j, a, st, st->as.set_block.target, text));
    scope_leave(a, &st->as.set_block.scope);
    return OK;
}

static Status run_with(Jinja *j, Activation *a, const Stmt *st, Flow *flow) {
    TRY(scope_enter(j, a, &st->as.with.scope));
    for (size_t i = 0; i < st->as.with.count; i++) {
        Value value;
        TRY(eval_expr(j, a, st->as.with.values[i], &value));
        TRY(assign(j, a, st->as.with.targets[i], value));
    }
    TRY(run_body(j, a, &st->as.with.body, flow));
    scope_leave(a, &st->as.with.scope);
    return OK;
}

static Status run_autoescape(Jinja *j, Activation *a, const Stmt *st, Flow *flow) {
    TRY(scope_enter(j, a, &st->as.autoescape.scope));
    Value value;
    TRY(eval_expr(j, a, st->as.autoescape.value, &value));
    const bool before = j->autoescape;
    j->autoescape = value_truth(value);
    TRY(run_body(j, a, &st->as.autoescape.body, flow));
    j->autoescape = before;
    scope_leave(a, &st->as.autoescape.scope);
    return OK;
}

static Status run_set(Jinja *j, Activation *a, const Stmt *st) {
    TRY(check_namespaces(j, a, st->as.set.target));
    Value value;
    TRY(eval_expr(j, a, st->as.set.value, &value));
    return assign_and_export(j, a, st, st->as.set.target, value);
}

static Status run_statement(Jinja *j, Activation *a, const Stmt *st, Flow *flow) {
    j->line = st->line;
    switch ((StmtKind)st->kind) {
    case S_OUTPUT:
        return write_output(j, a, st);
    case S_FOR:
        return run_for(j, a, st, flow);
    case S_IF:
        return run_if(j, a, st, flow);
    case S_MACRO: {
        Value macro;
        TRY(macro_new(j, st->as.macro.function, a, &macro));
        return assign_and_export(j, a, st, st->as.macro.target, macro);
    }
    case S_CALL_BLOCK:
        return run_call_block(j, a, st);
    case S_FILTER_BLOCK:
        return run_filter_block(j, a, st, flow);
    case S_WITH:
        return run_with(j, a, st, flow);
    case S_AUTOESCAPE:
        return run_autoescape(j, a, st, flow);
    case S_BLOCK:
        return run_block_statement(j, a, st);
    case S_SET:
        return run_set(j, a, st);
    case S_SET_BLOCK:
        return run_set_block(j, a, st, flow);
    case S_BREAK:
        *flow = FLOW_BREAK;
        return OK;
    case S_CONTINUE:
        *flow = FLOW_CONTINUE;
        return OK;
    case S_REFUSED:
        return jinja_fail(j, ERR_UNSUPPORTED, "%s: a chat template stands alone, there are no others to load",
                          st->as.refusal);
    }
    return OK;
}

static Status run_body(Jinja *j, Activation *a, const Body *body, Flow *flow) {
    TRY(jinja_enter(j));
    for (size_t i = 0; i < body->count && *flow == FLOW_ON; i++) {
        TRY(jinja_spend(j, 1));
        TRY(run_statement(j, a, body->items[i], flow));
    }
    jinja_leave(j);
    return OK;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static Status block_call(Jinja *j, const BlockRef *ref, const Args *args, Value *result) {
    REFUSE_IF(args->count != 0 || args->keyword_count != 0, j, "a block takes no arguments");
    const size_t mark = jinja_mark(j);
    TRY(run_block(j, ref->program, ref->block, ref->context));
    TRY(jinja_take(j, mark, result));
    if (j->autoescape)
        result->flags |= STR_MARKUP;
    return OK;
}

Status value_call(Jinja *j, Value callee, const Args *args, Value *result) {
    switch (callee.kind) {
    case V_FUNCTION:
        return builtin_call(j, callee.as.builtin, value_none(), args, result);
    case V_METHOD:
        return builtin_call(j, callee.as.method->builtin, callee.as.method->self, args, result);
    case V_MACRO:
        return macro_call(j, callee.as.macro, args, result);
    case V_LOOP:
        return loop_recurse(j, callee.as.loop, args, result);
    case V_BLOCK:
        return block_call(j, callee.as.block, args, result);
    case V_JOINER:
        return joiner_call(j, callee, args, result);
    case V_UNDEFINED:
        return undefined_fail(j, callee);
    default:
        REFUSE(j, "'%s' object is not callable", value_type(callee));
    }
}

Status eval_program(Jinja *j, const Program *program, Context *context) {
    Activation *a;
    j->program = program;
    j->has_blocks = program->block_count > 0;
    TRY(activation_open(j, program->root, NULL, context, &a));
    if (program->uses_self)
        TRY(self_new(j, program, context, variable(a, program->self)));
    TRY(scope_enter(j, a, &program->root->scope));
    Flow flow = FLOW_ON;
    return run_body(j, a, &program->root->body, &flow);
}
