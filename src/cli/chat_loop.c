/* chat_loop.c - the chat on a terminal: lines with history, commands that begin with a slash. */
#include "cli/chat_loop.h"

#include "base/text.h"
#include "cli/line_editor.h"

#include <stdio.h>
#include <string.h>

typedef struct Loop {
    Chat *chat;
    bool leave;
} Loop;

/* ---- commands -------------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; size_t at; double low, high; } settable[] = {
    {"temp", offsetof(SampleSpec, temperature), 0, 100},
    {"top-p", offsetof(SampleSpec, top_p), 0, 1},
    {"min-p", offsetof(SampleSpec, min_p), 0, 1},
    {"typical-p", offsetof(SampleSpec, typical_p), 0, 1},
    {"repeat-penalty", offsetof(SampleSpec, repeat_penalty), 0.01, 100},
    {"presence-penalty", offsetof(SampleSpec, presence_penalty), -100, 100},
    {"frequency-penalty", offsetof(SampleSpec, frequency_penalty), -100, 100},
};

static void print_settings(ChatSettings *s) {
    for (size_t i = 0; i < COUNT(settable); i++)
        fprintf(stderr, "  %-18s %g\n", settable[i].name, (double)*(float *)(void *)((char *)&s->sample + settable[i].at));
    fprintf(stderr, "  %-18s %d\n  %-18s %llu\n  %-18s %lld\n  %-18s %s\n  %-18s %s\n", "top-k", s->sample.top_k, "seed",
            (unsigned long long)s->sample.seed, "n", (long long)s->most_tokens, "think",
            !s->thinking_given ? "as the model likes" : s->thinking ? "on" : "off", "verbose", s->verbose ? "on" : "off");
}

static Status set_number(ChatSettings *s, const char *name, double number, Error *err) {
    for (size_t i = 0; i < COUNT(settable); i++)
        if (strcmp(name, settable[i].name) == 0) {
            FAIL_IF(!(number >= settable[i].low && number <= settable[i].high), ERR_ARGUMENT, "/set %s: %g to %g is possible", name,
                    settable[i].low, settable[i].high);
            *(float *)(void *)((char *)&s->sample + settable[i].at) = (float)number;
            return OK;
        }
    const bool whole = number >= -1 && number <= 1e9;
    if (strcmp(name, "top-k") == 0 && whole && number >= 0)
        s->sample.top_k = (int)number;
    else if (strcmp(name, "seed") == 0 && number >= 0 && number < 1e18)
        s->sample.seed = (uint64_t)number;
    else if (strcmp(name, "n") == 0 && whole)
        s->most_tokens = (int64_t)number;
    else
        return error_set(err, ERR_ARGUMENT, "/set %s: there is no such setting, or it cannot be %g; /set lists them", name, number);
    return OK;
}

static Status set_value(ChatSettings *s, char *words, Error *err) {
    char *value = strchr(words, ' ');
    if (words[0] == '\0' || value == NULL) {
        print_settings(s);
        return OK;
    }
    *value++ = '\0';
    const bool on = strcmp(value, "on") == 0, off = strcmp(value, "off") == 0;
    if (strcmp(words, "think") == 0 && (on || off)) {
        s->thinking_given = true;
        s->thinking = on;
        return OK;
    }
    if (strcmp(words, "verbose") == 0 && (on || off)) {
        s->verbose = on;
        return OK;
    }
    double number;
    FAIL_IF(!parse_double(value, &number), ERR_ARGUMENT, "/set %s %s: a number is expected", words, value);
    return set_number(s, words, number, err);
}

static const char help[] =
    "  /system TEXT   what the model is told before everything (empty: nothing)\n"
    "  /clear         forget the conversation\n"
    "  /regenerate    answer the last question once more\n"
    "  /save FILE     write the conversation\n"
    "  /load FILE     go on with a saved one\n"
    "  /set           show the settings; /set temp 0.7 changes one; /set think on|off\n"
    "  /quit          leave (also Ctrl-D)\n"
    "A line that ends with \\ goes on in the next one; \"\"\" begins and ends several lines. Ctrl-C stops an answer.\n";

static Status obey(Loop *l, char *line, Error *err) {
    char *rest = strchr(line, ' ');
    if (rest != NULL)
        while (*rest == ' ')
            *rest++ = '\0';
    char nothing[1] = "";
    rest = rest != NULL ? rest : nothing;
    const bool takes_file = strcmp(line, "/save") == 0 || strcmp(line, "/load") == 0;
    FAIL_IF(takes_file && *rest == '\0', ERR_ARGUMENT, "%s: the name of a file is expected", line);
    if (strcmp(line, "/help") == 0 || strcmp(line, "/?") == 0)
        fputs(help, stderr);
    else if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0 || strcmp(line, "/bye") == 0)
        l->leave = true;
    else if (strcmp(line, "/system") == 0)
        return chat_set_system(l->chat, rest, err);
    else if (strcmp(line, "/clear") == 0)
        chat_clear(l->chat);
    else if (strcmp(line, "/regenerate") == 0)
        return chat_again(l->chat, err);
    else if (strcmp(line, "/save") == 0)
        return chat_save(l->chat, rest, err);
    else if (strcmp(line, "/load") == 0)
        return chat_load(l->chat, rest, err);
    else if (strcmp(line, "/set") == 0)
        return set_value(chat_settings(l->chat), rest, err);
    else
        return error_set(err, ERR_ARGUMENT, "%s: no such command; /help lists them", line);
    return OK;
}

static void complain_and_go_on(Error *err) {
    if (err->status != OK && err->status != ERR_CANCELLED)
        cli_complain(err->text);
    error_clear(err);
    cli_clear_interrupt();
}

Status chat_loop(Chat *chat, const char *first, Error *err) {
    Loop loop = {.chat = chat};
    Text entry = {0};
    LineEditor *editor = line_editor_open();
    FAIL_IF(editor == NULL, ERR_IO, "the terminal cannot be used for a chat; give the prompt as an argument");
    if (first != NULL) {
        fprintf(stderr, ">>> %s\n", first);
        chat_say(chat, first, err);
        complain_and_go_on(err);
    }
    fprintf(stderr, "/help lists commands, Ctrl-D leaves.\n");
    while (!loop.leave && line_editor_read(editor, &entry)) {
        if (entry.count == 0)
            continue;
        cli_clear_interrupt();
        if (entry.bytes[0] == '/')
            obey(&loop, entry.bytes, err);
        else
            chat_say(chat, entry.bytes, err);
        complain_and_go_on(err);
    }
    text_free(&entry);
    line_editor_close(editor);
    return OK;
}
