/* detokenizer.h - ids back to text, one at a time.
 *
 * A list of steps that tokens pass through, as tokenizer.json describes it. Before a FUSE (or BYTE_LEVEL) a step sees
 * whole tokens; behind it, one long text that arrives in parts:
 *
 *     id -> "▁d" -REPLACE-> " d" -BYTE_FALLBACK-> " d" -FUSE-> ... d -STRIP-> d
 *
 * For nearly all models the steps up to the FUSE do the same to a token wherever it stands. Their results are the
 * pieces, made once; decoding then is looking pieces up, joining their bytes and replacing what is no UTF-8. */
#ifndef HOULE_TEXT_DETOKENIZER_H
#define HOULE_TEXT_DETOKENIZER_H

#include "text/split_regex.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

typedef enum DecodeKind {
    DECODE_REPLACE,       /* what -> with */
    DECODE_REPLACE_REGEX, /* regex -> with */
    DECODE_STRIP,         /* `what`, one character, at most `left` times in front and `right` times behind */
    DECODE_METASPACE,     /* what -> ' ', in the first token -> nothing (drop_first) */
    DECODE_WORDPIECE,     /* a blank before each token but the first and those that begin with `what`; cleanup */
    DECODE_SUFFIX,        /* what -> ' ', in the last token -> nothing */
    DECODE_CTC,           /* repeated tokens once, `what` (padding) away, with cleanup `with` (word delimiter) -> ' ' */
    DECODE_BLANKS,        /* a blank between tokens: what is done when a tokenizer.json names no decoder */
    DECODE_BYTE_FALLBACK, /* <0x..> are bytes */
    DECODE_BYTE_LEVEL,    /* GPT-2's alphabet to bytes; fuses */
    DECODE_FUSE,
} DecodeKind;

typedef struct DecodeStep {
    DecodeKind kind;
    char *what, *with;
    size_t what_bytes, with_bytes;
    SplitRegex *regex;
    size_t left, right;
    bool drop_first, cleanup;
} DecodeStep;

enum { DECODE_MAX_STEPS = 16 };

typedef struct DecodeSpelling {
    int32_t id;
    char *text;
    size_t bytes;
} DecodeSpelling;

typedef struct Detokenizer {
    const Vocab *vocab;
    bool alphabet; /* the vocabulary holds raw bytes: steps that look at tokens see GPT-2's alphabet */
    DecodeStep steps[DECODE_MAX_STEPS];
    size_t count;
    size_t piece_steps; /* how many steps the pieces replace; 0 = none */
    /* Added tokens that are spelled otherwise once they are normalised: decoding shows that spelling. By id. */
    DecodeSpelling *spellings;
    size_t spelling_count, spelling_capacity;
    bool tidy; /* DECODE_TIDY has an effect */
    /* SentencePiece: the blank in front of the first piece is taken away; or of all pieces until one gives text. */
    enum { FRONT_KEPT, FRONT_FIRST, FRONT_ALL } front;
    /* Bytes of each id in the middle of a text. NULL = as in the vocabulary. */
    char *piece_bytes;
    Piece *pieces;
} Detokenizer;

DecodeStep *detokenizer_add(Detokenizer *d, DecodeKind kind, const char *name, Error *err); /* NULL: see err */
/* Makes the pieces and the flags TOKEN_BYTE, when vocabulary and steps are complete. Readers that set piece_bytes,
 * pieces and piece_steps themselves need not call it. */
Status detokenizer_prepare(Detokenizer *d, Vocab *vocab, Error *err);
void detokenizer_free(Detokenizer *d);

/* The bytes of an id that exists. */
static inline const char *detokenizer_piece(const Detokenizer *d, int32_t id, size_t *count) {
    const Piece piece = d->pieces != NULL ? d->pieces[id] : d->vocab->pieces[id];
    *count = piece.count;
    return (d->pieces != NULL ? d->piece_bytes : d->vocab->bytes) + piece.start;
}

typedef struct DecodeState {
    Text text;    /* bytes of an unfinished character, text that may be part of a pattern, the token before, ... */
    size_t index; /* tokens or characters seen */
    size_t held;
} DecodeState;

struct TokenizerStream {
    const Detokenizer *detokenizer;
    unsigned flags;
    bool begun;                               /* a piece has given text, or the blank in front is gone */
    DecodeState states[DECODE_MAX_STEPS + 1]; /* [0] belongs to the pieces, [i + 1] to step i */
    Text mapped[DECODE_MAX_STEPS + 1];        /* what a step makes of a token */
    Text tidied;
};

/* For streams that live on the stack: zero it, set detokenizer and flags. */
Status stream_push(TokenizerStream *stream, int32_t id, Text *out, Error *err);
Status stream_flush(TokenizerStream *stream, Text *out, Error *err);
void stream_free(TokenizerStream *stream);

#endif
