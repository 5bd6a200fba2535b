/* logits.c - houle logits: what a model computes for given tokens, as a file. */
#include "cli/run_options.h"

#include "base/text.h"
#include "format/safetensors_writer.h"

#include <stdio.h>
#include <string.h>

static struct {
    StringList ids;
    int64_t chunk, threads, ctx;
    const char *out, *precision, *cache;
    bool hidden;
    uint64_t memory;
} want = {.precision = "f32", .cache = "f16"};

enum { MAX_PROMPTS = 64 };

typedef struct Prompt {
    int32_t *ids;
    int n;
    float *logits; /* [n, V] */
    float **hidden; /* per layer [n, D], or NULL */
} Prompt;

typedef struct Job {
    Prompt prompts[MAX_PROMPTS];
    int n_prompt;
    int hidden_width, n_hidden;
} Job;

static void free_job(Job *job) {
    for (int i = 0; i < job->n_prompt; i++) {
        Prompt *p = &job->prompts[i];
        for (int l = 0; p->hidden != NULL && l < job->n_hidden; l++)
            mem_free(p->hidden[l]);
        mem_free(p->hidden);
        mem_free(p->ids);
        mem_free(p->logits);
    }
}

/* All prompts side by side, up to `chunk` ids of each in one step, until all are through. */
static Status compute(Session *s, Job *job, int chunk, Error *err) {
    const int vocab = model_vocab(session_model(s));
    int longest = 0;
    for (int i = 0; i < job->n_prompt; i++)
        longest = MAX(longest, job->prompts[i].n);
    for (int at = 0; at < longest; at += chunk) {
        int32_t tokens[4096], wanted[4096];
        Run runs[MAX_PROMPTS];
        int of_run[MAX_PROMPTS];
        Batch b = {.tokens = tokens, .runs = runs, .wanted = wanted};
        for (int i = 0; i < job->n_prompt; i++) {
            const int n = MIN(chunk, job->prompts[i].n - at);
            if (n <= 0)
                continue;
            runs[b.n_run] = (Run){.sequence = session_sequence(s, i), .row0 = b.n_row, .n_row = n};
            of_run[b.n_run++] = i;
            memcpy(tokens + b.n_row, job->prompts[i].ids + at, (size_t)n * sizeof *tokens);
            b.n_row += n;
        }
        for (int r = 0; r < b.n_row; r++)
            wanted[b.n_wanted++] = r;
        TRY(session_step(s, &b, err));
        for (int r = 0; r < b.n_run; r++) {
            const Prompt *p = &job->prompts[of_run[r]];
            for (int row = 0; row < runs[r].n_row; row++)
                memcpy(p->logits + (size_t)(at + row) * (size_t)vocab, program_logits(session_program(s), runs[r].row0 + row),
                       (size_t)vocab * sizeof(float));
            for (int l = 0; p->hidden != NULL && l < job->n_hidden; l++) {
                for (int row = 0; row < runs[r].n_row; row++) {
                    int width;
                    const float *x = program_hidden(session_program(s), l, runs[r].row0 + row, &width);
                    if (x != NULL && width == job->hidden_width)
                        memcpy(p->hidden[l] + (size_t)(at + row) * (size_t)width, x, (size_t)width * sizeof(float));
                }
            }
        }
    }
    return OK;
}

static Status write_out(const Job *job, int vocab, Error *err) {
    enum { MAX_ENTRIES = MAX_PROMPTS + 4200 };
    static SafetensorsEntry entries[MAX_ENTRIES];
    static char names[MAX_ENTRIES][32];
    static size_t dims[MAX_ENTRIES][2];
    static const float *data[MAX_ENTRIES];
    size_t n = 0;
    for (int i = 0; i < job->n_prompt; i++) {
        const Prompt *p = &job->prompts[i];
        const bool several = job->n_prompt > 1;
        for (int l = -1; l < (p->hidden != NULL ? job->n_hidden : 0); l++) {
            if (l < 0)
                snprintf(names[n], sizeof names[n], several ? "logits.%d" : "logits", i);
            else
                snprintf(names[n], sizeof names[n], several ? "hidden.%d.%d" : "hidden.%d", several ? i : l, l);
            dims[n][0] = (size_t)p->n;
            dims[n][1] = (size_t)(l < 0 ? vocab : job->hidden_width);
            data[n] = l < 0 ? p->logits : p->hidden[l];
            entries[n] = (SafetensorsEntry){.name = names[n], .type = DT_F32, .n_dim = 2, .dims = dims[n]};
            if (++n == MAX_ENTRIES)
                return error_set(err, ERR_LIMIT, "more than %d tensors", MAX_ENTRIES);
        }
    }
    SafetensorsWriter *writer;
    TRY(safetensors_writer_open(want.out, entries, n, NULL, 0, &writer, err));
    for (size_t i = 0; i < n; i++) {
        const Status status = safetensors_writer_write(writer, data[i], dims[i][0] * dims[i][1] * sizeof(float), err);
        if (status != OK) {
            safetensors_writer_cancel(writer);
            return status;
        }
    }
    return safetensors_writer_commit(writer, err);
}

static Status logits_of(Model *model, Job *job, Error *err) {
    const int vocab = model_vocab(model);
    Precision precision;
    CacheType cache;
    Pool *pool;
    TRY(parse_precision(want.precision, &precision, err));
    TRY(parse_cache_type(want.cache, &cache, err));
    TRY(cli_pool((int)want.threads, &pool, err));
    int longest = 0, total = 0;
    for (int i = 0; i < job->n_prompt; i++) {
        longest = MAX(longest, job->prompts[i].n);
        total += job->prompts[i].n;
    }
    int chunk = want.chunk > 0 ? (int)MIN(want.chunk, 4096) : 4096 / job->n_prompt;
    chunk = MIN(MIN(chunk, longest), 4096 / job->n_prompt);
    const SessionSpec spec = {.precision = precision, .cache_type = cache, .context = MAX(longest, (int)want.ctx),
                              .sequences = job->n_prompt, .max_rows = MIN(chunk * job->n_prompt, total),
                              .max_wanted = MIN(chunk * job->n_prompt, total), .keep_hidden = want.hidden, .pool = pool};
    Session *session;
    TRY(cli_open_session(model, spec, want.memory, &session, err));
    Status status = OK;
    for (int i = 1; status == OK && i < job->n_prompt; i++)
        status = session_add_sequence(session, err);
    job->n_hidden = want.hidden ? model_graph(model)->n_layer + 1 : 0;
    if (want.hidden)
        job->hidden_width = width_of(model_graph(model), model_graph(model)->hidden[0]);
    for (int i = 0; status == OK && i < job->n_prompt; i++) {
        Prompt *p = &job->prompts[i];
        p->logits = mem_array((size_t)p->n * (size_t)vocab, sizeof(float), MEM_MISC);
        p->hidden = want.hidden ? mem_array((size_t)job->n_hidden, sizeof(float *), MEM_MISC) : NULL;
        bool done = p->logits != NULL && (!want.hidden || p->hidden != NULL);
        for (int l = 0; done && l < job->n_hidden; l++)
            done = (p->hidden[l] = mem_array((size_t)p->n * (size_t)job->hidden_width, sizeof(float), MEM_MISC)) != NULL;
        if (!done)
            status = error_set(err, ERR_MEMORY, "no memory for the logits of %d tokens", p->n);
    }
    if (status == OK)
        status = compute(session, job, chunk, err);
    session_close(session);
    return status == OK ? write_out(job, vocab, err) : status;
}

static int run(int n_argument, char **arguments, Error *err) {
    (void)n_argument;
    if (want.ids.count == 0 || want.out == NULL) {
        error_set(err, ERR_ARGUMENT, "--ids and --out are needed; 'houle logits --help' explains");
        return 2;
    }
    Job job = {0};
    Model *model = NULL;
    Status status = OK;
    for (int i = 0; status == OK && i < want.ids.count; i++, job.n_prompt++)
        status = parse_ids(want.ids.items[i], &job.prompts[i].ids, &job.prompts[i].n, err);
    if (status == OK)
        status = cli_open_model(arguments[0], &model, err);
    if (status == OK)
        status = logits_of(model, &job, err);
    free_job(&job);
    model_close(model);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"ids", OPT_LIST, &want.ids, "1,2,3", "token ids of a prompt; several times: prompts computed as one batch", NULL},
    {"out", OPT_STRING, &want.out, "FILE", "the safetensors file to write", NULL},
    {"chunk", OPT_INT, &want.chunk, "N", "process N ids of each prompt at a time (all at once)", NULL},
    {"hidden", OPT_FLAG, &want.hidden, NULL, "also write hidden.N: what layer N + 1 gets, hidden.0 being the embedding", NULL},
    {"precision", OPT_STRING, &want.precision, "f32|fast", "float throughout (default), or what this CPU does best", NULL},
    {"cache-type", OPT_STRING, &want.cache, "TYPE", "form of the cache with --precision fast: f16 (default), q8_0, f32", NULL},
    {"ctx", OPT_INT, &want.ctx, "N", "declare a context of N tokens (some rotations depend on it)", NULL},
    {"memory", OPT_BYTES, &want.memory, "SIZE", "what all of it may take; experts that do not fit are read when they are needed", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads (default: the physical cores this process may use)", NULL},
    {0},
};

const Command command_logits = {
    .name = "logits",
    .arguments = "MODEL --ids 1,2,3 --out FILE",
    .summary = "write a model's logits for given tokens",
    .text = "Computes the logits at every position of one or more prompts given as token ids and writes\n"
            "them to a safetensors file: `logits` float32 [T, V], or `logits.0`, `logits.1`, ... for\n"
            "several prompts. No tokenizer is needed.",
    .example = "  houle logits model.gguf --ids 1,338,263 --out logits.safetensors",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
