/* fuzz_grammar.c - a grammar of any kind, and a text that it takes or not.
 *
 *     kind (one letter: s j r g l c) | grammar | NUL | text */
#include "format/json.h"
#include "text/grammar.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COUNT_IDS = 264, WORDS = (COUNT_IDS + 31) / 32, MAX_GRAMMAR = 2000, MAX_STEPS = 12 };

static GrammarVocab *small_vocab(void) {
    static GrammarVocab *vocab;
    static char single[256];
    static const char *const longer[] = {"\",", "\": ", "{\"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "12", "é", "<tag>"};
    GrammarToken tokens[COUNT_IDS] = {0};
    for (size_t i = 0; i < 256; i++) {
        single[i] = (char)i;
        tokens[i] = (GrammarToken){.bytes = &single[i], .count = 1};
    }
    for (size_t i = 0; i < COUNT(longer); i++)
        tokens[256 + i] = (GrammarToken){.bytes = longer[i], .count = (uint32_t)strlen(longer[i])};
    tokens[262].special = true;
    const int32_t end = COUNT_IDS - 1;
    if (vocab == NULL && grammar_vocab_new(tokens, COUNT_IDS, &end, 1, &vocab, NULL) != OK)
        return NULL;
    return vocab;
}

/* A few tokens along the text's bytes; where the text does not fit, the first that is allowed. */
static void follow(Grammar *grammar, const uint8_t *text, size_t count) {
    GrammarState *state;
    uint32_t bits[WORDS];
    char forced[8];
    size_t forced_count;
    if (grammar_state_new(grammar, &state, NULL) != OK)
        return;
    for (size_t i = 0; i < MAX_STEPS && !grammar_is_done(state); i++) {
        if (grammar_mask(state, bits, NULL) != OK ||
            grammar_forced(state, forced, sizeof forced, &forced_count, NULL) != OK)
            break;
        int32_t token = i < count ? text[i] : 0;
        for (int32_t k = 0; k < COUNT_IDS && !(bits[token >> 5] >> (token & 31) & 1); k++)
            token = (token + 1) % COUNT_IDS;
        if (grammar_accept(state, token, NULL) != OK)
            abort(); /* the mask said that it may */
    }
    grammar_state_free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char letters[] = "sjrglc";
    static const GrammarKind kinds[] = {GRAMMAR_SCHEMA, GRAMMAR_VALUE, GRAMMAR_REGEX,
                                        GRAMMAR_GBNF,   GRAMMAR_LARK,  GRAMMAR_CHOICE};
    const char *letter = size > 1 && data[0] != 0 ? strchr(letters, data[0]) : NULL;
    if (letter == NULL || size > MAX_GRAMMAR)
        return 0;
    const char *text = (const char *)data + 1;
    const char *nul = memchr(text, 0, size - 1);
    const size_t count = nul != NULL ? (size_t)(nul - text) : size - 1;
    GrammarSpec spec = {.kind = kinds[letter - letters], .text = text, .text_count = count};
    json_t *schema = NULL;
    char choice[MAX_GRAMMAR + 1] = {0};
    const char *const choices[] = {choice, "other"};
    memcpy(choice, text, count);
    spec.choices = choices;
    spec.count = spec.kind == GRAMMAR_CHOICE ? 2 : 0;
    if (spec.kind == GRAMMAR_SCHEMA) {
        if (json_parse(text, count, "schema", true, &schema, NULL) != OK)
            return 0;
        spec.schema = schema;
    }
    const GrammarOptions options = {.cache_bytes = 1 << 20, .depth = 32};
    GrammarVocab *vocab = small_vocab();
    Grammar *grammar;
    if (vocab != NULL && grammar_compile(vocab, &spec, &options, &grammar, NULL) == OK) {
        follow(grammar, (const uint8_t *)text + count + 1, nul != NULL ? size - 2 - count : 0);
        grammar_free(grammar);
    }
    json_decref(schema);
    return 0;
}
