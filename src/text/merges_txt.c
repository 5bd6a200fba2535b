/* merges_txt.c - vocab.json with merges.txt, as byte-level BPE models were published before tokenizer.json, and as the
 * text encoders of image models still are.
 *
 * Normalisation and splitting are not in these files; they follow from the tokenizer's class, in the words that a
 * tokenizer.json would use. */
#include "text/published.h"
#include "text/tokenizer_json.h"

#include "format/json_pull.h"

#include "base/file.h"

#include <string.h>

/* One line a pair; the first may be a comment with a version. */
static Status add_lines(MergeList *list, const char *bytes, size_t count, Error *err) {
    for (const char *at = bytes, *end = bytes + count; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline != NULL ? newline : end;
        size_t length = (size_t)(line_end - at);
        if (length > 0 && at[length - 1] == '\r')
            length--;
        const bool version = length >= 8 && memcmp(at, "#version", 8) == 0;
        if (length > 0 && !version)
            TRY(merge_list_add_line(list, at, length, err));
        at = newline != NULL ? newline + 1 : end;
    }
    return OK;
}

static Status read_merges(Tokenizer *t, const char *folder, Error *err) {
    char *path = path_join(folder, "merges.txt");
    if (path == NULL)
        return tokenizer_no_memory(t, err);
    FileMap *map = NULL;
    Status status = file_map_open(path, &map, err);
    mem_free(path);
    TRY(status);
    MergeList list = {.t = t};
    status = add_lines(&list, (const char *)file_map_bytes(map), file_map_size(map), err);
    if (status == OK)
        status = merge_list_finish(&list, t, err);
    merge_list_free(&list);
    file_map_close(map);
    return status;
}

static Status add_around(Tokenizer *t, const char *token, TokenIds *ids, Error *err) {
    const int32_t id = token != NULL ? tokenizer_find(t, token, strlen(token)) : -1;
    return id < 0 || token_ids_append(ids, id) ? OK : tokenizer_no_memory(t, err);
}

static Status set_up(Tokenizer *t, const ClassRule *rule, Error *err) {
    TRY(tokenizer_json_normalizer(t, rule->normalizer, strlen(rule->normalizer), err));
    TRY(tokenizer_json_pre_tokenizer(t, rule->pre_tokenizer, strlen(rule->pre_tokenizer), err));
    static const char decoder[] = "{\"type\":\"ByteLevel\"}";
    TRY(tokenizer_json_decoder(t, decoder, sizeof decoder - 1, err));
    if (rule->suffix != NULL) {
        static const char blanks[] = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"</w>\"},\"content\":\" \"}";
        TRY(tokenizer_json_decoder(t, blanks, sizeof blanks - 1, err));
        t->bpe.suffix = mem_strdup(rule->suffix, MEM_TEXT);
        t->bpe.suffix_bytes = strlen(rule->suffix);
        if (t->bpe.suffix == NULL)
            return tokenizer_no_memory(t, err);
    }
    return tokenizer_json_alphabet(t, err);
}

Status merges_txt_read(Tokenizer *t, const char *bytes, size_t count, const char *folder, Error *err) {
    Text class = {0};
    Status status = tokenizer_config_class(folder, &class, err);
    const ClassRule *rule = class_rule(class.bytes != NULL ? class.bytes : "");
    text_free(&class);
    TRY(status);
    t->model = MODEL_BPE;
    TRY(set_up(t, rule, err));
    JsonPull pull;
    json_pull_open(&pull, bytes, count, t->name);
    status = tokenizer_json_vocab(t, &pull, err);
    if (status == OK)
        status = json_pull_finish(&pull, err);
    json_pull_close(&pull);
    TRY(status);
    TRY(read_merges(t, folder, err));
    TRY(tokenizer_config_added(t, folder, err));
    TRY(add_around(t, rule->around[0], &t->prefix, err));
    return add_around(t, rule->around[1], &t->suffix, err);
}
