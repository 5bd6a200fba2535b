/* reply_command.c - houle reply: a model's output taken apart into reasoning, content and tool calls. */
#include "cli/command.h"
#include "format/json.h"
#include "format/json_write.h"
#include "text/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bool batch, inside_reasoning;
    const char *tools;
} want;

enum { MAX_TOOLS_BYTES = 64 << 20 };

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void write_text(JsonWriter *w, const char *key, const Text *text) {
    json_write_key(w, key);
    if (text->count > 0)
        json_write_bytes(w, text->bytes, text->count);
    else
        json_write_string(w, NULL);
}

static void write_message(JsonWriter *w, const Reply *reply) {
    json_write_open(w, '{');
    write_text(w, "content", reply_content(reply));
    write_text(w, "reasoning_content", reply_reasoning(reply));
    json_write_key(w, "tool_calls");
    json_write_open(w, '[');
    for (size_t i = 0; i < reply_call_count(reply); i++) {
        const ReplyCall *call = reply_call(reply, i);
        json_write_open(w, '{');
        json_write_key(w, "id");
        json_write_string(w, call->id);
        json_write_key(w, "name");
        json_write_string(w, call->name);
        json_write_key(w, "arguments");
        json_write_bytes(w, call->arguments.bytes != NULL ? call->arguments.bytes : "", call->arguments.count);
        json_write_close(w, '}');
    }
    json_write_close(w, ']');
    json_write_close(w, '}');
}

static void write_delta(JsonWriter *w, const ReplyDelta *delta) {
    json_write_open(w, '{');
    if (delta->kind == REPLY_CONTENT || delta->kind == REPLY_REASONING) {
        json_write_key(w, delta->kind == REPLY_CONTENT ? "content" : "reasoning_content");
        json_write_bytes(w, delta->text, delta->bytes);
    } else {
        json_write_key(w, "tool_calls");
        json_write_open(w, '[');
        json_write_open(w, '{');
        json_write_key(w, "index");
        json_write_natural(w, delta->index);
        if (delta->kind == REPLY_CALL) {
            json_write_key(w, "id");
            json_write_string(w, delta->id);
            json_write_key(w, "name");
            json_write_string(w, delta->name);
        } else {
            json_write_key(w, "arguments");
            json_write_bytes(w, delta->text, delta->bytes);
        }
        json_write_close(w, '}');
        json_write_close(w, ']');
    }
    json_write_close(w, '}');
}

static void write_deltas(JsonWriter *w, const Reply *reply) {
    json_write_open(w, '[');
    for (size_t i = 0; i < reply_delta_count(reply); i++)
        if (reply_delta(reply, i)->kind != REPLY_CALL_END) /* of which clients hear by what follows */
            write_delta(w, reply_delta(reply, i));
    json_write_close(w, ']');
}

/* ---- batch ------------------------------------------------------------------------------------------------------- */

static Status feed_chunks(Reply *reply, const json_t *chunks, JsonWriter *w, Error *err) {
    json_write_key(w, "deltas");
    json_write_open(w, '[');
    for (size_t i = 0; i < json_array_size(chunks); i++) {
        const json_t *chunk = json_array_get(chunks, i);
        FAIL_IF(!json_is_string(chunk), ERR_ARGUMENT, "chunks[%zu]: a string is expected", i);
        TRY(reply_feed(reply, json_string_value(chunk), json_string_length(chunk), err));
        write_deltas(w, reply);
    }
    TRY(reply_finish(reply, err));
    write_deltas(w, reply);
    json_write_close(w, ']');
    return OK;
}

static Status answer_request(const char *format, const json_t *request, JsonWriter *w, Error *err) {
    const json_t *text = json_object_get(request, "text"), *chunks = json_object_get(request, "chunks");
    FAIL_IF(!json_is_string(text) && !json_is_array(chunks), ERR_ARGUMENT, "a request has \"text\" or \"chunks\"");
    Reply *reply;
    TRY(reply_open(format, json_object_get(request, "tools"),
                   json_is_true(json_object_get(request, "inside_reasoning")), &reply, err));
    json_write_open(w, '{');
    Status status;
    if (chunks != NULL) {
        status = feed_chunks(reply, chunks, w, err);
    } else {
        status = reply_feed(reply, json_string_value(text), json_string_length(text), err);
        if (status == OK)
            status = reply_finish(reply, err);
    }
    json_write_key(w, "message");
    write_message(w, reply);
    json_write_close(w, '}');
    reply_close(reply);
    return status;
}

static Status answer_line(const char *format, const char *line, size_t bytes, Text *answer, Error *err) {
    json_t *request;
    TRY(json_parse(line, bytes, "request", false, &request, err));
    JsonWriter w = {.out = answer};
    Status status = answer_request(format, request, &w, err);
    json_decref(request);
    text_append_char(answer, '\n');
    if (status == OK)
        status = text_check(answer, err);
    return status;
}

static Status run_batch(const char *format, Error *err) {
    char *line = NULL;
    size_t capacity = 0;
    Text answer = {0};
    Status status = OK;
    for (ssize_t bytes; status == OK && (bytes = getline(&line, &capacity, stdin)) > 0;) {
        if (bytes == 1 && line[0] == '\n')
            continue;
        text_clear(&answer);
        status = answer_line(format, line, (size_t)bytes, &answer, err);
        if (status == OK)
            fwrite(answer.bytes, 1, answer.count, stdout);
    }
    free(line);
    text_free(&answer);
    return status;
}

/* ---- one output -------------------------------------------------------------------------------------------------- */

static Status feed_input(Reply *reply, Error *err) {
    char buffer[4096];
    for (size_t count; (count = fread(buffer, 1, sizeof buffer, stdin)) > 0;)
        TRY(reply_feed(reply, buffer, count, err));
    FAIL_IF(ferror(stdin) != 0, ERR_IO, "standard input cannot be read");
    return reply_finish(reply, err);
}

static Status print_message(const char *format, const json_t *tools, Error *err) {
    Reply *reply;
    TRY(reply_open(format, tools, want.inside_reasoning, &reply, err));
    Text answer = {0};
    JsonWriter w = {.out = &answer};
    Status status = feed_input(reply, err);
    write_message(&w, reply);
    reply_close(reply);
    if (status == OK)
        status = text_check(&answer, err);
    if (status == OK)
        printf("%s\n", answer.bytes);
    text_free(&answer);
    return status;
}

static int run(int n_argument, char **arguments, Error *err) {
    (void)n_argument;
    json_setup();
    if (!reply_format_known(arguments[0])) {
        Text names = {0};
        for (size_t i = 0; reply_format_name(i) != NULL; i++)
            text_append_format(&names, "%s%s", i > 0 ? ", " : "", reply_format_name(i));
        error_set(err, ERR_NOT_FOUND, "%s: no such format; there are %s", arguments[0],
                  names.bytes != NULL ? names.bytes : "");
        text_free(&names);
        return 2;
    }
    if (want.batch)
        return run_batch(arguments[0], err) != OK;
    json_t *tools = NULL;
    if (want.tools != NULL && json_read(want.tools, MAX_TOOLS_BYTES, &tools, err) != OK)
        return 1;
    const Status status = print_message(arguments[0], tools, err);
    json_decref(tools);
    return status != OK;
}

static const Option options[] = {
    {"tools", OPT_STRING, &want.tools, "FILE", "JSON array of the tools offered, for the types of parameters", NULL},
    {"inside-reasoning", OPT_FLAG, &want.inside_reasoning, NULL, "the prompt has opened the reasoning already", NULL},
    {"batch", OPT_FLAG, &want.batch, NULL, "take apart the requests on standard input, one JSON object for each line",
     NULL},
    {0},
};

const Command command_reply = {
    .name = "reply",
    .arguments = "FORMAT",
    .summary = "take a model's output apart: reasoning, content, tool calls",
    .text =
        "Reads a model's output on standard input and prints the message that it means as JSON. FORMAT is the way in\n"
        "which the model's family writes reasoning and calls; an unknown one lists those that are known.\n\n"
        "With --batch, each line of standard input is {\"text\": ...} or {\"chunks\": [...]}, with \"tools\" and\n"
        "\"inside_reasoning\"; each gives a line {\"message\": {...}}, and for chunks also \"deltas\": a list for "
        "each\n"
        "chunk and one for the end.",
    .example = "  houle reply plain < output.txt\n"
               "      the message of a model without reasoning and calls",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
