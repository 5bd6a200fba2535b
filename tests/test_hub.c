/* test_hub.c - what is told by names, by the hub's answers and by lists of files: which model is meant, which files it
 * takes, when to ask again, whether it fits. None of it needs a network. */
#include "scratch.h"

#include "base/mem.h"
#include "store/fetch.h"
#include "store/fit.h"
#include "store/hub.h"
#include "store/model_name.h"
#include "store/partial.h"
#include "store/pick.h"
#include "store/reply_head.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- names ------------------------------------------------------------------------------------------------------- */

static void test_hub_names(void **state) {
    (void)state;
    static const struct {
        const char *text, *owner, *repo, *revision, *selection;
    } good[] = {
        {"Qwen/Qwen3-0.6B-GGUF:Q8_0", "Qwen", "Qwen3-0.6B-GGUF", "", "Q8_0"},
        {"a/b", "a", "b", "", ""},
        {"hf.co/a/b:Q4_K_M", "a", "b", "", "Q4_K_M"},
        {"a/b@refs/pr/3:sub/x.gguf", "a", "b", "refs/pr/3", "sub/x.gguf"},
        {"a_1/b.c-d@v1.0", "a_1", "b.c-d", "v1.0", ""},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        ModelName name;
        Error err = {0};
        assert_int_equal(model_name_parse(good[i].text, &name, &err), OK);
        assert_string_equal(name.owner, good[i].owner);
        assert_string_equal(name.repo, good[i].repo);
        assert_string_equal(name.revision, good[i].revision);
        assert_string_equal(name.selection, good[i].selection);
    }
    /* Each of these would lead out of a folder or an address if it were let through. */
    static const char *const bad[] = {"",       "a",        "a/",      "/b",       "../b",     "a/..",
                                      "a/b/c",  "a b/c",    "a/b@",    "a/b:",     "a/b:../x", "a/b:/etc/passwd",
                                      "a/b@..", "a/b@x..y", "a/b@a b", "a/b?x",    "a/b%2e",   "-a/b",
                                      ".a/b",   "a/b:x\ny", "a/b@x^y", "a/.hidden"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        ModelName name;
        Error err = {0};
        assert_int_equal(model_name_parse(bad[i], &name, &err), ERR_ARGUMENT);
        assert_true(err.text[0] != '\0');
        assert_false(model_name_possible(bad[i]));
    }
}

static void test_addresses_of_the_hub(void **state) {
    (void)state;
    const char *hub = "https://hub.example";
    ModelName name;
    assert_int_equal(model_name_of_url("https://hub.example/a/b", hub, &name, NULL), OK);
    assert_string_equal(name.repo, "b");
    assert_int_equal(
        model_name_of_url("https://HUB.example/a/b/resolve/v%2F1/d/x%20y.gguf?download=true", hub, &name, NULL), OK);
    assert_string_equal(name.revision, "v/1");
    assert_string_equal(name.selection, "d/x y.gguf");
    assert_int_equal(model_name_of_url("https://hub.example/a/b/tree/main", hub, &name, NULL), OK);
    assert_string_equal(name.revision, "");
    assert_int_equal(model_name_of_url("https://hub.example/a/b/blob/main/..%2f..%2fx", hub, &name, NULL),
                     ERR_ARGUMENT);
    assert_int_equal(model_name_of_url("https://hub.example/a/b/blob/main/x%00y", hub, &name, NULL), ERR_ARGUMENT);
    assert_int_equal(model_name_of_url("https://hub.example/a/b/blob/main/x%4", hub, &name, NULL), ERR_ARGUMENT);
    assert_int_equal(model_name_of_url("https://hub.example/datasets/a/b", hub, &name, NULL), ERR_NOT_FOUND);
    assert_int_equal(model_name_of_url("https://hub.example.evil/a/b", hub, &name, NULL), ERR_NOT_FOUND);
    assert_int_equal(model_name_of_url("https://other/a/b", hub, &name, NULL), ERR_NOT_FOUND);
}

static void test_quantisations_in_file_names(void **state) {
    (void)state;
    static const struct {
        const char *path, *label;
    } cases[] = {
        {"Qwen3-0.6B-Q8_0.gguf", "Q8_0"},
        {"model.q4_k_m.gguf", "Q4_K_M"},
        {"UD-Q4_K_XL/DeepSeek-R1-UD-Q4_K_XL-00001-of-00008.gguf", "UD-Q4_K_XL"},
        {"Q4_K_M/part-00001-of-00002.gguf", "Q4_K_M"},
        {"ggml-model-i2_s.gguf", ""},
        {"gpt-oss-20b-mxfp4.gguf", "MXFP4"},
        {"x-MXFP4_MOE.gguf", "MXFP4_MOE"},
        {"x-IQ2_XXS.gguf", "IQ2_XXS"},
        {"x-TQ1_0.gguf", "TQ1_0"},
        {"x-fp16.gguf", "F16"},
        {"x.BF16.gguf", "BF16"},
        {"gemma-3-1b-it-qat-q4_0.gguf", "Q4_0"},
        {"x-Q4_0_4_4.gguf", "Q4_0_4_4"},
        {"x-Q4_K_M-imat.gguf", "Q4_K_M"},
        {"x-Q4_0_imatrix.gguf", "Q4_0"},
        {"plain.gguf", ""},
        {"Q.gguf", ""},
        {"x-Q44_0.gguf", ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char label[QUANT_LABEL_BYTES];
        assert_int_equal(quant_of_path(cases[i].path, label), cases[i].label[0] != '\0');
        assert_string_equal(label, cases[i].label);
    }
    assert_true(quant_matches("UD-Q4_K_XL", "q4_k_xl"));
    assert_false(quant_matches("Q4_K_M", "Q4_K"));
    SplitName split;
    assert_true(split_of_path("d/x-00002-of-00005.gguf", &split));
    assert_int_equal(split.stem_bytes, 3);
    assert_int_equal(split.part, 2);
    assert_int_equal(split.parts, 5);
    assert_string_equal(split.tail, ".gguf");
    assert_false(split_of_path("x-00006-of-00005.gguf", &split));
    assert_false(split_of_path("x-00000-of-00005.gguf", &split));
    assert_false(split_of_path("-00001-of-00005.gguf", &split));
    assert_false(split_of_path("d/-00001-of-00005.gguf", &split));
    assert_false(split_of_path("x-0000a-of-00005.gguf", &split));
}

static void test_names_are_matched_by_their_ends(void **state) {
    (void)state;
    const char *name = "Qwen/Qwen3-0.6B-GGUF:Q8_0";
    static const char *const better_to_worse[] = {"qwen/qwen3-0.6b-gguf:q8_0", "Qwen/Qwen3-0.6B-GGUF",
                                                  "Qwen3-0.6B-GGUF", "qwen3-0.6b", "0.6b"};
    int before = 0;
    for (size_t i = 0; i < COUNT(better_to_worse); i++) {
        const int level = name_match(name, better_to_worse[i]);
        assert_true(level > before);
        before = level;
    }
    static const char *const not [] = {"Qwen3-0.6B-GGUF:Q4_0", "wen3-0.6b", "Qwen3", "", ":Q8_0", "en/Qwen3-0.6B-GGUF"};
    for (size_t i = 0; i < COUNT(not ); i++)
        assert_int_equal(name_match(name, not [i]), 0);
    assert_true(name_match("qwen3:latest", "qwen3") < name_match("qwen3:0.6b", "qwen3"));
    assert_true(name_match("a/b:UD-Q4_K_XL", "b:Q4_K_XL") > 0);
    assert_int_equal(name_distance("qwen", "qewn", 3), 1);
    assert_int_equal(name_distance("Qwen", "qwen", 3), 0);
    assert_int_equal(name_distance("llama", "lama3", 3), 2);
    assert_int_equal(name_distance("abc", "xyz123", 2), 3);
}

/* ---- what servers answer ----------------------------------------------------------------------------------------- */

static void head_of(ReplyHead *head, const char *lines) {
    reply_head_begin(head);
    while (*lines != '\0') {
        const char *end = strstr(lines, "\r\n");
        const size_t bytes = end != NULL ? (size_t)(end - lines) + 2 : strlen(lines);
        reply_head_line(head, lines, bytes);
        lines += bytes;
    }
}

static void test_headers(void **state) {
    (void)state;
    ReplyHead head;
    head_of(&head, "HTTP/1.1 100 Continue\r\nETag: \"x\"\r\n\r\nHTTP/1.1 206 Partial Content\r\ncontent-LENGTH:  10\r\n"
                   "Content-Range: bytes 5-14/200\r\nETag: W/\"abc\"\r\nX-Linked-Size: 77\r\nX-Linked-Etag: \"ff\"\r\n"
                   "X-Error-Code: GatedRepo\r\n\r\n");
    assert_int_equal(head.status, 206);
    assert_int_equal(head.body_bytes, 10);
    assert_int_equal(head.range_start, 5);
    assert_int_equal(head.range_end, 15);
    assert_int_equal(head.total_bytes, 200);
    assert_int_equal(head.linked_bytes, 77);
    assert_string_equal(head.etag, "abc");
    assert_string_equal(head.linked_etag, "ff");
    assert_string_equal(head.error_code, "GatedRepo");
    assert_int_equal(head.wait_s, -1);
    head_of(&head, "HTTP/1.1 416 No\r\nContent-Range: bytes */99\r\n");
    assert_int_equal(head.total_bytes, 99);
    assert_true(head.range_start == HEAD_UNKNOWN);
    static const char *const broken[] = {"bytes 5-4/10", "bytes -5/10", "bytes 5-/10",
                                         "bytes x",      "items 0-1/2", "bytes 0-99999999999999999999/5"};
    for (size_t i = 0; i < COUNT(broken); i++) {
        char lines[128];
        snprintf(lines, sizeof lines, "HTTP/1.1 206 x\r\nContent-Range: %s\r\n", broken[i]);
        head_of(&head, lines);
        assert_true(head.range_start == HEAD_UNKNOWN);
    }
    head_of(&head, "HTTP/1.1 429 x\r\nRetry-After: 17\r\n");
    assert_int_equal(head.wait_s, 17);
    head_of(&head, "HTTP/1.1 429 x\r\nRetry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\n");
    assert_true(head.wait_s > 1000000);
    head_of(&head, "HTTP/1.1 429 x\r\nRateLimit: \"resolvers\";r=0;t=55\r\n");
    assert_int_equal(head.wait_s, 55);
    head_of(&head, "HTTP/1.1 200 x\r\nRateLimit: \"api\";r=489;t=189\r\n");
    assert_int_equal(head.wait_s, -1);
    head_of(&head, "HTTP/1.1 200 x\r\nContent-Encoding: gzip\r\n");
    assert_true(head.encoded);
    char *long_line = mem_alloc(HEAD_LIMIT_BYTES + 10, MEM_MISC);
    memset(long_line, 'a', HEAD_LIMIT_BYTES + 10);
    head_of(&head, "HTTP/1.1 200 x\r\n");
    reply_head_line(&head, long_line, HEAD_LIMIT_BYTES + 10);
    assert_true(head.too_large);
    mem_free(long_line);
}

static void test_origins_and_pauses(void **state) {
    (void)state;
    assert_int_equal(curl_library_open(NULL), OK);
    assert_true(fetch_same_origin("https://a.b/x", "https://A.B:443/y?z"));
    assert_false(fetch_same_origin("https://a.b/x", "http://a.b/x"));
    assert_false(fetch_same_origin("https://a.b/x", "https://a.b:444/x"));
    assert_false(fetch_same_origin("https://a.b/x", "https://a.b.evil/x"));
    assert_false(fetch_same_origin("https://a.b@evil/x", "https://a.b/x"));
    char *plain = fetch_plain_url("https://user:secret@a.b/x%20y?sig=1#f");
    assert_string_equal(plain, "https://a.b/x%20y");
    mem_free(plain);
    assert_null(fetch_plain_url("ftp://a/b"));
    assert_null(fetch_plain_url("file:///etc/passwd"));
    FetchSettings settings;
    fetch_settings_init(&settings, "https://a", NULL);
    ReplyHead head;
    reply_head_begin(&head);
    for (int failures = 1; failures < 12; failures++) {
        const uint64_t pause = fetch_pause_us(&settings, failures, &head);
        const double middle = MIN((double)(1 << (failures - 1)), 64.0);
        assert_true((double)pause >= middle * 0.49e6 && (double)pause <= middle * 1.51e6);
    }
    head.wait_s = 30;
    const uint64_t asked = fetch_pause_us(&settings, 1, &head);
    assert_true(asked >= 30000000 && asked < 31000000);
    assert_int_equal(hub_check_endpoint("https://a/b", NULL), OK);
    static const char *const bad[] = {"", "a", "ftp://a", "https://u@a", "https://a?b", "https://a/"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(hub_check_endpoint(bad[i], NULL), ERR_ARGUMENT);
}

#define SHA_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static void test_hub_answers(void **state) {
    (void)state;
    const char *text =
        "{\"id\":\"a/b\",\"author\":\"a\",\"sha\":\"" COMMIT "\",\"gated\":\"manual\",\"tags\":[\"x\"],"
        "\"cardData\":{\"license\":\"other\",\"license_name\":\"gemma\",\"license_link\":\"https://x\"},\"siblings\":["
        "{\"rfilename\":\"x.gguf\",\"size\":5,\"lfs\":{\"sha256\":\"" SHA_A "\",\"size\":5}},"
        "{\"rfilename\":\"c.json\",\"size\":2,\"blobId\":\"" COMMIT "\"},"
        "{\"rfilename\":\"x.gguf\",\"size\":6},{\"rfilename\":\"../evil\"},{\"rfilename\":\"/etc/passwd\"},"
        "{\"rfilename\":\".git/"
        "config\"},{\"rfilename\":\"a\\\\b\"},{\"rfilename\":\"a\\u0000b\"},{\"rfilename\":\"a\\nb\"},"
        "{\"rfilename\":7},{},3,{\"rfilename\":\"n\",\"size\":-1}]}";
    HubModel model;
    Error err = {0};
    assert_int_equal(hub_parse_model(text, strlen(text), &model, &err), OK);
    assert_int_equal(model.n_file, 3);
    assert_string_equal(model.files[0].path, "x.gguf");
    assert_int_equal(model.files[0].bytes, 5);
    assert_string_equal(model.files[0].sha256, SHA_A);
    assert_string_equal(model.files[1].git_sha1, COMMIT);
    assert_true(model.files[2].bytes == HEAD_UNKNOWN);
    assert_string_equal(model.licence, "gemma");
    assert_true(model.gated);
    assert_non_null(hub_find_file(&model, "c.json"));
    assert_null(hub_find_file(&model, "../evil"));
    hub_model_free(&model);
    static const char *const bad[] = {"",           "[]", "{}", "{\"sha\":\"../../x\"}", "{\"sha\":\"a/b/c/d/e\"}",
                                      "{\"sha\":3}"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_not_equal(hub_parse_model(bad[i], strlen(bad[i]), &model, NULL), OK);
    const size_t before = mem_bytes_total();
    for (long n = 1;; n++) {
        mem_fail_at(n);
        const Status status = hub_parse_model(text, strlen(text), &model, NULL);
        const bool struck = mem_fail_hit();
        mem_fail_at(0);
        if (status == OK)
            hub_model_free(&model);
        assert_int_equal(mem_bytes_total(), before);
        assert_true(struck ? status == OK || status == ERR_MEMORY : status == OK);
        if (!struck)
            break;
    }
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/* "path" or "path=bytes", separated by spaces. */
static void list_files(HubModel *model, const char *files) {
    assert_int_equal(hub_model_init(model, "acme/model", NULL), OK);
    char copy[2048];
    snprintf(copy, sizeof copy, "%s", files);
    for (char *next, *word = strtok_r(copy, " ", &next); word != NULL; word = strtok_r(NULL, " ", &next)) {
        char *sign = strchr(word, '=');
        if (sign != NULL)
            *sign = '\0';
        HubFile *file;
        assert_int_equal(hub_model_add_file(model, word, &file, NULL), OK);
        assert_non_null(file);
        file->bytes = sign != NULL ? (uint64_t)atoll(sign + 1) : 100;
    }
}

/* What is picked, sorted by name, separated by spaces; "!" and the status when it fails. */
static void check_pick(const char *files, const char *wish, const char *index, const char *picked, const char *entry,
                       const char *selection) {
    HubModel model;
    Arena arena;
    Pick pick;
    Error err = {0};
    json_t *json = index != NULL ? json_loads(index, 0, NULL) : NULL;
    list_files(&model, files);
    arena_init(&arena, MEM_MISC);
    const Status status = pick_files(&model, wish, json, &arena, &pick, &err);
    if (picked[0] == '!') {
        assert_string_equal(status_word(status), picked + 1);
        assert_true(err.text[0] != '\0');
    } else {
        if (status != OK)
            fail_msg("%s with %s: %s", files, wish, err.text);
        char got[2048] = "";
        for (const char *next = picked; *next != '\0';) { /* each that is expected, and no more */
            char word[256];
            const size_t n = strcspn(next, " ");
            snprintf(word, sizeof word, "%.*s", (int)n, next);
            bool found = false;
            for (size_t i = 0; i < pick.n_file; i++)
                found = found || strcmp(pick.files[i]->path, word) == 0;
            if (!found)
                fail_msg("%s with %s: %s is not picked", files, wish, word);
            strcat(got, "x");
            next += n + (next[n] == ' ');
        }
        assert_int_equal(strlen(got), pick.n_file);
        assert_string_equal(pick.entry, entry);
        assert_string_equal(pick.selection, selection);
    }
    arena_free(&arena);
    hub_model_free(&model);
    json_decref(json);
}

static void test_gguf_choices(void **state) {
    (void)state;
    const char *repo =
        "README.md m-Q4_K_M.gguf m-Q8_0.gguf m-UD-Q4_K_XL.gguf big/m-BF16-00001-of-00002.gguf "
        "big/m-BF16-00002-of-00002.gguf mmproj-F16.gguf mmproj-F32.gguf m-imatrix.gguf LICENSE=9 config.json";
    check_pick(repo, "", NULL, "m-Q4_K_M.gguf mmproj-F16.gguf LICENSE", "m-Q4_K_M.gguf", "Q4_K_M");
    check_pick(repo, "q8_0", NULL, "m-Q8_0.gguf mmproj-F16.gguf LICENSE", "m-Q8_0.gguf", "Q8_0");
    check_pick(repo, "Q4_K_XL", NULL, "m-UD-Q4_K_XL.gguf mmproj-F16.gguf LICENSE", "m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL");
    check_pick(repo, "BF16", NULL,
               "big/m-BF16-00001-of-00002.gguf big/m-BF16-00002-of-00002.gguf mmproj-F16.gguf LICENSE",
               "big/m-BF16-00001-of-00002.gguf", "BF16");
    check_pick(repo, "m-BF16-00002-of-00002.gguf", NULL,
               "big/m-BF16-00001-of-00002.gguf big/m-BF16-00002-of-00002.gguf mmproj-F16.gguf LICENSE",
               "big/m-BF16-00001-of-00002.gguf", "BF16");
    check_pick(repo, "Q2_K", NULL, "!not_found", "", "");
    /* A part that is missing is found out before anything is fetched. */
    check_pick("m-Q8_0-00001-of-00003.gguf m-Q8_0-00003-of-00003.gguf", "", NULL, "!not_found", "", "");
    /* Two models with the same label have to be named by their files. */
    check_pick("a-Q8_0.gguf b-Q8_0.gguf", "", NULL, "!bad_argument", "", "");
    check_pick("a-Q8_0.gguf b-Q8_0.gguf", "Q8_0", NULL, "!bad_argument", "", "");
    check_pick("a-Q8_0.gguf b-Q8_0.gguf", "b-Q8_0.gguf", NULL, "b-Q8_0.gguf", "b-Q8_0.gguf", "b-Q8_0.gguf");
    check_pick("only.gguf", "", NULL, "only.gguf", "only.gguf", "only.gguf");
    check_pick("mmproj-F16.gguf", "", NULL, "!not_found", "", "");
}

static void test_safetensors_choices(void **state) {
    (void)state;
    const char *index =
        "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\",\"b\":\"model-00002-of-00002.safetensors\"}}";
    const char *repo =
        "config.json tokenizer.json tokenizer_config.json chat_template.jinja generation_config.json "
        "model.safetensors.index.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors "
        "original/consolidated.00.pth original/model.safetensors consolidated.safetensors "
        "pytorch_model.bin pytorch_model.bin.index.json onnx/model.onnx model.py README.md USE_POLICY.md";
    check_pick(repo, "", index,
               "config.json tokenizer.json tokenizer_config.json chat_template.jinja generation_config.json "
               "model.safetensors.index.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors "
               "USE_POLICY.md",
               "", "");
    check_pick(repo, "", "{\"weight_map\":{\"a\":\"../evil.safetensors\"}}", "!bad_format", "", "");
    check_pick(repo, "", "{\"weight_map\":{\"a\":\"pytorch_model.bin\"}}", "!bad_format", "", "");
    check_pick(repo, "pytorch_model.bin", index, "!unsupported", "", "");
    check_pick("config.json model.safetensors model.fp16.safetensors x-Q8_0.gguf", "", NULL,
               "config.json model.safetensors", "", "");
    check_pick("config.json model.safetensors x-Q8_0.gguf", "Q8_0", NULL, "x-Q8_0.gguf", "x-Q8_0.gguf", "Q8_0");
    check_pick("config.json model.safetensors x-Q8_0.gguf", "safetensors", NULL, "config.json model.safetensors", "",
               "");
    check_pick("params.json tekken.json consolidated.safetensors", "", NULL,
               "params.json tekken.json consolidated.safetensors", "", "");
    check_pick("config.json pytorch_model.bin", "", NULL, "!unsupported", "", "");
    check_pick("README.md", "", NULL, "!not_found", "", "");
    check_pick("a.safetensors b.safetensors", "", NULL, "!bad_argument", "", "");
    check_pick("a.safetensors b.safetensors config.json", "b.safetensors", NULL, "b.safetensors config.json", "",
               "b.safetensors");
    check_pick("modules.json config.json model.safetensors 1_Pooling/config.json 2_Dense/model.safetensors sub/x.json",
               "", NULL, "modules.json config.json model.safetensors 1_Pooling/config.json 2_Dense/model.safetensors",
               "", "");
    check_pick("model_index.json unet/config.json unet/diffusion_pytorch_model.safetensors "
               "unet/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.safetensors vae/config.json "
               "text_encoder/model.safetensors tokenizer/vocab.json tokenizer/merges.txt all-in-one.safetensors "
               "unet/diffusion_pytorch_model.bin scheduler/scheduler_config.json",
               "", NULL,
               "model_index.json unet/config.json unet/diffusion_pytorch_model.safetensors "
               "vae/diffusion_pytorch_model.safetensors vae/config.json text_encoder/model.safetensors "
               "tokenizer/vocab.json tokenizer/merges.txt scheduler/scheduler_config.json",
               "", "");
}

/* ---- estimates --------------------------------------------------------------------------------------------------- */

static void test_estimates(void **state) {
    (void)state;
    static const struct {
        const char *config;
        uint64_t bytes_per_token;
    } cases[] = {
        /* Qwen3 0.6B: 28 layers, 8 heads of 128 for keys and values. */
        {"{\"num_hidden_layers\":28,\"num_attention_heads\":16,\"num_key_value_heads\":8,\"head_dim\":128}",
         28 * 8 * 256 * 2},
        /* DeepSeek V3: a latent of 512 and 64 positions. */
        {"{\"num_hidden_layers\":61,\"num_attention_heads\":128,\"kv_lora_rank\":512,\"qk_rope_head_dim\":64}",
         61 * 576 * 2},
        {"{\"text_config\":{\"num_hidden_layers\":4,\"num_attention_heads\":4,\"hidden_size\":64,\"layer_types\":"
         "[\"linear_attention\",\"linear_attention\",\"linear_attention\",\"full_attention\"]}}",
         1 * 4 * 32 * 2},
        {"{\"num_hidden_layers\":9223372036854775807,\"num_attention_heads\":1,\"head_dim\":9223372036854775807}",
         4096ull * 1 * 2 * (1 << 20) * 2},
        {"{\"num_hidden_layers\":-5}", 0},
        {"[]", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        FitNeeds needs = {.weight_bytes = 1000};
        json_t *config = json_loads(cases[i].config, 0, NULL);
        fit_of_config(config, &needs);
        assert_int_equal(needs.cache_bytes_per_token, cases[i].bytes_per_token);
        assert_true(fit_memory_bytes(&needs) >= 1000);
        json_decref(config);
    }
    const Machine machine = fit_machine();
    assert_true(machine.memory_bytes > 0 && machine.available_bytes <= machine.memory_bytes);
    assert_true(fit_disk_bytes(scratch) > 0);
    char *deep = in_scratch("not/there/yet");
    assert_int_equal(fit_disk_bytes(deep) / (1 << 24), fit_disk_bytes(scratch) / (1 << 24));
    mem_free(deep);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_hub_names),
        TEST(test_addresses_of_the_hub),
        TEST(test_quantisations_in_file_names),
        TEST(test_names_are_matched_by_their_ends),
        TEST(test_headers),
        TEST(test_origins_and_pauses),
        TEST(test_hub_answers),
        TEST(test_gguf_choices),
        TEST(test_safetensors_choices),
        TEST(test_estimates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
