/* hub.c - see hub.h.
 *
 *     GET /api/models/OWNER/NAME[/revision/REV]?blobs=true    the list of files with sizes and checksums, the licence
 *     GET /OWNER/NAME/resolve/COMMIT/PATH                     a file, mostly by a redirect to a content network
 *
 * Files are always asked for by commit, so that a branch that moves during a download changes nothing. */
#include "store/hub.h"

#include "base/file.h"
#include "base/mem.h"
#include "format/json.h"

#include <stdlib.h>
#include <string.h>

/* ---- the list of files ------------------------------------------------------------------------------------------- */

/* Whether a file of the repository may become a file below our folder. Hidden ones are git's and other tools' own. */
static bool path_allowed(const char *path, size_t bytes) {
    if (bytes == 0 || bytes > HUB_MAX_PATH_BYTES || !path_is_inside(path) || !utf8_valid(path, bytes))
        return false;
    size_t part = 0;
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)path[i];
        if (c < ' ' || c == 0x7F || c == '\\' || (c == '.' && part == 0))
            return false;
        part = c == '/' ? 0 : part + 1;
        if (part > 255)
            return false;
    }
    return true;
}

/* A string of the answer, without control characters, in the model's arena; "" when it is none or absurdly long. */
static const char *take_string(HubModel *model, const json_t *value) {
    const char *text = json_string_value(value);
    if (text == NULL || json_string_length(value) > 1000 || strlen(text) != json_string_length(value))
        return "";
    char *copy = arena_strdup(&model->arena, text);
    for (char *c = copy; c != NULL && *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F)
            *c = ' ';
    return copy;
}

static uint64_t size_of_json(const json_t *value) {
    return json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value)
                                                                    : HEAD_UNKNOWN;
}

static void take_digest(DigestKind kind, const json_t *value, char to[DIGEST_HEX]) {
    const char *text = json_string_value(value);
    uint8_t bytes[DIGEST_BYTES];
    to[0] = '\0';
    if (text != NULL && digest_unhex(text, bytes, digest_digits(kind) / 2))
        digest_hex(bytes, digest_digits(kind) / 2, to); /* in lower case, whatever it came in */
}

static void take_file(const json_t *sibling, HubFile *file) {
    const json_t *lfs = json_object_get(sibling, "lfs");
    file->bytes = size_of_json(json_object_get(sibling, "size"));
    if (json_is_object(lfs)) {
        const json_t *sha256 = json_object_get(lfs, "sha256");
        take_digest(DIGEST_SHA256, sha256 != NULL ? sha256 : json_object_get(lfs, "oid"), file->sha256);
        if (file->bytes == HEAD_UNKNOWN)
            file->bytes = size_of_json(json_object_get(lfs, "size"));
    } else {
        take_digest(DIGEST_SHA1, json_object_get(sibling, "blobId"), file->git_sha1);
    }
}

Status hub_model_add_file(HubModel *model, const char *path, HubFile **file, Error *err) {
    *file = NULL;
    const size_t bytes = strlen(path);
    if (!path_allowed(path, bytes) || map_find(&model->by_path, path, bytes) != NULL)
        return OK;
    FAIL_IF(model->n_file >= HUB_MAX_FILES, ERR_LIMIT, "%s: more than %d files", model->id, HUB_MAX_FILES);
    const char *copy = arena_strndup(&model->arena, path, bytes);
    FAIL_IF(copy == NULL ||
                !mem_grow((void **)&model->files, &model->file_capacity, model->n_file + 1, sizeof *model->files,
                          MEM_NETWORK) ||
                !map_put(&model->by_path, copy, bytes, (int64_t)model->n_file),
            ERR_MEMORY, "%s: no memory for its list of files", model->id);
    *file = &model->files[model->n_file++];
    **file = (HubFile){.path = copy, .bytes = HEAD_UNKNOWN};
    return OK;
}

static Status take_files(const json_t *siblings, HubModel *model, Error *err) {
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        const json_t *sibling = json_array_get(siblings, i);
        const json_t *name = json_object_get(sibling, "rfilename");
        const char *path = json_string_value(name);
        if (path == NULL || strlen(path) != json_string_length(name)) /* none, or one with a NUL in it */
            continue;
        HubFile *file;
        TRY(hub_model_add_file(model, path, &file, err));
        if (file != NULL)
            take_file(sibling, file);
    }
    return OK;
}

/* ---- licence and other facts ------------------------------------------------------------------------------------- */

static const char *licence_of(HubModel *model, const json_t *root) {
    const json_t *card = json_object_get(root, "cardData");
    const json_t *licence = json_object_get(card, "license");
    if (json_is_array(licence))
        licence = json_array_get(licence, 0);
    const char *name = take_string(model, json_object_get(card, "license_name"));
    const char *text = take_string(model, licence);
    /* "other" is explained by a name of its own. */
    if (name == NULL || text == NULL)
        return NULL;
    if (*name != '\0' && (*text == '\0' || strcmp(text, "other") == 0))
        return name;
    if (*text != '\0')
        return text;
    const json_t *tags = json_object_get(root, "tags");
    for (size_t i = 0; i < json_array_size(tags) && i < 1000; i++) {
        const json_t *tag = json_array_get(tags, i);
        if (json_is_string(tag) && starts_with(json_string_value(tag), "license:")) {
            text = take_string(model, tag);
            return text != NULL && *text != '\0' ? text + strlen("license:") : text;
        }
    }
    return "";
}

/* A commit becomes part of addresses and folder names: letters and digits only. */
static bool commit_allowed(const char *commit) {
    const size_t bytes = strlen(commit);
    return bytes >= 6 && bytes <= 64 &&
           strspn(commit, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == bytes;
}

static Status take_model(const json_t *root, HubModel *model, Error *err) {
    FAIL_IF(!json_is_object(root), ERR_FORMAT, "the hub's answer is no JSON object");
    const json_t *id = json_object_get(root, "id");
    model->id = take_string(model, id != NULL ? id : json_object_get(root, "modelId"));
    model->publisher = take_string(model, json_object_get(root, "author"));
    model->commit = take_string(model, json_object_get(root, "sha"));
    model->licence = licence_of(model, root);
    model->licence_link = take_string(model, json_object_get(json_object_get(root, "cardData"), "license_link"));
    FAIL_IF(model->id == NULL || model->publisher == NULL || model->commit == NULL || model->licence == NULL ||
                model->licence_link == NULL,
            ERR_MEMORY, "no memory for the hub's answer");
    FAIL_IF(!commit_allowed(model->commit), ERR_FORMAT, "the hub's answer names no commit");
    const json_t *gated = json_object_get(root, "gated");
    model->gated = json_is_true(gated) || json_is_string(gated);
    model->disabled = json_is_true(json_object_get(root, "disabled"));
    return take_files(json_object_get(root, "siblings"), model, err);
}

Status hub_parse_model(const char *bytes, size_t count, HubModel *model, Error *err) {
    *model = (HubModel){0};
    arena_init(&model->arena, MEM_NETWORK);
    json_t *root = NULL;
    Status status = json_parse(bytes, count, "the hub's answer", false, &root, err);
    if (status == OK)
        status = take_model(root, model, err);
    json_decref(root);
    if (status != OK)
        hub_model_free(model);
    return status;
}

const HubFile *hub_find_file(const HubModel *model, const char *path) {
    const int64_t *index = map_find(&model->by_path, path, strlen(path));
    return index != NULL ? &model->files[*index] : NULL;
}

Status hub_model_init(HubModel *model, const char *id, Error *err) {
    *model = (HubModel){.publisher = "", .commit = "", .licence = "", .licence_link = ""};
    arena_init(&model->arena, MEM_NETWORK);
    model->id = arena_strdup(&model->arena, id);
    FAIL_IF(model->id == NULL, ERR_MEMORY, "%s: no memory for its list of files", id);
    return OK;
}

void hub_model_free(HubModel *model) {
    mem_free(model->files);
    map_free(&model->by_path);
    arena_free(&model->arena);
    *model = (HubModel){0};
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

char *hub_file_url(const char *endpoint, const ModelName *name, const char *commit, const char *path) {
    Text url = {0};
    text_append_format(&url, "%s/%s/%s/resolve/%s/", endpoint, name->owner, name->repo, commit);
    fetch_escape(path, true, &url);
    return text_take(&url);
}

char *hub_page_url(const char *endpoint, const ModelName *name) {
    Text url = {0};
    text_append_format(&url, "%s/%s/%s", endpoint, name->owner, name->repo);
    return text_take(&url);
}

static char *model_url(const char *endpoint, const ModelName *name) {
    Text url = {0};
    text_append_format(&url, "%s/api/models/%s/%s", endpoint, name->owner, name->repo);
    if (name->revision[0] != '\0') {
        text_append_str(&url, "/revision/");
        fetch_escape(name->revision, false, &url);
    }
    text_append_str(&url, "?blobs=true");
    return text_take(&url);
}

char *hub_endpoint(const char *asked) {
    const char *from = asked != NULL ? asked : getenv("HF_ENDPOINT");
    char *endpoint = mem_strdup(from != NULL && *from != '\0' ? from : HUB_DEFAULT_ENDPOINT, MEM_NETWORK);
    for (size_t n = endpoint != NULL ? strlen(endpoint) : 0; n > 0 && endpoint[n - 1] == '/'; n--)
        endpoint[n - 1] = '\0';
    return endpoint;
}

Status hub_check_endpoint(const char *endpoint, Error *err) {
    char *plain = fetch_plain_url(endpoint);
    const size_t bytes = strlen(endpoint);
    const bool good = plain != NULL && bytes > 0 && endpoint[bytes - 1] != '/' && strpbrk(endpoint, "?#@") == NULL;
    mem_free(plain);
    FAIL_IF(!good, ERR_ARGUMENT,
            "%.200s: no base address of a hub; it looks like %s, without a user, a query or a slash at its end",
            endpoint, HUB_DEFAULT_ENDPOINT);
    return OK;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static Status get(const FetchSettings *settings, const ModelName *name, const char *what, const char *url,
                  uint64_t range_bytes, size_t limit, FetchReply *reply, Error *err) {
    char *page = hub_page_url(settings->endpoint, name);
    FAIL_IF(page == NULL || url == NULL, ERR_MEMORY, "no memory for an address");
    const FetchRequest request = {
        .what = what, .page = page, .url = url, .range_bytes = range_bytes, .limit_bytes = limit};
    const Status status = fetch_get(settings, &request, reply, err);
    mem_free(page);
    return status;
}

Status hub_fetch_model(const FetchSettings *settings, const ModelName *name, HubModel *model, Error *err) {
    *model = (HubModel){0};
    Text what = {0};
    text_append_format(&what, "%s/%s%s%s", name->owner, name->repo, name->revision[0] != '\0' ? "@" : "",
                       name->revision);
    char *url = model_url(settings->endpoint, name);
    FetchReply reply = {0};
    Status status = text_check(&what, err);
    if (status == OK)
        status = get(settings, name, what.bytes, url, 0, HUB_ANSWER_LIMIT_BYTES, &reply, err);
    if (status == OK) {
        status = hub_parse_model(reply.body, reply.bytes, model, err);
        if (status != OK)
            error_context(err, "%s", what.bytes);
    }
    fetch_reply_free(&reply);
    mem_free(url);
    text_free(&what);
    return status;
}

Status hub_fetch_bytes(const FetchSettings *settings, const ModelName *name, const char *commit, const char *path,
                       uint64_t bytes, size_t limit, FetchReply *reply, Error *err) {
    *reply = (FetchReply){0};
    char *url = hub_file_url(settings->endpoint, name, commit, path);
    const Status status = get(settings, name, path, url, bytes, limit, reply, err);
    mem_free(url);
    return status;
}

Status hub_fetch_file_facts(const FetchSettings *settings, const ModelName *name, const char *commit, HubFile *file,
                            Error *err) {
    FetchReply reply;
    TRY(hub_fetch_bytes(settings, name, commit, file->path, 1, 0, &reply, err));
    file->bytes = reply.first.linked_bytes != HEAD_UNKNOWN ? reply.first.linked_bytes : reply.total_bytes;
    if (digest_is_hex(DIGEST_SHA256, reply.first.linked_etag))
        memcpy(file->sha256, reply.first.linked_etag, digest_digits(DIGEST_SHA256) + 1);
    else if (digest_is_hex(DIGEST_SHA1, reply.first.etag))
        memcpy(file->git_sha1, reply.first.etag, digest_digits(DIGEST_SHA1) + 1);
    fetch_reply_free(&reply);
    FAIL_IF(file->bytes == HEAD_UNKNOWN, ERR_NETWORK, "%s: the hub does not say how large it is", file->path);
    return OK;
}
