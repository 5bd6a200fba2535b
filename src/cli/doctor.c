/* doctor.c - houle doctor: what this machine is and what will be fast or slow on it. */
#include "cli/cli_print.h"
#include "cli/machine.h"
#include "cli/roof.h"
#include "cli/run_options.h"

#include "base/text.h"
#include "format/json.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct { bool levels, json; int64_t threads; } want;

static uint64_t memory_bytes(const char *key) {
    char line[256];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (starts_with(line, key) && sscanf(line + strlen(key), " %lu", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

static void print_levels(void) {
    for (int l = 0; l < LEVEL_COUNT; l++)
        if (level_present((Level)l))
            printf("%s\n", level_word((Level)l));
    if (level_why_not_amx() != NULL)
        fprintf(stderr, "amx is not used: %s\n", level_why_not_amx());
}

/* Generation reads all weights once a token: the model that a speed of reading stands for. */
static void print_outlook(const Roof *roof, uint64_t total, uint64_t available) {
    char size[16], free_size[16];
    printf("memory: %s, of which %s are free\n", format_bytes(total, size), format_bytes(available, free_size));
    static const double sizes[] = {1, 4, 8, 16, 40};
    printf("at the most, a model that reads so much per token generates\n");
    for (size_t i = 0; i < COUNT(sizes); i++)
        printf("  %3.0f GB  %7.1f tokens/s%s\n", sizes[i], roof->read_all / (sizes[i] * 1e9),
               sizes[i] * 1e9 > (double)available ? "   (more than is free: it would be read from disk)" : "");
    if (roof->level < LEVEL_AVX2)
        printf("slow here: everything; this CPU has no AVX2, so plain C is used\n");
    else if (roof->level < LEVEL_AVX512VNNI)
        printf("slow here: long prompts with quantised weights; this CPU has no VNNI\n");
    else if (roof->level < LEVEL_AVX512BF16)
        printf("slow here: prompts with BF16 weights; this CPU multiplies them as floats\n");
    else
        printf("fast here: prompts with quantised and with BF16 weights\n");
}

static void print_store(void) {
    Error err = {0};
    StoreList list;
    store_list_init(&list);
    if (store_list(&list, &err) != OK) {
        printf("store: cannot be read: %s\n", err.text);
        store_list_free(&list);
        return;
    }
    size_t unfinished = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < list.count; i++) {
        unfinished += list.items[i].state != MODEL_COMPLETE;
        bytes += list.items[i].bytes;
    }
    char size[16];
    printf("store: %zu models, %s", list.count, format_bytes(bytes, size));
    if (unfinished > 0)
        printf("; %zu unfinished ('houle pull' goes on with them)", unfinished);
    printf("\n");
    store_list_free(&list);
}

static int run(int n_argument, char **arguments, Error *err) {
    (void)n_argument;
    (void)arguments;
    Pool *pool;
    Roof roof;
    char name[CPU_NAME_BYTES];
    json_setup();
    if (want.levels) {
        print_levels();
        return 0;
    }
    if (cli_pool((int)want.threads, &pool, err) != OK || roof_measure(pool, 3, &roof, err) != OK)
        return 1;
    cpu_name(name);
    const uint64_t total = memory_bytes("MemTotal:"), available = memory_bytes("MemAvailable:");
    if (want.json) {
        json_t *out = json_pack("{s:s, s:o, s:I, s:I}", "cpu", name, "roof", roof_json(&roof), "memory_bytes", (json_int_t)total,
                                "available_bytes", (json_int_t)available);
        return cli_print_json(out, JSON_INDENT(2), err) == OK ? 0 : 1;
    }
    printf("CPU: %s\nlevel: %s (HOULE_CPU forces a lower one), %d threads\n", name, level_word(roof.level), roof.threads);
    if (level_why_not_amx() != NULL)
        printf("amx is not used: %s\n", level_why_not_amx());
    roof_print(&roof);
    print_outlook(&roof, total, available);
    print_store();
    return 0;
}

static const Option options[] = {
    {"levels", OPT_FLAG, &want.levels, NULL, "only print the CPU levels that are present, one a line", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads (default: the physical cores this process may use)", NULL},
    {"json", OPT_FLAG, &want.json, NULL, "print JSON (docs/json-schema.md)", NULL},
    {0},
};

const Command command_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "look at this machine: CPU level, bandwidth, memory, store",
    .text = "Measures for about two seconds how fast this machine reads memory and multiplies, and says what that means for\n"
            "models: generation reads the whole model for each token, prompts multiply.",
    .example = "  houle doctor\n"
               "  houle doctor --levels\n"
               "      generic\n"
               "      avx2",
    .options = options,
    .max_arguments = 0,
    .run = run,
};
