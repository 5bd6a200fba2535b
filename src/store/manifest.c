/* manifest.c - see manifest.h. */
#include "store/manifest.h"

#include "base/file.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/json_write.h"

#include <string.h>

enum { MANIFEST_LIMIT_BYTES = 16 << 20, MANIFEST_MAX_FILES = 20000, MAX_STRING_BYTES = 2000 };

static void write_file(JsonWriter *w, const ModelFile *f) {
    json_write_open(w, '{');
    json_write_key(w, "path");
    json_write_string(w, f->path);
    json_write_key(w, "bytes");
    json_write_natural(w, f->bytes);
    json_write_key(w, "sha256");
    json_write_string(w, f->sha256);
    if (*f->git_sha1 != '\0') {
        json_write_key(w, "git_sha1");
        json_write_string(w, f->git_sha1);
    }
    json_write_close(w, '}');
}

Status manifest_write(const StoreModel *model, Text *text, Error *err) {
    JsonWriter w = {.out = text};
    const struct {
        const char *key, *value;
    } strings[] = {{"name", model->name},
                   {"origin", model->origin},
                   {"publisher", model->publisher},
                   {"licence", model->licence},
                   {"licence_link", model->licence_link},
                   {"revision", model->revision},
                   {"label", model->label},
                   {"entry", model->entry}};
    json_write_open(&w, '{');
    json_write_key(&w, "houle_manifest");
    json_write_int(&w, 1);
    for (size_t i = 0; i < COUNT(strings); i++) {
        json_write_key(&w, strings[i].key);
        json_write_string(&w, strings[i].value);
    }
    json_write_key(&w, "since");
    json_write_int(&w, model->since);
    json_write_key(&w, "files");
    json_write_open(&w, '[');
    for (size_t i = 0; i < model->n_file; i++)
        write_file(&w, &model->files[i]);
    json_write_close(&w, ']');
    json_write_close(&w, '}');
    text_append_char(text, '\n');
    return text_check(text, err);
}

/* A string without control characters, "" for anything else. */
static Status take_string(const json_t *object, const char *key, Arena *arena, const char **to, Error *err) {
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (text == NULL || json_string_length(value) > MAX_STRING_BYTES || strlen(text) != json_string_length(value))
        text = "";
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F)
            text = "";
    *to = arena_strdup(arena, text);
    FAIL_IF(*to == NULL, ERR_MEMORY, "no memory for " MANIFEST_NAME);
    return OK;
}

static Status take_file(const json_t *value, Arena *arena, const char *folder, ModelFile *f, Error *err) {
    *f = (ModelFile){.identity = ""};
    TRY(take_string(value, "path", arena, &f->path, err));
    TRY(take_string(value, "sha256", arena, &f->sha256, err));
    TRY(take_string(value, "git_sha1", arena, &f->git_sha1, err));
    const json_t *bytes = json_object_get(value, "bytes");
    FAIL_IF(!path_is_inside(f->path) || !json_is_integer(bytes) || json_integer_value(bytes) < 0 ||
                (*f->sha256 != '\0' && !digest_is_hex(DIGEST_SHA256, f->sha256)) ||
                (*f->git_sha1 != '\0' && !digest_is_hex(DIGEST_SHA1, f->git_sha1)),
            ERR_FORMAT, "%s/" MANIFEST_NAME ": the entry of file %.200s makes no sense", folder, f->path);
    f->bytes = (uint64_t)json_integer_value(bytes);
    return OK;
}

static Status take_manifest(const json_t *root, const char *folder, Arena *arena, StoreModel *model, Error *err) {
    FAIL_IF(!json_is_integer(json_object_get(root, "houle_manifest")), ERR_FORMAT,
            "%s/" MANIFEST_NAME ": not written by houle", folder);
    const struct {
        const char *key;
        const char **to;
    } strings[] = {{"name", &model->name},
                   {"origin", &model->origin},
                   {"publisher", &model->publisher},
                   {"licence", &model->licence},
                   {"licence_link", &model->licence_link},
                   {"revision", &model->revision},
                   {"label", &model->label},
                   {"entry", &model->entry}};
    for (size_t i = 0; i < COUNT(strings); i++)
        TRY(take_string(root, strings[i].key, arena, strings[i].to, err));
    FAIL_IF(*model->entry != '\0' && !path_is_inside(model->entry), ERR_FORMAT,
            "%s/" MANIFEST_NAME ": names a file outside the folder", folder);
    const json_t *files = json_object_get(root, "files");
    const size_t n = json_array_size(files);
    FAIL_IF(n == 0 || n > MANIFEST_MAX_FILES, ERR_FORMAT, "%s/" MANIFEST_NAME ": names %zu files", folder, n);
    model->files = arena_array(arena, n, sizeof *model->files);
    FAIL_IF(model->files == NULL, ERR_MEMORY, "no memory for " MANIFEST_NAME);
    for (size_t i = 0; i < n; i++) {
        TRY(take_file(json_array_get(files, i), arena, folder, &model->files[i], err));
        model->n_file++;
        model->bytes += model->files[i].bytes;
    }
    return OK;
}

Status manifest_read(const char *folder, Arena *arena, StoreModel *model, bool *found, Error *err) {
    char *path = path_join(folder, MANIFEST_NAME);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    *found = file_exists(path);
    json_t *root = NULL;
    Status status = *found ? json_read(path, MANIFEST_LIMIT_BYTES, &root, err) : OK;
    if (status == OK && *found)
        status = take_manifest(root, folder, arena, model, err);
    json_decref(root);
    mem_free(path);
    return status;
}
