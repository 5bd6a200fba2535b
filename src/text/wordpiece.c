/* wordpiece.c - see wordpiece.h. */
#include "text/wordpiece.h"

#include <string.h>

Status wordpiece_prepare(WordPiece *model, const char *name, Error *err) {
    if (model->kind != WORD_GREEDY)
        return OK;
    const Vocab *vocab = model->vocab;
    TrieKey *keys = mem_array(vocab->count, sizeof *keys, MEM_TEXT);
    FAIL_IF(keys == NULL, ERR_MEMORY, "%s: no memory for the pieces", name);
    size_t count = 0;
    for (size_t i = 0; i < vocab->count; i++)
        if (vocab->flags[i] != 0 && (vocab->flags[i] & PIECE_HIDDEN) == 0)
            keys[count++] = (TrieKey){
                .bytes = vocab_bytes(vocab, (int32_t)i), .count = vocab->pieces[i].count, .value = (int32_t)i};
    const Status status = trie_build(&model->trie, keys, count, err);
    mem_free(keys);
    return status;
}

void wordpiece_free(WordPiece *model) {
    mem_free(model->first);
    mem_free(model->inside);
    trie_free(&model->trie);
    *model = (WordPiece){0};
}

static Status append(TokenIds *ids, int32_t id, Error *err) {
    FAIL_IF(id < 0, ERR_UNSUPPORTED, "the text has a word that this tokenizer has no token for");
    FAIL_IF(!token_ids_append(ids, id), ERR_MEMORY, "no memory for the tokens of a text");
    return OK;
}

static Status encode_greedy(const WordPiece *model, const char *text, size_t count, TokenIds *ids, Error *err) {
    for (size_t at = 0; at < count;) {
        size_t length = 1;
        const int32_t id = trie_longest(&model->trie, text + at, count - at, &length);
        TRY(append(ids, id >= 0 ? id : model->unknown, err));
        at += length;
    }
    return OK;
}

/* The longest piece that word[start, ...) begins with; *length is what it covers. -1 when there is none. */
static int32_t longest_piece(const WordPiece *model, Text *spelled, const char *word, size_t count, size_t start,
                             size_t *length) {
    const bool inside = start > 0 && model->inside_bytes > 0;
    const size_t prefix = inside ? model->inside_bytes : 0;
    const char *bytes = word + start;
    size_t end = count - start;
    if (end + prefix > model->vocab->longest) {
        end = model->vocab->longest > prefix ? model->vocab->longest - prefix : 0;
        while (end > 0 && ((unsigned char)bytes[end] & 0xC0) == 0x80) /* to the end of a character */
            end--;
    }
    if (inside) {
        text_clear(spelled);
        text_append(spelled, model->inside, prefix);
        text_append(spelled, bytes, end);
        if (spelled->failed)
            return -1;
        bytes = spelled->bytes;
    }
    while (end > 0) {
        const int32_t id = vocab_find(model->vocab, bytes, prefix + end);
        if (id >= 0) {
            *length = end;
            return id;
        }
        do
            end--;
        while (end > 0 && ((unsigned char)bytes[prefix + end] & 0xC0) == 0x80);
    }
    return -1;
}

static Status encode_pieces(const WordPiece *model, Text *spelled, const char *word, size_t count, TokenIds *ids,
                            Error *err) {
    size_t characters = 0;
    for (size_t i = 0; i < count && characters <= model->max_characters; i++)
        characters += ((unsigned char)word[i] & 0xC0) != 0x80;
    const size_t before = ids->count;
    for (size_t at = 0; at < count && characters <= model->max_characters;) {
        size_t length = 0;
        const int32_t id = longest_piece(model, spelled, word, count, at, &length);
        TRY(text_check(spelled, err));
        if (id < 0)
            break;
        TRY(append(ids, id, err));
        at += length;
        if (at == count)
            return OK;
    }
    ids->count = before; /* a word that cannot be written to its end is unknown as a whole */
    return append(ids, model->unknown, err);
}

Status wordpiece_encode(const WordPiece *model, Text *spelled, const char *word, size_t count, TokenIds *ids,
                        Error *err) {
    if (count == 0)
        return OK;
    if (model->kind == WORD_GREEDY)
        return encode_greedy(model, word, count, ids, err);
    if (model->kind == WORD_WHOLE) {
        const int32_t id = vocab_find(model->vocab, word, count);
        return append(ids, id >= 0 ? id : model->unknown, err);
    }
    if (model->first_bytes == 0)
        return encode_pieces(model, spelled, word, count, ids, err);
    Text whole = {0};
    text_append(&whole, model->first, model->first_bytes);
    text_append(&whole, word, count);
    Status status = text_check(&whole, err);
    if (status == OK)
        status = encode_pieces(model, spelled, whole.bytes, whole.count, ids, err);
    text_free(&whole);
    return status;
}
