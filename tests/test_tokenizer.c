/* test_tokenizer.c - whole tokenizers: every kind of file, texts of any bytes, streams, damaged files, lack of memory.
 * Ids of many texts against the reference programs are checked by tokenize_test.py. */
#include "golden.h"

#include "text/tokenizer.h"
#include "text/tokenizer_parts.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- helpers ---------------------------------------------------------------------------------------------------- */

enum { BOTH = ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL };

static const char *const golden_files[] = {
    "tokenizer/synth/synth_bytebpe",
    "tokenizer/synth/synth_bytebpe/vocab.gguf",
    "tokenizer/synth/synth_spmbpe",
    "tokenizer/synth/synth_spmbpe/tokenizer.model",
    "tokenizer/synth/synth_unigram",
    "tokenizer/synth/synth_unigram/tokenizer.model",
    "tokenizer/synth/synth_spmbpe/vocab.gguf",
};

static Tokenizer *open_golden(const char *relative) {
    char path[GOLDEN_PATH_BYTES];
    Tokenizer *t;
    Error err = {0};
    if (golden_path(path, relative) == NULL)
        fail_msg("%s: not among the golden files", relative);
    if (tokenizer_open(path, &t, &err) != OK)
        fail_msg("%s", err.text);
    return t;
}

static Tokenizer *open_text(const char *name, const char *content) {
    Tokenizer *t;
    Error err = {0};
    if (tokenizer_open_bytes(name, (const uint8_t *)content, strlen(content), "/nonexistent", &t, &err) != OK)
        fail_msg("%s", err.text);
    return t;
}

static void check_ids(const Tokenizer *t, const char *text, size_t bytes, unsigned flags, const char *want) {
    TokenIds ids = {0};
    Error err = {0};
    if (tokenizer_encode(t, text, bytes, flags, &ids, &err) != OK)
        fail_msg("%s", err.text);
    Text got = {0};
    text_append_str(&got, "");
    for (size_t i = 0; i < ids.count; i++)
        text_append_format(&got, i == 0 ? "%d" : " %d", (int)ids.ids[i]);
    if (strcmp(got.bytes, want) != 0)
        fail_msg("\"%s\": %s is not %s", text, got.bytes, want);
    text_free(&got);
    token_ids_free(&ids);
}

static void check_encode(const Tokenizer *t, const char *text, unsigned flags, const char *want) {
    check_ids(t, text, strlen(text), flags, want);
}

static void check_decode(const Tokenizer *t, const int32_t *ids, size_t count, unsigned flags, const char *want) {
    Text got = {0};
    text_append_str(&got, "");
    assert_int_equal(tokenizer_decode(t, ids, count, flags, &got, NULL), OK);
    assert_string_equal(got.bytes, want);
    text_free(&got);
}

static unsigned random_below(unsigned *seed, unsigned end) {
    *seed = *seed * 1664525u + 1013904223u;
    return (unsigned)(((uint64_t)*seed * end) >> 32);
}

/* ---- small tokenizers of each kind ------------------------------------------------------------------------------ */

/* Ġ is a blank; 0 to 4 are letters, 5 and 6 come from merges, 7 is added. */
static const char small_bpe[] =
    "{\"added_tokens\":[{\"id\":7,\"content\":\"<end>\",\"special\":true,\"normalized\":false},"
    "{\"id\":8,\"content\":\"<think>\",\"special\":false,\"normalized\":false}],"
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
    "{\"SpecialToken\":{\"id\":\"<end>\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<end>\":{\"id\":\"<end>\","
    "\"ids\":[7],\"tokens\":[\"<end>\"]}}},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"\\u0120\":0,\"a\":1,\"b\":2,\"\\u00c3\":3,\"\\u00a9\":4,\"ab\":5,"
    "\"\\u0120ab\":6},"
    "\"merges\":[\"a b\",[\"\\u0120\",\"ab\"]]}}";

static void test_bpe(void **state) {
    (void)state;
    Tokenizer *t = open_text("tokenizer.json", small_bpe);
    check_encode(t, "ab ab ba", 0, "5 6 0 2 1");
    check_encode(t, "", 0, "");
    check_encode(t, "", BOTH, "7");
    check_encode(t, "ab", BOTH, "5 7");
    check_encode(t, "\xC3\xA9", 0, "3 4");
    check_encode(t, "a<end>b<think>", ENCODE_PARSE_SPECIAL, "1 7 2 8");
    check_encode(t, "a<end>b<think>", 0,
                 "1 2 8"); /* what the vocabulary cannot spell vanishes: there is no unk_token */
    check_decode(t, (const int32_t[]){5, 6, 7, 8}, 4, 0, "ab ab<end><think>");
    check_decode(t, (const int32_t[]){5, 6, 7, 8}, 4, DECODE_SKIP_SPECIAL, "ab ab<think>");
    check_decode(t, (const int32_t[]){3, 1, 3, 4, 4}, 5, 0,
                 "\xEF\xBF\xBD"
                 "a\xC3\xA9\xEF\xBF\xBD");
    check_decode(t, (const int32_t[]){-1, 9, INT32_MAX, INT32_MIN, 1}, 5, 0, "a"); /* no such ids */

    assert_int_equal(tokenizer_count(t), 9);
    assert_int_equal(tokenizer_flags(t, 7) & (TOKEN_PRESENT | TOKEN_CONTROL | TOKEN_ADDED),
                     TOKEN_PRESENT | TOKEN_CONTROL | TOKEN_ADDED);
    assert_int_equal(tokenizer_flags(t, 8) & (TOKEN_PRESENT | TOKEN_CONTROL | TOKEN_ADDED),
                     TOKEN_PRESENT | TOKEN_ADDED);
    assert_int_equal(tokenizer_flags(t, 9), 0);
    assert_int_equal(tokenizer_flags(t, -1), 0);
    const char *piece;
    size_t count;
    assert_true(tokenizer_piece(t, 6, &piece, &count));
    assert_int_equal(count, 3);
    assert_memory_equal(piece, " ab", 3);
    assert_true(tokenizer_piece(t, 3, &piece, &count));
    assert_int_equal(count, 1);
    assert_memory_equal(piece, "\xC3", 1);
    assert_false(tokenizer_piece(t, 9, &piece, &count));
    assert_false(tokenizer_piece(t, -1, &piece, &count));
    assert_int_equal(tokenizer_find(t, " ab", 3), 6);
    assert_int_equal(tokenizer_find(t, "<end>", 5), 7);
    assert_int_equal(tokenizer_find(t, "nothing", 7), -1);
    assert_int_equal(tokenizer_special(t, SPECIAL_BOS), -1);
    assert_false(tokenizer_adds_bos(t));
    assert_non_null(strstr(tokenizer_summary(t), "BPE"));
    tokenizer_close(t);
}

static void test_wordpiece(void **state) {
    (void)state;
    Tokenizer *t =
        open_text("tokenizer.json",
                  "{\"added_tokens\":[{\"id\":0,\"content\":\"[UNK]\",\"special\":true,\"normalized\":false},"
                  "{\"id\":1,\"content\":\"[CLS]\",\"special\":true,\"normalized\":false},"
                  "{\"id\":2,\"content\":\"[SEP]\",\"special\":true,\"normalized\":false}],"
                  "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
                  "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
                  "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",1]},"
                  "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},"
                  "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
                  "\"max_input_chars_per_word\":12,\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"play\":3,\"##ing\":"
                  "4,\"##ed\":5,"
                  "\"!\":6,\"cafe\":7,\"\\u4e2d\":8,\"p\":9,\"##lay\":10}}}");
    check_encode(t, "Playing, PLAYED!", BOTH, "1 3 4 0 3 5 6 2");
    check_encode(t, "caf\xC3\xA9\xE4\xB8\xAD play", 0, "7 8 3");
    check_encode(t, "playx xplay", 0, "0 0"); /* one piece is missing: the whole word is unknown */
    check_encode(t, "playingeding playingedinging", 0, "3 4 5 4 0"); /* of 12 characters, and of more */
    check_decode(t, (const int32_t[]){1, 3, 4, 6, 2}, 5, DECODE_SKIP_SPECIAL, "playing!");
    assert_int_equal(tokenizer_find(t, "ing", 3), 4);
    tokenizer_close(t);
}

static void test_unigram(void **state) {
    (void)state;
    Tokenizer *t = open_text(
        "tokenizer.json",
        "{\"added_tokens\":[],\"normalizer\":null,"
        "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":"
        "true},"
        "\"post_processor\":null,\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\","
        "\"prepend_scheme\":\"always\",\"split\":true},"
        "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"\\u2581\",-3],[\"a\",-2],[\"b\",-2],"
        "[\"ab\",-3.5],[\"\\u2581a\",-2.5],[\"bab\",-4]]}}");
    check_encode(t, "ab", 0, "5 3");     /* -4.5, not -6.5 by "_" and "ab" */
    check_encode(t, "abab", 0, "5 6");   /* -6.5, not -8 */
    check_encode(t, "axxb", 0, "5 0 3"); /* neighbours that are unknown are one */
    check_decode(t, (const int32_t[]){5, 6, 1, 2}, 4, 0, "abab a");
    tokenizer_close(t);
}

/* ---- files side by side ----------------------------------------------------------------------------------------- */

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/houle_tokenizer_XXXXXX");
    return mkdtemp(folder) == NULL;
}

static const char *const written[] = {"tiktoken.model", "tokenizer_config.json",   "tekken.json",   "vocab.json",
                                      "merges.txt",     "special_tokens_map.json", "tokenizer.json"};

static int remove_folder(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(written); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, written[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static void save(const char *name, const char *content) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, strlen(content), file), strlen(content));
    assert_int_equal(fclose(file), 0);
}

static Tokenizer *open_saved(void) {
    Tokenizer *t;
    Error err = {0};
    if (tokenizer_open(folder, &t, &err) != OK)
        fail_msg("%s", err.text);
    return t;
}

/* Ranks are ids; special tokens come from the configuration, the unnamed of the reserved ones get names. */
static void test_tiktoken(void **state) {
    (void)state;
    save("tiktoken.model", "YQ== 0\nYg== 1\nIA== 2\nYWI= 3\nIGFi 4\r\n4g== 5\n");
    save("tokenizer_config.json",
         "{\"tokenizer_class\":\"TikTokenTokenizer\",\"bos_token\":\"[BOS]\",\"eos_token\":\"[EOS]\",\"added_tokens_"
         "decoder\":"
         "{\"6\":{\"content\":\"[BOS]\",\"special\":true},\"7\":{\"content\":\"[EOS]\",\"special\":true}}}");
    Tokenizer *t = open_saved();
    check_encode(t, "ab ab ba", 0, "3 4 2 1 0");
    check_encode(t, "a[EOS]<|reserved_token_9|>", ENCODE_PARSE_SPECIAL, "0 7 9");
    check_ids(t, "a\xE2z", 3, 0, "0 5"); /* the byte that is no UTF-8 has a token, z has none */
    assert_int_equal(tokenizer_special(t, SPECIAL_BOS), 6);
    assert_int_equal(tokenizer_special(t, SPECIAL_EOS), 7);
    assert_true(tokenizer_ends(t, 7) && !tokenizer_ends(t, 6));
    tokenizer_close(t);

    Error err = {0};
    save("tokenizer_config.json", "{\"tokenizer_class\":\"UnheardOf\"}");
    assert_int_equal(tokenizer_open(folder, &t, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "UnheardOf"));
    assert_int_equal(remove_folder(NULL), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void test_tekken(void **state) {
    (void)state;
    save("tekken.json", "{\"config\":{\"pattern\":\"[a-z]+| "
                        "+\",\"num_vocab_tokens\":9,\"default_vocab_size\":6,\"default_num_special_tokens\":3,"
                        "\"version\":\"v3\"},\"vocab\":[{\"rank\":0,\"token_bytes\":\"YQ==\",\"token_str\":\"a\"},"
                        "{\"rank\":1,\"token_bytes\":\"Yg==\",\"token_str\":\"b\"},{\"rank\":2,\"token_bytes\":\"YWI="
                        "\",\"token_str\":\"ab\"},"
                        "{\"rank\":3,\"token_bytes\":\"YWJh\",\"token_str\":\"aba\"}]}");
    Tokenizer *t = open_saved();
    check_encode(t, "aabab", ENCODE_ADD_SPECIAL, "1 3 5 5");
    check_encode(t, "</s>a", ENCODE_PARSE_SPECIAL, "2 3");
    assert_int_equal(tokenizer_count(t), 6); /* the fourth piece is beyond the size of the vocabulary */
    assert_true(tokenizer_adds_bos(t));
    check_decode(t, (const int32_t[]){1, 5, 4}, 3, 0, "<s>abb");
    tokenizer_close(t);
    assert_int_equal(remove_folder(NULL), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void test_merges_txt(void **state) {
    (void)state;
    save("vocab.json", "{\"a\":0,\"b\":1,\"\\u0120\":2,\"ab\":3,\"\\u0120ab\":4,\"<|endoftext|>\":5}");
    save("merges.txt", "#version: 0.2\na b\n\xC4\xA0 ab\n");
    save("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\",\"eos_token\":\"<|endoftext|>\"}");
    Tokenizer *t = open_saved();
    check_encode(t, "ab ab", BOTH, "3 4");
    check_decode(t, (const int32_t[]){3, 4}, 2, 0, "ab ab");
    assert_int_equal(tokenizer_special(t, SPECIAL_EOS), 5);
    tokenizer_close(t);
    assert_int_equal(remove_folder(NULL), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
}

/* ---- files that contradict themselves --------------------------------------------------------------------------- */

static void test_refuses(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[]",
        "{}",
        "null",
        "{\"model\":null}",
        "{\"model\":{}}",
        "{\"model\":{\"type\":\"BPE\"}}",
        "{\"model\":{\"type\":\"Nope\",\"vocab\":{\"a\":0}}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999},\"merges\":[]}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[1]}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}trailing",
        "{\"model\":{\"type\":\"Unigram\",\"unk_id\":5,\"vocab\":[[\"a\",0]]}}",
        "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}",
        "{\"pre_tokenizer\":{\"type\":\"Nope\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
        ("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\",\"invert\":"
         "false},"
         "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}"),
        ("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"////\"},"
         "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}"),
        "{\"decoder\":{\"type\":\"Nope\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
        "{\"added_tokens\":[{\"content\":\"x\"}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
        "{\"config\":{},\"vocab\":[]}",
        "{\"config\":{\"pattern\":\"a\",\"default_vocab_size\":9,\"default_num_special_tokens\":1},\"vocab\":[]}",
        "YQ== 0\n!! 1\n",
        "YQ== 0\nYg==\n",
        "\x0A\xFF\xFF\xFF\xFF\x0F",
        "\x0A\x02\x0A",
        "neither this nor that",
    };
    const size_t before = mem_bytes_total();
    for (size_t i = 0; i < COUNT(bad); i++) {
        Tokenizer *t;
        Error err = {0};
        const Status status =
            tokenizer_open_bytes("some.file", (const uint8_t *)bad[i], strlen(bad[i]), "/nonexistent", &t, &err);
        if (status != ERR_FORMAT && status != ERR_UNSUPPORTED)
            fail_msg("%s: %s", bad[i], status_word(status));
        assert_null(t);
        if (strstr(err.text, "some.file") == NULL)
            fail_msg("%s: \"%s\" does not name the file", bad[i], err.text);
        assert_int_equal(mem_bytes_total(), before);
    }
    Tokenizer *t;
    Error err = {0};
    assert_int_equal(tokenizer_open("/nonexistent/model", &t, &err), ERR_NOT_FOUND);
    assert_int_equal(tokenizer_open(folder, &t, NULL), ERR_NOT_FOUND);
}

/* Each golden file with bytes changed, or cut: an error or a tokenizer that works, never a crash. */
static void test_damaged_files(void **state) {
    (void)state;
    static const char *const files[] = {
        "tokenizer/synth/synth_bytebpe/tokenizer.json", "tokenizer/synth/synth_unigram/tokenizer.json",
        "tokenizer/synth/synth_spmbpe/tokenizer.model", "tokenizer/synth/synth_unigram/tokenizer.model"};
    enum { TRIES = 150, CHANGES = 4 };
    const size_t before = mem_bytes_total();
    int opened = 0;
    for (size_t i = 0; i < COUNT(files); i++) {
        char path[GOLDEN_PATH_BYTES], *content, *copy;
        size_t bytes;
        unsigned seed = 11;
        assert_non_null(golden_path(path, files[i]));
        assert_int_equal(file_read(path, (size_t)1 << 24, &content, &bytes, NULL), OK);
        copy = mem_alloc(bytes, MEM_TEXT);
        for (int k = 0; k < TRIES; k++) {
            memcpy(copy, content, bytes);
            const size_t count = k % 3 == 0 ? random_below(&seed, (unsigned)bytes) : bytes;
            const size_t near = k % 2 == 0 ? MIN(bytes, 400) : bytes; /* the settings are at the ends */
            for (int c = 0; c < CHANGES; c++)
                copy[random_below(&seed, (unsigned)near)] = (char)random_below(&seed, 256);
            Tokenizer *t;
            if (tokenizer_open_bytes(path, (const uint8_t *)copy, count, "/nonexistent", &t, NULL) != OK)
                continue;
            opened++;
            TokenIds ids = {0};
            Text text = {0};
            if (tokenizer_encode(t, "The caf\xC3\xA9 \xFF 123\n\0<s>", 21, BOTH, &ids, NULL) == OK)
                assert_int_equal(tokenizer_decode(t, ids.ids, ids.count, 0, &text, NULL), OK);
            assert_true(utf8_valid(text.bytes, text.count));
            text_free(&text);
            token_ids_free(&ids);
            tokenizer_close(t);
        }
        mem_free(copy);
        mem_free(content);
    }
    assert_true(opened > 0);
    assert_int_equal(mem_bytes_total(), before);
}

/* ---- texts of any bytes ----------------------------------------------------------------------------------------- */

/* What decoding gives for bytes that went through a byte-level vocabulary: each bad part is one U+FFFD. */
static void mend(const char *bytes, size_t count, Text *mended) {
    for (size_t at = 0; at < count;) {
        uint32_t c;
        int bad = 1;
        const int length = utf8_decode(bytes + at, count - at, &c, &bad);
        text_append_code_point(mended, length > 0 ? c : 0xFFFD);
        at += (size_t)(length > 0 ? length : bad);
    }
}

/* A byte-level vocabulary without a normaliser loses nothing: NUL, unassigned characters, and bytes that are no UTF-8.
 */
static void test_any_bytes_come_back(void **state) {
    (void)state;
    Tokenizer *t = open_golden("tokenizer/synth/synth_bytebpe/vocab.gguf");
    unsigned seed = 3;
    for (int i = 0; i < 2000; i++) {
        char bytes[160];
        size_t count = 0;
        while (count < 150 && random_below(&seed, 60) != 0) {
            uint32_t c = random_below(&seed, 4) == 0 ? random_below(&seed, 0x110000) : random_below(&seed, 0x300);
            if (c >= 0xD800 && c < 0xE000)
                c = 0;
            if (i % 2 == 0)
                count += (size_t)utf8_encode(c, bytes + count);
            else
                bytes[count++] = (char)random_below(&seed, 256);
        }
        TokenIds ids = {0};
        Text text = {0}, want = {0};
        assert_int_equal(tokenizer_encode(t, bytes, count, 0, &ids, NULL), OK);
        assert_int_equal(tokenizer_decode(t, ids.ids, ids.count, 0, &text, NULL), OK);
        mend(bytes, count, &want);
        assert_int_equal(text.count, want.count);
        if (want.count > 0)
            assert_memory_equal(text.bytes, want.bytes, want.count);
        text_free(&text);
        text_free(&want);
        token_ids_free(&ids);
    }
    tokenizer_close(t);
}

/* Any ids through a stream: what it gives is what decoding gives, and never half a character. Valid and nonsense ids.
 */
static void test_streams(void **state) {
    (void)state;
    for (size_t f = 0; f < COUNT(golden_files); f++) {
        Tokenizer *t = open_golden(golden_files[f]);
        unsigned seed = (unsigned)f + 1;
        TokenizerStream *stream;
        for (int flags = 0; flags <= DECODE_SKIP_SPECIAL; flags++) {
            assert_int_equal(tokenizer_stream_open(t, (unsigned)flags, &stream, NULL), OK);
            for (int i = 0; i < 300; i++) { /* flushed, it starts anew */
                int32_t ids[24];
                const size_t count = random_below(&seed, COUNT(ids));
                for (size_t k = 0; k < count; k++) /* bytes are the first few hundred ids */
                    ids[k] = (int32_t)random_below(
                                 &seed, random_below(&seed, 2) == 0 ? 270 : (unsigned)tokenizer_count(t) + 9) -
                             3;
                Text all = {0}, whole = {0};
                for (size_t k = 0; k <= count; k++) {
                    const size_t start = all.count;
                    const Status status = k < count ? tokenizer_stream_push(stream, ids[k], &all, NULL)
                                                    : tokenizer_stream_flush(stream, &all, NULL);
                    assert_int_equal(status, OK);
                    assert_true(all.count == start || utf8_valid(all.bytes + start, all.count - start));
                }
                assert_int_equal(tokenizer_decode(t, ids, count, (unsigned)flags, &whole, NULL), OK);
                assert_int_equal(all.count, whole.count);
                if (whole.count > 0)
                    assert_memory_equal(all.bytes, whole.bytes, whole.count);
                text_free(&all);
                text_free(&whole);
            }
            tokenizer_stream_close(stream);
        }
        tokenizer_close(t);
    }
}

/* Each id has a piece, and the piece leads back to an id with the same piece. */
static void test_pieces(void **state) {
    (void)state;
    for (size_t f = 0; f < COUNT(golden_files); f++) {
        Tokenizer *t = open_golden(golden_files[f]);
        for (int32_t id = 0; id < tokenizer_count(t); id++) {
            const char *piece, *same;
            size_t count, same_count;
            assert_int_equal(tokenizer_piece(t, id, &piece, &count), tokenizer_flags(t, id) != 0);
            if (tokenizer_flags(t, id) == 0 || count == 0 || id == tokenizer_special(t, SPECIAL_UNK))
                continue; /* the unknown is shown as something that it is not */
            const int32_t found = tokenizer_find(t, piece, count);
            if (found < 0)
                fail_msg("%s: id %d, \"%.*s\" is not found", golden_files[f], (int)id, (int)count, piece);
            assert_true(tokenizer_piece(t, found, &same, &same_count));
            assert_int_equal(same_count, count);
            assert_memory_equal(same, piece, count);
        }
        tokenizer_close(t);
    }
}

/* A text of one megabyte in a single word, and others that slow loops fear: time stays in proportion. */
static void test_long_texts(void **state) {
    (void)state;
    enum {
        BYTES = 1 << 20,
        MOST_US = 20000000
    }; /* it takes about a quarter second; sanitizers and busy machines more */
    static const char *const patterns[] = {"a",        " ", "\n",   "7", "ab",       "a ", "\xE4\xB8\xAD",
                                           "\xCC\x81", "'", "\xFF", "<", "the cat. "};
    char *text = mem_alloc(BYTES, MEM_TEXT);
    for (size_t f = 0; f < COUNT(golden_files); f++) {
        Tokenizer *t = open_golden(golden_files[f]);
        for (size_t p = 0; p < COUNT(patterns); p++) {
            const size_t length = strlen(patterns[p]);
            for (size_t i = 0; i < BYTES; i++)
                text[i] = patterns[p][i % length];
            TokenIds ids = {0};
            const uint64_t began = clock_us();
            assert_int_equal(tokenizer_encode(t, text, BYTES, BOTH, &ids, NULL), OK);
            const uint64_t took = clock_us() - began;
            if (took > MOST_US)
                fail_msg("%s: a megabyte of \"%s\" took %.1f s", golden_files[f], patterns[p], (double)took / 1e6);
            token_ids_free(&ids);
        }
        tokenizer_close(t);
    }
    mem_free(text);
    Tokenizer *t = open_golden(golden_files[0]);
    Error err = {0};
    TokenIds ids = {0};
    assert_int_equal(tokenizer_encode(t, "", (size_t)ENCODE_MAX_BYTES + 1, 0, &ids, &err), ERR_LIMIT);
    tokenizer_close(t);
}

/* ---- threads and memory ----------------------------------------------------------------------------------------- */

typedef struct Worker {
    const Tokenizer *tokenizer;
    const TokenIds *want;
    const char *text;
    bool same;
} Worker;

static void *encode_often(void *user) {
    Worker *w = user;
    w->same = true;
    for (int i = 0; i < 200; i++) {
        TokenIds ids = {0};
        w->same = w->same && tokenizer_encode(w->tokenizer, w->text, strlen(w->text), BOTH, &ids, NULL) == OK &&
                  ids.count == w->want->count && memcmp(ids.ids, w->want->ids, ids.count * sizeof *ids.ids) == 0;
        token_ids_free(&ids);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    static const char text[] = "Many hands make light work, don't they? 1234 caf\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87\n";
    for (size_t f = 0; f < COUNT(golden_files); f++) {
        Tokenizer *t = open_golden(golden_files[f]);
        TokenIds want = {0};
        assert_int_equal(tokenizer_encode(t, text, strlen(text), BOTH, &want, NULL), OK);
        Worker workers[4];
        pthread_t threads[COUNT(workers)];
        for (size_t i = 0; i < COUNT(workers); i++) {
            workers[i] = (Worker){.tokenizer = t, .want = &want, .text = text};
            assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &workers[i]), 0);
        }
        for (size_t i = 0; i < COUNT(workers); i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_true(workers[i].same);
        }
        token_ids_free(&want);
        tokenizer_close(t);
    }
}

/* Opens, encodes a text of many kinds, decodes and streams it. */
static Status use(const char *path, Error *err) {
    static const char text[] =
        "The caf\xC3\xA9, \xEF\xAC\x81ne 12345's \xF0\x9F\xA9\xB7<|im_end|> \xE2\x84\xA6\xFF\xCC\x81 x\n\n"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    Tokenizer *t;
    TokenIds ids = {0};
    Text whole = {0}, parts = {0};
    TokenizerStream *stream = NULL;
    TRY(tokenizer_open(path, &t, err));
    Status status = tokenizer_encode(t, text, strlen(text), BOTH, &ids, err);
    if (status == OK)
        status = tokenizer_decode(t, ids.ids, ids.count, 0, &whole, err);
    if (status == OK)
        status = tokenizer_stream_open(t, DECODE_SKIP_SPECIAL, &stream, err);
    for (size_t i = 0; i < ids.count && status == OK; i++)
        status = tokenizer_stream_push(stream, ids.ids[i], &parts, err);
    if (status == OK)
        status = tokenizer_stream_flush(stream, &parts, err);
    tokenizer_stream_close(stream);
    text_free(&parts);
    text_free(&whole);
    token_ids_free(&ids);
    tokenizer_close(t);
    return status;
}

/* The 1st, 2nd, ... allocation fails: ERR_MEMORY each time (a cache may do without), nothing lost. */
static void use_without_memory(const char *path, long at_least) {
    const size_t before = mem_bytes_total();
    long n = 1;
    int errors = 0;
    for (;; n++) {
        Error err = {0};
        mem_fail_at(n);
        const Status status = use(path, &err);
        const bool struck = mem_fail_hit();
        mem_fail_at(0);
        if (mem_bytes_total() != before)
            fail_msg("%s: allocation %ld failed and %zu bytes were lost", path, n, mem_bytes_total() - before);
        if (!struck) {
            assert_int_equal(status, OK);
            break;
        }
        if (status != ERR_MEMORY && status != OK)
            fail_msg("allocation %ld of %s: %s, \"%s\"", n, path, status_word(status), err.text);
        errors += status == ERR_MEMORY;
    }
    assert_true(n > at_least);
    assert_true(errors > n / 2);
}

static void test_without_memory(void **state) {
    (void)state;
    for (size_t f = 0; f < COUNT(golden_files); f++) {
        char path[GOLDEN_PATH_BYTES];
        assert_non_null(golden_path(path, golden_files[f]));
        use_without_memory(path, 20);
    }
    save("tiktoken.model", "YQ== 0\nYg== 1\nIA== 2\nYWI= 3\nIGFi 4\n4g== 5\n");
    save("tokenizer_config.json", "{\"tokenizer_class\":\"TikTokenTokenizer\",\"eos_token\":\"[EOS]\","
                                  "\"added_tokens_decoder\":{\"6\":{\"content\":\"[EOS]\",\"special\":true}}}");
    use_without_memory(folder, 20);
    save("tokenizer.json", small_bpe);
    use_without_memory(folder, 20);
    assert_int_equal(remove_folder(NULL), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe),
        cmocka_unit_test(test_wordpiece),
        cmocka_unit_test(test_unigram),
        cmocka_unit_test(test_tiktoken),
        cmocka_unit_test(test_tekken),
        cmocka_unit_test(test_merges_txt),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_any_bytes_come_back),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
