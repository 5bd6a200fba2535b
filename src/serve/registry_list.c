/* registry_list.c - all models that can be asked for by name, as lists and metrics show them: what is known of each, and
 * of presets what is known of the models that compute them. */
#include "serve/registry_parts.h"

#include "base/clock.h"

#include <string.h>
#include <strings.h>

/* An item of a list gets texts of its own (path and licence may be NULL); on failure, too, it has no one else's. */
static Status name_info(ServedInfo *info, const char *name, const char *path, const char *licence, Error *err) {
    info->name = mem_strdup(name, MEM_NETWORK);
    info->path = path != NULL ? mem_strdup(path, MEM_NETWORK) : NULL;
    info->licence = licence != NULL ? mem_strdup(licence, MEM_NETWORK) : NULL;
    FAIL_IF(info->name == NULL || (path != NULL && info->path == NULL) || (licence != NULL && info->licence == NULL),
            ERR_MEMORY, "no memory for the list of models");
    return OK;
}

/* Behind the models, whose numbers they share. */
static Status list_presets(const Registry *r, ServedList *list, Error *err) {
    const char *name;
    json_t *preset;
    const size_t models = list->count;
    json_object_foreach(r->presets, name, preset) {
        const char *from = json_string_value(json_object_get(preset, "from"));
        for (size_t i = 0; from != NULL && i < models; i++) {
            const ServedInfo *base = &list->items[i];
            if (strcasecmp(base->name, from) != 0)
                continue;
            ServedInfo *own = &list->items[list->count++];
            *own = *base;
            own->is_preset = true;
            TRY(name_info(own, name, base->path, base->licence, err));
            break;
        }
    }
    return OK;
}

Status registry_list(Registry *r, ServedList *list, Error *err) {
    *list = (ServedList){0};
    pthread_mutex_lock(&r->lock);
    Status status = clock_us() - r->scanned_us > RESCAN_US ? registry_scan(r, err) : OK;
    size_t n = 0;
    for (const Served *e = r->models; e != NULL; e = e->next)
        n++;
    n += json_object_size(r->presets);
    list->items = mem_array(n + 1, sizeof *list->items, MEM_NETWORK);
    if (status == OK && list->items == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for the list of models");
    for (Served *e = r->models; status == OK && e != NULL; e = e->next) {
        if (e->gone)
            continue;
        ServedInfo *i = &list->items[list->count++];
        int64_t nanoseconds;
        status = name_info(i, e->name, e->path, e->licence, err);
        i->state = e->state;
        i->pinned = e->wish.pin;
        i->users = e->users;
        i->context = e->spec.context > 0 ? e->spec.context : e->wish.context;
        i->weight_bytes = e->weight_bytes;
        i->run_bytes = e->run_bytes;
        i->expires_s = -1;
        const uint64_t expires = served_expires_us(e), now = clock_us();
        if (e->state == SERVED_READY && expires != UINT64_MAX)
            i->expires_s = expires > now ? (int64_t)((expires - now) / 1000000) : 0;
        memcpy(i->error, e->err.text, sizeof i->error);
        if (e->path != NULL)
            registry_stat(e->path, &i->modified, &nanoseconds, &i->file_bytes);
        if (e->state == SERVED_READY && e->scheduler != NULL)
            i->stats = scheduler_stats(e->scheduler);
        if (e->state == SERVED_READY && weights_streamed(model_weights(e->model))) {
            i->streamed = true;
            i->experts = weights_counts(model_weights(e->model));
        }
    }
    if (status == OK)
        status = list_presets(r, list, err);
    pthread_mutex_unlock(&r->lock);
    if (status != OK)
        served_list_free(list);
    return status;
}

void served_list_free(ServedList *list) {
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->items[i].name);
        mem_free(list->items[i].path);
        mem_free(list->items[i].licence);
    }
    mem_free(list->items);
    *list = (ServedList){0};
}
