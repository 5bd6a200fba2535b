/* answer.c - see answer.h. Three stages, each holding back only what may still change: the tokenizer's stream whole
 * characters, the search for stop strings a suffix that may begin one, the reply parser what may begin a mark. */
#include "engine/answer.h"

#include <string.h>

struct Answer {
    TokenizerStream *stream;
    Reply *reply;
    char *stops[ANSWER_STOPS];
    size_t stop_bytes[ANSWER_STOPS];
    int n_stop;
    const char *stop; /* the one that was met */
    Text text;        /* all that was decoded, up to the stop string */
    size_t given;     /* bytes of it that the reply parser has */
    void (*on_delta)(void *user, const ReplyDelta *delta);
    void *user;
};

Status answer_open(const AnswerSpec *spec, Answer **out, Error *err) {
    *out = NULL;
    FAIL_IF(spec->n_stop > ANSWER_STOPS, ERR_LIMIT, "%d stop strings; at most %d are possible", spec->n_stop, ANSWER_STOPS);
    Answer *a = mem_zalloc(sizeof *a, MEM_TEXT);
    FAIL_IF(a == NULL, ERR_MEMORY, "no memory for an answer");
    a->on_delta = spec->on_delta;
    a->user = spec->user;
    const bool plain = spec->reply_format == NULL;
    const unsigned flags = plain && !spec->keep_special ? DECODE_SKIP_SPECIAL : 0;
    Status status = tokenizer_stream_open(spec->tokenizer, flags, &a->stream, err);
    if (status == OK)
        status = reply_open(plain ? "plain" : spec->reply_format, spec->tools, !plain && spec->inside_reasoning, &a->reply, err);
    for (int i = 0; status == OK && i < spec->n_stop; i++) {
        const size_t bytes = strlen(spec->stops[i]);
        if (bytes == 0)
            continue;
        if (bytes > ANSWER_STOP_BYTES)
            status = error_set(err, ERR_LIMIT, "a stop string of %zu bytes; at most %d are possible", bytes, ANSWER_STOP_BYTES);
        else if ((a->stops[a->n_stop] = mem_strndup(spec->stops[i], bytes, MEM_TEXT)) == NULL)
            status = error_set(err, ERR_MEMORY, "no memory for stop strings");
        else
            a->stop_bytes[a->n_stop++] = bytes;
    }
    if (status != OK) {
        answer_close(a);
        return status;
    }
    *out = a;
    return OK;
}

void answer_close(Answer *a) {
    if (a == NULL)
        return;
    tokenizer_stream_close(a->stream);
    reply_close(a->reply);
    for (int i = 0; i < a->n_stop; i++)
        mem_free(a->stops[i]);
    text_free(&a->text);
    mem_free(a);
}

/* The first stop string in what is new; the longest of those that begin at the same place. */
static bool find_stop(Answer *a) {
    const char *text = a->text.bytes;
    for (size_t at = a->given; at < a->text.count; at++) {
        int found = -1;
        for (int i = 0; i < a->n_stop; i++)
            if (a->stop_bytes[i] <= a->text.count - at && memcmp(text + at, a->stops[i], a->stop_bytes[i]) == 0 &&
                (found < 0 || a->stop_bytes[i] > a->stop_bytes[found]))
                found = i;
        if (found >= 0) {
            a->stop = a->stops[found];
            a->text.count = at;
            a->text.bytes[at] = '\0';
            return true;
        }
    }
    return false;
}

/* How many bytes at the end may be the beginning of a stop string. */
static size_t held_back(const Answer *a) {
    const size_t fresh = a->text.count - a->given;
    size_t most = 0;
    for (int i = 0; i < a->n_stop; i++)
        for (size_t n = MIN(fresh, a->stop_bytes[i] - 1); n > most; n--)
            if (memcmp(a->text.bytes + a->text.count - n, a->stops[i], n) == 0)
                most = n;
    return most;
}

static void give(const Answer *a) {
    for (size_t i = 0; a->on_delta != NULL && i < reply_delta_count(a->reply); i++)
        a->on_delta(a->user, reply_delta(a->reply, i));
}

static Status pass_on(Answer *a, bool last, Error *err) {
    TRY(text_check(&a->text, err));
    const bool stopped = a->stop == NULL && find_stop(a);
    const size_t keep = last || stopped ? 0 : held_back(a);
    const size_t bytes = a->text.count - a->given - keep;
    const char *from = a->text.bytes != NULL ? a->text.bytes + a->given : "";
    a->given += bytes;
    TRY(reply_feed(a->reply, from, bytes, err));
    give(a);
    return OK;
}

Status answer_push(Answer *a, int32_t token, Error *err) {
    FAIL_IF(a->stop != NULL, ERR_ARGUMENT, "the answer has ended at a stop string");
    TRY(tokenizer_stream_push(a->stream, token, &a->text, err));
    return pass_on(a, false, err);
}

Status answer_finish(Answer *a, Error *err) {
    if (a->stop == NULL)
        TRY(tokenizer_stream_flush(a->stream, &a->text, err));
    TRY(pass_on(a, true, err));
    TRY(reply_finish(a->reply, err));
    give(a);
    return OK;
}

const char *answer_stop(const Answer *a) {
    return a->stop;
}

const Text *answer_text(const Answer *a) {
    return &a->text;
}

const Reply *answer_reply(const Answer *a) {
    return a->reply;
}
