/* chat.c - see chat.h. An answer goes to standard output, reasoning and everything about the answer to standard error.
 * A model's text never reaches a terminal with control characters in it. */
#include "cli/chat.h"
#include "cli/cli_print.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/file_writer.h"
#include "format/json.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct Chat {
    Session *session;
    const Model *model;
    const Tokenizer *tokenizer;
    const ChatTemplate *template; /* NULL: the model has none, texts are continued */
    Generator *generator;
    ChatSettings settings;
    json_t *messages;
    uint64_t draws;     /* answers so far: each has draws of its own */
    Text text;          /* what the generator's tokens say: the last prompt and its answer */
    TokenIds ids;       /* scratch */
    /* of the answer that is being shown */
    bool in_reasoning, any_shown;
};

Status chat_open(Session *session, const ChatSettings *settings, Chat **out, Error *err) {
    *out = NULL;
    Chat *c = mem_zalloc(sizeof *c, MEM_MISC);
    FAIL_IF(c == NULL, ERR_MEMORY, "no memory for a chat");
    json_setup();
    c->session = session;
    c->model = session_model(session);
    c->settings = *settings;
    c->messages = json_array();
    Status status = c->messages == NULL ? error_set(err, ERR_MEMORY, "no memory for a chat")
                                        : model_tokenizer(c->model, &c->tokenizer, err);
    if (status == OK && !settings->raw) {
        Error none = {0};
        const Status found = model_chat(c->model, &c->template, &none);
        if (found == ERR_NOT_FOUND)
            cli_complain("this model has no chat template: the text is continued as it stands (as with --raw)");
        else if (found != OK)
            status = error_set(err, found, "%s", none.text);
    }
    if (status == OK)
        status = generator_open(session, 0, &c->generator, err);
    if (status == OK)
        generator_guess(c->generator, settings->draft);
    if (status != OK) {
        chat_close(c);
        return status;
    }
    *out = c;
    return OK;
}

void chat_close(Chat *c) {
    if (c == NULL)
        return;
    generator_close(c->generator);
    json_decref(c->messages);
    text_free(&c->text);
    token_ids_free(&c->ids);
    mem_free(c);
}

ChatSettings *chat_settings(Chat *c) {
    return &c->settings;
}

json_t *chat_messages(Chat *c) {
    return c->messages;
}

/* ---- messages ------------------------------------------------------------------------------------------------------------ */

static const char *role_of(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role != NULL ? role : "";
}

static Status add_message(Chat *c, const char *role, const char *text, size_t bytes, Error *err) {
    json_t *message = json_object();
    json_t *content = json_stringn(text, bytes);
    const bool made = json_object_set_new(message, "role", json_string(role)) == 0 &&
                      json_object_set(message, "content", content) == 0 && json_array_append(c->messages, message) == 0;
    const bool valid = content != NULL || !utf8_valid(text, bytes);
    json_decref(content);
    json_decref(message);
    FAIL_IF(!made, valid && content == NULL ? ERR_ARGUMENT : ERR_MEMORY,
            content == NULL ? "the text is not valid UTF-8" : "no memory for a message");
    return OK;
}

static bool has_system(const Chat *c) {
    return json_array_size(c->messages) > 0 && strcmp(role_of(json_array_get(c->messages, 0)), "system") == 0;
}

Status chat_set_system(Chat *c, const char *text, Error *err) {
    if (has_system(c))
        json_array_remove(c->messages, 0);
    if (text == NULL || text[0] == '\0')
        return OK;
    TRY(add_message(c, "system", text, strlen(text), err));
    const size_t last = json_array_size(c->messages) - 1;
    json_t *message = json_incref(json_array_get(c->messages, last));
    json_array_remove(c->messages, last);
    FAIL_IF(json_array_insert_new(c->messages, 0, message) != 0, ERR_MEMORY, "no memory for a message");
    return OK;
}

void chat_clear(Chat *c) {
    while (json_array_size(c->messages) > (has_system(c) ? 1u : 0u))
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
}

Status chat_save(const Chat *c, const char *path, Error *err) {
    char *text = json_dumps(c->messages, JSON_INDENT(2));
    FAIL_IF(text == NULL, ERR_MEMORY, "no memory to write the conversation");
    const Status status = file_write_atomic(path, text, strlen(text), err);
    mem_free(text);
    return status;
}

Status chat_load(Chat *c, const char *path, Error *err) {
    json_t *messages;
    TRY(json_read(path, 64u << 20, &messages, err));
    bool good = json_is_array(messages);
    for (size_t i = 0; good && i < json_array_size(messages); i++)
        good = role_of(json_array_get(messages, i))[0] != '\0';
    if (!good) {
        json_decref(messages);
        return error_set(err, ERR_FORMAT, "%s: an array of messages, each with a role, is expected (as /save writes it)", path);
    }
    json_decref(c->messages);
    c->messages = messages;
    return OK;
}

/* ---- what is shown --------------------------------------------------------------------------------------------------------- */

static void show(FILE *to, const char *text, size_t bytes) {
    Text safe = {0};
    if (text_append_printable(&safe, text, bytes) && safe.bytes != NULL)
        fwrite(safe.bytes, 1, safe.count, to);
    text_free(&safe);
    fflush(to);
}

static void leave_reasoning(Chat *c) {
    if (!c->in_reasoning)
        return;
    fputs(isatty(STDERR_FILENO) ? "\033[0m\n\n" : "\n\n", stderr);
    fflush(stderr);
    c->in_reasoning = false;
}

static void on_delta(void *user, const ReplyDelta *d) {
    Chat *c = user;
    if (c->settings.json)
        return;
    switch (d->kind) {
    case REPLY_REASONING:
        if (!c->in_reasoning && isatty(STDERR_FILENO))
            fputs("\033[2m", stderr);
        c->in_reasoning = true;
        show(stderr, d->text, d->bytes);
        break;
    case REPLY_CONTENT:
        leave_reasoning(c);
        show(stdout, d->text, d->bytes);
        c->any_shown = c->any_shown || d->bytes > 0;
        break;
    case REPLY_CALL:
        leave_reasoning(c);
        fputs(c->any_shown ? "\n[call " : "[call ", stdout);
        show(stdout, d->name, strlen(d->name));
        fputs(" ", stdout);
        c->any_shown = true;
        break;
    case REPLY_ARGUMENTS:
        show(stdout, d->text, d->bytes);
        break;
    case REPLY_CALL_END:
        fputs("]", stdout);
        break;
    }
}

typedef struct Outcome {
    const char *finish; /* "stop", "length", "interrupted" */
    int prompt_tokens, reused_tokens, new_tokens;
    DraftStats draft; /* of this answer */
    uint64_t began_us, first_us, ended_us;
} Outcome;

static double rate(int tokens, uint64_t us) {
    return us > 0 ? (double)tokens * 1e6 / (double)us : 0;
}

static void print_timing(const Outcome *o) {
    fprintf(stderr, "%d prompt tokens (%d of them known), first token after %.3f s, %.1f tokens/s; %d new tokens", o->prompt_tokens,
            o->reused_tokens, (double)(o->first_us - o->began_us) * 1e-6,
            rate(o->prompt_tokens - o->reused_tokens, o->first_us - o->began_us), o->new_tokens);
    if (o->new_tokens > 1)
        fprintf(stderr, ", %.1f tokens/s", rate(o->new_tokens - 1, o->ended_us - o->first_us));
    fprintf(stderr, " (%s)\n", o->finish);
    if (o->draft.guessed > 0)
        fprintf(stderr, "%llu tokens guessed ahead, %llu of them right\n", (unsigned long long)o->draft.guessed,
                (unsigned long long)o->draft.right);
}

static json_t *text_value(const Text *t) {
    return json_stringn(t->bytes != NULL ? t->bytes : "", t->count);
}

static json_t *calls_value(const Reply *reply) {
    json_t *calls = json_array();
    for (size_t i = 0; i < reply_call_count(reply); i++) {
        const ReplyCall *call = reply_call(reply, i);
        const char *arguments = call->arguments.bytes != NULL ? call->arguments.bytes : "{}";
        json_array_append_new(calls, json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", call->id, "type", "function", "function", "name",
                                               call->name, "arguments", arguments));
    }
    return calls;
}

static Status print_json(const Answer *answer, const Outcome *o, Error *err) {
    const Reply *reply = answer_reply(answer);
    json_t *line = json_object();
    json_object_set_new(line, "content", text_value(reply_content(reply)));
    if (reply_reasoning(reply)->count > 0)
        json_object_set_new(line, "reasoning", text_value(reply_reasoning(reply)));
    if (reply_call_count(reply) > 0)
        json_object_set_new(line, "tool_calls", calls_value(reply));
    json_object_set_new(line, "finish_reason", json_string(o->finish));
    json_object_set_new(line, "usage", json_pack("{s:i, s:i, s:i}", "prompt_tokens", o->prompt_tokens, "cached_tokens",
                                                 o->reused_tokens, "completion_tokens", o->new_tokens));
    json_object_set_new(line, "timing", json_pack("{s:f, s:f, s:f, s:I, s:I}", "first_token_seconds",
                                                  (double)(o->first_us - o->began_us) * 1e-6, "prompt_tokens_per_second",
                                                  rate(o->prompt_tokens - o->reused_tokens, o->first_us - o->began_us),
                                                  "tokens_per_second", rate(o->new_tokens - 1, o->ended_us - o->first_us),
                                                  "guessed_tokens", (json_int_t)o->draft.guessed, "accepted_tokens",
                                                  (json_int_t)o->draft.right));
    return cli_print_json(line, JSON_COMPACT, err);
}

/* ---- answering ------------------------------------------------------------------------------------------------------------- */

/* The tokens of a prompt. What continues the text of the last turn keeps that turn's tokens as they were drawn: the same
 * characters could be cut into other tokens, which would have to be computed. */
static Status tokens_of(Chat *c, const Text *prompt, unsigned flags, Error *err) {
    int n;
    const int32_t *old = generator_tokens(c->generator, &n);
    c->ids.count = 0;
    size_t known = 0;
    if (n > 0 && c->text.count > 0 && prompt->count >= c->text.count && memcmp(prompt->bytes, c->text.bytes, c->text.count) == 0) {
        known = c->text.count;
        flags &= ~(unsigned)ENCODE_ADD_SPECIAL;
        const int whole = model_ends_at(c->model, old[n - 1]) ? n - 1 : n;
        for (int i = 0; i < whole; i++)
            FAIL_IF(!token_ids_append(&c->ids, old[i]), ERR_MEMORY, "no memory for the prompt");
    }
    return tokenizer_encode(c->tokenizer, prompt->bytes + known, prompt->count - known, flags, &c->ids, err);
}

static Status draw(Chat *c, Answer *answer, Sampler *sampler, Outcome *o, Error *err) {
    o->finish = "length";
    while (c->settings.most_tokens < 0 || o->new_tokens < c->settings.most_tokens) {
        int32_t token;
        GenerateEnd end;
        TRY(generator_next(c->generator, sampler, c->settings.ignore_end, NULL, &token, &end, err));
        if (o->first_us == 0)
            o->first_us = clock_us();
        if (end != END_NONE) {
            o->finish = end == END_TOKEN ? "stop" : "length";
            return OK;
        }
        o->new_tokens++;
        TRY(answer_push(answer, token, err));
        if (answer_stop(answer) != NULL) {
            o->finish = "stop";
            return OK;
        }
        if (cli_interrupted()) {
            o->finish = "interrupted";
            return OK;
        }
    }
    return OK;
}

/* What was guessed since `before`. A guessing model that failed is told of: the answer goes on without it. */
static DraftStats guessed_since(const Draft *draft, const DraftStats *before) {
    if (draft == NULL)
        return (DraftStats){0};
    DraftStats now = draft_stats(draft);
    if (now.failure.status != OK && before->failure.status == OK) {
        error_context(&now.failure, "the answer goes on without the draft model");
        cli_complain(now.failure.text);
    }
    now.guessed -= before->guessed;
    now.right -= before->right;
    return now;
}

static Status run_prompt(Chat *c, const Text *prompt, unsigned flags, Answer *answer, Outcome *o, Error *err) {
    Sampler *sampler;
    SampleSpec sample = c->settings.sample;
    sample.seed += c->draws++;
    o->began_us = clock_us();
    TRY(tokens_of(c, prompt, flags, err));
    const int room = (int)sequence_declared(session_sequence(c->session, 0));
    FAIL_IF(c->ids.count == 0, ERR_ARGUMENT, "the prompt is empty");
    FAIL_IF(c->ids.count >= (size_t)room, ERR_LIMIT, "the prompt has %zu tokens, which leaves no room for an answer in the context of %d; "
            "--ctx makes it larger, /clear begins anew", c->ids.count, room);
    o->prompt_tokens = (int)c->ids.count;
    TRY(generator_set(c->generator, c->ids.ids, (int)c->ids.count, &o->reused_tokens, err));
    text_clear(&c->text);
    text_append(&c->text, prompt->bytes, prompt->count);
    TRY(text_check(&c->text, err));
    CliProgress bar = {0};
    const Progress progress = {.report = cli_progress, .user = &bar};
    Status status = generator_prepare(c->generator, &progress, err);
    cli_progress_end(&bar);
    if (status == OK)
        status = sampler_open(sample, model_vocab(c->model), &sampler, err);
    if (status != OK)
        return status;
    const DraftStats before = c->settings.draft != NULL ? draft_stats(c->settings.draft) : (DraftStats){0};
    status = draw(c, answer, sampler, o, err);
    sampler_close(sampler);
    o->ended_us = clock_us();
    o->draft = guessed_since(c->settings.draft, &before);
    return status == OK ? answer_finish(answer, err) : status;
}

static Status answer_prompt(Chat *c, const Text *prompt, unsigned flags, const char *format, Text *content, Error *err) {
    const bool reasoning = format != NULL && reply_inside_reasoning(format, prompt->bytes, prompt->count);
    const AnswerSpec spec = {.tokenizer = c->tokenizer, .stops = c->settings.stops, .n_stop = c->settings.n_stop,
                             .reply_format = format, .inside_reasoning = reasoning, .on_delta = on_delta, .user = c};
    Answer *answer;
    Outcome outcome = {0};
    c->in_reasoning = c->any_shown = false;
    TRY(answer_open(&spec, &answer, err));
    Status status = run_prompt(c, prompt, flags, answer, &outcome, err);
    leave_reasoning(c);
    if (status == OK && c->settings.json)
        status = print_json(answer, &outcome, err);
    else if (c->any_shown)
        printf("\n");
    fflush(stdout);
    if (status == OK && c->settings.verbose)
        print_timing(&outcome);
    if (status == OK) {
        text_append(&c->text, answer_text(answer)->bytes, answer_text(answer)->count);
        if (content != NULL)
            text_append(content, reply_content(answer_reply(answer))->bytes, reply_content(answer_reply(answer))->count);
        status = text_check(&c->text, err);
    }
    if (status != OK || answer_stop(answer) != NULL) /* the tokens say more than the text then */
        text_clear(&c->text);
    answer_close(answer);
    return status;
}

static Status answer_messages(Chat *c, Error *err) {
    json_t *variables = json_object();
    FAIL_IF(variables == NULL, ERR_MEMORY, "no memory for the template's variables");
    if (c->settings.thinking_given) { /* templates know the switch under one of two names */
        json_object_set_new(variables, "enable_thinking", json_boolean(c->settings.thinking));
        json_object_set_new(variables, "thinking", json_boolean(c->settings.thinking));
    }
    const ChatRequest request = {.messages = c->messages, .variables = variables, .add_generation_prompt = true};
    Text prompt = {0}, content = {0};
    Status status = chat_template_render(c->template, &request, &prompt, err);
    if (status == OK)
        status = answer_prompt(c, &prompt, ENCODE_PARSE_SPECIAL, model_reply_format(c->model, &request), &content, err);
    if (status == OK)
        status = add_message(c, "assistant", content.bytes != NULL ? content.bytes : "", content.count, err);
    json_decref(variables);
    text_free(&prompt);
    text_free(&content);
    return status;
}

Status chat_continue(Chat *c, const char *text, Error *err) {
    Text prompt = {0};
    text_append_str(&prompt, text);
    Status status = text_check(&prompt, err);
    if (status == OK)
        status = answer_prompt(c, &prompt, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, NULL, NULL, err);
    text_free(&prompt);
    return status;
}

Status chat_say(Chat *c, const char *text, Error *err) {
    FAIL_IF(!utf8_valid(text, strlen(text)), ERR_ARGUMENT, "the text is not valid UTF-8");
    if (c->template == NULL)
        return chat_continue(c, text, err);
    TRY(add_message(c, "user", text, strlen(text), err));
    const Status status = answer_messages(c, err);
    if (status != OK)
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    return status;
}

Status chat_again(Chat *c, Error *err) {
    size_t n = json_array_size(c->messages);
    while (n > 0 && strcmp(role_of(json_array_get(c->messages, n - 1)), "user") != 0)
        n--;
    FAIL_IF(n == 0, ERR_ARGUMENT, "nothing was asked yet");
    while (json_array_size(c->messages) > n)
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    return answer_messages(c, err);
}
