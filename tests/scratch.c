/* scratch.c - see scratch.h. */
#include "scratch.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

char scratch[64];

int make_scratch(void **state) {
    (void)state;
    snprintf(scratch, sizeof scratch, "/tmp/houle_store_XXXXXX");
    if (mkdtemp(scratch) == NULL)
        return -1;
    setenv("HOME", scratch, 1);
    static const char *const unset[] = {"XDG_DATA_HOME",         "XDG_CACHE_HOME", "HF_HOME",  "HF_HUB_CACHE",
                                        "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS",  "HF_TOKEN", "HF_ENDPOINT"};
    for (size_t i = 0; i < COUNT(unset); i++)
        unsetenv(unset[i]);
    return 0;
}

void remove_tree(const char *path) {
    Arena arena;
    FolderEntry *entries;
    size_t count;
    arena_init(&arena, MEM_MISC);
    assert_int_equal(folder_list(path, 100000, &arena, &entries, &count, NULL), OK);
    for (size_t i = 0; i < count; i++) {
        char *inner = path_join(path, entries[i].name);
        struct stat st;
        if (lstat(inner, &st) == 0 && S_ISDIR(st.st_mode))
            remove_tree(inner);
        else
            unlink(inner);
        mem_free(inner);
    }
    rmdir(path);
    arena_free(&arena);
}

int drop_scratch(void **state) {
    (void)state;
    remove_tree(scratch);
    return 0;
}

char *in_scratch(const char *name) {
    char *path = path_join(scratch, name);
    assert_non_null(path);
    return path;
}

void write_file(const char *name, const void *content, size_t bytes) {
    char *path = in_scratch(name);
    char *folder = mem_strndup(path, (size_t)(path_name(path) - path), MEM_MISC);
    assert_int_equal(file_make_directories(folder, NULL), OK);
    assert_int_equal(file_write_atomic(path, content, bytes, NULL), OK);
    mem_free(folder);
    mem_free(path);
}

void write_text(const char *name, const char *text) {
    write_file(name, text, strlen(text));
}

bool exists_below(const char *name) {
    char *path = in_scratch(name);
    const bool exists = file_exists(path);
    mem_free(path);
    return exists;
}
