/* tokenize.c - houle tokenize, houle detokenize: text to ids and back, for people and (--batch) for programs. */
#include "cli/cli_print.h"
#include "cli/command.h"

#include "base/file.h"
#include "base/text.h"
#include "format/json.h"
#include "format/json_write.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { INPUT_LIMIT = 1 << 30 };

static struct { bool batch, verbose, no_special, special_as_text, skip_special; } want;

/* Standard input to its end. */
static Status read_input(Text *text, Error *err) {
    char block[65536];
    size_t count;
    while ((count = fread(block, 1, sizeof block, stdin)) > 0) {
        FAIL_IF(text->count + count > INPUT_LIMIT, ERR_LIMIT, "standard input has over %d bytes", INPUT_LIMIT);
        text_append(text, block, count);
    }
    FAIL_IF(ferror(stdin), ERR_IO, "standard input could not be read");
    return text_check(text, err);
}

/* ---- batches ---------------------------------------------------------------------------------------------------- */

static Status ids_of(const json_t *list, TokenIds *ids, Error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        FAIL_IF(!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX, ERR_ARGUMENT,
                "ids: element %zu is no token id", i);
        FAIL_IF(!token_ids_append(ids, (int32_t)json_integer_value(id)), ERR_MEMORY, "no memory for the ids");
    }
    return OK;
}

static Status answer_encode(const Tokenizer *t, const json_t *request, TokenIds *ids, JsonWriter *w, Error *err) {
    const json_t *text = json_object_get(request, "text");
    const unsigned flags = (json_is_true(json_object_get(request, "add_special")) ? ENCODE_ADD_SPECIAL : 0u) |
                           (json_is_true(json_object_get(request, "parse_special")) ? ENCODE_PARSE_SPECIAL : 0u);
    TRY(tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, ids, err));
    json_write_key(w, "ids");
    json_write_open(w, '[');
    for (size_t i = 0; i < ids->count; i++)
        json_write_int(w, ids->ids[i]);
    json_write_close(w, ']');
    return OK;
}

static Status answer_stream(const Tokenizer *t, const TokenIds *ids, unsigned flags, JsonWriter *w, Error *err) {
    TokenizerStream *stream;
    Text chunk = {0};
    TRY(tokenizer_stream_open(t, flags, &stream, err));
    json_write_key(w, "chunks");
    json_write_open(w, '[');
    Status status = OK;
    for (size_t i = 0; i <= ids->count && status == OK; i++) {
        text_clear(&chunk);
        status = i < ids->count ? tokenizer_stream_push(stream, ids->ids[i], &chunk, err)
                                : tokenizer_stream_flush(stream, &chunk, err);
        json_write_bytes(w, chunk.bytes != NULL ? chunk.bytes : "", chunk.count);
    }
    json_write_close(w, ']');
    text_free(&chunk);
    tokenizer_stream_close(stream);
    return status;
}

static Status answer_decode(const Tokenizer *t, const json_t *request, TokenIds *ids, JsonWriter *w, Error *err) {
    /* The reference that recorded answers come from tidies blanks; streams for people never do. */
    const bool stream = json_is_true(json_object_get(request, "stream"));
    const unsigned flags = (json_is_true(json_object_get(request, "skip_special")) ? DECODE_SKIP_SPECIAL : 0u) |
                           (stream ? 0u : DECODE_TIDY);
    TRY(ids_of(json_object_get(request, "ids"), ids, err));
    if (stream)
        return answer_stream(t, ids, flags, w, err);
    Text text = {0};
    const Status status = tokenizer_decode(t, ids->ids, ids->count, flags, &text, err);
    if (status == OK) {
        json_write_key(w, "text");
        json_write_bytes(w, text.bytes != NULL ? text.bytes : "", text.count);
    }
    text_free(&text);
    return status;
}

static Status answer_request(const Tokenizer *t, const json_t *request, JsonWriter *w, Error *err) {
    TokenIds ids = {0};
    Status status;
    if (json_is_string(json_object_get(request, "text")))
        status = answer_encode(t, request, &ids, w, err);
    else if (json_is_array(json_object_get(request, "ids")))
        status = answer_decode(t, request, &ids, w, err);
    else
        status = error_set(err, ERR_ARGUMENT, "a request needs \"text\" or \"ids\"");
    token_ids_free(&ids);
    return status;
}

/* Writes one line, the answer or {"error": ...}. Fails only when the line cannot be written. */
static Status answer_line(const Tokenizer *t, const char *line, size_t bytes, Error *err) {
    Text answer = {0};
    JsonWriter w = {.out = &answer};
    Error why = {0};
    json_t *request = NULL;
    Status status = json_parse(line, bytes, "request", false, &request, &why);
    json_write_open(&w, '{');
    if (status == OK)
        status = answer_request(t, request, &w, &why);
    if (status != OK) {
        text_clear(&answer);
        w = (JsonWriter){.out = &answer};
        json_write_open(&w, '{');
        json_write_key(&w, "error");
        json_write_string(&w, why.text);
    }
    json_write_close(&w, '}');
    json_decref(request);
    text_append_char(&answer, '\n');
    status = text_check(&answer, err);
    if (status == OK && fwrite(answer.bytes, 1, answer.count, stdout) != answer.count)
        status = error_set(err, ERR_IO, "standard output could not be written");
    text_free(&answer);
    return status;
}

static Status run_batch(const Tokenizer *t, Error *err) {
    Text line = {0};
    Status status = OK;
    for (int c = 0; c != EOF && status == OK;) {
        text_clear(&line);
        while ((c = getc(stdin)) != EOF && c != '\n' && line.count < INPUT_LIMIT)
            text_append_char(&line, (char)c);
        status = text_check(&line, err);
        if (status == OK && line.count > 0)
            status = answer_line(t, line.bytes, line.count, err);
        if (status == OK && c == '\n' && fflush(stdout) != 0) /* whoever asks line by line waits for it */
            status = error_set(err, ERR_IO, "standard output could not be written");
    }
    text_free(&line);
    return status;
}

/* ---- for people ------------------------------------------------------------------------------------------------- */

static Status print_ids(const Tokenizer *t, const TokenIds *ids, Error *err) {
    Text out = {0};
    for (size_t i = 0; i < ids->count; i++) {
        if (!want.verbose) {
            text_append_format(&out, i == 0 ? "%" PRId32 : " %" PRId32, ids->ids[i]);
            continue;
        }
        const char *piece = "";
        size_t count = 0;
        tokenizer_piece(t, ids->ids[i], &piece, &count);
        text_append_format(&out, "%8" PRId32 "  ", ids->ids[i]);
        JsonWriter w = {.out = &out};
        json_write_bytes(&w, piece, count);
        text_append_char(&out, '\n');
    }
    if (!want.verbose)
        text_append_char(&out, '\n');
    return cli_print_text(&out, err);
}

static Status encode_and_print(const Tokenizer *t, const char *given, Error *err) {
    Text text = {0};
    TokenIds ids = {0};
    Status status = OK;
    if (given == NULL || strcmp(given, "-") == 0)
        status = read_input(&text, err);
    else if (!text_append_str(&text, given))
        status = text_check(&text, err);
    const unsigned flags =
        (want.no_special ? 0u : ENCODE_ADD_SPECIAL) | (want.special_as_text ? 0u : ENCODE_PARSE_SPECIAL);
    if (status == OK)
        status = tokenizer_encode(t, text.bytes != NULL ? text.bytes : "", text.count, flags, &ids, err);
    if (status == OK)
        status = print_ids(t, &ids, err);
    token_ids_free(&ids);
    text_free(&text);
    return status;
}

static int run_tokenize(int n_argument, char **arguments, Error *err) {
    Tokenizer *t;
    if (tokenizer_open(arguments[0], &t, err) != OK)
        return 1;
    if (want.verbose && want.batch)
        fprintf(stderr, "%s\n", tokenizer_summary(t));
    const Status status =
        want.batch ? run_batch(t, err) : encode_and_print(t, n_argument > 1 ? arguments[1] : NULL, err);
    tokenizer_close(t);
    return status == OK ? 0 : 1;
}

/* Ids separated by blanks, commas or line ends; brackets around them do not matter. */
static Status read_ids(const Tokenizer *t, const char *text, TokenIds *ids, Error *err) {
    for (const char *at = text; *at != '\0';) {
        const size_t skip = strspn(at, " \t\r\n,[]");
        at += skip;
        const size_t count = strcspn(at, " \t\r\n,[]");
        char word[24];
        int64_t id = -1;
        if (count == 0)
            break;
        snprintf(word, sizeof word, "%.*s", (int)MIN(count, 22), at);
        FAIL_IF(!parse_int64(word, &id) || tokenizer_flags(t, (int32_t)MIN(id, INT32_MAX)) == 0 || id < 0, ERR_ARGUMENT,
                "%s is no id of this vocabulary (0 to %" PRId32 ")", word, tokenizer_count(t) - 1);
        FAIL_IF(!token_ids_append(ids, (int32_t)id), ERR_MEMORY, "no memory for the ids");
        at += count;
    }
    return OK;
}

static Status decode_and_print(const Tokenizer *t, int n_argument, char **arguments, Error *err) {
    TokenIds ids = {0};
    Text text = {0};
    Status status = OK;
    if (n_argument == 0 || strcmp(arguments[0], "-") == 0) {
        status = read_input(&text, err);
        if (status == OK && text.bytes != NULL)
            status = read_ids(t, text.bytes, &ids, err);
    }
    for (int i = 0; i < n_argument && status == OK && text.bytes == NULL && strcmp(arguments[i], "-") != 0; i++)
        status = read_ids(t, arguments[i], &ids, err);
    text_clear(&text);
    if (status == OK)
        status = tokenizer_decode(t, ids.ids, ids.count, want.skip_special ? DECODE_SKIP_SPECIAL : 0, &text, err);
    if (status == OK && text.count > 0)
        fwrite(text.bytes, 1, text.count, stdout);
    if (status == OK)
        putchar('\n');
    token_ids_free(&ids);
    text_free(&text);
    return status;
}

static int run_detokenize(int n_argument, char **arguments, Error *err) {
    Tokenizer *t;
    if (tokenizer_open(arguments[0], &t, err) != OK)
        return 1;
    const Status status = want.batch ? run_batch(t, err) : decode_and_print(t, n_argument - 1, arguments + 1, err);
    tokenizer_close(t);
    return status == OK ? 0 : 1;
}

static const char batch_help[] = "answer requests in JSON, one on each line of standard input, one by one";

static const Option tokenize_options[] = {
    {"no-special", OPT_FLAG, &want.no_special, NULL, "add no BOS, EOS or the like", NULL},
    {"special-as-text", OPT_FLAG, &want.special_as_text, NULL, "take special tokens in the text as plain text", NULL},
    {"v", OPT_FLAG, &want.verbose, NULL, "one line for each token, with its piece", NULL},
    {"batch", OPT_FLAG, &want.batch, NULL, batch_help, NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL, NULL},
};

const Command command_tokenize = {
    .name = "tokenize",
    .arguments = "MODEL [TEXT]",
    .summary = "turn text into token ids",
    .text = "MODEL is a GGUF, a folder with a tokenizer, or a tokenizer's own file (tokenizer.json, tokenizer.model,\n"
            "tiktoken.model, tekken.json, vocab.json). Without TEXT, or for \"-\", standard input is taken.\n\n"
            "With --batch, each line is one of\n"
            "  {\"text\": ..., \"add_special\": bool, \"parse_special\": bool}   answered by {\"ids\": [...]}\n"
            "  {\"ids\": [...], \"skip_special\": bool}                        answered by {\"text\": ...}\n"
            "  {\"ids\": [...], \"stream\": true}                              answered by {\"chunks\": [...]}: what "
            "each id\n"
            "                                                              adds, then what the end adds\n"
            "or by {\"error\": ...}.",
    .example = "houle tokenize models/small \"Hello world\" -v\n"
               "houle tokenize model.gguf - --no-special < text.txt | wc -w",
    .options = tokenize_options,
    .min_arguments = 1,
    .max_arguments = 2,
    .run = run_tokenize,
};

static const Option detokenize_options[] = {
    {"skip-special", OPT_FLAG, &want.skip_special, NULL, "leave special tokens out", NULL},
    {"batch", OPT_FLAG, &want.batch, NULL, batch_help, NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL, NULL},
};

const Command command_detokenize = {
    .name = "detokenize",
    .arguments = "MODEL [ID...]",
    .summary = "turn token ids into text",
    .text = "Ids are separated by blanks or commas; without any, or for \"-\", they are read from standard input.\n"
            "Bytes that are no UTF-8 are shown as U+FFFD.",
    .example = "houle detokenize models/small 9707 1879",
    .options = detokenize_options,
    .min_arguments = 1,
    .max_arguments = -1,
    .run = run_detokenize,
};
