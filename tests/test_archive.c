/* test_archive.c - what the server keeps of answers: changes from several threads, and answers that are made while
 * memory runs out. */
#include "base/mem.h"
#include "format/json.h"
#include "serve/archive.h"
#include "serve/responses.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- several threads --------------------------------------------------------------------------------------------- */

enum { PRESETS = 2000 };

static void *keep_presets(void *user) {
    Archive *archive = user;
    json_t *preset = json_pack("{s:s}", "from", "another");
    for (int i = 0; i < PRESETS; i++) {
        char name[32];
        snprintf(name, sizeof name, "preset-%d", i);
        assert_int_equal(archive_put_preset(archive, name, preset, NULL), OK);
    }
    json_decref(preset);
    return NULL;
}

/* A conversation that is not there ends its transaction as if nothing had been done in it; presets that another thread
 * kept meanwhile were lost with it, although their requests had been answered. */
static void test_presets_beside_transactions(void **state) {
    (void)state;
    const ArchiveSpec spec = {.budget_bytes = 1 << 20, .keep_s = 3600};
    Archive *archive;
    json_t *items, *presets;
    pthread_t thread;
    assert_int_equal(archive_open(&spec, &archive, NULL), OK);
    assert_int_equal(pthread_create(&thread, NULL, keep_presets, archive), 0);
    for (int i = 0; i < PRESETS; i++)
        assert_int_equal(archive_conversation(archive, "resp_none", "", 1 << 20, &items, NULL), ERR_NOT_FOUND);
    pthread_join(thread, NULL);
    assert_int_equal(archive_presets(archive, &presets, NULL), OK);
    assert_int_equal(json_object_size(presets), PRESETS);
    json_decref(presets);
    archive_close(archive);
}

/* ---- without memory ---------------------------------------------------------------------------------------------- */

static void take(ResponseMaker *maker, PieceKind kind, const char *text) {
    Text none = {0};
    const Piece piece = {.kind = kind, .id = "call_1", .name = "tide", .text = text, .bytes = strlen(text)};
    response_take(maker, &piece, &none);
    text_free(&none);
}

/* All that a maker makes of an answer with reasoning, a call and a text. */
static void make_items(ResponseMaker *maker, json_t *body) {
    *maker = (ResponseMaker){.id = "resp_1", .body = json_incref(body), .encrypted = true};
    take(maker, PIECE_REASONING, "What is asked for is known, but it takes a while to be told. ");
    take(maker, PIECE_REASONING, "So it is told.");
    take(maker, PIECE_CALL, "");
    take(maker, PIECE_ARGUMENTS, "{\"port\": \"Brest\"}");
    take(maker, PIECE_CALL_END, "");
    take(maker, PIECE_TEXT, "The tide is high.");
    take(maker, PIECE_CALL, "");
}

/* An item that there was no memory for was left out, or cut, and the answer said to be complete. */
static void test_items_without_memory(void **state) {
    (void)state;
    ResponseMaker maker;
    json_t *whole = json_pack("{s:[]}", "output");
    make_items(&maker, whole);
    assert_false(maker.failed);
    assert_int_equal(json_array_size(json_object_get(whole, "output")), 3);
    response_maker_free(&maker);
    const size_t bytes = mem_bytes_total();
    bool struck = true;
    for (long n = 1; struck; n++) {
        json_t *body = json_pack("{s:[]}", "output");
        mem_fail_at(n);
        make_items(&maker, body);
        struck = mem_fail_hit();
        mem_fail_at(0);
        if (!maker.failed)
            assert_true(json_equal(body, whole));
        response_maker_free(&maker);
        json_decref(body);
        assert_int_equal(mem_bytes_total(), bytes);
    }
    json_decref(whole);
}

int main(void) {
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets_beside_transactions),
        cmocka_unit_test(test_items_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
