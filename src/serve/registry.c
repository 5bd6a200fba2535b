/* registry.c - see registry.h: when models are loaded and given up, and the budget.
 *
 *     absent ──load──▶ loading ──▶ ready ──▶ leaving ──▶ absent
 *                         └──▶ broken (tried again when its files change, or after a while)
 *
 * Opening and closing happen outside the lock; the state says that somebody is at it. */
#include "serve/registry_parts.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { RETRY_US = 5000000, PIN_WAIT_US = 60000000 };

static void notice(const Registry *r, const char *event, const Served *e, uint64_t us, uint64_t bytes,
                   const char *text) {
    if (r->spec.notice != NULL)
        r->spec.notice(r->spec.user, event, e->name, us, bytes, text);
}

/* ---- giving up --------------------------------------------------------------------------------------------------- */

/* Under the lock, which is given back meanwhile. The model must be ready and nobody's. */
static void unload(Registry *r, Served *e, const char *why) {
    Scheduler *scheduler = e->scheduler;
    Model *model = e->model, *draft = e->draft;
    GrammarVocab *vocab = e->vocab;
    const uint64_t bytes = e->weight_bytes + e->run_bytes;
    e->state = SERVED_LEAVING;
    e->scheduler = NULL;
    e->model = e->draft = NULL;
    e->vocab = NULL;
    pthread_mutex_unlock(&r->lock);
    const uint64_t began = clock_us();
    scheduler_close(scheduler);
    model_close(draft);
    model_close(model);
    grammar_vocab_free(vocab);
    notice(r, "unload", e, clock_us() - began, bytes, why);
    pthread_mutex_lock(&r->lock);
    r->stats.used_bytes -= bytes;
    r->stats.weight_bytes -= e->weight_bytes;
    r->stats.run_bytes -= e->run_bytes;
    r->stats.loaded--;
    e->weight_bytes = e->run_bytes = 0;
    e->keep_s = e->wish.keep_alive_given ? e->wish.keep_alive_s : r->spec.keep_alive_s; /* a request's wish ends here */
    e->state = SERVED_ABSENT;
    e->leaving = false;
    pthread_cond_broadcast(&r->changed);
}

/* What is lost by giving a model up: the time to load it again, the less the longer nobody wanted it. */
static double worth(const Served *e, uint64_t now) {
    return ((double)e->load_us + 1000) / ((double)(now - MIN(e->used_us, now)) + 1000);
}

static Served *pick_victim(Registry *r, bool idle) {
    const uint64_t now = clock_us();
    Served *least = NULL;
    for (Served *e = r->models; e != NULL; e = e->next)
        if (e->state == SERVED_READY && !e->wish.pin && (!idle || e->users == 0) &&
            (least == NULL || worth(e, now) < worth(least, now)))
            least = e;
    return least;
}

static bool wait_until(Registry *r, uint64_t deadline_us) {
    const uint64_t now = clock_us();
    if (now >= deadline_us)
        return false;
    const uint64_t left = deadline_us - now;
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(left / 1000000);
    at.tv_nsec += (long)(left % 1000000) * 1000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return pthread_cond_timedwait(&r->changed, &r->lock, &at) != ETIMEDOUT;
}

/* Frees so much of the budget, under the lock. Of models in use the one that is worth least gets nobody new until it
 * can go: otherwise a busy model would keep others out for ever. */
static Status make_room(Registry *r, const Served *wanting, uint64_t bytes, uint64_t deadline_us, Error *err) {
    const uint64_t budget = r->stats.budget_bytes;
    Served *asked = NULL;
    Status status = OK;
    char need[16], have[16];
    FAIL_IF(bytes > budget, ERR_MEMORY,
            "%s takes %s, the server's whole budget is %s (--memory); a smaller \"context\" takes less", wanting->name,
            format_bytes(bytes, need), format_bytes(budget, have));
    while (r->stats.used_bytes + bytes > budget) {
        Served *victim = pick_victim(r, true);
        if (victim != NULL) {
            if (victim == asked)
                asked = NULL;
            r->stats.evictions++;
            unload(r, victim, "evicted");
            continue;
        }
        if (asked == NULL && (asked = pick_victim(r, false)) != NULL)
            asked->leaving = true;
        if (r->closing || !wait_until(r, deadline_us)) {
            status = error_set(err, ERR_BUSY,
                               "%s needs %s; the models in memory are in use and %s are free; try again later",
                               wanting->name, format_bytes(bytes, need),
                               format_bytes(budget - MIN(budget, r->stats.used_bytes), have));
            break;
        }
    }
    if (asked != NULL)
        asked->leaving = false;
    return status;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

/* The path of the model that guesses for another, of which a path or a name is known. Not under the lock. */
static Status draft_path(Registry *r, const char *name, char **path, Error *err) {
    char *known;
    *path = NULL;
    if (name == NULL)
        return OK;
    if (!file_exists(name)) {
        TRY(registry_name(r, name, &known, path, err));
        mem_free(known);
        return OK;
    }
    *path = mem_strdup(name, MEM_MISC);
    FAIL_IF(*path == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

static Status open_model(Registry *r, const Served *e, Loaded *l, Error *err) {
    char *draft;
    TRY(draft_path(r, e->wish.draft, &draft, err));
    const Status status = loaded_open(r, e, draft, l, err);
    mem_free(draft);
    return status;
}

/* Under the lock, which is given back while files are read. */
static Status load(Registry *r, Served *e, uint64_t deadline_us, Error *err) {
    Loaded l = {0};
    Error own = {0};
    const uint64_t began = clock_us();
    e->state = SERVED_LOADING;
    r->loading = true;
    pthread_mutex_unlock(&r->lock);
    Status status = open_model(r, e, &l, &own);
    uint64_t waited = clock_us();
    pthread_mutex_lock(&r->lock);
    const uint64_t bytes = l.weight_bytes + l.run_bytes;
    if (status == OK)
        status = make_room(r, e, bytes, deadline_us, &own);
    waited = clock_us() - waited;
    if (status == OK) {
        r->stats.used_bytes += bytes;
        r->stats.weight_bytes += l.weight_bytes;
        r->stats.run_bytes += l.run_bytes;
        pthread_mutex_unlock(&r->lock);
        status = loaded_start(&l, &own);
        pthread_mutex_lock(&r->lock);
        if (status != OK) {
            r->stats.used_bytes -= bytes;
            r->stats.weight_bytes -= l.weight_bytes;
            r->stats.run_bytes -= l.run_bytes;
        }
    }
    r->loading = false;
    if (status == OK) {
        uint64_t file_bytes;
        registry_stat(l.path, &e->modified, &e->modified_ns, &file_bytes);
        e->model = l.model;
        e->draft = l.draft;
        e->scheduler = l.scheduler;
        e->spec = l.spec;
        e->weight_bytes = l.weight_bytes;
        e->run_bytes = l.run_bytes;
        if (e->path == NULL)
            e->path = mem_strdup(l.path, MEM_MISC);
        e->load_us = clock_us() - began - waited;
        e->used_us = clock_us();
        e->leaving = e->gone;
        e->state = SERVED_READY;
        e->err = (Error){0};
        r->stats.loads++;
        r->stats.loaded++;
        mem_free(l.path);
        notice(r, "load", e, e->load_us, bytes, "");
    } else {
        loaded_close(&l);
        /* No room now says nothing against the model. */
        e->state = status == ERR_BUSY ? SERVED_ABSENT : SERVED_BROKEN;
        e->err = own;
        e->failed_us = clock_us();
        r->stats.load_failures += status != ERR_BUSY;
        notice(r, "load_failed", e, clock_us() - began, 0, own.text);
        error_set(err, own.status, "%s", own.text);
    }
    pthread_cond_broadcast(&r->changed);
    return status;
}

/* ---- asking for a model ------------------------------------------------------------------------------------------ */

static Status find_or_scan(Registry *r, const char *name, Served **e, Error *err) {
    *e = registry_find(r, name);
    if (*e == NULL && clock_us() - r->scanned_us > RESCAN_US) {
        TRY(registry_scan(r, err));
        *e = registry_find(r, name);
    }
    FAIL_IF(*e == NULL, ERR_NOT_FOUND,
            "the model '%.200s' is not here; GET /v1/models lists those that are, 'houle pull' gets others", name);
    return OK;
}

static bool files_changed(const Served *e) {
    int64_t seconds, nanoseconds;
    uint64_t bytes;
    return e->path != NULL && registry_stat(e->path, &seconds, &nanoseconds, &bytes) &&
           (seconds != e->modified || nanoseconds != e->modified_ns);
}

Status registry_acquire(Registry *r, const char *name, uint64_t wait_us, Served **served, uint64_t *load_us,
                        Error *err) {
    const uint64_t began = clock_us(), deadline = began + wait_us;
    Status status = OK;
    *served = NULL;
    pthread_mutex_lock(&r->lock);
    for (bool waited = false;;) {
        Served *e; /* looked up again after each wait: it may have gone */
        status = find_or_scan(r, name, &e, err);
        if (status != OK)
            break;
        if (e->state == SERVED_READY && !e->leaving && files_changed(e))
            e->leaving = true;
        if (e->state == SERVED_READY && !e->leaving) {
            e->users++;
            e->used_us = clock_us();
            *served = e;
            if (load_us != NULL)
                *load_us = waited ? e->used_us - began : 0;
            break;
        }
        waited = true;
        if (e->state == SERVED_READY && e->users == 0 && files_changed(e)) {
            unload(r, e, "its files have changed");
            continue;
        }
        if (e->state == SERVED_BROKEN && clock_us() - e->failed_us < RETRY_US && !files_changed(e)) {
            status = error_set(err, e->err.status, "%s", e->err.text);
            break;
        }
        if ((e->state == SERVED_ABSENT || e->state == SERVED_BROKEN) && !r->loading && !r->closing) {
            status = load(r, e, deadline, err);
            if (status != OK)
                break;
            continue;
        }
        if (r->closing || !wait_until(r, deadline)) {
            status = error_set(err, ERR_BUSY, "%s waits for other models to be loaded; try again later", e->name);
            break;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

bool registry_is_ready(Registry *r, const char *name) {
    pthread_mutex_lock(&r->lock);
    const Served *e = registry_find(r, name);
    const bool ready = e != NULL && e->state == SERVED_READY && !e->leaving;
    pthread_mutex_unlock(&r->lock);
    return ready;
}

void registry_hold(Served *e) {
    pthread_mutex_lock(&e->registry->lock);
    e->users++;
    pthread_mutex_unlock(&e->registry->lock);
}

void registry_release(Served *e) {
    if (e == NULL)
        return;
    Registry *r = e->registry;
    pthread_mutex_lock(&r->lock);
    e->used_us = clock_us();
    if (--e->users == 0)
        pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

const char *served_name(const Served *e) {
    return e->name;
}

const Model *served_model(const Served *e) {
    return e->model;
}

Scheduler *served_scheduler(const Served *e) {
    return e->scheduler;
}

const ModelSettings *served_settings(const Served *e) {
    return &e->wish;
}

int served_context(const Served *e) {
    return e->spec.context;
}

static Status make_vocab(const Model *model, GrammarVocab **vocab, Error *err) {
    const Tokenizer *tokenizer;
    TRY(model_tokenizer(model, &tokenizer, err));
    const size_t n = (size_t)model_vocab(model);
    GrammarToken *tokens = mem_array(n, sizeof *tokens, MEM_TEXT);
    int32_t *ends = mem_array(n, sizeof *ends, MEM_TEXT);
    size_t n_end = 0;
    Status status =
        tokens == NULL || ends == NULL ? error_set(err, ERR_MEMORY, "no memory for a vocabulary of %zu tokens", n) : OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        const char *bytes;
        size_t count;
        const int32_t id = (int32_t)i;
        if (model_ends_at(model, id))
            ends[n_end++] = id;
        if (tokenizer_piece(tokenizer, id, &bytes, &count) && count <= GRAMMAR_MAX_TOKEN_BYTES &&
            (tokenizer_flags(tokenizer, id) & TOKEN_UNUSED) == 0)
            tokens[i] = (GrammarToken){.bytes = bytes,
                                       .count = (uint32_t)count,
                                       .special = (tokenizer_flags(tokenizer, id) & TOKEN_CONTROL) != 0};
    }
    if (status == OK)
        status = grammar_vocab_new(tokens, n, ends, n_end, vocab, err);
    mem_free(tokens);
    mem_free(ends);
    return status;
}

Status served_vocab(Served *e, const GrammarVocab **vocab, Error *err) {
    pthread_mutex_lock(&e->registry->vocab_lock);
    const Status status = e->vocab != NULL ? OK : make_vocab(e->model, &e->vocab, err);
    *vocab = e->vocab;
    pthread_mutex_unlock(&e->registry->vocab_lock);
    return status;
}

void served_keep_alive(Served *e, int64_t seconds) {
    pthread_mutex_lock(&e->registry->lock);
    e->keep_s = seconds;
    pthread_cond_broadcast(&e->registry->changed);
    pthread_mutex_unlock(&e->registry->lock);
}

/* ---- the keeper: models whose time has come, or is over ---------------------------------------------------------- */

uint64_t served_expires_us(const Served *e) {
    return e->keep_s < 0 || e->wish.pin ? UINT64_MAX : e->used_us + (uint64_t)MIN(e->keep_s, INT32_MAX) * 1000000;
}

/* A pinned model that was not tried yet: those are there before they are asked for. */
static Served *pinned_absent(Registry *r) {
    Served *e = r->loading ? NULL : r->models;
    while (e != NULL && !(e->wish.pin && !e->gone && e->state == SERVED_ABSENT && e->failed_us == 0))
        e = e->next;
    return e;
}

static void *keep(void *user) {
    Registry *r = user;
    pthread_mutex_lock(&r->lock);
    while (!r->closing) {
        uint64_t next = UINT64_MAX;
        Served *due = NULL, *wanted = pinned_absent(r);
        if (wanted != NULL) {
            load(r, wanted, clock_us() + PIN_WAIT_US, NULL);
            continue;
        }
        for (Served *e = r->models; e != NULL && due == NULL; e = e->next) {
            if (e->state != SERVED_READY || e->users > 0)
                continue;
            const uint64_t at = e->leaving && !r->loading ? 0 : served_expires_us(e);
            if (at <= clock_us())
                due = e;
            else
                next = MIN(next, at);
        }
        if (due != NULL)
            unload(r, due, due->leaving ? "asked for" : "not used");
        else if (next == UINT64_MAX)
            pthread_cond_wait(&r->changed, &r->lock);
        else
            wait_until(r, next);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the registry ------------------------------------------------------------------------------------------------ */

/* What is kept there was computed from prompts: nobody else's business. */
static Status open_cache(Registry *r, Error *err) {
    TRY(file_make_private_directory(r->spec.cache_folder, err));
    return spill_open(r->spec.cache_folder, r->spec.cache_disk_bytes, &r->spill, err);
}

Status registry_open(const RegistrySpec *spec, Registry **out, Error *err) {
    *out = NULL;
    Registry *r = mem_zalloc(sizeof *r, MEM_MISC);
    FAIL_IF(r == NULL, ERR_MEMORY, "no memory for the models");
    r->spec = *spec;
    r->stats.budget_bytes = spec->memory_bytes;
    clock_condition(&r->changed);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->vocab_lock, NULL);
    Status status = OK;
    json_incref((json_t *)(uintptr_t)spec->defaults);
    if (spec->models_folder != NULL && (r->models_folder = mem_strdup(spec->models_folder, MEM_MISC)) == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for the models");
    if (status == OK && spec->defaults != NULL)
        status = registry_read_settings("of all", spec->defaults, &(ModelSettings){0}, err);
    if (status == OK && spec->cache_folder != NULL)
        status = open_cache(r, err);
    if (status == OK)
        status = registry_scan(r, err);
    if (status == OK) {
        r->has_keeper = pthread_create(&r->keeper, NULL, keep, r) == 0;
        if (!r->has_keeper)
            status = error_set(err, ERR_MEMORY, "a thread could not be started");
    }
    if (status != OK) {
        registry_close(r);
        return status;
    }
    *out = r;
    return OK;
}

void registry_stop(Registry *r) {
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void registry_close(Registry *r) {
    if (r == NULL)
        return;
    registry_stop(r);
    if (r->has_keeper)
        pthread_join(r->keeper, NULL);
    pthread_mutex_lock(&r->lock);
    for (Served *e = r->models; e != NULL; e = e->next)
        if (e->state == SERVED_READY)
            unload(r, e, "the server ends");
    pthread_mutex_unlock(&r->lock);
    while (r->models != NULL) {
        Served *next = r->models->next;
        registry_free_entry(r->models);
        r->models = next;
    }
    while (r->aliases != NULL) {
        Alias *next = r->aliases->next;
        mem_free(r->aliases->name);
        mem_free(r->aliases->target);
        mem_free(r->aliases);
        r->aliases = next;
    }
    json_decref(r->presets);
    spill_close(r->spill);
    json_decref((json_t *)(uintptr_t)r->spec.defaults);
    mem_free(r->models_folder);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->vocab_lock);
    mem_free(r);
}

static Status add_aliases(Registry *r, const char *name, const json_t *aliases, Error *err) {
    size_t i;
    json_t *alias;
    FAIL_IF(aliases != NULL && !json_is_array(aliases), ERR_ARGUMENT, "model %s: \"aliases\" must be an array of names",
            name);
    json_array_foreach ((json_t *)(uintptr_t)aliases, i, alias) {
        FAIL_IF(!json_is_string(alias), ERR_ARGUMENT, "model %s: \"aliases\" must be an array of names", name);
        TRY(registry_add_alias(r, name, json_string_value(alias), true, err));
    }
    return OK;
}

Status registry_add(Registry *r, const char *name, const char *path, const json_t *settings, Error *err) {
    FAIL_IF(name[0] == '\0' || strlen(name) > 200, ERR_ARGUMENT, "'%.40s': a model's name has 1 to 200 characters",
            name);
    FAIL_IF(settings != NULL && !json_is_object(settings), ERR_ARGUMENT, "model %s: an object of settings is expected",
            name);
    const json_t *own = json_object_get(settings, "path");
    FAIL_IF(own != NULL && !json_is_string(own), ERR_ARGUMENT, "model %s: \"path\" must be a text", name);
    pthread_mutex_lock(&r->lock);
    /* One that was found before is configured now. */
    for (Served **at = &r->models; *at != NULL; at = &(*at)->next)
        if ((*at)->found && strcmp((*at)->name, name) == 0 && (*at)->state == SERVED_ABSENT) {
            Served *old = *at;
            if (path == NULL && own == NULL && old->path != NULL)
                path = old->path;
            *at = old->next;
            old->next = NULL;
            Served *e = registry_add_entry(r, name, path != NULL ? path : json_string_value(own),
                                           json_copy((json_t *)(uintptr_t)settings), err);
            registry_free_entry(old);
            pthread_cond_broadcast(&r->changed);
            const Status status =
                e != NULL ? add_aliases(r, name, json_object_get(settings, "aliases"), err) : err->status;
            pthread_mutex_unlock(&r->lock);
            return status;
        }
    json_t *copy = settings != NULL ? json_copy((json_t *)(uintptr_t)settings) : NULL;
    const Served *e = registry_add_entry(r, name, path != NULL ? path : json_string_value(own), copy, err);
    pthread_cond_broadcast(&r->changed);
    const Status status = e != NULL     ? add_aliases(r, name, json_object_get(settings, "aliases"), err)
                          : err != NULL ? err->status
                                        : ERR_ARGUMENT;
    pthread_mutex_unlock(&r->lock);
    return status;
}

Status registry_name(Registry *r, const char *name, char **known, char **path, Error *err) {
    Served *e;
    *known = *path = NULL;
    pthread_mutex_lock(&r->lock);
    Status status = find_or_scan(r, name, &e, err);
    if (status == OK) {
        *known = mem_strdup(e->name, MEM_NETWORK);
        status = served_find_path(e, path, err);
        if (*known == NULL && status == OK)
            status = error_set(err, ERR_MEMORY, "no memory for a name");
    }
    pthread_mutex_unlock(&r->lock);
    if (status != OK) {
        mem_free(*known);
        mem_free(*path);
        *known = *path = NULL;
    }
    return status;
}

Status registry_borrow(Registry *r, uint64_t bytes, Error *err) {
    Served *victim;
    Status status = OK;
    pthread_mutex_lock(&r->lock);
    while (r->stats.used_bytes + bytes > r->stats.budget_bytes && (victim = pick_victim(r, true)) != NULL) {
        r->stats.evictions++;
        unload(r, victim, "evicted");
    }
    if (r->stats.used_bytes + bytes > r->stats.budget_bytes)
        status = error_set(err, ERR_BUSY, "the work needs more memory than the models leave now; try again later");
    else
        r->stats.used_bytes += bytes;
    pthread_mutex_unlock(&r->lock);
    return status;
}

void registry_give_back(Registry *r, uint64_t bytes) {
    if (bytes == 0)
        return;
    pthread_mutex_lock(&r->lock);
    r->stats.used_bytes -= bytes;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

Status registry_unload(Registry *r, const char *name, Error *err) {
    Served *e;
    pthread_mutex_lock(&r->lock);
    const Status status = find_or_scan(r, name, &e, err);
    if (status == OK && e->state == SERVED_READY) {
        e->leaving = true;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

Status registry_alias(Registry *r, const char *name, const char *alias, Error *err) {
    Served *e;
    pthread_mutex_lock(&r->lock);
    Status status = find_or_scan(r, name, &e, err);
    if (status == OK && registry_find(r, alias) != NULL && strcasecmp(registry_find(r, alias)->name, alias) == 0)
        status = error_set(err, ERR_ARGUMENT, "'%.200s' is the name of another model", alias);
    if (status == OK)
        status = registry_add_alias(r, e->name, alias, false, err);
    pthread_mutex_unlock(&r->lock);
    return status;
}

void registry_rescan(Registry *r) {
    pthread_mutex_lock(&r->lock);
    registry_scan(r, NULL);
    pthread_mutex_unlock(&r->lock);
}

RegistryStats registry_stats(Registry *r) {
    pthread_mutex_lock(&r->lock);
    const RegistryStats stats = r->stats;
    pthread_mutex_unlock(&r->lock);
    return stats;
}
