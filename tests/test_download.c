/* test_download.c - what a download leaves on the disk: maps of chunks, partial files, checksums. Cut off anywhere, or
 * with any bit wrong, they say less than they said, never more. Downloads themselves are in store_network_test.py. */
#include "scratch.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "store/chunk_map.h"
#include "store/hash_files.h"
#include "store/partial.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

static const uint8_t identity[CHUNK_HASH_BYTES] = "what it is about";
static const uint8_t boot_1[CHUNK_BOOT_BYTES] = "first boot", boot_2[CHUNK_BOOT_BYTES] = "second boot";

typedef struct Log {
    uint8_t bytes[4096];
    size_t count;
} Log;

static void add_record(Log *log, const uint8_t record[CHUNK_RECORD_BYTES]) {
    memcpy(log->bytes + log->count, record, CHUNK_RECORD_BYTES);
    log->count += CHUNK_RECORD_BYTES;
}

/* 5 chunks: 0 and 3 made durable, then 1, and 0 taken back. */
static void make_log(Log *log, ChunkMap *map) {
    uint8_t record[CHUNK_RECORD_BYTES], hash[CHUNK_HASH_BYTES] = {7};
    log->count = CHUNK_HEADER_BYTES;
    chunk_write_header(map, identity, log->bytes);
    chunk_write_session(boot_1, record);
    add_record(log, record);
    chunk_write_done(0, hash, record);
    add_record(log, record);
    chunk_write_done(3, hash, record);
    add_record(log, record);
    chunk_write_durable(3, record);
    add_record(log, record);
    chunk_write_done(1, hash, record);
    add_record(log, record);
    chunk_write_undone(0, record);
    add_record(log, record);
}

static void test_chunk_map(void **state) {
    (void)state;
    ChunkMap map;
    Log log;
    size_t good;
    assert_int_equal(chunk_map_init(&map, 4500, 1000, NULL), OK);
    assert_int_equal(map.n_chunk, 5);
    assert_int_equal(chunk_length(&map, 4), 500);
    make_log(&log, &map);
    chunk_map_replay(&map, log.bytes, log.count, identity, boot_1, &good);
    assert_int_equal(good, log.count);
    static const uint8_t same[] = {CHUNK_MISSING, CHUNK_DONE, CHUNK_MISSING, CHUNK_DONE, CHUNK_MISSING};
    assert_memory_equal(map.states, same, 5);
    assert_int_equal(map.n_done, 2);
    assert_int_equal(map.done_bytes, 2000);
    assert_int_equal(chunk_map_frontier(&map), 0);
    /* After another start of the machine, what no DURABLE covers is doubtful; where the boot is not known, too. */
    static const uint8_t unknown[CHUNK_BOOT_BYTES] = {0};
    static const uint8_t after[] = {CHUNK_MISSING, CHUNK_DOUBTFUL, CHUNK_MISSING, CHUNK_DONE, CHUNK_MISSING};
    for (int i = 0; i < 2; i++) {
        chunk_map_clear(&map);
        chunk_map_replay(&map, log.bytes, log.count, identity, i == 0 ? boot_2 : unknown, &good);
        assert_memory_equal(map.states, after, 5);
        assert_int_equal(map.n_done, 1);
    }
    /* Of other content, other size or other version: nothing is believed. */
    static const uint8_t other[CHUNK_HASH_BYTES] = "something else";
    chunk_map_clear(&map);
    chunk_map_replay(&map, log.bytes, log.count, other, boot_1, &good);
    assert_int_equal(good, 0);
    assert_int_equal(map.n_done, 0);
    chunk_map_free(&map);
    assert_int_equal(chunk_map_init(&map, 4501, 1000, NULL), OK);
    chunk_map_replay(&map, log.bytes, log.count, identity, boot_1, &good);
    assert_int_equal(good, 0);
    chunk_map_free(&map);
    assert_int_equal(chunk_map_init(&map, 0, 1000, NULL), OK);
    assert_int_equal(map.n_chunk, 0);
    chunk_map_free(&map);
}

/* Cut anywhere, or with any bit wrong, a log says less than it said, never more. */
static void test_torn_logs(void **state) {
    (void)state;
    ChunkMap map;
    Log log;
    size_t good;
    assert_int_equal(chunk_map_init(&map, 4500, 1000, NULL), OK);
    make_log(&log, &map);
    for (size_t cut = 0; cut <= log.count; cut++) {
        chunk_map_clear(&map);
        chunk_map_replay(&map, log.bytes, cut, identity, boot_1, &good);
        assert_true(good <= cut && (good == 0 || (good - CHUNK_HEADER_BYTES) % CHUNK_RECORD_BYTES == 0));
        assert_true(map.states[2] == CHUNK_MISSING && map.states[4] == CHUNK_MISSING);
        assert_true(good == log.count || map.n_done <= 3);
    }
    for (size_t at = 0; at < log.count; at++) {
        log.bytes[at] ^= 0x10;
        chunk_map_clear(&map);
        chunk_map_replay(&map, log.bytes, log.count, identity, boot_1, &good);
        assert_true(good <= at);
        log.bytes[at] ^= 0x10;
    }
    chunk_map_free(&map);
}

/* ---- partial files ----------------------------------------------------------------------------------------------- */

enum { PIECE = 1000, PIECES = 5, WHOLE = 4500 };

static void fill_chunk(Partial *p, size_t chunk, uint8_t value) {
    uint8_t bytes[PIECE], hash[DIGEST_BYTES];
    const size_t n = (size_t)partial_chunk_length(p, chunk);
    memset(bytes, value, n);
    Digest digest;
    assert_int_equal(digest_begin(&digest, DIGEST_SHA256, NULL), OK);
    digest_add(&digest, bytes, n);
    assert_int_equal(digest_end_bytes(&digest, hash, NULL), OK);
    assert_int_equal(partial_write(p, partial_chunk_start(p, chunk), bytes, n, NULL), OK);
    assert_int_equal(partial_mark(p, chunk, hash, NULL), OK);
}

static void test_partial_files_resume(void **state) {
    (void)state;
    int folder;
    Error err = {0};
    assert_int_equal(folder_open(scratch, false, &folder, NULL), OK);
    Partial *p, *second;
    assert_int_equal(partial_open(folder, "x", WHOLE, PIECE, &p, &err), OK);
    assert_int_equal(partial_open(folder, "x", WHOLE, PIECE, &second, NULL), ERR_BUSY);
    fill_chunk(p, 0, 1);
    fill_chunk(p, 2, 2);
    assert_int_equal(partial_frontier(p), PIECE);
    partial_close(p);
    assert_int_equal(partial_peek(folder, "x", WHOLE, PIECE), 2 * PIECE);
    assert_int_equal(partial_open(folder, "x", WHOLE, PIECE, &p, &err), OK);
    assert_true(partial_has(p, 0) && partial_has(p, 2) && !partial_has(p, 1));
    assert_int_equal(partial_sync(p, &err), OK);
    for (size_t i = 0; i < PIECES; i++)
        if (!partial_has(p, i))
            fill_chunk(p, i, (uint8_t)i);
    /* A disk that lost bytes: the chunk is missing again, the others stay. */
    assert_int_equal(partial_write(p, 2100, "X", 1, &err), OK);
    size_t altered;
    assert_int_equal(partial_recheck(p, &altered, &err), OK);
    assert_int_equal(altered, 1);
    assert_false(partial_has(p, 2));
    assert_int_equal(partial_publish(p, folder, "out", false, NULL), ERR_INTERNAL);
    fill_chunk(p, 2, 9);
    write_text("out", "the user's own");
    assert_int_equal(partial_publish(p, folder, "out", false, NULL), ERR_DENIED);
    assert_int_equal(partial_publish(p, folder, "out", true, &err), OK);
    partial_close(p);
    char *path = in_scratch("out"), *content;
    size_t bytes;
    assert_int_equal(file_read(path, WHOLE, &content, &bytes, &err), OK);
    assert_int_equal(bytes, WHOLE);
    assert_int_equal(content[2999], 9);
    mem_free(content);
    mem_free(path);
    assert_int_equal(partial_peek(folder, "x", WHOLE, PIECE), 0);
    close(folder);
}

/* The map's first record says in which boot it was written: as if the machine had been switched off since. */
static void pretend_other_boot(int folder, const char *what) {
    char name[PARTIAL_NAME_BYTES], map[PARTIAL_NAME_BYTES + 8];
    uint8_t record[CHUNK_RECORD_BYTES];
    assert_int_equal(partial_name(what, name, NULL), OK);
    snprintf(map, sizeof map, "%s.map", name);
    const int fd = openat(folder, map, O_RDWR);
    assert_true(fd >= 0);
    chunk_write_session(boot_2, record);
    assert_int_equal(pwrite(fd, record, sizeof record, CHUNK_HEADER_BYTES), sizeof record);
    close(fd);
}

static void test_partial_files_after_a_power_cut(void **state) {
    (void)state;
    int folder;
    Error err = {0};
    assert_int_equal(folder_open(scratch, false, &folder, NULL), OK);
    Partial *p;
    assert_int_equal(partial_open(folder, "x", WHOLE, PIECE, &p, &err), OK);
    fill_chunk(p, 0, 1);
    assert_int_equal(partial_sync(p, &err), OK);
    fill_chunk(p, 1, 2);
    fill_chunk(p, 3, 4);
    /* What a power cut does: chunk 3 was noted, but its bytes never reached the disk. */
    assert_int_equal(partial_write(p, 3000, "\0\0\0\0", 4, &err), OK);
    partial_close(p);
    pretend_other_boot(folder, "x");
    assert_int_equal(partial_open(folder, "x", WHOLE, PIECE, &p, &err), OK);
    assert_true(partial_has(p, 0) && partial_has(p, 1) && !partial_has(p, 3));
    partial_close(p);
    /* In the same boot nothing is read again: the same damage is believed in (the file's checksum finds it). */
    assert_int_equal(partial_open(folder, "x", WHOLE, PIECE, &p, &err), OK);
    assert_int_equal(partial_write(p, 1000, "\0", 1, &err), OK);
    partial_close(p);
    assert_int_equal(partial_open(folder, "x", WHOLE, PIECE, &p, &err), OK);
    assert_true(partial_has(p, 1));
    partial_close(p);
    uint64_t freed;
    assert_int_equal(partial_discard(folder, "x", &freed, &err), OK);
    assert_true(freed > 0);
    assert_int_equal(partial_peek(folder, "x", WHOLE, PIECE), 0);
    close(folder);
}

static void test_links_are_not_followed(void **state) {
    (void)state;
    int folder, inner;
    const char *name;
    char *target = in_scratch("target"), *link_path = in_scratch("top/link"), *data = in_scratch("top/data");
    write_text("target/file", "precious");
    write_text("top/real/file", "x");
    assert_int_equal(symlink(target, link_path), 0);
    char *top = in_scratch("top");
    assert_int_equal(folder_open(top, false, &folder, NULL), OK);
    assert_int_equal(folder_open_below(folder, "link", false, &inner, NULL), ERR_DENIED);
    assert_int_equal(folder_open_below(folder, "link/new", true, &inner, NULL), ERR_DENIED);
    assert_int_equal(folder_open_parent(folder, "link/file", false, &inner, &name, NULL), ERR_DENIED);
    assert_int_equal(folder_open_below(folder, "../target", false, &inner, NULL), ERR_DENIED);
    assert_int_equal(folder_open_below(folder, "real", false, &inner, NULL), OK);
    close(inner);
    /* A link in the place of a download's data. */
    char digits[PARTIAL_NAME_BYTES], file[PARTIAL_NAME_BYTES + 8];
    assert_int_equal(partial_name("x", digits, NULL), OK);
    snprintf(file, sizeof file, "%s.data", digits);
    char *victim = in_scratch("target/file");
    assert_int_equal(symlinkat(victim, folder, file), 0);
    Partial *p;
    assert_int_equal(partial_open(folder, "x", WHOLE, PIECE, &p, NULL), ERR_DENIED);
    char *content;
    assert_int_equal(file_read(victim, 100, &content, NULL, NULL), OK);
    assert_string_equal(content, "precious");
    mem_free(content);
    close(folder);
    mem_free(victim);
    mem_free(top);
    mem_free(target);
    mem_free(link_path);
    mem_free(data);
}

/* ---- checksums --------------------------------------------------------------------------------------------------- */

static void test_checksums(void **state) {
    (void)state;
    char hex[DIGEST_HEX];
    assert_int_equal(digest_of_bytes(DIGEST_SHA256, "abc", 3, hex, NULL), OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(digest_of_bytes(DIGEST_SHA1, "blob 3\0abc", 10, hex, NULL), OK);
    assert_string_equal(hex, "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
    assert_true(digest_is_hex(DIGEST_SHA1, hex));
    assert_false(digest_is_hex(DIGEST_SHA256, hex));
    assert_false(digest_is_hex(DIGEST_SHA1, "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7g"));
    write_text("one", "abc");
    char *one = in_scratch("one"), *none = in_scratch("none");
    HashTask tasks[3] = {{.path = one, .bytes = 3, .git = true}, {.path = none, .bytes = 3}, {.path = scratch}};
    assert_int_equal(hash_files(tasks, 3, NULL, "hashing", NULL), OK);
    assert_int_equal(tasks[0].status, OK);
    assert_string_equal(tasks[0].git_sha1, hex);
    assert_int_equal(tasks[1].status, ERR_NOT_FOUND);
    assert_int_equal(tasks[2].status, ERR_IO);
    mem_free(one);
    mem_free(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_chunk_map),
        TEST(test_torn_logs),
        TEST(test_partial_files_resume),
        TEST(test_partial_files_after_a_power_cut),
        TEST(test_links_are_not_followed),
        TEST(test_checksums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
