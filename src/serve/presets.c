/* presets.c - models that are another one with settings of their own (registry.h): requests under their names are
 * computed by that model, with what the preset says laid under each request. */
#include "serve/registry_parts.h"

#include "base/text.h"

#include <string.h>
#include <strings.h>

size_t registry_stem_bytes(const char *name) {
    const size_t bytes = strlen(name);
    return bytes > 7 && ends_with(name, ":latest") ? bytes - 7 : bytes;
}

/* Under the lock; the key that is meant, or NULL. */
static const char *find_key(const Registry *r, const char *name) {
    const char *key;
    json_t *value;
    const size_t bytes = registry_stem_bytes(name);
    json_object_foreach(r->presets, key, value) {
        if (registry_stem_bytes(key) == bytes && strncasecmp(key, name, bytes) == 0)
            return key;
    }
    return NULL;
}

json_t *registry_preset(Registry *r, const char *name) {
    pthread_mutex_lock(&r->lock);
    const char *key = find_key(r, name);
    json_t *preset = key != NULL ? json_incref(json_object_get(r->presets, key)) : NULL;
    pthread_mutex_unlock(&r->lock);
    return preset;
}

/* Under the lock. What was made under a key is found no more; requests that it answers now end as they began. */
static void drop(Registry *r, const char *key) {
    const bool own = json_object_get(json_object_get(r->presets, key), "path") != NULL;
    for (Served *e = r->models; own && e != NULL; e = e->next)
        if (strcasecmp(e->name, key) == 0) {
            e->gone = true;
            e->leaving = e->state == SERVED_READY;
        }
    (void)registry_drop_alias(r, key);
    json_object_del(r->presets, key);
}

/* Under the lock. The name must not be that of a model that was not made so. */
static Status set(Registry *r, const char *name, const json_t *preset, Error *err) {
    const char *path = json_string_value(json_object_get(preset, "path")),
               *from = json_string_value(json_object_get(preset, "from")), *key = find_key(r, name);
    const Served *taken = registry_find(r, name);
    FAIL_IF(key == NULL && taken != NULL && strcasecmp(taken->name, name) == 0, ERR_ARGUMENT,
            "'%.200s' is the name of another model", name);
    FAIL_IF((path == NULL) == (from == NULL), ERR_FORMAT, "the preset '%.200s' names no model", name);
    if (r->presets == NULL)
        r->presets = json_object();
    if (key != NULL)
        drop(r, key);
    FAIL_IF(json_object_set(r->presets, name, (json_t *)(uintptr_t)preset) != 0, ERR_MEMORY, "no memory for a preset");
    if (from != NULL)
        return registry_add_alias(r, from, name, false, err);
    return registry_add_entry(r, name, path, NULL, err) != NULL ? OK : err != NULL ? err->status : ERR_MEMORY;
}

Status registry_set_preset(Registry *r, const char *name, const json_t *preset, Error *err) {
    pthread_mutex_lock(&r->lock);
    const Status status = set(r, name, preset, err);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return status;
}

bool registry_drop_preset(Registry *r, const char *name, char **own) {
    pthread_mutex_lock(&r->lock);
    const char *key = find_key(r, name);
    const bool found = key != NULL;
    *own = found ? mem_strdup(key, MEM_NETWORK) : NULL;
    if (found) {
        drop(r, key);
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return found;
}
