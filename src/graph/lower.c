/* lower.c - from the list of operations to the steps of a program.
 *
 * Row operations that follow one another become one step; a matrix operation ends it, after the conversion of its input
 * to the form its kernels want (once, whatever the number of matrices that share it). Linear operations with the same
 * input are one step, wherever they stand in the description; the two halves of a gated unit are computed together. */
#include "graph/program_parts.h"

#include <string.h>

typedef struct Lower {
    Program *p;
    const Graph *g;
    Error *err;
    size_t step_capacity, buffer_capacity;
    bool *done;           /* per op: taken into an earlier step */
    int *uses;            /* per value: how many operations read it (through views too) */
    int *converted;       /* [value][ActForm]: buffer, or -1; reset at each use of another offset */
    int open;             /* the step that row operations are added to, or -1 */
    size_t row_op_capacity, part_capacity;
} Lower;

static Status no_memory(Lower *l) {
    return error_set(l->err, ERR_MEMORY, "no memory for the program");
}

static Val base_of(const Graph *g, Val v) {
    return g->values[v].base != NO_VAL ? g->values[v].base : v;
}

static int new_buffer(Lower *l, size_t row_bytes, RowKind rows, int per_row, bool by_rows) {
    Program *p = l->p;
    if (!mem_grow((void **)&p->buffers, &l->buffer_capacity, (size_t)p->n_buffer + 1, sizeof *p->buffers, MEM_GRAPH))
        return -1;
    p->buffers[p->n_buffer] = (Buffer){.row_bytes = ((row_bytes + 63) & ~(size_t)63) * (size_t)per_row, .per_row = per_row,
                                       .rows = rows, .by_rows = by_rows, .first = -1, .last = -1};
    return p->n_buffer++;
}

static Step *new_step(Lower *l, StepKind kind, const Op *op) {
    Program *p = l->p;
    if (!mem_grow((void **)&p->steps, &l->step_capacity, (size_t)p->n_step + 1, sizeof *p->steps, MEM_GRAPH))
        return NULL;
    Step *s = &p->steps[p->n_step++];
    *s = (Step){.kind = kind, .op = op, .layer = op != NULL ? op->layer : -1, .name = op != NULL ? op->name : ""};
    s->out.buffer = -1;
    for (int i = 0; i < OP_INPUTS; i++)
        s->in[i].buffer = -1;
    l->open = kind == STEP_ROWS ? p->n_step - 1 : -1;
    l->row_op_capacity = l->part_capacity = 0;
    return s;
}

/* The operand of a value, for reading by step `step`. */
static Ref read_ref(Lower *l, Val v, int step) {
    if (v == NO_VAL)
        return (Ref){.buffer = -1};
    const Value *value = &l->g->values[v];
    const int buffer = l->p->buffer_of_value[base_of(l->g, v)];
    l->p->buffers[buffer].last = MAX(l->p->buffers[buffer].last, step);
    return (Ref){.buffer = buffer, .offset = (size_t)value->offset * sizeof(float), .width = value->width};
}

/* Makes the buffer that step `step` writes a value to. */
static Ref write_ref(Lower *l, Val v, int step, bool by_rows) {
    const Value *value = &l->g->values[v];
    const int buffer = new_buffer(l, (size_t)value->width * sizeof(float), value->rows, value->per_row, by_rows);
    if (buffer < 0)
        return (Ref){.buffer = -1};
    l->p->buffer_of_value[v] = buffer;
    l->p->buffers[buffer].first = l->p->buffers[buffer].last = step;
    return (Ref){.buffer = buffer, .width = value->width};
}

/* The row step that operations on rows of this kind go to now. */
static Step *rows_step(Lower *l, RowKind rows, const Op *op) {
    if (l->open >= 0 && l->p->steps[l->open].rows == rows)
        return &l->p->steps[l->open];
    Step *s = new_step(l, STEP_ROWS, op);
    if (s != NULL)
        s->rows = rows;
    return s;
}

static RowOp *new_row_op(Lower *l, Step *s) {
    if (!mem_grow((void **)&s->row_ops, &l->row_op_capacity, (size_t)s->n_row_op + 1, sizeof *s->row_ops, MEM_GRAPH))
        return NULL;
    RowOp *r = &s->row_ops[s->n_row_op++];
    *r = (RowOp){0};
    r->in[0].buffer = r->in[1].buffer = r->in[2].buffer = r->out.buffer = -1;
    return r;
}

/* Row operations know the angles of their rotation as a third operand. */
static Status lower_row(Lower *l, const Op *op) {
    const RowKind rows = l->g->values[op->out].rows;
    Step *s = rows_step(l, rows, op);
    const int step = (int)(s - l->p->steps);
    RowOp *r = s != NULL ? new_row_op(l, s) : NULL;
    if (r == NULL)
        return no_memory(l);
    r->run = row_fn_of(op->kind);
    r->op = op;
    for (int i = 0; i < 3; i++)
        r->in[i] = read_ref(l, op->in[i], step);
    if (op->kind == OP_ROPE)
        r->in[2] = (Ref){.buffer = l->p->buffer_of_rope[op->u.rope.table]};
    for (int i = 0; i < 3 && l->p->weights != NULL && op->kind != OP_EMBED; i++)
        r->vector[i] = op->weight[i] >= 0 ? weight_vector(l->p->weights, op->weight[i]) : NULL;
    r->out = write_ref(l, op->out, step, true);
    return r->out.buffer < 0 ? no_memory(l) : OK;
}

/* The input of a matrix operation in the form its kernels want: parts rows of `width` numbers per row. Floats are used
 * where they are. */
static Status convert(Lower *l, Val v, int parts, ActForm form, Ref *acts, size_t *act_bytes) {
    const Value *value = &l->g->values[v];
    const int width = value->width / parts;
    if (form == ACT_FORM_F32) {
        *acts = read_ref(l, v, l->p->n_step); /* used by the step that comes next */
        *act_bytes = (size_t)width * sizeof(float);
        return OK;
    }
    *act_bytes = act_form_bytes(form, width);
    int *known = &l->converted[v * ACT_FORM_COUNT + (int)form];
    if (*known < 0) {
        Step *s = rows_step(l, value->rows, &l->g->ops[value->op]);
        RowOp *r = s != NULL ? new_row_op(l, s) : NULL;
        const int buffer = r != NULL ? new_buffer(l, *act_bytes * (size_t)parts, value->rows, value->per_row, true) : -1;
        if (buffer < 0)
            return no_memory(l);
        const int step = (int)(s - l->p->steps);
        r->run = row_convert;
        r->in[0] = read_ref(l, v, step);
        r->out = (Ref){.buffer = buffer, .width = width};
        r->form = form;
        r->parts = parts;
        l->p->buffers[buffer].first = l->p->buffers[buffer].last = step;
        *known = buffer;
    }
    l->p->buffers[*known].last = l->p->n_step;
    *acts = (Ref){.buffer = *known, .width = width};
    return OK;
}

static Form form_of(const Program *p, int weight) {
    return p->weights != NULL ? weight_form(p->weights, weight) : FORM_Q8_0;
}

static Precision precision_of(const Program *p, const Op *op) {
    return op->kind == OP_LINEAR && op->u.linear.exact ? PRECISION_F32 : p->spec.precision;
}

static bool same_input(const Op *a, const Op *b) {
    return b->kind == OP_LINEAR && a->in[0] == b->in[0];
}

/* All linear operations on one value. */
static Status lower_linear(Lower *l, int at) {
    const Graph *g = l->g;
    const Op *first = &g->ops[at];
    const bool grouped = first->kind == OP_GROUPED;
    const int parts = first->u.linear.groups;
    LinearPart list[64];
    int ops[64], n = 0;
    for (int i = at; i < g->n_op && n < (int)COUNT(list); i++) {
        const Op *op = &g->ops[i];
        if (l->done[i] || (i != at && (grouped || !same_input(first, op))))
            continue;
        if (i > at && op->layer != first->layer)
            break; /* a value is read within its layer; looking further would be quadratic */
        const Precision precision = precision_of(l->p, op);
        const ActForm form = kernel_act_form(l->p->spec.kernels, form_of(l->p, op->weight[0]), precision);
        LinearPart *part = &list[n];
        *part = (LinearPart){.weight = op->weight[0], .groups = parts, .precision = precision, .pair = -1};
        TRY(convert(l, op->in[0], parts, form, &part->acts, &part->act_bytes));
        l->done[i] = true;
        ops[n++] = i;
    }
    Step *s = new_step(l, STEP_LINEAR, first);
    if (s == NULL)
        return no_memory(l);
    const int step = (int)(s - l->p->steps);
    s->rows = g->values[first->in[0]].rows;
    s->parts = arena_array(&l->p->arena, (size_t)n, sizeof *s->parts);
    if (s->parts == NULL)
        return no_memory(l);
    s->n_part = n;
    /* A gated unit whose halves both are here, and nowhere else used, is computed with them. */
    for (int i = at; i < g->n_op && g->ops[i].layer == first->layer; i++) {
        const Op *op = &g->ops[i];
        if (op->kind != OP_GLU || l->done[i] || g->ops[i].in[0] == op->in[1])
            continue;
        int gate = -1, up = -1;
        for (int j = 0; j < n; j++) {
            const Val out = g->ops[ops[j]].out;
            gate = out == op->in[0] && l->uses[out] == 1 ? j : gate;
            up = out == op->in[1] && l->uses[out] == 1 ? j : up;
        }
        if (gate < 0 || up < 0 || list[gate].precision != list[up].precision)
            continue;
        list[gate].pair = up;
        list[gate].glu = op->u.glu;
        list[up].is_up = true;
        list[gate].out = write_ref(l, op->out, step, false);
        if (list[gate].out.buffer < 0)
            return no_memory(l);
        l->done[i] = true;
    }
    for (int j = 0; j < n; j++) {
        const Op *op = &g->ops[ops[j]];
        LinearPart *part = &list[j];
        part->out_width = g->values[op->out].width / parts;
        if (op->weight[1] >= 0 && l->p->weights != NULL)
            part->bias = weight_vector(l->p->weights, op->weight[1]);
        if (!part->is_up && part->pair < 0) {
            part->out = write_ref(l, op->out, step, false);
            if (part->out.buffer < 0)
                return no_memory(l);
        }
        part->first_unit = s->n_unit;
        part->units = part->is_up ? 0 : parts * ((part->out_width + LINEAR_UNIT - 1) / LINEAR_UNIT);
        s->n_unit += part->units;
        s->parts[j] = *part;
    }
    return OK;
}

/* The choice of experts, and the matrix it is made with, that an operation on experts follows; NULL: something else. */
static const Op *route_of(const Graph *g, const Op *experts, const Op **router) {
    const Op *route = &g->ops[g->values[experts->in[1]].op];
    *router = route->kind == OP_ROUTE ? &g->ops[g->values[base_of(g, route->in[0])].op] : NULL;
    return *router != NULL && (*router)->kind == OP_LINEAR && (*router)->out == route->in[0] ? route : NULL;
}

static Guess guess_of(Lower *l, const Op *up, int step) {
    const Graph *g = l->g;
    Guess guess = {.seen.buffer = -1};
    const Op *router, *next = up + 1;
    if (l->p->weights == NULL || !weights_streamed(l->p->weights) || route_of(g, up, &router) == NULL)
        return guess;
    while (next < g->ops + g->n_op && next->kind != OP_EXPERTS_UP)
        next++;
    if (next == g->ops + g->n_op || (guess.route = route_of(g, next, &guess.router)) == NULL ||
        g->values[guess.router->in[0]].width != g->values[router->in[0]].width)
        return (Guess){.seen.buffer = -1};
    guess.weights[0] = next->weight[0];
    guess.weights[1] = next->weight[1];
    while (next < g->ops + g->n_op && next->kind != OP_EXPERTS_DOWN)
        next++;
    guess.weights[2] = next < g->ops + g->n_op ? next->weight[0] : -1;
    guess.seen = read_ref(l, router->in[0], step);
    return guess;
}

static Status lower_experts(Lower *l, const Op *op) {
    const bool up = op->kind == OP_EXPERTS_UP;
    const int weight = op->weight[up ? 1 : 0];
    const ActForm form = kernel_act_form(l->p->spec.kernels, form_of(l->p, weight), l->p->spec.precision);
    Ref acts;
    size_t ignored;
    TRY(convert(l, op->in[0], 1, form, &acts, &ignored));
    Step *s = new_step(l, up ? STEP_EXPERTS_UP : STEP_EXPERTS_DOWN, op);
    if (s == NULL)
        return no_memory(l);
    const int step = (int)(s - l->p->steps);
    s->next_weight = -1;
    if (up)
        s->guess = guess_of(l, op, step);
    for (int i = step - 1; !up && i >= 0; i--)
        if (l->p->steps[i].kind == STEP_EXPERTS_UP) {
            l->p->steps[i].next_weight = weight;
            break;
        }
    s->in[0] = acts;
    s->in[1] = read_ref(l, op->in[1], step);
    s->form = form;
    s->precision = l->p->spec.precision;
    for (int i = 0; i < 3 && l->p->weights != NULL; i++) {
        const int vector = up ? (i < 2 ? op->weight[2 + i] : -1) : (i == 0 ? op->weight[1] : -1);
        s->vector[i] = vector >= 0 ? weight_vector(l->p->weights, vector) : NULL;
    }
    s->out = write_ref(l, op->out, step, false);
    return s->out.buffer < 0 ? no_memory(l) : OK;
}

/* Stores that follow one another are one step: rows, but written once, not by every thread. */
static Status lower_store(Lower *l, const Op *op) {
    Step *s = l->p->n_step > 0 ? &l->p->steps[l->p->n_step - 1] : NULL;
    if (s == NULL || s->kind != STEP_STORE) {
        s = new_step(l, STEP_STORE, op);
        if (s == NULL)
            return no_memory(l);
        s->rows = ROWS_ALL;
    }
    RowOp *r = new_row_op(l, s);
    if (r == NULL)
        return no_memory(l);
    r->run = row_store;
    r->op = op;
    r->in[0] = read_ref(l, op->in[0], (int)(s - l->p->steps));
    return OK;
}

/* One step for each phase; what comes out is written by any of them. */
static Status lower_mix(Lower *l, const Op *op) {
    Ref out = {.buffer = -1};
    for (const MixOps *mix = mix_ops_of(op->kind); mix != NULL; mix = mix->then) {
        Step *s = new_step(l, STEP_MIX, op);
        if (s == NULL)
            return no_memory(l);
        const int step = (int)(s - l->p->steps);
        s->mix = mix;
        s->may_skip = mix != mix_ops_of(op->kind);
        for (int i = 0; i < OP_INPUTS; i++)
            s->in[i] = read_ref(l, op->in[i], step);
        for (size_t i = 0; i < COUNT(op->weight) && l->p->weights != NULL; i++)
            s->vector[i] = weight_vector(l->p->weights, op->weight[i]);
        if (out.buffer < 0)
            out = write_ref(l, op->out, step, false);
        if (out.buffer < 0)
            return no_memory(l);
        l->p->buffers[out.buffer].last = MAX(l->p->buffers[out.buffer].last, step);
        s->out = out;
    }
    return OK;
}

/* The angles of every rotation, first of all. */
static Status lower_angles(Lower *l) {
    for (int i = 0; i < l->g->n_rope; i++) {
        Step *s = rows_step(l, ROWS_ALL, NULL);
        RowOp *r = s != NULL ? new_row_op(l, s) : NULL;
        const int buffer = r != NULL ? new_buffer(l, (size_t)l->g->ropes[i].rope.dim * sizeof(float), ROWS_ALL, 1, true) : -1;
        if (buffer < 0)
            return no_memory(l);
        r->run = row_angles;
        r->parts = i;
        r->out = (Ref){.buffer = buffer};
        l->p->buffers[buffer].first = 0;
        l->p->buffers[buffer].last = INT32_MAX;
        l->p->buffer_of_rope[i] = buffer;
    }
    return OK;
}

static Status lower_ops(Lower *l) {
    const Graph *g = l->g;
    TRY(lower_angles(l));
    const int n_op = l->p->spec.no_result ? g->values[base_of(g, g->last_hidden)].op + 1 : g->n_op;
    for (int i = 0; i < n_op; i++) {
        const Op *op = &g->ops[i];
        if (l->done[i])
            continue;
        l->done[i] = true;
        switch (op->kind) {
        case OP_SLICE:
            break;
        case OP_LINEAR: case OP_GROUPED:
            l->done[i] = false;
            TRY(lower_linear(l, i));
            break;
        case OP_EXPERTS_UP: case OP_EXPERTS_DOWN:
            TRY(lower_experts(l, op));
            break;
        case OP_STORE:
            TRY(lower_store(l, op));
            break;
        default:
            TRY(mix_ops_of(op->kind) != NULL ? lower_mix(l, op) : lower_row(l, op));
        }
    }
    return OK;
}

Status lower(Program *p, Error *err) {
    const Graph *g = p->graph;
    Lower l = {.p = p, .g = g, .err = err, .open = -1};
    l.done = mem_array((size_t)g->n_op, sizeof *l.done, MEM_GRAPH);
    l.uses = mem_array((size_t)g->n_value, sizeof *l.uses, MEM_GRAPH);
    l.converted = mem_array((size_t)g->n_value * ACT_FORM_COUNT, sizeof *l.converted, MEM_GRAPH);
    p->buffer_of_value = arena_array(&p->arena, (size_t)g->n_value, sizeof *p->buffer_of_value);
    p->buffer_of_rope = arena_array(&p->arena, (size_t)g->n_rope + 1, sizeof *p->buffer_of_rope);
    Status status = OK;
    if (l.done == NULL || l.uses == NULL || l.converted == NULL || p->buffer_of_value == NULL || p->buffer_of_rope == NULL)
        status = no_memory(&l);
    for (int i = 0; status == OK && i < g->n_value * ACT_FORM_COUNT; i++)
        l.converted[i] = -1;
    for (int i = 0; status == OK && i < g->n_op; i++)
        for (int j = 0; j < OP_INPUTS; j++)
            if (g->ops[i].in[j] != NO_VAL)
                l.uses[base_of(g, g->ops[i].in[j])] += 1 + (base_of(g, g->ops[i].in[j]) != g->ops[i].in[j]);
    if (status == OK)
        status = lower_ops(&l);
    /* What the caller reads afterwards must last to the end. */
    if (status == OK) {
        if (!p->spec.no_result)
            p->buffers[p->buffer_of_value[base_of(g, g->output)]].last = INT32_MAX;
        for (int i = 0; p->spec.keep_hidden && i <= g->n_layer; i++)
            if (g->hidden[i] != NO_VAL)
                p->buffers[p->buffer_of_value[base_of(g, g->hidden[i])]].last = INT32_MAX;
        if (p->spec.keep_hidden && g->last_hidden != NO_VAL)
            p->buffers[p->buffer_of_value[base_of(g, g->last_hidden)]].last = INT32_MAX;
    }
    mem_free(l.done);
    mem_free(l.uses);
    mem_free(l.converted);
    return status;
}
