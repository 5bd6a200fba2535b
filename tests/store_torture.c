/* store_torture.c - store_torture NAME: pulls a model again and again, with the 1st, 2nd, ... n-th allocation failing.
 *
 * Driven by store_test.py, which runs the hub. Each pull must end with success or an error that says something, and
 * leave no memory behind; the last one, with all the memory it wants, must succeed. */
#include "base/mem.h"
#include "base/text.h"
#include "store/pull.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

static Status pull_once(const char *name, Error *err) {
    const PullRequest request = {.what = name, .connections = 2};
    PullResult result;
    const Status status = store_pull(&request, &result, err);
    pull_result_free(&result);
    return status;
}

static void remove_model(const char *name) {
    Text report = {0};
    store_remove(name, &report, NULL);
    text_free(&report);
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    for (int warm = 0; warm < 2; warm++) { /* what libraries allocate once stays */
        Error err = {0};
        if (pull_once(argv[1], &err) != OK) {
            fprintf(stderr, "with all memory: %s\n", err.text);
            return 1;
        }
        remove_model(argv[1]);
    }
    const size_t before = mem_bytes_total();
    long tries = 0;
    for (long n = 1;; n += 1 + n / 25) {
        Error err = {0};
        mem_fail_at(n);
        const Status status = pull_once(argv[1], &err);
        const bool struck = mem_fail_hit();
        mem_fail_at(0);
        tries++;
        if (mem_bytes_total() > before || (status != OK && err.text[0] == '\0')) {
            fprintf(stderr, "allocation %ld: status %s, message \"%s\", %zu bytes stay behind\n", n,
                    status_word(status), err.text, mem_bytes_total() - before);
            return 1;
        }
        if (status != OK)
            printf("%ld: %s\n", n, err.text);
        if (!struck) {
            printf("%ld tries, the last with %ld allocations: %s\n", tries, n, status_word(status));
            return status == OK ? 0 : 1;
        }
        if (status == OK)
            remove_model(argv[1]);
    }
}
