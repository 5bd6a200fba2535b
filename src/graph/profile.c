/* profile.c - where the time of a program's steps went: what run.c noted, added up for people. See program.h. */
#include "graph/describe.h"
#include "graph/program_parts.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void program_clear_profile(Program *p) {
    if (p->times != NULL)
        memset(p->times, 0, step_times(p) * sizeof *p->times);
    memset(p->runs, 0, sizeof p->runs);
}

/* Adds a word that is not there yet. */
static void add_word(char name[96], const char *word, size_t length) {
    for (const char *at = name; (at = strstr(at, word)) != NULL && length > 0; at += length)
        if ((at == name || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return;
    const size_t used = strlen(name);
    if (used + length + 2 > 96)
        return;
    if (used > 0)
        name[used] = ' ';
    memcpy(name + used + (used > 0), word, length);
    name[used + length + (used > 0)] = '\0';
}

/* "q_proj" of "model.layers.3.self_attn.q_proj.weight" */
static void add_matrix(const Program *p, int weight, char name[96]) {
    char whole[192];
    if (weight < 0)
        return;
    snprintf(whole, sizeof whole, "%s", p->graph->weights[weight].name);
    if (ends_with(whole, ".weight"))
        whole[strlen(whole) - 7] = '\0';
    const char *dot = strrchr(whole, '.'), *last = dot != NULL ? dot + 1 : whole;
    add_word(name, last, strlen(last));
}

static void name_step(const Program *p, const Step *s, char name[96]) {
    name[0] = '\0';
    for (int j = 0; s->kind == STEP_LINEAR && j < s->n_part; j++)
        add_matrix(p, s->parts[j].weight, name);
    if (s->kind == STEP_EXPERTS_UP || s->kind == STEP_EXPERTS_DOWN)
        for (int w = 0; w < (s->kind == STEP_EXPERTS_UP ? 2 : 1); w++)
            add_matrix(p, s->op->weight[w], name);
    for (int j = 0; (s->kind == STEP_ROWS || s->kind == STEP_STORE) && j < s->n_row_op; j++) {
        const Op *op = s->row_ops[j].op;
        const char *word = op == NULL ? s->row_ops[j].run == row_convert ? "convert" : "angles" : op_kind_word(op->kind);
        add_word(name, word, strlen(word));
    }
    if (s->kind == STEP_MIX) {
        const char *word = op_kind_word(s->op->kind);
        add_word(name, word, strlen(word));
        if (s->op->kind == OP_ATTEND && s->op->u.attend.window > 0)
            add_word(name, "window", 6);
        if (s->may_skip)
            add_word(name, "(merge)", 7);
    }
}

static double bytes_of_step(const Program *p, const Step *s) {
    double bytes = 0;
    if (p->weights == NULL)
        return 0;
    for (int j = 0; s->kind == STEP_LINEAR && j < s->n_part; j++)
        bytes += (double)weight_bytes(p->weights, s->parts[j].weight);
    if (s->kind == STEP_EXPERTS_UP || s->kind == STEP_EXPERTS_DOWN)
        for (int w = 0; w < (s->kind == STEP_EXPERTS_UP ? 2 : 1); w++)
            if (s->op->weight[w] >= 0)
                bytes += (double)weight_bytes(p->weights, s->op->weight[w]) * MIN(s->op->u.experts.used, s->op->u.experts.experts) /
                         s->op->u.experts.experts;
    return bytes;
}

static void times_of_step(const Program *p, Phase phase, int step, double *seconds, double *waiting) {
    const int n_thread = p->spec.n_thread;
    const StepTime *first = step_times_of(p, phase, 0);
    *seconds = (double)(first[step].work_ns + first[step].wait_ns) * 1e-9 / (double)p->runs[phase];
    *waiting = 0;
    for (int t = 0; t < n_thread; t++)
        *waiting += (double)step_times_of(p, phase, t)[step].wait_ns * 1e-9 / (double)p->runs[phase] / n_thread;
}

static int by_seconds(const void *a, const void *b) {
    const ProfileRow *x = a, *y = b;
    return x->seconds > y->seconds ? -1 : x->seconds < y->seconds;
}

Status program_profile(const Program *p, Phase phase, const LayerKinds *kinds, ProfileRow **out, int *n_out, Error *err) {
    *out = NULL;
    *n_out = 0;
    if (p->times == NULL || p->runs[phase] == 0)
        return OK;
    ProfileRow *rows = mem_array((size_t)p->n_step + 1, sizeof *rows, MEM_GRAPH);
    FAIL_IF(rows == NULL, ERR_MEMORY, "no memory for the profile");
    int n = 0;
    for (int i = 0; i < p->n_step; i++) {
        const Step *s = &p->steps[i];
        ProfileRow row = {.kind = step_kind_word(s->kind), .count = 1, .weight_bytes = bytes_of_step(p, s),
                          .layer_kind = s->layer >= 0 && s->layer < kinds->n_layer ? kinds->kind[s->layer] : -1};
        name_step(p, s, row.name);
        times_of_step(p, phase, i, &row.seconds, &row.waiting_seconds);
        int at = 0;
        while (at < n && !(rows[at].kind == row.kind && rows[at].layer_kind == row.layer_kind && strcmp(rows[at].name, row.name) == 0))
            at++;
        if (at == n) {
            rows[n++] = row;
            continue;
        }
        rows[at].count++;
        rows[at].seconds += row.seconds;
        rows[at].waiting_seconds += row.waiting_seconds;
        rows[at].weight_bytes += row.weight_bytes;
    }
    qsort(rows, (size_t)n, sizeof *rows, by_seconds);
    *out = rows;
    *n_out = n;
    return OK;
}

double program_layer_seconds(const Program *p, Phase phase, int layer) {
    double sum = 0;
    for (int i = 0; p->times != NULL && p->runs[phase] > 0 && i < p->n_step; i++) {
        double seconds, waiting;
        const bool inside = p->steps[i].layer >= 0 && p->steps[i].layer < p->graph->n_layer;
        if (inside ? p->steps[i].layer != layer : layer >= 0)
            continue;
        times_of_step(p, phase, i, &seconds, &waiting);
        sum += seconds;
    }
    return sum;
}
