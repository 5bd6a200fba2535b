/* test_format.c - opening models: which files of a folder count, split and sharded ones, and files that lie.
 *
 * The files are made here, byte by byte, in a temporary folder; the golden set of malformed files is run too. */
#include "format/model_files.h"
#include "format/safetensors_writer.h"
#include "golden.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- a folder for each test ------------------------------------------------------------------------------------ */

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/houle_test_XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static void remove_tree(const char *path) {
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *inner = path_join(path, entry->d_name);
        if (file_is_directory(inner))
            remove_tree(inner);
        else
            unlink(inner);
        mem_free(inner);
    }
    if (directory != NULL)
        closedir(directory);
    rmdir(path);
}

static int remove_folder(void **state) {
    (void)state;
    mem_fail_at(0);
    remove_tree(folder);
    return 0;
}

/* The path of a file in the folder; good until the call after the next three. */
static const char *at(const char *name) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put_file(const char *name, const void *bytes, size_t count) {
    /* Not file_write_atomic, and no file cut to nothing: thousands of writes to the disk would take seconds. */
    unlink(at(name));
    FILE *file = fopen(at(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void put_text_file(const char *name, const char *text) {
    put_file(name, text, strlen(text));
}

/* ---- making files ---------------------------------------------------------------------------------------------- */

static void put_u32(Text *out, uint32_t number) {
    char bytes[4] = {(char)number, (char)(number >> 8), (char)(number >> 16), (char)(number >> 24)};
    text_append(out, bytes, sizeof bytes);
}

static void put_u64(Text *out, uint64_t number) {
    char bytes[8];
    store_u64(bytes, number);
    text_append(out, bytes, sizeof bytes);
}

static void put_string(Text *out, const char *string) {
    put_u64(out, strlen(string));
    text_append_str(out, string);
}

static void put_header(Text *out, uint64_t n_tensors, uint64_t n_metas) {
    text_append_str(out, "GGUF");
    put_u32(out, 3);
    put_u64(out, n_tensors);
    put_u64(out, n_metas);
}

static void put_meta_u32(Text *out, const char *key, uint32_t value) {
    put_string(out, key);
    put_u32(out, META_U32);
    put_u32(out, value);
}

/* An F32 tensor of one dimension. */
static void put_tensor(Text *out, const char *name, uint64_t numbers, uint64_t offset) {
    put_string(out, name);
    put_u32(out, 1);
    put_u64(out, numbers);
    put_u32(out, 0);
    put_u64(out, offset);
}

/* Padding to 32, then the data: numbers `first`, first + 1, … */
static void put_floats(Text *out, size_t count, float first) {
    while (out->count % 32 != 0)
        text_append_char(out, '\0');
    for (size_t i = 0; i < count; i++) {
        const float number = first + (float)i;
        uint32_t bits;
        memcpy(&bits, &number, sizeof bits);
        put_u32(out, bits);
    }
}

static void save(const char *name, Text *content) {
    assert_false(content->failed);
    put_file(name, content->bytes, content->count);
    text_free(content);
}

static void save_safetensors(const char *name, const char *header, size_t data_bytes) {
    Text out = {0};
    put_u64(&out, strlen(header));
    text_append_str(&out, header);
    for (size_t i = 0; i < data_bytes; i++)
        text_append_char(&out, (char)i);
    save(name, &out);
}

/* One tensor of two floats. */
static void save_small(const char *name, const char *tensor) {
    char header[256];
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", tensor);
    save_safetensors(name, header, 8);
}

/* ---- looking at them ------------------------------------------------------------------------------------------- */

static ModelFiles *opened(const char *path) {
    ModelFiles *files = NULL;
    Error err = {0};
    if (model_files_open(path, &files, &err) != OK)
        fail_msg("%s", err.text);
    return files;
}

/* Opening must fail so, with these words in the message. */
static void refused(const char *path, Status status, const char *words) {
    ModelFiles *files = NULL;
    Error err = {0};
    const size_t before = mem_bytes_total();
    const Status got = model_files_open(path, &files, &err);
    if (got != status || strstr(err.text, words) == NULL)
        fail_msg("%s: %s, \"%s\"; expected was %s, \"%s\"", path, status_word(got), err.text, status_word(status),
                 words);
    assert_null(files);
    assert_int_equal(mem_bytes_total(), before);
}

/* Uses everything that an opened model offers; the sanitizers watch. */
static double touch(const ModelFiles *files) {
    double sum = 0;
    for (size_t i = 0; i < model_files_tensors(files); i++) {
        const Tensor *t = model_files_tensor(files, i);
        assert_ptr_equal(model_files_find(files, t->name), t);
        float *row = mem_array(MAX(tensor_columns(t), 1), sizeof *row, MEM_MISC);
        for (size_t r = 0; r < tensor_rows(t); r++) {
            dequantise_row(t->type, t->data + r * dtype_row_bytes(t->type, tensor_columns(t)), row, tensor_columns(t));
            sum += (double)row[0];
        }
        mem_free(row);
    }
    for (size_t i = 0; i < model_files_metas(files); i++) {
        const MetaValue *value = model_files_meta(files, i);
        assert_ptr_equal(model_files_meta_find(files, value->key), value);
        const size_t count = value->type == META_ARRAY ? value->as.array.count : 0;
        for (size_t e = 0; e < count; e++) {
            const char *bytes;
            size_t length;
            double real;
            if (meta_array_string(value, e, &bytes, &length))
                sum += length > 0 ? bytes[length - 1] : 0;
            else
                sum += meta_array_real(value, e, &real) ? real : 0;
        }
        if (value->type == META_STRING)
            sum += value->as.string.count > 0 ? value->as.string.bytes[0] : 0;
    }
    return sum;
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------ */

static void test_gguf_values_and_shapes(void **state) {
    (void)state;
    char path[GOLDEN_PATH_BYTES];
    assert_non_null(golden_path(path, "gguf/types/PLAIN.gguf"));
    ModelFiles *files = opened(path);
    assert_int_equal(model_files_kind(files), CONTAINER_GGUF);
    assert_int_equal(model_files_version(files), 3);
    assert_null(model_files_folder(files));
    int64_t integer;
    double real;
    assert_true(meta_int(model_files_meta_find(files, "k.i64"), &integer) && integer == INT64_MIN);
    assert_true(meta_int(model_files_meta_find(files, "k.i8"), &integer) && integer == -128);
    assert_true(meta_int(model_files_meta_find(files, "k.bool"), &integer) && integer == 1);
    assert_true(meta_real(model_files_meta_find(files, "k.f64"), &real) && real == 1e300);
    assert_true(meta_real(model_files_meta_find(files, "k.u8"), &real) && real == 255);
    /* 2^64 - 1 is a number, but none that fits into an int64. */
    const MetaValue *u64 = model_files_meta_find(files, "k.u64");
    assert_true(u64->as.natural == UINT64_MAX && !meta_int(u64, &integer));
    assert_false(meta_int(model_files_meta_find(files, "k.f32"), &integer));
    assert_false(meta_int(model_files_meta_find(files, "k.str"), &integer));
    assert_false(meta_int(NULL, &integer));
    const MetaValue *strings = model_files_meta_find(files, "k.arr_str");
    const char *bytes;
    size_t count;
    assert_true(meta_array_string(strings, 2, &bytes, &count) && count == 4);
    assert_memory_equal(bytes, "çé", 4);
    assert_true(meta_array_string(strings, 1, &bytes, &count) && count == 0);
    assert_false(meta_array_string(strings, 3, &bytes, &count));
    assert_true(meta_array_int(model_files_meta_find(files, "k.arr_i32"), 1, &integer) && integer == -2);
    assert_true(meta_array_real(model_files_meta_find(files, "k.arr_f32"), 1, &real) && real == -1.25);
    assert_false(meta_array_int(model_files_meta_find(files, "k.arr_i32"), 3, &integer));
    const Tensor *tensor = model_files_find(files, "f32_4d");
    assert_int_equal(tensor->n_dim, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(tensor->dims[i], i + 2); /* [2, 3, 4, 5]: the file has them the other way round */
    assert_int_equal(tensor_rows(tensor), 24);
    touch(files);
    model_files_close(files);
}

/* Empty tensors, tensors of no dimension, names in any script, offsets that end at the end of the file. */
static void test_gguf_odd_but_valid(void **state) {
    (void)state;
    Text out = {0};
    put_header(&out, 3, 1);
    put_string(&out, "schlüssel.名前");
    put_u32(&out, META_STRING);
    put_string(&out, "");
    put_tensor(&out, "leer", 0, 64);
    put_string(&out, "名前.🌍");
    put_u32(&out, 0); /* no dimension: one number */
    put_u32(&out, 0);
    put_u64(&out, 0);
    put_tensor(&out, "end", 8, 32);
    put_floats(&out, 16, 1);
    save("odd.gguf", &out);
    ModelFiles *files = opened(at("odd.gguf"));
    const Tensor *scalar = model_files_find(files, "名前.🌍");
    assert_true(scalar->n_dim == 0 && scalar->bytes == 4 && tensor_rows(scalar) == 1 && tensor_columns(scalar) == 1);
    assert_true(model_files_find(files, "leer")->bytes == 0 && tensor_rows(model_files_find(files, "leer")) == 0);
    assert_int_equal(model_files_meta_find(files, "schlüssel.名前")->as.string.count, 0);
    assert_true(touch(files) == 1 + 9);
    model_files_close(files);
    /* A name without suffix: the content decides. */
    assert_int_equal(rename(at("odd.gguf"), at("0123abcd")), 0);
    model_files_close(opened(at("0123abcd")));
}

static void test_gguf_refused(void **state) {
    (void)state;
    Text out = {0};
    put_header(&out, UINT64_MAX, 0);
    save("a.gguf", &out);
    refused(at("a.gguf"), ERR_FORMAT, "too many for a file of 24 bytes");

    put_header(&out, 1, 0);
    put_u64(&out, 3);
    text_append(&out, "a\0b", 3);
    put_u32(&out, 0);
    put_u32(&out, 0);
    put_u64(&out, 0);
    put_floats(&out, 8, 0);
    save("a.gguf", &out);
    refused(at("a.gguf"), ERR_FORMAT, "not UTF-8"); /* two names that print alike would be a way to hide one */

    /* Counts and offsets whose sums wrap around. */
    put_header(&out, 2, 0);
    put_tensor(&out, "a", 8, 0);
    put_tensor(&out, "b", UINT64_MAX / 4 + 9, 32); /* 32 bytes, modulo 2^64 */
    put_floats(&out, 16, 0);
    save("a.gguf", &out);
    refused(at("a.gguf"), ERR_FORMAT, "does not fit");
    put_header(&out, 1, 0);
    put_tensor(&out, "a", (uint64_t)1 << 60, UINT64_MAX - 31);
    put_floats(&out, 16, 0);
    save("a.gguf", &out);
    refused(at("a.gguf"), ERR_FORMAT, "past the end");

    /* One byte of one tensor inside another, in any order of the list. */
    put_header(&out, 3, 1);
    put_meta_u32(&out, "general.alignment", 1);
    put_tensor(&out, "c", 2, 16);
    put_tensor(&out, "a", 2, 0);
    put_tensor(&out, "b", 1, 5);
    put_floats(&out, 16, 0);
    save("a.gguf", &out);
    refused(at("a.gguf"), ERR_FORMAT, "a and b overlap");

    put_text_file("a.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n");
    refused(at("a.gguf"), ERR_FORMAT, "Git LFS");
    put_text_file("pytorch_model.bin", "PK\003\004 and so on");
    refused(at("pytorch_model.bin"), ERR_UNSUPPORTED, "PyTorch");
    put_text_file("notes", "hello");
    refused(at("notes"), ERR_FORMAT, "neither");
    refused(at("nothing"), ERR_NOT_FOUND, "nothing");
}

/* A count is compared with the file before anything is allocated for it; 2^24 empty strings would be 128 MiB. */
static void test_gguf_array_of_too_many_strings(void **state) {
    (void)state;
    Text out = {0};
    put_header(&out, 0, 1);
    put_string(&out, "k");
    put_u32(&out, META_ARRAY);
    put_u32(&out, META_STRING);
    put_u64(&out, ((uint64_t)1 << 24) + 1);
    const size_t header = out.count;
    save("sparse.gguf", &out);
    assert_int_equal(truncate(at("sparse.gguf"), (off_t)(header + (((size_t)1 << 24) + 1) * 8)), 0);
    refused(at("sparse.gguf"), ERR_LIMIT, "16777217 strings");
}

static void save_part(const char *name, int no, int count, int total, const char *tensor) {
    Text out = {0};
    put_header(&out, 1, 4);
    put_meta_u32(&out, "split.no", (uint32_t)no);
    put_meta_u32(&out, "split.count", (uint32_t)count);
    put_meta_u32(&out, "split.tensors.count", (uint32_t)total);
    put_string(&out, "part.name"); /* differs from part to part: the first one's counts */
    put_u32(&out, META_STRING);
    put_string(&out, tensor);
    put_tensor(&out, tensor, 8, 0);
    put_floats(&out, 8, (float)no);
    save(name, &out);
}

static void test_gguf_split(void **state) {
    (void)state;
    save_part("m-00001-of-00003.gguf", 0, 3, 3, "a");
    save_part("m-00002-of-00003.gguf", 1, 3, 3, "b");
    refused(at("m-00001-of-00003.gguf"), ERR_NOT_FOUND, "m-00003-of-00003.gguf: part 3 of 3");
    save_part("m-00003-of-00003.gguf", 2, 3, 3, "c");
    /* Whichever part is named, and the folder, are the same model. */
    const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf", ""};
    for (size_t i = 0; i < COUNT(names); i++) {
        ModelFiles *files = opened(at(names[i]));
        assert_int_equal(model_files_count(files), 3);
        assert_int_equal(model_files_tensors(files), 3);
        assert_int_equal(model_files_find(files, "c")->file, 2);
        assert_memory_equal(model_files_meta_find(files, "part.name")->as.string.bytes, "a", 1);
        assert_true(touch(files) >= 0 + 1 + 2);
        model_files_close(files);
    }
    save_part("m-00003-of-00003.gguf", 1, 3, 3, "c"); /* a part that is another one */
    refused(at("m-00001-of-00003.gguf"), ERR_FORMAT, "say part 2 of 3, its name part 3 of 3");
    save_part("m-00003-of-00003.gguf", 2, 3, 3, "a");
    refused(at("m-00001-of-00003.gguf"), ERR_FORMAT, "a is there twice, also in m-00001-of-00003.gguf");
    save_part("m-00003-of-00003.gguf", 2, 3, 3, "c");
    save_part("m-00001-of-00003.gguf", 0, 3, 4, "a");
    refused(at("m-00002-of-00003.gguf"), ERR_FORMAT, "split.tensors.count says 4");
    save_part("renamed.gguf", 0, 3, 3, "a");
    refused(at("renamed.gguf"), ERR_FORMAT, "does not end in");
    save_part("m-00001-of-00002.gguf", 0, 65535, 3, "a");
    refused(at("m-00001-of-00002.gguf"), ERR_LIMIT, "65535 files");
}

/* ---- safetensors ----------------------------------------------------------------------------------------------- */

static void test_safetensors_types(void **state) {
    (void)state;
    save_safetensors("all.safetensors",
                     "{\"__metadata__\":{\"format\":\"pt\",\"a\\\"b\":\"\\u00e9\"},"
                     "\"f64\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                     "\"i64\":{\"shape\":[1,1,1,1,1,1,1,1],\"dtype\":\"I64\",\"data_offsets\":[8,16]},"
                     "\"u32\":{\"dtype\":\"U32\",\"shape\":[],\"data_offsets\":[16,20],\"note\":{\"x\":[1,{}]}},"
                     "\"bool\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[20,22]},"
                     "\"e8m0\":{\"dtype\":\"F8_E8M0\",\"shape\":[1],\"data_offsets\":[22,23]},"
                     "\"f4\":{\"dtype\":\"F4\",\"shape\":[2,6],\"data_offsets\":[23,29]},"
                     "\"f16\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[29,37]},"
                     "\"none\":{\"dtype\":\"BF16\",\"shape\":[4611686018427387904,0,9],\"data_offsets\":[5,5]},"
                     "\"\\u540d\\ud83c\\udf0d\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[37,38]}} ",
                     38);
    ModelFiles *files = opened(at("all.safetensors"));
    assert_int_equal(model_files_tensors(files), 9);
    assert_int_equal(model_files_version(files), 0);
    assert_string_equal(model_files_folder(files), folder);
    assert_int_equal(model_files_find(files, "i64")->n_dim, 8);
    assert_int_equal(model_files_find(files, "f4")->bytes, 6);
    assert_int_equal(model_files_find(files, "名🌍")->type, DT_F8_E5M2);
    assert_memory_equal(model_files_meta_find(files, "a\"b")->as.string.bytes, "é", 2);
    touch(files); /* f16 lies at an odd address */
    model_files_close(files);
}

static void refuse_header(const char *header, Status status, const char *words) {
    save_safetensors("bad.safetensors", header, 8);
    refused(at("bad.safetensors"), status, words);
}

static void test_safetensors_refused(void **state) {
    (void)state;
    refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", ERR_UNSUPPORTED,
                  "more than 8 dimensions");
    refuse_header("{\"a\":{\"dtype\":\"F4\",\"shape\":[4,3],\"data_offsets\":[0,8]}}", ERR_FORMAT, "multiple of 2");
    refuse_header("{\"a\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]}}", ERR_UNSUPPORTED, "dtype C64");
    refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"dtype\":\"F32\"}}", ERR_FORMAT,
                  "twice");
    refuse_header("{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", ERR_FORMAT, "not UTF-8");
    refuse_header("{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", ERR_FORMAT, "empty tensor name");
    refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}} x", ERR_FORMAT, "the end");
    refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", ERR_FORMAT, "two numbers");
    refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", ERR_FORMAT,
                  "does not fit");
    refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[18446744073709551608,0]}}", ERR_FORMAT,
                  "data_offsets");
    refuse_header("{\"__metadata__\":{},\"__metadata__\":{}}", ERR_FORMAT, "twice");
    refuse_header("{}", ERR_FORMAT, "8 bytes after");
}

/* ---- folders --------------------------------------------------------------------------------------------------- */

static void expect_only(const char *path, const char *tensor) {
    ModelFiles *files = opened(path);
    assert_int_equal(model_files_tensors(files), 1);
    if (model_files_find(files, tensor) == NULL)
        fail_msg("%s: %s is not the tensor there", path, tensor);
    model_files_close(files);
}

/* What lies beside the published weights must not be mixed with them: the makers' own layout, copies in a folder. */
static void test_folder_picks_the_right_files(void **state) {
    (void)state;
    refused(folder, ERR_NOT_FOUND, "no model in this folder");
    put_text_file("tokenizer.json", "{}");
    ModelFiles *files = opened(folder);
    assert_int_equal(model_files_tensors(files), 0);
    assert_null(model_files_config(files));
    model_files_close(files);

    save_small("consolidated.safetensors", "theirs");
    mkdir(at("original"), 0755);
    save_small("original/model.safetensors", "older");
    save_small("part-2.safetensors", "loose");
    expect_only(folder, "loose");
    save_small("part-3.safetensors", "loose");
    refused(folder, ERR_FORMAT, "part-3.safetensors: tensor loose is there twice, also in part-2.safetensors");
    save_small("model.safetensors", "whole");
    expect_only(folder, "whole");
    save_small("model-00001-of-00001.safetensors", "sharded");
    put_text_file(
        "model.safetensors.index.json",
        "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"sharded\":\"model-00001-of-00001.safetensors\"}}");
    expect_only(folder, "sharded");
    expect_only(at("model.safetensors.index.json"), "sharded");
    expect_only(at("part-2.safetensors"), "loose");
    char with_slash[80];
    snprintf(with_slash, sizeof with_slash, "%s/", folder);
    expect_only(with_slash, "sharded");
}

static void test_folder_with_gguf(void **state) {
    (void)state;
    save_part("x-00001-of-00002.gguf", 0, 2, 2, "a");
    save_part("x-00002-of-00002.gguf", 1, 2, 2, "b");
    put_text_file("mmproj-x.gguf", "");
    put_text_file("config.json", "{}");
    ModelFiles *files = opened(folder);
    assert_int_equal(model_files_tensors(files), 2);
    assert_int_equal(model_files_kind(files), CONTAINER_GGUF);
    assert_null(model_files_config(files));
    model_files_close(files);
    put_text_file("y.gguf", "");
    refused(folder, ERR_ARGUMENT, "2 GGUF models (x-00001-of-00002.gguf, y.gguf): say which");
}

static void test_folder_with_config(void **state) {
    (void)state;
    put_text_file("config.json", "{\"model_type\":\"new\",\"eps\":NaN}");
    put_text_file("generation_config.json", "{\"top_k\":5}");
    ModelFiles *files = opened(folder);
    assert_string_equal(json_string_value(json_object_get(model_files_config(files), "model_type")), "new");
    assert_int_equal(json_integer_value(json_object_get(model_files_generation_config(files), "top_k")), 5);
    model_files_close(files);
    put_text_file("config.json", "[]");
    refused(folder, ERR_FORMAT, "config.json: not a JSON object");
    put_text_file("config.json", "{");
    refused(folder, ERR_FORMAT, "config.json: not valid JSON");
}

static void refuse_index(const char *index, Status status, const char *words) {
    put_text_file("model.safetensors.index.json", index);
    refused(folder, status, words);
}

static void test_index_refused(void **state) {
    (void)state;
    save_small("one.safetensors", "a");
    save_small("two.safetensors", "b");
    refuse_index("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"three.safetensors\",\"c\":\"four.safetensors\"}}",
                 ERR_NOT_FOUND, "2 of its 3 files are missing, the first is three.safetensors");
    refuse_index("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}", ERR_FORMAT,
                 "tensor b is not in one.safetensors");
    refuse_index("{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}", ERR_FORMAT,
                 "tensor a is not in two.safetensors");
    refuse_index("{\"weight_map\":{\"a\":\"../one.safetensors\"}}", ERR_FORMAT, "no path within");
    refuse_index("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", ERR_FORMAT, "no path within");
    refuse_index("{\"weight_map\":{\"a\":1}}", ERR_FORMAT, "a string expected");
    refuse_index("{\"weight_map\":{}}", ERR_FORMAT, "names no tensor");
    refuse_index("{\"metadata\":{}}", ERR_FORMAT, "names no tensor");
    refuse_index("", ERR_FORMAT, "an object expected");
    put_text_file("two.safetensors", "short");
    refuse_index("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", ERR_FORMAT,
                 "two.safetensors");
}

/* ---- damage ---------------------------------------------------------------------------------------------------- */

static void try_bytes(const char *name, const char *bytes, size_t count) {
    put_file(name, bytes, count);
    ModelFiles *files = NULL;
    Error err = {0};
    if (model_files_open(at(name), &files, &err) == OK)
        touch(files);
    else if (strstr(err.text, name) == NULL)
        fail_msg("\"%s\" does not name the file", err.text);
    model_files_close(files);
}

/* Each valid golden file, cut at each byte and with each of its bytes changed in six ways: never a crash. */
static void test_damaged_golden_files(void **state) {
    (void)state;
    static const char *const names[] = {
        "ok_minimal.gguf",        "ok_alignment64.gguf",     "ok_nested_gap.gguf",          "ok_version2.gguf",
        "ok_minimal.safetensors", "ok_metadata.safetensors", "ok_unicode_name.safetensors", "ok_zero_size.safetensors",
    };
    static const char changes[] = {0, 1, 0x7F, (char)0x80, (char)0xFF};
    const size_t before = mem_bytes_total();
    for (size_t n = 0; n < COUNT(names); n++) {
        char path[GOLDEN_PATH_BYTES], relative[96];
        snprintf(relative, sizeof relative, "gguf/malformed/%s", names[n]);
        assert_non_null(golden_path(path, relative));
        char *bytes;
        size_t count;
        assert_int_equal(file_read(path, 1 << 20, &bytes, &count, NULL), OK);
        for (size_t cut = 0; cut < count; cut++) {
            put_file(names[n], bytes, cut);
            ModelFiles *files = NULL;
            assert_int_not_equal(model_files_open(at(names[n]), &files, NULL), OK); /* all of these end in data */
        }
        for (size_t i = 0; i < MIN(count, 256); i++) {
            const char kept = bytes[i];
            for (size_t c = 0; c <= COUNT(changes); c++) {
                bytes[i] = c < COUNT(changes) ? changes[c] : (char)(kept ^ 1 << i % 8);
                try_bytes(names[n], bytes, count);
            }
            bytes[i] = kept;
        }
        mem_free(bytes);
    }
    assert_int_equal(mem_bytes_total(), before);
}

/* A file that is cut after it was opened reads as zeros and is reported, instead of ending the process. */
static void test_file_shrinks_under_the_mapping(void **state) {
    (void)state;
    Text out = {0};
    put_header(&out, 1, 0);
    put_tensor(&out, "a", 65536, 0);
    put_floats(&out, 65536, 1);
    save("a.gguf", &out);
    ModelFiles *files = opened(at("a.gguf"));
    Error err = {0};
    assert_int_equal(model_files_check(files, &err), OK);
    assert_int_equal(truncate(at("a.gguf"), 4096), 0);
    const Tensor *tensor = model_files_find(files, "a");
    float last;
    dequantise_row(tensor->type, tensor->data + tensor->bytes - 4, &last, 1);
    assert_true(last == 0);
    assert_int_equal(model_files_check(files, &err), ERR_IO);
    assert_non_null(strstr(err.text, "a.gguf"));
    model_files_close(files);
}

/* The 1st, 2nd, … allocation fails, until opening succeeds: an error each time, nothing lost. */
static void open_without_memory(const char *path, long at_least) {
    const size_t before = mem_bytes_total();
    long n = 1;
    for (;; n++) {
        ModelFiles *files = NULL;
        Error err = {0};
        mem_fail_at(n);
        const Status status = model_files_open(path, &files, &err);
        const bool struck = mem_fail_hit();
        mem_fail_at(0);
        if (!struck) {
            assert_int_equal(status, OK);
            model_files_close(files);
            break;
        }
        if (status != ERR_MEMORY)
            fail_msg("allocation %ld of %s: %s, \"%s\"", n, path, status_word(status), err.text);
        assert_null(files);
        assert_int_equal(mem_bytes_total(), before);
    }
    assert_int_equal(mem_bytes_total(), before);
    assert_true(n > at_least);
}

static void test_opening_without_memory(void **state) {
    (void)state;
    char path[GOLDEN_PATH_BYTES];
    open_without_memory(golden_path(path, "gguf/types/PLAIN.gguf"), 10);
    save_part("m-00001-of-00002.gguf", 0, 2, 2, "a");
    save_part("m-00002-of-00002.gguf", 1, 2, 2, "b");
    open_without_memory(folder, 20);
    save_small("one.safetensors", "n\\u00e4me");
    save_safetensors("two.safetensors",
                     "{\"__metadata__\":{\"format\":\"pt\"},"
                     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
                     "\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                     8);
    put_text_file("config.json", "{\"model_type\":\"x\",\"eps\":NaN,\"layers\":[1,2]}");
    open_without_memory(folder, 25);
    put_text_file("model.safetensors.index.json",
                  "{\"weight_map\":{\"b\":\"two.safetensors\",\"n\\u00e4me\":\"one.safetensors\"}}");
    open_without_memory(folder, 30);
}

/* ---- many tensors ---------------------------------------------------------------------------------------------- */

/* The largest mixtures of experts have over 100,000 tensors; nothing may grow with their square. */
static void test_many_tensors(void **state) {
    (void)state;
    enum { MANY = 100000 };
    Text out = {0};
    put_header(&out, MANY, 0);
    char name[64];
    for (int i = 0; i < MANY; i++) { /* backwards in the file, so that the check for overlaps has to sort */
        snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.up_proj.weight", i / 300, i % 300);
        put_tensor(&out, name, 8, (uint64_t)(MANY - 1 - i) * 32);
    }
    put_floats(&out, (size_t)MANY * 8, 0);
    save("many.gguf", &out);
    ModelFiles *files = opened(at("many.gguf"));
    assert_int_equal(model_files_tensors(files), MANY);
    assert_int_equal(model_files_find(files, name)->offset % 32, 0);
    assert_true(mem_bytes(MEM_FORMAT) < (size_t)40 << 20);
    model_files_close(files);
}

/* ---- writing safetensors --------------------------------------------------------------------------------------- */

static Status write_two(const char *path, Error *err) {
    static const size_t dims[] = {2, 3}, none[] = {0};
    static const float a[] = {1, 2, 3, 4, 5, NAN};
    static const uint8_t c[] = {7};
    const SafetensorsEntry entries[] = {
        {.name = "a \"é\"\n", .type = DT_F32, .n_dim = 2, .dims = dims},
        {.name = "b", .type = DT_F32, .n_dim = 1, .dims = none},
        {.name = "c", .type = DT_U8},
    };
    const SafetensorsText texts[] = {{"format", "pt"}, {"made by", "houle"}};
    SafetensorsWriter *writer;
    TRY(safetensors_writer_open(path, entries, COUNT(entries), texts, COUNT(texts), &writer, err));
    Status status = safetensors_writer_write(writer, a, 10, err); /* pieces may end anywhere */
    if (status == OK)
        status = safetensors_writer_write(writer, (const char *)a + 10, sizeof a - 10, err);
    if (status == OK)
        status = safetensors_writer_write(writer, c, 1, err);
    assert_false(file_exists(path));
    if (status != OK) {
        safetensors_writer_cancel(writer);
        return status;
    }
    return safetensors_writer_commit(writer, err);
}

static void test_writer_round_trip(void **state) {
    (void)state;
    Error err = {0};
    assert_int_equal(write_two(at("w.safetensors"), &err), OK);
    ModelFiles *files = opened(at("w.safetensors"));
    const Tensor *a = model_files_find(files, "a \"é\"\n");
    assert_true(a->n_dim == 2 && a->dims[0] == 2 && a->dims[1] == 3 && a->offset % 8 == 0);
    assert_int_equal(load_u32(a->data + 4), 0x40000000);
    assert_true(model_files_find(files, "c")->n_dim == 0 && *model_files_find(files, "c")->data == 7);
    assert_memory_equal(model_files_meta_find(files, "made by")->as.string.bytes, "houle", 5);
    model_files_close(files);
}

static void test_writer_refuses(void **state) {
    (void)state;
    Error err = {0};
    const size_t three = 3, odd[] = {3, 3}, huge[] = {SIZE_MAX / 2, 4};
    const SafetensorsEntry pairs[][2] = {
        {{"a", DT_U8, 1, &three}, {"b", DT_F32, 1, &three}},   /* would lie at an odd offset */
        {{"a", DT_F32, 1, &three}, {"a", DT_F32, 1, &three}},  /* twice */
        {{"a", DT_F32, 1, &three}, {"b", DT_Q4_0, 1, &three}}, /* no such type there */
        {{"a", DT_F32, 1, &three}, {"b", DT_F4_E2M1, 2, odd}}, /* nine half bytes */
        {{"a", DT_F32, 1, &three}, {"b", DT_F32, 2, huge}},
    };
    SafetensorsWriter *writer;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        error_clear(&err);
        assert_int_equal(safetensors_writer_open(at("w"), pairs[i], 2, NULL, 0, &writer, &err), ERR_ARGUMENT);
        assert_null(writer);
    }
    error_clear(&err);
    assert_int_equal(safetensors_writer_open(at("w"), pairs[0], 1, NULL, 0, &writer, &err), OK);
    assert_int_equal(safetensors_writer_write(writer, "1234", 4, &err), ERR_ARGUMENT); /* more than declared */
    error_clear(&err);
    assert_int_equal(safetensors_writer_write(writer, "12", 2, &err), OK);
    assert_int_equal(safetensors_writer_commit(writer, &err), ERR_ARGUMENT); /* less than declared */
    assert_int_equal(rmdir(folder), 0);                                      /* and nothing was left */
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void test_writing_without_memory(void **state) {
    (void)state;
    const size_t before = mem_bytes_total();
    long n = 1;
    for (bool struck = true; struck; n++) {
        Error err = {0};
        mem_fail_at(n);
        const Status status = write_two(at("w.safetensors"), &err);
        struck = mem_fail_hit();
        mem_fail_at(0);
        assert_int_equal(status, struck ? ERR_MEMORY : OK);
        assert_int_equal(mem_bytes_total(), before);
        assert_int_equal(file_exists(at("w.safetensors")), !struck);
    }
    assert_true(n > 5);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        /* First: cmocka sets handlers of its own before each test, ours is set when the first file is mapped. */
        IN_FOLDER(test_file_shrinks_under_the_mapping),
        IN_FOLDER(test_gguf_values_and_shapes),
        IN_FOLDER(test_gguf_odd_but_valid),
        IN_FOLDER(test_gguf_refused),
        IN_FOLDER(test_gguf_array_of_too_many_strings),
        IN_FOLDER(test_gguf_split),
        IN_FOLDER(test_safetensors_types),
        IN_FOLDER(test_safetensors_refused),
        IN_FOLDER(test_folder_picks_the_right_files),
        IN_FOLDER(test_folder_with_gguf),
        IN_FOLDER(test_folder_with_config),
        IN_FOLDER(test_index_refused),
        IN_FOLDER(test_damaged_golden_files),
        IN_FOLDER(test_opening_without_memory),
        IN_FOLDER(test_many_tensors),
        IN_FOLDER(test_writer_round_trip),
        IN_FOLDER(test_writer_refuses),
        IN_FOLDER(test_writing_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
