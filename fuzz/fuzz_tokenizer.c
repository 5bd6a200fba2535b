/* fuzz_tokenizer.c - any bytes as a tokenizer's file, and any bytes as a text for it.
 *
 * The first byte chooses an allocation that fails (0: none), the second how many bytes at the end are the text. */
#include "base/mem.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A stream gives what decoding gives, in parts that are valid each. */
static void check_stream(const Tokenizer *t, const TokenIds *ids, const Text *whole) {
    TokenizerStream *stream;
    Text all = {0};
    if (tokenizer_stream_open(t, 0, &stream, NULL) != OK)
        abort();
    for (size_t i = 0; i <= ids->count; i++) {
        const size_t start = all.count;
        if ((i < ids->count ? tokenizer_stream_push(stream, ids->ids[i], &all, NULL)
                            : tokenizer_stream_flush(stream, &all, NULL)) != OK)
            break; /* a hostile pattern among the steps */
        if (all.count > start && !utf8_valid(all.bytes + start, all.count - start))
            abort();
        if (i == ids->count &&
            (all.count != whole->count || (all.count > 0 && memcmp(all.bytes, whole->bytes, all.count) != 0)))
            abort();
    }
    tokenizer_stream_close(stream);
    text_free(&all);
}

static void use(const Tokenizer *t, const char *text, size_t bytes) {
    TokenIds ids = {0};
    Text whole = {0};
    if (tokenizer_encode(t, text, bytes, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, &ids, NULL) == OK) {
        for (size_t i = 0; i < ids.count; i++)
            if (tokenizer_flags(t, ids.ids[i]) == 0)
                abort(); /* an id that does not exist */
        if (tokenizer_decode(t, ids.ids, ids.count, 0, &whole, NULL) == OK)
            check_stream(t, &ids, &whole);
    }
    text_free(&whole);
    token_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    const size_t rest = size - 2, text_bytes = rest < data[1] ? rest : data[1];
    const size_t before = mem_bytes_total();
    Tokenizer *t;
    Error err = {0};
    mem_fail_at(data[0]);
    const Status status = tokenizer_open_bytes("fuzz", data + 2, rest - text_bytes, "/nonexistent", &t, &err);
    mem_fail_at(0);
    if (status == OK) {
        use(t, (const char *)data + 2 + rest - text_bytes, text_bytes);
        tokenizer_close(t);
    } else if (err.text[0] == '\0') {
        abort();
    }
    if (mem_bytes_total() != before)
        abort();
    return 0;
}
