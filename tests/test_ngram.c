/* test_ngram.c - hashed runs of tokens. Guards against: products that do not wrap at 64 bits, runs that reach across a stop
 * token or the beginning, remainders of negative numbers. */
#include "op/op_ngram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SIZE = 3, HEADS = 2, LISTS = (SIZE - 1) * HEADS, STOP = 2 };

static const int64_t factors[SIZE] = {16304757896083889, 11435418644576253, 7275717464594479};
static const int64_t sizes[LISTS] = {307, 311, 313, 317}, offsets[LISTS] = {0, 307, 618, 931};

static void rows_of(int a, int b, int c, int64_t rows[LISTS]) {
    const int32_t tokens[SIZE] = {a, b, c};
    op_ngram(rows, tokens, SIZE, HEADS, STOP, factors, sizes, offsets);
}

/* Worked out by hand with whole numbers of any length. */
static void test_known_rows(void **state) {
    (void)state;
    int64_t rows[LISTS];
    rows_of(383, 100, 17, rows);
    static const int64_t want[LISTS] = {215, 388, 671, 1103};
    for (int j = 0; j < LISTS; j++)
        assert_true(rows[j] == want[j]);
}

static void test_runs_end_at_a_stop(void **state) {
    (void)state;
    int64_t a[LISTS], b[LISTS];
    rows_of(50, STOP, 60, a);
    rows_of(50, STOP, 61, b); /* what lies behind the stop is not seen */
    assert_memory_equal(a, b, sizeof a);
    rows_of(50, STOP, STOP, b);
    assert_memory_equal(a, b, sizeof a);
    rows_of(STOP, 60, 61, a); /* the token itself may be one, and sees what is before it */
    rows_of(STOP, 60, 62, b);
    assert_memory_equal(a, b, HEADS * sizeof *a);
    assert_memory_not_equal(a + HEADS, b + HEADS, HEADS * sizeof *a);
}

static void test_rows_stay_inside(void **state) {
    (void)state;
    static const int64_t wild[SIZE] = {INT64_MAX, INT64_MIN + 1, -3};
    for (int32_t t = 0; t < 2000; t++) {
        const int32_t tokens[SIZE] = {t, INT32_MAX - t, 7 * t};
        int64_t rows[LISTS];
        op_ngram(rows, tokens, SIZE, HEADS, STOP, wild, sizes, offsets);
        for (int j = 0; j < LISTS; j++)
            assert_true(rows[j] >= offsets[j] && rows[j] < offsets[j] + sizes[j]);
    }
}

static void test_signed_root(void **state) {
    (void)state;
    assert_true(op_signed_root(0) == 0);
    assert_true(op_signed_root(4) == 2 && op_signed_root(-9) == -3);
    assert_true(op_signed_root(1e-9f) == sqrtf(1e-6f) && op_signed_root(-1e-9f) == -sqrtf(1e-6f));
    assert_true(isnan(op_signed_root(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_rows),
        cmocka_unit_test(test_runs_end_at_a_stop),
        cmocka_unit_test(test_rows_stay_inside),
        cmocka_unit_test(test_signed_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
