/* tokenizer.h - text to token ids and back, as the model's own tokenizer does it.
 *
 * A tokenizer comes from whatever the model was published with: tokenizer.json (with tokenizer_config.json and
 * special_tokens_map.json beside it), the keys inside a GGUF, SentencePiece's tokenizer.model, tiktoken's table of
 * ranks, tekken.json, vocab.json with merges.txt, or vocab.txt. After loading it never changes and may be used from any number of
 * threads at once.
 *
 *     Tokenizer *t;
 *     TRY(tokenizer_open("models/small", &t, err));
 *     TokenIds ids = {0};
 *     TRY(tokenizer_encode(t, "Hello", 5, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, &ids, err));
 *
 * Special tokens (<|im_start|>, <s>, ...) written in a text become their ids only with ENCODE_PARSE_SPECIAL: a chat
 * template's output wants that, a stranger's message must not have it. */
#ifndef HOULE_TEXT_TOKENIZER_H
#define HOULE_TEXT_TOKENIZER_H

#include "base/text.h"
#include "text/token_ids.h"

typedef struct Tokenizer Tokenizer;
typedef struct ModelFiles ModelFiles;

/* ---- loading --------------------------------------------------------------------------------------------------- */

/* `path` is a folder (its tokenizer.json is taken, else tekken.json, a tiktoken table, tokenizer.model, vocab.json, vocab.txt), a
 * GGUF, or one of these files itself. ERR_NOT_FOUND when there is no tokenizer, ERR_UNSUPPORTED naming the component
 * when it needs something this program lacks, ERR_FORMAT when the file contradicts itself. */
Status tokenizer_open(const char *path, Tokenizer **tokenizer, Error *err);
/* The tokenizer of a model that is open already: a GGUF's keys, or the files in its folder. `files` is not kept. */
Status tokenizer_open_model(const ModelFiles *files, Tokenizer **tokenizer, Error *err);
void tokenizer_close(Tokenizer *tokenizer); /* NULL is fine */

/* ---- text to ids ----------------------------------------------------------------------------------------------- */

enum {
    ENCODE_ADD_SPECIAL = 1,   /* put in front and behind what the model was trained with: BOS, [CLS] ... [SEP] */
    ENCODE_PARSE_SPECIAL = 2, /* special tokens in the text are recognised */
};

enum { ENCODE_MAX_BYTES = 1 << 30 };

/* Appends the ids of `bytes` bytes of any content. Bytes that are no UTF-8 become byte tokens where the model has them,
 * U+FFFD where not. Takes time in proportion to the text. ERR_LIMIT beyond ENCODE_MAX_BYTES. On failure `ids` may hold
 * part of the result. */
Status tokenizer_encode(const Tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags, TokenIds *ids,
                        Error *err);

/* Appends the ids of two texts as models read them that judge pairs ([CLS] a [SEP] b [SEP]); *first: how many of the ids belong
 * to the first of them, the ids between included. */
Status tokenizer_encode_pair(const Tokenizer *tokenizer, const char *a, size_t a_bytes, const char *b, size_t b_bytes,
                             TokenIds *ids, size_t *first, Error *err);

/* ---- ids to text ----------------------------------------------------------------------------------------------- */

enum {
    DECODE_SKIP_SPECIAL = 1, /* special tokens give no text */
    /* Delete the blank before "?", "!", ".", ",", "'s" ... where the reference program for this kind of GGUF does. For
     * comparisons only: it damages source code. A stream then gives all its text when it is flushed. */
    DECODE_TIDY = 2,
};

/* Appends the text of the ids: always valid UTF-8, a bad part of the pieces' bytes becomes one U+FFFD. Ids that the
 * vocabulary does not have give nothing. */
Status tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags, Text *text,
                        Error *err);

/* The same, id by id, for text that is shown while it is made. What all calls append, tokenizer_stream_flush included,
 * is what tokenizer_decode gives; no call appends half a character, and what was given is never taken back. The
 * tokenizer must outlive the stream. One thread at a time. */
typedef struct TokenizerStream TokenizerStream;
Status tokenizer_stream_open(const Tokenizer *tokenizer, unsigned flags, TokenizerStream **stream, Error *err);
Status tokenizer_stream_push(TokenizerStream *stream, int32_t id, Text *text, Error *err);
Status tokenizer_stream_flush(TokenizerStream *stream, Text *text, Error *err); /* then it can start anew */
void tokenizer_stream_close(TokenizerStream *stream);

/* ---- the vocabulary -------------------------------------------------------------------------------------------- */

/* All ids are below this. Some numbers between may be unused; a model may have more rows than this. */
int32_t tokenizer_count(const Tokenizer *tokenizer);

unsigned tokenizer_flags(const Tokenizer *tokenizer, int32_t id); /* TOKEN_*; 0 for a number that is no id */

/* The bytes that the id adds in the middle of a text (" the", one byte of a character, "<|im_end|>"). They belong to
 * the tokenizer; O(1), so that a grammar can walk over all ids. false when there is no such id. */
bool tokenizer_piece(const Tokenizer *tokenizer, int32_t id, const char **bytes, size_t *count);

/* The id whose piece is exactly these bytes, added tokens first; -1 when there is none. */
int32_t tokenizer_find(const Tokenizer *tokenizer, const char *bytes, size_t count);

typedef enum SpecialToken {
    SPECIAL_BOS,
    SPECIAL_EOS,
    SPECIAL_UNK,
    SPECIAL_PAD,
    SPECIAL_CLS,
    SPECIAL_SEP,
    SPECIAL_MASK,
    SPECIAL_EOT, /* end of turn, where a GGUF tells it apart from EOS */
    SPECIAL_COUNT
} SpecialToken;
int32_t tokenizer_special(const Tokenizer *tokenizer, SpecialToken which); /* -1 when the model has none */

/* True for ids after which the model has nothing more to say: EOS, and the ends of turns that a GGUF names or that are
 * known by their text. generation_config.json may name more; that is the caller's to read. */
bool tokenizer_ends(const Tokenizer *tokenizer, int32_t id);

/* True when ENCODE_ADD_SPECIAL puts BOS in front: a text that begins with BOS already must not get a second one. */
bool tokenizer_adds_bos(const Tokenizer *tokenizer);

/* One line for people: "byte-level BPE, 151669 tokens, from .../tokenizer.json". */
const char *tokenizer_summary(const Tokenizer *tokenizer);

#endif
