/* test_dtype.c - each stored form against values computed by ggml and its Python package (golden/gguf/types), to the
 * last bit; plain forms against values known from their definition. */
#include "format/model_files.h"
#include "golden.h"

#include "base/half.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static ModelFiles *opened(const char *relative) {
    char path[GOLDEN_PATH_BYTES];
    ModelFiles *files = NULL;
    Error err = {0};
    if (golden_path(path, relative) == NULL)
        fail_msg("no golden file %s", relative);
    if (model_files_open(path, &files, &err) != OK)
        fail_msg("%s", err.text);
    return files;
}

static bool same_number(float a, float b) {
    return (isnan(a) && isnan(b)) || bits_of_float(a) == bits_of_float(b);
}

/* Compares a stored tensor, row by row and from an odd address (safetensors promises no alignment), with the float
 * values of the reference. Returns how many numbers there were. */
static size_t compare_tensor(const char *type, const Tensor *stored, const Tensor *reference) {
    const size_t columns = tensor_columns(stored), rows = tensor_rows(stored);
    assert_int_equal(reference->n_dim, stored->n_dim);
    assert_memory_equal(reference->dims, stored->dims, sizeof(size_t) * (size_t)stored->n_dim);
    const size_t stored_bytes = dtype_row_bytes(stored->type, columns);
    const size_t reference_bytes = dtype_row_bytes(reference->type, columns);
    assert_int_equal(stored_bytes * rows, stored->bytes);
    uint8_t *copy = mem_alloc(stored_bytes + 1, MEM_MISC);
    float *got = mem_array(columns, sizeof *got, MEM_MISC), *want = mem_array(columns, sizeof *want, MEM_MISC);
    for (size_t row = 0; row < rows; row++) {
        memcpy(copy + 1, stored->data + row * stored_bytes, stored_bytes);
        dequantise_row(stored->type, copy + 1, got, columns);
        dequantise_row(reference->type, reference->data + row * reference_bytes, want, columns);
        for (size_t i = 0; i < columns; i++)
            if (!same_number(got[i], want[i]))
                fail_msg("%s %s[%zu][%zu]: %a, the reference has %a", type, stored->name, row, i, (double)got[i],
                         (double)want[i]);
    }
    mem_free(copy);
    mem_free(got);
    mem_free(want);
    return columns * rows;
}

static size_t compare_files(const char *type) {
    char relative[64];
    snprintf(relative, sizeof relative, "gguf/types/%s.gguf", type);
    ModelFiles *stored = opened(relative);
    snprintf(relative, sizeof relative, "gguf/types/%s.safetensors", type);
    ModelFiles *reference = opened(relative);
    size_t numbers = 0;
    for (size_t i = 0; i < model_files_tensors(stored); i++) {
        const Tensor *tensor = model_files_tensor(stored, i);
        const Tensor *twin = model_files_find(reference, tensor->name);
        assert_non_null(twin);
        numbers += compare_tensor(type, tensor, twin);
    }
    model_files_close(stored);
    model_files_close(reference);
    return numbers;
}

static void test_every_block_form(void **state) {
    (void)state;
    int forms = 0;
    for (int type = 0; type < DT_COUNT; type++) {
        /* Q8_1 and Q8_K are intermediate forms of activations: no file of the set has them. */
        if (!dtype_info((DType)type)->quantised || type == DT_Q8_1 || type == DT_Q8_K)
            continue;
        assert_int_equal(compare_files(dtype_name((DType)type)), 8 * 256 + 4 * 512 + 3 * 1024 + 2 * 1024);
        forms++;
    }
    assert_int_equal(forms, 25);
}

/* Infinities, NaN, subnormals and extremes are among them. */
static void test_plain_forms_of_files(void **state) {
    (void)state;
    compare_files("F16");
    compare_files("BF16");
    assert_int_equal(compare_files("PLAIN"), 218);
}

static void expect(DType type, const void *stored, const float *want, size_t count) {
    float got[32];
    dequantise_row(type, stored, got, count);
    for (size_t i = 0; i < count; i++)
        if (!same_number(got[i], want[i]))
            fail_msg("%s[%zu]: %a, not %a", dtype_name(type), i, (double)got[i], (double)want[i]);
}

static void test_plain_forms(void **state) {
    (void)state;
    expect(DT_U8, "\xff\x00", (const float[]){255, 0}, 2);
    expect(DT_BOOL, "\x01\x00\x02", (const float[]){1, 0, 1}, 3);
    expect(DT_U16, "\xff\xff", (const float[]){65535}, 1);
    expect(DT_U32, "\xff\xff\xff\xff", (const float[]){0x1p32f}, 1);
    expect(DT_U64, "\xff\xff\xff\xff\xff\xff\xff\xff", (const float[]){0x1p64f}, 1);
    expect(DT_I64, "\x00\x00\x00\x00\x00\x00\x00\x80", (const float[]){-0x1p63f}, 1);
    const double doubles[] = {0.1, 1e300, -1e-300, (double)NAN};
    expect(DT_F64, doubles, (const float[]){0.1f, INFINITY, -0.0f, NAN}, 4);
    expect(DT_F8_E4M3, "\x00\x80\x01\x38\x7e\x7f\xfe", (const float[]){0, -0.0f, 0x1p-9f, 1, 448, NAN, -448}, 7);
    expect(DT_F8_E5M2, "\x00\x01\x3c\x7b\x7c\xfc\x7d", (const float[]){0, 0x1p-16f, 1, 57344, INFINITY, -INFINITY, NAN},
           7);
    expect(DT_E8M0, "\x00\x7f\xfe\xff", (const float[]){0x1p-127f, 1, 0x1p127f, NAN}, 4);
    expect(DT_F4_E2M1, "\x10\x32\x54\x76\x98\xba\xdc\xfe",
           (const float[]){0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6}, 16);
}

/* The forms of activations: a scale, sums that are passed over, signed bytes. */
static void test_activation_forms(void **state) {
    (void)state;
    uint8_t q8_1[36] = {0x00, 0x38 /* 0.5 */, 0xff, 0xff};
    q8_1[4] = 0x80;
    q8_1[35] = 3;
    float want[256] = {-64};
    want[31] = 1.5f;
    expect(DT_Q8_1, q8_1, want, 32);
    uint8_t q8_k[292] = {0, 0, 0x80, 0x3e /* 0.25 */};
    q8_k[4 + 255] = 0xff;
    memset(q8_k + 260, 0xff, 32);
    float got[256];
    dequantise_row(DT_Q8_K, q8_k, got, 256);
    assert_true(got[0] == 0 && got[255] == -0.25f);
}

/* Any bits are a number: scales that are NaN or infinite, codes of all ones; no index leaves its table (sanitizers). */
static void test_any_bits(void **state) {
    (void)state;
    uint8_t block[512];
    float out[256];
    uint64_t seed = 7;
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof block; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            block[i] = round == 0 ? 0xff : round == 1 ? 0 : (uint8_t)(seed >> 40);
        }
        for (int type = 0; type < DT_COUNT; type++)
            dequantise_row((DType)type, block, out, dtype_info((DType)type)->block_length);
    }
}

static void test_table(void **state) {
    (void)state;
    DType type;
    for (int i = 0; i < DT_COUNT; i++) {
        const DTypeInfo *info = dtype_info((DType)i);
        assert_non_null(info->name);
        assert_true(info->block_bytes > 0 && info->block_length > 0 && 256 % info->block_length == 0);
        assert_true(info->ggml_id < 0 || (dtype_of_ggml((uint32_t)info->ggml_id, &type) && type == (DType)i));
        assert_true(info->safetensors == NULL ||
                    (dtype_of_safetensors(info->safetensors, strlen(info->safetensors), &type) && type == (DType)i));
    }
    static const uint32_t removed[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 250, UINT32_MAX};
    for (size_t i = 0; i < COUNT(removed); i++)
        assert_false(dtype_of_ggml(removed[i], &type));
    assert_false(dtype_of_safetensors("F3", 2, &type));
    assert_false(dtype_of_safetensors("F32x", 4, &type));
    assert_int_equal(dtype_row_bytes(DT_Q4_K, 512), 288);
    assert_int_equal(dtype_row_bytes(DT_Q4_K, 511), 0);
    assert_int_equal(dtype_row_bytes(DT_F64, SIZE_MAX / 4), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_block_form), cmocka_unit_test(test_plain_forms_of_files),
        cmocka_unit_test(test_plain_forms),      cmocka_unit_test(test_activation_forms),
        cmocka_unit_test(test_any_bits),         cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
