/* store.c - see store.h. */
#include "store/store.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "store/caches.h"
#include "store/download.h"
#include "store/hash_files.h"
#include "store/model_name.h"
#include "store/partial.h"
#include "store/store_work.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- listing ----------------------------------------------------------------------------------------------------- */

/* Without making anything: a machine that has never pulled a model has no store. */
static Status list_index(StoreList *list, Error *err) {
    char *folder, *models;
    StoreIndex *index = NULL;
    TRY(store_folders(&folder, &models, err));
    Error own = {0};
    Status status = store_index_open(folder, false, &index, &own);
    if (status == OK)
        status = store_index_read(index, models, list, &own);
    store_index_close(index);
    mem_free(folder);
    mem_free(models);
    if (status == OK || status == ERR_NOT_FOUND)
        return OK;
    return error_set(err, own.status, "%s", own.text);
}

/* Where a model lies; two entries with the same place are the same model. */
static bool same_place(const StoreModel *a, const StoreModel *b) {
    char *x = store_model_path(a), *y = store_model_path(b);
    const bool same = x != NULL && y != NULL && strcmp(x, y) == 0;
    mem_free(x);
    mem_free(y);
    return same;
}

Status store_list(StoreList *list, Error *err) {
    TRY(list_index(list, err));
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].state != MODEL_REMOVING)
            list->items[n++] = list->items[i];
    list->count = n;
    TRY(caches_scan(list, err));
    size_t kept = n;
    for (size_t i = n; i < list->count; i++) {
        bool known = false;
        for (size_t j = 0; j < n && !known; j++)
            known = same_place(&list->items[j], &list->items[i]);
        if (!known)
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
    return OK;
}

uint64_t store_present_bytes(const StoreModel *model) {
    char *folder, *models;
    int models_fd = -1, partial_fd = -1;
    uint64_t bytes = 0;
    if (store_folders(&folder, &models, NULL) != OK)
        return 0;
    if (folder_open(models, false, &models_fd, NULL) == OK &&
        folder_open_below(models_fd, ".partial", false, &partial_fd, NULL) == OK)
        for (size_t i = 0; i < model->n_file; i++) {
            const ModelFile *f = &model->files[i];
            bytes += f->present ? f->bytes : partial_peek(partial_fd, f->identity, f->bytes, DOWNLOAD_CHUNK_BYTES);
        }
    if (models_fd >= 0)
        close(models_fd);
    if (partial_fd >= 0)
        close(partial_fd);
    mem_free(folder);
    mem_free(models);
    return bytes;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

/* The same name in several places: complete before unfinished, then in the order of the list. */
static bool better(const StoreModel *a, const StoreModel *b) {
    return a->state == MODEL_COMPLETE && b->state != MODEL_COMPLETE;
}

static Status complain_of_several(const StoreList *list, const char *name, int level, Error *err) {
    Text text = {0};
    int shown = 0;
    for (size_t i = 0; i < list->count; i++)
        if (name_match(list->items[i].name, name) == level && ++shown <= 8)
            text_append_format(&text, "%s%s", shown > 1 ? ", " : "", list->items[i].name);
    if (shown > 8)
        text_append_str(&text, ", ...");
    const Status status = error_set(err, ERR_ARGUMENT, "%s could be any of: %s", name,
                                    text.failed || text.bytes == NULL ? "several models" : text.bytes);
    text_free(&text);
    return status;
}

/* How unlike two names are, in full or without the owner. */
static int unlikeness(const char *name, const char *query, int limit) {
    const char *slash = strchr(name, '/');
    const int whole = name_distance(name, query, limit);
    const int brief = slash != NULL ? name_distance(slash + 1, query, limit) : whole;
    if (strchr(query, ':') != NULL || strchr(name, ':') == NULL)
        return MIN(whole, brief);
    char base[256]; /* the query has no quantisation: compare without */
    snprintf(base, sizeof base, "%.*s", (int)MIN(strcspn(name, ":"), sizeof base - 1), name);
    return MIN(MIN(whole, brief), unlikeness(base, query, limit));
}

static Status complain_of_none(const StoreList *list, const char *name, Error *err) {
    enum { SHOWN = 3 };
    const int limit = MAX(2, (int)strlen(name) / 3);
    Text text = {0};
    int shown = 0;
    for (int distance = 1; distance <= limit && shown < SHOWN; distance++)
        for (size_t i = 0; i < list->count && shown < SHOWN; i++)
            if (unlikeness(list->items[i].name, name, limit) == distance)
                text_append_format(&text, "%s%s", shown++ > 0 ? ", " : "", list->items[i].name);
    const Status status = error_set(err, ERR_NOT_FOUND,
                                    "%s: no such model here%s%s%s; 'houle list' shows what there is, 'houle pull "
                                    "OWNER/NAME' fetches one",
                                    name, shown > 0 ? "; did you mean " : "",
                                    shown > 0 && !text.failed ? text.bytes : "", shown > 0 ? "?" : "");
    text_free(&text);
    return status;
}

Status store_find(const StoreList *list, const char *name, const StoreModel **model, Error *err) {
    *model = NULL;
    int best = 0;
    for (size_t i = 0; i < list->count; i++) {
        const int level = name_match(list->items[i].name, name);
        if (level > 0 && (best == 0 || level < best))
            best = level;
    }
    if (best == 0)
        return complain_of_none(list, name, err);
    for (size_t i = 0; i < list->count; i++) {
        const StoreModel *m = &list->items[i];
        if (name_match(m->name, name) != best)
            continue;
        if (*model != NULL && strcasecmp((*model)->name, m->name) != 0)
            return complain_of_several(list, name, best, err);
        if (*model == NULL || better(m, *model))
            *model = m;
    }
    return OK;
}

/* Written as a path: never a name of the store. */
static bool is_written_as_path(const char *name) {
    return name[0] == '/' || starts_with(name, "./") || starts_with(name, "../") || strcmp(name, ".") == 0 ||
           strcmp(name, "..") == 0 || ends_with(name, "/") || ends_with(name, ".gguf") ||
           ends_with(name, ".safetensors") || ends_with(name, ".json");
}

/* A file, or a folder that says itself that it is a model. A folder that only happens to be called like a model of the
 * store (a directory `acme` of notes) is not meant by that name. */
static bool is_model_here(const char *name) {
    struct stat st;
    int fd;
    if (!file_is_directory(name))
        return file_exists(name);
    if (folder_open(name, false, &fd, NULL) != OK)
        return false;
    const bool found = folder_stat(fd, "config.json", &st) || folder_stat(fd, "tokenizer.json", &st);
    close(fd);
    return found;
}

static Status take_path(const char *name, char **path, Error *err) {
    *path = mem_strdup(name, MEM_MISC);
    FAIL_IF(*path == NULL, ERR_MEMORY, "%s: no memory for its path", name);
    return OK;
}

static Status path_of(const StoreModel *model, char **path, Error *err) {
    if (model->state != MODEL_COMPLETE) {
        const uint64_t here = store_present_bytes(model);
        return error_set(err, ERR_NOT_FOUND, "%s is not complete: %.0f%% of it is here; 'houle pull %s' goes on",
                         model->name, model->bytes > 0 ? 100.0 * (double)here / (double)model->bytes : 0.0,
                         model->name);
    }
    *path = store_model_path(model);
    FAIL_IF(*path == NULL, ERR_MEMORY, "%s: no memory for its path", model->name);
    if (file_exists(*path))
        return OK;
    const Status status =
        error_set(err, ERR_NOT_FOUND,
                  "%s should be at %s, but is not there any more; is a disk not mounted? 'houle pull' "
                  "or 'houle rm %s' sets it right",
                  model->name, *path, model->name);
    mem_free(*path);
    *path = NULL;
    return status;
}

Status store_resolve(const char *name, char **path, Error *err) {
    *path = NULL;
    FAIL_IF(*name == '\0', ERR_ARGUMENT, "the name of the model is empty");
    if (is_model_here(name))
        return take_path(name, path, err);
    StoreList list;
    store_list_init(&list);
    const StoreModel *model;
    Error own = {0};
    Status status = ERR_NOT_FOUND;
    if (is_written_as_path(name))
        error_set(&own, status, "%s: there is no such file or folder", name);
    else
        status = store_list(&list, &own);
    if (status == OK)
        status = store_find(&list, name, &model, &own);
    if (status == OK)
        status = path_of(model, path, &own);
    store_list_free(&list);
    if (status == OK)
        return OK;
    if (file_exists(name)) /* a folder that holds nothing but weights, or no model: whoever opens it can tell */
        return take_path(name, path, err);
    return error_set(err, own.status, "%s", own.text);
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

static Status refuse_foreign(const StoreModel *m, Error *err) {
    static const char *const how[SOURCE_COUNT] = {[SOURCE_HF_CACHE] = "'hf cache delete'",
                                                  [SOURCE_LM_STUDIO] = "LM Studio itself",
                                                  [SOURCE_OLLAMA] = "'ollama rm'"};
    return error_set(err, ERR_DENIED,
                     "%s belongs to another program and lies in %s; houle deletes nothing there, %s "
                     "does",
                     m->name, m->root, how[m->source] != NULL ? how[m->source] : "that program");
}

Status store_remove(const char *name, Text *report, Error *err) {
    StoreList list;
    store_list_init(&list);
    const StoreModel *model = NULL;
    Status status = store_list(&list, err);
    if (status == OK)
        status = store_find(&list, name, &model, err);
    if (status == OK && model->id == 0)
        status = refuse_foreign(model, err);
    /* An abbreviation that is convenient for running a model is too easily a slip when it deletes one. */
    if (status == OK && name_match(model->name, name) >= NAME_MATCH_LOOSE)
        status = error_set(err, ERR_ARGUMENT, "%s: say it in full to remove it: %s", name, model->name);
    StoreWork work = {.models_fd = -1, .partial_fd = -1};
    StoreLock lock = {.fd = -1};
    if (status == OK)
        status = store_work_open(&work, err);
    if (status == OK)
        status = store_work_lock(&work, model->name, &lock, err);
    /* An update that was begun goes with the model. */
    for (size_t i = 0; i < list.count && status == OK; i++)
        if (list.items[i].id != 0 && strcasecmp(list.items[i].name, model->name) == 0)
            status = store_work_remove(&work, &list.items[i], report, err);
    store_work_unlock(&work, &lock);
    store_work_close(&work);
    store_list_free(&list);
    return status == OK ? text_check(report, err) : status;
}

/* ---- verifying --------------------------------------------------------------------------------------------------- */

const char *verdict_word(FileVerdict verdict) {
    static const char *const words[] = {"good", "unknown", "missing", "short", "altered", "unreadable"};
    return (size_t)verdict < COUNT(words) ? words[verdict] : "unknown";
}

static void judge(const HashTask *task, VerifiedFile *v) {
    const ModelFile *f = v->file;
    if (task->status != OK) {
        v->verdict = task->status == ERR_NOT_FOUND ? FILE_MISSING : FILE_UNREADABLE;
        snprintf(v->detail, sizeof v->detail, "%s", task->why);
    } else if (task->found_bytes != f->bytes) {
        v->verdict = task->found_bytes < f->bytes ? FILE_SHORT : FILE_ALTERED;
        snprintf(v->detail, sizeof v->detail, "%llu bytes, should have %llu", (unsigned long long)task->found_bytes,
                 (unsigned long long)f->bytes);
    } else if (*f->sha256 != '\0') {
        v->verdict = strcmp(task->sha256, f->sha256) == 0 ? FILE_GOOD : FILE_ALTERED;
        if (v->verdict == FILE_ALTERED)
            snprintf(v->detail, sizeof v->detail, "SHA-256 is %s, should be %s", task->sha256, f->sha256);
    } else if (*f->git_sha1 != '\0') {
        v->verdict = strcmp(task->git_sha1, f->git_sha1) == 0 ? FILE_GOOD : FILE_ALTERED;
        if (v->verdict == FILE_ALTERED)
            snprintf(v->detail, sizeof v->detail, "git's SHA-1 is %s, should be %s", task->git_sha1, f->git_sha1);
    } else {
        v->verdict = FILE_UNKNOWN;
        snprintf(v->detail, sizeof v->detail, "nobody has said what its checksum should be; it is %s", task->sha256);
    }
}

/* Files found bad are marked, so that a pull repairs them. What cannot be noted does not change what was found. */
static void remember_damage(const VerifyReport *report) {
    StoreWork work;
    bool any = false;
    for (size_t i = 0; i < report->n_file; i++)
        any = any || (report->files[i].verdict > FILE_UNKNOWN && report->files[i].model->id != 0);
    if (!any || store_work_open(&work, NULL) != OK)
        return;
    for (size_t i = 0; i < report->n_file; i++)
        if (report->files[i].verdict > FILE_UNKNOWN && report->files[i].model->id != 0)
            store_index_set_damaged(work.index, report->files[i].model->id, report->files[i].file->path, NULL);
    store_work_close(&work);
}

static Status hash_and_judge(VerifyReport *report, HashTask *tasks, const Progress *progress, Error *err) {
    for (size_t i = 0; i < report->n_file; i++) {
        const VerifiedFile *v = &report->files[i];
        tasks[i].path = store_file_path(v->model, v->file);
        FAIL_IF(tasks[i].path == NULL, ERR_MEMORY, "no memory for a path");
        tasks[i].bytes = v->file->bytes;
        tasks[i].git = *v->file->sha256 == '\0' && *v->file->git_sha1 != '\0';
    }
    TRY(hash_files(tasks, report->n_file, progress, "verifying", err));
    for (size_t i = 0; i < report->n_file; i++) {
        VerifiedFile *v = &report->files[i];
        judge(&tasks[i], v);
        report->bytes += tasks[i].found_bytes;
        report->n_bad += v->verdict > FILE_UNKNOWN;
        report->n_unknown += v->verdict == FILE_UNKNOWN;
    }
    return OK;
}

Status store_verify(const StoreModel *const *models, size_t n_model, const Progress *progress, VerifyReport *report,
                    Error *err) {
    *report = (VerifyReport){0};
    size_t n = 0;
    for (size_t i = 0; i < n_model; i++)
        for (size_t j = 0; j < models[i]->n_file; j++)
            n += models[i]->files[j].present;
    report->files = mem_array(n, sizeof *report->files, MEM_MISC);
    HashTask *tasks = mem_array(n, sizeof *tasks, MEM_MISC);
    Status status = report->files != NULL && tasks != NULL ? OK
                                                           : error_set(err, ERR_MEMORY,
                                                                       "no memory for a list of "
                                                                       "%zu files",
                                                                       n);
    for (size_t i = 0; i < n_model && status == OK; i++)
        for (size_t j = 0; j < models[i]->n_file; j++)
            if (models[i]->files[j].present)
                report->files[report->n_file++] = (VerifiedFile){.model = models[i], .file = &models[i]->files[j]};
    if (status == OK)
        status = hash_and_judge(report, tasks, progress, err);
    for (size_t i = 0; tasks != NULL && i < n; i++)
        mem_free((void *)tasks[i].path);
    mem_free(tasks);
    if (status != OK) {
        mem_free(report->files);
        *report = (VerifyReport){0};
        return status;
    }
    remember_damage(report);
    return OK;
}
