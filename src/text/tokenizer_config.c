/* tokenizer_config.c - the small files beside a tokenizer: tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json. They name BOS, EOS and the like, and tokens that were added to the vocabulary later. */
#include "text/tokenizer_parts.h"

#include "format/json.h"
#include "format/json_pull.h"

#include "base/file.h"

#include <string.h>

/* ---- reading ---------------------------------------------------------------------------------------------------- */

typedef Status (*ReadKey)(void *user, JsonPull *pull, const char *key, size_t bytes, Error *err);

static Status pull_keys(JsonPull *pull, ReadKey read, void *user, Error *err) {
    TRY(json_pull_object(pull, err));
    for (;;) {
        bool more;
        const char *key;
        size_t bytes;
        TRY(json_pull_key(pull, &more, &key, &bytes, err));
        if (!more)
            return json_pull_finish(pull, err);
        TRY(read(user, pull, key, bytes, err));
    }
}

/* Hands each key of the file's object to `read`, which must pass over the value. No file, no keys. */
static Status each_key(const char *folder, const char *name, ReadKey read, void *user, Error *err) {
    char *path = path_join(folder, name);
    FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory", name);
    Status status = OK;
    if (file_exists(path)) {
        FileMap *map;
        status = file_map_open(path, &map, err);
        if (status == OK) {
            JsonPull pull;
            json_pull_open(&pull, (const char *)file_map_bytes(map), file_map_size(map), path);
            status = pull_keys(&pull, read, user, err);
            json_pull_close(&pull);
            file_map_close(map);
        }
    }
    mem_free(path);
    return status;
}

/* The next value as a tree. */
static Status pull_tree(JsonPull *pull, json_t **tree, Error *err) {
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    const char *from = pull->at;
    TRY(json_pull_skip(pull, err));
    return json_parse(from, (size_t)(pull->at - from), pull->name, false, tree, err);
}

/* ---- BOS, EOS and the rest -------------------------------------------------------------------------------------- */

typedef struct Settings {
    json_t *values; /* those of the keys below */
} Settings;

/* Keeps the few values that matter; chat templates and the list of thousands of added tokens are passed over. */
static Status read_setting(void *user, JsonPull *pull, const char *key, size_t bytes, Error *err) {
    static const char *const keys[] = {"add_bos_token", "add_eos_token", "bos_token", "eos_token",  "unk_token",
                                       "pad_token",     "cls_token",     "sep_token", "mask_token", "tokenizer_class"};
    Settings *settings = user;
    size_t i = 0;
    while (i < COUNT(keys) && !json_key_is(key, bytes, keys[i]))
        i++;
    if (i == COUNT(keys))
        return json_pull_skip(pull, err);
    json_t *value;
    TRY(pull_tree(pull, &value, err));
    FAIL_IF(json_object_set_new(settings->values, keys[i], value) != 0, ERR_MEMORY, "%s: no memory", pull->name);
    return OK;
}

static Status read_settings(const char *folder, const char *name, Settings *settings, Error *err) {
    json_setup();
    settings->values = json_object();
    FAIL_IF(settings->values == NULL, ERR_MEMORY, "%s: no memory", name);
    return each_key(folder, name, read_setting, settings, err);
}

/* A token is given as its text or as an object with it. */
static int32_t token_of(const Tokenizer *t, const Settings *settings, const char *key) {
    const json_t *value = json_object_get(settings->values, key);
    if (json_is_object(value))
        value = json_object_get(value, "content");
    return json_is_string(value) ? tokenizer_find(t, json_string_value(value), json_string_length(value)) : -1;
}

static Status put_in_front(Tokenizer *t, int32_t id, Error *err) {
    if (!token_ids_append(&t->prefix, id))
        return tokenizer_no_memory(t, err);
    memmove(t->prefix.ids + 1, t->prefix.ids, (t->prefix.count - 1) * sizeof *t->prefix.ids);
    t->prefix.ids[0] = id;
    return OK;
}

/* With `decides`, add_bos_token = false takes BOS away; else the template of tokenizer.json has the last word, and the
 * settings only matter where it adds nothing. */
static Status apply(Tokenizer *t, const Settings *settings, bool decides, Error *err) {
    static const char *const keys[SPECIAL_COUNT] = {
        [SPECIAL_BOS] = "bos_token",  [SPECIAL_EOS] = "eos_token", [SPECIAL_UNK] = "unk_token",
        [SPECIAL_PAD] = "pad_token",  [SPECIAL_CLS] = "cls_token", [SPECIAL_SEP] = "sep_token",
        [SPECIAL_MASK] = "mask_token"};
    for (int i = 0; i < SPECIAL_COUNT; i++)
        if (keys[i] != NULL && t->special[i] < 0)
            t->special[i] = token_of(t, settings, keys[i]);
    const int32_t bos = t->special[SPECIAL_BOS], eos = t->special[SPECIAL_EOS];
    TRY(tokenizer_end(t, eos, err));
    const json_t *add_bos = json_object_get(settings->values, "add_bos_token");
    if (json_is_true(add_bos) && bos >= 0 && !tokenizer_adds_bos(t))
        TRY(put_in_front(t, bos, err));
    if (decides && json_is_false(add_bos) && tokenizer_adds_bos(t))
        t->prefix.count = 0;
    const char *class = json_string_value(json_object_get(settings->values, "tokenizer_class"));
    const bool t5 = decides && class != NULL && starts_with(class, "T5Tokenizer");
    const bool has_eos = t->suffix.count > 0 && t->suffix.ids[t->suffix.count - 1] == eos;
    if ((t5 || json_is_true(json_object_get(settings->values, "add_eos_token"))) && eos >= 0 && !has_eos &&
        !token_ids_append(&t->suffix, eos))
        return tokenizer_no_memory(t, err);
    return OK;
}

Status tokenizer_config_read(Tokenizer *t, const char *folder, bool decides, Error *err) {
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json"};
    for (size_t i = 0; i < COUNT(names); i++) {
        Settings settings = {0};
        Status status = read_settings(folder, names[i], &settings, err);
        if (status == OK)
            status = apply(t, &settings, decides, err);
        json_decref(settings.values);
        TRY(status);
    }
    return OK;
}

Status tokenizer_config_class(const char *folder, Text *class, Error *err) {
    Settings settings = {0};
    Status status = read_settings(folder, "tokenizer_config.json", &settings, err);
    const char *name = json_string_value(json_object_get(settings.values, "tokenizer_class"));
    if (status == OK && name != NULL) {
        text_append_str(class, name);
        status = text_check(class, err);
    }
    json_decref(settings.values);
    return status;
}

/* ---- added tokens ----------------------------------------------------------------------------------------------- */

/* A token that the vocabulary may have already, at that id. */
static Status add(Tokenizer *t, int64_t id, const char *content, size_t bytes, unsigned flags, bool special,
                  Error *err) {
    FAIL_IF(vocab_has(&t->vocab, id) && !(t->vocab.pieces[id].count == bytes &&
                                          memcmp(vocab_bytes(&t->vocab, (int32_t)id), content, bytes) == 0),
            ERR_FORMAT, "%s: the added token %.64s wants the id %lld, which is another token's", t->name, content,
            (long long)id);
    for (size_t i = 0; i < t->added_count; i++)
        if (t->added[i].id == id)
            return OK;
    if (!vocab_has(&t->vocab, id))
        TRY(vocab_set(&t->vocab, id, content, bytes, PIECE_HIDDEN | PIECE_RAW, t->name, err));
    if (special)
        t->vocab.flags[id] |= TOKEN_CONTROL;
    return tokenizer_add_token(t, (int32_t)id, content, bytes, flags, err);
}

/* "123": {"content": ..., "special": ..., ...} of added_tokens_decoder */
static Status add_described(Tokenizer *t, const char *id_text, const json_t *token, Error *err) {
    int64_t id;
    const json_t *content = json_object_get(token, "content");
    FAIL_IF(!parse_int64(id_text, &id) || id < 0 || !json_is_string(content), ERR_FORMAT,
            "%s: added_tokens_decoder: \"%.20s\" is not an id with a content", t->name, id_text);
    const unsigned flags = (json_is_true(json_object_get(token, "single_word")) ? ADDED_SINGLE_WORD : 0u) |
                           (json_is_true(json_object_get(token, "lstrip")) ? ADDED_LSTRIP : 0u) |
                           (json_is_true(json_object_get(token, "rstrip")) ? ADDED_RSTRIP : 0u);
    return add(t, id, json_string_value(content), json_string_length(content), flags,
               json_is_true(json_object_get(token, "special")), err);
}

static Status read_decoder_key(void *user, JsonPull *pull, const char *key, size_t bytes, Error *err) {
    Tokenizer *t = user;
    if (!json_key_is(key, bytes, "added_tokens_decoder"))
        return json_pull_skip(pull, err);
    json_t *tokens;
    TRY(pull_tree(pull, &tokens, err));
    Status status = OK;
    const char *id;
    json_t *token;
    json_object_foreach(tokens, id, token) {
        if (status == OK)
            status = add_described(t, id, token, err);
    }
    json_decref(tokens);
    return status;
}

/* "<token>": id of added_tokens.json, which is older */
static Status read_added_key(void *user, JsonPull *pull, const char *key, size_t bytes, Error *err) {
    uint64_t id;
    TRY(json_pull_natural(pull, &id, err));
    return add(user, (int64_t)MIN(id, INT32_MAX), key, bytes, 0, true, err);
}

Status tokenizer_config_added(Tokenizer *t, const char *folder, Error *err) {
    TRY(each_key(folder, "tokenizer_config.json", read_decoder_key, t, err));
    return each_key(folder, "added_tokens.json", read_added_key, t, err);
}
