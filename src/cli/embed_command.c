/* embed_command.c - houle embed: a vector for each text, one JSON object a line. */
#include "cli/command.h"
#include "cli/run_options.h"

#include "base/file.h"
#include "base/text.h"
#include "engine/embed.h"
#include "format/json.h"
#include "format/json_write.h"

#include <stdio.h>
#include <string.h>

static struct {
    const char *file, *precision, *cache;
    int64_t dimensions, ctx, threads;
    bool raw;
} want = {.precision = "fast", .cache = "f16"};

/* Texts and what becomes of them. */
typedef struct Work {
    Text all;          /* of --file */
    const char **texts;
    size_t *bytes;
    size_t n, capacity, byte_capacity;
    TokenIds ids;      /* of all texts */
    TextInput *inputs;
    float *vectors;
} Work;

static void work_free(Work *w) {
    text_free(&w->all);
    mem_free(w->texts);
    mem_free(w->bytes);
    token_ids_free(&w->ids);
    mem_free(w->inputs);
    mem_free(w->vectors);
}

static Status add_text(Work *w, const char *text, size_t bytes, Error *err) {
    FAIL_IF(!utf8_valid(text, bytes), ERR_ARGUMENT, "text %zu is not valid UTF-8", w->n);
    FAIL_IF(!mem_grow((void **)&w->texts, &w->capacity, w->n + 1, sizeof *w->texts, MEM_MISC) ||
                !mem_grow((void **)&w->bytes, &w->byte_capacity, w->n + 1, sizeof *w->bytes, MEM_MISC),
            ERR_MEMORY, "no memory for the texts");
    w->texts[w->n] = text;
    w->bytes[w->n++] = bytes;
    return OK;
}

/* Each line a text; empty ones are passed over. */
static Status add_lines(Work *w, Error *err) {
    TRY(cli_read_all(want.file, &w->all, err));
    for (size_t at = 0; at < w->all.count;) {
        const char *line = w->all.bytes + at, *newline = memchr(line, '\n', w->all.count - at);
        const size_t bytes = newline != NULL ? (size_t)(newline - line) : w->all.count - at;
        if (bytes > 0)
            TRY(add_text(w, line, bytes, err));
        at += bytes + 1;
    }
    return OK;
}

static Status print_vector(size_t index, int tokens, const float *vector, int n, Error *err) {
    Text line = {0};
    JsonWriter w = {.out = &line};
    json_write_open(&w, '{');
    json_write_key(&w, "index");
    json_write_natural(&w, index);
    json_write_key(&w, "tokens");
    json_write_int(&w, tokens);
    json_write_key(&w, "embedding");
    json_write_open(&w, '[');
    for (int i = 0; i < n; i++)
        json_write_float(&w, vector[i]);
    json_write_close(&w, ']');
    json_write_close(&w, '}');
    const Status status = text_check(&line, err);
    if (status == OK)
        puts(line.bytes);
    text_free(&line);
    return status;
}

static bool interrupted(void *user) {
    (void)user;
    return cli_interrupted();
}

static Status embed_all(Work *w, Embedder *embedder, Error *err) {
    const int width = embedder_width(embedder);
    FAIL_IF(want.dimensions < 0 || want.dimensions > width, ERR_ARGUMENT, "--dimensions %lld: the vectors have %d", (long long)want.dimensions, width);
    w->vectors = mem_array(w->n * (size_t)width, sizeof *w->vectors, MEM_MISC);
    FAIL_IF(w->vectors == NULL, ERR_MEMORY, "no memory for %zu vectors", w->n);
    TRY(embedder_run(embedder, w->inputs, (int)w->n, w->vectors, interrupted, NULL, err));
    for (size_t i = 0; i < w->n; i++) {
        float *vector = w->vectors + i * (size_t)width;
        const int n = want.raw ? want.dimensions > 0 ? (int)want.dimensions : width : embed_unit(vector, width, (int)want.dimensions);
        TRY(print_vector(i, w->inputs[i].n, vector, n, err));
    }
    return OK;
}

static Status embed_with(const Model *model, Work *w, Error *err) {
    const int declared = model_context(model);
    TextSpec spec = {.context = want.ctx > 0 ? (int)MIN(want.ctx, INT32_MAX) : declared > 0 ? MIN(declared, 8192) : 8192};
    Embedder *embedder;
    TRY(parse_precision(want.precision, &spec.precision, err));
    TRY(parse_cache_type(want.cache, &spec.cache_type, err));
    TRY(cli_pool((int)want.threads, &spec.pool, err));
    w->inputs = mem_array(w->n, sizeof *w->inputs, MEM_MISC);
    FAIL_IF(w->inputs == NULL, ERR_MEMORY, "no memory for the texts");
    TRY(text_inputs_encode(model, w->texts, w->bytes, w->n, &w->ids, w->inputs, err));
    TRY(embedder_open(model, &spec, &embedder, err));
    const Status status = embed_all(w, embedder, err);
    embedder_close(embedder);
    return status;
}

static int run(int n_argument, char **arguments, Error *err) {
    Work work = {0};
    Model *model = NULL;
    Status status = OK;
    json_setup();
    cli_catch_interrupt();
    for (int i = 1; status == OK && i < n_argument; i++)
        status = add_text(&work, arguments[i], strlen(arguments[i]), err);
    if (status == OK && want.file != NULL)
        status = add_lines(&work, err);
    if (status == OK && work.n == 0)
        status = error_set(err, ERR_ARGUMENT, "a text is expected, or --file");
    if (status == OK)
        status = cli_open_model(arguments[0], &model, err);
    if (status == OK)
        status = embed_with(model, &work, err);
    work_free(&work);
    model_close(model);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"file", OPT_STRING, &want.file, "FILE", "each line of FILE is a text (-: standard input)", NULL},
    {"dimensions", OPT_INT, &want.dimensions, "N", "only the first N numbers (of models that were trained for it)", NULL},
    {"raw", OPT_FLAG, &want.raw, NULL, "vectors as the model gives them, not made of length 1", NULL},
    {"ctx", OPT_INT, &want.ctx, "N", "longest text in tokens (the declared one, at most 8192)", NULL},
    {"precision", OPT_STRING, &want.precision, "f32|fast", "float throughout, or what this CPU does best (fast)", NULL},
    {"cache-type", OPT_STRING, &want.cache, "TYPE", "f16 (default), q8_0, f32", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads (default: the physical cores this process may use)", NULL},
    {0},
};

const Command command_embed = {
    .name = "embed",
    .arguments = "MODEL [TEXT...]",
    .summary = "make vectors of texts",
    .text = "Prints a JSON object on a line for each text: its index, its tokens, and the vector that an embedding model makes\n"
            "of it. The files of the model say how (docs/serve.md, Embeddings). Texts that begin with a word for their use\n"
            "(\"query: \") must have it in front: nothing is added.",
    .example = "  houle embed bge-small \"What is a tide?\" \"The sea rises and falls.\"\n"
               "  houle embed bge-small --file sentences.txt",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1024,
    .run = run,
};
