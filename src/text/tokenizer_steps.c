/* tokenizer_steps.c - the small parts of tokenizer.json: what normalizer, pre_tokenizer, decoder and post_processor
 * say.
 *
 * Each part is null, one component, or a Sequence of components; a component is an object with a "type". The names and
 * fields are those of Hugging Face's `tokenizers` library. */
#include "text/tokenizer_json.h"

#include "format/json.h"

#include <string.h>

/* GPT-2's split, which the component ByteLevel has built in. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- fields ----------------------------------------------------------------------------------------------------- */

static Status lacks(const Tokenizer *t, const char *part, const char *type, const char *field, Error *err) {
    return error_set(err, ERR_FORMAT, "%s: %s: %s needs \"%s\"", t->name, part, type, field);
}

static bool field_bool(const json_t *object, const char *name, bool otherwise) {
    const json_t *value = json_object_get(object, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static size_t field_count(const json_t *object, const char *name, size_t otherwise) {
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? (size_t)json_integer_value(value) : otherwise;
}

/* A copy of a string field: NULL with *bytes = 0 when it is not there. */
static Status field_copy(const Tokenizer *t, const json_t *value, char **copy, size_t *bytes, Error *err) {
    mem_free(*copy);
    *copy = NULL;
    *bytes = json_is_string(value) ? json_string_length(value) : 0;
    if (!json_is_string(value))
        return OK;
    *copy = mem_strndup(json_string_value(value), *bytes, MEM_TEXT);
    return *copy != NULL ? OK : tokenizer_no_memory(t, err);
}

typedef Status (*ReadComponent)(Tokenizer *t, const json_t *component, const char *type, Error *err);

/* Reads a part: goes through Sequences and hands every component to `read`. */
static Status each_component(Tokenizer *t, const json_t *part, const char *name, const char *list, ReadComponent read,
                             Error *err) {
    if (json_is_null(part))
        return OK;
    const char *type = json_string_value(json_object_get(part, "type"));
    FAIL_IF(type == NULL, ERR_FORMAT, "%s: %s: a component without a type", t->name, name);
    if (strcmp(type, "Sequence") != 0)
        return read(t, part, type, err);
    const json_t *items = json_object_get(part, list);
    FAIL_IF(!json_is_array(items), ERR_FORMAT, "%s: %s: a Sequence without \"%s\"", t->name, name, list);
    for (size_t i = 0; i < json_array_size(items); i++)
        TRY(each_component(t, json_array_get(items, i), name, list, read, err));
    return OK;
}

static Status read_part(Tokenizer *t, const char *bytes, size_t count, const char *name, const char *list,
                        ReadComponent read, Error *err) {
    json_t *part;
    TRY(json_parse(bytes, count, t->name, false, &part, err));
    const Status status = each_component(t, part, name, list, read, err);
    json_decref(part);
    return status;
}

static Status unknown_type(const Tokenizer *t, const char *part, const char *type, Error *err) {
    return error_set(err, ERR_UNSUPPORTED, "%s: %s: the component %.80s is not known", t->name, part, type);
}

/* ---- normalizer ------------------------------------------------------------------------------------------------- */

static int base64_value(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool base64_decode(const char *text, size_t count, char *bytes, size_t *decoded) {
    uint32_t bits = 0;
    int have = 0;
    size_t written = 0;
    while (count > 0 && text[count - 1] == '=')
        count--;
    for (size_t i = 0; i < count; i++) {
        const int value = base64_value(text[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            bytes[written++] = (char)(bits >> have & 0xFF);
        }
    }
    *decoded = written;
    return count % 4 != 1;
}

static Status read_charsmap(Tokenizer *t, const json_t *component, NormStep *step, Error *err) {
    const json_t *text = json_object_get(component, "precompiled_charsmap");
    if (!json_is_string(text)) /* null or missing: SentencePiece's "identity" */
        return OK;
    const size_t count = json_string_length(text);
    char *blob = mem_alloc(count + 1, MEM_TEXT);
    if (blob == NULL)
        return tokenizer_no_memory(t, err);
    size_t bytes = 0;
    Status status = base64_decode(json_string_value(text), count, blob, &bytes)
                        ? charsmap_read((const uint8_t *)blob, bytes, &step->charsmap, err)
                        : error_set(err, ERR_FORMAT, "precompiled_charsmap is not base64");
    mem_free(blob);
    if (status != OK)
        error_context(err, "%s: normalizer", t->name);
    return status;
}

static Status read_replace(Tokenizer *t, const json_t *component, Error *err) {
    const json_t *pattern = json_object_get(component, "pattern"), *with = json_object_get(component, "content");
    const json_t *plain = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    if (!json_is_string(with))
        return lacks(t, "normalizer", "Replace", "content", err);
    if (json_is_string(plain))
        return tokenizer_norm_replace(t, json_string_value(plain), json_string_length(plain), json_string_value(with),
                                      json_string_length(with), err);
    if (!json_is_string(regex))
        return lacks(t, "normalizer", "Replace", "pattern", err);
    NormStep *step = normalizer_add(&t->normalizer, NORM_REPLACE_REGEX);
    if (step == NULL)
        return tokenizer_no_memory(t, err);
    TRY(field_copy(t, with, &step->with, &step->with_bytes, err));
    const Status status =
        regex_compile(json_string_value(regex), json_string_length(regex), REGEX_ONIGURUMA, &step->regex, err);
    if (status != OK)
        error_context(err, "%s: normalizer", t->name);
    return status;
}

static Status read_normalizer(Tokenizer *t, const json_t *component, const char *type, Error *err) {
    static const struct {
        const char *type;
        NormKind kind;
    } kinds[] = {{"NFC", NORM_NFC},
                 {"NFD", NORM_NFD},
                 {"NFKC", NORM_NFKC},
                 {"NFKD", NORM_NFKD},
                 {"Lowercase", NORM_LOWERCASE},
                 {"Strip", NORM_STRIP},
                 {"StripAccents", NORM_STRIP_ACCENTS},
                 {"Precompiled", NORM_PRECOMPILED},
                 {"BertNormalizer", NORM_BERT},
                 {"Bert", NORM_BERT},
                 {"Nmt", NORM_NMT},
                 {"ByteLevel", NORM_BYTE_LEVEL}};
    if (strcmp(type, "Replace") == 0)
        return read_replace(t, component, err);
    if (strcmp(type, "Prepend") == 0) {
        const json_t *text = json_object_get(component, "prepend");
        if (!json_is_string(text))
            return lacks(t, "normalizer", type, "prepend", err);
        return tokenizer_norm_prepend(t, json_string_value(text), json_string_length(text), err);
    }
    size_t i = 0;
    while (i < COUNT(kinds) && strcmp(kinds[i].type, type) != 0)
        i++;
    if (i == COUNT(kinds))
        return unknown_type(t, "normalizer", type, err);
    NormStep *step = normalizer_add(&t->normalizer, kinds[i].kind);
    if (step == NULL)
        return tokenizer_no_memory(t, err);
    step->left = field_bool(component, "strip_left", true);
    step->right = field_bool(component, "strip_right", true);
    step->clean_text = field_bool(component, "clean_text", true);
    step->chinese = field_bool(component, "handle_chinese_chars", true);
    step->lowercase = field_bool(component, "lowercase", true);
    step->accents = field_bool(component, "strip_accents", step->lowercase);
    return kinds[i].kind == NORM_PRECOMPILED ? read_charsmap(t, component, step, err) : OK;
}

Status tokenizer_json_normalizer(Tokenizer *t, const char *bytes, size_t count, Error *err) {
    return read_part(t, bytes, count, "normalizer", "normalizers", read_normalizer, err);
}

/* ---- pre-tokenizer ---------------------------------------------------------------------------------------------- */

static Status read_behavior(const Tokenizer *t, const json_t *component, SplitBehavior *behavior, Error *err) {
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"};
    const char *name = json_string_value(json_object_get(component, "behavior"));
    for (size_t i = 0; name != NULL && i < COUNT(names); i++)
        if (strcmp(names[i], name) == 0) {
            *behavior = (SplitBehavior)i;
            return OK;
        }
    return error_set(err, ERR_UNSUPPORTED, "%s: pre_tokenizer: the behavior %.40s is not known", t->name,
                     name != NULL ? name : "(none)");
}

static Status add_cut(Tokenizer *t, PreKind kind, SplitBehavior behavior, PreStep **added, Error *err) {
    PreStep *step = pretokenizer_add(&t->pre, kind);
    if (step == NULL)
        return tokenizer_no_memory(t, err);
    step->behavior = behavior;
    if (added != NULL)
        *added = step;
    return OK;
}

static Status read_split(Tokenizer *t, const json_t *component, Error *err) {
    const json_t *pattern = json_object_get(component, "pattern");
    const json_t *plain = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    const bool invert = field_bool(component, "invert", false);
    SplitBehavior behavior = SPLIT_ISOLATED;
    TRY(read_behavior(t, component, &behavior, err));
    if (json_is_string(regex))
        return tokenizer_pre_regex(t, json_string_value(regex), json_string_length(regex), REGEX_ONIGURUMA, behavior,
                                   invert, err);
    if (!json_is_string(plain) || json_string_length(plain) == 0)
        return lacks(t, "pre_tokenizer", "Split", "pattern", err);
    PreStep *step = NULL;
    TRY(add_cut(t, PRE_STRING, behavior, &step, err));
    step->invert = invert;
    return field_copy(t, plain, &step->what, &step->what_bytes, err);
}

static Status read_byte_level(Tokenizer *t, const json_t *component, Error *err) {
    if (field_bool(component, "add_prefix_space", true))
        TRY(add_cut(t, PRE_PREFIX, SPLIT_ISOLATED, NULL, err));
    if (field_bool(component, "use_regex", true))
        TRY(tokenizer_pre_regex(t, gpt2_pattern, sizeof gpt2_pattern - 1, REGEX_ONIGURUMA, SPLIT_ISOLATED, false, err));
    return add_cut(t, PRE_BYTE_LEVEL, SPLIT_ISOLATED, NULL, err);
}

/* "always" unless it says otherwise; older files have add_prefix_space instead. */
static Status read_prepend(const Tokenizer *t, const json_t *component, PrependScheme *scheme, Error *err) {
    static const char *const names[] = {"never", "first", "always"};
    const char *name = json_string_value(json_object_get(component, "prepend_scheme"));
    *scheme = PREPEND_ALWAYS;
    for (size_t i = 0; name != NULL && i < COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            *scheme = (PrependScheme)i;
    FAIL_IF(name != NULL && strcmp(name, names[*scheme]) != 0, ERR_UNSUPPORTED,
            "%s: Metaspace: the prepend_scheme %.40s is not known", t->name, name);
    if (!field_bool(component, "add_prefix_space", true))
        *scheme = PREPEND_NEVER;
    return OK;
}

static Status read_metaspace(Tokenizer *t, const json_t *component, Error *err) {
    PreStep *step = NULL;
    TRY(add_cut(t, PRE_METASPACE, SPLIT_MERGED_WITH_NEXT, &step, err));
    TRY(read_prepend(t, component, &step->prepend, err));
    step->split = field_bool(component, "split", true);
    TRY(field_copy(t, json_object_get(component, "replacement"), &step->what, &step->what_bytes, err));
    return step->what_bytes > 0 ? OK : lacks(t, "pre_tokenizer", "Metaspace", "replacement", err);
}

static Status read_pre_tokenizer(Tokenizer *t, const json_t *component, const char *type, Error *err) {
    PreStep *step = NULL;
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(t, component, err);
    if (strcmp(type, "Split") == 0)
        return read_split(t, component, err);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(t, component, err);
    if (strcmp(type, "Digits") == 0)
        return add_cut(t, PRE_NUMBER,
                       field_bool(component, "individual_digits", false) ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, NULL,
                       err);
    if (strcmp(type, "Whitespace") == 0) {
        static const char words[] = "\\w+|[^\\w\\s]+";
        return tokenizer_pre_regex(t, words, sizeof words - 1, REGEX_RUST, SPLIT_REMOVED, true, err);
    }
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_cut(t, PRE_SPACE, SPLIT_REMOVED, NULL, err);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        TRY(add_cut(t, PRE_SPACE, SPLIT_REMOVED, NULL, err));
        return add_cut(t, PRE_PUNCTUATION, SPLIT_ISOLATED, NULL, err);
    }
    if (strcmp(type, "Punctuation") == 0) {
        SplitBehavior behavior = SPLIT_ISOLATED;
        if (json_object_get(component, "behavior") != NULL)
            TRY(read_behavior(t, component, &behavior, err));
        return add_cut(t, PRE_PUNCTUATION, behavior, NULL, err);
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        TRY(add_cut(t, PRE_STRING, SPLIT_REMOVED, &step, err));
        TRY(field_copy(t, json_object_get(component, "delimiter"), &step->what, &step->what_bytes, err));
        return step->what_bytes > 0 ? OK : lacks(t, "pre_tokenizer", type, "delimiter", err);
    }
    if (strcmp(type, "FixedLength") == 0) {
        TRY(add_cut(t, PRE_LENGTH, SPLIT_ISOLATED, &step, err));
        step->length = MAX(field_count(component, "length", 5), 1);
        return OK;
    }
    return unknown_type(t, "pre_tokenizer", type, err);
}

Status tokenizer_json_pre_tokenizer(Tokenizer *t, const char *bytes, size_t count, Error *err) {
    return read_part(t, bytes, count, "pre_tokenizer", "pretokenizers", read_pre_tokenizer, err);
}

Status tokenizer_json_alphabet(Tokenizer *t, Error *err) {
    size_t steps = 0;
    for (size_t i = 0; i < t->normalizer.count; i++)
        steps += t->normalizer.steps[i].kind == NORM_BYTE_LEVEL;
    const size_t in_normalizer = steps;
    for (size_t i = 0; i < t->pre.count; i++)
        steps += t->pre.steps[i].kind == PRE_BYTE_LEVEL;
    t->bpe.bytes = t->detokenizer.alphabet = steps > 0;
    FAIL_IF(steps > 1, ERR_UNSUPPORTED, "%s: ByteLevel more than once", t->name);
    if (steps == 0)
        return OK;
    if (in_normalizer == 0 && t->pre.steps[t->pre.count - 1].kind == PRE_BYTE_LEVEL) {
        t->pre.count--; /* owns nothing */
        return OK;
    }
    return add_cut(t, PRE_BYTES, SPLIT_ISOLATED, NULL, err);
}

/* ---- decoder ---------------------------------------------------------------------------------------------------- */

static Status add_decode(Tokenizer *t, DecodeKind kind, const json_t *what, const json_t *with, DecodeStep **added,
                         Error *err) {
    DecodeStep *step = detokenizer_add(&t->detokenizer, kind, t->name, err);
    if (step == NULL)
        return ERR_UNSUPPORTED;
    TRY(field_copy(t, what, &step->what, &step->what_bytes, err));
    TRY(field_copy(t, with, &step->with, &step->with_bytes, err));
    if (added != NULL)
        *added = step;
    return OK;
}

static Status read_decode_replace(Tokenizer *t, const json_t *component, Error *err) {
    const json_t *pattern = json_object_get(component, "pattern"), *with = json_object_get(component, "content");
    const json_t *plain = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    if (json_is_string(plain) && json_string_length(plain) > 0 && json_is_string(with))
        return add_decode(t, DECODE_REPLACE, plain, with, NULL, err);
    if (!json_is_string(regex) || !json_is_string(with))
        return lacks(t, "decoder", "Replace", "pattern", err);
    DecodeStep *step = NULL;
    TRY(add_decode(t, DECODE_REPLACE_REGEX, NULL, with, &step, err));
    const Status status =
        regex_compile(json_string_value(regex), json_string_length(regex), REGEX_ONIGURUMA, &step->regex, err);
    if (status != OK)
        error_context(err, "%s: decoder", t->name);
    return status;
}

static Status read_decoder(Tokenizer *t, const json_t *component, const char *type, Error *err) {
    DecodeStep *step = NULL;
    if (strcmp(type, "ByteLevel") == 0)
        return add_decode(t, DECODE_BYTE_LEVEL, NULL, NULL, NULL, err);
    if (strcmp(type, "ByteFallback") == 0)
        return add_decode(t, DECODE_BYTE_FALLBACK, NULL, NULL, NULL, err);
    if (strcmp(type, "Fuse") == 0)
        return add_decode(t, DECODE_FUSE, NULL, NULL, NULL, err);
    if (strcmp(type, "Replace") == 0)
        return read_decode_replace(t, component, err);
    if (strcmp(type, "Strip") == 0) {
        TRY(add_decode(t, DECODE_STRIP, json_object_get(component, "content"), NULL, &step, err));
        step->left = field_count(component, "start", 0);
        step->right = field_count(component, "stop", 0);
        return step->what_bytes > 0 ? OK : lacks(t, "decoder", type, "content", err);
    }
    if (strcmp(type, "Metaspace") == 0) {
        PrependScheme scheme;
        TRY(add_decode(t, DECODE_METASPACE, json_object_get(component, "replacement"), NULL, &step, err));
        TRY(read_prepend(t, component, &scheme, err));
        step->drop_first = scheme != PREPEND_NEVER;
        return step->what_bytes > 0 ? OK : lacks(t, "decoder", type, "replacement", err);
    }
    if (strcmp(type, "WordPiece") == 0) {
        TRY(add_decode(t, DECODE_WORDPIECE, json_object_get(component, "prefix"), NULL, &step, err));
        step->cleanup = field_bool(component, "cleanup", true);
        return OK;
    }
    if (strcmp(type, "BPEDecoder") == 0)
        return add_decode(t, DECODE_SUFFIX, json_object_get(component, "suffix"), NULL, NULL, err);
    if (strcmp(type, "CTC") == 0) {
        TRY(add_decode(t, DECODE_CTC, json_object_get(component, "pad_token"),
                       json_object_get(component, "word_delimiter_token"), &step, err));
        step->cleanup = field_bool(component, "cleanup", true);
        return OK;
    }
    return unknown_type(t, "decoder", type, err);
}

Status tokenizer_json_decoder(Tokenizer *t, const char *bytes, size_t count, Error *err) {
    TRY(read_part(t, bytes, count, "decoder", "decoders", read_decoder, err));
    if (count == 4 && memcmp(bytes, "null", 4) == 0)
        return add_decode(t, DECODE_BLANKS, NULL, NULL, NULL, err);
    return OK;
}

/* ---- post-processor --------------------------------------------------------------------------------------------- */

/* Ids around those that are there already: in front of the prefix, behind the suffix. */
static Status put_around(Tokenizer *t, const TokenIds *before, const TokenIds *after, Error *err) {
    TokenIds prefix = {0};
    bool ok = true;
    for (size_t i = 0; i < before->count && ok; i++)
        ok = token_ids_append(&prefix, before->ids[i]);
    for (size_t i = 0; i < t->prefix.count && ok; i++)
        ok = token_ids_append(&prefix, t->prefix.ids[i]);
    token_ids_free(&t->prefix);
    t->prefix = prefix;
    for (size_t i = 0; i < after->count && ok; i++)
        ok = token_ids_append(&t->suffix, after->ids[i]);
    return ok ? OK : tokenizer_no_memory(t, err);
}

static Status append_special(Tokenizer *t, const json_t *component, const json_t *piece, TokenIds *ids, Error *err) {
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *special = name != NULL ? json_object_get(json_object_get(component, "special_tokens"), name) : NULL;
    const json_t *list = json_object_get(special, "ids");
    FAIL_IF(!json_is_array(list), ERR_FORMAT, "%s: post_processor: %.64s is not among its special_tokens", t->name,
            name != NULL ? name : "a token");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        FAIL_IF(!json_is_integer(id) || !vocab_has(&t->vocab, json_integer_value(id)), ERR_FORMAT,
                "%s: post_processor: %.64s has an id that is not in the vocabulary", t->name, name);
        if (!token_ids_append(ids, (int32_t)json_integer_value(id)))
            return tokenizer_no_memory(t, err);
    }
    return OK;
}

static Status split_template(Tokenizer *t, const json_t *component, TokenIds *before, TokenIds *after, Error *err) {
    const json_t *pieces = json_object_get(component, "single");
    if (!json_is_array(pieces))
        return lacks(t, "post_processor", "TemplateProcessing", "single", err);
    int texts = 0;
    for (size_t i = 0; i < json_array_size(pieces); i++) {
        const json_t *piece = json_array_get(pieces, i), *special = json_object_get(piece, "SpecialToken");
        if (special != NULL)
            TRY(append_special(t, component, special, texts == 0 ? before : after, err));
        else
            texts++;
    }
    FAIL_IF(texts != 1, ERR_UNSUPPORTED, "%s: post_processor: a template with %d texts", t->name, texts);
    return OK;
}

/* What the template of a pair has between its texts. What stands around them is what a single text has. */
static Status read_between(Tokenizer *t, const json_t *component, Error *err) {
    const json_t *pieces = json_object_get(component, "pair");
    int texts = 0;
    t->between.count = 0;
    for (size_t i = 0; i < json_array_size(pieces); i++) {
        const json_t *special = json_object_get(json_array_get(pieces, i), "SpecialToken");
        texts += special == NULL;
        if (special != NULL && texts == 1)
            TRY(append_special(t, component, special, &t->between, err));
    }
    return OK;
}

static Status read_post_processor(Tokenizer *t, const json_t *component, const char *type, Error *err) {
    if (strcmp(type, "ByteLevel") == 0) /* offsets only */
        return OK;
    TokenIds before = {0}, after = {0};
    Status status = OK;
    if (strcmp(type, "TemplateProcessing") == 0) {
        status = split_template(t, component, &before, &after, err);
        if (status == OK)
            status = read_between(t, component, err);
    } else if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        const json_t *cls = json_array_get(json_object_get(component, "cls"), 1);
        const json_t *sep = json_array_get(json_object_get(component, "sep"), 1);
        if (!json_is_integer(cls) || !json_is_integer(sep) || !vocab_has(&t->vocab, json_integer_value(cls)) ||
            !vocab_has(&t->vocab, json_integer_value(sep)))
            status = lacks(t, "post_processor", type, "cls and sep", err);
        else if (!token_ids_append(&before, (int32_t)json_integer_value(cls)) ||
                 !token_ids_append(&after, (int32_t)json_integer_value(sep)))
            status = tokenizer_no_memory(t, err);
        for (int i = 0; status == OK && i < (strcmp(type, "RobertaProcessing") == 0 ? 2 : 0); i++) /* two between texts */
            if (!token_ids_append(&t->between, after.ids[0]))
                status = tokenizer_no_memory(t, err);
    } else {
        status = unknown_type(t, "post_processor", type, err);
    }
    if (status == OK)
        status = put_around(t, &before, &after, err);
    token_ids_free(&before);
    token_ids_free(&after);
    return status;
}

Status tokenizer_json_post_processor(Tokenizer *t, const char *bytes, size_t count, Error *err) {
    return read_part(t, bytes, count, "post_processor", "processors", read_post_processor, err);
}
