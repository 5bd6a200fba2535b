/* golden.h - where tests find reference data: the folder in HOULE_GOLDEN when the file is there, else the copy in the
 * tree (tests/golden), which holds part of it. */
#ifndef HOULE_TESTS_GOLDEN_H
#define HOULE_TESTS_GOLDEN_H

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

enum { GOLDEN_PATH_BYTES = 1024 };

/* The path of "gguf/types/Q4_K.gguf" in `buffer`; NULL when neither place has it. */
static inline const char *golden_path(char buffer[GOLDEN_PATH_BYTES], const char *relative) {
    static const char *const places[] = {"HOULE_GOLDEN", "HOULE_GOLDEN_LOCAL"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *folder = getenv(places[i]);
        if (folder == NULL)
            continue;
        snprintf(buffer, GOLDEN_PATH_BYTES, "%s/%s", folder, relative);
        if (file_exists(buffer))
            return buffer;
    }
    return NULL;
}

#endif
