/* text_batch.c - see text_batch.h. */
#include "engine/text_batch.h"

#include <string.h>

enum { USUAL_ROWS = 512, SEQUENCES = 32 };

struct TextBatch {
    const Model *model;
    TextBatchSpec spec;
    int rows;
    Program *program;
    Cache *cache;
    Sequence *sequences[SEQUENCES];
    /* of a step */
    int32_t *tokens, *wanted;
    uint8_t *segments;
    int *text_of_wanted;
    Run runs[SEQUENCES];
};

/* ---- texts ------------------------------------------------------------------------------------------------------- */

Status text_inputs_encode(const Model *model, const char *const *texts, const size_t *bytes, size_t n, TokenIds *ids,
                          TextInput *inputs, Error *err) {
    const Tokenizer *tokenizer;
    size_t at = ids->count;
    TRY(model_tokenizer(model, &tokenizer, err));
    for (size_t i = 0; i < n; i++) {
        const size_t before = ids->count;
        TRY(tokenizer_encode(tokenizer, texts[i], bytes != NULL ? bytes[i] : strlen(texts[i]), ENCODE_ADD_SPECIAL, ids, err));
        inputs[i] = (TextInput){.n = (int)(ids->count - before)};
    }
    for (size_t i = 0; i < n; i++) { /* the list does not move any more */
        inputs[i].tokens = ids->ids + at;
        at += (size_t)inputs[i].n;
    }
    return OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static Status plan(const Model *model, const TextBatchSpec *spec, ProgramSpec *program, int64_t *cache_tokens, Error *err) {
    const Kernels *kernels;
    const TextSpec *text = &spec->text;
    FAIL_IF(text->context < 1, ERR_ARGUMENT, "a context of %d tokens", text->context);
    TRY(kernels_best(&kernels, err));
    const bool whole = model_graph(model)->whole_texts;
    const int rows = whole ? MAX(text->context, USUAL_ROWS) : USUAL_ROWS;
    *program = (ProgramSpec){.precision = text->precision, .kernels = kernels, .max_rows = rows,
                             .max_wanted = spec->which == TEXT_ROWS_ALL ? rows : SEQUENCES, .max_context = text->context,
                             .n_thread = pool_threads(text->pool), .no_result = spec->hidden};
    *cache_tokens = whole ? rows : (int64_t)text->context + rows;
    return OK;
}

static CacheType cache_type_for(const TextSpec *spec) {
    return spec->precision == PRECISION_F32 ? CACHE_F32 : spec->cache_type;
}

Status text_batch_memory(const Model *model, const TextBatchSpec *spec, size_t *bytes, Error *err) {
    ProgramSpec program;
    int64_t tokens = 0;
    TRY(plan(model, spec, &program, &tokens, err));
    TRY(program_bytes(model_graph(model), model_weights(model), program, bytes, err));
    *bytes += cache_bytes(model_graph(model), cache_type_for(&spec->text), tokens, SEQUENCES);
    return OK;
}

Status text_batch_open(const Model *model, const TextBatchSpec *spec, TextBatch **out, Error *err) {
    ProgramSpec program;
    int64_t tokens = 0;
    *out = NULL;
    TRY(plan(model, spec, &program, &tokens, err));
    FAIL_IF(spec->hidden && model_graph(model)->last_hidden == NO_VAL, ERR_UNSUPPORTED, "this model gives no vectors");
    TextBatch *b = mem_zalloc(sizeof *b, MEM_MISC);
    FAIL_IF(b == NULL, ERR_MEMORY, "no memory for a batch of texts");
    b->model = model;
    b->spec = *spec;
    b->rows = program.max_rows;
    b->tokens = mem_array((size_t)b->rows, sizeof *b->tokens, MEM_MISC);
    b->segments = mem_array((size_t)b->rows, sizeof *b->segments, MEM_MISC);
    b->wanted = mem_array((size_t)b->rows, sizeof *b->wanted, MEM_MISC);
    b->text_of_wanted = mem_array((size_t)b->rows, sizeof *b->text_of_wanted, MEM_MISC);
    Status status = OK;
    if (b->tokens == NULL || b->segments == NULL || b->wanted == NULL || b->text_of_wanted == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for a batch of texts");
    if (status == OK)
        status = program_open(model_graph(model), model_weights(model), program, &b->program, err);
    if (status == OK)
        status = cache_open(model_graph(model), cache_type_for(&spec->text), tokens, SEQUENCES, &b->cache, err);
    for (int i = 0; status == OK && i < SEQUENCES; i++)
        status = sequence_open(b->cache, spec->text.context, &b->sequences[i], err);
    if (status != OK) {
        text_batch_close(b);
        return status;
    }
    *out = b;
    return OK;
}

void text_batch_close(TextBatch *b) {
    if (b == NULL)
        return;
    cache_close(b->cache); /* and its sequences */
    program_close(b->program);
    mem_free(b->tokens);
    mem_free(b->segments);
    mem_free(b->wanted);
    mem_free(b->text_of_wanted);
    mem_free(b);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* Where the work stands: texts before `next` are done, and of that one the first `at` tokens. */
typedef struct Place { int next, at; } Place;

static bool is_wanted(TextRows which, int at, int n) {
    return which == TEXT_ROWS_ALL || (which == TEXT_ROWS_FIRST ? at == 0 : at == n - 1);
}

/* The next `rows` tokens of a text, for the sequence that it has. */
static void add_text(TextBatch *b, Batch *step, const TextInput *text, int index, int at, int rows) {
    const int row0 = step->n_row;
    b->runs[step->n_run] = (Run){.sequence = b->sequences[step->n_run], .row0 = row0, .n_row = rows};
    step->n_run++;
    memcpy(b->tokens + row0, text->tokens + at, (size_t)rows * sizeof *b->tokens);
    if (text->segments != NULL && model_graph(b->model)->segments > 1)
        memcpy(b->segments + row0, text->segments + at, (size_t)rows);
    else
        memset(b->segments + row0, 0, (size_t)rows);
    for (int i = 0; i < rows; i++)
        if (is_wanted(b->spec.which, at + i, text->n)) {
            b->text_of_wanted[step->n_wanted] = index;
            b->wanted[step->n_wanted++] = row0 + i;
        }
    step->n_row += rows;
}

/* Fills a step. A text that does not fit what is left of it waits for the next one if it must stay whole or has not begun;
 * pieces of a long text are thus always the first run, in the first sequence. */
static void fill_step(TextBatch *b, Batch *step, const TextInput *texts, int n, Place *place) {
    while (place->next < n && step->n_run < SEQUENCES && step->n_row < b->rows) {
        const TextInput *text = &texts[place->next];
        const int left = text->n - place->at, room = b->rows - step->n_row;
        if (left > room && step->n_run > 0)
            break;
        const int rows = MIN(left, room);
        add_text(b, step, text, place->next, place->at, rows);
        place->at += rows;
        if (place->at < text->n)
            break;
        place->next++;
        place->at = 0;
    }
}

static Status run_step(TextBatch *b, const Batch *step, const TextSink *sink, Error *err) {
    for (int i = 0; i < step->n_run; i++)
        TRY(sequence_reserve(b->runs[i].sequence, b->runs[i].n_row, err));
    TRY(program_run(b->program, b->spec.text.pool, step, err));
    for (int i = 0; i < step->n_run; i++)
        sequence_advance(b->runs[i].sequence, b->runs[i].n_row);
    for (int i = 0; i < step->n_wanted; i++) {
        int width = model_graph(b->model)->vocab;
        const float *row = b->spec.hidden ? program_last_hidden(b->program, i, &width) : program_logits(b->program, i);
        sink->take(sink->user, b->text_of_wanted[i], row, width);
    }
    return OK;
}

static Status check_texts(const TextBatch *b, const TextInput *texts, int n, Error *err) {
    for (int i = 0; i < n; i++) {
        FAIL_IF(texts[i].n < 1, ERR_ARGUMENT, "text %d has no tokens", i);
        FAIL_IF(texts[i].n > b->spec.text.context, ERR_LIMIT, "text %d has %d tokens, the context %d", i, texts[i].n, b->spec.text.context);
    }
    return OK;
}

Status text_batch_run(TextBatch *b, const TextInput *texts, int n, const TextSink *sink, Error *err) {
    Place place = {0};
    TRY(check_texts(b, texts, n, err));
    for (int i = 0; i < SEQUENCES; i++)
        sequence_cut(b->sequences[i], 0); /* of work that failed half-way */
    while (place.next < n) {
        Batch step = {.tokens = b->tokens, .segments = b->segments, .runs = b->runs, .wanted = b->wanted, .stop = sink->stop,
                      .user = sink->stop_user};
        fill_step(b, &step, texts, n, &place);
        TRY(run_step(b, &step, sink, err));
        for (int i = 0; i < step.n_run; i++)
            if (place.at == 0 || i + 1 < step.n_run)
                sequence_cut(b->sequences[i], 0);
    }
    return OK;
}
