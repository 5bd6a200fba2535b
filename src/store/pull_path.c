/* pull_path.c - a model that is on this machine already: registered where it lies, or copied into the store.
 *
 * Its files are hashed either way, so that 'houle verify' can tell later whether they are still what they were. */
#include "store/pull_work.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "store/hash_files.h"
#include "store/local_repo.h"
#include "store/manifest.h"
#include "store/model_name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

typedef struct PathPull {
    const char *path;   /* absolute, links resolved */
    const char *folder; /* the model's root */
    bool is_file;
    HubModel files;
    Pick pick;
    StoreModel manifest; /* what houle.json says */
    bool has_manifest;
} PathPull;

/* ---- what is there ----------------------------------------------------------------------------------------------- */

static Status take_path(Pull *pull, PathPull *p, Error *err) {
    char *real = realpath(pull->request->what, NULL);
    FAIL_IF(real == NULL, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", pull->request->what, strerror(errno));
    p->path = arena_strdup(&pull->arena, real);
    free(real);
    FAIL_IF(p->path == NULL, ERR_MEMORY, "no memory for a path");
    p->is_file = !file_is_directory(p->path);
    const size_t lead = (size_t)(path_name(p->path) - p->path);
    p->folder = p->is_file ? arena_strndup(&pull->arena, p->path, lead > 1 ? lead - 1 : lead) : p->path;
    FAIL_IF(p->folder == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

static Status add_alone(Pull *pull, PathPull *p, const char *name, Error *err) {
    char *path = path_join(p->folder, name);
    struct stat st;
    const bool there = path != NULL && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    mem_free(path);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    FAIL_IF(!there, ERR_NOT_FOUND, "%s/%s: a part of the model is missing", p->folder, name);
    HubFile *file = arena_alloc(&pull->arena, sizeof *file);
    FAIL_IF(file == NULL, ERR_MEMORY, "no memory for a list of files");
    file->path = name;
    file->bytes = (uint64_t)st.st_size;
    p->pick.files[p->pick.n_file++] = file;
    return OK;
}

/* A file that was named is the model, with its other parts: whatever else lies beside it is not ours to judge. */
static Status pick_file(Pull *pull, PathPull *p, Error *err) {
    const char *name = path_name(p->path);
    SplitName split;
    const bool is_split = split_of_path(name, &split);
    const int parts = is_split ? split.parts : 1;
    p->pick = (Pick){.gguf = ends_with(name, ".gguf"), .selection = "", .others = "", .entry = name, .weights = name};
    p->pick.files = arena_array(&pull->arena, (size_t)parts, sizeof *p->pick.files);
    FAIL_IF(p->pick.files == NULL, ERR_MEMORY, "no memory for a list of files");
    quant_of_path(name, p->pick.label);
    for (int part = 1; part <= parts; part++) {
        const char *one =
            is_split ? pull_format(pull, "%.*s-%05d-of-%05d%s", (int)split.stem_bytes, name, part, parts, split.tail)
                     : name;
        FAIL_IF(one == NULL, ERR_MEMORY, "no memory for a name");
        TRY(add_alone(pull, p, one, err));
    }
    p->pick.entry = p->pick.files[0]->path;
    return OK;
}

/* The files that a manifest names are the model. */
static Status pick_listed(Pull *pull, PathPull *p, Error *err) {
    p->pick = (Pick){.selection = "", .others = "", .entry = p->manifest.entry};
    p->pick.files = arena_array(&pull->arena, p->manifest.n_file, sizeof *p->pick.files);
    FAIL_IF(p->pick.files == NULL, ERR_MEMORY, "no memory for a list of files");
    for (size_t i = 0; i < p->manifest.n_file; i++)
        TRY(add_alone(pull, p, p->manifest.files[i].path, err));
    return OK;
}

static Status pick_folder(Pull *pull, PathPull *p, Error *err) {
    const char *wish = pull->request->quant != NULL ? pull->request->quant : "";
    TRY(manifest_read(p->folder, &pull->arena, &p->manifest, &p->has_manifest, err));
    if (p->has_manifest)
        return pick_listed(pull, p, err);
    TRY(local_repo_list(p->folder, p->folder, &p->files, err));
    return local_repo_pick(p->folder, &p->files, wish, &pull->arena, &p->pick, err);
}

/* ---- what it says of itself -------------------------------------------------------------------------------------- */

static const char *meta_text(Pull *pull, const ModelFiles *files, const char *key) {
    const MetaValue *value = model_files_meta_find(files, key);
    if (value == NULL || value->type != META_STRING || value->as.string.count > 200 ||
        memchr(value->as.string.bytes, '\0', value->as.string.count) != NULL)
        return "";
    const char *copy = arena_strndup(&pull->arena, value->as.string.bytes, value->as.string.count);
    return copy != NULL ? copy : "";
}

/* Opens it, as running it would: what cannot be opened is not taken. */
static Status look_inside(Pull *pull, const PathPull *p, Error *err) {
    StoreModel *m = &pull->model;
    char *path = path_join(p->folder, m->entry);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    ModelFiles *files = NULL;
    Error own = {0};
    const Status status = model_files_open(*m->entry != '\0' ? path : p->folder, &files, &own);
    mem_free(path);
    FAIL_IF(status == ERR_MEMORY || (status != OK && !pull->request->force), own.status, "%s%s", own.text,
            status == ERR_MEMORY ? "" : " (--force takes it all the same)");
    if (files == NULL)
        return OK;
    if (*m->label == '\0')
        pull_label_of_tensors(pull, files);
    if (*m->licence == '\0')
        m->licence = meta_text(pull, files, "general.license");
    if (*m->publisher == '\0')
        m->publisher = meta_text(pull, files, "general.organization");
    if (*m->publisher == '\0')
        m->publisher = meta_text(pull, files, "general.author");
    model_files_close(files);
    return OK;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

static const char *name_of_path(Pull *pull, const PathPull *p) {
    const char *name = path_name(p->path), *label = p->pick.gguf ? p->pick.label : "";
    size_t stem = strlen(name);
    if (p->is_file) {
        SplitName split;
        const char *dot = strrchr(name, '.');
        stem = split_of_path(name, &split) ? split.stem_bytes : dot != NULL && dot > name ? (size_t)(dot - name) : stem;
        const size_t tail = strlen(label);
        if (tail > 0 && stem > tail + 1 && strncasecmp(name + stem - tail, label, tail) == 0 &&
            strchr("-_.", name[stem - tail - 1]) != NULL)
            stem -= tail + 1;
    }
    /* A colon divides a name from its selection. */
    char *text = (char *)pull_format(pull, "%.*s", (int)stem, name);
    for (char *c = text; c != NULL && *c != '\0'; c++)
        if (*c == ':')
            *c = '_';
    return text == NULL || *label == '\0' ? text : pull_format(pull, "%s:%s", text, label);
}

static Status fill_files(Pull *pull, const PathPull *p, Error *err) {
    StoreModel *m = &pull->model;
    TRY(pull_reserve(pull, p->pick.n_file, err));
    for (size_t i = 0; i < p->pick.n_file; i++) {
        ModelFile *f = &m->files[i];
        f->path = arena_strdup(&pull->arena, p->pick.files[i]->path);
        f->bytes = p->pick.files[i]->bytes;
        f->sha256 = p->has_manifest ? p->manifest.files[i].sha256 : "";
        f->git_sha1 = p->has_manifest ? p->manifest.files[i].git_sha1 : "";
        FAIL_IF(f->path == NULL, ERR_MEMORY, "no memory for a list of files");
        FAIL_IF(p->has_manifest && f->bytes != p->manifest.files[i].bytes, ERR_FORMAT,
                "%s/%s has %llu bytes; " MANIFEST_NAME " says %llu: was it copied completely?", p->folder, f->path,
                (unsigned long long)f->bytes, (unsigned long long)p->manifest.files[i].bytes);
        m->n_file++;
        m->bytes += f->bytes;
    }
    return OK;
}

static Status fill_model(Pull *pull, PathPull *p, Error *err) {
    StoreModel *m = &pull->model;
    if (p->has_manifest) { /* the files are filled in below, as they are here */
        *m = p->manifest;
        m->files = NULL;
        m->n_file = 0;
        m->bytes = 0;
    }
    m->source = pull->request->copy ? SOURCE_COPY : SOURCE_PATH;
    m->entry = arena_strdup(&pull->arena, p->pick.entry);
    if (pull->request->name != NULL || *m->name == '\0')
        m->name = pull->request->name != NULL ? pull->request->name : name_of_path(pull, p);
    if (*m->origin == '\0')
        m->origin = p->path;
    if (*m->label == '\0' && p->pick.label[0] != '\0')
        m->label = p->pick.label;
    m->root = p->folder;
    FAIL_IF(m->name == NULL || m->entry == NULL, ERR_MEMORY, "no memory for a name");
    FAIL_IF(*m->name == '\0' || strlen(m->name) > 400 || m->name[0] == '.' || m->name[0] == '/', ERR_ARGUMENT,
            "%s: no name for a model; choose one with --name", m->name);
    if (*m->licence == '\0')
        TRY(local_repo_licence(p->folder, &pull->arena, &m->licence, err));
    if (*m->label == '\0') {
        char label[QUANT_LABEL_BYTES];
        TRY(local_repo_label(p->folder, label, err));
        m->label = arena_strdup(&pull->arena, label);
        FAIL_IF(m->label == NULL, ERR_MEMORY, "no memory for a label");
    }
    return fill_files(pull, p, err);
}

/* Hashes what is there; where a manifest says what should be, it has to agree. */
static Status hash_model(Pull *pull, Error *err) {
    StoreModel *m = &pull->model;
    HashTask *tasks = arena_array(&pull->arena, m->n_file, sizeof *tasks);
    FAIL_IF(tasks == NULL, ERR_MEMORY, "no memory for a list of %zu files", m->n_file);
    for (size_t i = 0; i < m->n_file; i++) {
        tasks[i].path = pull_format(pull, "%s/%s", m->root, m->files[i].path);
        tasks[i].bytes = m->files[i].bytes;
        FAIL_IF(tasks[i].path == NULL, ERR_MEMORY, "no memory for a path");
    }
    TRY(hash_files(tasks, m->n_file, pull->request->progress, "hashing", err));
    for (size_t i = 0; i < m->n_file; i++) {
        ModelFile *f = &m->files[i];
        FAIL_IF(tasks[i].status != OK, tasks[i].status, "%s: %s", tasks[i].path, tasks[i].why);
        FAIL_IF(*f->sha256 != '\0' && strcmp(f->sha256, tasks[i].sha256) != 0, ERR_FORMAT,
                "%s: its SHA-256 is %.16s..., " MANIFEST_NAME " says %.16s...: it was altered on the way",
                tasks[i].path, tasks[i].sha256, f->sha256);
        f->sha256 = tasks[i].sha256;
        f->bytes = tasks[i].found_bytes;
    }
    return OK;
}

/* ---- registering ------------------------------------------------------------------------------------------------- */

static Status refuse_taken_name(const Pull *pull, Error *err) {
    const StoreModel *old = pull_find(pull, pull->model.name);
    FAIL_IF(old != NULL && (old->owned || strcmp(old->root, pull->model.root) != 0), ERR_ARGUMENT,
            "%s is another model here, in %s; choose another name with --name", old->name, old->root);
    return OK;
}

/* A folder of the store itself, whose row was lost: its files are the store's again. */
static Status readopt(Pull *pull, const char *relative, Error *err) {
    StoreModel *m = &pull->model;
    pull->root_path = m->root;
    m->root = relative;
    m->owned = true;
    m->source = SOURCE_HUB;
    for (size_t i = 0; i < m->n_file; i++)
        m->files[i].present = true;
    int64_t id;
    TRY(pull_enter(pull, &id, err));
    TRY(store_index_complete(pull->work.index, id, m->label, err));
    StoreModel there = *m;
    there.root = pull->root_path;
    return pull_tell_result(pull, &there, PULL_REGISTERED, err);
}

static Status register_path(Pull *pull, const PathPull *p, Error *err) {
    const StoreModel *old = pull_find(pull, pull->model.name);
    if (old != NULL && strcmp(old->root, pull->model.root) == 0 && pull_intact(old)) {
        pull_notice(pull, "%s is here, complete; 'houle verify' looks whether it was altered", old->name);
        return pull_tell_result(pull, old, PULL_PRESENT, err);
    }
    TRY(refuse_taken_name(pull, err));
    TRY(hash_model(pull, err));
    const char *relative = store_work_relative(&pull->work, &pull->model);
    if (relative != NULL && p->has_manifest)
        return readopt(pull, relative, err);
    return pull_register(pull, PULL_REGISTERED, err);
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

static const char *copy_root(Pull *pull) {
    /* Like the root of a pulled model, with the first digits of all checksums in the place of a commit. */
    Digest digest;
    char digits[DIGEST_HEX], name[420];
    if (digest_begin(&digest, DIGEST_SHA256, NULL) != OK)
        return NULL;
    for (size_t i = 0; i < pull->model.n_file; i++)
        digest_add(&digest, pull->model.files[i].sha256, strlen(pull->model.files[i].sha256));
    if (digest_end(&digest, digits, NULL) != OK)
        return NULL;
    snprintf(name, sizeof name, "%s", pull->model.name);
    for (char *c = name; *c != '\0'; c++)
        if (*c == '/' || *c == ':' || (unsigned char)*c < ' ')
            *c = '_';
    return pull_format(pull, "local/%.200s-%.12s", name, digits);
}

typedef struct Copying {
    Pull *pull;
    uint64_t done, total;
    char *buffer;
    const ModelFile *file; /* that is copied now, */
    int from;              /* from here */
} Copying;

enum { COPY_BYTES = 1 << 20 };

/* Copies and hashes what is written, so that a file that changes meanwhile is noticed. */
static Status copy_bytes(void *user, int to, Error *err) {
    Copying *c = user;
    const ModelFile *f = c->file;
    Digest digest;
    TRY(digest_begin(&digest, DIGEST_SHA256, err));
    Status status = OK;
    while (status == OK) {
        const ssize_t got = read(c->from, c->buffer, COPY_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = error_set(err, ERR_IO, "%s: cannot be read: %s", f->path, strerror(errno));
        if (got <= 0)
            break;
        digest_add(&digest, c->buffer, (size_t)got);
        status = file_write_all(to, c->buffer, (size_t)got, f->path, err);
        c->done += (uint64_t)got;
        if (status == OK && !progress_report(c->pull->request->progress, "copying", MIN(c->done, c->total), c->total))
            status = error_set(err, ERR_CANCELLED, "stopped; run it again to go on with the next file");
    }
    char found[DIGEST_HEX];
    if (status != OK) {
        digest_drop(&digest);
        return status;
    }
    TRY(digest_end(&digest, found, err));
    FAIL_IF(strcmp(found, f->sha256) != 0, ERR_IO, "%s: changed while it was copied", f->path);
    FAIL_IF(fsync(to) != 0, ERR_IO, "%s: cannot be written: %s", f->path, strerror(errno));
    return OK;
}

static Status copy_files(Pull *pull, const char *source_root, int64_t id, Error *err) {
    StoreModel *m = &pull->model;
    Copying c = {.pull = pull, .total = pull_missing_bytes(pull)};
    c.buffer = mem_alloc(COPY_BYTES, MEM_MISC);
    FAIL_IF(c.buffer == NULL, ERR_MEMORY, "no memory to copy files");
    Status status = OK;
    for (size_t i = 0; i < m->n_file && status == OK; i++) {
        ModelFile *f = &m->files[i];
        if (f->present)
            continue;
        const char *from_path = pull_format(pull, "%s/%s", source_root, f->path);
        const char *relative = pull_format(pull, "%s/%s", m->root, f->path);
        c.file = f;
        c.from = from_path != NULL && relative != NULL ? open(from_path, O_RDONLY | O_CLOEXEC) : -1;
        if (c.from < 0) {
            status = error_set(err, ERR_IO, "%s: cannot be read: %s", f->path, strerror(errno));
            break;
        }
        status = folder_write_atomic(pull->work.models_fd, relative, copy_bytes, &c, err);
        close(c.from);
        f->present = status == OK;
        if (status == OK)
            status = store_index_set_present(pull->work.index, id, f->path, f->sha256, err);
    }
    mem_free(c.buffer);
    return status;
}

static Status copy_path(Pull *pull, Error *err) {
    StoreModel *m = &pull->model;
    const char *source_root = m->root;
    TRY(hash_model(pull, err));
    m->root = copy_root(pull);
    m->owned = true;
    pull->root_path = m->root != NULL ? pull_format(pull, "%s/%s", pull->work.models, m->root) : NULL;
    FAIL_IF(pull->root_path == NULL, ERR_MEMORY, "no memory for a path");
    const StoreModel *old = pull_find(pull, m->name);
    FAIL_IF(old != NULL && strcmp(old->root, pull->root_path) != 0 && !pull->request->update, ERR_ARGUMENT,
            "%s is another model here, in %s; choose another name with --name, or replace it with --update", old->name,
            old->root);
    if (old != NULL && strcmp(old->root, pull->root_path) == 0 && pull_intact(old)) {
        pull_notice(pull, "%s is here, complete", old->name);
        return pull_tell_result(pull, old, PULL_PRESENT, err);
    }
    TRY(pull_take_present(pull, err));
    TRY(pull_show_plan(pull, err));
    if (pull->request->plan_only)
        return pull_tell_result(pull, m, PULL_PLANNED, err);
    int64_t id;
    TRY(pull_enter(pull, &id, err));
    TRY(copy_files(pull, source_root, id, err));
    TRY(pull_complete(pull, id, err));
    StoreModel there = *m;
    there.root = pull->root_path;
    return pull_tell_result(pull, &there, PULL_COPIED, err);
}

static Status pull_picked(Pull *pull, PathPull *p, Error *err) {
    TRY(p->is_file ? pick_file(pull, p, err) : pick_folder(pull, p, err));
    TRY(fill_model(pull, p, err));
    TRY(look_inside(pull, p, err));
    TRY(pull_lock(pull, err));
    return pull->request->copy ? copy_path(pull, err) : register_path(pull, p, err);
}

Status pull_path(Pull *pull, Error *err) {
    PathPull p = {0};
    TRY(take_path(pull, &p, err));
    p.manifest = pull->model; /* with its empty strings */
    const Status status = pull_picked(pull, &p, err);
    hub_model_free(&p.files);
    return status;
}
