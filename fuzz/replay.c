/* replay.c - runs a fuzz target over the files of folders, once each: the corpus as a test, on any compiler. */
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_folder(const char *folder) {
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        fprintf(stderr, "%s: cannot be listed\n", folder);
        return 0;
    }
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char *path = path_join(folder, entry->d_name);
        char *content = NULL;
        size_t bytes;
        if (path != NULL && !file_is_directory(path) &&
            file_read(path, (size_t)1 << 24, &content, &bytes, NULL) == OK) {
            LLVMFuzzerTestOneInput((const uint8_t *)content, bytes);
            count++;
        }
        mem_free(content);
        mem_free(path);
    }
    closedir(directory);
    return count;
}

int main(int argc, char **argv) {
    int count = 0;
    for (int i = 1; i < argc; i++)
        count += replay_folder(argv[i]);
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
