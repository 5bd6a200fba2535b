/* metrics.c - see metrics.h. The bounds are those that dashboards for other servers of language models use. */
#include "serve/metrics.h"

#include "base/mem.h"

#include <pthread.h>
#include <string.h>

enum { MAX_BOUNDS = 20, MAX_MODELS = 64, MAX_ROUTES = 64, MAX_FINISHES = 8, NAME_BYTES = 128 };

static const double time_bounds[MAX_BOUNDS] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                               0.75,  1,     2.5,  5,    7.5,  10,   20,   40,  80,   160};
static const double token_bounds[MAX_BOUNDS] = {1,    2,    5,    10,    20,    50,    100,    200,    500,    1000,
                                                2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 512000, 1e6};

typedef struct Histogram {
    uint64_t counts[MAX_BOUNDS + 1];
    double sum;
} Histogram;

typedef struct ModelCounts {
    char name[NAME_BYTES];
    Histogram timings[TIMING_COUNT], prompt, generated;
    uint64_t prompt_tokens, cached_tokens, generated_tokens, reasoning_tokens;
    uint64_t finishes[MAX_FINISHES];
} ModelCounts;

typedef struct RouteCounts {
    char name[NAME_BYTES];
    int status;
    uint64_t count;
} RouteCounts;

struct Metrics {
    pthread_mutex_t lock;
    int n_model, n_route;
    ModelCounts models[MAX_MODELS];
    RouteCounts routes[MAX_ROUTES];
};

static const char *const finish_words[] = {"stop", "length", "tool_calls", "abort", "error"};

Status metrics_open(Metrics **metrics, Error *err) {
    *metrics = mem_zalloc(sizeof **metrics, MEM_MISC);
    FAIL_IF(*metrics == NULL, ERR_MEMORY, "no memory for the metrics");
    pthread_mutex_init(&(*metrics)->lock, NULL);
    return OK;
}

void metrics_close(Metrics *m) {
    if (m == NULL)
        return;
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

static void observe(Histogram *h, const double *bounds, double value) {
    int i = 0;
    while (i < MAX_BOUNDS && value > bounds[i])
        i++;
    h->counts[i]++;
    h->sum += value;
}

/* The last place takes all that come when the table is full. */
static ModelCounts *model_of(Metrics *m, const char *name) {
    for (int i = 0; i < m->n_model; i++)
        if (strncmp(m->models[i].name, name, NAME_BYTES - 1) == 0)
            return &m->models[i];
    if (m->n_model == MAX_MODELS)
        return &m->models[MAX_MODELS - 1];
    ModelCounts *c = &m->models[m->n_model++];
    const char *const shown = m->n_model == MAX_MODELS ? "others" : name;
    memcpy(c->name, shown, strnlen(shown, NAME_BYTES - 1));
    return c;
}

void metrics_add_answer(Metrics *m, const char *model, const AnswerCounts *a) {
    pthread_mutex_lock(&m->lock);
    ModelCounts *c = model_of(m, model);
    for (int i = 0; i < TIMING_COUNT; i++)
        if (a->seconds[i] >= 0)
            observe(&c->timings[i], time_bounds, a->seconds[i]);
    observe(&c->prompt, token_bounds, a->prompt);
    observe(&c->generated, token_bounds, a->generated);
    c->prompt_tokens += (uint64_t)a->prompt;
    c->cached_tokens += (uint64_t)a->cached;
    c->generated_tokens += (uint64_t)a->generated;
    c->reasoning_tokens += (uint64_t)a->reasoning;
    for (size_t i = 0; i < COUNT(finish_words); i++)
        c->finishes[i] += strcmp(finish_words[i], a->finish) == 0;
    pthread_mutex_unlock(&m->lock);
}

void metrics_add_reply(Metrics *m, const char *route, int status) {
    pthread_mutex_lock(&m->lock);
    int i = 0;
    while (i < m->n_route && (m->routes[i].status != status || strncmp(m->routes[i].name, route, NAME_BYTES - 1) != 0))
        i++;
    if (i == m->n_route && i < MAX_ROUTES) {
        memcpy(m->routes[i].name, route, strnlen(route, NAME_BYTES - 1));
        m->routes[i].status = status;
        m->n_route++;
    }
    m->routes[MIN(i, MAX_ROUTES - 1)].count++;
    pthread_mutex_unlock(&m->lock);
}

double metrics_token_seconds(Metrics *m, const char *model) {
    double seconds = -1;
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < m->n_model; i++) {
        const Histogram *h = &m->models[i].timings[TIMING_BETWEEN];
        uint64_t n = 0;
        for (int k = 0; k <= MAX_BOUNDS; k++)
            n += h->counts[k];
        if (n > 0 && strncmp(m->models[i].name, model, NAME_BYTES - 1) == 0)
            seconds = h->sum / (double)n;
    }
    pthread_mutex_unlock(&m->lock);
    return seconds;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void write_label(Text *out, const char *value) {
    for (; *value != '\0'; value++)
        if (*value == '\n')
            text_append_str(out, "\\n");
        else {
            if (*value == '"' || *value == '\\')
                text_append_char(out, '\\');
            text_append_char(out, *value);
        }
}

static void head(Text *out, const char *name, const char *type, const char *help) {
    text_append_format(out, "# HELP houle_%s %s\n# TYPE houle_%s %s\n", name, help, name, type);
}

static void one(Text *out, const char *name, const char *model, const char *more, double value) {
    text_append_format(out, "houle_%s{", name);
    if (model != NULL) {
        text_append_str(out, "model_name=\"");
        write_label(out, model);
        text_append_format(out, "\"%s", more[0] != '\0' ? "," : "");
    }
    text_append_format(out, "%s} ", more);
    text_append_double(out, value);
    text_append_char(out, '\n');
}

static void write_histogram(Text *out, const char *name, const char *model, const double *bounds, const Histogram *h) {
    Text series = {0};
    uint64_t sum = 0;
    text_append_format(&series, "%s_bucket", name);
    for (int i = 0; i <= MAX_BOUNDS && !series.failed; i++) {
        Text le = {0};
        sum += h->counts[i];
        text_append_str(&le, "le=\"");
        if (i < MAX_BOUNDS)
            text_append_double(&le, bounds[i]);
        else
            text_append_str(&le, "+Inf");
        text_append_str(&le, "\"");
        if (!le.failed)
            one(out, series.bytes, model, le.bytes, (double)sum);
        text_free(&le);
    }
    text_clear(&series);
    text_append_format(&series, "%s_sum", name);
    if (!series.failed)
        one(out, series.bytes, model, "", h->sum);
    text_clear(&series);
    text_append_format(&series, "%s_count", name);
    if (!series.failed)
        one(out, series.bytes, model, "", (double)sum);
    text_free(&series);
}

static void write_models(const Metrics *m, Text *out) {
    static const struct {
        const char *name, *help;
    } timings[TIMING_COUNT] = {
        {"request_queue_time_seconds", "Time until a request was admitted."},
        {"time_to_first_token_seconds", "Time from a request's arrival to its first token."},
        {"inter_token_latency_seconds", "Mean time between the tokens of an answer."},
        {"e2e_request_latency_seconds", "Time from a request's arrival to its last token."},
        {"model_wait_seconds", "Time that requests waited for their model to be loaded."},
    };
    for (int t = 0; t < TIMING_COUNT; t++) {
        head(out, timings[t].name, "histogram", timings[t].help);
        for (int i = 0; i < m->n_model; i++)
            write_histogram(out, timings[t].name, m->models[i].name, time_bounds, &m->models[i].timings[t]);
    }
    head(out, "request_prompt_tokens", "histogram", "Tokens of prompts.");
    for (int i = 0; i < m->n_model; i++)
        write_histogram(out, "request_prompt_tokens", m->models[i].name, token_bounds, &m->models[i].prompt);
    head(out, "request_generation_tokens", "histogram", "Tokens of answers.");
    for (int i = 0; i < m->n_model; i++)
        write_histogram(out, "request_generation_tokens", m->models[i].name, token_bounds, &m->models[i].generated);
    static const struct {
        const char *name, *help;
        size_t at;
    } totals[] = {
        {"prompt_tokens_total", "Tokens of prompts.", offsetof(ModelCounts, prompt_tokens)},
        {"prefix_cache_queries_total", "Tokens of prompts looked for in the cache.",
         offsetof(ModelCounts, prompt_tokens)},
        {"prefix_cache_hits_total", "Tokens of prompts found in the cache.", offsetof(ModelCounts, cached_tokens)},
        {"generation_tokens_total", "Tokens generated.", offsetof(ModelCounts, generated_tokens)},
        {"reasoning_tokens_total", "Tokens of reasoning among them.", offsetof(ModelCounts, reasoning_tokens)},
    };
    for (size_t k = 0; k < COUNT(totals); k++) {
        head(out, totals[k].name, "counter", totals[k].help);
        for (int i = 0; i < m->n_model; i++)
            one(out, totals[k].name, m->models[i].name, "",
                (double)*(const uint64_t *)(const void *)((const char *)&m->models[i] + totals[k].at));
    }
    head(out, "request_success_total", "counter", "Answers by why they ended.");
    for (int i = 0; i < m->n_model; i++)
        for (size_t f = 0; f < COUNT(finish_words); f++) {
            Text label = {0};
            text_append_format(&label, "finished_reason=\"%s\"", finish_words[f]);
            if (!label.failed)
                one(out, "request_success_total", m->models[i].name, label.bytes, (double)m->models[i].finishes[f]);
            text_free(&label);
        }
}

static void write_routes(const Metrics *m, Text *out) {
    head(out, "http_requests_total", "counter", "Requests by route and status.");
    for (int i = 0; i < m->n_route; i++) {
        text_append_str(out, "houle_http_requests_total{handler=\"");
        write_label(out, m->routes[i].name);
        text_append_format(out, "\",status=\"%d\"} %llu\n", m->routes[i].status,
                           (unsigned long long)m->routes[i].count);
    }
}

static void write_registry(const ServedList *list, const RegistryStats *s, int active, Text *out) {
    head(out, "num_requests_running", "gauge", "Requests in the steps of a model.");
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].state == SERVED_READY)
            one(out, "num_requests_running", list->items[i].name, "", list->items[i].stats.running);
    head(out, "num_requests_waiting", "gauge", "Requests that wait for a place in the steps of a model.");
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].state == SERVED_READY)
            one(out, "num_requests_waiting", list->items[i].name, "", list->items[i].stats.waiting);
    head(out, "kv_cache_usage_perc", "gauge", "Share of a model's cache in use; 1 = full.");
    for (size_t i = 0; i < list->count; i++) {
        const SchedulerStats *stats = &list->items[i].stats;
        if (list->items[i].state == SERVED_READY)
            one(out, "kv_cache_usage_perc", list->items[i].name, "",
                stats->pages > 0 ? (double)stats->pages_used / stats->pages : 0);
    }
    head(out, "num_preemptions_total", "counter", "Texts that had to make way since the model was loaded.");
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].state == SERVED_READY)
            one(out, "num_preemptions_total", list->items[i].name, "", (double)list->items[i].stats.preempted);
    static const struct { const char *name, *help; size_t at; } experts[] = {
        {"expert_uses_total", "Pieces of experts that steps needed, of models streamed from disk.", offsetof(CacheCounts, uses)},
        {"expert_misses_total", "Of them those that had to be read for it.", offsetof(CacheCounts, misses)},
        {"expert_read_bytes_total", "Bytes of weights read from disk.", offsetof(CacheCounts, bytes_read)},
    };
    for (size_t k = 0; k < COUNT(experts); k++) {
        head(out, experts[k].name, "counter", experts[k].help);
        for (size_t i = 0; i < list->count; i++)
            if (list->items[i].streamed)
                one(out, experts[k].name, list->items[i].name, "",
                    (double)*(const uint64_t *)(const void *)((const char *)&list->items[i].experts + experts[k].at));
    }
    head(out, "model_loads_total", "counter", "Models loaded.");
    one(out, "model_loads_total", NULL, "", (double)s->loads);
    head(out, "model_load_failures_total", "counter", "Models that could not be loaded.");
    one(out, "model_load_failures_total", NULL, "", (double)s->load_failures);
    head(out, "model_evictions_total", "counter", "Models given up for others.");
    one(out, "model_evictions_total", NULL, "", (double)s->evictions);
    head(out, "models_loaded", "gauge", "Models in memory.");
    one(out, "models_loaded", NULL, "", s->loaded);
    head(out, "memory_budget_bytes", "gauge", "What models may take.");
    one(out, "memory_budget_bytes", NULL, "", (double)s->budget_bytes);
    head(out, "memory_models_bytes", "gauge", "What the loaded models take, by purpose.");
    one(out, "memory_models_bytes", NULL, "purpose=\"weights\"", (double)s->weight_bytes);
    one(out, "memory_models_bytes", NULL, "purpose=\"cache_and_scratch\"", (double)s->run_bytes);
    head(out, "memory_heap_bytes", "gauge", "Allocated memory, by purpose.");
    for (int tag = 0; tag < MEM_TAG_COUNT; tag++) {
        Text label = {0};
        text_append_format(&label, "purpose=\"%s\"", mem_tag_word((MemTag)tag));
        if (!label.failed)
            one(out, "memory_heap_bytes", NULL, label.bytes, (double)mem_bytes((MemTag)tag));
        text_free(&label);
    }
    head(out, "http_requests_active", "gauge", "Requests whose answer has not left yet.");
    one(out, "http_requests_active", NULL, "", active);
}

Status metrics_write(Metrics *m, Registry *registry, int active, Text *out, Error *err) {
    ServedList list;
    TRY(registry_list(registry, &list, err));
    const RegistryStats stats = registry_stats(registry);
    pthread_mutex_lock(&m->lock);
    write_models(m, out);
    write_routes(m, out);
    pthread_mutex_unlock(&m->lock);
    write_registry(&list, &stats, active, out);
    served_list_free(&list);
    return text_check(out, err);
}
