/* tokenizer_open.c - finds out what kind of tokenizer lies at a path, reads it and what is beside it. */
#include "text/published.h"
#include "text/tokenizer_json.h"

#include "format/json_pull.h"
#include "format/model_files.h"

#include "base/file.h"

#include <string.h>

static Status new_tokenizer(const char *name, Tokenizer **tokenizer, Error *err) {
    Tokenizer *t = mem_zalloc(sizeof *t, MEM_TEXT);
    if (t != NULL)
        t->name = mem_strdup(name, MEM_TEXT);
    if (t == NULL || t->name == NULL) {
        mem_free(t);
        return error_set(err, ERR_MEMORY, "%s: no memory for the tokenizer", name);
    }
    for (int i = 0; i < SPECIAL_COUNT; i++)
        t->special[i] = -1;
    t->bpe.unknown = t->unigram.unknown = t->wordpiece.unknown = -1;
    *tokenizer = t;
    return OK;
}

/* ---- which reader ----------------------------------------------------------------------------------------------- */

typedef enum FileKind { FILE_JSON, FILE_TEKKEN, FILE_TIKTOKEN, FILE_SENTENCEPIECE, FILE_VOCAB, FILE_PIECES } FileKind;

/* A tiktoken table is lines of base64, a blank and a number. */
static bool looks_like_tiktoken(const uint8_t *bytes, size_t count) {
    size_t i = 0;
    while (i < count && i < 4096 && bytes[i] > ' ' && bytes[i] < 0x7F)
        i++;
    size_t digits = 0;
    if (i == 0 || i >= count || bytes[i++] != ' ')
        return false;
    while (i < count && bytes[i] >= '0' && bytes[i] <= '9') {
        i++;
        digits++;
    }
    return digits > 0 && (i == count || bytes[i] == '\n' || bytes[i] == '\r');
}

/* What a JSON file is, by its first keys. */
static FileKind json_kind(const char *bytes, size_t count) {
    JsonPull pull;
    FileKind kind = FILE_VOCAB;
    bool more = false;
    const char *key;
    size_t length;
    json_pull_open(&pull, bytes, count, "");
    if (json_pull_object(&pull, NULL) == OK && json_pull_key(&pull, &more, &key, &length, NULL) == OK && more) {
        JsonKind value;
        const bool peeked = json_pull_peek(&pull, &value, NULL) == OK;
        if (length == 6 && memcmp(key, "config", 6) == 0 && peeked && value == JSON_KIND_OBJECT)
            kind = FILE_TEKKEN;
        else if (!peeked || value != JSON_KIND_NUMBER)
            kind = FILE_JSON;
    } else {
        kind = FILE_JSON; /* whose reader has the better messages */
    }
    json_pull_close(&pull);
    return kind;
}

static FileKind kind_of(const char *path, const uint8_t *bytes, size_t count) {
    size_t i = 0;
    if (strcmp(path_name(path), "vocab.txt") == 0)
        return FILE_PIECES;
    while (i < count && (bytes[i] == ' ' || bytes[i] == '\n' || bytes[i] == '\r' || bytes[i] == '\t'))
        i++;
    if (i < count && (bytes[i] == '{' || bytes[i] == '['))
        return strncmp(path_name(path), "tekken", 6) == 0 ? FILE_TEKKEN : json_kind((const char *)bytes, count);
    return looks_like_tiktoken(bytes, count) || ends_with(path, ".json")
               ? (ends_with(path, ".json") ? FILE_JSON : FILE_TIKTOKEN)
               : FILE_SENTENCEPIECE;
}

/* The folder of a file, in a fresh string. */
static char *folder_of(const char *path) {
    const size_t bytes = (size_t)(path_name(path) - path);
    return bytes == 0 ? mem_strdup(".", MEM_TEXT) : mem_strndup(path, bytes, MEM_TEXT);
}

static Status read_kind(Tokenizer *t, FileKind kind, const uint8_t *bytes, size_t count, const char *folder,
                        Error *err) {
    const char *text = (const char *)bytes;
    switch (kind) {
    case FILE_JSON:
        return tokenizer_json_read(t, text, count, err);
    case FILE_TEKKEN:
        return tekken_read(t, text, count, err);
    case FILE_TIKTOKEN:
        return tiktoken_read(t, text, count, folder, err);
    case FILE_VOCAB:
        return merges_txt_read(t, text, count, folder, err);
    case FILE_PIECES:
        return vocab_txt_read(t, text, count, folder, err);
    case FILE_SENTENCEPIECE:
        return sentencepiece_read(t, bytes, count, err);
    }
    return error_set(err, ERR_INTERNAL, "%s: a tokenizer of no kind", t->name);
}

static Status read_bytes(Tokenizer *t, const uint8_t *bytes, size_t count, const char *folder, Error *err) {
    FAIL_IF(count == 0, ERR_FORMAT, "%s: an empty file", t->name);
    const FileKind kind = kind_of(t->name, bytes, count);
    TRY(read_kind(t, kind, bytes, count, folder, err));
    if (kind == FILE_SENTENCEPIECE)
        TRY(tokenizer_config_added(t, folder, err));
    TRY(tokenizer_finish(t, err));
    return kind == FILE_TEKKEN ? OK : tokenizer_config_read(t, folder, kind != FILE_JSON, err);
}

Status tokenizer_open_bytes(const char *name, const uint8_t *bytes, size_t count, const char *folder,
                            Tokenizer **tokenizer, Error *err) {
    Tokenizer *t = NULL;
    *tokenizer = NULL;
    TRY(new_tokenizer(name, &t, err));
    const Status status = read_bytes(t, bytes, count, folder, err);
    if (status != OK) {
        tokenizer_close(t);
        return status;
    }
    *tokenizer = t;
    return OK;
}

static Status open_file(const char *path, Tokenizer **tokenizer, Error *err) {
    FileMap *map;
    TRY(file_map_open(path, &map, err));
    char *folder = folder_of(path);
    Status status = folder == NULL
                        ? error_set(err, ERR_MEMORY, "%s: no memory", path)
                        : tokenizer_open_bytes(path, file_map_bytes(map), file_map_size(map), folder, tokenizer, err);
    if (status == OK && file_map_broken(map)) {
        tokenizer_close(*tokenizer);
        *tokenizer = NULL;
        status = error_set(err, ERR_IO, "%s: could not be read to its end", path);
    }
    mem_free(folder);
    file_map_close(map);
    return status;
}

static Status open_folder(const char *folder, Tokenizer **tokenizer, Error *err) {
    for (const char *const *file = published_files; *file != NULL; file++) {
        char *path = path_join(folder, *file);
        FAIL_IF(path == NULL, ERR_MEMORY, "%s: no memory", folder);
        const bool there = file_exists(path);
        const Status status = there ? open_file(path, tokenizer, err) : OK;
        mem_free(path);
        if (there)
            return status;
    }
    return error_set(err, ERR_NOT_FOUND,
                     "%s: no tokenizer in this folder (tokenizer.json, tekken.json, tiktoken.model, "
                     "tokenizer.model, vocab.json, vocab.txt)",
                     folder);
}

static Status open_gguf(const ModelFiles *files, Tokenizer **tokenizer, Error *err) {
    Tokenizer *t = NULL;
    TRY(new_tokenizer(model_files_path(files), &t, err));
    Status status = tokenizer_gguf_read(t, files, err);
    if (status == OK)
        status = tokenizer_finish(t, err);
    if (status == OK)
        status = model_files_check(files, err);
    if (status != OK) {
        tokenizer_close(t);
        return status;
    }
    *tokenizer = t;
    return OK;
}

Status tokenizer_open_model(const ModelFiles *files, Tokenizer **tokenizer, Error *err) {
    *tokenizer = NULL;
    if (model_files_kind(files) == CONTAINER_GGUF)
        return open_gguf(files, tokenizer, err);
    FAIL_IF(model_files_folder(files) == NULL, ERR_NOT_FOUND, "%s: no folder to look for a tokenizer in",
            model_files_path(files));
    return open_folder(model_files_folder(files), tokenizer, err);
}

static Status open_model(const char *path, Tokenizer **tokenizer, Error *err) {
    ModelFiles *files;
    TRY(model_files_open(path, &files, err));
    const Status status = tokenizer_open_model(files, tokenizer, err);
    model_files_close(files);
    return status;
}

/* A file of weights: a GGUF by its content, safetensors by their names. */
static Status find_model(const char *path, bool *model, Error *err) {
    *model = ends_with(path, ".safetensors") || ends_with(path, ".safetensors.index.json");
    if (*model)
        return OK;
    FileMap *map;
    TRY(file_map_open(path, &map, err));
    *model = file_map_size(map) >= 4 && memcmp(file_map_bytes(map), "GGUF", 4) == 0;
    file_map_close(map);
    return OK;
}

Status tokenizer_open(const char *path, Tokenizer **tokenizer, Error *err) {
    *tokenizer = NULL;
    if (!file_is_directory(path)) {
        FAIL_IF(!file_exists(path), ERR_NOT_FOUND, "%s: no such file or folder", path);
        bool model;
        TRY(find_model(path, &model, err));
        return model ? open_model(path, tokenizer, err) : open_file(path, tokenizer, err);
    }
    Error why = {0};
    Status status = open_folder(path, tokenizer, &why);
    if (status != ERR_NOT_FOUND)
        return status == OK ? OK : error_set(err, status, "%s", why.text);
    ModelFiles *files = NULL; /* a folder around a GGUF carries its tokenizer there */
    status = model_files_open(path, &files, NULL);
    if (status == OK && model_files_kind(files) == CONTAINER_GGUF)
        status = open_gguf(files, tokenizer, err);
    else
        status = error_set(err, status == ERR_MEMORY ? ERR_MEMORY : ERR_NOT_FOUND, "%s", why.text);
    model_files_close(files);
    return status;
}
