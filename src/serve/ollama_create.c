/* ollama_create.c - POST /api/create: a model of another with settings of its own, or of files that were sent before.
 *
 * The first kind is a preset: requests under its name get its instructions, messages and sampling fields unless they
 * say otherwise, and are computed by the model that it is made from; nothing is in memory twice. The second is a folder
 * of hard links to blobs, beside the archive. Both are kept in the archive and are there again after a restart. */
#include "serve/blobs.h"

#include "base/file.h"
#include "base/folder.h"
#include "store/model_name.h"
#include "text/chat_template.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILES_MOST = 1024, TEMPLATE_BYTES = 1 << 20 };

/* Sampling fields by the names that Ollama's clients have for them; NULL: the machine's, which is the server's own
 * business. Others go by the same name everywhere. */
static const struct {
    const char *theirs, *ours;
} parameter_names[] = {{"num_predict", "max_tokens"},
                       {"num_ctx", NULL},
                       {"num_thread", NULL},
                       {"num_gpu", NULL},
                       {"main_gpu", NULL},
                       {"num_batch", NULL},
                       {"use_mmap", NULL},
                       {"use_mlock", NULL},
                       {"num_keep", NULL},
                       {"numa", NULL},
                       {"low_vram", NULL},
                       {"f16_kv", NULL}};

static Status read_parameters(ApiCall *call, const json_t *parameters, json_t *fields, Error *err) {
    static const char *const known[] = {"temperature",
                                        "top_k",
                                        "top_p",
                                        "min_p",
                                        "typical_p",
                                        "seed",
                                        "stop",
                                        "repeat_penalty",
                                        "repeat_last_n",
                                        "presence_penalty",
                                        "frequency_penalty"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)parameters, key, value) {
        size_t i = 0, k = 0;
        while (i < COUNT(parameter_names) && strcmp(parameter_names[i].theirs, key) != 0)
            i++;
        while (k < COUNT(known) && strcmp(known[k], key) != 0)
            k++;
        if (i == COUNT(parameter_names) && k == COUNT(known))
            return field_wrong(call, "parameters", err, "'%.60s' is not known here", key);
        const char *name = i < COUNT(parameter_names) ? parameter_names[i].ours : key;
        if (name != NULL && !(strcmp(name, "max_tokens") == 0 && json_integer_value(value) < 0))
            json_object_set(fields, name, value);
    }
    return OK;
}

/* Their templates are written in the language Go; the engine runs those that models are published with. */
static Status check_template(ApiCall *call, const char *text, Error *err) {
    ChatTemplate *chat;
    Error own = {0};
    if (strlen(text) > TEMPLATE_BYTES || strstr(text, "{%") == NULL)
        return field_wrong(
            call, "template", err,
            "a Jinja template is expected (those in Go's notation cannot be run); without one the model's own "
            "is used");
    if (chat_template_of_text(text, strlen(text), "template", &chat, &own) != OK)
        return field_wrong(call, "template", err, "%s", own.text);
    chat_template_close(chat);
    return OK;
}

/* ---- of files ---------------------------------------------------------------------------------------------------- */

static Status link_file(ApiCall *call, const char *folder, const char *name, const json_t *digest, Error *err) {
    char *blob, *path = NULL;
    if (!path_is_inside(name) || strchr(name, '/') != NULL || name[0] == '.')
        return field_wrong(call, "files", err, "'%.100s' is no plain file name", name);
    if (!json_is_string(digest))
        return field_wrong(call, "files", err, "'%.100s': the blob's digest is expected", name);
    Status status = blob_path(call, json_string_value(digest), &blob, err);
    if (status == ERR_NOT_FOUND)
        call->http_status = 400;
    TRY(status);
    path = path_join(folder, name);
    if (path == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for a path");
    else if (link(blob, path) != 0 && errno != EEXIST)
        status = error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    mem_free(blob);
    mem_free(path);
    return status;
}

/* A folder for a name, in which no character of the name can lead elsewhere. */
static Status model_folder(ApiCall *call, const char *name, char **folder, Error *err) {
    const char *archive = archive_folder(call->server->archive);
    Text path = {0};
    FAIL_IF(archive == NULL, ERR_UNSUPPORTED, "this server keeps nothing on disk (--state-disk 0)");
    text_append_format(&path, "%s/created/", archive);
    for (const char *c = name; *c != '\0'; c++) {
        const bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                           *c == '-' || (*c == '.' && c > name);
        if (plain)
            text_append_char(&path, *c);
        else
            text_append_format(&path, "_%02x", (unsigned char)*c);
    }
    *folder = text_take(&path);
    FAIL_IF(*folder == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

/* Of one that was made here: it holds files only. */
static void remove_folder(const char *path) {
    Arena arena = {0};
    FolderEntry *entries;
    size_t n = 0;
    if (folder_list(path, 2 * FILES_MOST, &arena, &entries, &n, NULL) == OK)
        for (size_t i = 0; i < n; i++) {
            char *file = path_join(path, entries[i].name);
            if (file != NULL)
                unlink(file);
            mem_free(file);
        }
    rmdir(path);
    arena_free(&arena);
}

static Status create_of_files(ApiCall *call, const char *name, const json_t *files, char **model, Error *err) {
    const char *file, *gguf = NULL;
    json_t *digest;
    char *folder;
    if (json_object_size(files) > FILES_MOST)
        return field_wrong(call, "files", err, "at most %d are possible", FILES_MOST);
    TRY(model_folder(call, name, &folder, err));
    remove_folder(folder);
    Status status = file_make_directories(folder, err);
    json_object_foreach((json_t *)(uintptr_t)files, file, digest) {
        if (status == OK)
            status = link_file(call, folder, file, digest, err);
        gguf = ends_with(file, ".gguf") && (gguf == NULL || strcmp(file, gguf) < 0) ? file : gguf;
    }
    *model = status == OK ? (gguf != NULL ? path_join(folder, gguf) : mem_strdup(folder, MEM_NETWORK)) : NULL;
    ModelFiles *opened;
    if (status == OK && *model == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for a path");
    if (status == OK) { /* what cannot be opened is refused now, not when it is first asked for */
        Error own = {0};
        if (model_files_open(*model, &opened, &own) == OK)
            model_files_close(opened);
        else
            status = field_wrong(call, "files", err, "%s", own.text);
    }
    if (status != OK) {
        remove_folder(folder);
        mem_free(*model);
        *model = NULL;
    }
    mem_free(folder);
    return status;
}

void created_delete(ApiCall *call, const char *name) {
    char *folder;
    if (model_folder(call, name, &folder, NULL) != OK)
        return;
    remove_folder(folder);
    mem_free(folder);
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

typedef struct Wishes {
    const char *name, *from, *system, *template, *quantize;
    const json_t *files, *parameters, *messages, *license;
    bool stream;
} Wishes;

static Status read_fields(ApiCall *call, Wishes *w, Error *err) {
    static const char *const impossible[] = {"adapters", "renderer", "parser"};
    Fields f = fields_of(call, call->body);
    const char *older = NULL, *quantization = NULL;
    w->stream = true;
    TRY(field_string(&f, "model", &w->name, err));
    TRY(field_string(&f, "name", &older, err));
    TRY(field_string(&f, "from", &w->from, err));
    TRY(field_object(&f, "files", &w->files, err));
    TRY(field_string(&f, "system", &w->system, err));
    TRY(field_string(&f, "template", &w->template, err));
    TRY(field_object(&f, "parameters", &w->parameters, err));
    TRY(field_array(&f, "messages", &w->messages, err));
    TRY(field_bool(&f, "stream", &w->stream, err));
    TRY(field_string(&f, "quantize", &w->quantize, err));
    TRY(field_string(&f, "quantization", &quantization, err));
    w->license = field(&f, "license");
    for (size_t i = 0; i < COUNT(impossible); i++) {
        const json_t *value = field(&f, impossible[i]);
        if (json_object_size(value) > 0 || json_string_length(value) > 0)
            return field_wrong(call, impossible[i], err, "not possible here");
    }
    TRY(fields_end(&f, err));
    if (w->name == NULL)
        w->name = older;
    if (w->name == NULL || w->name[0] == '\0' || strlen(w->name) > 200)
        return field_wrong(call, "model", err, "a name for the new model is expected");
    if ((w->quantize != NULL && w->quantize[0] != '\0') || (quantization != NULL && quantization[0] != '\0'))
        return field_wrong(call, "quantize", err, "models are used as they are published, and not converted here");
    if ((w->from == NULL) == (w->files == NULL))
        return field_wrong(call, "from", err, "either \"from\", the name of a model, or \"files\" is expected");
    return w->template != NULL && w->template[0] != '\0' ? check_template(call, w->template, err) : OK;
}

static Status make_preset(ApiCall *call, const Wishes *w, json_t *preset, Error *err) {
    json_t *fields = json_object();
    json_object_set_new(preset, "fields", fields);
    TRY(read_parameters(call, w->parameters, fields, err));
    if (w->parameters != NULL)
        json_object_set(preset, "parameters", (json_t *)(uintptr_t)w->parameters);
    if (w->system != NULL)
        json_object_set_new(preset, "system", json_string(w->system));
    if (w->template != NULL && w->template[0] != '\0')
        json_object_set_new(preset, "template", json_string(w->template));
    if (w->messages != NULL)
        json_object_set(preset, "messages", (json_t *)(uintptr_t)w->messages);
    if (w->license != NULL)
        json_object_set(preset, "license", (json_t *)(uintptr_t)w->license);
    return OK;
}

/* One that is made from a preset has all of that preset's settings, too. */
static Status lay_over(ApiCall *call, const char *from, json_t *preset, Error *err) {
    char *known, *path;
    const Status found = registry_name(call->server->registry, from, &known, &path, err);
    if (found == ERR_NOT_FOUND)
        call->param = "from";
    TRY(found);
    json_t *base = registry_preset(call->server->registry, from);
    json_t *fields = json_copy(json_object_get(base, "fields"));
    if (fields != NULL && json_object_update(fields, json_object_get(preset, "fields")) == 0)
        json_object_set(preset, "fields", fields);
    json_decref(fields);
    json_object_update_missing(preset, base);
    json_object_del(preset, "path"); /* the base's; requests go there by its name */
    json_object_set_new(preset, "from", json_string(known));
    json_decref(base);
    mem_free(known);
    mem_free(path);
    return OK;
}

static Status create(ApiCall *call, const Wishes *w, json_t *preset, Error *err) {
    char *path = NULL;
    TRY(make_preset(call, w, preset, err));
    if (w->from != NULL)
        TRY(lay_over(call, w->from, preset, err));
    else
        TRY(create_of_files(call, w->name, w->files, &path, err));
    if (path != NULL)
        json_object_set_new(preset, "path", json_string(path));
    mem_free(path);
    TRY(registry_set_preset(call->server->registry, w->name, preset, err));
    return archive_put_preset(call->server->archive, w->name, preset, err);
}

Status ollama_create(ApiCall *call, Error *err) {
    Wishes w = {0};
    TRY(read_fields(call, &w, err));
    json_t *preset = json_object();
    FAIL_IF(preset == NULL, ERR_MEMORY, "no memory for a model");
    const Status status = create(call, &w, preset, err);
    json_decref(preset);
    TRY(status);
    if (!w.stream)
        return api_reply_json(call, 200, json_pack("{s:s}", "status", "success"), err);
    Text lines = {0};
    ndjson_append(&lines,
                  json_pack("{s:s}", "status", w.from != NULL ? "using the model that is here" : "verified the files"));
    ndjson_append(&lines, json_pack("{s:s}", "status", "writing manifest"));
    ndjson_append(&lines, json_pack("{s:s}", "status", "success"));
    http_reply(call->http, 200, "application/x-ndjson", &lines);
    return OK;
}

Status ollama_push(ApiCall *call, Error *err) {
    call->http_status = 501;
    call->code = "not_supported";
    return error_set(err, ERR_UNSUPPORTED,
                     "houle publishes nothing: upload the model's files with the hub's own tools");
}
