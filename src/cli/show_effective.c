/* show_effective.c - see show_effective.h. The layers, from the first that counts:
 *
 *     the model's own entry of the configuration file ── its "defaults" ── the model's files ── built in
 *
 * What a request says comes before all of them. Nothing is loaded: headers and settings are read. */
#include "cli/show_effective.h"

#include "base/file.h"
#include "cli/cli_print.h"
#include "engine/draft.h"
#include "format/json.h"
#include "serve/config.h"
#include "serve/registry_parts.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct Layers {
    const char *config_path;
    const char *name;        /* of the entry */
    const json_t *own, *all; /* settings of the entry, and of all models; NULL = none */
    json_t *rows;            /* array of {"name", "value", "from"} */
} Layers;

static void add_row(Layers *l, const char *name, json_t *value, const char *from) {
    json_array_append_new(l->rows, json_pack("{s:s, s:o, s:s}", "name", name, "value", value, "from", from));
}

/* Where the configuration file says it; NULL when it does not. */
static const json_t *configured(const Layers *l, const char *section, const char *key, char from[300]) {
    const json_t *own = section != NULL ? json_object_get(l->own, section) : l->own,
                 *all = section != NULL && own == NULL ? json_object_get(l->all, section)
                        : section == NULL              ? l->all
                                                       : NULL;
    const json_t *value = json_object_get(own, key);
    if (value != NULL)
        snprintf(from, 300, "%s, models.%s", l->config_path, l->name);
    else if ((value = json_object_get(all, key)) != NULL)
        snprintf(from, 300, "%s, defaults", l->config_path);
    return value;
}

/* A setting of the server: its value if nobody says anything, and who that is from. */
static void add_setting(Layers *l, const char *key, json_t *fallback, const char *from) {
    char where[300];
    const json_t *value = configured(l, NULL, key, where);
    if (value == NULL) {
        add_row(l, key, fallback, from);
        return;
    }
    json_decref(fallback);
    add_row(l, key, json_incref((json_t *)(uintptr_t)value), where);
}

/* A field of requests. */
static void add_field(Layers *l, const char *key, double recommended, double built_in, bool whole) {
    char where[300];
    const json_t *value = configured(l, "defaults", key, where);
    if (value != NULL) {
        add_row(l, key, json_incref((json_t *)(uintptr_t)value), where);
        return;
    }
    const bool same = recommended >= built_in && recommended <= built_in;
    add_row(l, key, whole ? json_integer((json_int_t)recommended) : json_real(recommended),
            same ? "built in" : "the model's files");
}

static void add_sampling(Layers *l, const Model *model) {
    const SampleSpec s = model_sampling(model), d = sample_defaults();
    add_field(l, "temperature", (double)s.temperature, (double)d.temperature, false);
    add_field(l, "top_k", s.top_k, d.top_k, true);
    add_field(l, "top_p", (double)s.top_p, (double)d.top_p, false);
    add_field(l, "min_p", (double)s.min_p, (double)d.min_p, false);
    add_field(l, "repeat_penalty", (double)s.repeat_penalty, (double)d.repeat_penalty, false);
    /* Others that the configuration file lays under requests. */
    static const char *const shown[] = {"temperature", "top_k", "top_p", "min_p", "repeat_penalty"};
    const json_t *fields = json_object_get(l->own, "defaults");
    if (fields == NULL)
        fields = json_object_get(l->all, "defaults");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)fields, key, value) {
        char where[300];
        bool new = true;
        for (size_t i = 0; i < COUNT(shown); i++)
            new = new &&strcmp(shown[i], key) != 0;
        if (new &&configured(l, "defaults", key, where) != NULL)
            add_row(l, key, json_incref(value), where);
    }
}

static void add_all(Layers *l, const Model *model) {
    const int declared = model_context(model);
    const ChatRequest none = {0};
    const char *format = model_reply_format(model, &none);
    add_setting(l, "context", json_integer(declared > 0 ? MIN(declared, USUAL_CONTEXT) : USUAL_CONTEXT),
                declared > 0 && declared <= USUAL_CONTEXT ? "the model's files; less if it does not fit"
                                                          : "built in; less if it does not fit");
    add_setting(l, "sequences", json_integer(USUAL_SEQUENCES), "built in");
    add_setting(l, "cache_tokens", json_string("twice the context"), "built in");
    add_setting(l, "queue", json_integer(USUAL_WAITING), "built in");
    add_setting(l, "batch", json_integer(USUAL_ROWS), "built in");
    add_setting(l, "cache_type", json_string("f16"), "built in");
    add_setting(l, "precision", json_string("fast"), "built in");
    char from[300];
    add_setting(l, "draft", json_null(), "built in");
    add_setting(l, "draft_tokens", json_integer(draft_usual(configured(l, NULL, "draft", from) != NULL)), "built in");
    add_setting(l, "pin", json_false(), "built in");
    add_setting(l, "keep_alive", json_string("--keep-alive"), "houle serve's options");
    add_setting(l, "reply_format", json_string(format != NULL ? format : "plain"), "the model's files");
    add_sampling(l, model);
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

static bool has_alias(const json_t *settings, const char *name) {
    size_t i;
    json_t *alias;
    json_array_foreach(json_object_get(settings, "aliases"), i,
                       alias) if (json_is_string(alias) && strcasecmp(json_string_value(alias), name) == 0) return true;
    return false;
}

static void find_entry(const json_t *config, const char *model, Layers *l) {
    const char *name;
    json_t *settings;
    json_object_foreach(json_object_get(config, "models"), name,
                        settings) if (l->own == NULL && (strcasecmp(name, model) == 0 || has_alias(settings, model))) {
        l->name = name;
        l->own = settings;
    }
}

static Status find_path(const Layers *l, const char *model, char **path, Error *err) {
    const char *given = json_string_value(json_object_get(l->own, "path"));
    if (given == NULL)
        return store_resolve(l->name, path, err);
    Text text = {0};
    if (given[0] != '/')
        text_append(&text, l->config_path, (size_t)(path_name(l->config_path) - l->config_path));
    text_append_str(&text, given);
    *path = text_take(&text);
    FAIL_IF(*path == NULL, ERR_MEMORY, "no memory for the path of %s", model);
    return OK;
}

static Status print_rows(const Layers *l, const char *path, bool as_json, Error *err) {
    if (as_json)
        return cli_print_json(json_pack("{s:s, s:s, s:O}", "name", l->name, "path", path, "settings", l->rows),
                              JSON_INDENT(2), err);
    Text out = {0};
    size_t i;
    json_t *row;
    text_append_str(&out, "model            ");
    text_append_printable(&out, path, strlen(path));
    text_append_char(&out, '\n');
    json_array_foreach(l->rows, i, row) {
        char *value =
            json_dumps(json_object_get(row, "value"), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(7));
        const char *from = json_string_value(json_object_get(row, "from"));
        Text shown = {0};
        text_append_printable(&shown, value != NULL ? value : "", value != NULL ? strlen(value) : 0);
        text_append_format(&out, "%-16s %-22s ", json_string_value(json_object_get(row, "name")),
                           shown.bytes != NULL ? shown.bytes : "");
        text_append_printable(&out, from, strlen(from));
        text_append_char(&out, '\n');
        text_free(&shown);
        mem_free(value);
    }
    return cli_print_text(&out, err);
}

static Status show(Layers *l, const char *name, bool as_json, Error *err) {
    ModelFiles *files;
    Model *model;
    ModelSettings checked;
    char *path;
    if (l->own != NULL)
        TRY(registry_read_settings(l->name, l->own, &checked, err));
    if (l->all != NULL)
        TRY(registry_read_settings("of all", l->all, &checked, err));
    TRY(find_path(l, name, &path, err));
    Status status = model_files_open(path, &files, err);
    if (status == OK) {
        status = model_describe(files, &model, err);
        if (status == OK) {
            add_all(l, model);
            status = print_rows(l, path, as_json, err);
            model_close(model);
        }
        model_files_close(files);
    }
    mem_free(path);
    return status;
}

Status show_effective(const char *model, const char *config_path, bool as_json, Error *err) {
    json_t *config = NULL;
    json_setup();
    Layers l = {.config_path = config_path, .name = model, .rows = json_array()};
    Status status = l.rows == NULL ? error_set(err, ERR_MEMORY, "no memory for the settings") : OK;
    if (status == OK && config_path != NULL)
        status = config_read(config_path, &config, err);
    if (status == OK) {
        l.all = json_object_get(config, "defaults");
        find_entry(config, model, &l);
        status = show(&l, model, as_json, err);
    }
    json_decref(config);
    json_decref(l.rows);
    return status;
}
