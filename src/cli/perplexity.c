/* perplexity.c - houle perplexity: how well a model predicts a text. The method is the one that llama.cpp's program of
 * this name made usual, so that figures can be compared: chunks of n tokens without overlap, the last incomplete one
 * dropped; each begins from nothing, and only its second half counts, token i given all before it in the chunk. */
#include "cli/cli_print.h"
#include "cli/run_options.h"

#include "base/file.h"
#include "base/text.h"
#include "format/json.h"
#include "engine/sample.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct {
    const char *precision, *cache, *ids;
    int64_t chunk, threads, chunks;
    bool json, no_bos;
    uint64_t memory;
} want = {.precision = "fast", .cache = "f16", .chunk = 512, .chunks = -1};

enum { ROWS = 128 }; /* rows of logits in one step */

typedef struct Tally {
    double sum, sum_of_squares; /* of the negative log-likelihoods */
    int64_t tokens;
    int chunks;
} Tally;

static Status score_chunk(Session *s, const int32_t *tokens, int n, Tally *score, Error *err) {
    const int vocab = model_vocab(session_model(s)), first = n / 2;
    Sequence *sequence = session_sequence(s, 0);
    sequence_cut(sequence, 0);
    for (int at = 0; at < n; at += ROWS) {
        const int rows = MIN(ROWS, n - at);
        int32_t wanted[ROWS];
        int n_wanted = 0;
        for (int i = 0; i < rows; i++) /* the row of token i predicts token i + 1 */
            if (at + i + 1 > first && at + i + 1 < n)
                wanted[n_wanted++] = i;
        const Run run = {.sequence = sequence, .row0 = 0, .n_row = rows};
        const Batch batch = {.n_row = rows, .tokens = tokens + at, .n_run = 1, .runs = &run, .n_wanted = n_wanted, .wanted = wanted};
        TRY(session_step(s, &batch, err));
        for (int i = 0; i < n_wanted; i++) {
            const double nll = -(double)logprob_of(program_logits(session_program(s), i), vocab, tokens[at + wanted[i] + 1]);
            score->sum += nll;
            score->sum_of_squares += nll * nll;
            score->tokens++;
        }
    }
    score->chunks++;
    return OK;
}

static Status score_text(Session *s, const int32_t *tokens, size_t n, Tally *score, Error *err) {
    const int chunk = (int)want.chunk;
    int64_t chunks = (int64_t)(n / (size_t)chunk);
    FAIL_IF(chunks == 0, ERR_ARGUMENT, "the text has %zu tokens, fewer than one chunk of %d; --chunk makes it smaller", n, chunk);
    if (want.chunks >= 0)
        chunks = MIN(chunks, want.chunks);
    CliProgress bar = {0};
    Status status = OK;
    for (int64_t c = 0; status == OK && c < chunks; c++) {
        status = score_chunk(s, tokens + (size_t)c * (size_t)chunk, chunk, score, err);
        if (status == OK && !cli_progress(&bar, "perplexity", (uint64_t)c + 1, (uint64_t)chunks))
            status = error_set(err, ERR_CANCELLED, "interrupted");
    }
    cli_progress_end(&bar);
    return status;
}

static Status print_score(const char *model, const Tally *score, Error *err) {
    const double mean = score->sum / (double)score->tokens;
    const double variance = score->sum_of_squares / (double)score->tokens - mean * mean;
    const double ppl = exp(mean), spread = ppl * sqrt(fmax(variance, 0) / (double)MAX(score->tokens - 1, 1));
    if (!want.json) {
        Text line = {0};
        text_append_double_as(&line, 'f', 4, ppl);
        text_append_str(&line, " +- ");
        text_append_double_as(&line, 'f', 4, spread);
        text_append_format(&line, " (%lld tokens scored in %d chunks of %lld)", (long long)score->tokens, score->chunks,
                           (long long)want.chunk);
        text_append_char(&line, '\n');
        return cli_print_text(&line, err);
    }
    json_t *out = json_pack("{s:s, s:f, s:f, s:f, s:I, s:i, s:I, s:s}", "model", model, "perplexity", ppl, "standard_error", spread,
                            "mean_negative_log_likelihood", mean, "tokens_scored", (json_int_t)score->tokens, "chunks",
                            score->chunks, "chunk", (json_int_t)want.chunk, "precision", want.precision);
    return cli_print_json(out, JSON_INDENT(2), err);
}

/* FILE holds text, or with --ids a JSON array of token ids. */
static Status read_tokens(const Model *model, const char *path, TokenIds *tokens, Error *err) {
    if (want.ids != NULL) {
        json_t *ids;
        TRY(json_read(want.ids, 1u << 30, &ids, err));
        Status status = json_is_array(ids) ? OK : error_set(err, ERR_FORMAT, "%s: an array of token ids is expected", want.ids);
        for (size_t i = 0; status == OK && i < json_array_size(ids); i++) {
            const json_int_t id = json_integer_value(json_array_get(ids, i));
            if (id < 0 || id >= model_vocab(model))
                status = error_set(err, ERR_FORMAT, "%s: element %zu is no token of this model", want.ids, i);
            else if (!token_ids_append(tokens, (int32_t)id))
                status = error_set(err, ERR_MEMORY, "no memory for the text");
        }
        json_decref(ids);
        return status;
    }
    const Tokenizer *tokenizer;
    char *text;
    size_t bytes;
    TRY(model_tokenizer(model, &tokenizer, err));
    TRY(file_read(path, 1u << 30, &text, &bytes, err));
    const Status status = tokenizer_encode(tokenizer, text, bytes, want.no_bos ? 0 : ENCODE_ADD_SPECIAL, tokens, err);
    mem_free(text);
    return status;
}

static int run(int n_argument, char **arguments, Error *err) {
    Model *model = NULL;
    Session *session = NULL;
    TokenIds tokens = {0};
    Tally score = {0};
    SessionSpec spec = {.max_rows = ROWS, .max_wanted = ROWS};
    Status status = parse_precision(want.precision, &spec.precision, err);
    json_setup();
    if (status == OK && (want.ids != NULL) == (n_argument > 1))
        status = error_set(err, ERR_ARGUMENT, "a file with text is expected, or --ids with a file of token ids");
    if (status == OK && (want.chunk < 4 || want.chunk > 1 << 24))
        status = error_set(err, ERR_ARGUMENT, "--chunk %lld: 4 or more tokens are expected", (long long)want.chunk);
    if (status == OK)
        status = parse_cache_type(want.cache, &spec.cache_type, err);
    if (status == OK)
        status = cli_pool((int)want.threads, &spec.pool, err);
    if (status == OK)
        status = cli_open_model(arguments[0], &model, err);
    if (status == OK)
        status = read_tokens(model, n_argument > 1 ? arguments[1] : NULL, &tokens, err);
    spec.context = (int)want.chunk;
    if (status == OK)
        status = cli_open_session(model, spec, want.memory, &session, err);
    cli_catch_interrupt();
    if (status == OK)
        status = score_text(session, tokens.ids, tokens.count, &score, err);
    if (status == OK)
        status = print_score(arguments[0], &score, err);
    token_ids_free(&tokens);
    session_close(session);
    model_close(model);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"chunk", OPT_INT, &want.chunk, "N", "tokens of a chunk (512)", NULL},
    {"chunks", OPT_INT, &want.chunks, "N", "only the first N chunks", NULL},
    {"ids", OPT_STRING, &want.ids, "FILE", "a JSON array of token ids in place of a text", NULL},
    {"no-special", OPT_FLAG, &want.no_bos, NULL, "don't put the tokens in front that the model was trained with", NULL},
    {"precision", OPT_STRING, &want.precision, "f32|fast", "float throughout, or what this CPU does best (fast)", NULL},
    {"cache-type", OPT_STRING, &want.cache, "TYPE", "f16 (default), q8_0, f32", NULL},
    {"memory", OPT_BYTES, &want.memory, "SIZE", "what all of it may take; experts that do not fit are read when they are needed", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads (default: the physical cores this process may use)", NULL},
    {"json", OPT_FLAG, &want.json, NULL, "print the result as JSON (docs/json-schema.md)", NULL},
    {0},
};

const Command command_perplexity = {
    .name = "perplexity",
    .arguments = "MODEL [FILE]",
    .summary = "measure how well a model predicts a text",
    .text = "The text is cut into chunks without overlap; the second half of each is scored given all before it in the\n"
            "chunk. The result is exp of the mean negative log-likelihood: lower is better, and figures can be compared\n"
            "between models with the same tokenizer only.",
    .example = "  houle perplexity model.gguf text.txt --chunk 256\n"
               "      16.7740 +- 0.7342 (1270 tokens scored in 10 chunks of 256)",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 2,
    .run = run,
};
