/* roof.c - see roof.h. */
#include "cli/roof.h"

#include "cli/cli_print.h"
#include "cli/command.h"

#include <math.h>
#include <stdio.h>

enum { MEASURE_MS = 100 };

Status roof_measure(Pool *pool, int rounds, Roof *roof, Error *err) {
    const Kernels *kernels;
    TRY(kernels_best(&kernels, err));
    *roof = (Roof){.threads = pool_threads(pool), .level = kernels->level};
    for (int r = 0; r < rounds && !cli_interrupted(); r++) {
        roof->read_one = fmax(roof->read_one, peak_reading(pool, 1, MEASURE_MS));
        roof->read_all = fmax(roof->read_all, peak_reading(pool, roof->threads, MEASURE_MS));
        for (int k = 0; k < PEAK_KIND_COUNT; k++)
            roof->products[k] = fmax(roof->products[k], peak_products(pool, roof->threads, roof->level, (PeakKind)k, MEASURE_MS));
    }
    FAIL_IF(cli_interrupted(), ERR_CANCELLED, "interrupted");
    return OK;
}

double roof_int8(const Roof *roof) {
    return roof->products[PEAK_INT8] > 0 ? roof->products[PEAK_INT8] : roof->products[PEAK_F32];
}

double roof_bf16(const Roof *roof) {
    return roof->products[PEAK_BF16] > 0 ? roof->products[PEAK_BF16] : roof->products[PEAK_F32];
}

json_t *roof_json(const Roof *roof) {
    json_t *peaks = json_object();
    for (int k = 0; k < PEAK_KIND_COUNT; k++)
        json_object_set_new(peaks, peak_word((PeakKind)k), roof->products[k] > 0 ? json_real(roof->products[k]) : json_null());
    return json_pack("{s:i, s:s, s:f, s:f, s:o}", "threads", roof->threads, "level", level_word(roof->level),
                     "read_bytes_per_second_one_thread", roof->read_one, "read_bytes_per_second", roof->read_all,
                     "operations_per_second", peaks);
}

void roof_print(const Roof *roof) {
    printf("roof: reads %.1f GB/s (one thread %.1f)", roof->read_all * 1e-9, roof->read_one * 1e-9);
    for (int k = 0; k < PEAK_KIND_COUNT; k++)
        if (roof->products[k] > 0)
            printf(", %s %.2f TOP/s", peak_word((PeakKind)k), roof->products[k] * 1e-12);
    printf("; %d threads, level %s\n", roof->threads, level_word(roof->level));
}

Status roof_print_levels(Pool *pool, int rounds, bool json, Error *err) {
    Roof roof;
    TRY(roof_measure(pool, rounds, &roof, err));
    json_t *levels = json_array();
    if (!json)
        printf("%-12s %12s %12s %12s   TOP/s of %d threads\n", "level", "f32", "bf16", "int8", roof.threads);
    for (int l = 0; l < LEVEL_COUNT; l++) {
        if (!level_present((Level)l))
            continue;
        json_t *row = json_pack("{s:s}", "level", level_word((Level)l));
        if (!json)
            printf("%-12s", level_word((Level)l));
        for (int k = 0; k < PEAK_KIND_COUNT; k++) {
            double best = 0;
            for (int r = 0; r < rounds; r++)
                best = fmax(best, peak_products(pool, roof.threads, (Level)l, (PeakKind)k, MEASURE_MS));
            json_object_set_new(row, peak_word((PeakKind)k), best > 0 ? json_real(best) : json_null());
            if (!json && best > 0)
                printf(" %12.3f", best * 1e-12);
            else if (!json)
                printf(" %12s", "-");
        }
        json_array_append_new(levels, row);
        if (!json)
            printf("\n");
    }
    if (!json) {
        json_decref(levels);
        printf("reads %.1f GB/s with %d threads, %.1f GB/s with one\n", roof.read_all * 1e-9, roof.threads, roof.read_one * 1e-9);
        return OK;
    }
    json_t *out = json_pack("{s:o, s:o}", "roof", roof_json(&roof), "levels", levels);
    return cli_print_json(out, JSON_INDENT(2), err);
}
