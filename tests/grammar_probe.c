/* grammar_probe.c - grammars for grammar_test.py: one JSON object per line in, one out.
 *
 *     {"kind": "schema", "schema": {...}, "accept": ["[1]", ...], "walks": 5, "seed": 1, "check": true}
 *     {"kind": "regex", "text": "a+", ...}
 *
 * Out: {"status": "ok" or the word of the failure, "error": "...", "accept": [true, ...], "walks": ["[1]", ...]}.
 * "accept" tells which texts the grammar takes as a whole. A walk draws tokens among the allowed ones until the text
 * ends; one that comes to no end is null. With "check", every mask is compared with what accepting each token says.
 * A vocabulary file may be given: for each token a count of 4 bytes (little-endian) and its bytes. */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "format/json.h"
#include "format/json_write.h"
#include "text/grammar.h"

#include <stdio.h>
#include <string.h>

enum { MAX_WALK = 400, MAX_LINE = 16 << 20 };

typedef struct Probe {
    GrammarVocab *vocab;
    const GrammarToken *tokens;
    size_t count;
    int32_t end;
    uint32_t *bits;
    uint64_t random;
    bool failed; /* a mask and accepting disagree */
    Error err;
} Probe;

static const char *const pieces[] = {
    "\",",
    "\", \"",
    "\":",
    "\": ",
    "\": \"",
    "{\"",
    "\"}",
    "\"}}",
    "\"]",
    "},",
    "],",
    "[{",
    "[[",
    "true",
    "false",
    "null",
    "12",
    "00",
    "-1",
    ".5",
    "1e",
    "ab",
    "abc",
    "the ",
    " and",
    "\n",
    "\n  ",
    "  ",
    "é",
    "日本",
    "\\n",
    "\\\"",
    "\\u00",
    "a\"",
    "hello world",
    "aaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "name",
    "\"name\"",
    "value",
    "2024-",
    "-01",
    "T",
    "@",
    "://",
    "0123456789",
    "\"a\": 1",
    "{}",
    "[]",
    "[1, 2",
    "0.0",
    "type",
    "\"type\": \"",
    "foo",
    "bar",
    "baz",
};

static uint64_t draw(Probe *p) {
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return p->random;
}

static bool has(const uint32_t *bits, size_t id) {
    return bits[id >> 5] >> (id & 31) & 1;
}

/* Every token by itself, on a copy of the state. */
static void check_mask(Probe *p, const GrammarState *state) {
    for (size_t id = 0; id < p->count; id++) {
        GrammarState *copy = NULL;
        if (grammar_state_clone(state, &copy, &p->err) != OK)
            return;
        const bool accepted = grammar_accept(copy, (int32_t)id, NULL) == OK;
        if (accepted != has(p->bits, id))
            p->failed = true;
        grammar_state_free(copy);
    }
}

/* The longer the text, the more are closing tokens preferred. */
static int32_t choose(Probe *p, size_t step) {
    int32_t chosen = -1;
    uint64_t best = 0;
    for (size_t id = 0; id < p->count; id++) {
        if (!has(p->bits, id))
            continue;
        const GrammarToken *t = &p->tokens[id];
        uint64_t weight = 1;
        const bool closing =
            (int32_t)id == p->end || (t->count > 0 && strchr("\"}]", t->bytes[0]) != NULL && t->bytes[0] != '\0');
        if (closing)
            weight = step > 60 ? 100000 : 30;
        const uint64_t score = (draw(p) >> 20) * weight;
        if (chosen < 0 || score > best) {
            chosen = (int32_t)id;
            best = score;
        }
    }
    return chosen;
}

static bool walk(Probe *p, Grammar *grammar, bool check, Text *text) {
    GrammarState *state = NULL;
    text_clear(text);
    bool done = false, fine = grammar_state_new(grammar, &state, &p->err) == OK;
    for (size_t step = 0; fine && !done && step < MAX_WALK; step++) {
        fine = grammar_mask(state, p->bits, &p->err) == OK;
        if (fine && check)
            check_mask(p, state);
        const int32_t token = fine ? choose(p, step) : -1;
        fine = token >= 0 && grammar_accept(state, token, &p->err) == OK;
        if (fine && token != p->end)
            text_append(text, p->tokens[token].bytes, p->tokens[token].count);
        done = fine && grammar_is_done(state);
    }
    grammar_state_free(state);
    if (!fine)
        p->failed = true;
    return done;
}

static bool accepts(Grammar *grammar, const char *bytes, size_t count) {
    GrammarState *state = NULL;
    const bool fine = grammar_state_new(grammar, &state, NULL) == OK &&
                      grammar_accept_bytes(state, bytes, count, NULL) == OK && grammar_may_end(state);
    grammar_state_free(state);
    return fine;
}

static GrammarSpec spec_of(const json_t *line, const char **choices, size_t room) {
    static const char *const kinds[] = {"schema", "object", "value", "regex", "gbnf", "lark", "choice", "text"};
    GrammarSpec spec = {.schema = json_object_get(line, "schema")};
    const char *kind = json_string_value(json_object_get(line, "kind"));
    for (size_t i = 0; kind != NULL && i < COUNT(kinds); i++)
        if (strcmp(kinds[i], kind) == 0)
            spec.kind = (GrammarKind)i;
    const json_t *text = json_object_get(line, "text"), *list = json_object_get(line, "choices");
    spec.text = json_string_value(text);
    spec.text_count = json_string_length(text);
    for (size_t i = 0; i < json_array_size(list) && i < room; i++)
        choices[spec.count++] = json_string_value(json_array_get(list, i));
    spec.choices = choices;
    return spec;
}

static void answer(Probe *p, const json_t *line, Text *out) {
    JsonWriter w = {.out = out};
    const char *choices[64];
    const GrammarSpec spec = spec_of(line, choices, COUNT(choices));
    const char *space = json_string_value(json_object_get(line, "space"));
    const GrammarOptions options = {.space = space != NULL && strcmp(space, "none") == 0 ? GRAMMAR_SPACE_NONE
                                                                                         : GRAMMAR_SPACE_LINES,
                                    .cache_bytes = (size_t)json_integer_value(json_object_get(line, "cache"))};
    Grammar *grammar = NULL;
    error_clear(&p->err);
    const uint64_t start = clock_us();
    const Status status = grammar_compile(p->vocab, &spec, &options, &grammar, &p->err);
    json_write_open(&w, '{');
    json_write_key(&w, "us");
    json_write_natural(&w, clock_us() - start);
    json_write_key(&w, "status");
    json_write_string(&w, status == OK ? "ok" : status_word(status));
    json_write_key(&w, "error");
    json_write_string(&w, p->err.text);
    const json_t *texts = json_object_get(line, "accept");
    json_write_key(&w, "accept");
    json_write_open(&w, '[');
    for (size_t i = 0; i < json_array_size(texts) && status == OK; i++)
        json_write_bool(&w, accepts(grammar, json_string_value(json_array_get(texts, i)),
                                    json_string_length(json_array_get(texts, i))));
    json_write_close(&w, ']');
    p->random = (uint64_t)json_integer_value(json_object_get(line, "seed")) * 0x9E3779B97F4A7C15u + 1;
    p->failed = false;
    json_write_key(&w, "walks");
    json_write_open(&w, '[');
    Text text = {0};
    for (int64_t i = 0; i < json_integer_value(json_object_get(line, "walks")) && status == OK; i++) {
        if (walk(p, grammar, json_is_true(json_object_get(line, "check")), &text))
            json_write_bytes(&w, text.bytes != NULL ? text.bytes : "", text.count);
        else
            json_write_string(&w, NULL);
    }
    text_free(&text);
    json_write_close(&w, ']');
    json_write_key(&w, "walk_error");
    json_write_string(&w, p->failed ? (p->err.status != OK && status == OK ? p->err.text : "mask") : NULL);
    json_write_close(&w, '}');
    grammar_free(grammar);
}

/* All bytes, the pieces, and what the file holds; the last id ends the text. */
static size_t collect(GrammarToken *tokens, size_t room, const char *content, size_t bytes) {
    static char single[256];
    size_t count = 0;
    for (size_t i = 0; i < 256; i++) {
        single[i] = (char)i;
        tokens[count++] = (GrammarToken){.bytes = &single[i], .count = 1};
    }
    for (size_t i = 0; i < COUNT(pieces); i++)
        tokens[count++] = (GrammarToken){.bytes = pieces[i], .count = (uint32_t)strlen(pieces[i])};
    for (size_t at = 0; at + 4 <= bytes && count + 1 < room;) {
        const uint32_t n = load_u32(content + at);
        at += 4;
        if (n > bytes - at)
            break;
        tokens[count++] = (GrammarToken){.bytes = content + at, .count = n};
        at += n;
    }
    tokens[count++] = (GrammarToken){.bytes = "<end>", .count = 5, .special = true};
    return count;
}

int main(int argc, char **argv) {
    Probe p = {0};
    char *content = NULL;
    size_t bytes = 0;
    if (argc > 1 && file_read(argv[1], (size_t)64 << 20, &content, &bytes, &p.err) != OK) {
        fprintf(stderr, "%s\n", p.err.text);
        return 1;
    }
    enum { ROOM = 1 << 19 };
    GrammarToken *tokens = mem_array(ROOM, sizeof *tokens, MEM_TEXT);
    char *line = mem_alloc(MAX_LINE, MEM_TEXT);
    p.tokens = tokens;
    p.count = collect(tokens, ROOM, content, bytes);
    p.end = (int32_t)p.count - 1;
    if (grammar_vocab_new(tokens, p.count, &p.end, 1, &p.vocab, &p.err) != OK)
        return 1;
    p.bits = mem_array(grammar_mask_words(p.vocab), sizeof *p.bits, MEM_TEXT);
    while (fgets(line, MAX_LINE, stdin) != NULL) {
        json_t *json;
        Text out = {0};
        error_clear(&p.err);
        if (json_parse(line, strlen(line), "line", false, &json, &p.err) != OK) {
            JsonWriter w = {.out = &out};
            json_write_open(&w, '{');
            json_write_key(&w, "status");
            json_write_string(&w, p.err.text);
            json_write_close(&w, '}');
        } else {
            answer(&p, json, &out);
            json_decref(json);
        }
        printf("%s\n", out.failed ? "{\"status\": \"memory\"}" : out.bytes);
        fflush(stdout);
        text_free(&out);
    }
    mem_free(p.bits);
    grammar_vocab_free(p.vocab);
    mem_free(line);
    mem_free(tokens);
    mem_free(content);
    return 0;
}
