/* machine.c - see machine.h. */
#include "cli/machine.h"

#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "format/json.h"
#include "kernel/probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PROBE_MS = 25, COLS = 2048, FEW_OUTPUTS = 512, MANY_OUTPUTS = 8192, PROMPT_OUTPUTS = 1024, FEW_TOKENS = 32, MANY_TOKENS = 512,
       HANDED_NUMBERS = 2048 };

void cpu_name(char name[CPU_NAME_BYTES]) {
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(name, CPU_NAME_BYTES, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (!starts_with(line, "model name") || colon == NULL)
            continue;
        snprintf(name, CPU_NAME_BYTES, "%.120s", colon + 2);
        name[strcspn(name, "\n")] = '\0';
        break;
    }
    if (file != NULL)
        fclose(file);
}

/* ---- measuring ------------------------------------------------------------------------------------------------------------ */

/* Two matrices with one row give what a step costs and what a byte costs; two numbers of rows, what unpacking a number and
 * what multiplying with it cost. */
static Status measure_form(Probes *probes, const Kernels *kernels, Form form, LinearRate *rate, Error *err) {
    LinearProbe probe = {.kernels = kernels, .form = form, .precision = PRECISION_FAST, .cols = COLS, .tokens = 1, .ms = PROBE_MS};
    ProbeTime small, large, few, many;
    probe.rows = FEW_OUTPUTS;
    TRY(probe_linear(probes, &probe, &small, err));
    probe.rows = MANY_OUTPUTS;
    TRY(probe_linear(probes, &probe, &large, err));
    probe.rows = PROMPT_OUTPUTS;
    probe.tokens = FEW_TOKENS;
    TRY(probe_linear(probes, &probe, &few, err));
    probe.tokens = MANY_TOKENS;
    TRY(probe_linear(probes, &probe, &many, err));
    rate->byte = fmax((large.seconds - small.seconds) / (large.bytes - small.bytes), 0);
    rate->step = fmax(small.seconds - small.bytes * rate->byte, 0);
    const double numbers = (double)PROMPT_OUTPUTS * COLS;
    rate->product = fmax((many.seconds - few.seconds) / (numbers * (MANY_TOKENS - FEW_TOKENS)), 1e-18);
    rate->unpack = fmax(few.seconds / numbers - FEW_TOKENS * rate->product, 0);
    return OK;
}

/* What many rows cost, from heads of two widths and two numbers of entries: for each product, for each entry that a row sees
 * whatever its width (its score becomes a weight), and for each number of a query however little it sees. */
static Status measure_attend(Probes *probes, AttendProbe probe, Rates *r, Error *err) {
    enum { TOKENS = 64, FEW_ENTRIES = 64, MANY_ENTRIES = 1024 };
    ProbeTime narrow, wide, begin;
    probe.tokens = TOKENS;
    probe.entries = MANY_ENTRIES;
    TRY(probe_attend(probes, &probe, &wide, err));
    probe.entries = FEW_ENTRIES;
    TRY(probe_attend(probes, &probe, &begin, err));
    probe.entries = MANY_ENTRIES;
    probe.width /= 2;
    TRY(probe_attend(probes, &probe, &narrow, err));
    const double rows = (double)TOKENS * probe.heads, full = 2.0 * probe.width;
    const double entry = fmax(wide.seconds - begin.seconds, 0) / (rows * (MANY_ENTRIES - FEW_ENTRIES)); /* at full width */
    const double fixed = fmax(begin.seconds / rows - FEW_ENTRIES * entry, 0);
    const double half = fmax(narrow.seconds / rows - fixed / 2, 0) / MANY_ENTRIES;
    r->attend_entry = fmin(fmax(2 * half - entry, 0), entry);
    r->attend_product = (entry - r->attend_entry) / (4 * full);
    r->attend_number = fixed / full;
    return OK;
}

static Status measure_rest(Probes *probes, const Kernels *kernels, Rates *r, Error *err) {
    ProbeTime one, many;
    TRY(probe_row(probes, kernels, ROW_PROBE_RMS_NORM, 256, PROBE_MS / 4, &one, err));
    TRY(probe_row(probes, kernels, ROW_PROBE_RMS_NORM, 4096, PROBE_MS / 4, &many, err));
    r->row_number = fmax((many.seconds - one.seconds) / (4096 - 256), 0);
    r->row_op = fmax(one.seconds - 256 * r->row_number, 0);
    TRY(probe_rows(probes, kernels, MANY_TOKENS, COLS, &r->row_number_far, err));
    TRY(probe_row(probes, kernels, ROW_PROBE_GLU, 4096, PROBE_MS / 4, &many, err));
    r->glu_number = many.seconds / 4096;
    TRY(probe_handover(probes, kernels, HANDED_NUMBERS, &r->barrier, err));
    AttendProbe attend = {.kernels = kernels, .type = CACHE_F16, .heads = 32, .kv_heads = 8, .width = 128, .tokens = 1, .entries = 2048,
                          .ms = PROBE_MS};
    TRY(probe_attend(probes, &attend, &one, err));
    r->attend_byte = one.seconds / one.bytes;
    TRY(measure_attend(probes, attend, r, err));
    RecurProbe recur = {.kernels = kernels, .heads = 32, .width = 128, .tokens = 1, .ms = PROBE_MS};
    TRY(probe_recur(probes, &recur, &one, err));
    recur.tokens = 64;
    TRY(probe_recur(probes, &recur, &many, err));
    r->recur_byte = one.seconds / one.bytes;
    r->recur_product = many.seconds / many.operations;
    return OK;
}

/* ---- remembering ----------------------------------------------------------------------------------------------------------- */

/* Another build may have other kernels: its file's time and size stand for it. */
static json_t *key_of(const Pool *pool, Level level) {
    char name[CPU_NAME_BYTES];
    struct stat program = {0};
    cpu_name(name);
    (void)!stat("/proc/self/exe", &program);
    return json_pack("{s:i, s:s, s:s, s:i, s:I, s:I}", "format", 3, "cpu", name, "level", level_word(level), "threads",
                     pool_threads(pool), "program_bytes", (json_int_t)program.st_size, "program_time", (json_int_t)program.st_mtime);
}

/* The file, and the folder that it is in, in fresh strings (mem_free); NULL without a home or memory. */
static char *cache_path(char **folder) {
    (void)home_folder("XDG_CACHE_HOME", ".cache", folder);
    return *folder != NULL ? path_join(*folder, "rates.json") : NULL;
}

/* Positive and finite, or nothing is believed. */
static bool get_number(const json_t *object, const char *key, double *number) {
    const json_t *value = json_object_get(object, key);
    *number = json_number_value(value);
    return json_is_number(value) && isfinite(*number) && *number >= 0;
}

static const struct { const char *key; size_t at; } rate_keys[] = {
    {"barrier", offsetof(Rates, barrier)}, {"row_op", offsetof(Rates, row_op)}, {"row_number", offsetof(Rates, row_number)},
    {"row_number_far", offsetof(Rates, row_number_far)}, {"glu_number", offsetof(Rates, glu_number)},
    {"attend_entry", offsetof(Rates, attend_entry)}, {"attend_number", offsetof(Rates, attend_number)},
    {"attend_byte", offsetof(Rates, attend_byte)}, {"attend_product", offsetof(Rates, attend_product)},
    {"recur_byte", offsetof(Rates, recur_byte)}, {"recur_product", offsetof(Rates, recur_product)},
};
static const struct { const char *key; size_t at; } linear_keys[] = {
    {"step", offsetof(LinearRate, step)}, {"byte", offsetof(LinearRate, byte)}, {"unpack", offsetof(LinearRate, unpack)},
    {"product", offsetof(LinearRate, product)},
};

static double *field(void *object, size_t at) {
    return (double *)(void *)((char *)object + at);
}

static bool read_rates(const json_t *kept, Roof *roof, Rates *r) {
    const json_t *rates = json_object_get(kept, "seconds"), *forms = json_object_get(kept, "linear"), *peaks = json_object_get(kept, "roof");
    bool good = get_number(peaks, "read_one", &roof->read_one) && get_number(peaks, "read_all", &roof->read_all);
    for (int k = 0; k < PEAK_KIND_COUNT; k++)
        good = good && get_number(peaks, peak_word((PeakKind)k), &roof->products[k]);
    for (size_t i = 0; i < COUNT(rate_keys); i++)
        good = good && get_number(rates, rate_keys[i].key, field(r, rate_keys[i].at));
    for (int f = 0; good && f < FORM_COUNT; f++) {
        const json_t *form = json_object_get(forms, form_info((Form)f)->name);
        for (size_t i = 0; form != NULL && i < COUNT(linear_keys); i++)
            good = good && get_number(form, linear_keys[i].key, field(&r->linear[f], linear_keys[i].at));
    }
    return good;
}

static bool load(const json_t *key, Roof *roof, Rates *r) {
    char *folder, *path = cache_path(&folder);
    json_t *kept = NULL;
    Error ignored = {0};
    const bool there = path != NULL && file_exists(path) && json_read(path, 1 << 20, &kept, &ignored) == OK;
    const bool good = there && json_equal(json_object_get(kept, "key"), key) && read_rates(kept, roof, r);
    json_decref(kept);
    mem_free(folder);
    mem_free(path);
    return good;
}

/* Takes the key. */
static void save(json_t *key, const Roof *roof, Rates *r) {
    json_t *rates = json_object(), *forms = json_object();
    for (size_t i = 0; i < COUNT(rate_keys); i++)
        json_object_set_new(rates, rate_keys[i].key, json_real(*field(r, rate_keys[i].at)));
    for (int f = 0; f < FORM_COUNT; f++) {
        json_t *form = r->linear[f].product > 0 ? json_object() : NULL;
        for (size_t i = 0; form != NULL && i < COUNT(linear_keys); i++)
            json_object_set_new(form, linear_keys[i].key, json_real(*field(&r->linear[f], linear_keys[i].at)));
        if (form != NULL)
            json_object_set_new(forms, form_info((Form)f)->name, form);
    }
    json_t *peaks = json_pack("{s:f, s:f}", "read_one", roof->read_one, "read_all", roof->read_all);
    for (int k = 0; k < PEAK_KIND_COUNT; k++)
        json_object_set_new(peaks, peak_word((PeakKind)k), json_real(roof->products[k]));
    json_t *kept = json_pack("{s:o, s:o, s:o, s:o}", "key", key, "roof", peaks, "seconds", rates, "linear", forms);
    char *text = kept != NULL ? json_dumps(kept, JSON_INDENT(1)) : NULL, *folder, *path = cache_path(&folder);
    Error ignored = {0};
    if (text != NULL && path != NULL && file_make_directories(folder, &ignored) == OK)
        (void)!file_write_atomic(path, text, strlen(text), &ignored);
    json_decref(kept);
    mem_free(text);
    mem_free(folder);
    mem_free(path);
}

/* ---- all of it -------------------------------------------------------------------------------------------------------------- */

static Status measure_missing(Pool *pool, const Kernels *kernels, const bool *wanted, bool all, Roof *roof, Rates *r, bool *disturbed,
                              Error *err) {
    Probes *probes;
    if (all)
        TRY(roof_measure(pool, 2, roof, err));
    TRY(probes_open(pool, &probes, err));
    Status status = OK;
    if (all) {
        status = measure_rest(probes, kernels, r, err);
    }
    for (int f = 0; status == OK && f < FORM_COUNT; f++) {
        if (cli_interrupted())
            status = error_set(err, ERR_CANCELLED, "interrupted");
        else if (wanted[f] && r->linear[f].product <= 0)
            status = measure_form(probes, kernels, (Form)f, &r->linear[f], err);
    }
    *disturbed = probes_disturbed(probes);
    probes_close(probes);
    return status;
}

Status machine_rates(Pool *pool, const bool *wanted, bool anew, Roof *roof, Rates *r, bool *disturbed, Error *err) {
    const Kernels *kernels;
    *disturbed = false;
    TRY(kernels_best(&kernels, err));
    json_t *key = key_of(pool, kernels->level);
    FAIL_IF(key == NULL, ERR_MEMORY, "no memory for the machine's rates");
    *r = (Rates){0};
    *roof = (Roof){0};
    const bool known = !anew && load(key, roof, r);
    if (!known) {
        *r = (Rates){0};
        *roof = (Roof){0};
    }
    r->threads = roof->threads = pool_threads(pool);
    roof->level = kernels->level;
    bool missing = !known;
    for (int f = 0; f < FORM_COUNT; f++)
        missing = missing || (wanted[f] && r->linear[f].product <= 0);
    const Status status = missing ? measure_missing(pool, kernels, wanted, !known, roof, r, disturbed, err) : OK;
    if (status == OK && missing && !*disturbed)
        save(key, roof, r);
    else
        json_decref(key);
    return status;
}
