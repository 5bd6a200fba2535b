/* estimate.c - see estimate.h. */
#include "graph/estimate.h"

#include "graph/program_parts.h"

#include <math.h>

struct Estimator {
    Program *program; /* steps only */
};

typedef struct Estimate {
    const Program *p;
    const WeightForm *forms;
    const Rates *rates;
    EstimateSpec spec;
} Estimate;

/* bytes and numbers of one or more matrices of a form, multiplied with `rows` rows, in blocks of at most `block`. */
static double product_seconds(const Estimate *e, Form form, double bytes, double numbers, double rows, int block) {
    const LinearRate *r = &e->rates->linear[form];
    const double once = bytes * r->byte;
    if (rows <= 1)
        return once;
    return fmax(once, numbers * (ceil(rows / block) * r->unpack + rows * r->product));
}

/* The gating of so many numbers, which all threads share. */
static double glu_seconds(const Estimate *e, double numbers) {
    return numbers * e->rates->glu_number / e->rates->threads;
}

static double numbers_of(const WeightDecl *d) {
    return (double)d->rows * d->cols * d->count;
}

static double linear_seconds(const Estimate *e, const Step *s) {
    const int rows = s->rows == ROWS_WANTED ? 1 : e->spec.tokens;
    double all = 0, begin = 0;
    for (int j = 0; j < s->n_part; j++) {
        const LinearPart *part = &s->parts[j];
        const WeightForm *f = &e->forms[part->weight];
        all += product_seconds(e, f->form, (double)f->bytes, numbers_of(&e->p->graph->weights[part->weight]), rows,
                               part->pair >= 0 || part->is_up ? PAIR_ROWS : rows);
        if (part->pair >= 0)
            all += glu_seconds(e, rows * part->out_width);
        begin = fmax(begin, e->rates->linear[f->form].step);
    }
    return all + fmax(begin, e->rates->barrier);
}

/* Of `experts` experts, those that some of so many rows choose, each with its share of the rows. */
static double experts_seconds(const Estimate *e, const Step *s) {
    const int used = s->op->u.experts.used, experts = MAX(s->op->u.experts.experts, 1);
    const double slots = (double)used * e->spec.tokens;
    const double active = experts * (1 - pow(1 - fmin((double)used / experts, 1), e->spec.tokens));
    double all = 0, begin = 0;
    for (int w = 0; w < (s->kind == STEP_EXPERTS_UP ? 2 : 1); w++) {
        if (s->op->weight[w] < 0)
            continue;
        const WeightForm *f = &e->forms[s->op->weight[w]];
        const double share = active / experts;
        all += product_seconds(e, f->form, (double)f->bytes * share, numbers_of(&e->p->graph->weights[s->op->weight[w]]) * share,
                               slots / active, EXPERT_ROWS);
        begin = fmax(begin, e->rates->linear[f->form].step);
    }
    if (s->kind == STEP_EXPERTS_UP)
        all += glu_seconds(e, slots * e->p->graph->weights[s->op->weight[0]].rows);
    return all + fmax(begin, e->rates->barrier);
}

/* Entries that a token sees of a state, on average over the step. */
static double entries_seen(const Estimate *e, State state, int window, int chunk, int listed) {
    const int stride = MAX(e->p->graph->states[state].rows.stride, 1);
    double seen = e->spec.depth + (e->spec.tokens + 1) / 2.0;
    if (e->spec.tokens > FEW_ROWS) /* whole blocks are multiplied */
        seen += MIN(e->spec.tokens, CACHE_BLOCK) / 2.0;
    if (window > 0)
        seen = fmin(seen, window);
    if (chunk > 0)
        seen = fmin(seen, chunk);
    seen /= stride;
    return listed > 0 ? fmin(seen, listed) : seen;
}

static double attend_seconds(const Estimate *e, const Step *s) {
    const Attend *a = &s->op->u.attend;
    const Graph *g = e->p->graph;
    double seen[2] = {0}, all = 0;
    const int sources = a->more ? 2 : 1;
    for (int i = 0; i < sources; i++) {
        const Val list = s->op->in[1 + i];
        const int listed = list != NO_VAL ? g->ops[g->values[list].op].u.choice.top * MAX(i == 0 ? a->span : 1, 1) : 0;
        seen[i] = i == 0 ? entries_seen(e, a->keys, a->window, a->chunk, listed) : entries_seen(e, a->more_keys, 0, 0, listed);
    }
    for (int i = 0; i < sources; i++) {
        const State keys = i == 0 ? a->keys : a->more_keys;
        const CacheType type = g->states[keys].rows.exact ? CACHE_F32 : e->spec.cache;
        const bool apart = i == 0 && a->values != a->keys;
        const double entry = (double)cache_entry_bytes(type, a->key_width) + (apart ? (double)cache_entry_bytes(type, a->value_width) : 0);
        const double read = seen[i] * entry * a->kv_heads * e->rates->attend_byte;
        const double rows = (double)e->spec.tokens * a->heads, width = a->key_width + a->value_width;
        const double products = rows * seen[i] * (2 * width * e->rates->attend_product + e->rates->attend_entry);
        all += e->spec.tokens > FEW_ROWS ? products + rows * width / 2 * e->rates->attend_number : fmax(read, products);
    }
    return all + e->rates->barrier;
}

static double mix_seconds(const Estimate *e, const Step *s) {
    if (s->may_skip && e->spec.depth + e->spec.tokens < CACHE_CHUNK)
        return 0;
    if (s->may_skip)
        return e->rates->barrier;
    if (s->op->kind == OP_ATTEND)
        return attend_seconds(e, s);
    double work = 0;
    if (s->op->kind == OP_RECUR) {
        const double floats = (double)s->op->u.recur.heads * s->op->u.recur.key_width * s->op->u.recur.value_width;
        work = fmax(2 * floats * sizeof(float) * e->rates->recur_byte, 8 * floats * e->spec.tokens * e->rates->recur_product);
    } else if (s->op->kind == OP_CHOOSE) { /* every key of the index is looked at */
        const Choice *c = &s->op->u.choice;
        const double seen = entries_seen(e, c->keys, 0, 0, 0);
        work = 2.0 * seen * c->heads * c->dim * e->spec.tokens * e->rates->attend_product;
    } else {
        work = (double)s->out.width * e->spec.tokens * e->rates->row_number * 4 / e->rates->threads;
    }
    return work + e->rates->barrier;
}

/* Few rows are done by every thread for itself; more are shared out, and the threads meet. */
static double rows_seconds(const Estimate *e, const Step *s) {
    const int rows = s->rows == ROWS_WANTED ? 1 : e->spec.tokens;
    double one = 0;
    for (int i = 0; i < s->n_row_op; i++) {
        const RowOp *op = &s->row_ops[i];
        const double width = fmax(op->in[0].buffer >= 0 ? op->in[0].width : 0, (double)op->out.width * MAX(op->parts, 1));
        one += e->rates->row_op + width * (rows > FEW_ROWS ? e->rates->row_number_far : e->rates->row_number);
    }
    if (rows <= FEW_ROWS && s->kind == STEP_ROWS)
        return one * rows;
    return one * rows / MIN(e->rates->threads, MAX(rows / 4, 1)) + e->rates->barrier;
}

static double step_seconds(const Estimate *e, const Step *s) {
    switch (s->kind) {
    case STEP_LINEAR: return linear_seconds(e, s);
    case STEP_EXPERTS_UP: case STEP_EXPERTS_DOWN: return experts_seconds(e, s);
    case STEP_MIX: return mix_seconds(e, s);
    default: return rows_seconds(e, s);
    }
}

/* The steps do not depend on how many rows and threads there will be: scratch for them is not asked for. */
Status estimator_open(const Graph *g, const Kernels *kernels, Estimator **out, Error *err) {
    const ProgramSpec program = {.precision = PRECISION_FAST, .kernels = kernels, .max_rows = 1, .max_wanted = 1, .max_context = 1,
                                 .n_thread = 1};
    *out = NULL;
    Estimator *e = mem_zalloc(sizeof *e, MEM_GRAPH);
    FAIL_IF(e == NULL, ERR_MEMORY, "no memory for an estimate");
    const Status status = program_plan(g, NULL, program, &e->program, err);
    if (status != OK) {
        estimator_close(e);
        return status;
    }
    *out = e;
    return OK;
}

void estimator_close(Estimator *e) {
    if (e == NULL)
        return;
    program_close(e->program);
    mem_free(e);
}

double estimate_step(const Estimator *estimator, const WeightForm *forms, const Rates *rates, EstimateSpec spec) {
    const Program *p = estimator->program;
    const Estimate e = {.p = p, .forms = forms, .rates = rates, .spec = spec};
    double seconds = 0;
    for (int i = 0; i < p->n_step; i++)
        seconds += step_seconds(&e, &p->steps[i]);
    return seconds;
}
