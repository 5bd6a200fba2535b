/* tokenizer_json.h - the parts of the reader of tokenizer.json, and of files that have something in common with it. */
#ifndef HOULE_TEXT_TOKENIZER_JSON_H
#define HOULE_TEXT_TOKENIZER_JSON_H

#include "text/tokenizer_parts.h"

#include "format/json_pull.h"

/* Each reads one part of the file, which lies at `bytes`; "null" means none. An unknown type is ERR_UNSUPPORTED. */
Status tokenizer_json_normalizer(Tokenizer *t, const char *bytes, size_t count, Error *err);
Status tokenizer_json_pre_tokenizer(Tokenizer *t, const char *bytes, size_t count, Error *err);
Status tokenizer_json_decoder(Tokenizer *t, const char *bytes, size_t count, Error *err);
Status tokenizer_json_post_processor(Tokenizer *t, const char *bytes, size_t count, Error *err);
/* After normalizer, pre-tokenizer and decoder: decides whether the model works on raw bytes (bpe.bytes), and takes the
 * steps out that would turn them into GPT-2's alphabet where nothing looks at it. */
Status tokenizer_json_alphabet(Tokenizer *t, Error *err);

/* Reads {"piece": id, ...} into the vocabulary and builds its index. */
Status tokenizer_json_vocab(Tokenizer *t, JsonPull *pull, Error *err);

/* Pairs of tokens in order of rank, each given by its text. Texts are looked up some at a time, so that the memory they
 * lie in can be on its way while others are read. Zeroed but for t (and lenient) to begin with. */
typedef struct MergePair {
    size_t left, left_bytes, right, right_bytes; /* in MergeList.bytes */
    uint32_t left_hash, right_hash;
    bool ignored; /* has characters that are not of the alphabet: no text can come to it */
} MergePair;

typedef struct MergeList {
    const Tokenizer *t;
    bool lenient; /* pairs that the vocabulary does not have are passed over, not an error */
    char *bytes;  /* of the pairs that wait */
    size_t used, bytes_capacity;
    MergePair pairs[32];
    size_t waiting;
    int32_t (*triples)[3];
    size_t count, capacity;
    int32_t last;
} MergeList;

Status merge_list_add(MergeList *list, const char *left, size_t left_bytes, const char *right, size_t right_bytes,
                      Error *err);
Status merge_list_add_line(MergeList *list, const char *line, size_t count, Error *err); /* "left right" */
Status merge_list_finish(MergeList *list, Tokenizer *t, Error *err);                     /* makes the model's table */
void merge_list_free(MergeList *list);

/* Base64 without line breaks: writes at most 3/4 of `count` bytes; false when it is not valid. */
bool base64_decode(const char *text, size_t count, char *bytes, size_t *decoded);

#endif
