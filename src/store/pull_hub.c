/* pull_hub.c - a model by its name on the hub: ask, pick, compare with what is here, look whether it fits, fetch. */
#include "store/pull_work.h"

#include "base/file.h"
#include "base/mem.h"
#include "format/json.h"
#include "store/caches.h"
#include "store/hash_files.h"
#include "store/hub.h"
#include "store/model_name.h"
#include "store/pick.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { BRIEF_COMMIT = 12, SMALL_JSON_BYTES = 64 << 20 };

typedef struct HubPull {
    ModelName name;
    const char *wish;
    HubModel hub;
    Pick pick;
} HubPull;

/* ---- the name ---------------------------------------------------------------------------------------------------- */

/* What was typed may be an end of a name that is here: then that model is meant. */
static const char *full_name(Pull *pull) {
    const char *what = pull->request->what;
    const StoreModel *model;
    if (!model_name_possible(what) && store_find(&pull->here, what, &model, NULL) == OK && model->source == SOURCE_HUB)
        return model->name;
    return what;
}

static Status take_name(Pull *pull, HubPull *h, Error *err) {
    const char *quant = pull->request->quant;
    const bool is_url = starts_with(pull->request->what, "http://") || starts_with(pull->request->what, "https://");
    TRY(is_url ? model_name_of_url(pull->request->what, pull->settings.endpoint, &h->name, err)
               : model_name_parse(full_name(pull), &h->name, err));
    FAIL_IF(quant != NULL && h->name.selection[0] != '\0' && strcasecmp(quant, h->name.selection) != 0, ERR_ARGUMENT,
            "%s names %s, --quant names %s; say one of them", pull->request->what, h->name.selection, quant);
    h->wish = quant != NULL ? quant : h->name.selection;
    return OK;
}

/* ---- what is wanted ---------------------------------------------------------------------------------------------- */

static Status read_index(Pull *pull, HubPull *h, json_t **index, Error *err) {
    *index = NULL;
    const HubFile *file = pick_index(&h->hub, h->wish);
    if (file == NULL)
        return OK;
    FetchReply reply;
    TRY(hub_fetch_bytes(&pull->settings, &h->name, h->hub.commit, file->path, 0, SMALL_JSON_BYTES, &reply, err));
    const Status status = json_parse(reply.body, reply.bytes, file->path, false, index, err);
    fetch_reply_free(&reply);
    return status;
}

static Status pick(Pull *pull, HubPull *h, Error *err) {
    json_t *index;
    TRY(read_index(pull, h, &index, err));
    const Status status = pick_files(&h->hub, h->wish, index, &pull->arena, &h->pick, err);
    json_decref(index);
    TRY(status);
    for (size_t i = 0; i < h->pick.n_file; i++) { /* a mirror may list names only */
        HubFile *file = &h->hub.files[h->pick.files[i] - h->hub.files];
        if (file->bytes == HEAD_UNKNOWN)
            TRY(hub_fetch_file_facts(&pull->settings, &h->name, h->hub.commit, file, err));
    }
    return OK;
}

/* Characters that mean something in a path are replaced: this is a folder's name only. */
static const char *root_of(Pull *pull, const HubPull *h) {
    char selection[HUB_SELECTION_BYTES];
    snprintf(selection, sizeof selection, "%.150s", h->pick.selection);
    for (char *c = selection; *c != '\0'; c++)
        if (*c == '/' || (c == selection && *c == '.'))
            *c = '_';
    return pull_format(pull, "%s/%s/%s%s%.*s", h->name.owner, h->name.repo, selection, *selection != '\0' ? "-" : "",
                       BRIEF_COMMIT, h->hub.commit);
}

static bool is_licence(const char *path) {
    return starts_with(path, "LICEN") || starts_with(path, "NOTICE") || starts_with(path, "USE_POLICY") ||
           starts_with(path, "COPYING");
}

static Status fill_files(Pull *pull, const HubPull *h, Error *err) {
    TRY(pull_reserve(pull, h->pick.n_file, err));
    StoreModel *m = &pull->model;
    for (size_t i = 0; i < h->pick.n_file; i++) {
        const HubFile *from = h->pick.files[i];
        char *url = hub_file_url(pull->settings.endpoint, &h->name, h->hub.commit, from->path);
        PullSource *source = &pull->sources[i];
        source->url = url != NULL ? arena_strdup(&pull->arena, url) : NULL;
        source->optional = is_licence(from->path);
        mem_free(url);
        ModelFile *f = &m->files[i];
        *f = (ModelFile){.path = from->path, .bytes = from->bytes, .sha256 = from->sha256, .git_sha1 = from->git_sha1};
        /* Content with a checksum has the same name wherever it comes from. */
        f->identity = from->sha256[0] != '\0'     ? pull_format(pull, "sha256:%s", from->sha256)
                      : from->git_sha1[0] != '\0' ? pull_format(pull, "git:%s", from->git_sha1)
                                                  : source->url;
        FAIL_IF(source->url == NULL || f->identity == NULL, ERR_MEMORY, "no memory for a list of files");
        m->n_file++;
        m->bytes += f->bytes;
        if (ends_with(f->path, ".gguf") || ends_with(f->path, ".safetensors"))
            pull->needs.weight_bytes += f->bytes;
    }
    return OK;
}

static Status fill_model(Pull *pull, HubPull *h, Error *err) {
    StoreModel *m = &pull->model;
    const char *revision = h->name.revision, *selection = h->pick.selection;
    m->name = pull_format(pull, "%s/%s%s%s%s%s", h->name.owner, h->name.repo, *revision != '\0' ? "@" : "", revision,
                          *selection != '\0' ? ":" : "", selection);
    m->source = SOURCE_HUB;
    m->owned = true;
    pull->page = m->origin = pull_format(pull, "%s/%s/%s", pull->settings.endpoint, h->name.owner, h->name.repo);
    m->publisher = *h->hub.publisher != '\0' ? h->hub.publisher : h->name.owner;
    m->licence = h->hub.licence;
    m->licence_link = h->hub.licence_link;
    m->revision = h->hub.commit;
    m->label = h->pick.label;
    m->entry = h->pick.entry;
    m->root = root_of(pull, h);
    pull->others = h->pick.others;
    FAIL_IF(m->name == NULL || m->origin == NULL || m->root == NULL, ERR_MEMORY, "no memory for a name");
    pull->root_path = pull_format(pull, "%s/%s", pull->work.models, m->root);
    FAIL_IF(pull->root_path == NULL, ERR_MEMORY, "no memory for a path");
    return fill_files(pull, h, err);
}

/* ---- what is here already ---------------------------------------------------------------------------------------- */

/* Whether the wanted files are among a model's, with the same content. */
static bool same_files(const Pull *pull, const StoreModel *model) {
    for (size_t i = 0; i < pull->model.n_file; i++) {
        bool found = pull->sources[i].optional;
        for (size_t j = 0; j < model->n_file && !found; j++)
            found = strcmp(model->files[j].path, pull->model.files[i].path) == 0 &&
                    pull_same_content(&model->files[j], &pull->model.files[i]);
        if (!found)
            return false;
    }
    return true;
}

/* True when there is nothing to do; the result is filled in. */
static Status is_here(Pull *pull, bool *here, Error *err) {
    *here = false;
    const StoreModel *old = pull_find(pull, pull->model.name);
    if (old == NULL || !pull_intact(old))
        return OK;
    if (strcmp(old->revision, pull->model.revision) == 0 && same_files(pull, old)) {
        *here = true;
        pull_notice(pull, "%s is here, complete (revision %s)", old->name, old->revision);
        return pull_tell_result(pull, old, PULL_PRESENT, err);
    }
    if (pull->request->update || strcmp(old->revision, pull->model.revision) == 0)
        return OK;
    *here = true;
    pull_notice(pull,
                "%s is here, complete, but its publisher has a newer revision: %s (here: %s)%s; --update takes it",
                old->name, pull->model.revision, old->revision,
                same_files(pull, old) ? ", in which the files of this model are the same" : "");
    return pull_tell_result(pull, old, PULL_OUTDATED, err);
}

/* ---- what lies in other programs' caches ------------------------------------------------------------------------- */

static const ModelFile *find_in(const StoreModel *model, const char *path) {
    for (size_t i = 0; i < model->n_file; i++)
        if (strcmp(model->files[i].path, path) == 0)
            return &model->files[i];
    return NULL;
}

/* The same names and sizes; what is known of their digests agrees. */
static bool seems_same(const Pull *pull, const StoreModel *foreign, bool *certain) {
    *certain = true;
    for (size_t i = 0; i < pull->model.n_file; i++) {
        const ModelFile *want = &pull->model.files[i], *have = find_in(foreign, want->path);
        if (have == NULL && pull->sources[i].optional)
            continue;
        if (have == NULL || have->bytes != want->bytes)
            return false;
        const bool known =
            (*have->sha256 != '\0' && *want->sha256 != '\0') || (*have->git_sha1 != '\0' && *want->git_sha1 != '\0');
        if (known && !pull_same_content(have, want))
            return false;
        *certain = *certain && known;
    }
    return true;
}

/* Reads the files at a place and compares them with the publisher's checksums. */
static Status check_bytes(Pull *pull, const char *const *paths, bool *right, Error *err) {
    const size_t n = pull->model.n_file;
    HashTask *tasks = arena_array(&pull->arena, n, sizeof *tasks);
    FAIL_IF(tasks == NULL, ERR_MEMORY, "no memory for a list of %zu files", n);
    size_t n_task = 0;
    *right = true;
    for (size_t i = 0; i < n; i++)
        if (paths[i] != NULL)
            tasks[n_task++] = (HashTask){.path = paths[i], .bytes = pull->model.files[i].bytes, .git = true};
    TRY(hash_files(tasks, n_task, pull->request->progress, "checking", err));
    n_task = 0;
    for (size_t i = 0; i < n; i++) {
        const ModelFile *want = &pull->model.files[i];
        if (paths[i] == NULL)
            continue;
        const HashTask *t = &tasks[n_task++];
        const bool by_sha256 = *want->sha256 != '\0';
        *right = *right && t->status == OK && (by_sha256 || *want->git_sha1 != '\0') &&
                 strcmp(by_sha256 ? t->sha256 : t->git_sha1, by_sha256 ? want->sha256 : want->git_sha1) == 0;
    }
    return OK;
}

/* The files stay where they are: the model gets their root, and only those that are there. */
static Status use_foreign(Pull *pull, const char *root, const char *const *paths, const char *where, Error *err) {
    StoreModel *m = &pull->model;
    size_t kept = 0;
    for (size_t i = 0; i < m->n_file; i++) {
        if (paths[i] == NULL) {
            m->bytes -= m->files[i].bytes;
            continue;
        }
        m->files[kept] = m->files[i];
        char *plain = path_join(root, m->files[i].path);
        m->files[kept].link = plain != NULL && strcmp(plain, paths[i]) == 0 ? NULL : paths[i];
        mem_free(plain);
        kept++;
    }
    m->n_file = kept;
    m->root = root;
    pull_notice(pull, "%s lies in %s already, and is used there: %s", m->name, where, root);
    return pull_register(pull, PULL_FOUND, err);
}

static Status try_foreign(Pull *pull, const StoreModel *foreign, bool *found, Error *err) {
    bool right = false;
    if (foreign->source == SOURCE_OLLAMA || !seems_same(pull, foreign, &right))
        return OK;
    const char **paths = arena_array(&pull->arena, pull->model.n_file, sizeof *paths);
    FAIL_IF(paths == NULL, ERR_MEMORY, "no memory for a list of files");
    for (size_t i = 0; i < pull->model.n_file; i++) {
        const ModelFile *have = find_in(foreign, pull->model.files[i].path);
        paths[i] = have != NULL ? pull_format(pull, "%s/%s", foreign->root, have->path) : NULL;
        FAIL_IF(have != NULL && paths[i] == NULL, ERR_MEMORY, "no memory for a path");
    }
    if (!right) /* names and sizes only: the bytes decide */
        TRY(check_bytes(pull, paths, &right, err));
    *found = right;
    if (!right)
        return OK;
    return use_foreign(pull, foreign->root, paths,
                       foreign->source == SOURCE_HF_CACHE ? "the Hugging Face cache" : "LM Studio's folder", err);
}

/* Ollama keeps files under their digest only. */
static Status try_blobs(Pull *pull, bool *found, Error *err) {
    const char **paths = arena_array(&pull->arena, pull->model.n_file, sizeof *paths);
    FAIL_IF(paths == NULL, ERR_MEMORY, "no memory for a list of files");
    const char *root = NULL;
    for (size_t i = 0; i < pull->model.n_file; i++) {
        char *path = caches_find_blob(pull->model.files[i].sha256, pull->model.files[i].bytes);
        paths[i] = path != NULL ? arena_strdup(&pull->arena, path) : NULL;
        mem_free(path);
        if (paths[i] == NULL && !pull->sources[i].optional)
            return OK;
        if (root == NULL && paths[i] != NULL)
            root = arena_strndup(&pull->arena, paths[i], (size_t)(path_name(paths[i]) - paths[i]) - 1);
    }
    if (root == NULL)
        return OK;
    TRY(check_bytes(pull, paths, found, err));
    return *found ? use_foreign(pull, root, paths, "Ollama's folder", err) : OK;
}

/* A model cut into parts must keep its files' names, which blobs do not have. */
static bool may_be_blob(const Pull *pull, const HubPull *h) {
    SplitName split;
    return h->pick.gguf && !split_of_path(pull->model.entry, &split);
}

static Status find_foreign(Pull *pull, const HubPull *h, bool *found, Error *err) {
    *found = false;
    TRY(caches_scan(&pull->foreign, err));
    for (size_t i = 0; i < pull->foreign.count && !*found; i++)
        TRY(try_foreign(pull, &pull->foreign.items[i], found, err));
    if (!*found && may_be_blob(pull, h))
        TRY(try_blobs(pull, found, err));
    return OK;
}

/* ---- whether it fits --------------------------------------------------------------------------------------------- */

static Status fetch_head(Pull *pull, void *user, const char *path, uint64_t bytes, FetchReply *reply, Error *err) {
    const HubPull *h = user;
    return hub_fetch_bytes(&pull->settings, &h->name, h->hub.commit, path, bytes, 0, reply, err);
}

static Status look_at_config(Pull *pull, const HubPull *h, Error *err) {
    const HubFile *file = hub_find_file(&h->hub, "config.json");
    if (file == NULL || file->bytes > SMALL_JSON_BYTES)
        return OK;
    FetchReply reply;
    TRY(hub_fetch_bytes(&pull->settings, &h->name, h->hub.commit, file->path, 0, SMALL_JSON_BYTES, &reply, err));
    json_t *config = NULL;
    Status status = json_parse(reply.body, reply.bytes, file->path, false, &config, err);
    fetch_reply_free(&reply);
    if (status == OK) {
        char label[QUANT_LABEL_BYTES];
        fit_of_config(config, &pull->needs);
        pick_label_of_config(config, label);
        pull->model.label = arena_strdup(&pull->arena, label);
        if (pull->model.label == NULL)
            status = error_set(err, ERR_MEMORY, "no memory for a label");
    }
    json_decref(config);
    return status;
}

static Status look_at_needs(Pull *pull, HubPull *h, Error *err) {
    const HubFile *weights = hub_find_file(&h->hub, h->pick.weights);
    if (!h->pick.gguf)
        TRY(look_at_config(pull, h, err));
    return pull_look_at_head(pull, weights->path, weights->bytes, fetch_head, h, err);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* The hub cannot be asked, but the model is here: that is all that most people want to know. */
static Status without_hub(Pull *pull, const HubPull *h, const Error *why, Error *err) {
    Text name = {0};
    text_append_format(&name, "%s/%s%s%s%s%s", h->name.owner, h->name.repo, h->name.revision[0] != '\0' ? "@" : "",
                       h->name.revision, *h->wish != '\0' ? ":" : "", h->wish);
    const StoreModel *old = NULL;
    const bool found = !name.failed && store_find(&pull->here, name.bytes, &old, NULL) == OK && pull_intact(old);
    text_free(&name);
    if (!found)
        return error_set(err, why->status, "%s", why->text);
    pull_notice(pull, "%s is here, complete; whether there is a newer revision cannot be told: %s", old->name,
                why->text);
    return pull_tell_result(pull, old, PULL_PRESENT, err);
}

static Status warn_of_gate(const Pull *pull, const HubPull *h, Error *err) {
    FAIL_IF(h->hub.disabled, ERR_DENIED, "%s: the hub has disabled this model", h->hub.id);
    if (h->hub.gated && pull->settings.token == NULL)
        pull_notice(pull, "%s is gated: its publisher wants the licence accepted at %s, and HF_TOKEN set", h->hub.id,
                    pull->page);
    const char *slash = strchr(h->hub.id, '/');
    if (*h->hub.id != '\0' && slash != NULL &&
        (strncasecmp(h->hub.id, h->name.owner, (size_t)(slash - h->hub.id)) != 0 ||
         strcasecmp(slash + 1, h->name.repo) != 0))
        pull_notice(pull, "%s/%s is now called %s", h->name.owner, h->name.repo, h->hub.id);
    return OK;
}

static Status pull_asked(Pull *pull, HubPull *h, Error *err) {
    bool done;
    TRY(pick(pull, h, err));
    TRY(fill_model(pull, h, err));
    TRY(warn_of_gate(pull, h, err));
    TRY(pull_lock(pull, err));
    TRY(is_here(pull, &done, err));
    if (done)
        return OK;
    TRY(find_foreign(pull, h, &done, err));
    if (done)
        return OK;
    TRY(pull_take_present(pull, err));
    if (pull_missing_bytes(pull) > 0)
        TRY(look_at_needs(pull, h, err));
    TRY(pull_show_plan(pull, err));
    if (!pull->request->plan_only)
        return pull_fetch(pull, err);
    return pull_tell_result(pull, &pull->model, PULL_PLANNED, err);
}

Status pull_hub(Pull *pull, Error *err) {
    HubPull h = {0};
    Error own = {0};
    TRY(take_name(pull, &h, err));
    Status status = hub_fetch_model(&pull->settings, &h.name, &h.hub, &own);
    if (status == OK)
        status = pull_asked(pull, &h, err);
    else if (status == ERR_NETWORK || status == ERR_BUSY)
        status = without_hub(pull, &h, &own, err);
    else
        status = error_set(err, own.status, "%s", own.text);
    hub_model_free(&h.hub);
    return status;
}
