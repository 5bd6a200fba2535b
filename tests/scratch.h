/* scratch.h - a folder for each test of cmocka, which is also its HOME: TEST(name) makes it before and removes it
 * after.
 *
 * Variables that would lead to the models of whoever runs the tests are unset. */
#ifndef HOULE_TESTS_SCRATCH_H
#define HOULE_TESTS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

extern char scratch[64]; /* its path */

int make_scratch(void **state);
int drop_scratch(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, drop_scratch)

/* The path of `name` in it, fresh (mem_free). */
char *in_scratch(const char *name);
/* Writes a file, making its folders. */
void write_file(const char *name, const void *content, size_t bytes);
void write_text(const char *name, const char *text);
bool exists_below(const char *name);
/* Removes a folder with all that is in it; links are removed, not followed. */
void remove_tree(const char *path);

#endif
