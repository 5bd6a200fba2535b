/* store_model.c - see store_model.h. */
#include "store/store_model.h"

#include "base/file.h"
#include "base/mem.h"

#include <string.h>

void store_list_init(StoreList *list) {
    *list = (StoreList){0};
    arena_init(&list->arena, MEM_MISC);
}

void store_list_free(StoreList *list) {
    mem_free(list->items);
    arena_free(&list->arena);
    *list = (StoreList){0};
}

StoreModel store_model_empty(void) {
    return (StoreModel){.name = "", .origin = "", .publisher = "", .licence = "", .licence_link = "", .revision = "", .label = "",
                        .root = "", .entry = ""};
}

StoreModel *store_list_add(StoreList *list) {
    if (!mem_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items, MEM_MISC))
        return NULL;
    StoreModel *m = &list->items[list->count++];
    *m = store_model_empty();
    return m;
}

const char *source_word(ModelSource source) {
    static const char *const words[SOURCE_COUNT] = {"hub", "url", "path", "copy", "huggingface", "lm-studio", "ollama"};
    return (size_t)source < SOURCE_COUNT ? words[source] : "unknown";
}

char *store_model_path(const StoreModel *model) {
    if (*model->entry == '\0')
        return mem_strdup(model->root, MEM_MISC);
    for (size_t i = 0; i < model->n_file; i++)
        if (model->files[i].link != NULL && strcmp(model->files[i].path, model->entry) == 0)
            return mem_strdup(model->files[i].link, MEM_MISC);
    return path_join(model->root, model->entry);
}

char *store_file_path(const StoreModel *model, const ModelFile *file) {
    return file->link != NULL ? mem_strdup(file->link, MEM_MISC) : path_join(model->root, file->path);
}
