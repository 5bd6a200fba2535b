/* main.c - the program: finds the command and runs it. */
#include "cli/command.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#ifndef HOULE_VERSION
#define HOULE_VERSION "unknown"
#endif

static const Command *const commands[] = {
    &command_bench,
    &command_doctor,
    &command_embed,
    &command_inspect,
    &command_list,
    &command_logits,
    &command_perplexity,
    &command_plan,
    &command_pull,
    &command_reply,
    &command_rm,
    &command_run,
    &command_serve,
    &command_show,
    &command_template,
    &command_tokenize,
    &command_detokenize,
    &command_verify,
    NULL,
};

static void print_overview(FILE *to) {
    fprintf(to, "houle %s - run open-weight models on your own machine\n\nusage: houle COMMAND [arguments]\n\n",
            HOULE_VERSION);
    for (const Command *const *c = commands; *c != NULL; c++)
        fprintf(to, "  %-12s %s\n", (*c)->name, (*c)->summary);
    fprintf(to, "\n'houle COMMAND --help' explains one of them. Try: houle run MODEL \"What is a tide?\"\n");
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        if (argc > 2 && strcmp(argv[2], "--man") == 0) {
            command_print_man(commands);
            return 0;
        }
        if (argc > 2)
            name = argv[2];
        else {
            print_overview(argc > 1 ? stdout : stderr);
            return argc > 1 ? 0 : 2;
        }
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("houle %s\n", HOULE_VERSION);
        return 0;
    }
    for (const Command *const *c = commands; *c != NULL; c++) {
        if (strcmp((*c)->name, name) != 0)
            continue;
        if (strcmp(argv[1], "help") == 0) {
            command_print_help(*c);
            return 0;
        }
        const int exit_status = command_start(*c, argc - 2, argv + 2);
        if (fflush(stdout) != 0 && exit_status == 0) {
            cli_complain("standard output could not be written");
            return 1;
        }
        return exit_status;
    }
    char message[256];
    snprintf(message, sizeof message, "%.100s: no such command; 'houle --help' lists them", name);
    cli_complain(message);
    return 2;
}
