/* test_archive.c - what the server keeps: changes from several threads. */
#include "format/json.h"
#include "serve/archive.h"

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

int main(void) {
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets_beside_transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
