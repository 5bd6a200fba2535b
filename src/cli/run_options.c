/* run_options.c - see run_options.h. */
#include "cli/run_options.h"

#include "store/fit.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Status parse_ids(const char *text, int32_t **ids, int *n, Error *err) {
    size_t capacity = 0, count = 0;
    *ids = NULL;
    for (const char *at = text; *at != '\0';) {
        if (*at == ',' || *at == ' ' || *at == '\n') {
            at++;
            continue;
        }
        char *end;
        const long id = strtol(at, &end, 10);
        const bool good = end != at && (*end == '\0' || *end == ',' || *end == ' ' || *end == '\n') && id >= 0 && id < INT32_MAX;
        if (!good || !mem_grow((void **)ids, &capacity, count + 1, sizeof **ids, MEM_MISC)) {
            mem_free(*ids);
            *ids = NULL;
            return error_set(err, good ? ERR_MEMORY : ERR_ARGUMENT, good ? "no memory for the ids" : "--ids: '%.20s' is not a token id", at);
        }
        (*ids)[count++] = (int32_t)id;
        at = end;
    }
    FAIL_IF(count == 0, ERR_ARGUMENT, "--ids: at least one id is expected");
    *n = (int)count;
    return OK;
}

Status parse_precision(const char *word, Precision *precision, Error *err) {
    *precision = strcmp(word, "f32") == 0 ? PRECISION_F32 : PRECISION_FAST;
    FAIL_IF(strcmp(word, "f32") != 0 && strcmp(word, "fast") != 0, ERR_ARGUMENT, "--precision %s: f32 or fast is expected", word);
    return OK;
}

Status parse_cache_type(const char *word, CacheType *type, Error *err) {
    *type = strcmp(word, "f32") == 0 ? CACHE_F32 : strcmp(word, "q8_0") == 0 ? CACHE_Q8_0 : CACHE_F16;
    FAIL_IF(strcmp(word, "f32") != 0 && strcmp(word, "f16") != 0 && strcmp(word, "q8_0") != 0, ERR_ARGUMENT,
            "--cache-type %s: f16, q8_0 or f32 is expected", word);
    return OK;
}

static Pool *the_pool;

static void close_pool(void) {
    pool_close(the_pool);
}

Status cli_pool(int n_thread, Pool **pool, Error *err) {
    if (the_pool == NULL) {
        TRY(pool_open(n_thread, &the_pool, err));
        pool_place(the_pool);
        atexit(close_pool);
    }
    *pool = the_pool;
    return OK;
}

Status cli_open_files(const char *name, ModelFiles **files, Error *err) {
    *files = NULL;
    char *path;
    TRY(store_resolve(name, &path, err));
    const Status status = model_files_open(path, files, err);
    mem_free(path);
    return status;
}

Status cli_open_model(const char *name, Model **model, Error *err) {
    ModelFiles *files;
    TRY(cli_open_files(name, &files, err));
    TRY(model_open_files(files, model, err));
    const char *unread = model_unread_keys(*model);
    if (unread[0] != '\0') {
        Text text = {0};
        text_append_format(&text, "%s: these keys of the configuration are not known and were left out of account: %s", name, unread);
        if (!text.failed)
            cli_complain(text.bytes);
        text_free(&text);
    }
    return OK;
}

Status cli_open_session(Model *model, SessionSpec spec, uint64_t memory, Session **session, Error *err) {
    *session = NULL;
    const uint64_t available = memory > 0 ? 0 : fit_machine().available_bytes / 10 * 9;
    if (memory > 0)
        TRY(session_fit(model, spec, memory, err));
    else if (weights_mapped_bytes(model_weights(model)) > available / 2) /* where it does not work out, the system pages the
                                                                          * mapped file in and out as well as it can */
        (void)session_fit(model, spec, available, NULL);
    return session_open(model, spec, session, err);
}

void cli_append_streaming(Text *text, const Model *model) {
    const Weights *weights = model_weights(model);
    if (!weights_streamed(weights))
        return;
    const CacheCounts n = weights_counts(weights);
    char resident[16], per_token[16];
    text_append_format(text, "experts: %.1f%% of %llu uses were in memory, %s read per token, %.2f s waited; the weights take %s",
                       100 * cache_hit_rate(&n), (unsigned long long)n.uses,
                       format_bytes(cache_read_per_token(&n), per_token), (double)n.wait_ns * 1e-9,
                       format_bytes(weights_resident_bytes(weights), resident));
}

static Status read_to_end(int file, const char *name, Text *text, Error *err) {
    char block[1 << 16];
    for (;;) {
        const ssize_t got = read(file, block, sizeof block);
        if (got < 0 && errno == EINTR && !cli_interrupted())
            continue;
        FAIL_IF(got < 0, ERR_IO, "%s: %s", name, strerror(errno));
        if (got == 0)
            break;
        FAIL_IF(text->count + (size_t)got > 1u << 30, ERR_LIMIT, "%s: more than 1 GiB", name);
        text_append(text, block, (size_t)got);
    }
    text_append(text, "", 0);
    return text_check(text, err);
}

/* NUL bytes would cut the text short, so they are refused like what is no UTF-8. */
static Status check_bytes(const Text *text, const char *name, Error *err) {
    size_t at = 0;
    int bytes;
    for (uint32_t code; at < text->count; at += (size_t)bytes) {
        bytes = utf8_decode(text->bytes + at, text->count - at, &code, &(int){0});
        FAIL_IF(bytes == 0 || text->bytes[at] == '\0', ERR_ARGUMENT, "%s: byte %zu is %s; UTF-8 text is expected", name, at,
                bytes == 0 ? "not valid UTF-8" : "NUL");
    }
    return OK;
}

Status cli_read_all(const char *path, Text *text, Error *err) {
    const bool input = strcmp(path, "-") == 0;
    const char *name = input ? "standard input" : path;
    const int file = input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    FAIL_IF(file < 0, ERR_IO, "%s: %s", name, strerror(errno));
    Status status = read_to_end(file, name, text, err);
    if (!input)
        close(file);
    if (status == OK)
        status = check_bytes(text, name, err);
    while (status == OK && text->count > 0 && text->bytes[text->count - 1] == '\n')
        text->bytes[--text->count] = '\0';
    return status;
}
