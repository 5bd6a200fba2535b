/* store_commands.c - houle list, show, rm and verify: what is in the store and in other programs' caches. */
#include "base/mem.h"
#include "cli/cli_print.h"
#include "cli/command.h"
#include "cli/show_effective.h"
#include "format/json_write.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- shared ------------------------------------------------------------------------------------------------------ */

static bool as_json;

static void append_shown(Text *text, const char *string) {
    text_append_printable(text, string, strlen(string));
}

static void write_key_string(JsonWriter *w, const char *key, const char *value) {
    json_write_key(w, key);
    json_write_string(w, *value != '\0' ? value : NULL);
}

static void write_file(JsonWriter *w, const StoreModel *m, const ModelFile *f) {
    char *path = store_file_path(m, f);
    json_write_open(w, '{');
    write_key_string(w, "path", path != NULL ? path : "");
    write_key_string(w, "name", f->path);
    json_write_key(w, "bytes");
    json_write_natural(w, f->bytes);
    write_key_string(w, "sha256", f->sha256);
    json_write_key(w, "present");
    json_write_bool(w, f->present);
    json_write_key(w, "damaged");
    json_write_bool(w, f->damaged);
    json_write_close(w, '}');
    mem_free(path);
}

static void write_model(JsonWriter *w, const StoreModel *m, bool files) {
    char *path = store_model_path(m);
    json_write_open(w, '{');
    write_key_string(w, "name", m->name);
    json_write_key(w, "bytes");
    json_write_natural(w, m->bytes);
    json_write_key(w, "present_bytes");
    json_write_natural(w, m->state == MODEL_COMPLETE ? m->bytes : store_present_bytes(m));
    json_write_key(w, "complete");
    json_write_bool(w, m->state == MODEL_COMPLETE);
    write_key_string(w, "type", m->label);
    write_key_string(w, "publisher", m->publisher);
    write_key_string(w, "licence", m->licence);
    write_key_string(w, "licence_link", m->licence_link);
    write_key_string(w, "revision", m->revision);
    write_key_string(w, "source", source_word(m->source));
    write_key_string(w, "origin", m->origin);
    json_write_key(w, "owned");
    json_write_bool(w, m->owned);
    json_write_key(w, "since");
    json_write_int(w, m->since);
    write_key_string(w, "path", path != NULL ? path : "");
    if (files) {
        json_write_key(w, "files");
        json_write_open(w, '[');
        for (size_t i = 0; i < m->n_file; i++)
            write_file(w, m, &m->files[i]);
        json_write_close(w, ']');
    }
    json_write_close(w, '}');
    mem_free(path);
}

static const char *from_word(const StoreModel *m) {
    return m->source == SOURCE_HUB && !m->owned ? "hub (a cache)" : source_word(m->source);
}

/* "71%" for an unfinished model, "" for a complete one. */
static void append_share(Text *text, const StoreModel *m) {
    if (m->state != MODEL_COMPLETE && m->bytes > 0)
        text_append_format(text, "%.0f%%", 100.0 * (double)store_present_bytes(m) / (double)m->bytes);
}

/* ---- list -------------------------------------------------------------------------------------------------------- */

enum { COLUMNS = 6, NAME_WIDTH = 60 };

typedef struct Row {
    Text cells[COLUMNS];
} Row;

static void fill_row(Row *row, const StoreModel *m) {
    char size[16];
    char *path = store_model_path(m);
    append_shown(&row->cells[0], m->name);
    append_share(&row->cells[1], m);
    text_append_format(&row->cells[1], "%s%s", row->cells[1].count > 0 ? " of " : "", format_bytes(m->bytes, size));
    append_shown(&row->cells[2], *m->label != '\0' ? m->label : "-");
    append_shown(&row->cells[3], *m->licence != '\0' ? m->licence : "-");
    append_shown(&row->cells[4], from_word(m));
    append_shown(&row->cells[5], path != NULL ? path : "");
    mem_free(path);
}

static void append_rows(Text *out, const Row *rows, size_t count) {
    size_t widths[COLUMNS] = {0};
    for (size_t i = 0; i < count; i++)
        for (int c = 0; c < COLUMNS; c++)
            widths[c] = MAX(widths[c], MIN(rows[i].cells[c].count, (size_t)NAME_WIDTH));
    for (size_t i = 0; i < count; i++) {
        for (int c = 0; c < COLUMNS; c++) {
            const Text *cell = &rows[i].cells[c];
            text_append(out, cell->bytes, cell->count);
            for (size_t n = cell->count; c + 1 < COLUMNS && n < widths[c] + 2; n++)
                text_append_char(out, ' ');
        }
        text_append_char(out, '\n');
    }
}

static Status print_table(const StoreList *list, Error *err) {
    Text out = {0};
    if (list->count == 0) {
        text_append_str(&out, "no models here; 'houle pull OWNER/NAME' fetches one\n");
        return cli_print_text(&out, err);
    }
    Row *rows = mem_array(list->count + 1, sizeof *rows, MEM_MISC);
    FAIL_IF(rows == NULL, ERR_MEMORY, "no memory for the list");
    static const char *const heads[COLUMNS] = {"NAME", "SIZE", "TYPE", "LICENCE", "FROM", "PATH"};
    for (int c = 0; c < COLUMNS; c++)
        text_append_str(&rows[0].cells[c], heads[c]);
    for (size_t i = 0; i < list->count; i++)
        fill_row(&rows[i + 1], &list->items[i]);
    append_rows(&out, rows, list->count + 1);
    for (size_t i = 0; i <= list->count; i++)
        for (int c = 0; c < COLUMNS; c++) {
            out.failed = out.failed || rows[i].cells[c].failed;
            text_free(&rows[i].cells[c]);
        }
    mem_free(rows);
    return cli_print_text(&out, err);
}

static Status print_list_json(const StoreList *list, Error *err) {
    Text out = {0};
    JsonWriter w = {.out = &out};
    json_write_open(&w, '{');
    json_write_key(&w, "models");
    json_write_open(&w, '[');
    for (size_t i = 0; i < list->count; i++)
        write_model(&w, &list->items[i], false);
    json_write_close(&w, ']');
    json_write_close(&w, '}');
    text_append_char(&out, '\n');
    return cli_print_text(&out, err);
}

static int run_list(int n_argument, char **arguments, Error *err) {
    (void)n_argument, (void)arguments;
    StoreList list;
    store_list_init(&list);
    Status status = store_list(&list, err);
    if (status == OK)
        status = as_json ? print_list_json(&list, err) : print_table(&list, err);
    store_list_free(&list);
    return status == OK ? 0 : 1;
}

static const Option json_options[] = {
    {"json", OPT_FLAG, &as_json, NULL, "print it as JSON (docs/json-schema.md)", NULL},
    {0},
};

const Command command_list = {
    .name = "list",
    .arguments = "",
    .summary = "list the models on this machine",
    .text = "Those of the store, then those that lie in the caches of the Hugging Face tools, LM Studio and Ollama. "
            "All of\n"
            "them can be run by the name that is shown, or by an end of it that no other has.",
    .example = "  houle list\n  houle list --json | jq -r '.models[].name'",
    .options = json_options,
    .min_arguments = 0,
    .max_arguments = 0,
    .run = run_list,
};

/* ---- show -------------------------------------------------------------------------------------------------------- */

static void append_line(Text *out, const char *what, const char *value) {
    if (*value == '\0')
        return;
    text_append_format(out, "%-12s ", what);
    append_shown(out, value);
    text_append_char(out, '\n');
}

static void append_time(Text *out, int64_t unix_time) {
    const time_t when = (time_t)unix_time;
    struct tm parts;
    char text[32];
    if (unix_time > 0 && localtime_r(&when, &parts) != NULL &&
        strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts) > 0)
        append_line(out, "since", text);
}

static void append_files(Text *out, const StoreModel *m) {
    text_append_format(out, "files\n");
    for (size_t i = 0; i < m->n_file; i++) {
        const ModelFile *f = &m->files[i];
        char size[16];
        text_append_format(out, "  %10s  %-64s  ", format_bytes(f->bytes, size),
                           *f->sha256 != '\0'     ? f->sha256
                           : *f->git_sha1 != '\0' ? f->git_sha1
                                                  : "(no checksum known)");
        append_shown(out, f->path);
        text_append_str(out, f->damaged ? "  (damaged)\n" : f->present ? "\n" : "  (not fetched yet)\n");
    }
}

static Status print_show(const StoreModel *m, Error *err) {
    Text out = {0};
    char size[16];
    char *path = store_model_path(m);
    append_line(&out, "name", m->name);
    append_line(&out, "type", m->label);
    append_line(&out, "publisher", m->publisher);
    append_line(&out, "licence", m->licence);
    append_line(&out, "", m->licence_link);
    append_line(&out, "revision", m->revision);
    append_line(&out, "from", from_word(m));
    append_line(&out, "", m->origin);
    append_time(&out, m->since);
    append_line(&out, "path", path != NULL ? path : "");
    text_append_format(&out, "%-12s %s in %zu file%s", "size", format_bytes(m->bytes, size), m->n_file,
                       m->n_file == 1 ? "" : "s");
    if (m->state != MODEL_COMPLETE) {
        text_append_str(&out, ", of which ");
        append_share(&out, m);
        text_append_str(&out, " are here");
    }
    text_append_char(&out, '\n');
    append_files(&out, m);
    mem_free(path);
    return cli_print_text(&out, err);
}

static Status print_show_json(const StoreModel *m, Error *err) {
    Text out = {0};
    JsonWriter w = {.out = &out};
    write_model(&w, m, true);
    text_append_char(&out, '\n');
    return cli_print_text(&out, err);
}

static bool effective;
static const char *config_file;

static const Option show_options[] = {
    {"effective", OPT_FLAG, &effective, NULL, "show the settings that 'houle serve' would use, and who says so", NULL},
    {"config", OPT_STRING, &config_file, "FILE", "with --effective: the file of 'houle serve --config'", NULL},
    {"json", OPT_FLAG, &as_json, NULL, "print it as JSON (docs/json-schema.md)", NULL},
    {0},
};

static int run_show(int n_argument, char **arguments, Error *err) {
    (void)n_argument;
    FAIL_IF(config_file != NULL && !effective, 2, "--config goes with --effective");
    if (effective)
        return show_effective(arguments[0], config_file, as_json, err) == OK ? 0 : 1;
    StoreList list;
    store_list_init(&list);
    const StoreModel *m;
    Status status = store_list(&list, err);
    if (status == OK)
        status = store_find(&list, arguments[0], &m, err);
    if (status == OK)
        status = as_json ? print_show_json(m, err) : print_show(m, err);
    store_list_free(&list);
    return status == OK ? 0 : 1;
}

const Command command_show = {
    .name = "show",
    .arguments = "NAME",
    .summary = "show what is known of a model: publisher, licence, revision, files",
    .text = "Of a model of the store, or of one in another program's cache. 'houle inspect' looks into the files "
            "themselves. With --effective NAME may also be a path, or a name of the configuration file.",
    .example = "  houle show small-4b:Q8_0\n  houle show small-4b:Q8_0 --json | jq -r '.files[].sha256'\n"
               "  houle show assistant --effective --config models.json",
    .options = show_options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run_show,
};

/* ---- rm ---------------------------------------------------------------------------------------------------------- */

static int run_rm(int n_argument, char **arguments, Error *err) {
    for (int i = 0; i < n_argument; i++) {
        Text report = {0}, shown = {0};
        const Status status = store_remove(arguments[i], &report, err);
        if (report.bytes != NULL)
            append_shown(&shown, report.bytes);
        text_free(&report);
        if (cli_print_text(&shown, err) != OK || status != OK)
            return 1;
    }
    return 0;
}

const Command command_rm = {
    .name = "rm",
    .arguments = "NAME ...",
    .summary = "remove models from the store",
    .text =
        "Files that houle downloaded or copied are deleted, if they are still as it left them. Models that were only\n"
        "registered are forgotten, and their files stay; so does everything that other programs put on this machine.\n"
        "Nothing is asked; what was done is said.",
    .example = "  houle rm small-4b:Q8_0",
    .options = NULL,
    .min_arguments = 1,
    .max_arguments = -1,
    .run = run_rm,
};

/* ---- verify ------------------------------------------------------------------------------------------------------ */

typedef struct Verifying {
    const StoreModel **models;
    size_t count;
    int unfinished; /* that were named */
} Verifying;

static void note_unfinished(const StoreModel *m) {
    Text line = {0};
    append_shown(&line, m->name);
    text_append_str(&line, ": not complete; 'houle pull' goes on with it\n");
    cli_print_text(&line, NULL);
}

/* Those named, or all of the index: other programs' files are theirs to check, unless they are asked for. */
static Status choose(const StoreList *list, int n_argument, char **arguments, Verifying *v, Error *err) {
    v->models = mem_array(n_argument > 0 ? (size_t)n_argument : list->count, sizeof *v->models, MEM_MISC);
    FAIL_IF(v->models == NULL, ERR_MEMORY, "no memory for the list");
    for (int i = 0; i < n_argument; i++) {
        const StoreModel *m;
        TRY(store_find(list, arguments[i], &m, err));
        v->models[v->count++] = m;
        v->unfinished += m->state != MODEL_COMPLETE;
    }
    for (size_t i = 0; n_argument == 0 && i < list->count; i++)
        if (list->items[i].id != 0)
            v->models[v->count++] = &list->items[i];
    for (size_t i = 0; i < v->count; i++)
        if (v->models[i]->state != MODEL_COMPLETE)
            note_unfinished(v->models[i]);
    return OK;
}

static Status print_verify(const VerifyReport *report, Error *err) {
    Text out = {0};
    char size[16];
    for (size_t i = 0; i < report->n_file; i++) {
        const VerifiedFile *f = &report->files[i];
        if (f->verdict == FILE_GOOD)
            continue;
        text_append_format(&out, "%-10s ", verdict_word(f->verdict));
        append_shown(&out, f->model->name);
        text_append_str(&out, "  ");
        append_shown(&out, f->file->path);
        text_append_str(&out, "  (");
        append_shown(&out, f->detail);
        text_append_str(&out, ")\n");
    }
    text_append_format(&out, "%zu of %zu file%s good (%s read)", report->n_file - report->n_bad - report->n_unknown,
                       report->n_file, report->n_file == 1 ? " is" : "s are", format_bytes(report->bytes, size));
    if (report->n_unknown > 0)
        text_append_format(&out, ", %zu without a known checksum", report->n_unknown);
    if (report->n_bad > 0)
        text_append_format(&out, ", %zu bad; 'houle pull NAME' fetches those of the store again", report->n_bad);
    text_append_char(&out, '\n');
    return cli_print_text(&out, err);
}

static Status print_verify_json(const VerifyReport *report, Error *err) {
    Text out = {0};
    JsonWriter w = {.out = &out};
    json_write_open(&w, '{');
    json_write_key(&w, "good");
    json_write_natural(&w, report->n_file - report->n_bad - report->n_unknown);
    json_write_key(&w, "bad");
    json_write_natural(&w, report->n_bad);
    json_write_key(&w, "unknown");
    json_write_natural(&w, report->n_unknown);
    json_write_key(&w, "files");
    json_write_open(&w, '[');
    for (size_t i = 0; i < report->n_file; i++) {
        const VerifiedFile *f = &report->files[i];
        json_write_open(&w, '{');
        write_key_string(&w, "model", f->model->name);
        write_key_string(&w, "file", f->file->path);
        write_key_string(&w, "verdict", verdict_word(f->verdict));
        write_key_string(&w, "detail", f->detail);
        json_write_close(&w, '}');
    }
    json_write_close(&w, ']');
    json_write_close(&w, '}');
    text_append_char(&out, '\n');
    return cli_print_text(&out, err);
}

static Status verify(Verifying *v, bool *good, Error *err) {
    CliProgress bar = {.bytes = true};
    const Progress progress = {.report = cli_progress, .user = &bar};
    VerifyReport report;
    cli_catch_interrupt();
    Status status = store_verify(v->models, v->count, &progress, &report, err);
    cli_progress_end(&bar);
    TRY(status);
    *good = report.n_bad == 0 && v->unfinished == 0;
    status = as_json ? print_verify_json(&report, err) : print_verify(&report, err);
    mem_free(report.files);
    return status;
}

static int run_verify(int n_argument, char **arguments, Error *err) {
    StoreList list;
    store_list_init(&list);
    Verifying v = {0};
    bool good = false;
    Status status = store_list(&list, err);
    if (status == OK)
        status = choose(&list, n_argument, arguments, &v, err);
    if (status == OK)
        status = verify(&v, &good, err);
    mem_free(v.models);
    store_list_free(&list);
    return status == OK && good ? 0 : 1;
}

const Command command_verify = {
    .name = "verify",
    .arguments = "[NAME ...]",
    .summary = "read models again and compare them with their checksums",
    .text = "Without a name, all models of the store. Missing, short and altered files are listed, and the exit status "
            "is 1\n"
            "if there are any. A model in another program's cache is verified when it is named, if that program keeps\n"
            "checksums.",
    .example = "  houle verify\n  houle verify small-4b:Q8_0",
    .options = json_options,
    .min_arguments = 0,
    .max_arguments = -1,
    .run = run_verify,
};
