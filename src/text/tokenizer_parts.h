/* tokenizer_parts.h - what a tokenizer is made of, for the readers that put one together. Not for other rooms.
 *
 *     text ─▶ added tokens ─▶ normalizer ─▶ added tokens ─▶ pre-tokenizer ─▶ model ─▶ ids, with prefix and suffix
 *              (as written)                (normalised)                     BPE, unigram, word pieces
 *
 * A reader fills vocab, the steps and the model's settings, adds its added tokens, and calls tokenizer_finish. */
#ifndef HOULE_TEXT_TOKENIZER_PARTS_H
#define HOULE_TEXT_TOKENIZER_PARTS_H

#include "text/bpe.h"
#include "text/detokenizer.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

typedef enum ModelKind { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDPIECE } ModelKind;

enum {
    ADDED_SINGLE_WORD = 1, /* only where no letter or digit stands before or behind it */
    ADDED_LSTRIP = 2,      /* takes the white space in front */
    ADDED_RSTRIP = 4,      /* and behind */
    ADDED_NORMALIZED = 8,  /* looked for in the normalised text */
};

typedef struct AddedToken {
    int32_t id;
    unsigned flags;
    char *content; /* what is looked for in the text: as written, or normalised */
    uint32_t bytes;
} AddedToken;

struct Tokenizer {
    char *name; /* the file, for messages */
    char *summary;
    Vocab vocab;
    AddedToken *added;
    size_t added_count, added_capacity;
    Trie added_raw, added_normalized; /* values: places in `added` */
    /* Where special tokens are not to be parsed, the `tokenizers` library finds them nevertheless and leaves their text
     * as it is; llama.cpp does not look for them, so that shorter tokens may be found inside. */
    bool ignores_special;
    Trie added_plain; /* added_raw without special tokens, if ignores_special */
    Normalizer normalizer;
    PreTokenizer pre;
    ModelKind model;
    Bpe bpe;
    Unigram unigram;
    WordPiece wordpiece;
    Trie symbols; /* of SentencePiece's normaliser */
    Detokenizer detokenizer;
    TokenIds prefix, suffix; /* what ENCODE_ADD_SPECIAL adds */
    TokenIds between;        /* of the two texts of a pair; none = the suffix */
    int32_t special[SPECIAL_COUNT];
    TokenIds ends;
};

/* tokenizer_open for a file of any kind but GGUF that lies in memory. `folder` is where the files beside it are. */
Status tokenizer_open_bytes(const char *name, const uint8_t *bytes, size_t count, const char *folder,
                            Tokenizer **tokenizer, Error *err);

/* Readers. Each fills an empty tokenizer; `name` is what messages call the file. */
Status tokenizer_json_read(Tokenizer *t, const char *bytes, size_t count, Error *err);
Status tokenizer_gguf_read(Tokenizer *t, const ModelFiles *files, Error *err);
Status sentencepiece_read(Tokenizer *t, const uint8_t *bytes, size_t count, Error *err);
Status tiktoken_read(Tokenizer *t, const char *bytes, size_t count, const char *folder, Error *err);
Status tekken_read(Tokenizer *t, const char *bytes, size_t count, Error *err);
/* vocab.json (`bytes`) and the merges.txt in the same folder. */
Status merges_txt_read(Tokenizer *t, const char *bytes, size_t count, const char *folder, Error *err);

/* vocab.txt, and the switches in the tokenizer_config.json in the same folder. */
Status vocab_txt_read(Tokenizer *t, const char *bytes, size_t count, const char *folder, Error *err);

/* What the files beside a tokenizer say (tokenizer_config.json, special_tokens_map.json), after tokenizer_finish: which
 * tokens are BOS, EOS, ..., and whether they are added. With `decides`, "add_bos_token": false counts too. */
Status tokenizer_config_read(Tokenizer *t, const char *folder, bool decides, Error *err);
/* Adds their added_tokens_decoder and added_tokens.json, before tokenizer_finish. */
Status tokenizer_config_added(Tokenizer *t, const char *folder, Error *err);
/* Appends the tokenizer_class; nothing when there is none. */
Status tokenizer_config_class(const char *folder, Text *class, Error *err);

/* Adds a token that is looked for in texts, after vocab and normalizer are complete. The id must be in the
 * vocabulary. */
Status tokenizer_add_token(Tokenizer *t, int32_t id, const char *content, size_t bytes, unsigned flags, Error *err);
/* Builds tries, tables and pieces. The vocabulary's index must be there. */
Status tokenizer_finish(Tokenizer *t, Error *err);

/* Settings that several readers make. */
Status tokenizer_pre_regex(Tokenizer *t, const char *pattern, size_t count, RegexDialect dialect,
                           SplitBehavior behavior, bool invert, Error *err);
Status tokenizer_norm_replace(Tokenizer *t, const char *what, size_t what_bytes, const char *with, size_t with_bytes,
                              Error *err);
Status tokenizer_norm_prepend(Tokenizer *t, const char *with, size_t with_bytes, Error *err);
/* A step "replace U+2581 by a blank, <0x..> by bytes, join". */
Status tokenizer_decode_blanks(Tokenizer *t, Error *err);
/* Strips so many blanks from the front of a decoded text. */
Status tokenizer_decode_strip(Tokenizer *t, size_t left, Error *err);
Status tokenizer_end(Tokenizer *t, int32_t id, Error *err); /* adds to the ends; -1 and repetitions are ignored */

/* A SentencePiece score as a rank of the BPE model: the higher the score, the lower. */
uint32_t rank_of_score(float score);

/* "no memory for ..." */
Status tokenizer_no_memory(const Tokenizer *t, Error *err);

#endif
