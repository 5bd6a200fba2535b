/* command.c - options, help and man page from a Command; progress and Ctrl-C for all of them. */
#include "cli/command.h"

#include "base/clock.h"
#include "base/text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void cli_complain(const char *message) {
    Text line = {0};
    text_append_str(&line, "houle: ");
    text_append_printable(&line, message, strlen(message));
    fprintf(stderr, "%s\n", line.bytes != NULL && !line.failed ? line.bytes : "houle: no memory for a message");
    text_free(&line);
}

/* ---- options ------------------------------------------------------------------------------------------------- */

static const Option *find_option(const Command *command, const char *name, size_t length, bool *negated) {
    *negated = false;
    for (int pass = 0; pass < 2; pass++) {
        for (const Option *o = command->options; o != NULL && o->name != NULL; o++)
            if (strlen(o->name) == length && memcmp(o->name, name, length) == 0 &&
                (!*negated || o->kind == OPT_FLAG))
                return o;
        if (length <= 3 || memcmp(name, "no-", 3) != 0)
            return NULL;
        name += 3;
        length -= 3;
        *negated = true;
    }
    return NULL;
}

static Status set_option(const Option *o, const char *text, bool negated, Error *err) {
    const char *dashes = o->name[1] == '\0' ? "-" : "--";
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)o->value = !negated;
        break;
    case OPT_INT: {
        int64_t number;
        FAIL_IF(!parse_int64(text, &number), ERR_ARGUMENT, "%s%s %s: a whole number is expected", dashes, o->name, text);
        *(int64_t *)o->value = number;
        break;
    }
    case OPT_REAL: {
        double number;
        FAIL_IF(!parse_double(text, &number), ERR_ARGUMENT, "%s%s %s: a number is expected", dashes, o->name, text);
        *(double *)o->value = number;
        break;
    }
    case OPT_BYTES: {
        uint64_t number;
        FAIL_IF(!parse_bytes(text, &number), ERR_ARGUMENT, "%s%s %s: a size such as 512M or 4GiB is expected", dashes,
                o->name, text);
        *(uint64_t *)o->value = number;
        break;
    }
    case OPT_STRING:
        *(const char **)o->value = text;
        break;
    case OPT_LIST: {
        StringList *list = o->value;
        FAIL_IF(list->count == (int)COUNT(list->items), ERR_LIMIT, "%s%s is given more than %d times", dashes, o->name,
                list->count);
        list->items[list->count++] = text;
        break;
    }
    }
    if (o->given != NULL)
        *o->given = true;
    return OK;
}

/* Options may stand before, between and after the arguments; "--" ends them; "-" alone is an argument. */
static Status parse(const Command *command, int argc, char **argv, int *n_argument, char **arguments, Error *err) {
    bool only_arguments = false;
    for (int i = 0; i < argc; i++) {
        char *word = argv[i];
        /* A negative number is an argument or a value, never an option. */
        if (only_arguments || word[0] != '-' || word[1] == '\0' || (word[1] >= '0' && word[1] <= '9')) {
            arguments[(*n_argument)++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_arguments = true;
            continue;
        }
        const char *name = word + (word[1] == '-' ? 2 : 1);
        const char *equals = strchr(name, '=');
        const size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
        bool negated;
        const Option *o = find_option(command, name, length, &negated);
        FAIL_IF(o == NULL, ERR_ARGUMENT, "%s: no such option; 'houle %s --help' lists them", word, command->name);
        const char *text = equals != NULL ? equals + 1 : NULL;
        FAIL_IF(o->kind == OPT_FLAG && text != NULL, ERR_ARGUMENT, "%s: this option takes no value", word);
        if (o->kind != OPT_FLAG && text == NULL) {
            FAIL_IF(i + 1 >= argc, ERR_ARGUMENT, "%s: a value (%s) is expected", word, o->meta);
            text = argv[++i];
        }
        TRY(set_option(o, text, negated, err));
    }
    FAIL_IF(*n_argument < command->min_arguments ||
                (command->max_arguments >= 0 && *n_argument > command->max_arguments),
            ERR_ARGUMENT, "usage: houle %s %s", command->name, command->arguments);
    return OK;
}

int command_start(const Command *command, int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            command_print_help(command);
            return 0;
        }
    Error err = {0};
    int n_argument = 0;
    char **arguments = calloc((size_t)argc + 1, sizeof *arguments);
    if (arguments == NULL) {
        cli_complain("no memory for the command line");
        return 1;
    }
    int exit_status = 2;
    if (parse(command, argc, argv, &n_argument, arguments, &err) == OK) {
        exit_status = command->run(n_argument, arguments, &err);
        if (err.status != OK && exit_status == 0)
            exit_status = 1;
    }
    if (err.status != OK)
        cli_complain(err.text);
    free(arguments);
    return exit_status;
}

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void option_words(const Option *o, char *buffer, size_t bytes) {
    const bool is_short = o->name[1] == '\0';
    snprintf(buffer, bytes, "%s%s%s%s", is_short ? "-" : "--", o->name, o->meta != NULL ? " " : "",
             o->meta != NULL ? o->meta : "");
}

void command_print_help(const Command *command) {
    printf("houle %s %s\n\n%s\n", command->name, command->arguments, command->text);
    if (command->options != NULL && command->options->name != NULL)
        printf("\nOptions:\n");
    for (const Option *o = command->options; o != NULL && o->name != NULL; o++) {
        char words[64];
        option_words(o, words, sizeof words);
        printf("  %-26s %s\n", words, o->help);
    }
    printf("\nExample:\n%s\n", command->example);
}

/* roff takes a leading dot or quote for a request, and a backslash for an escape. */
static void print_roff(const char *text) {
    bool line_start = true;
    for (; *text != '\0'; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            printf("\\&");
        if (*text == '\\')
            printf("\\e");
        else if (*text == '-')
            printf("\\-");
        else
            putchar(*text);
        line_start = *text == '\n';
    }
}

void command_print_man(const Command *const *commands) {
    printf(".TH HOULE 1\n.SH NAME\nhoule \\- run open\\-weight models on your own machine\n"
           ".SH SYNOPSIS\n.B houle\n.I COMMAND\n[argument ...]\n.SH COMMANDS\n");
    for (; *commands != NULL; commands++) {
        const Command *c = *commands;
        printf(".SS \"houle ");
        print_roff(c->name);
        putchar(' ');
        print_roff(c->arguments);
        printf("\"\n");
        print_roff(c->text);
        putchar('\n');
        for (const Option *o = c->options; o != NULL && o->name != NULL; o++) {
            char words[64];
            option_words(o, words, sizeof words);
            printf(".TP\n.B ");
            print_roff(words);
            putchar('\n');
            print_roff(o->help);
            putchar('\n');
        }
        printf(".PP\nExample:\n.nf\n");
        print_roff(c->example);
        printf("\n.fi\n");
    }
    printf(".SH ENVIRONMENT\n.TP\n.B HOULE_CPU\nForces a CPU level: generic, avx2, avx512, avx512vnni, avx512bf16, "
           "amx.\n.TP\n.B HOULE_PIN\n0: threads are bound to no processor. Otherwise they are where there is one for every core "
           "that the process may use, or where memory has several nodes.\n.TP\n.B HF_TOKEN, HF_ENDPOINT\nAccess token and base URL for houle pull.\n.TP\n.B XDG_DATA_HOME\n"
           "The store is in $XDG_DATA_HOME/houle (by default ~/.local/share/houle).\n"
           ".TP\n.B HF_HUB_CACHE, HF_HOME, OLLAMA_MODELS\nCaches of other programs, whose models are listed and used "
           "where they lie.\n.TP\n.B http_proxy, https_proxy, no_proxy\nProxies for houle pull.\n.TP\n"
           ".B SSL_CERT_FILE\nCertificates to trust in place of the system's.\n.TP\n"
           ".B HOULE_RETRY_SCALE, HOULE_RETRY_ATTEMPTS, HOULE_STALL_SECONDS\nHow houle pull deals with bad "
           "connections: a factor on its pauses (1), tries in a row without progress (7), and seconds of silence before "
           "a connection is given up (30).\n");
}

/* ---- progress and Ctrl-C --------------------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupts;

static void on_interrupt(int signal_number) {
    if (++interrupts > 1) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
}

void cli_catch_interrupt(void) {
    struct sigaction action = {0};
    action.sa_handler = on_interrupt;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    interrupts = 0;
}

bool cli_interrupted(void) {
    return interrupts > 0;
}

void cli_clear_interrupt(void) {
    interrupts = 0;
}

/* "0:33", "2:05:40". */
static void write_duration(double seconds, char *buffer, size_t bytes) {
    const long whole = seconds < 360000 ? (long)seconds : 360000;
    if (whole >= 3600)
        snprintf(buffer, bytes, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(buffer, bytes, "%ld:%02ld", whole / 60, whole % 60);
}

/* A mean that forgets within seconds: what a download does now, not what it did an hour ago. Work that was done before
 * this run (a resumed download) never counts. */
static void take_rate(CliProgress *p, uint64_t done, uint64_t now) {
    const double seconds = (double)(now - p->rated_us) * 1e-6;
    const double recent = done > p->rated_done ? (double)(done - p->rated_done) / seconds : 0;
    const double weight = p->rate > 0 ? seconds / (seconds + 3) : 1;
    p->rate += (recent - p->rate) * weight;
    p->rated_us = now;
    p->rated_done = done;
}

static void write_tail(const CliProgress *p, uint64_t done, uint64_t total, char *tail, size_t bytes) {
    char left[24] = "-:--", now[16], all[16], rate[16];
    if (p->rate > 0)
        write_duration((double)(total - done) / p->rate, left, sizeof left);
    const double share = (double)done / (double)total * 100;
    if (p->bytes)
        snprintf(tail, bytes, "%3.0f%% %s of %s, %s/s, %s left", share, format_bytes(done, now),
                 format_bytes(total, all), format_bytes((uint64_t)p->rate, rate), left);
    else
        snprintf(tail, bytes, "%3.0f%% %s left", share, left);
}

static void draw_bar(const CliProgress *p, uint64_t done, uint64_t total) {
    struct winsize size = {0};
    const int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    Text what = {0}; /* may be a name from a stranger */
    text_append_printable(&what, p->what, strlen(p->what));
    const char *word = what.bytes != NULL && !what.failed ? what.bytes : "";
    if (total == 0) {
        if (done > 0)
            fprintf(stderr, "\r\033[K%s %llu", word, (unsigned long long)done);
        else
            fprintf(stderr, "\r\033[K%s ...", word);
        text_free(&what);
        return;
    }
    char tail[96];
    write_tail(p, MIN(done, total), total, tail, sizeof tail);
    int width = columns - (int)strlen(word) - (int)strlen(tail) - 5;
    width = width > 40 ? 40 : width;
    fprintf(stderr, "\r\033[K%s ", word);
    if (width >= 8) {
        fputc('[', stderr);
        for (int i = 0; i < width; i++)
            fputc(i < (int)((double)done / (double)total * width) ? '#' : '.', stderr);
        fputs("] ", stderr);
    }
    fputs(tail, stderr);
    text_free(&what);
}

bool cli_progress(void *user, const char *what, uint64_t done, uint64_t total) {
    CliProgress *p = user;
    const uint64_t now = clock_us();
    if (p->began_us == 0 || strncmp(p->what, what, sizeof p->what - 1) != 0) {
        p->began_us = p->rated_us = now;
        p->rated_done = done;
        p->rate = 0;
        snprintf(p->what, sizeof p->what, "%s", what);
    }
    if (isatty(STDERR_FILENO) && now - p->began_us > 500000 && now - p->shown_us > 100000) {
        if (now - p->rated_us > 250000)
            take_rate(p, done, now);
        draw_bar(p, done, total);
        fflush(stderr);
        p->shown_us = now;
        p->visible = true;
    }
    return !cli_interrupted();
}

void cli_progress_hide(CliProgress *p) {
    if (p->visible)
        fprintf(stderr, "\r\033[K");
    p->visible = false;
}

void cli_progress_end(CliProgress *p) {
    cli_progress_hide(p);
    *p = (CliProgress){.bytes = p->bytes};
}
