/* infill.c - POST /infill, as editors ask for it: what stands before and behind the cursor, and pieces of other files.
 *
 * Editors want the few lines that belong there, soon: the answer may be bounded in time, and by the indentation of its
 * lines. */
#include "serve/api.h"

#include "base/clock.h"
#include "text/fill_in.h"

#include <string.h>

enum { FILES_MOST = 256 };

typedef struct Infill {
    Answering a;
    bool stream;
    Text text; /* all of it so far */
    size_t sent;
    int indent;        /* lines with less end it; 0 = none do */
    size_t looked;     /* up to there lines were looked at for that */
    uint64_t limit_us; /* of generating; it ends at the next line. 0 = none */
    const char *stop;  /* why: "eos", "limit", "word" */
    bool ended;        /* by one of the two bounds */
    json_t *fields;    /* of the answer that are wanted; NULL = all */
} Infill;

static void close_infill(void *user) {
    Infill *f = user;
    text_free(&f->text);
    json_decref(f->fields);
    answering_close(&f->a);
}

/* ---- filling in, for all APIs ------------------------------------------------------------------------------------ */

Status ask_fill(Ask *ask, const char *param, const FillFile *files, size_t n_file, FillText before, FillText behind,
                FillText middle, Error *err) {
    const FillMarks *marks = fill_marks(ask->tokenizer);
    const char *ends[FILL_ENDS];
    if (marks == NULL) {
        ask->call->code = "no_fill_in_tokens";
        return field_wrong(ask->call, param, err,
                           "this model was not trained to fill text in: it has no tokens for it");
    }
    const int n = fill_ends(marks, ends);
    for (int i = 0; i < n && ask->spec.n_stop < ASK_STOPS; i++)
        ask->stops[ask->spec.n_stop++] = ends[i];
    ask->spec.stops = ask->stops;
    ask->spec.keep_special = true; /* so that these ends are seen */
    return fill_prompt(ask->tokenizer, marks, files, n_file, before, behind, middle, &ask->prompt, err);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

/* The order of samplers is fixed here; the cache and its places are the server's own business. */
static const char *const no_matter[] = {"samplers", "cache_prompt", "id_slot", "t_max_prompt_ms", NULL};

typedef struct Wishes {
    const char *before, *behind, *middle;
    const json_t *extra, *fields;
    bool stream;
    int64_t indent, limit_ms;
} Wishes;

static Status read_fields(Ask *ask, Wishes *w, Error *err) {
    Fields f;
    int64_t most = -1;
    TRY(ask_fields(ask, ask->call->body, &f, err));
    TRY(ask_sampling(ask, &f, err));
    TRY(ask_constraints(ask, &f, err));
    TRY(field_string(&f, "input_prefix", &w->before, err));
    TRY(field_string(&f, "input_suffix", &w->behind, err));
    TRY(field_string(&f, "prompt", &w->middle, err));
    TRY(field_array(&f, "input_extra", &w->extra, err));
    TRY(field_array(&f, "response_fields", &w->fields, err));
    TRY(field_bool(&f, "stream", &w->stream, err));
    TRY(field_int(&f, "n_predict", -1, 1 << 30, &most, err));
    TRY(field_int(&f, "n_indent", 0, 1000, &w->indent, err));
    TRY(field_int(&f, "t_max_predict_ms", 0, 1 << 30, &w->limit_ms, err));
    if (most >= 0)
        ask->spec.max_tokens = (int)most;
    (void)field(&f, "model");
    fields_ignore(&f, no_matter);
    return fields_end(&f, err);
}

static FillText text_of(const json_t *value) {
    const char *bytes = json_string_value(value);
    return (FillText){bytes != NULL ? bytes : "", bytes != NULL ? json_string_length(value) : 0};
}

static FillText fill_text(const char *string) {
    return (FillText){string != NULL ? string : "", string != NULL ? strlen(string) : 0};
}

static Status make_prompt(Ask *ask, const Wishes *w, Error *err) {
    const size_t n = json_array_size(w->extra);
    if (w->before == NULL && w->behind == NULL)
        return field_wrong(ask->call, "input_prefix", err, "\"input_prefix\" or \"input_suffix\" is needed");
    if (n > FILES_MOST)
        return field_wrong(ask->call, "input_extra", err, "at most %d are possible", FILES_MOST);
    FillFile *files = mem_array(n + 1, sizeof *files, MEM_NETWORK);
    FAIL_IF(files == NULL, ERR_MEMORY, "no memory for the prompt");
    Status status = OK;
    for (size_t i = 0; i < n && status == OK; i++) {
        const json_t *one = json_array_get(w->extra, i);
        files[i] = (FillFile){text_of(json_object_get(one, "filename")), text_of(json_object_get(one, "text"))};
        if (!json_is_string(json_object_get(one, "text")) ||
            memchr(files[i].name.bytes, '\n', files[i].name.count) != NULL)
            status = field_wrong(ask->call, "input_extra", err, "input_extra[%zu] needs \"filename\" and \"text\"", i);
    }
    if (status == OK)
        status = ask_fill(ask, "input_suffix", files, n, fill_text(w->before), fill_text(w->behind),
                          fill_text(w->middle), err);
    mem_free(files);
    return status;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

/* Passes the blanks that a line begins with, and tells how wide they are. */
static int indentation(const char **at, const char *end) {
    int n = 0;
    for (; *at < end && (**at == ' ' || **at == '\t'); ++*at)
        n += **at == '\t' ? 4 : 1;
    return n;
}

/* Cuts the text in front of the first line, behind its beginning, that is indented less. Empty lines are not. */
static bool cut_at_indent(Infill *f) {
    const char *text = f->text.bytes, *end = text + f->text.count;
    const char *newline = text + f->looked;
    while ((newline = memchr(newline, '\n', (size_t)(end - newline))) != NULL) {
        const char *at = newline + 1;
        const int n = indentation(&at, end);
        f->looked = (size_t)(newline - text);
        if (at == end) /* a line that has only begun: once more with the next piece */
            return false;
        if (*at != '\n' && n < f->indent) {
            f->text.count = f->looked;
            f->text.bytes[f->text.count] = '\0';
            return true;
        }
        newline = at;
    }
    f->looked = f->text.count;
    return false;
}

static void take_piece(Infill *f, const Piece *p) {
    if (p->kind != PIECE_TEXT || f->ended)
        return;
    const size_t before = f->text.count;
    text_append(&f->text, p->text, p->bytes);
    if (f->text.count == 0)
        return;
    const bool late = f->limit_us > 0 && clock_us() - generation_began_us(f->a.generation) > f->limit_us &&
                      memchr(f->text.bytes + before, '\n', f->text.count - before) != NULL;
    f->ended = (f->indent > 0 && cut_at_indent(f)) || late;
    if (f->ended) {
        f->stop = "limit";
        generation_cancel(f->a.generation);
    }
}

static json_t *pick_fields(const Infill *f, json_t *value) {
    size_t i;
    json_t *name;
    if (f->fields == NULL)
        return value;
    json_t *picked = json_object();
    json_array_foreach(f->fields, i, name) {
        json_t *one = json_is_string(name) ? json_object_get(value, json_string_value(name)) : NULL;
        if (one != NULL)
            json_object_set(picked, json_string_value(name), one);
    }
    json_decref(value);
    return picked;
}

static json_t *last_value(Infill *f, const char *text, size_t bytes) {
    const Ending e = generation_ending(f->a.generation, 0);
    const Usage u = generation_usage(f->a.generation);
    const char *why = f->ended ? f->stop : e.end == REQUEST_LENGTH ? "limit" : e.stop != NULL ? "word" : "eos";
    return pick_fields(f, json_pack("{s:s%, s:b, s:s, s:s, s:i, s:i, s:i, s:b, s:s, s:o}", "content", text, bytes,
                                    "stop", 1, "model", f->a.call->model, "stop_type", why, "tokens_predicted",
                                    u.generated, "tokens_evaluated", u.prompt, "tokens_cached", u.cached, "truncated",
                                    0, "stopping_word", e.stop != NULL ? e.stop : "", "timings",
                                    timings_value(f->a.generation)));
}

/* Whole characters only have been appended; the text may have been cut behind what was sent. */
static bool unsent(Infill *f, const char **text, size_t *bytes) {
    *text = f->text.bytes != NULL ? f->text.bytes + MIN(f->sent, f->text.count) : "";
    *bytes = f->text.count > f->sent ? f->text.count - f->sent : 0;
    f->sent = f->text.count;
    return *bytes > 0;
}

static Status ending(const Infill *f, Error *err) {
    const Ending e = generation_ending(f->a.generation, 0);
    return f->ended ? OK : ending_status(&e, err);
}

static bool next(void *user, Text *out) {
    Infill *f = user;
    const char *text;
    size_t bytes;
    while (out->count == 0) {
        Piece piece;
        Error err = {0};
        const GenerationNews news = api_next(f->a.call, f->a.generation, api_ping_ms(f->a.call), &piece);
        if (news == NEWS_GONE)
            return false;
        if (news == NEWS_QUIET)
            text_append_str(out, ": still at work\n\n");
        else if (news == NEWS_PIECE) {
            take_piece(f, &piece);
            if (unsent(f, &text, &bytes))
                sse_append(out, NULL, json_pack("{s:s%, s:b}", "content", text, bytes, "stop", 0));
        } else {
            f->a.over = true;
            const Status status = ending(f, &err);
            (void)unsent(f, &text, &bytes);
            sse_append(out, NULL, status == OK ? last_value(f, text, bytes) : api_error_value(f->a.call, status, &err));
            return false;
        }
    }
    return true;
}

static Status reply_whole(Infill *f, Error *err) {
    Piece piece;
    GenerationNews news;
    while ((news = api_next(f->a.call, f->a.generation, INT32_MAX / 2, &piece)) != NEWS_DONE) {
        FAIL_IF(news == NEWS_GONE, ERR_CANCELLED, "the client has left");
        if (news == NEWS_PIECE)
            take_piece(f, &piece);
    }
    f->a.over = true;
    TRY(ending(f, err));
    TRY(text_check(&f->text, err));
    return api_reply_json(f->a.call, 200, last_value(f, f->text.bytes != NULL ? f->text.bytes : "", f->text.count),
                          err);
}

Status infill(ApiCall *call, Error *err) {
    Ask ask = {0};
    Wishes w = {0};
    Status status = ask_only_model(call, &ask, err);
    if (status == OK)
        status = read_fields(&ask, &w, err);
    if (status == OK)
        status = make_prompt(&ask, &w, err);
    Infill *f = status == OK ? answering_open(&ask, sizeof *f, &status, err) : NULL;
    if (f != NULL) {
        f->stream = w.stream;
        f->indent = (int)w.indent;
        f->limit_us = (uint64_t)w.limit_ms * 1000;
        f->fields = json_incref((json_t *)(uintptr_t)w.fields);
    }
    ask_free(&ask);
    if (f == NULL)
        return status;
    if (f->stream) {
        api_stream(call, "text/event-stream; charset=utf-8",
                   (HttpSource){.next = next, .close = close_infill, .user = f});
        return OK;
    }
    status = reply_whole(f, err);
    close_infill(f);
    return status;
}
