/* plan_command.c - houle plan: what a model will take on this machine and how fast it will be, before it is fetched.
 *
 * Everything comes from headers: which matrices there are and in which form (bound as for running, to addresses without
 * bytes), what cache and scratch take (the functions that allocate them), and the speed from kernels measured one by one
 * (machine.h, graph/estimate.h). The same is done for other forms of the same network. */
#include "cli/cli_print.h"
#include "cli/machine.h"
#include "cli/run_options.h"

#include "base/file.h"
#include "base/text.h"
#include "format/json.h"
#include "graph/describe.h"
#include "store/fit.h"
#include "store/peek.h"
#include "store/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct {
    int64_t ctx, prompt, generate, depth, threads;
    const char *endpoint, *cache;
    bool json, measure;
} want = {.prompt = 512, .generate = 128, .cache = "f16"};

enum { USUAL_CONTEXT = 8192, MAX_LINES = 16 };

/* What is known of the model. */
typedef struct Subject {
    const char *name;
    Model *model;            /* described; its weights bound, to bytes or to nothing */
    Peek peek;               /* of a model on the hub */
    const MadeKind *made;    /* forms were taken from a word, not from a header; NULL: they are exact */
    WeightForm *forms;
    bool here;               /* on this machine; peek.bytes are those of its files */
} Subject;

/* One form of the weights. */
typedef struct Line {
    char type[16];
    double weight_bytes, bytes_per_token, memory_bytes;
    double prompt, generation; /* tokens/s */
    double prompt_begin;       /* seconds before the first token of that prompt */
    bool fits;
} Line;

typedef struct Outlook {
    int context;
    CacheType cache;
    MemoryPlan memory;
    Machine machine;
    uint64_t disk_free;
    Roof roof;
    Rates rates;
    Line own, lines[MAX_LINES];
    int n_line;
    double generation_at_end; /* with the context full */
    bool disturbed;           /* others were busy while kernels were measured */
} Outlook;

/* ---- the model ------------------------------------------------------------------------------------------------------------ */

static void close_subject(Subject *s) {
    mem_free(s->forms);
    model_close(s->model);
    peek_close(&s->peek);
    *s = (Subject){0};
}

/* The forms that the weights are bound in. */
static Status take_forms(Subject *s, Error *err) {
    const Graph *g = model_graph(s->model);
    const Weights *w = model_weights(s->model);
    s->forms = mem_array((size_t)g->n_weight + 1, sizeof *s->forms, MEM_GRAPH);
    FAIL_IF(s->forms == NULL, ERR_MEMORY, "no memory for the plan");
    if (s->made != NULL)
        return made_weights_forms(g, s->made, s->forms, err);
    for (int i = 0; i < g->n_weight; i++) {
        const WeightDecl *d = &g->weights[i];
        const bool matrix = d->role != WEIGHT_VECTOR && weight_bytes(w, i) > 0;
        s->forms[i] = (WeightForm){matrix ? weight_form(w, i) : FORM_F32,
                                   matrix ? weight_bytes(w, i) : (size_t)d->rows * (size_t)d->cols * sizeof(float)};
    }
    return OK;
}

/* A model whose configuration is known, and of its weights only what they are called. */
static Status open_made(ModelFiles *files, const char *label, Subject *s, Error *err) {
    s->made = label != NULL ? made_kind_of_label(label) : NULL;
    if (s->made == NULL)
        s->made = made_kind_of_config(model_files_config(files));
    const MadeSpec spec = {.kind = s->made};
    return model_open_made(files, &spec, &s->model, err);
}

static Status open_local(ModelFiles *files, Subject *s, Error *err) {
    s->here = true;
    for (int i = 0; i < model_files_count(files); i++)
        s->peek.bytes += model_files_file_bytes(files, i);
    s->peek.weight_bytes = s->peek.bytes;
    if (model_files_tensors(files) > 0)
        return model_open_files(files, &s->model, err);
    ModelFiles *made = NULL; /* a folder with settings alone */
    Status status = model_files_config(files) == NULL
                        ? error_set(err, ERR_NOT_FOUND, "%s: neither weights nor a config.json", model_files_path(files))
                        : made_files_of_config(model_files_path(files), (json_t *)model_files_config(files), &made, err);
    model_files_close(files);
    return status == OK ? open_made(made, NULL, s, err) : status;
}

static Status open_remote(Subject *s, Error *err) {
    CliProgress bar = {0};
    const Progress progress = {.report = cli_progress, .user = &bar};
    cli_catch_interrupt();
    const Status seen = store_peek(s->name, want.endpoint, &progress, &s->peek, err);
    cli_progress_end(&bar);
    TRY(seen);
    if (s->peek.config != NULL) {
        ModelFiles *files;
        TRY(made_files_of_config(s->peek.name, s->peek.config, &files, err));
        return open_made(files, NULL, s, err);
    }
    ModelFiles *head = s->peek.head;
    FAIL_IF(!s->peek.whole, ERR_UNSUPPORTED,
            "%s: is cut into several files, whose headers are apart; a plan of it is made once it is here (houle pull)", s->peek.name);
    s->peek.head = NULL;
    const Status status = made_files_give_addresses(head, err);
    if (status != OK) {
        model_files_close(head);
        return status;
    }
    return model_open_files(head, &s->model, err);
}

static Status open_subject(const char *name, Subject *s, Error *err) {
    *s = (Subject){.name = name};
    ModelFiles *files;
    Error own = {0};
    Status status = OK;
    if (ends_with(name, ".json") && file_exists(name)) {
        status = made_files_open(name, &files, err);
        if (status == OK)
            status = open_made(files, NULL, s, err);
        s->here = true;
    } else {
        status = cli_open_files(name, &files, &own);
        if (status == OK)
            status = open_local(files, s, err);
        else if (status == ERR_NOT_FOUND && model_name_possible(name) && !file_exists(name))
            status = open_remote(s, err);
        else
            error_set(err, own.status, "%s", own.text);
    }
    if (status == OK)
        status = take_forms(s, err);
    if (status != OK)
        close_subject(s);
    return status;
}

/* ---- the plan -------------------------------------------------------------------------------------------------------------- */

static const char *const table[] = {"bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q3_k", "q2_k"};

static double seconds_of(const Estimator *e, const WeightForm *forms, const Outlook *o, int tokens, int depth) {
    const EstimateSpec spec = {.cache = o->cache, .tokens = tokens, .depth = depth};
    return estimate_step(e, forms, &o->rates, spec);
}

/* A prompt in pieces as a session takes it. */
static double prompt_seconds(const Estimator *e, const WeightForm *forms, const Outlook *o) {
    enum { PIECE = 512 };
    double seconds = 0;
    for (int at = 0; at < want.prompt; at += PIECE)
        seconds += seconds_of(e, forms, o, MIN(PIECE, (int)want.prompt - at), (int)want.depth + at);
    return seconds;
}

static void fill_line(const Graph *g, const Estimator *e, const WeightForm *forms, const char *type, const Outlook *o, Line *line) {
    *line = (Line){0};
    snprintf(line->type, sizeof line->type, "%s", type);
    for (int w = 0; w < g->n_weight; w++) {
        line->weight_bytes += (double)forms[w].bytes;
        line->bytes_per_token += (double)graph_weight_read_bytes(g, w, forms[w].bytes);
    }
    line->prompt_begin = prompt_seconds(e, forms, o);
    line->prompt = (double)want.prompt / line->prompt_begin;
    line->generation = 1 / seconds_of(e, forms, o, 1, (int)(want.depth + want.generate / 2));
    line->memory_bytes = line->weight_bytes + (double)(o->memory.cache + o->memory.scratch);
    line->fits = line->memory_bytes <= (double)o->machine.available_bytes;
}

static Status make_lines(const Subject *s, Outlook *o, WeightForm *const forms[], Error *err) {
    const Graph *g = model_graph(s->model);
    const Kernels *kernels;
    Estimator *e;
    TRY(kernels_best(&kernels, err));
    TRY(estimator_open(g, kernels, &e, err));
    fill_line(g, e, s->forms, s->made != NULL ? s->made->word : s->peek.label[0] != '\0' ? s->peek.label : "as it is", o, &o->own);
    o->generation_at_end = 1 / seconds_of(e, s->forms, o, 1, MAX(o->context - 1, 0));
    for (size_t i = 0; i < COUNT(table); i++)
        fill_line(g, e, forms[i], table[i], o, &o->lines[o->n_line++]);
    estimator_close(e);
    return OK;
}

/* The forms of every line first, so that all rates are measured together. */
static Status make_outlook(const Subject *s, Pool *pool, Outlook *o, Error *err) {
    const Graph *g = model_graph(s->model);
    WeightForm *forms[COUNT(table)] = {NULL};
    bool wanted[FORM_COUNT] = {false};
    Status status = OK;
    for (int w = 0; w < g->n_weight; w++)
        wanted[s->forms[w].form] = wanted[s->forms[w].form] || g->weights[w].role != WEIGHT_VECTOR;
    for (size_t i = 0; status == OK && i < COUNT(table); i++) {
        const MadeKind *kind;
        forms[i] = mem_array((size_t)g->n_weight + 1, sizeof **forms, MEM_GRAPH);
        status = forms[i] == NULL ? error_set(err, ERR_MEMORY, "no memory for the plan") : made_kind_of_word(table[i], &kind, err);
        if (status == OK)
            status = made_weights_forms(g, kind, forms[i], err);
        for (int w = 0; status == OK && w < g->n_weight; w++)
            wanted[forms[i][w].form] = wanted[forms[i][w].form] || g->weights[w].role != WEIGHT_VECTOR;
    }
    if (status == OK)
        status = machine_rates(pool, wanted, want.measure, &o->roof, &o->rates, &o->disturbed, err);
    if (status == OK)
        status = make_lines(s, o, forms, err);
    for (size_t i = 0; i < COUNT(table); i++)
        mem_free(forms[i]);
    return status;
}

static Status plan_memory(const Subject *s, Pool *pool, Outlook *o, Error *err) {
    const int declared = model_context(s->model);
    o->context = (int)(want.ctx > 0 ? want.ctx : MIN(declared > 0 ? declared : USUAL_CONTEXT, USUAL_CONTEXT));
    TRY(parse_cache_type(want.cache, &o->cache, err));
    const SessionSpec spec = {.context = o->context, .cache_type = o->cache, .pool = pool};
    TRY(session_memory(s->model, spec, &o->memory, err));
    o->machine = fit_machine();
    char *folder, *models;
    if (store_folders(&folder, &models, NULL) == OK) {
        o->disk_free = fit_disk_bytes(models);
        mem_free(folder);
        mem_free(models);
    }
    return OK;
}

/* ---- telling it -------------------------------------------------------------------------------------------------------------- */

static const char *sized(double bytes, char buffer[16]) {
    return format_bytes((uint64_t)fmax(bytes, 0), buffer);
}

/* The best that fits: the largest form that does. NULL: none. */
static const Line *best_fit(const Outlook *o) {
    for (int i = 0; i < o->n_line; i++)
        if (o->lines[i].fits)
            return &o->lines[i];
    return NULL;
}

static void print_advice(const Subject *s, const Outlook *o) {
    const Line *best = best_fit(o);
    const bool experts = graph_has_experts(model_graph(s->model));
    char a[16];
    if (o->own.fits) {
        printf("advice      it fits as it is");
        if (best != NULL && best->weight_bytes > 1.05 * o->own.weight_bytes)
            printf("; %s would fit too", best->type);
        printf("\n");
    } else if (best != NULL) {
        printf("advice      as it is it does not fit; %s is the largest form that does\n", best->type);
    } else if (experts) {
        printf("advice      no form fits; its experts can be read from the disk as they are needed: --memory %.0fG\n",
               floor((double)o->machine.available_bytes * 0.9 / 1073741824.0));
    } else {
        printf("advice      no form fits, and every token needs all of it: at least %s more of memory, or a smaller model\n",
               sized(o->lines[o->n_line - 1].memory_bytes - (double)o->machine.available_bytes, a));
    }
}

static void print_plan(const Subject *s, const Outlook *o) {
    const Graph *g = model_graph(s->model);
    const Line *own = &o->own;
    char a[16], b[16], c[16], d[16], cpu[CPU_NAME_BYTES];
    cpu_name(cpu);
    printf("model       %s: %s, %d layers%s\n", s->peek.name[0] != '\0' ? s->peek.name : s->name, model_family(s->model)->name, g->n_layer,
           s->made != NULL ? "; forms of its weights as its configuration says" : "");
    if (s->peek.bytes > 0 && s->here)
        printf("disk        %s, here\n", sized((double)s->peek.bytes, a));
    else if (s->peek.bytes > 0)
        printf("disk        %s to fetch, of %s that are free%s\n", sized((double)s->peek.bytes, a), sized((double)o->disk_free, b),
               o->disk_free > 0 && s->peek.bytes > o->disk_free ? ": too little" : "");
    printf("memory      %s: weights %s, cache %s (%d tokens, %s each), working %s\n", sized(own->memory_bytes, a),
           sized(own->weight_bytes, b), sized((double)o->memory.cache, c), o->context,
           sized((double)graph_cache_bytes_per_token(g, o->cache), d), format_bytes(o->memory.scratch, (char[16]){0}));
    printf("            %s are free of %s: it %s\n", sized((double)o->machine.available_bytes, a), sized((double)o->machine.memory_bytes, b),
           own->fits ? "fits" : "does not fit");
    printf("speed       prompt %.4g tokens/s (%lld tokens: %.2g s), generation %.4g tokens/s; with a full context %.4g%s\n", own->prompt,
           (long long)want.prompt, own->prompt_begin, own->generation, o->generation_at_end,
           own->fits ? "" : " (if it were in memory)");
    printf("            reads %s of weights for a token; this machine reads %.1f GB/s\n", sized(own->bytes_per_token, a),
           o->roof.read_all * 1e-9);
    printf("machine     %s, level %s, %d threads\n", cpu, level_word(o->roof.level), o->roof.threads);
    if (o->disturbed)
        printf("            other programs were busy while it was measured: the speeds are too low, and are not remembered\n");
    print_advice(s, o);
    printf("\n%-10s %10s %10s %6s %12s %12s\n", "weights", "size", "memory", "fits", "prompt t/s", "generation");
    for (int i = 0; i < o->n_line; i++) {
        const Line *l = &o->lines[i];
        printf("%-10s %10s %10s %6s %12.4g %12.4g\n", l->type, sized(l->weight_bytes, a), sized(l->memory_bytes, b), l->fits ? "yes" : "no",
               l->prompt, l->generation);
    }
}

static json_t *line_json(const Line *l) {
    return json_pack("{s:s, s:f, s:f, s:f, s:b, s:f, s:f}", "type", l->type, "weight_bytes", l->weight_bytes, "weight_bytes_per_token",
                     l->bytes_per_token, "memory_bytes", l->memory_bytes, "fits", l->fits, "prompt_tokens_per_second", l->prompt,
                     "generation_tokens_per_second", l->generation);
}

static Status print_plan_json(const Subject *s, const Outlook *o, Error *err) {
    const Graph *g = model_graph(s->model);
    json_t *lines = json_array();
    for (int i = 0; i < o->n_line; i++)
        json_array_append_new(lines, line_json(&o->lines[i]));
    const Line *best = best_fit(o);
    json_t *out = json_pack("{s:s, s:s, s:b, s:b, s:i, s:o, s:o}", "model", s->peek.name[0] != '\0' ? s->peek.name : s->name, "family",
                            model_family(s->model)->name, "here", s->here, "exact", s->made == NULL, "context", o->context, "roof",
                            roof_json(&o->roof), "as_it_is", line_json(&o->own));
    json_object_set_new(out, "disk", json_pack("{s:I, s:I}", "bytes", (json_int_t)s->peek.bytes, "free_bytes", (json_int_t)o->disk_free));
    json_object_set_new(out, "memory", json_pack("{s:f, s:I, s:I, s:I, s:I, s:I}", "weight_bytes", o->own.weight_bytes, "cache_bytes",
                                                 (json_int_t)o->memory.cache, "cache_bytes_per_token",
                                                 (json_int_t)graph_cache_bytes_per_token(g, o->cache), "working_bytes",
                                                 (json_int_t)o->memory.scratch, "available_bytes",
                                                 (json_int_t)o->machine.available_bytes, "machine_bytes",
                                                 (json_int_t)o->machine.memory_bytes));
    json_object_set_new(out, "generation_tokens_per_second_at_full_context", cli_json_number(o->generation_at_end));
    json_object_set_new(out, "disturbed", json_boolean(o->disturbed));
    json_object_set_new(out, "types", lines);
    json_object_set_new(out, "largest_that_fits", best != NULL ? json_string(best->type) : json_null());
    json_object_set_new(out, "experts_can_be_streamed", json_boolean(graph_has_experts(g)));
    return cli_print_json(out, JSON_INDENT(2), err);
}

static int run(int n_argument, char **arguments, Error *err) {
    (void)n_argument;
    Subject subject;
    Outlook outlook = {0};
    Pool *pool;
    json_setup();
    FAIL_IF(want.ctx < 0 || want.ctx > 1 << 28 || want.prompt < 1 || want.prompt > 1 << 24 || want.generate < 1 ||
                want.generate > 1 << 24 || want.depth < 0 || want.depth > 1 << 24,
            2, "a number is out of range; 'houle plan --help' explains");
    Status status = open_subject(arguments[0], &subject, err);
    if (status != OK)
        return 1;
    cli_catch_interrupt();
    status = cli_pool((int)want.threads, &pool, err);
    if (status == OK)
        status = plan_memory(&subject, pool, &outlook, err);
    if (status == OK)
        status = make_outlook(&subject, pool, &outlook, err);
    if (status == OK && want.json)
        status = print_plan_json(&subject, &outlook, err);
    else if (status == OK)
        print_plan(&subject, &outlook);
    close_subject(&subject);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"ctx", OPT_INT, &want.ctx, "N", "tokens of context that memory is planned for (8192, or the model's own if less)", NULL},
    {"p", OPT_INT, &want.prompt, "N", "tokens of the prompt whose speed is told (512)", NULL},
    {"n", OPT_INT, &want.generate, "N", "tokens generated after it (128)", NULL},
    {"depth", OPT_INT, &want.depth, "N", "tokens that are in the cache before (0)", NULL},
    {"cache-type", OPT_STRING, &want.cache, "TYPE", "f16 (default), q8_0, f32", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads (default: the physical cores this process may use)", NULL},
    {"measure", OPT_FLAG, &want.measure, NULL, "measure this machine anew, whatever is remembered of it", NULL},
    {"endpoint", OPT_STRING, &want.endpoint, "URL", "base address of the hub or a mirror (HF_ENDPOINT)", NULL},
    {"json", OPT_FLAG, &want.json, NULL, "print JSON (docs/json-schema.md)", NULL},
    {0},
};

const Command command_plan = {
    .name = "plan",
    .arguments = "MODEL",
    .summary = "tell what a model will take here and how fast it will be, before fetching it",
    .text = "MODEL is a file or folder, a name of the store, a name on the hub (only headers are fetched), or a config.json.\n"
            "Told are memory, disk and speed, for the model as it is and for other forms of its weights.\n\n"
            "Speeds follow from kernels of this machine, measured one by one for some seconds when they are first needed and\n"
            "remembered in the user's cache folder; --measure does it anew. Measure on a machine that does nothing else.",
    .example = "  houle plan acme/large-70B-GGUF:Q4_K_M\n"
               "  houle plan model.gguf --ctx 32768\n"
               "  houle plan config.json --json",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
