/* pull_work.c - see pull_work.h. */
#include "store/pull_work.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "store/download.h"
#include "store/hash_files.h"
#include "store/local_repo.h"
#include "store/manifest.h"
#include "store/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { USUAL_CONNECTIONS = 8 };
static const uint64_t disk_slack_bytes = 16 << 20; /* index, maps, folders */
static const uint64_t first_head_bytes = 512 << 10, last_head_bytes = 64 << 20;

void pull_notice(const Pull *pull, const char *format, ...) {
    if (pull->request->notice == NULL)
        return;
    char text[1400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pull->request->notice(pull->request->notice_user, text);
}

const char *pull_format(Pull *pull, const char *format, ...) {
    char small[1024];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int wanted = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    char *text = wanted >= 0 ? arena_alloc(&pull->arena, (size_t)wanted + 1) : NULL;
    if (text != NULL)
        vsnprintf(text, (size_t)wanted + 1, format, again);
    va_end(again);
    return text;
}

Status pull_reserve(Pull *pull, size_t n_file, Error *err) {
    pull->model.files = arena_array(&pull->arena, n_file, sizeof *pull->model.files);
    pull->sources = arena_array(&pull->arena, n_file, sizeof *pull->sources);
    FAIL_IF(pull->model.files == NULL || pull->sources == NULL, ERR_MEMORY, "no memory for a list of %zu files",
            n_file);
    for (size_t i = 0; i < n_file; i++)
        pull->model.files[i] = (ModelFile){.path = "", .sha256 = "", .git_sha1 = "", .identity = ""};
    return OK;
}

/* ---- what is here ------------------------------------------------------------------------------------------------ */

const StoreModel *pull_find(const Pull *pull, const char *name) {
    for (size_t i = 0; i < pull->here.count; i++)
        if (pull->here.items[i].state == MODEL_COMPLETE && strcasecmp(pull->here.items[i].name, name) == 0)
            return &pull->here.items[i];
    return NULL;
}

static bool in_place(const StoreModel *model, const ModelFile *file) {
    char *path = store_file_path(model, file);
    struct stat st;
    const bool there =
        path != NULL && stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == file->bytes;
    mem_free(path);
    return there;
}

bool pull_intact(const StoreModel *model) {
    for (size_t i = 0; i < model->n_file; i++)
        if (!model->files[i].present || model->files[i].damaged || !in_place(model, &model->files[i]))
            return false;
    return model->state == MODEL_COMPLETE;
}

bool pull_same_content(const ModelFile *a, const ModelFile *b) {
    if (a->bytes != b->bytes)
        return false;
    if (*a->sha256 != '\0' && *b->sha256 != '\0')
        return strcmp(a->sha256, b->sha256) == 0;
    if (*a->git_sha1 != '\0' && *b->git_sha1 != '\0')
        return strcmp(a->git_sha1, b->git_sha1) == 0;
    return *a->identity != '\0' && strcmp(a->identity, b->identity) == 0;
}

/* ---- in their place already -------------------------------------------------------------------------------------- */

static const ModelFile *find_path(const StoreModel *model, const char *path) {
    for (size_t i = 0; i < model->n_file; i++)
        if (strcmp(model->files[i].path, path) == 0)
            return &model->files[i];
    return NULL;
}

/* Placed by a run that was killed before it could note it: the bytes decide. */
static Status check_unnoted(Pull *pull, ModelFile *file, const char *path, Error *err) {
    HashTask task = {.path = path, .bytes = file->bytes, .git = *file->sha256 == '\0' && *file->git_sha1 != '\0'};
    TRY(hash_files(&task, 1, pull->request->progress, "checking", err));
    const bool right = task.status == OK && task.found_bytes == file->bytes &&
                       (*file->sha256 == '\0' || strcmp(file->sha256, task.sha256) == 0) &&
                       (!task.git || strcmp(file->git_sha1, task.git_sha1) == 0);
    if (!right)
        return OK;
    file->present = true;
    file->sha256 = arena_strdup(&pull->arena, task.sha256);
    uint64_t freed; /* the map of the download may be left, too */
    if (*file->identity != '\0')
        partial_discard(pull->work.partial_fd, file->identity, &freed, NULL);
    FAIL_IF(file->sha256 == NULL, ERR_MEMORY, "no memory for a checksum");
    return OK;
}

static Status take_from_root(Pull *pull, const StoreModel *known, size_t i, Error *err) {
    ModelFile *file = &pull->model.files[i];
    const ModelFile *old = find_path(known, file->path);
    if (old == NULL || file->present)
        return OK;
    pull->sources[i].replace = true; /* our own row says that it is ours */
    if (!pull_same_content(file, old) || !in_place(known, old) || old->damaged)
        return OK;
    if (old->present) {
        file->present = true;
        file->sha256 = old->sha256;
        return OK;
    }
    char *path = store_file_path(known, old);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    const Status status = check_unnoted(pull, file, path, err);
    mem_free(path);
    return status;
}

Status pull_lock(Pull *pull, Error *err) {
    const char *name = pull->model.name;
    Status status = store_work_lock(&pull->work, name, &pull->lock, err);
    if (status != ERR_BUSY || !pull->request->wait)
        return status;
    while (status == ERR_BUSY) {
        FAIL_IF(!progress_report(pull->request->progress, "waiting for a download that runs", 0, 0), ERR_CANCELLED,
                "%s: stopped while another download of it ran", name);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        status = store_work_lock(&pull->work, name, &pull->lock, err);
    }
    TRY(status);
    pull->superseded = pull->here; /* what was found so far may lie in it */
    store_list_init(&pull->here);
    return store_work_list(&pull->work, &pull->here, err);
}

/* ---- linked from elsewhere --------------------------------------------------------------------------------------- */

/* A second name for the same bytes. Not possible across file systems, and not everywhere: then the file is fetched. */
static void link_file(Pull *pull, ModelFile *file, const char *from) {
    char *relative = path_join(pull->model.root, file->path), *real = realpath(from, NULL);
    int folder;
    const char *name;
    if (relative != NULL && real != NULL &&
        folder_open_parent(pull->work.models_fd, relative, true, &folder, &name, NULL) == OK) {
        struct stat there, source;
        const bool linked = linkat(AT_FDCWD, real, folder, name, 0) == 0 ||
                            (errno == EEXIST && folder_stat(folder, name, &there) && stat(real, &source) == 0 &&
                             there.st_ino == source.st_ino && there.st_dev == source.st_dev);
        file->present = linked && folder_sync(folder, NULL) == OK;
        close(folder);
    }
    free(real);
    mem_free(relative);
}

static bool same_device(const Pull *pull, const char *path) {
    struct stat there, here;
    return stat(path, &there) == 0 && fstat(pull->work.models_fd, &here) == 0 && there.st_dev == here.st_dev;
}

/* Another program's file is believed only after its bytes were looked at. */
static Status link_from(Pull *pull, const StoreModel *known, const ModelFile *old, ModelFile *file, Error *err) {
    char *path = store_file_path(known, old);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    Status status = OK;
    if (same_device(pull, path)) {
        HashTask task = {.path = path, .bytes = old->bytes};
        bool trusted = known->owned;
        if (!trusted) {
            status = hash_files(&task, 1, pull->request->progress, "checking", err);
            trusted = status == OK && task.status == OK && strcmp(task.sha256, file->sha256) == 0;
        }
        if (trusted)
            link_file(pull, file, path);
    }
    mem_free(path);
    return status;
}

static Status link_equal(Pull *pull, const StoreList *list, ModelFile *file, Error *err) {
    for (size_t i = 0; i < list->count && !file->present && *file->sha256 != '\0'; i++) {
        const StoreModel *known = &list->items[i];
        if (known->id != 0 && !known->owned)
            continue; /* a user's own file, which may be edited where it lies */
        for (size_t j = 0; j < known->n_file && !file->present; j++) {
            const ModelFile *old = &known->files[j];
            if (old->present && !old->damaged && old->bytes == file->bytes && strcmp(old->sha256, file->sha256) == 0 &&
                in_place(known, old))
                TRY(link_from(pull, known, old, file, err));
        }
    }
    return OK;
}

/* In the place where the file belongs, but in no row: the index was lost, or a crash came early. */
static Status adopt(Pull *pull, size_t i, Error *err) {
    ModelFile *file = &pull->model.files[i];
    if (file->present || pull->sources[i].replace || (*file->sha256 == '\0' && *file->git_sha1 == '\0'))
        return OK;
    StoreModel there = pull->model;
    there.root = pull->root_path;
    if (!in_place(&there, file))
        return OK;
    char *path = store_file_path(&there, file);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    const Status status = check_unnoted(pull, file, path, err);
    mem_free(path);
    return status;
}

Status pull_take_present(Pull *pull, Error *err) {
    for (size_t i = 0; i < pull->here.count; i++)
        if (strcmp(pull->here.items[i].root, pull->root_path) == 0)
            for (size_t j = 0; j < pull->model.n_file; j++)
                TRY(take_from_root(pull, &pull->here.items[i], j, err));
    if (pull->request->plan_only)
        return OK;
    for (size_t j = 0; j < pull->model.n_file; j++)
        TRY(adopt(pull, j, err));
    for (size_t j = 0; j < pull->model.n_file; j++) {
        if (pull->sources[j].replace)
            continue; /* something of ours, but wrong, is in the way of a link */
        TRY(link_equal(pull, &pull->here, &pull->model.files[j], err));
        TRY(link_equal(pull, &pull->foreign, &pull->model.files[j], err));
    }
    return OK;
}

uint64_t pull_missing_bytes(const Pull *pull) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < pull->model.n_file; i++)
        bytes += pull->model.files[i].present ? 0 : pull->model.files[i].bytes;
    return bytes;
}

/* ---- what it will cost ------------------------------------------------------------------------------------------- */

static void show_memory(const Pull *pull) {
    const FitNeeds *needs = &pull->needs;
    const Machine machine = fit_machine();
    if (needs->weight_bytes == 0 || machine.memory_bytes == 0)
        return;
    const uint64_t bytes = fit_memory_bytes(needs);
    char need[16], all[16], now[16];
    const char *verdict = bytes <= machine.available_bytes ? "it fits"
                          : bytes <= machine.memory_bytes  ? "it fits once other programs give memory back"
                                                           : "it does NOT fit into this machine's memory";
    pull_notice(pull, "  memory: about %s with a context of %lld tokens, of %s (%s free now): %s",
                format_bytes(bytes, need), (long long)needs->context, format_bytes(machine.memory_bytes, all),
                format_bytes(machine.available_bytes, now), verdict);
    if (bytes > machine.memory_bytes && *pull->others != '\0')
        pull_notice(pull, "  smaller ones may be among: %s", pull->others);
}

Status pull_show_plan(Pull *pull, Error *err) {
    const StoreModel *m = &pull->model;
    uint64_t missing = 0, on_disk = 0, done = 0;
    size_t n_missing = 0;
    for (size_t i = 0; i < m->n_file; i++) {
        const ModelFile *f = &m->files[i];
        if (f->present)
            continue;
        missing += f->bytes;
        n_missing++;
        if (*f->identity != '\0') {
            on_disk += MIN(f->bytes, partial_disk_bytes(pull->work.partial_fd, f->identity));
            done += partial_peek(pull->work.partial_fd, f->identity, f->bytes, DOWNLOAD_CHUNK_BYTES);
        }
    }
    char all[16], left[16], here[16], disk[16];
    pull_notice(pull, "%s%s%s%s%s%s%s", m->name, *m->label != '\0' ? ", " : "", m->label,
                *m->licence != '\0' ? ", licence " : "", m->licence, *m->revision != '\0' ? ", revision " : "",
                m->revision);
    pull_notice(pull, "  size: %s in %zu file%s; %s in %zu to %s%s%s", format_bytes(m->bytes, all), m->n_file,
                m->n_file == 1 ? "" : "s", format_bytes(missing - MIN(done, missing), left), n_missing,
                pull->request->copy ? "copy" : "fetch", done > 0 ? ", going on from " : "",
                done > 0 ? format_bytes(done, here) : "");
    show_memory(pull);
    if (*pull->others != '\0')
        pull_notice(pull, "  others: %s", pull->others);
    const uint64_t need = missing - MIN(on_disk, missing), free_bytes = fit_disk_bytes(pull->work.models);
    if (missing == 0 || free_bytes == 0)
        return OK;
    const bool fits = need + disk_slack_bytes <= free_bytes;
    pull_notice(pull, "  disk: %s free in %s: it %s", format_bytes(free_bytes, disk), pull->work.models,
                fits ? "fits" : "does NOT fit");
    FAIL_IF(!fits && !pull->request->plan_only, ERR_IO,
            "%s: needs %s more on the disk, %s are free in %s; make room, or set XDG_DATA_HOME to a folder on a larger "
            "disk",
            m->name, format_bytes(need + disk_slack_bytes, left), format_bytes(free_bytes, disk), pull->work.models);
    return OK;
}

/* ---- headers ----------------------------------------------------------------------------------------------------- */

void pull_label_of_tensors(Pull *pull, const ModelFiles *files) {
    uint64_t bytes[DT_COUNT] = {0};
    for (size_t i = 0; i < model_files_tensors(files); i++)
        bytes[model_files_tensor(files, i)->type] += model_files_tensor(files, i)->bytes;
    int best = 0;
    for (int type = 1; type < DT_COUNT; type++)
        if (bytes[type] > bytes[best])
            best = type;
    if (bytes[best] > 0)
        pull->model.label = dtype_name((DType)best);
}

static Status judge_head(Pull *pull, const char *path, const FetchReply *reply, uint64_t file_bytes, bool *more,
                         Error *err) {
    ModelFiles *files;
    TRY(model_files_open_head(path, (const uint8_t *)reply->body, reply->bytes, (size_t)file_bytes, more, &files, err));
    if (model_files_kind(files) == CONTAINER_GGUF)
        fit_of_gguf(files, &pull->needs);
    if (*pull->model.label == '\0')
        pull_label_of_tensors(pull, files);
    model_files_close(files);
    return OK;
}

Status pull_look_at_head(Pull *pull, const char *path, uint64_t file_bytes, PullHeadFn fetch, void *user, Error *err) {
    for (uint64_t bytes = first_head_bytes;; bytes *= 4) {
        FetchReply reply;
        bool more = false;
        Error own = {0};
        TRY(fetch(pull, user, path, MIN(bytes, file_bytes), &reply, err));
        const Status status = judge_head(pull, path, &reply, file_bytes, &more, &own);
        fetch_reply_free(&reply);
        if (status == OK)
            return OK;
        if (more && bytes < last_head_bytes && bytes < file_bytes)
            continue;
        if (status == ERR_MEMORY || !pull->request->force)
            return error_set(err, own.status, "%s (--force fetches it all the same)", own.text);
        pull_notice(pull, "  houle cannot open it: %s", own.text);
        return OK;
    }
}

/* ---- entering, fetching, completing ------------------------------------------------------------------------------ */

/* What an unfinished pull of another revision has brought is not needed any more (or was linked by now). */
static Status give_up_unfinished(Pull *pull, Error *err) {
    for (size_t i = 0; i < pull->here.count; i++) {
        const StoreModel *m = &pull->here.items[i];
        if (m->state == MODEL_PULLING && strcasecmp(m->name, pull->model.name) == 0 &&
            strcmp(m->root, pull->root_path) != 0)
            TRY(store_index_mark_removing(pull->work.index, m->id, err));
    }
    return OK;
}

Status pull_enter(Pull *pull, int64_t *id, Error *err) {
    TRY(give_up_unfinished(pull, err));
    pull->model.state = MODEL_PULLING;
    pull->model.since = (int64_t)time(NULL);
    return store_index_add(pull->work.index, &pull->model, id, err);
}

static Status write_manifest(Pull *pull, Error *err) {
    Text text = {0};
    char *path = path_join(pull->model.root, MANIFEST_NAME);
    Status status =
        path != NULL ? manifest_write(&pull->model, &text, err) : error_set(err, ERR_MEMORY, "no memory for a path");
    if (status == OK)
        status = store_work_write(&pull->work, path, text.bytes, text.count, err);
    text_free(&text);
    mem_free(path);
    return status;
}

Status pull_complete(Pull *pull, int64_t id, Error *err) {
    char label[QUANT_LABEL_BYTES];
    if (*pull->model.label == '\0') {
        TRY(local_repo_label(pull->root_path, label, err));
        pull->model.label = arena_strdup(&pull->arena, label);
        FAIL_IF(pull->model.label == NULL, ERR_MEMORY, "no memory for a label");
    }
    TRY(write_manifest(pull, err));
    TRY(store_index_complete(pull->work.index, id, pull->model.label, err));
    Text report = {0};
    const Status status = store_work_finish(&pull->work, &report, err);
    text_free(&report);
    return status;
}

typedef struct Fetching {
    Pull *pull;
    int64_t id;
    DownloadItem *items;
    size_t *numbers; /* which of the model's files an item is */
} Fetching;

static Status on_placed(void *user, size_t item, Error *err) {
    Fetching *f = user;
    ModelFile *file = &f->pull->model.files[f->numbers[item]];
    file->present = true;
    file->sha256 = f->items[item].found_sha256; /* lives as long as the pull's arena */
    return store_index_set_present(f->pull->work.index, f->id, file->path, file->sha256, err);
}

static Status run_download(Pull *pull, int64_t id, int target, Error *err) {
    const size_t n = pull->model.n_file;
    Fetching f = {.pull = pull, .id = id};
    f.items = arena_array(&pull->arena, n, sizeof *f.items);
    f.numbers = arena_array(&pull->arena, n, sizeof *f.numbers);
    FAIL_IF(f.items == NULL || f.numbers == NULL, ERR_MEMORY, "no memory for a list of %zu files", n);
    DownloadJob job = {.settings = &pull->settings,
                       .items = f.items,
                       .partial_folder = pull->work.partial_fd,
                       .target_folder = target,
                       .bytes_per_s = pull->request->bytes_per_s,
                       .placed = on_placed,
                       .user = &f};
    job.connections = pull->request->connections > 0 ? pull->request->connections : USUAL_CONNECTIONS;
    for (size_t i = 0; i < n; i++) {
        const ModelFile *file = &pull->model.files[i];
        DownloadItem *item = &f.items[job.n_item];
        *item = (DownloadItem){.what = file->path,
                               .page = pull->page,
                               .url = pull->sources[i].url,
                               .identity = file->identity,
                               .path = file->path,
                               .bytes = file->bytes,
                               .sha256 = *file->sha256 != '\0' ? file->sha256 : NULL,
                               .git_sha1 = *file->git_sha1 != '\0' && *file->sha256 == '\0' ? file->git_sha1 : NULL,
                               .replace = pull->sources[i].replace,
                               .done = file->present};
        f.numbers[job.n_item++] = i;
    }
    const Status status = download_run(&job, err);
    pull->result->received_bytes = job.received_bytes;
    return status;
}

Status pull_fetch(Pull *pull, Error *err) {
    int64_t id;
    TRY(pull_enter(pull, &id, err));
    int target;
    TRY(folder_open_below(pull->work.models_fd, pull->model.root, true, &target, err));
    const uint64_t began = clock_us();
    Status status = run_download(pull, id, target, err);
    close(target);
    if (status == OK)
        status = pull_complete(pull, id, err);
    TRY(status);
    char size[16], rate[16];
    const double seconds = MAX((double)(clock_us() - began) * 1e-6, 1e-3);
    const uint64_t bytes = pull->result->received_bytes;
    if (bytes > 0)
        pull_notice(pull, "  fetched %s in %.1f s (%s/s), checksums are right", format_bytes(bytes, size), seconds,
                    format_bytes((uint64_t)((double)bytes / seconds), rate));
    StoreModel there = pull->model;
    there.root = pull->root_path;
    return pull_tell_result(pull, &there, PULL_FETCHED, err);
}

Status pull_register(Pull *pull, PullOutcome outcome, Error *err) {
    pull->model.state = MODEL_COMPLETE;
    pull->model.owned = false;
    pull->model.since = (int64_t)time(NULL);
    for (size_t i = 0; i < pull->model.n_file; i++)
        pull->model.files[i].present = true;
    if (!pull->request->plan_only) {
        for (size_t i = 0; i < pull->here.count;
             i++) { /* what it replaces, and whose files are the store's to delete */
            const StoreModel *old = &pull->here.items[i];
            if (old->owned && strcasecmp(old->name, pull->model.name) == 0)
                TRY(store_index_mark_removing(pull->work.index, old->id, err));
        }
        TRY(store_index_add(pull->work.index, &pull->model, NULL, err));
        TRY(store_work_finish(&pull->work, NULL, err));
    }
    return pull_tell_result(pull, &pull->model, outcome, err);
}

Status pull_tell_result(Pull *pull, const StoreModel *model, PullOutcome outcome, Error *err) {
    pull->result->outcome = outcome;
    pull->result->name = mem_strdup(model->name, MEM_MISC);
    FAIL_IF(pull->result->name == NULL, ERR_MEMORY, "no memory for the result");
    if (outcome == PULL_PLANNED)
        return OK;
    pull->result->path = store_model_path(model);
    FAIL_IF(pull->result->path == NULL, ERR_MEMORY, "no memory for the result");
    return OK;
}
