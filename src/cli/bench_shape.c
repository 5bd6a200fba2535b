/* bench_shape.c - see bench_shape.h. */
#include "cli/bench_shape.h"

#include "base/text.h"
#include "cli/cli_print.h"
#include "graph/describe.h"

#include <math.h>
#include <stdio.h>

/* Far larger than last-level caches, so that weights come from memory as those of a real model do. */
static const size_t weight_memory_bytes = (size_t)1 << 30;

/* Bytes of the whole network's weights, and of those the ones that a token reads. */
static Status weigh_whole(const Graph *g, Shape *s, Error *err) {
    WeightForm *forms = mem_array((size_t)g->n_weight + 1, sizeof *forms, MEM_GRAPH);
    FAIL_IF(forms == NULL, ERR_MEMORY, "no memory for the shape");
    const Status status = made_weights_forms(g, s->made, forms, err);
    for (int w = 0; status == OK && w < g->n_weight; w++) {
        s->whole_bytes += (double)forms[w].bytes;
        s->whole_bytes_per_token += (double)graph_weight_read_bytes(g, w, forms[w].bytes);
    }
    mem_free(forms);
    return status;
}

static Status choose_layers(const ModelFiles *files, int layers, Shape *s, Error *err) {
    Model *whole;
    TRY(model_describe(files, &whole, err));
    const Graph *g = model_graph(whole);
    Status status = layer_kinds_open(g, &s->kinds, err);
    if (status == OK) {
        s->chosen = mem_array((size_t)g->n_layer + 1, sizeof *s->chosen, MEM_MISC);
        status = s->chosen == NULL ? error_set(err, ERR_MEMORY, "no memory for the shape") : weigh_whole(g, s, err);
    }
    if (status == OK)
        s->n_chosen = layers_choose(g, &s->kinds, layers > 0 ? layers : g->n_layer, s->chosen);
    model_close(whole);
    return status;
}

Status shape_open(const char *path, const char *type, int layers, Shape *s, Error *err) {
    *s = (Shape){0};
    ModelFiles *files;
    TRY(made_files_open(path, &files, err));
    Status status = OK;
    if (type != NULL)
        status = made_kind_of_word(type, &s->made, err);
    else
        s->made = made_kind_of_config(model_files_config(files));
    if (status == OK)
        status = choose_layers(files, layers, s, err);
    if (status != OK) {
        model_files_close(files);
    } else {
        const MadeSpec spec = {.kind = s->made, .memory_bytes = weight_memory_bytes, .layers = s->chosen,
                               .n_layers = s->kinds.n_layer};
        status = model_open_made(files, &spec, &s->model, err);
    }
    if (status != OK)
        shape_close(s);
    return status;
}

void shape_close(Shape *s) {
    model_close(s->model);
    layer_kinds_close(&s->kinds);
    mem_free(s->chosen);
    *s = (Shape){0};
}

/* Seconds of a layer of a kind: the mean of those that ran. */
static double kind_seconds(const Shape *s, const Session *session, Phase phase, int kind, int *measured) {
    double sum = 0;
    *measured = 0;
    for (int layer = 0; layer < s->kinds.n_layer; layer++)
        if (s->chosen[layer] && s->kinds.kind[layer] == kind) {
            sum += program_layer_seconds(session_program(session), phase, layer);
            (*measured)++;
        }
    return *measured > 0 ? sum / *measured : 0;
}

double shape_factor(const Shape *s, const Session *session, Phase phase) {
    const double rest = program_layer_seconds(session_program(session), phase, -1);
    double whole = rest, ran = rest;
    for (int kind = 0; kind < s->kinds.n_kind; kind++) {
        int measured;
        const double seconds = kind_seconds(s, session, phase, kind, &measured);
        whole += seconds * s->kinds.count[kind];
        ran += seconds * measured;
    }
    return ran > 0 ? whole / ran : 1;
}

void shape_print(const Shape *s, const Session *session, double prompt, double generation, double read_all) {
    char a[16], b[16];
    printf("shape: %d of %d layers, weights %s; the whole network: %s of weights, %s of them for a token\n", s->n_chosen,
           s->kinds.n_layer, s->made->word, format_bytes((uint64_t)s->whole_bytes, a),
           format_bytes((uint64_t)s->whole_bytes_per_token, b));
    for (int kind = 0; kind < s->kinds.n_kind; kind++) {
        int measured;
        const double pp = kind_seconds(s, session, PHASE_PROMPT, kind, &measured);
        const double tg = kind_seconds(s, session, PHASE_GENERATION, kind, &measured);
        printf("  %4d x %-40s %9.1f us a token, %10.1f us a piece of prompt  (%d measured)\n", s->kinds.count[kind],
               s->kinds.words[kind], tg * 1e6, pp * 1e6, measured);
    }
    printf("  rest   %-40s %9.1f us a token, %10.1f us a piece of prompt\n", "(table, output)",
           program_layer_seconds(session_program(session), PHASE_GENERATION, -1) * 1e6,
           program_layer_seconds(session_program(session), PHASE_PROMPT, -1) * 1e6);
    printf("the whole network (each kind's time times its layers, and the rest once):");
    if (prompt > 0)
        printf(" prompt %.2f t/s", prompt / shape_factor(s, session, PHASE_PROMPT));
    if (generation > 0) {
        const double rate = generation / shape_factor(s, session, PHASE_GENERATION);
        printf("%s generation %.2f t/s (%.1f GB/s of weights", prompt > 0 ? "," : "", rate, rate * s->whole_bytes_per_token * 1e-9);
        if (read_all > 0)
            printf(", %.0f%% of the bandwidth", 100 * rate * s->whole_bytes_per_token / read_all);
        printf(")");
    }
    printf("\n");
}

json_t *shape_json(const Shape *s, const Session *session, double prompt, double generation, double read_all) {
    json_t *kinds = json_array();
    for (int kind = 0; kind < s->kinds.n_kind; kind++) {
        int measured;
        const double pp = kind_seconds(s, session, PHASE_PROMPT, kind, &measured);
        const double tg = kind_seconds(s, session, PHASE_GENERATION, kind, &measured);
        json_array_append_new(kinds, json_pack("{s:s, s:i, s:i, s:f, s:f}", "kind", s->kinds.words[kind], "layers",
                                               s->kinds.count[kind], "measured", measured, "prompt_seconds", pp,
                                               "generation_seconds", tg));
    }
    const double pp = prompt / shape_factor(s, session, PHASE_PROMPT), tg = generation / shape_factor(s, session, PHASE_GENERATION);
    json_t *whole = json_pack("{s:f, s:f}", "weight_bytes", s->whole_bytes, "weight_bytes_per_token", s->whole_bytes_per_token);
    json_object_set_new(whole, "prompt_tokens_per_second", prompt > 0 ? cli_json_number(pp) : json_null());
    json_object_set_new(whole, "generation_tokens_per_second", generation > 0 ? cli_json_number(tg) : json_null());
    json_object_set_new(whole, "share_of_bandwidth",
                        cli_json_number(generation > 0 && read_all > 0 ? tg * s->whole_bytes_per_token / read_all : NAN));
    return json_pack("{s:s, s:i, s:i, s:o, s:o}", "type", s->made->word, "layers", s->kinds.n_layer, "layers_measured", s->n_chosen,
                     "kinds", kinds, "whole", whole);
}
