/* pull_command.c - houle pull: models from the hub, from an address, or from this machine. */
#include "base/text.h"
#include "cli/command.h"
#include "store/pull.h"

#include <stdio.h>
#include <string.h>

static PullRequest want;
static int64_t connections = 8;
static CliProgress bar = {.bytes = true};

/* What is told on the way comes from strangers in part: names, messages of servers. */
static void on_notice(void *user, const char *text) {
    (void)user;
    Text line = {0};
    text_append_printable(&line, text, strlen(text));
    cli_progress_hide(&bar);
    if (!line.failed && line.bytes != NULL)
        fprintf(stderr, "%s\n", line.bytes);
    text_free(&line);
}

static void print_result(const PullResult *result) {
    static const char *const words[] = {"is ready",      "was here already", "was here already", "is ready",
                                        "is registered", "is copied",        "was not fetched"};
    Text line = {0};
    text_append_printable(&line, result->name, strlen(result->name));
    text_append_format(&line, " %s", words[result->outcome]);
    if (result->path != NULL) {
        text_append_str(&line, ": ");
        text_append_printable(&line, result->path, strlen(result->path));
    }
    if (!line.failed)
        puts(line.bytes);
    text_free(&line);
}

static int run(int n_argument, char **arguments, Error *err) {
    (void)n_argument;
    FAIL_IF(connections < 1 || connections > 32, 2, "--connections %lld: 1 to 32 are possible", (long long)connections);
    const Progress progress = {.report = cli_progress, .user = &bar};
    want.what = arguments[0];
    want.connections = (int)connections;
    want.progress = &progress;
    want.notice = on_notice;
    cli_catch_interrupt();
    PullResult result;
    const Status status = store_pull(&want, &result, err);
    cli_progress_end(&bar);
    if (status != OK)
        return 1;
    print_result(&result);
    pull_result_free(&result);
    return 0;
}

static const Option options[] = {
    {"quant", OPT_STRING, &want.quant, "Q", "which quantisation (Q4_K_M, Q8_0, ...) or file, as after ':'", NULL},
    {"update", OPT_FLAG, &want.update, NULL, "take a newer revision than the one that is here", NULL},
    {"dry-run", OPT_FLAG, &want.plan_only, NULL, "say what it takes and whether it fits, and stop", NULL},
    {"limit-rate", OPT_BYTES, &want.bytes_per_s, "RATE", "at most so many bytes per second: 500K, 20M", NULL},
    {"connections", OPT_INT, &connections, "N", "connections at a time (8)", NULL},
    {"endpoint", OPT_STRING, &want.endpoint, "URL", "base address of the hub or a mirror (HF_ENDPOINT)", NULL},
    {"copy", OPT_FLAG, &want.copy, NULL, "copy a file or folder into the store instead of using it where it lies",
     NULL},
    {"name", OPT_STRING, &want.name, "NAME", "how to call a model from a path or an address", NULL},
    {"force", OPT_FLAG, &want.force, NULL, "take it even if houle cannot open it", NULL},
    {0},
};

const Command command_pull = {
    .name = "pull",
    .arguments = "NAME|URL|PATH",
    .summary = "get a model, or register one that is on this machine",
    .text =
        "NAME is OWNER/NAME[@REVISION][:QUANT-OR-FILE] on the Hugging Face hub. Of a repository of GGUF files one\n"
        "quantisation is taken (Q4_K_M if there is one), else the safetensors with configuration and tokenizer;\n"
        "never pickles. Before anything large is fetched, its headers are looked at, and what it takes in memory\n"
        "and on the disk is told. A download that was stopped in whatever way goes on where it was; checksums are\n"
        "compared with the publisher's. Models in the caches of the Hugging Face tools, LM Studio and Ollama are\n"
        "used there.\n\n"
        "URL is a direct link to a GGUF file (the first part, if it is cut into several).\n\n"
        "PATH, beginning with '/' or './', is a file or folder on this machine: it is hashed and registered where it\n"
        "lies, or copied with --copy. A folder of the store that was copied to another machine brings its name,\n"
        "licence and checksums along (houle.json).\n\n"
        "For models whose licence has to be accepted, set HF_TOKEN. This is the only command that uses the network.",
    .example = "  houle pull acme/small-4B-GGUF:Q8_0\n"
               "  houle pull acme/large-70B --dry-run\n"
               "  houle pull https://example.org/model-Q4_K_M.gguf --limit-rate 5M\n"
               "  houle pull ./my-model.gguf",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
