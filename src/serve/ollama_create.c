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
#include <strings.h>
#include <unistd.h>

enum { NAME_MOST = 200, FILES_MOST = 1024, TEMPLATE_BYTES = 1 << 20 };

static bool is_one_of(const char *word, const char *const *words) {
    while (*words != NULL && strcmp(*words, word) != 0)
        words++;
    return *words != NULL;
}

/* Sampling fields go by the same name everywhere, but for the length of answers. */
static Status read_parameters(ApiCall *call, const json_t *parameters, json_t *fields, Error *err) {
    static const char *const known[] = {"temperature",    "top_k",         "top_p",            "min_p",
                                        "typical_p",      "seed",          "stop",             "repeat_penalty",
                                        "repeat_last_n",  "presence_penalty", "frequency_penalty", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)parameters, key, value) {
        const bool length = strcmp(key, "num_predict") == 0;
        if (is_one_of(key, ollama_machine_options) || (length && json_integer_value(value) < 0))
            continue;
        if (!length && !is_one_of(key, known))
            return field_wrong(call, "parameters", err, "'%.60s' is not known here", key);
        json_object_set(fields, length ? "max_tokens" : key, value);
    }
    return OK;
}

Status ollama_check_notation(ApiCall *call, const char *text, const char *otherwise, Error *err) {
    if (strstr(text, "{%") != NULL || strstr(text, "{{ messages") != NULL)
        return OK;
    return field_wrong(call, "template", err,
                       "a Jinja template is expected (those in Go's notation cannot be run); %s", otherwise);
}

static Status check_template(ApiCall *call, const char *text, Error *err) {
    ChatTemplate *chat;
    Error own = {0};
    TRY(ollama_check_notation(call, text, "without one the model's own is used", err));
    if (strlen(text) > TEMPLATE_BYTES)
        return field_wrong(call, "template", err, "at most %d bytes are possible", TEMPLATE_BYTES);
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

/* "STATE/created/", in which a name's folder is; NULL without memory. */
static char *created_place(const ApiCall *call) {
    return path_join(archive_folder(call->server->archive), "created/");
}

/* A folder for a name, in which no character of the name can lead elsewhere: one for all spellings of it. */
static Status model_folder(ApiCall *call, const char *name, char **folder, Error *err) {
    FAIL_IF(archive_folder(call->server->archive) == NULL, ERR_UNSUPPORTED,
            "this server keeps nothing on disk (--state-disk 0)");
    char *place = created_place(call);
    Text path = {.failed = place == NULL};
    text_append_str(&path, place != NULL ? place : "");
    mem_free(place);
    for (size_t i = 0; i < registry_stem_bytes(name); i++) {
        const char c = (char)(name[i] | (name[i] >= 'A' && name[i] <= 'Z' ? 32 : 0));
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || (c == '.' && i > 0))
            text_append_char(&path, c);
        else
            text_append_format(&path, "_%02x", (unsigned char)c);
    }
    *folder = text_take(&path);
    FAIL_IF(*folder == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

/* The folder in which a preset's files are; NULL when it has none here. */
static char *folder_of(const ApiCall *call, const json_t *preset) {
    const char *path = json_string_value(json_object_get(preset, "path"));
    char *folder = NULL,
         *place = path != NULL && archive_folder(call->server->archive) != NULL ? created_place(call) : NULL;
    if (place != NULL && starts_with(path, place))
        folder = mem_strndup(path, strlen(place) + strcspn(path + strlen(place), "/"), MEM_NETWORK);
    mem_free(place);
    return folder;
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

/* The file by which a folder is opened; NULL: by itself. */
static const char *first_gguf(const json_t *files) {
    const char *file, *first = NULL;
    json_t *digest;
    json_object_foreach((json_t *)(uintptr_t)files, file, digest) {
        if (ends_with(file, ".gguf") && (first == NULL || strcmp(file, first) < 0))
            first = file;
    }
    return first;
}

static char *opened_by(const char *folder, const json_t *files) {
    const char *gguf = first_gguf(files);
    return gguf != NULL ? path_join(folder, gguf) : mem_strdup(folder, MEM_NETWORK);
}

/* What cannot be opened is refused now, not when it is first asked for. */
static Status check_model(ApiCall *call, const char *folder, const json_t *files, Error *err) {
    char *path = opened_by(folder, files);
    ModelFiles *opened;
    Error own = {0};
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    const Status status = model_files_open(path, &opened, &own);
    mem_free(path);
    if (status != OK)
        return field_wrong(call, "files", err, "%s", own.text);
    model_files_close(opened);
    return OK;
}

/* Made beside the folder, and put in the place of what is there when it is known to be good. */
static Status fill_folder(ApiCall *call, const char *folder, const char *fresh, const json_t *files, Error *err) {
    const char *file;
    json_t *digest;
    remove_folder(fresh);
    TRY(file_make_directories(fresh, err));
    json_object_foreach((json_t *)(uintptr_t)files, file, digest) {
        TRY(link_file(call, fresh, file, digest, err));
    }
    TRY(check_model(call, fresh, files, err));
    remove_folder(folder);
    FAIL_IF(rename(fresh, folder) != 0, ERR_IO, "%s: %s", folder, strerror(errno));
    return OK;
}

static Status create_of_files(ApiCall *call, const char *name, const json_t *files, char **model, Error *err) {
    char *folder;
    *model = NULL;
    if (json_object_size(files) > FILES_MOST)
        return field_wrong(call, "files", err, "at most %d are possible", FILES_MOST);
    TRY(model_folder(call, name, &folder, err));
    Text fresh = {0};
    text_append_format(&fresh, "%s_new", folder); /* no name's: behind '_' stand digits */
    Status status = text_check(&fresh, err);
    if (status == OK) {
        status = fill_folder(call, folder, fresh.bytes, files, err);
        if (status != OK)
            remove_folder(fresh.bytes);
    }
    if (status == OK && (*model = opened_by(folder, files)) == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for a path");
    text_free(&fresh);
    mem_free(folder);
    return status;
}

void created_delete(const ApiCall *call, const json_t *preset, const json_t *but) {
    char *folder = folder_of(call, preset), *kept = folder_of(call, but);
    if (folder != NULL && (kept == NULL || strcmp(folder, kept) != 0))
        remove_folder(folder);
    mem_free(folder);
    mem_free(kept);
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

typedef struct Wishes {
    char name[NAME_MOST + 1]; /* without ":latest" */
    const char *from, *system, *template, *quantize;
    const json_t *files, *parameters, *messages, *license;
    bool stream;
} Wishes;

static Status read_fields(ApiCall *call, Wishes *w, Error *err) {
    static const char *const impossible[] = {"adapters", "renderer", "parser"};
    Fields f = fields_of(call, call->body);
    const char *name = NULL, *older = NULL, *quantization = NULL;
    w->stream = true;
    TRY(field_string(&f, "model", &name, err));
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
    if (name == NULL)
        name = older;
    if (name == NULL || name[0] == '\0' || strlen(name) > NAME_MOST)
        return field_wrong(call, "model", err, "a name for the new model is expected");
    memcpy(w->name, name, registry_stem_bytes(name));
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
static Status lay_over(ApiCall *call, const Wishes *w, json_t *preset, Error *err) {
    char *known, *path;
    const Status found = registry_name(call->server->registry, w->from, &known, &path, err);
    if (found == ERR_NOT_FOUND)
        call->param = "from";
    TRY(found);
    json_t *base = registry_preset(call->server->registry, w->from);
    json_t *fields = json_copy(json_object_get(base, "fields"));
    if (fields != NULL && json_object_update(fields, json_object_get(preset, "fields")) == 0)
        json_object_set(preset, "fields", fields);
    json_decref(fields);
    json_object_update_missing(preset, base);
    const size_t bytes = registry_stem_bytes(known);
    const bool itself = bytes == strlen(w->name) && strncasecmp(known, w->name, bytes) == 0;
    if (json_object_get(base, "path") == NULL || !itself) { /* else it keeps its own files */
        json_object_del(preset, "path");                    /* the base's; requests go there by its name */
        json_object_set_new(preset, "from", json_string(known));
    }
    json_decref(base);
    mem_free(known);
    mem_free(path);
    return OK;
}

/* Registers and keeps it; what is not kept in the end leaves nothing behind. */
static Status put_preset(ApiCall *call, const char *name, const json_t *preset, const json_t *before, Error *err) {
    Status status = registry_set_preset(call->server->registry, name, preset, err);
    if (status == OK)
        status = archive_put_preset(call->server->archive, name, preset, err);
    if (status != OK && before == NULL) {
        char *own;
        (void)registry_drop_preset(call->server->registry, name, &own);
        mem_free(own);
        created_delete(call, preset, NULL);
    }
    if (status == OK)
        created_delete(call, before, preset);
    return status;
}

static Status create(ApiCall *call, const Wishes *w, json_t *preset, Error *err) {
    char *path = NULL;
    TRY(make_preset(call, w, preset, err));
    if (w->from != NULL)
        TRY(lay_over(call, w, preset, err));
    else
        TRY(create_of_files(call, w->name, w->files, &path, err));
    if (path != NULL)
        json_object_set_new(preset, "path", json_string(path));
    mem_free(path);
    json_t *before = registry_preset(call->server->registry, w->name);
    const Status status = put_preset(call, w->name, preset, before, err);
    json_decref(before);
    return status;
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
