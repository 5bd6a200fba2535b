/* bench_kernels.c - see bench_kernels.h. */
#include "cli/bench_kernels.h"

#include "cli/cli_print.h"
#include "cli/command.h"
#include "cli/roof.h"
#include "kernel/probe.h"

#include <math.h>
#include <stdio.h>

enum { ROWS = 1024, COLS = 2048, PROMPT = 128, ROW = 4096, HEADS = 32, KV_HEADS = 8, WIDTH = 128, ENTRIES = 2048, RECUR_HEADS = 32 };

/* What a kernel is compared with. */
typedef enum Against { AGAINST_BANDWIDTH, AGAINST_PEAK, AGAINST_NOTHING } Against;

typedef struct Table {
    Probes *probes;
    const Kernels *best, *plain;
    Roof roof;
    json_t *lines; /* NULL: text */
    int ms;
} Table;

/* plain: the same by plain C; its work may have been smaller, so rates are compared. */
static void tell(const Table *t, const char *name, const char *shape, const ProbeTime *time, const ProbeTime *plain, Against against,
                 double peak) {
    const double work = against == AGAINST_PEAK ? time->operations : time->bytes;
    const double plain_work = against == AGAINST_PEAK ? plain->operations : plain->bytes;
    const double rate = work / time->seconds, roof = against == AGAINST_PEAK ? peak : t->roof.read_all;
    const double share = against != AGAINST_NOTHING && roof > 0 ? rate / roof : NAN;
    const double times = rate / (plain_work / plain->seconds);
    if (t->lines != NULL) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f}", "kernel", name, "shape", shape, "level", level_word(t->best->level),
                                 "seconds", time->seconds, against == AGAINST_PEAK ? "operations_per_second" : "bytes_per_second", rate,
                                 "times_plain_c", times);
        json_object_set_new(line, "share", cli_json_number(share));
        json_array_append_new(t->lines, line);
        return;
    }
    printf("%-22s %-26s %11.2f us %9.2f %s", name, shape, time->seconds * 1e6, rate * (against == AGAINST_PEAK ? 1e-12 : 1e-9),
           against == AGAINST_PEAK ? "TOP/s" : "GB/s ");
    if (isfinite(share))
        printf(" %4.0f%% of the %-10s", share * 100, against == AGAINST_PEAK ? "peak" : "bandwidth");
    else
        printf(" %-18s", "");
    printf(" %7.1f x plain C\n", times);
}

static Status linear_line(const Table *t, Form form, Precision precision, int tokens, Error *err) {
    LinearProbe probe = {.kernels = t->best, .form = form, .precision = precision, .rows = ROWS, .cols = COLS, .tokens = tokens, .ms = t->ms};
    ProbeTime best, plain;
    char name[48], shape[48];
    TRY(probe_linear(t->probes, &probe, &best, err));
    probe.kernels = t->plain;
    probe.rows = 128; /* it is slow */
    probe.tokens = tokens > 1 ? 8 : 1;
    TRY(probe_linear(t->probes, &probe, &plain, err));
    static const PeakKind kinds[ACT_FORM_COUNT] = {PEAK_F32, PEAK_BF16, PEAK_INT8, PEAK_INT8};
    const PeakKind kind = kinds[kernel_act_form(t->best, form, precision)];
    const double peak = t->roof.products[kind] > 0 ? t->roof.products[kind] : t->roof.products[PEAK_F32];
    snprintf(name, sizeof name, "linear %s%s", form_info(form)->name, precision == PRECISION_F32 ? " f32" : "");
    snprintf(shape, sizeof shape, "%d x [%d, %d]", tokens, ROWS, COLS);
    tell(t, name, shape, &best, &plain, tokens > 1 ? AGAINST_PEAK : AGAINST_BANDWIDTH, peak);
    return OK;
}

static Status linear_lines(const Table *t, Error *err) {
    for (int form = 0; form < FORM_COUNT; form++)
        for (int tokens = 1; tokens <= PROMPT; tokens += PROMPT - 1) {
            FAIL_IF(cli_interrupted(), ERR_CANCELLED, "interrupted");
            TRY(linear_line(t, (Form)form, PRECISION_FAST, tokens, err));
        }
    return OK;
}

static Status attend_lines(const Table *t, Error *err) {
    static const char *const types[] = {"f32", "f16", "q8_0"};
    for (int type = 0; type < CACHE_TYPE_COUNT; type++)
        for (int tokens = 1; tokens <= 64; tokens += 63) {
            AttendProbe probe = {.kernels = t->best, .type = (CacheType)type, .heads = HEADS, .kv_heads = KV_HEADS, .width = WIDTH,
                                 .tokens = tokens, .entries = ENTRIES, .ms = t->ms};
            ProbeTime best, plain;
            char name[48], shape[48];
            TRY(probe_attend(t->probes, &probe, &best, err));
            probe.kernels = t->plain;
            probe.entries = tokens > 1 ? CACHE_BLOCK * 2 : ENTRIES;
            TRY(probe_attend(t->probes, &probe, &plain, err));
            snprintf(name, sizeof name, "attend %s", types[type]);
            snprintf(shape, sizeof shape, "%d x %d/%d of %d, %d", tokens, HEADS, KV_HEADS, WIDTH, ENTRIES);
            tell(t, name, shape, &best, &plain, tokens > 1 ? AGAINST_PEAK : AGAINST_BANDWIDTH, t->roof.products[PEAK_F32]);
        }
    for (int tokens = 1; tokens <= 64; tokens += 63) {
        RecurProbe probe = {.kernels = t->best, .heads = RECUR_HEADS, .width = WIDTH, .tokens = tokens, .ms = t->ms};
        ProbeTime best, plain;
        char shape[48];
        TRY(probe_recur(t->probes, &probe, &best, err));
        probe.kernels = t->plain;
        TRY(probe_recur(t->probes, &probe, &plain, err));
        snprintf(shape, sizeof shape, "%d x %d of [%d, %d]", tokens, RECUR_HEADS, WIDTH, WIDTH);
        tell(t, "recur", shape, &best, &plain, tokens > 1 ? AGAINST_PEAK : AGAINST_BANDWIDTH, t->roof.products[PEAK_F32]);
    }
    return OK;
}

static Status row_lines(const Table *t, Error *err) {
    for (int i = 0; i < ROW_PROBE_COUNT; i++) {
        char shape[24];
        ProbeTime best, plain;
        TRY(probe_row(t->probes, t->best, (RowProbe)i, ROW, MAX(t->ms / 4, 1), &best, err));
        TRY(probe_row(t->probes, t->plain, (RowProbe)i, ROW, MAX(t->ms / 4, 1), &plain, err));
        snprintf(shape, sizeof shape, "[%d]", ROW);
        tell(t, probe_row_name((RowProbe)i), shape, &best, &plain, AGAINST_NOTHING, 0);
    }
    return OK;
}

static Status all_lines(const Table *t, Error *err) {
    TRY(linear_lines(t, err));
    TRY(attend_lines(t, err));
    return row_lines(t, err);
}

Status bench_kernels(Pool *pool, int ms, bool json, Error *err) {
    Table t = {.lines = json ? json_array() : NULL, .ms = ms};
    Status status = kernels_best(&t.best, err);
    if (status == OK)
        status = kernels_of(LEVEL_GENERIC, &t.plain, err);
    if (status == OK)
        status = roof_measure(pool, 2, &t.roof, err);
    if (status == OK)
        status = probes_open(pool, &t.probes, err);
    if (status == OK && !json)
        roof_print(&t.roof);
    if (status == OK)
        status = all_lines(&t, err);
    probes_close(t.probes);
    if (status == OK && json)
        return cli_print_json(json_pack("{s:o, s:o}", "roof", roof_json(&t.roof), "kernels", t.lines), JSON_INDENT(2), err);
    json_decref(t.lines);
    return status;
}
