/* bench_profile.c - see bench_profile.h. */
#include "cli/bench_profile.h"

#include "cli/cli_print.h"

static const char *const phase_words[PHASE_COUNT] = {"prompt", "generation"};

static const char *layer_words(const LayerKinds *kinds, const ProfileRow *row) {
    return row->layer_kind < 0 ? "-" : kinds->words[row->layer_kind];
}

static void append_rows(Text *text, Phase phase, const LayerKinds *kinds, const ProfileRow *rows, int n) {
    double all = 0, waiting = 0;
    for (int i = 0; i < n; i++) {
        all += rows[i].seconds;
        waiting += rows[i].waiting_seconds;
    }
    text_append_format(text, "\n%s: %.1f us a step, of which a thread waits %.1f us for the others\n", phase_words[phase], all * 1e6,
                       waiting * 1e6);
    text_append_format(text, "%7s %10s %9s %6s %8s  %-12s %-24s %s\n", "share", "us", "waiting", "steps", "GB/s", "step", "layers",
                       "of");
    for (int i = 0; i < n; i++) {
        const ProfileRow *r = &rows[i];
        text_append_format(text, "%6.2f%% %10.1f %9.1f %6d ", 100 * r->seconds / all, r->seconds * 1e6, r->waiting_seconds * 1e6,
                           r->count);
        if (r->weight_bytes > 0 && phase == PHASE_GENERATION)
            text_append_format(text, "%8.1f", r->weight_bytes / r->seconds * 1e-9);
        else
            text_append_format(text, "%8s", "");
        text_append_format(text, "  %-12s %-24s %s\n", r->kind, layer_words(kinds, r), r->name);
    }
}

Status bench_profile_print(const Session *session, const LayerKinds *kinds, Error *err) {
    Text text = {0};
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        ProfileRow *rows;
        int n;
        const Status status = program_profile(session_program(session), (Phase)phase, kinds, &rows, &n, err);
        if (status != OK) {
            text_free(&text);
            return status;
        }
        if (n > 0)
            append_rows(&text, (Phase)phase, kinds, rows, n);
        mem_free(rows);
    }
    return cli_print_text(&text, err);
}

Status bench_profile_json(const Session *session, const LayerKinds *kinds, json_t **json, Error *err) {
    *json = json_object();
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        ProfileRow *rows;
        int n;
        const Status status = program_profile(session_program(session), (Phase)phase, kinds, &rows, &n, err);
        if (status != OK) {
            json_decref(*json);
            *json = NULL;
            return status;
        }
        json_t *list = json_array();
        for (int i = 0; i < n; i++)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:f, s:f, s:f}", "step", rows[i].kind, "of", rows[i].name,
                                                  "layers", layer_words(kinds, &rows[i]), "steps", rows[i].count, "seconds",
                                                  rows[i].seconds, "waiting_seconds", rows[i].waiting_seconds, "weight_bytes",
                                                  rows[i].weight_bytes));
        json_object_set_new(*json, phase_words[phase], list);
        mem_free(rows);
    }
    return OK;
}
