/* fuzz_hub_json.c - the hub's answer about a model, from bytes to the files that would be fetched. */
#include "base/file.h"
#include "base/mem.h"
#include "store/hub.h"
#include "store/pick.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every file that is picked, or something could be written where it should not. */
static void check_pick(const Pick *pick) {
    for (size_t i = 0; i < pick->n_file; i++)
        if (!path_is_inside(pick->files[i]->path) || strlen(pick->files[i]->path) > HUB_MAX_PATH_BYTES)
            abort();
    if (*pick->entry != '\0' && !path_is_inside(pick->entry))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const wishes[] = {"", "Q4_K_M", "safetensors", "x.gguf", "model.safetensors"};
    HubModel model;
    if (hub_parse_model((const char *)data, size, &model, NULL) != OK)
        return 0;
    for (size_t i = 0; i < COUNT(wishes); i++) {
        Arena arena;
        Pick pick;
        arena_init(&arena, MEM_MISC);
        if (pick_files(&model, wishes[i], NULL, &arena, &pick, NULL) == OK)
            check_pick(&pick);
        arena_free(&arena);
    }
    hub_model_free(&model);
    return 0;
}
