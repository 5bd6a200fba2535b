/* command.h - what a command of the program is: one declaration from which parsing, --help and the man page come.
 *
 * Each command is one file with one `const Command command_<name>`, listed in main.c. Options are declared beside the
 * code that reads them; the parser fills them in order, a repeated OPT_LIST collects. */
#ifndef HOULE_CLI_COMMAND_H
#define HOULE_CLI_COMMAND_H

#include "base/status.h"

#include <stdint.h>

typedef enum OptionKind {
    OPT_FLAG,   /* bool: --name, and --no-name when the option is declared with a default of true */
    OPT_INT,    /* int64_t */
    OPT_REAL,   /* double */
    OPT_STRING, /* const char * */
    OPT_BYTES,  /* uint64_t: 512M, 4GiB */
    OPT_LIST,   /* StringList: may be given several times */
} OptionKind;

typedef struct StringList {
    const char *items[64];
    int count;
} StringList;

typedef struct Option {
    const char *name;    /* without dashes: "top-k"; one letter makes it a short option: "n" is -n */
    OptionKind kind;
    void *value;         /* where it goes; holds the default before parsing */
    const char *meta;    /* "N", "FILE": NULL for flags */
    const char *help;    /* one line */
    bool *given;         /* set to true when the option was on the command line; may be NULL */
} Option;

typedef struct Command {
    const char *name;
    const char *arguments; /* "MODEL [PROMPT]" */
    const char *summary;   /* one line for the list of commands */
    const char *text;      /* what it does, paragraphs */
    const char *example;   /* one or more command lines with what they do */
    const Option *options; /* ends with a NULL name */
    int min_arguments;
    int max_arguments; /* -1 = any number */
    /* Gets the positional arguments. Returns the exit status: 0 done, 1 failed (the message is in err, or was
     * written to standard error), 2 wrong use. */
    int (*run)(int n_argument, char **arguments, Error *err);
} Command;

/* The commands, one file each. */
extern const Command command_bench;
extern const Command command_doctor;
extern const Command command_embed;
extern const Command command_inspect;
extern const Command command_list;
extern const Command command_logits;
extern const Command command_perplexity;
extern const Command command_plan;
extern const Command command_pull;
extern const Command command_reply;
extern const Command command_rm;
extern const Command command_run;
extern const Command command_serve;
extern const Command command_show;
extern const Command command_template;
extern const Command command_tokenize;
extern const Command command_detokenize;
extern const Command command_verify;

/* Parses argv (after the command's name) and runs the command; prints the Error if one is set. */
int command_start(const Command *command, int argc, char **argv);
void command_print_help(const Command *command);
/* The whole manual as a man page (roff) on standard output. */
void command_print_man(const Command *const *commands);

/* Writes "houle: message\n" to standard error, escapes made visible. */
void cli_complain(const char *message);
/* A progress bar on standard error, shown only when that is a terminal and the work has taken over half a second.
 * Use as Progress.report with Progress.user = a zeroed CliProgress; call cli_progress_end when the work is over. */
typedef struct CliProgress {
    bool bytes; /* set by the caller: units are bytes, shown with a rate */
    bool visible;
    uint64_t began_us, shown_us, rated_us;
    uint64_t rated_done; /* at rated_us */
    double rate;         /* units per second, of the last few */
    char what[64];
} CliProgress;
bool cli_progress(void *user, const char *what, uint64_t done, uint64_t total);
void cli_progress_end(CliProgress *progress);
/* Takes the bar away, so that a line can be written; the next report draws it again. */
void cli_progress_hide(CliProgress *progress);
/* Ctrl-C: the first sets the flag that cli_progress and long loops look at, the second ends the process. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);
void cli_clear_interrupt(void);

#endif
