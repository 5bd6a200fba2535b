/* pull_url.c - a GGUF file by its address, with all its parts when it is cut into several.
 *
 * Nobody states a checksum here (unless the server is a hub and does so in a header): the file's size and ETag say
 * whether it is still the same, and the SHA-256 of what came is kept. */
#include "store/pull_work.h"

#include "base/file.h"
#include "base/mem.h"
#include "store/model_name.h"

#include <stdio.h>
#include <string.h>

typedef struct UrlPull {
    const char *url;   /* as given: may hold a signature, is not kept */
    const char *plain; /* without user, query and fragment */
    const char *query; /* "?..." or "" */
    SplitName split;
    bool is_split;
} UrlPull;

static Status take_url(Pull *pull, UrlPull *u, Error *err) {
    u->url = pull->request->what;
    char *plain = fetch_plain_url(u->url);
    FAIL_IF(plain == NULL, ERR_ARGUMENT, "%.300s: no address that can be read", u->url);
    u->plain = arena_strdup(&pull->arena, plain);
    mem_free(plain);
    FAIL_IF(u->plain == NULL, ERR_MEMORY, "no memory for an address");
    FAIL_IF(
        !ends_with(u->plain, ".gguf"), ERR_ARGUMENT,
        "%.300s: an address must lead to a .gguf file; models of several files are pulled by their name on the hub, "
        "OWNER/NAME",
        u->plain);
    u->is_split = split_of_path(u->plain, &u->split);
    const char *query = strchr(u->url, '?');
    u->query = query != NULL ? arena_strndup(&pull->arena, query, strcspn(query, "#")) : "";
    FAIL_IF(u->query == NULL, ERR_MEMORY, "no memory for an address");
    FAIL_IF(u->is_split && u->split.part != 1, ERR_ARGUMENT, "%.300s: give the address of the first part", u->plain);
    return OK;
}

/* The address of a part; of the only one, as it was given (a user and password in it are needed). */
static const char *part_url(Pull *pull, const UrlPull *u, int part) {
    if (!u->is_split)
        return u->url;
    return pull_format(pull, "%.*s-%05d-of-%05d%s%s", (int)u->split.stem_bytes, u->plain, part, u->split.parts,
                       u->split.tail, u->query);
}

/* The file's name is taken from the address: a name for our folder, so only harmless letters. */
static const char *file_name(Pull *pull, const UrlPull *u, int part) {
    const char *name = path_name(u->plain);
    char *copy = u->is_split ? (char *)pull_format(pull, "%.*s-%05d-of-%05d%s",
                                                   (int)(u->split.stem_bytes - (size_t)(name - u->plain)), name, part,
                                                   u->split.parts, u->split.tail)
                             : arena_strdup(&pull->arena, name);
    for (char *c = copy; c != NULL && *c != '\0'; c++)
        if (strchr("-_.+", *c) == NULL &&
            !((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z')))
            *c = '_';
    if (copy != NULL && *copy == '.')
        *copy = '_';
    return copy;
}

/* ---- what the server says ---------------------------------------------------------------------------------------- */

static Status probe(Pull *pull, const UrlPull *u, int part, Error *err) {
    ModelFile *f = &pull->model.files[part - 1];
    PullSource *source = &pull->sources[part - 1];
    source->url = part_url(pull, u, part);
    f->path = file_name(pull, u, part);
    FAIL_IF(source->url == NULL || f->path == NULL, ERR_MEMORY, "no memory for an address");
    FAIL_IF(strlen(f->path) > 200, ERR_ARGUMENT, "%.200s...: the file's name is too long", f->path);
    const FetchRequest request = {.what = f->path, .url = source->url, .range_bytes = 1};
    FetchReply reply;
    TRY(fetch_get(&pull->settings, &request, &reply, err));
    f->bytes = reply.first.linked_bytes != HEAD_UNKNOWN ? reply.first.linked_bytes : reply.total_bytes;
    const bool hub = digest_is_hex(DIGEST_SHA256, reply.first.linked_etag);
    f->sha256 = hub ? arena_strdup(&pull->arena, reply.first.linked_etag) : "";
    f->identity =
        hub ? pull_format(pull, "sha256:%s", reply.first.linked_etag)
            : pull_format(pull, "url:%s#%d %llu %s", u->plain, part, (unsigned long long)f->bytes, reply.head.etag);
    fetch_reply_free(&reply);
    FAIL_IF(f->bytes == HEAD_UNKNOWN, ERR_NETWORK, "%s: the server does not say how large it is", f->path);
    FAIL_IF(f->sha256 == NULL || f->identity == NULL, ERR_MEMORY, "no memory for a name");
    pull->model.n_file++;
    pull->model.bytes += f->bytes;
    pull->needs.weight_bytes += f->bytes;
    return OK;
}

/* "example.org" of "https://example.org:8080/models/x.gguf": becomes the owner in the model's name. */
static const char *host_of(Pull *pull, const char *plain) {
    const char *host = strstr(plain, "://");
    host = host != NULL ? host + 3 : plain;
    char *copy = arena_strndup(&pull->arena, host, strcspn(host, "/:"));
    for (char *c = copy; c != NULL && *c != '\0'; c++)
        if (strchr("-_.", *c) == NULL &&
            !((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z')))
            *c = '_';
    return copy;
}

/* "small-4b-Q8_0.gguf" is called "small-4b:Q8_0"; the label goes from the end of the stem, if it is there. */
static const char *model_name(Pull *pull, const char *owner, const char *file, const char *label) {
    SplitName split;
    size_t stem = split_of_path(file, &split) ? split.stem_bytes : strlen(file) - strlen(".gguf");
    const size_t tail = strlen(label);
    char found[QUANT_LABEL_BYTES];
    if (tail > 0 && stem > tail + 1 && strchr("-_.", file[stem - tail - 1]) != NULL && quant_of_path(file, found) &&
        strcmp(found, label) == 0)
        stem -= tail + 1;
    return pull_format(pull, "%s/%.*s%s%s", owner, (int)stem, file, tail > 0 ? ":" : "", label);
}

static Status fill_model(Pull *pull, const UrlPull *u, Error *err) {
    StoreModel *m = &pull->model;
    const int parts = u->is_split ? u->split.parts : 1;
    FAIL_IF(parts > 1000, ERR_LIMIT, "%s: a model of %d parts", u->plain, parts);
    TRY(pull_reserve(pull, (size_t)parts, err));
    for (int part = 1; part <= parts; part++)
        TRY(probe(pull, u, part, err));
    char label[QUANT_LABEL_BYTES];
    quant_of_path(m->files[0].path, label);
    const char *host = host_of(pull, u->plain);
    m->label = arena_strdup(&pull->arena, label);
    FAIL_IF(host == NULL || m->label == NULL, ERR_MEMORY, "no memory for a name");
    m->name = pull->request->name != NULL ? pull->request->name : model_name(pull, host, m->files[0].path, label);
    m->source = SOURCE_URL;
    m->owned = true;
    m->origin = u->plain;
    m->publisher = host;
    m->entry = m->files[0].path;
    /* What the server has now is one revision: the first part's identity stands for it. */
    char digits[DIGEST_HEX];
    TRY(digest_of_bytes(DIGEST_SHA256, m->files[0].identity, strlen(m->files[0].identity), digits, err));
    m->root = pull_format(pull, "%s/%.150s/%.12s", host, m->files[0].path, digits);
    FAIL_IF(m->name == NULL || m->root == NULL, ERR_MEMORY, "no memory for a name");
    pull->root_path = pull_format(pull, "%s/%s", pull->work.models, m->root);
    FAIL_IF(pull->root_path == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

static Status fetch_head(Pull *pull, void *user, const char *path, uint64_t bytes, FetchReply *reply, Error *err) {
    (void)user;
    const FetchRequest request = {.what = path, .url = pull->sources[0].url, .range_bytes = bytes};
    return fetch_get(&pull->settings, &request, reply, err);
}

static Status is_here(Pull *pull, bool *here, Error *err) {
    *here = false;
    const StoreModel *old = pull_find(pull, pull->model.name);
    if (old == NULL || !pull_intact(old))
        return OK;
    FAIL_IF(strcmp(old->origin, pull->model.origin) != 0, ERR_ARGUMENT,
            "%s is another model here, from %s; choose another name with --name", old->name, old->origin);
    const bool same = strcmp(old->root, pull->root_path) == 0;
    if (!same && pull->request->update)
        return OK;
    *here = true;
    if (same)
        pull_notice(pull, "%s is here, complete", old->name);
    else
        pull_notice(pull, "%s is here, complete, but the file at %s has changed since; --update takes it", old->name,
                    old->origin);
    return pull_tell_result(pull, old, same ? PULL_PRESENT : PULL_OUTDATED, err);
}

Status pull_url(Pull *pull, Error *err) {
    UrlPull u = {0};
    bool here;
    TRY(take_url(pull, &u, err));
    TRY(fill_model(pull, &u, err));
    TRY(pull_lock(pull, err));
    TRY(is_here(pull, &here, err));
    if (here)
        return OK;
    TRY(pull_take_present(pull, err));
    if (pull_missing_bytes(pull) > 0)
        TRY(pull_look_at_head(pull, pull->model.files[0].path, pull->model.files[0].bytes, fetch_head, NULL, err));
    TRY(pull_show_plan(pull, err));
    if (!pull->request->plan_only)
        return pull_fetch(pull, err);
    return pull_tell_result(pull, &pull->model, PULL_PLANNED, err);
}
