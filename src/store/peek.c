/* peek.c - see peek.h. */
#include "store/peek.h"

#include "base/mem.h"
#include "format/json.h"
#include "store/held_signals.h"
#include "store/hub.h"
#include "store/pick.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_JSON_BYTES = 64 << 20 };
static const uint64_t first_head_bytes = 512 << 10, last_head_bytes = 64 << 20;

typedef struct Looking {
    FetchSettings settings;
    ModelName name;
    HubModel hub;
    Arena arena;
    Pick pick;
} Looking;

static Status fetch_json(Looking *l, const char *path, json_t **json, Error *err) {
    FetchReply reply;
    TRY(hub_fetch_bytes(&l->settings, &l->name, l->hub.commit, path, 0, SMALL_JSON_BYTES, &reply, err));
    const Status status = json_parse(reply.body, reply.bytes, path, false, json, err);
    fetch_reply_free(&reply);
    return status;
}

static Status pick_weights(Looking *l, Error *err) {
    const HubFile *file = pick_index(&l->hub, l->name.selection);
    json_t *index = NULL;
    if (file != NULL)
        TRY(fetch_json(l, file->path, &index, err));
    const Status status = pick_files(&l->hub, l->name.selection, index, &l->arena, &l->pick, err);
    json_decref(index);
    return status;
}

static Status add_up(Looking *l, Peek *peek, Error *err) {
    for (size_t i = 0; i < l->pick.n_file; i++) {
        HubFile *file = &l->hub.files[l->pick.files[i] - l->hub.files];
        if (file->bytes == HEAD_UNKNOWN) /* a mirror may list names only */
            TRY(hub_fetch_file_facts(&l->settings, &l->name, l->hub.commit, file, err));
        peek->bytes += file->bytes;
        if (ends_with(file->path, ".gguf") || ends_with(file->path, ".safetensors"))
            peek->weight_bytes += file->bytes;
    }
    return OK;
}

/* The beginning of a GGUF file, more of it until the header is whole. */
static Status look_at_head(Looking *l, Peek *peek, Error *err) {
    const HubFile *file = hub_find_file(&l->hub, l->pick.weights);
    FAIL_IF(file == NULL, ERR_NOT_FOUND, "%s: its first file is not in the list of files", l->pick.weights);
    SplitName split;
    peek->whole = !split_of_path(file->path, &split) || split.parts == 1;
    for (uint64_t bytes = first_head_bytes;; bytes *= 4) {
        FetchReply reply;
        bool more = false;
        Error own = {0};
        TRY(hub_fetch_bytes(&l->settings, &l->name, l->hub.commit, file->path, MIN(bytes, file->bytes), 0, &reply, err));
        const Status status = model_files_open_head(file->path, (const uint8_t *)reply.body, reply.bytes, file->bytes, &more, &peek->head, &own);
        if (status == OK) {
            peek->head_bytes = reply.body; /* the header points into it */
            reply.body = NULL;
        }
        fetch_reply_free(&reply);
        if (status == OK || !more || bytes >= last_head_bytes || bytes >= file->bytes)
            return status == OK ? OK : error_set(err, own.status, "%s", own.text);
    }
}

static Status look(Looking *l, Peek *peek, Error *err) {
    TRY(hub_fetch_model(&l->settings, &l->name, &l->hub, err));
    TRY(pick_weights(l, err));
    TRY(add_up(l, peek, err));
    snprintf(peek->label, sizeof peek->label, "%s", l->pick.label);
    snprintf(peek->name, sizeof peek->name, "%s/%s%s%s", l->name.owner, l->name.repo, peek->label[0] != '\0' ? ":" : "", peek->label);
    if (l->pick.gguf)
        return look_at_head(l, peek, err);
    FAIL_IF(hub_find_file(&l->hub, "config.json") == NULL, ERR_NOT_FOUND, "%s: has no config.json, so the kind of model is not known",
            peek->name);
    return fetch_json(l, "config.json", &peek->config, err);
}

Status store_peek(const char *what, const char *endpoint, const Progress *progress, Peek *peek, Error *err) {
    *peek = (Peek){0};
    const char *token = getenv("HF_TOKEN");
    char *base = hub_endpoint(endpoint);
    FAIL_IF(base == NULL, ERR_MEMORY, "no memory for an address");
    Looking l = {0};
    fetch_settings_init(&l.settings, base, token != NULL && *token != '\0' ? token : NULL);
    l.settings.progress = progress;
    arena_init(&l.arena, MEM_NETWORK);
    HeldSignals signals;
    hold_signals(&signals);
    Status status = curl_library_open(err);
    if (status == OK)
        status = hub_check_endpoint(base, err);
    if (status == OK)
        status = model_name_parse(what, &l.name, err);
    if (status == OK)
        status = look(&l, peek, err);
    release_signals(&signals);
    hub_model_free(&l.hub);
    arena_free(&l.arena);
    mem_free(base);
    if (status != OK)
        peek_close(peek);
    return status;
}

void peek_close(Peek *peek) {
    model_files_close(peek->head);
    json_decref(peek->config);
    mem_free(peek->head_bytes);
    *peek = (Peek){0};
}
