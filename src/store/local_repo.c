/* local_repo.c - see local_repo.h. */
#include "store/local_repo.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "base/text.h"
#include "format/json.h"

#include <string.h>
#include <unistd.h>

enum {
    MAX_ENTRIES = 20000, /* of a folder */
    MAX_DEPTH = 3,
    SMALL_BYTES = 64 << 20, /* the index of a model with a million tensors */
};

Status local_join(Arena *arena, const char *folder, const char *name, const char **path, Error *err) {
    char *joined = path_join(folder, name);
    *path = joined != NULL ? arena_strdup(arena, joined) : NULL;
    mem_free(joined);
    FAIL_IF(*path == NULL, ERR_MEMORY, "%s: no memory to look through it", folder);
    return OK;
}

Status local_entries(const char *path, Arena *arena, FolderEntry **entries, size_t *count, Error *err) {
    Error own = {0};
    const Status status = folder_list(path, MAX_ENTRIES, arena, entries, count, &own);
    FAIL_IF(status == ERR_MEMORY, ERR_MEMORY, "%s", own.text);
    return OK;
}

Status local_read_json(const char *path, json_t **json, Error *err) {
    Error own = {0};
    *json = NULL;
    const Status status = json_read(path, SMALL_BYTES, json, &own);
    FAIL_IF(status == ERR_MEMORY, ERR_MEMORY, "%s", own.text);
    return OK;
}

/* The blob that a snapshot's link leads to is called by its digest. */
static void digest_of_link(const char *path, HubFile *file) {
    char target[512];
    const ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return;
    target[n] = '\0';
    const char *name = path_name(target);
    if (digest_is_hex(DIGEST_SHA256, name))
        memcpy(file->sha256, name, digest_digits(DIGEST_SHA256) + 1);
    else if (digest_is_hex(DIGEST_SHA1, name))
        memcpy(file->git_sha1, name, digest_digits(DIGEST_SHA1) + 1);
}

static Status collect_files(const char *folder, const char *below, int depth, Arena *arena, HubModel *model,
                            Error *err) {
    FolderEntry *entries;
    size_t count;
    TRY(local_entries(folder, arena, &entries, &count, err));
    for (size_t i = 0; i < count && model->n_file < HUB_MAX_FILES; i++) {
        const FolderEntry *e = &entries[i];
        const char *path, *relative = e->name;
        if (e->name[0] == '.')
            continue;
        TRY(local_join(arena, folder, e->name, &path, err));
        if (*below != '\0')
            TRY(local_join(arena, below, e->name, &relative, err));
        if (e->is_folder && depth < MAX_DEPTH)
            TRY(collect_files(path, relative, depth + 1, arena, model, err));
        HubFile *file = NULL;
        if (e->is_file)
            TRY(hub_model_add_file(model, relative, &file, err));
        if (file != NULL) {
            file->bytes = e->bytes;
            digest_of_link(path, file);
        }
    }
    return OK;
}

Status local_repo_list(const char *folder, const char *id, HubModel *model, Error *err) {
    TRY(hub_model_init(model, id, err));
    Arena arena;
    arena_init(&arena, MEM_MISC);
    const Status status = collect_files(folder, "", 0, &arena, model, err);
    arena_free(&arena);
    if (status != OK)
        hub_model_free(model);
    return status;
}

Status local_repo_pick(const char *folder, const HubModel *model, const char *wish, Arena *arena, Pick *pick,
                       Error *err) {
    json_t *index = NULL;
    const HubFile *file = pick_index(model, wish);
    if (file != NULL) {
        const char *path;
        TRY(local_join(arena, folder, file->path, &path, err));
        TRY(json_read(path, SMALL_BYTES, &index, err));
    }
    const Status status = pick_files(model, wish, index, arena, pick, err);
    json_decref(index);
    return status;
}

Status local_repo_label(const char *folder, char label[QUANT_LABEL_BYTES], Error *err) {
    label[0] = '\0';
    char *path = path_join(folder, "config.json");
    FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory to look into it", folder);
    json_t *config = NULL;
    const Status status = local_read_json(path, &config, err);
    mem_free(path);
    pick_label_of_config(config, label);
    json_decref(config);
    return status;
}

/* The "license:" of the block between two lines "---" that a model card begins with. */
static const char *licence_in_card(char *card) {
    if (!starts_with(card, "---\n"))
        return NULL;
    for (char *line = card + 4; line != NULL && !starts_with(line, "---");) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        if (starts_with(line, "license:")) {
            line += strlen("license:");
            line += strspn(line, " \"'[");
            line[strcspn(line, " \"'],\r")] = '\0';
            return strlen(line) < 100 && utf8_valid(line, strlen(line)) ? line : NULL;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return NULL;
}

Status local_repo_licence(const char *folder, Arena *arena, const char **licence, Error *err) {
    *licence = "";
    char *path = path_join(folder, "README.md"), *card = NULL;
    FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory to look into it", folder);
    if (file_read(path, SMALL_BYTES, &card, NULL, NULL) == OK) {
        const char *found = licence_in_card(card);
        if (found != NULL)
            *licence = arena_strdup(arena, found);
    }
    mem_free(path);
    mem_free(card);
    FAIL_IF(*licence == NULL, ERR_MEMORY, "%s: no memory to look into it", folder);
    return OK;
}
