/* config.c - see config.h. A mistake in the file keeps the server from starting: settings that are silently passed over
 * are worse. */
#include "serve/config.h"

#include "base/file.h"
#include "format/json.h"

#include <string.h>

enum { CONFIG_BYTES = 4 << 20 };

Status config_read(const char *path, json_t **out, Error *err) {
    const char *key;
    json_t *value, *config;
    *out = NULL;
    TRY(json_read(path, CONFIG_BYTES, &config, err));
    Status status = json_is_object(config) ? OK : error_set(err, ERR_FORMAT, "%s: an object is expected", path);
    json_object_foreach (config, key, value) {
        const bool known = strcmp(key, "defaults") == 0 || strcmp(key, "models") == 0;
        if (status == OK && !known)
            status = error_set(err, ERR_FORMAT, "%s: there is no \"%s\" (only \"defaults\" and \"models\")", path, key);
        else if (status == OK && !json_is_object(value))
            status = error_set(err, ERR_FORMAT, "%s: \"%s\" must be an object", path, key);
    }
    if (status != OK) {
        json_decref(config);
        return status;
    }
    *out = config;
    return OK;
}

/* A path beside the configuration file, as a fresh string; NULL where it is none or needs no folder in front. */
static Status beside(const char *file, const char *path, char **whole, Error *err) {
    *whole = NULL;
    if (path == NULL || path[0] == '/')
        return OK;
    Text text = {0};
    text_append(&text, file, (size_t)(path_name(file) - file));
    text_append_str(&text, path);
    *whole = text_take(&text);
    FAIL_IF(*whole == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

/* "draft" may be a path, too; if there is no such file it is a name. */
static Status place_draft(const char *file, json_t *settings, Error *err) {
    char *whole;
    TRY(beside(file, json_string_value(json_object_get(settings, "draft")), &whole, err));
    Status status = OK;
    if (whole != NULL && file_exists(whole) && json_object_set_new(settings, "draft", json_string(whole)) != 0)
        status = error_set(err, ERR_MEMORY, "no memory for a path");
    mem_free(whole);
    return status;
}

static Status add_model(Registry *r, const char *file, const char *name, json_t *settings, Error *err) {
    char *whole;
    TRY(beside(file, json_string_value(json_object_get(settings, "path")), &whole, err));
    Status status = place_draft(file, settings, err);
    if (status == OK)
        status = registry_add(r, name, whole, settings, err);
    mem_free(whole);
    if (status != OK)
        error_context(err, "%s", file);
    return status;
}

Status config_apply(const json_t *config, const char *path, Registry *r, Error *err) {
    const char *name;
    json_t *settings;
    json_object_foreach (json_object_get(config, "models"), name, settings)
        TRY(add_model(r, path, name, settings, err));
    return OK;
}
