/* registry_names.c - which models there are: configured ones, those in a folder, those of the store; their other names
 * and their settings. */
#include "serve/registry_parts.h"

#include "base/clock.h"
#include "base/file.h"
#include "format/json.h"
#include "store/model_name.h"
#include "store/store.h"
#include "text/reply.h"

#include <dirent.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* ---- settings ---------------------------------------------------------------------------------------------------- */

static Status read_count(const char *name, const char *key, const json_t *value, int64_t least, int64_t most,
                         int64_t *out, Error *err) {
    FAIL_IF(!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most,
            ERR_ARGUMENT, "model %s: \"%s\" must be a whole number from %lld to %lld", name, key, (long long)least,
            (long long)most);
    *out = json_integer_value(value);
    return OK;
}

static Status read_word(const char *name, const char *key, const json_t *value, const char *const *words, int *out,
                        Error *err) {
    const char *text = json_string_value(value);
    for (int i = 0; text != NULL && words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return OK;
        }
    Text list = {0};
    for (int i = 0; words[i] != NULL; i++)
        text_append_format(&list, "%s%s", i > 0 ? ", " : "", words[i]);
    const Status status = error_set(err, ERR_ARGUMENT, "model %s: \"%s\" must be one of %s", name, key,
                                    list.bytes != NULL ? list.bytes : "");
    text_free(&list);
    return status;
}

Status registry_read_settings(const char *name, const json_t *settings, ModelSettings *w, Error *err) {
    static const char *const precisions[] = {"f32", "fast", NULL}, *const caches[] = {"f32", "f16", "q8_0", NULL};
    static const struct {
        const char *key;
        size_t at;
        int least;
    } counts[] = {
        {"context", offsetof(ModelSettings, context), 16},  {"sequences", offsetof(ModelSettings, sequences), 1},
        {"queue", offsetof(ModelSettings, max_waiting), 1}, {"draft_tokens", offsetof(ModelSettings, draft_tokens), 0},
        {"batch", offsetof(ModelSettings, max_rows), 8},
    };
    const char *key;
    json_t *value;
    *w = (ModelSettings){0};
    FAIL_IF(!json_is_object(settings), ERR_ARGUMENT, "model %s: an object of settings is expected", name);
    json_object_foreach ((json_t *)(uintptr_t)settings, key, value) {
        int64_t number = 0;
        int word = 0;
        size_t i = 0;
        while (i < COUNT(counts) && strcmp(counts[i].key, key) != 0)
            i++;
        if (i < COUNT(counts)) {
            TRY(read_count(name, key, value, counts[i].least, 1 << 24, &number, err));
            *(int *)(void *)((char *)w + counts[i].at) = (int)number;
            w->draft_tokens_given |= strcmp(key, "draft_tokens") == 0;
        } else if (strcmp(key, "cache_tokens") == 0) {
            TRY(read_count(name, key, value, 64, (int64_t)1 << 40, &w->cache_tokens, err));
        } else if (strcmp(key, "memory") == 0) {
            FAIL_IF(!json_is_string(value) || !parse_bytes(json_string_value(value), &w->memory_bytes) || w->memory_bytes == 0,
                    ERR_ARGUMENT, "model %s: \"memory\" must be a size such as \"12G\"", name);
        } else if (strcmp(key, "precision") == 0) {
            TRY(read_word(name, key, value, precisions, &word, err));
            w->precision_given = true;
            w->precision = word == 0 ? PRECISION_F32 : PRECISION_FAST;
        } else if (strcmp(key, "cache_type") == 0) {
            TRY(read_word(name, key, value, caches, &word, err));
            w->cache_type_given = true;
            w->cache_type = word == 0 ? CACHE_F32 : word == 1 ? CACHE_F16 : CACHE_Q8_0;
        } else if (strcmp(key, "pin") == 0) {
            FAIL_IF(!json_is_boolean(value), ERR_ARGUMENT, "model %s: \"pin\" must be true or false", name);
            w->pin = json_is_true(value);
        } else if (strcmp(key, "keep_alive") == 0) {
            TRY(read_count(name, key, value, -1, (int64_t)1 << 40, &w->keep_alive_s, err));
            w->keep_alive_given = true;
        } else if (strcmp(key, "draft") == 0) {
            w->draft = json_string_value(value);
            FAIL_IF(w->draft == NULL || w->draft[0] == '\0', ERR_ARGUMENT,
                    "model %s: \"draft\" must be the path or the name of a model", name);
        } else if (strcmp(key, "reply_format") == 0) {
            w->reply_format = json_string_value(value);
            FAIL_IF(w->reply_format == NULL || !reply_format_known(w->reply_format), ERR_ARGUMENT,
                    "model %s: \"reply_format\" names no format ('houle reply --help' lists them)", name);
        } else if (strcmp(key, "defaults") == 0) {
            FAIL_IF(!json_is_object(value), ERR_ARGUMENT, "model %s: \"defaults\" must be an object of request fields",
                    name);
            w->defaults = value;
        } else
            FAIL_IF(strcmp(key, "path") != 0 && strcmp(key, "aliases") != 0, ERR_ARGUMENT,
                    "model %s: there is no setting \"%s\"", name, key);
    }
    return OK;
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

void registry_free_entry(Served *e) {
    if (e == NULL)
        return;
    mem_free(e->name);
    mem_free(e->path);
    mem_free(e->licence);
    json_decref(e->settings);
    mem_free(e);
}

/* Takes the settings (NULL = none). */
Served *registry_add_entry(Registry *r, const char *name, const char *path, json_t *settings, Error *err) {
    json_t *all = r->spec.defaults != NULL ? json_copy((json_t *)(uintptr_t)r->spec.defaults) : json_object();
    Served *e = mem_zalloc(sizeof *e, MEM_MISC);
    bool good = e != NULL && all != NULL && (settings == NULL || json_object_update(all, settings) == 0);
    json_decref(settings);
    if (good) {
        e->registry = r;
        e->settings = all;
        all = NULL;
        e->name = mem_strdup(name, MEM_MISC);
        e->path = path != NULL ? mem_strdup(path, MEM_MISC) : NULL;
        good = e->name != NULL && (path == NULL || e->path != NULL);
    }
    json_decref(all);
    if (!good)
        error_set(err, ERR_MEMORY, "no memory for the model %s", name);
    if (!good || registry_read_settings(name, e->settings, &e->wish, err) != OK) {
        registry_free_entry(e);
        return NULL;
    }
    e->keep_s = e->wish.keep_alive_given ? e->wish.keep_alive_s : r->spec.keep_alive_s;
    Served **at = &r->models;
    while (*at != NULL)
        at = &(*at)->next;
    *at = e;
    return e;
}

static Alias **alias_of(Registry *r, const char *name) {
    Alias **at = &r->aliases;
    while (*at != NULL && strcasecmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

Status registry_add_alias(Registry *r, const char *name, const char *alias, bool configured, Error *err) {
    FAIL_IF(alias[0] == '\0' || strlen(alias) > 200, ERR_ARGUMENT, "'%.40s': an alias has 1 to 200 characters", alias);
    Alias **at = alias_of(r, alias);
    Alias *a = *at != NULL ? *at : mem_zalloc(sizeof *a, MEM_MISC);
    char *own = mem_strdup(alias, MEM_MISC), *target = mem_strdup(name, MEM_MISC);
    if (a == NULL || own == NULL || target == NULL) {
        mem_free(own);
        mem_free(target);
        if (*at == NULL)
            mem_free(a);
        return error_set(err, ERR_MEMORY, "no memory for an alias");
    }
    mem_free(a->name);
    mem_free(a->target);
    a->name = own;
    a->target = target;
    a->configured = configured;
    *at = a;
    return OK;
}

bool registry_drop_alias(Registry *r, const char *name) {
    Alias **at = alias_of(r, name), *a = *at;
    const bool found = a != NULL && !a->configured;
    if (found) {
        *at = a->next;
        mem_free(a->name);
        mem_free(a->target);
        mem_free(a);
    }
    return found;
}

bool registry_forget(Registry *r, const char *name) {
    pthread_mutex_lock(&r->lock);
    const bool found = registry_drop_alias(r, name);
    pthread_mutex_unlock(&r->lock);
    return found;
}

static Served *entry_of(const Registry *r, const char *name) {
    Served *e = r->models;
    while (e != NULL && (e->gone || strcasecmp(e->name, name) != 0))
        e = e->next;
    return e;
}

/* An exact name first, then an alias, then the best of the loose matches if it is the only one. */
static Served *find_exactly(Registry *r, const char *name) {
    Served *e = entry_of(r, name);
    const Alias *a = e == NULL ? *alias_of(r, name) : NULL;
    return a != NULL ? entry_of(r, a->target) : e;
}

Served *registry_find(Registry *r, const char *name) {
    Served *e = find_exactly(r, name);
    char stem[256];
    const size_t bytes = strlen(name);
    if (e != NULL || bytes == 0 || bytes >= sizeof stem)
        return e;
    memcpy(stem, name, bytes + 1);
    if (ends_with(stem, ":latest")) { /* some clients put a tag behind every name */
        stem[bytes - 7] = '\0';
        if ((e = find_exactly(r, stem)) != NULL)
            return e;
    }
    int best = 0, n_best = 0;
    for (Served *m = r->models; m != NULL; m = m->next) {
        const int match = name_match(m->name, stem);
        if (m->gone || match == 0 || (best != 0 && match > best))
            continue;
        n_best = match == best ? n_best + 1 : 1;
        best = match;
        e = m;
    }
    return n_best == 1 ? e : NULL;
}

/* ---- looking through folders ------------------------------------------------------------------------------------- */

static void newest(const struct stat *s, int64_t *seconds, int64_t *nanoseconds) {
    if (s->st_mtim.tv_sec > *seconds || (s->st_mtim.tv_sec == *seconds && s->st_mtim.tv_nsec > *nanoseconds)) {
        *seconds = s->st_mtim.tv_sec;
        *nanoseconds = s->st_mtim.tv_nsec;
    }
}

bool registry_stat(const char *path, int64_t *seconds, int64_t *nanoseconds, uint64_t *bytes) {
    struct stat s;
    *seconds = *nanoseconds = 0;
    *bytes = 0;
    if (stat(path, &s) != 0)
        return false;
    newest(&s, seconds, nanoseconds);
    if (!S_ISDIR(s.st_mode)) {
        *bytes = (uint64_t)s.st_size;
        return true;
    }
    DIR *folder = opendir(path);
    if (folder == NULL)
        return false;
    for (const struct dirent *d; (d = readdir(folder)) != NULL;) {
        char *inside = path_join(path, d->d_name);
        if (inside != NULL && stat(inside, &s) == 0 && S_ISREG(s.st_mode)) {
            newest(&s, seconds, nanoseconds);
            *bytes += (uint64_t)s.st_size;
        }
        mem_free(inside);
    }
    closedir(folder);
    return true;
}

static bool is_model_folder(const char *path) {
    char *config = path_join(path, "config.json");
    bool is = config != NULL && file_exists(config);
    mem_free(config);
    DIR *folder = is ? NULL : opendir(path);
    if (folder == NULL)
        return is;
    for (const struct dirent *d; !is && (d = readdir(folder)) != NULL;)
        is = ends_with(d->d_name, ".gguf");
    closedir(folder);
    return is;
}

/* licence: NULL = not known. */
static Status found_model(Registry *r, const char *name, const char *path, const char *licence, Error *err) {
    Served *e = entry_of(r, name);
    int64_t seconds, nanoseconds;
    if (e == NULL) {
        e = registry_add_entry(r, name, path, NULL, err);
        if (e == NULL)
            return err != NULL ? err->status : ERR_MEMORY;
        e->found = true;
        registry_stat(path, &seconds, &nanoseconds, &e->file_bytes);
    }
    e->seen = true;
    if (licence != NULL && licence[0] != '\0' && e->licence == NULL)
        e->licence = mem_strdup(licence, MEM_MISC); /* without memory it is not shown, which is no failure */
    return OK;
}

static Status scan_folder(Registry *r, Error *err) {
    DIR *folder = opendir(r->models_folder);
    FAIL_IF(folder == NULL, ERR_IO, "%s: the folder of models cannot be read", r->models_folder);
    Status status = OK;
    for (const struct dirent *d; status == OK && (d = readdir(folder)) != NULL;) {
        if (d->d_name[0] == '.')
            continue;
        char *path = path_join(r->models_folder, d->d_name), *name = mem_strdup(d->d_name, MEM_MISC);
        SplitName split;
        if (path == NULL || name == NULL)
            status = error_set(err, ERR_MEMORY, "no memory to look through %s", r->models_folder);
        else if (file_is_directory(path)
                     ? is_model_folder(path)
                     : ends_with(name, ".gguf") && (!split_of_path(name, &split) || split.part == 1)) {
            if (split_of_path(name, &split))
                name[split.stem_bytes] = '\0';
            else if (ends_with(name, ".gguf"))
                name[strlen(name) - 5] = '\0';
            status = found_model(r, name, path, NULL, err);
        }
        mem_free(path);
        mem_free(name);
    }
    closedir(folder);
    return status;
}

static Status scan_store(Registry *r, Error *err) {
    StoreList list;
    store_list_init(&list);
    Status status = store_list(&list, err);
    for (size_t i = 0; status == OK && i < list.count; i++) {
        const StoreModel *m = &list.items[i];
        char *path = m->state == MODEL_COMPLETE ? store_model_path(m) : NULL;
        if (path != NULL)
            status = found_model(r, m->name, path, m->licence, err);
        mem_free(path);
    }
    store_list_free(&list);
    return status;
}

/* What was found before and is no more goes, once nobody uses it. */
Status registry_scan(Registry *r, Error *err) {
    for (Served *e = r->models; e != NULL; e = e->next)
        e->seen = false;
    Status status = r->models_folder != NULL ? scan_folder(r, err) : OK;
    if (status == OK && r->spec.with_store)
        status = scan_store(r, err);
    r->scanned_us = clock_us();
    if (status != OK)
        return status;
    for (Served **at = &r->models; *at != NULL;) {
        Served *e = *at;
        const bool goes = e->gone || (e->found && !e->seen);
        if (goes && e->users == 0 && (e->state == SERVED_ABSENT || e->state == SERVED_BROKEN)) {
            *at = e->next;
            registry_free_entry(e);
        } else {
            if (goes && e->state == SERVED_READY) {
                e->leaving = true;
                pthread_cond_broadcast(&r->changed);
            }
            at = &e->next;
        }
    }
    return OK;
}
