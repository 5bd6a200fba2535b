/* test_store.c - the models that are here: the index, resolving, removing, verifying, other programs' caches, packages.
 * What needs a hub is in store_test.py. */
#include "scratch.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/manifest.h"
#include "store/pull.h"
#include "store/store.h"
#include "store/store_work.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define SHA_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

/* ---- the index and what is found through it ---------------------------------------------------------------------- */

static StoreModel sample_model(const char *name, const char *root, ModelFile *file) {
    *file = (ModelFile){.path = "x.gguf",
                        .bytes = 3,
                        .identity = "sha256:x",
                        .git_sha1 = "",
                        .present = true,
                        .sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"};
    return (StoreModel){.name = name,
                        .source = SOURCE_HUB,
                        .origin = "o",
                        .publisher = "p",
                        .licence = "mit",
                        .licence_link = "",
                        .revision = COMMIT,
                        .label = "Q8_0",
                        .root = root,
                        .entry = "x.gguf",
                        .owned = true,
                        .since = 1,
                        .files = file,
                        .n_file = 1};
}

static void add_owned(const char *name, const char *root) {
    StoreWork work;
    ModelFile file;
    StoreModel model = sample_model(name, root, &file);
    Error err = {0};
    char path[256];
    snprintf(path, sizeof path, ".local/share/houle/models/%s/x.gguf", root);
    write_text(path, "abc");
    assert_int_equal(store_work_open(&work, &err), OK);
    assert_int_equal(store_index_add(work.index, &model, NULL, &err), OK);
    store_work_close(&work);
}

static void test_resolving(void **state) {
    (void)state;
    char *path;
    Error err = {0};
    assert_int_equal(store_resolve("nothing", &path, &err), ERR_NOT_FOUND);
    assert_false(exists_below(".local")); /* asking makes nothing */
    add_owned("acme/Small-GGUF:Q8_0", "acme/Small-GGUF/Q8_0-1");
    add_owned("acme/Small-GGUF:Q4_0", "acme/Small-GGUF/Q4_0-1");
    add_owned("other/Large", "other/Large/1");
    error_clear(&err);
    assert_int_equal(store_resolve("small:q8_0", &path, &err), OK);
    assert_true(ends_with(path, "acme/Small-GGUF/Q8_0-1/x.gguf"));
    mem_free(path);
    assert_int_equal(store_resolve("small", &path, &err), ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "acme/Small-GGUF:Q4_0"));
    error_clear(&err);
    assert_int_equal(store_resolve("lagre", &path, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "did you mean other/Large?"));
    error_clear(&err);
    assert_int_equal(store_resolve("./missing.gguf", &path, &err), ERR_NOT_FOUND);
    error_clear(&err);
    assert_int_equal(store_resolve(scratch, &path, &err), OK);
    assert_string_equal(path, scratch);
    mem_free(path);
    /* What lies in the working folder comes before the store, unless it is a folder of something else. */
    assert_int_equal(chdir(scratch), 0);
    write_text("large/notes.txt", "not a model");
    assert_int_equal(store_resolve("large", &path, &err), OK);
    assert_true(ends_with(path, "other/Large/1/x.gguf"));
    mem_free(path);
    write_text("large/config.json", "{}");
    assert_int_equal(store_resolve("large", &path, &err), OK);
    assert_string_equal(path, "large");
    mem_free(path);
    write_text("small:q8_0", "a file");
    assert_int_equal(store_resolve("small:q8_0", &path, &err), OK);
    assert_string_equal(path, "small:q8_0");
    mem_free(path);
    assert_int_equal(store_resolve("large.gguf", &path, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "no such file or folder"));
    error_clear(&err);
    remove_tree("large");
    assert_int_equal(chdir("/"), 0);
    char *file = in_scratch(".local/share/houle/models/other/Large/1/x.gguf");
    unlink(file);
    assert_int_equal(store_resolve("large", &path, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "not there any more"));
    mem_free(file);
}

static void test_removing_deletes_only_its_own(void **state) {
    (void)state;
    Text report = {0};
    Error err = {0};
    add_owned("acme/one", "acme/one/1");
    write_text(".local/share/houle/models/acme/one/1/notes.txt", "mine");
    assert_int_equal(store_remove("one", &report, &err), OK);
    assert_false(exists_below(".local/share/houle/models/acme/one/1/x.gguf"));
    assert_true(exists_below(".local/share/houle/models/acme/one/1/notes.txt"));
    /* A file that was changed since is not the store's any more. */
    add_owned("acme/two", "acme/two/1");
    write_text(".local/share/houle/models/acme/two/1/x.gguf", "longer than before");
    assert_int_equal(store_remove("two", &report, &err), OK);
    assert_true(exists_below(".local/share/houle/models/acme/two/1/x.gguf"));
    /* A folder that became a link leads to files that are not the store's. */
    add_owned("acme/three", "acme/three/1");
    write_text("elsewhere/x.gguf", "abc");
    char *folder = in_scratch(".local/share/houle/models/acme/three/1"), *elsewhere = in_scratch("elsewhere");
    remove_tree(folder);
    assert_int_equal(symlink(elsewhere, folder), 0);
    assert_int_equal(store_remove("three", &report, &err), OK);
    assert_true(exists_below("elsewhere/x.gguf"));
    /* Two names of one folder: the files go with the second. */
    add_owned("acme/four", "acme/four/1");
    add_owned("acme/four@v1", "acme/four/1");
    assert_int_equal(store_remove("acme/four@v1", &report, &err), OK);
    assert_true(exists_below(".local/share/houle/models/acme/four/1/x.gguf"));
    assert_int_equal(store_remove("acme/four", &report, &err), OK);
    assert_false(exists_below(".local/share/houle/models/acme/four"));
    assert_int_equal(store_remove("acme/four", &report, &err), ERR_NOT_FOUND);
    add_owned("acme/small-4b", "acme/small-4b/1"); /* an end of the name is enough to run it, not to remove it */
    assert_int_equal(store_remove("4b", &report, NULL), ERR_ARGUMENT);
    assert_true(exists_below(".local/share/houle/models/acme/small-4b/1/x.gguf"));
    mem_free(folder);
    mem_free(elsewhere);
    text_free(&report);
}

/* Killed between the mark and the last deletion: the next one who opens the store finishes it. */
static void test_cut_off_removals_are_finished(void **state) {
    (void)state;
    StoreWork work;
    Error err = {0};
    StoreList list;
    add_owned("acme/one", "acme/one/1");
    assert_int_equal(store_work_open(&work, &err), OK);
    store_list_init(&list);
    assert_int_equal(store_work_list(&work, &list, &err), OK);
    assert_int_equal(store_index_mark_removing(work.index, list.items[0].id, &err), OK);
    store_work_close(&work);
    store_list_free(&list);
    char *path;
    assert_int_equal(store_resolve("acme/one", &path, NULL), ERR_NOT_FOUND);
    assert_true(exists_below(".local/share/houle/models/acme/one/1/x.gguf"));
    assert_int_equal(store_work_open(&work, &err), OK);
    store_work_close(&work);
    assert_false(exists_below(".local/share/houle/models/acme/one"));
}

static void test_damaged_index(void **state) {
    (void)state;
    char *path;
    Error err = {0};
    write_text(
        ".local/share/houle/index.db",
        "this is no database, but long enough to be taken for the head of one......."
        "........................................................................................................");
    assert_int_equal(store_resolve("x", &path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "index is damaged"));
}

static void test_verifying(void **state) {
    (void)state;
    StoreList list;
    VerifyReport report;
    Error err = {0};
    add_owned("acme/good", "acme/good/1");
    add_owned("acme/short", "acme/short/1");
    add_owned("acme/altered", "acme/altered/1");
    add_owned("acme/missing", "acme/missing/1");
    write_text(".local/share/houle/models/acme/short/1/x.gguf", "ab");
    write_text(".local/share/houle/models/acme/altered/1/x.gguf", "abd");
    char *missing = in_scratch(".local/share/houle/models/acme/missing/1/x.gguf");
    unlink(missing);
    mem_free(missing);
    store_list_init(&list);
    assert_int_equal(store_list(&list, &err), OK);
    assert_int_equal(list.count, 4);
    const StoreModel *models[4];
    for (size_t i = 0; i < 4; i++)
        models[i] = &list.items[i];
    assert_int_equal(store_verify(models, 4, NULL, &report, &err), OK);
    assert_int_equal(report.n_bad, 3);
    static const FileVerdict expected[] = {FILE_ALTERED, FILE_GOOD, FILE_MISSING, FILE_SHORT}; /* by name */
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(report.files[i].verdict, expected[i]);
    mem_free(report.files);
    store_list_free(&list);
    store_list_init(&list); /* what was found is remembered */
    assert_int_equal(store_list(&list, &err), OK);
    assert_true(list.items[0].files[0].damaged && !list.items[1].files[0].damaged);
    store_list_free(&list);
}

/* ---- other programs' caches -------------------------------------------------------------------------------------- */

static void make_caches(void) {
    write_text(".cache/huggingface/hub/models--acme--Cached/refs/main", COMMIT);
    write_text(".cache/huggingface/hub/models--acme--Cached/blobs/" SHA_A, "weights");
    write_text(".cache/huggingface/hub/models--acme--Cached/snapshots/" COMMIT "/config.json",
               "{\"torch_dtype\":\"bfloat16\"}");
    write_text(".cache/huggingface/hub/models--acme--Cached/snapshots/" COMMIT "/README.md",
               "---\nlicense: mit\n---\n# x");
    char *link_path = in_scratch(".cache/huggingface/hub/models--acme--Cached/snapshots/" COMMIT "/model.safetensors");
    assert_int_equal(symlink("../../blobs/" SHA_A, link_path), 0);
    mem_free(link_path);
    /* Interrupted: the index names a shard that is not there. */
    write_text(".cache/huggingface/hub/models--acme--Half/refs/main", COMMIT);
    write_text(".cache/huggingface/hub/models--acme--Half/snapshots/" COMMIT "/config.json", "{}");
    write_text(
        ".cache/huggingface/hub/models--acme--Half/snapshots/" COMMIT "/model.safetensors.index.json",
        "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\",\"b\":\"model-00002-of-00002.safetensors\"}}");
    write_text(".cache/huggingface/hub/models--acme--Half/snapshots/" COMMIT "/model-00001-of-00002.safetensors", "x");
    write_text(".lmstudio/models/pub/Studio-GGUF/studio-Q6_K.gguf", "GGUF");
    write_text(".ollama/models/blobs/sha256-" SHA_A, "blob");
    write_text(".ollama/models/blobs/sha256-"
               "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
               "{\"file_type\":\"Q4_K_M\"}");
    write_text(".ollama/models/manifests/registry.ollama.ai/library/tiny/1b",
               "{\"config\":{\"digest\":\"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\","
               "\"size\":23},"
               "\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" SHA_A
               "\",\"size\":4}]}");
    write_text(".ollama/models/manifests/registry.ollama.ai/library/evil/1b",
               "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:../../../../x\","
               "\"size\":4}]}");
    write_text(".ollama/models/manifests-v2/ollama.com/library/listed/latest",
               "{\"manifests\":[{\"runner\":\"mlx\",\"layers\":[]},{\"runner\":\"ollama\",\"layers\":[{\"mediaType\":"
               "\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" SHA_A "\",\"size\":4}]}]}");
}

static void test_caches(void **state) {
    (void)state;
    make_caches();
    StoreList list;
    Error err = {0};
    store_list_init(&list);
    assert_int_equal(store_list(&list, &err), OK);
    static const struct {
        const char *name, *label, *tail;
        ModelSource source;
    } expected[] = {
        {"acme/Cached", "BF16", "snapshots/" COMMIT, SOURCE_HF_CACHE},
        {"pub/Studio-GGUF:Q6_K", "Q6_K", "studio-Q6_K.gguf", SOURCE_LM_STUDIO},
        {"listed:latest", "", "sha256-" SHA_A, SOURCE_OLLAMA},
        {"tiny:1b", "Q4_K_M", "sha256-" SHA_A, SOURCE_OLLAMA},
    };
    assert_int_equal(list.count, COUNT(expected));
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_string_equal(list.items[i].name, expected[i].name);
        assert_string_equal(list.items[i].label, expected[i].label);
        assert_int_equal(list.items[i].source, expected[i].source);
        char *path = store_model_path(&list.items[i]);
        assert_true(ends_with(path, expected[i].tail));
        mem_free(path);
    }
    assert_string_equal(list.items[0].licence, "mit");
    assert_string_equal(list.items[0].revision, COMMIT);
    assert_string_equal(list.items[0].files[1].sha256, SHA_A);
    store_list_free(&list);
    char *path;
    assert_int_equal(store_resolve("listed", &path, &err), OK);
    mem_free(path);
    Text report = {0};
    assert_int_equal(store_remove("tiny:1b", &report, &err), ERR_DENIED);
    assert_non_null(strstr(err.text, "ollama rm"));
    text_free(&report);
    assert_true(exists_below(".ollama/models/blobs/sha256-" SHA_A));
}

/* ---- packages --------------------------------------------------------------------------------------------------- */

static void test_manifest(void **state) {
    (void)state;
    ModelFile file;
    StoreModel model = sample_model("acme/x:Q8_0", "r", &file), back = {0};
    Text text = {0};
    Arena arena;
    bool found;
    Error err = {0};
    arena_init(&arena, MEM_MISC);
    assert_int_equal(manifest_write(&model, &text, &err), OK);
    write_file("m/houle.json", text.bytes, text.count);
    text_free(&text);
    char *folder = in_scratch("m");
    assert_int_equal(manifest_read(folder, &arena, &back, &found, &err), OK);
    assert_true(found);
    assert_string_equal(back.name, model.name);
    assert_string_equal(back.licence, "mit");
    assert_int_equal(back.n_file, 1);
    assert_string_equal(back.files[0].sha256, file.sha256);
    static const char *const bad[] = {
        "{}",
        "[1]",
        "{\"houle_manifest\":1,\"files\":[]}",
        "{\"houle_manifest\":1,\"files\":[{\"path\":\"../x\",\"bytes\":1}]}",
        "{\"houle_manifest\":1,\"entry\":\"/etc/passwd\",\"files\":[{\"path\":\"x\",\"bytes\":1}]}",
        "{\"houle_manifest\":1,\"files\":[{\"path\":\"x\",\"bytes\":-1}]}",
        "{\"houle_manifest\":1,\"files\":[{\"path\":\"x\",\"bytes\":1,\"sha256\":\"zz\"}]}",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        write_text("m/houle.json", bad[i]);
        back = (StoreModel){0};
        assert_int_equal(manifest_read(folder, &arena, &back, &found, NULL), ERR_FORMAT);
    }
    mem_free(folder);
    arena_free(&arena);
}

/* ---- without memory ---------------------------------------------------------------------------------------------- */

typedef Status (*TryFn)(Error *err);

/* The 1st, 2nd, ... n-th allocation fails, until there are no more: each time an error or a result, and nothing lost.
 */
static void without_memory(TryFn try) {
    for (int warm = 0; warm < 2; warm++)
        assert_int_equal(try(NULL), OK);
    const size_t before = mem_bytes_total();
    for (long n = 1;; n += 1 + n / 50) {
        Error err = {0};
        mem_fail_at(n);
        const Status status = try(&err);
        const bool struck = mem_fail_hit();
        mem_fail_at(0);
        assert_true(status == OK || err.text[0] != '\0');
        if (mem_bytes_total() > before)
            fail_msg("allocation %ld: %zu bytes stay behind", n, mem_bytes_total() - before);
        if (!struck) {
            assert_int_equal(status, OK);
            break;
        }
    }
}

static Status try_listing(Error *err) {
    StoreList list;
    store_list_init(&list);
    const Status status = store_list(&list, err);
    store_list_free(&list);
    return status;
}

static Status try_resolving(Error *err) {
    char *path;
    const Status status = store_resolve("cached", &path, err);
    if (status == OK)
        mem_free(path);
    return status;
}

static Status try_pull_of_path(Error *err) {
    char *path = path_join(scratch, "gguf/tiny-Q8_0.gguf");
    PullRequest request = {.what = path, .copy = true, .force = true};
    PullResult result;
    Status status = path != NULL ? store_pull(&request, &result, err) : error_set(err, ERR_MEMORY, "no memory");
    if (status == OK)
        pull_result_free(&result);
    mem_free(path);
    Text report = {0};
    if (status == OK)
        status = store_remove("tiny:Q8_0", &report, err);
    text_free(&report);
    return status;
}

static void test_without_memory(void **state) {
    (void)state;
    make_caches();
    add_owned("acme/one", "acme/one/1");
    write_text("gguf/tiny-Q8_0.gguf", "GGUF");
    without_memory(try_listing);
    without_memory(try_resolving);
    without_memory(try_pull_of_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_resolving),
        TEST(test_removing_deletes_only_its_own),
        TEST(test_cut_off_removals_are_finished),
        TEST(test_damaged_index),
        TEST(test_verifying),
        TEST(test_caches),
        TEST(test_manifest),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
