/* caches.c - see caches.h. Lists of local files go through pick.h, which knows what makes a model, just as the hub's
 * lists do. */
#include "store/caches.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/local_repo.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_DEPTH = 3, /* of a name with slashes */
    MAX_REFS = 64,
    SMALL_BYTES = 1 << 20,
};

/* What one scan needs everywhere. `strings` is thrown away after each model. */
typedef struct Scan {
    StoreList *list;
    Arena strings;
} Scan;

static bool no_memory(const void *pointer, Error *err) {
    if (pointer == NULL)
        error_set(err, ERR_MEMORY, "no memory to look through the caches");
    return pointer == NULL;
}

static Status keep(Scan *scan, const char *text, const char **kept, Error *err) {
    *kept = arena_strdup(&scan->list->arena, text);
    return no_memory(*kept, err) ? ERR_MEMORY : OK;
}

/* ---- models in a folder ------------------------------------------------------------------------------------------ */

typedef struct Origin {
    ModelSource source;
    const char *name; /* without the selection */
    const char *folder;
    const char *publisher, *revision, *licence; /* kept */
} Origin;

static Status add_model(Scan *scan, const Origin *origin, const Pick *pick, const char *label, Error *err) {
    StoreModel *m = store_list_add(scan->list);
    if (no_memory(m, err))
        return ERR_MEMORY;
    Text name = {0};
    text_append_format(&name, "%s%s%s", origin->name, *pick->selection != '\0' ? ":" : "", pick->selection);
    Status status = text_check(&name, err);
    if (status == OK)
        status = keep(scan, name.bytes, &m->name, err);
    text_free(&name);
    TRY(status);
    m->source = origin->source;
    m->publisher = origin->publisher;
    m->revision = origin->revision;
    m->licence = origin->licence;
    TRY(keep(scan, label, &m->label, err));
    TRY(keep(scan, origin->folder, &m->root, err));
    m->origin = m->root;
    TRY(keep(scan, pick->entry, &m->entry, err));
    struct stat st;
    m->since = stat(m->root, &st) == 0 ? (int64_t)st.st_mtime : 0;
    m->files = arena_array(&scan->list->arena, pick->n_file, sizeof *m->files);
    if (no_memory(m->files, err))
        return ERR_MEMORY;
    for (size_t i = 0; i < pick->n_file; i++) {
        ModelFile *f = &m->files[m->n_file++];
        *f = (ModelFile){.bytes = pick->files[i]->bytes, .identity = "", .present = true};
        TRY(keep(scan, pick->files[i]->path, &f->path, err));
        TRY(keep(scan, pick->files[i]->sha256, &f->sha256, err));
        TRY(keep(scan, pick->files[i]->git_sha1, &f->git_sha1, err));
        m->bytes += f->bytes;
    }
    return OK;
}

/* Tries a choice; what is incomplete or ambiguous is simply not there. */
static Status try_pick(Scan *scan, const Origin *origin, const HubModel *model, const char *wish, const char *label,
                       Error *err) {
    Pick pick;
    Error own = {0};
    const Status status = local_repo_pick(origin->folder, model, wish, &scan->strings, &pick, &own);
    FAIL_IF(status == ERR_MEMORY, ERR_MEMORY, "%s", own.text);
    return status == OK ? add_model(scan, origin, &pick, pick.gguf ? pick.label : label, err) : OK;
}

static Status scan_files(Scan *scan, const Origin *origin, const HubModel *model, Error *err) {
    bool safetensors = false;
    for (size_t i = 0; i < model->n_file; i++) {
        const char *path = model->files[i].path;
        safetensors = safetensors || ends_with(path, ".safetensors");
        if (pick_begins_gguf(path))
            TRY(try_pick(scan, origin, model, path, "", err));
    }
    char label[QUANT_LABEL_BYTES];
    if (!safetensors)
        return OK;
    TRY(local_repo_label(origin->folder, label, err));
    return try_pick(scan, origin, model, "safetensors", label, err);
}

static Status scan_repository(Scan *scan, Origin *origin, Error *err) {
    HubModel model;
    TRY(local_repo_licence(origin->folder, &scan->list->arena, &origin->licence, err));
    TRY(local_repo_list(origin->folder, origin->name, &model, err));
    const Status status = scan_files(scan, origin, &model, err);
    hub_model_free(&model);
    return status;
}

/* ---- Hugging Face ------------------------------------------------------------------------------------------------ */

typedef struct Ref {
    const char *name;
    char commit[65];
} Ref;

typedef struct Refs {
    Ref items[MAX_REFS];
    size_t count;
} Refs;

/* refs/main, refs/v1.0, refs/refs/pr/3: files that hold a commit. */
static Status collect_refs(Scan *scan, const char *folder, const char *below, int depth, Refs *refs, Error *err) {
    FolderEntry *entries;
    size_t count;
    TRY(local_entries(folder, &scan->strings, &entries, &count, err));
    for (size_t i = 0; i < count; i++) {
        const char *path, *name = entries[i].name;
        TRY(local_join(&scan->strings, folder, entries[i].name, &path, err));
        if (*below != '\0')
            TRY(local_join(&scan->strings, below, entries[i].name, &name, err));
        if (entries[i].is_folder && depth < MAX_DEPTH)
            TRY(collect_refs(scan, path, name, depth + 1, refs, err));
        char *content = NULL;
        if (!entries[i].is_file || refs->count == MAX_REFS || file_read(path, 64, &content, NULL, NULL) != OK)
            continue;
        Ref *ref = &refs->items[refs->count];
        const size_t bytes = strspn(content, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (bytes > 0 && bytes <= 64) {
            memcpy(ref->commit, content, bytes);
            ref->commit[bytes] = '\0';
            ref->name = name;
            refs->count++;
        }
        mem_free(content);
    }
    return OK;
}

static Status scan_snapshot(Scan *scan, const char *repo, const char *publisher, const char *folder,
                            const char *revision_name, const char *commit, Error *err) {
    const char *path;
    TRY(local_join(&scan->strings, folder, commit, &path, err));
    if (!file_is_directory(path))
        return OK;
    Text name = {0};
    text_append_str(&name, repo);
    if (strcmp(revision_name, "main") != 0)
        text_append_format(&name, "@%.100s", revision_name);
    Origin origin = {.source = SOURCE_HF_CACHE, .name = name.bytes, .folder = path, .licence = ""};
    Status status = text_check(&name, err);
    if (status == OK)
        status = keep(scan, publisher, &origin.publisher, err);
    if (status == OK)
        status = keep(scan, commit, &origin.revision, err);
    if (status == OK)
        status = scan_repository(scan, &origin, err);
    text_free(&name);
    return status;
}

static Status scan_hf_repo(Scan *scan, const char *folder, const char *repo, Error *err) {
    Refs *refs = arena_alloc(&scan->strings, sizeof *refs);
    const char *refs_folder, *snapshots;
    if (no_memory(refs, err))
        return ERR_MEMORY;
    TRY(local_join(&scan->strings, folder, "refs", &refs_folder, err));
    TRY(local_join(&scan->strings, folder, "snapshots", &snapshots, err));
    TRY(collect_refs(scan, refs_folder, "", 0, refs, err));
    const char *slash = strchr(repo, '/');
    const char *publisher = slash != NULL ? arena_strndup(&scan->strings, repo, (size_t)(slash - repo)) : "";
    if (no_memory(publisher, err))
        return ERR_MEMORY;
    for (size_t i = 0; i < refs->count; i++)
        TRY(scan_snapshot(scan, repo, publisher, snapshots, refs->items[i].name, refs->items[i].commit, err));
    FolderEntry *entries;
    size_t count;
    TRY(local_entries(snapshots, &scan->strings, &entries, &count, err));
    for (size_t i = 0; i < count; i++) { /* fetched by commit: no ref leads to them */
        bool named = false;
        for (size_t j = 0; j < refs->count; j++)
            named = named || strcmp(refs->items[j].commit, entries[i].name) == 0;
        const char *brief = arena_strndup(&scan->strings, entries[i].name, MIN(strlen(entries[i].name), 12));
        if (no_memory(brief, err))
            return ERR_MEMORY;
        if (!named)
            TRY(scan_snapshot(scan, repo, publisher, snapshots, brief, entries[i].name, err));
    }
    return OK;
}

static Status scan_hf(Scan *scan, const char *root, Error *err) {
    FolderEntry *entries;
    size_t count;
    TRY(local_entries(root, &scan->strings, &entries, &count, err));
    for (size_t i = 0; i < count; i++) {
        static const char lead[] = "models--";
        if (!entries[i].is_folder || !starts_with(entries[i].name, lead))
            continue;
        char *repo = arena_strdup(&scan->strings, entries[i].name + strlen(lead));
        const char *folder;
        if (no_memory(repo, err))
            return ERR_MEMORY;
        char *dashes = strstr(repo, "--");
        if (dashes != NULL) {
            *dashes = '/';
            memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
        }
        TRY(local_join(&scan->strings, root, entries[i].name, &folder, err));
        TRY(scan_hf_repo(scan, folder, repo, err));
    }
    return OK;
}

/* ---- LM Studio --------------------------------------------------------------------------------------------------- */

static Status scan_lm_studio(Scan *scan, const char *root, Error *err) {
    FolderEntry *publishers, *repos;
    size_t n_publisher, n_repo;
    TRY(local_entries(root, &scan->strings, &publishers, &n_publisher, err));
    for (size_t i = 0; i < n_publisher; i++) {
        const char *publisher, *name, *folder;
        if (!publishers[i].is_folder || publishers[i].name[0] == '.')
            continue;
        TRY(local_join(&scan->strings, root, publishers[i].name, &publisher, err));
        TRY(local_entries(publisher, &scan->strings, &repos, &n_repo, err));
        for (size_t j = 0; j < n_repo; j++) {
            if (!repos[j].is_folder || repos[j].name[0] == '.')
                continue;
            TRY(local_join(&scan->strings, publisher, repos[j].name, &folder, err));
            TRY(local_join(&scan->strings, publishers[i].name, repos[j].name, &name, err));
            Origin origin = {.source = SOURCE_LM_STUDIO, .name = name, .folder = folder, .revision = ""};
            TRY(keep(scan, publishers[i].name, &origin.publisher, err));
            TRY(scan_repository(scan, &origin, err));
        }
    }
    return OK;
}

/* ---- Ollama ------------------------------------------------------------------------------------------------------ */

/* "sha256:HEX" or "sha256-HEX" to the blob's file name; false for anything else. */
static bool blob_name(const json_t *layer, char name[80]) {
    const char *digest = json_string_value(json_object_get(layer, "digest"));
    if (digest == NULL || strlen(digest) != 71 ||
        (!starts_with(digest, "sha256:") && !starts_with(digest, "sha256-")) ||
        !digest_is_hex(DIGEST_SHA256, digest + 7))
        return false;
    memcpy(name, digest, 72);
    name[6] = '-';
    return true;
}

static const json_t *find_layer(const json_t *manifest, const char *kind, size_t *n_found) {
    const json_t *layers = json_object_get(manifest, "layers"), *found = NULL;
    *n_found = 0;
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        if (type == NULL || !starts_with(type, "application/vnd.ollama.image.") ||
            strcmp(type + strlen("application/vnd.ollama.image."), kind) != 0)
            continue;
        found = found != NULL ? found : layer;
        (*n_found)++;
    }
    return found;
}

/* The blob of a layer, if its file is there with the size that the manifest says. */
static Status take_blob(Scan *scan, const json_t *layer, const char *blobs, StoreModel *m, bool *there, Error *err) {
    char name[80];
    const char *path;
    struct stat st;
    *there = false;
    if (!blob_name(layer, name))
        return OK;
    TRY(local_join(&scan->strings, blobs, name, &path, err));
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) ||
        st.st_size != json_integer_value(json_object_get(layer, "size")))
        return OK;
    ModelFile *f = &m->files[m->n_file++];
    *f = (ModelFile){.bytes = (uint64_t)st.st_size, .git_sha1 = "", .identity = "", .present = true};
    TRY(keep(scan, name, &f->path, err));
    TRY(keep(scan, name + 7, &f->sha256, err));
    m->bytes += f->bytes;
    if (m->since == 0)
        m->since = (int64_t)st.st_mtime;
    *there = true;
    return OK;
}

/* The first line of the licence's text. */
static Status take_licence(Scan *scan, const json_t *layer, const char *blobs, StoreModel *m, Error *err) {
    char name[80], *text = NULL;
    const char *path;
    if (layer == NULL || !blob_name(layer, name))
        return OK;
    TRY(local_join(&scan->strings, blobs, name, &path, err));
    if (file_read(path, SMALL_BYTES, &text, NULL, NULL) != OK)
        return OK;
    char *line = text + strspn(text, " \t\r\n");
    line[strcspn(line, "\r\n")] = '\0';
    if (strlen(line) > 60)
        line[60] = '\0';
    line[utf8_complete_prefix(line, strlen(line))] = '\0';
    const Status status = keep(scan, line, &m->licence, err);
    mem_free(text);
    return status;
}

static Status take_manifest(Scan *scan, const json_t *manifest, const char *name, const char *publisher,
                            const char *blobs, Error *err) {
    size_t n_model, n_projector, n_licence;
    const json_t *weights = find_layer(manifest, "model", &n_model);
    const json_t *projector = find_layer(manifest, "projector", &n_projector);
    const json_t *licence = find_layer(manifest, "license", &n_licence);
    if (n_model != 1) /* remote models have none; those cut into tensors are no file that could be opened */
        return OK;
    StoreModel *m = store_list_add(scan->list);
    if (no_memory(m, err))
        return ERR_MEMORY;
    m->source = SOURCE_OLLAMA;
    m->files = arena_array(&scan->list->arena, 2, sizeof *m->files);
    if (no_memory(m->files, err))
        return ERR_MEMORY;
    bool there = false;
    TRY(take_blob(scan, weights, blobs, m, &there, err));
    if (!there) {
        scan->list->count--;
        return OK;
    }
    m->entry = m->files[0].path;
    if (projector != NULL)
        TRY(take_blob(scan, projector, blobs, m, &there, err));
    TRY(keep(scan, name, &m->name, err));
    TRY(keep(scan, publisher, &m->publisher, err));
    TRY(keep(scan, blobs, &m->root, err));
    m->origin = m->root;
    TRY(take_licence(scan, licence, blobs, m, err));
    char config_name[80];
    if (blob_name(json_object_get(manifest, "config"), config_name)) {
        const char *path;
        json_t *config;
        TRY(local_join(&scan->strings, blobs, config_name, &path, err));
        TRY(local_read_json(path, &config, err));
        const char *label = json_string_value(json_object_get(config, "file_type"));
        const Status status =
            label != NULL && strlen(label) < QUANT_LABEL_BYTES ? keep(scan, label, &m->label, err) : OK;
        json_decref(config);
        TRY(status);
    }
    return OK;
}

/* A manifest may be a list of manifests, one for each kind of runner, each in full or by its digest. */
static Status take_manifest_file(Scan *scan, const char *path, const char *name, const char *publisher,
                                 const char *blobs, Error *err) {
    json_t *manifest;
    TRY(local_read_json(path, &manifest, err));
    Status status = take_manifest(scan, manifest, name, publisher, blobs, err);
    const json_t *list = json_object_get(manifest, "manifests");
    const size_t before = scan->list->count;
    for (size_t i = 0; i < json_array_size(list) && i < 16 && status == OK && scan->list->count == before; i++) {
        const json_t *child = json_array_get(list, i);
        char blob[80];
        if (json_object_get(child, "layers") != NULL) {
            status = take_manifest(scan, child, name, publisher, blobs, err);
        } else if (blob_name(child, blob)) {
            const char *child_path;
            json_t *other = NULL;
            status = local_join(&scan->strings, blobs, blob, &child_path, err);
            if (status == OK)
                status = local_read_json(child_path, &other, err);
            if (status == OK)
                status = take_manifest(scan, other, name, publisher, blobs, err);
            json_decref(other);
        }
    }
    json_decref(manifest);
    return status;
}

/* "registry.ollama.ai", "library", "small", "4b" to "small:4b". */
static Status ollama_name(Scan *scan, const char *const parts[4], const char **name, Error *err) {
    const bool own = strcmp(parts[0], "registry.ollama.ai") == 0 || strcmp(parts[0], "ollama.com") == 0;
    const bool hub = strcmp(parts[0], "hf.co") == 0 || strcmp(parts[0], "huggingface.co") == 0;
    Text text = {0};
    if (!own && !hub)
        text_append_format(&text, "%s/", parts[0]);
    if (!own || strcmp(parts[1], "library") != 0)
        text_append_format(&text, "%s/", parts[1]);
    text_append_format(&text, "%s:%s", parts[2], parts[3]);
    *name = text.failed ? NULL : arena_strdup(&scan->strings, text.bytes);
    text_free(&text);
    return no_memory(*name, err) ? ERR_MEMORY : OK;
}

static bool listed_already(const StoreList *list, size_t from, const char *name) {
    for (size_t i = from; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return true;
    return false;
}

static Status scan_manifests(Scan *scan, const char *folder, const char *parts[4], int depth, const char *blobs,
                             size_t from, Error *err) {
    FolderEntry *entries;
    size_t count;
    TRY(local_entries(folder, &scan->strings, &entries, &count, err));
    for (size_t i = 0; i < count; i++) {
        const char *path, *name;
        if (entries[i].name[0] == '.')
            continue;
        parts[depth] = entries[i].name;
        TRY(local_join(&scan->strings, folder, entries[i].name, &path, err));
        if (depth < 3 && entries[i].is_folder)
            TRY(scan_manifests(scan, path, parts, depth + 1, blobs, from, err));
        if (depth < 3 || !entries[i].is_file)
            continue;
        TRY(ollama_name(scan, parts, &name, err));
        if (!listed_already(scan->list, from, name))
            TRY(take_manifest_file(scan, path, name, parts[1], blobs, err));
    }
    return OK;
}

static Status scan_ollama(Scan *scan, const char *root, Error *err) {
    const char *blobs, *manifests, *parts[4] = {0};
    const size_t from = scan->list->count;
    TRY(local_join(&scan->strings, root, "blobs", &blobs, err));
    TRY(local_join(&scan->strings, root, "manifests-v2", &manifests,
                   err)); /* the newer layout; its entries come first */
    TRY(scan_manifests(scan, manifests, parts, 0, blobs, from, err));
    TRY(local_join(&scan->strings, root, "manifests", &manifests, err));
    return scan_manifests(scan, manifests, parts, 0, blobs, from, err);
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

/* A folder below the user's home, or below what a variable says; NULL in *path when there is no home. */
static Status below_home(Scan *scan, const char *below, const char **path, Error *err) {
    const char *home = path_variable("HOME");
    *path = NULL;
    return home != NULL ? local_join(&scan->strings, home, below, path, err) : OK;
}

static Status hf_root(Scan *scan, const char **root, Error *err) {
    static const char *const direct[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"};
    for (size_t i = 0; i < COUNT(direct); i++) {
        *root = path_variable(direct[i]);
        if (*root != NULL)
            return OK;
    }
    if (path_variable("HF_HOME") != NULL)
        return local_join(&scan->strings, path_variable("HF_HOME"), "hub", root, err);
    if (path_variable("XDG_CACHE_HOME") != NULL)
        return local_join(&scan->strings, path_variable("XDG_CACHE_HOME"), "huggingface/hub", root, err);
    return below_home(scan, ".cache/huggingface/hub", root, err);
}

static const char service_folder[] = "/usr/share/ollama/.ollama/models";

static Status scan_all(Scan *scan, Error *err) {
    const char *root;
    TRY(hf_root(scan, &root, err));
    if (root != NULL)
        TRY(scan_hf(scan, root, err));
    static const char *const lm_studio[] = {".lmstudio/models", ".cache/lm-studio/models"};
    for (size_t i = 0; i < COUNT(lm_studio); i++) {
        TRY(below_home(scan, lm_studio[i], &root, err));
        if (root != NULL)
            TRY(scan_lm_studio(scan, root, err));
    }
    root = path_variable("OLLAMA_MODELS");
    if (root != NULL)
        return scan_ollama(scan, root, err);
    TRY(below_home(scan, ".ollama/models", &root, err));
    if (root != NULL)
        TRY(scan_ollama(scan, root, err));
    return scan_ollama(scan, service_folder, err);
}

Status caches_scan(StoreList *list, Error *err) {
    Scan scan = {.list = list};
    arena_init(&scan.strings, MEM_MISC);
    const Status status = scan_all(&scan, err);
    arena_free(&scan.strings);
    return status;
}

static char *blob_below(const char *root, const char *below, const char *sha256, uint64_t bytes) {
    Text path = {0};
    text_append_format(&path, "%s%s/blobs/sha256-%s", root, below, sha256);
    struct stat st;
    if (!path.failed && stat(path.bytes, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes)
        return text_take(&path);
    text_free(&path);
    return NULL;
}

char *caches_find_blob(const char *sha256, uint64_t bytes) {
    if (!digest_is_hex(DIGEST_SHA256, sha256))
        return NULL;
    if (path_variable("OLLAMA_MODELS") != NULL)
        return blob_below(path_variable("OLLAMA_MODELS"), "", sha256, bytes);
    char *path =
        path_variable("HOME") != NULL ? blob_below(path_variable("HOME"), "/.ollama/models", sha256, bytes) : NULL;
    return path != NULL ? path : blob_below(service_folder, "", sha256, bytes);
}
