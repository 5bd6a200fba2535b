/* vocab_txt.c - vocab.txt: the pieces of a WordPiece model, one a line, as BERT models were published before tokenizer.json.
 *
 * Everything else follows from the class and the switches in tokenizer_config.json. It is put into the words of a
 * tokenizer.json, so that there is one reader for both. */
#include "text/tokenizer_parts.h"

#include "format/json.h"
#include "format/json_write.h"

#include "base/file.h"

#include <string.h>

enum { CONFIG_BYTES = 16 << 20 };

/* A switch that may be left out, or null. */
static const char *switch_of(const json_t *config, const char *key, const char *otherwise) {
    const json_t *value = json_object_get(config, key);
    return json_is_true(value) ? "true" : json_is_false(value) ? "false" : otherwise;
}

static Status read_switches(const char *folder, json_t **config, Error *err) {
    char *path = path_join(folder, "tokenizer_config.json");
    *config = NULL;
    FAIL_IF(path == NULL, ERR_MEMORY, "tokenizer_config.json: no memory");
    const Status status = file_exists(path) ? json_read(path, CONFIG_BYTES, config, err) : OK;
    mem_free(path);
    return status;
}

typedef struct Lines {
    const char *at, *end;
} Lines;

static bool next_line(Lines *l, const char **line, size_t *count) {
    if (l->at >= l->end)
        return false;
    const char *newline = memchr(l->at, '\n', (size_t)(l->end - l->at));
    *line = l->at;
    *count = (size_t)((newline != NULL ? newline : l->end) - l->at);
    if (*count > 0 && l->at[*count - 1] == '\r')
        --*count;
    l->at = newline != NULL ? newline + 1 : l->end;
    return true;
}

/* The tokens that stand for something else than their text. */
static const char *const specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
enum { CLS = 2, SEP = 3 };

static void append_specials(Text *out, const int64_t ids[COUNT(specials)]) {
    text_append_str(out, "\"added_tokens\":[");
    bool any = false;
    for (size_t i = 0; i < COUNT(specials); i++) {
        if (ids[i] < 0)
            continue;
        text_append_format(out, "%s{\"id\":%lld,\"content\":\"%s\",\"special\":true}", any ? "," : "", (long long)ids[i], specials[i]);
        any = true;
    }
    text_append_str(out, "]");
    if (ids[CLS] < 0 || ids[SEP] < 0)
        return;
    text_append_format(out,
                       ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\"}},"
                       "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"[SEP]\"}}],\"special_tokens\":{\"[CLS]\":{\"ids\":[%lld]},"
                       "\"[SEP]\":{\"ids\":[%lld]}}}", (long long)ids[CLS], (long long)ids[SEP]);
}

static Status write_json(Text *out, const char *bytes, size_t count, const json_t *config, Error *err) {
    int64_t ids[COUNT(specials)], id = 0;
    Lines lines = {.at = bytes, .end = bytes + count};
    const char *line;
    size_t length;
    for (size_t i = 0; i < COUNT(specials); i++)
        ids[i] = -1;
    text_append_format(out,
                       "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":%s,\"strip_accents\":%s,"
                       "\"lowercase\":%s},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"decoder\":{\"type\":\"WordPiece\","
                       "\"prefix\":\"##\",\"cleanup\":true},\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
                       "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,\"vocab\":{",
                       switch_of(config, "tokenize_chinese_chars", "true"), switch_of(config, "strip_accents", "null"),
                       switch_of(config, "do_lower_case", "true"));
    for (; next_line(&lines, &line, &length); id++) {
        for (size_t i = 0; i < COUNT(specials); i++)
            if (strlen(specials[i]) == length && memcmp(specials[i], line, length) == 0)
                ids[i] = id;
        text_append_str(out, id > 0 ? "," : "");
        json_write_bytes(&(JsonWriter){.out = out}, line, length);
        text_append_format(out, ":%lld", (long long)id);
    }
    text_append_str(out, "}},");
    append_specials(out, ids);
    text_append_str(out, "}");
    return text_check(out, err);
}

Status vocab_txt_read(Tokenizer *t, const char *bytes, size_t count, const char *folder, Error *err) {
    json_t *config;
    Text text = {0};
    FAIL_IF(!utf8_valid(bytes, count), ERR_FORMAT, "%s: it is not valid UTF-8", t->name);
    TRY(read_switches(folder, &config, err));
    Status status = write_json(&text, bytes, count, config, err);
    if (status == OK)
        status = tokenizer_json_read(t, text.bytes, text.count, err);
    json_decref(config);
    text_free(&text);
    return status;
}
