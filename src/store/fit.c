/* fit.c - see fit.h. All numbers come from strangers' files: they are clamped, never trusted in a product. */
#include "store/fit.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

enum { USUAL_CONTEXT = 4096, MAX_LAYERS = 4096, CACHE_NUMBER_BYTES = 2 };
static const uint64_t working_bytes = 256u << 20; /* activations of a batch, tokenizer, the program itself */

/* What the cache of a decoder holds for a token. */
typedef struct CacheShape {
    int64_t layers;                  /* that keep keys and values */
    int64_t heads, width_k, width_v; /* of one layer */
    int64_t latent;                  /* > 0: a compressed vector of this width takes the place of all heads' */
} CacheShape;

static int64_t clamped(int64_t number, int64_t most) {
    return number < 0 ? 0 : MIN(number, most);
}

static uint64_t cache_bytes(const CacheShape *shape) {
    enum { MOST = 1 << 20 };
    const uint64_t layers = (uint64_t)clamped(shape->layers, MAX_LAYERS);
    if (shape->latent > 0)
        return layers * (uint64_t)clamped(shape->latent, MOST) * CACHE_NUMBER_BYTES;
    const uint64_t width = (uint64_t)(clamped(shape->width_k, MOST) + clamped(shape->width_v, MOST));
    return layers * (uint64_t)clamped(shape->heads, 65536) * width * CACHE_NUMBER_BYTES;
}

static void set_context(FitNeeds *needs, int64_t limit) {
    needs->context = limit > 0 ? MIN(limit, USUAL_CONTEXT) : USUAL_CONTEXT;
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------- */

static const MetaValue *find_key(const ModelFiles *files, const char *architecture, const char *tail) {
    char key[128];
    snprintf(key, sizeof key, "%.60s.%s", architecture, tail);
    return model_files_meta_find(files, key);
}

static int64_t int_of(const ModelFiles *files, const char *architecture, const char *tail, int64_t otherwise) {
    int64_t number;
    return meta_int(find_key(files, architecture, tail), &number) ? number : otherwise;
}

/* Key/value heads may differ by layer; layers without any (recurrent ones) keep nothing per token. */
static void heads_of(const ModelFiles *files, const char *architecture, CacheShape *shape) {
    const MetaValue *heads = find_key(files, architecture, "attention.head_count_kv");
    int64_t number;
    if (meta_int(heads, &number)) {
        shape->heads = number;
        return;
    }
    if (heads == NULL || heads->type != META_ARRAY)
        return;
    int64_t layers = 0, most = 0;
    for (size_t i = 0; i < heads->as.array.count && i < MAX_LAYERS && meta_array_int(heads, i, &number); i++) {
        layers += number > 0;
        most = MAX(most, number);
    }
    shape->layers = layers;
    shape->heads = most;
}

void fit_of_gguf(const ModelFiles *files, FitNeeds *needs) {
    const MetaValue *name = model_files_meta_find(files, "general.architecture");
    if (name != NULL && name->type == META_STRING)
        snprintf(needs->architecture, sizeof needs->architecture, "%.*s", (int)MIN(name->as.string.count, 60),
                 name->as.string.bytes);
    const char *a = needs->architecture;
    set_context(needs, int_of(files, a, "context_length", 0));
    CacheShape shape = {.layers = int_of(files, a, "block_count", 0)};
    const int64_t all_heads = int_of(files, a, "attention.head_count", 0);
    const int64_t width = all_heads > 0 ? int_of(files, a, "embedding_length", 0) / all_heads : 0;
    shape.heads = all_heads;
    heads_of(files, a, &shape);
    shape.width_k = int_of(files, a, "attention.key_length", width);
    shape.width_v = int_of(files, a, "attention.value_length", width);
    const int64_t rank = int_of(files, a, "attention.kv_lora_rank", 0);
    if (rank > 0)
        shape.latent = clamped(rank, 1 << 20) + clamped(int_of(files, a, "rope.dimension_count", 0), 1 << 20);
    needs->cache_bytes_per_token = cache_bytes(&shape);
}

/* ---- config.json ------------------------------------------------------------------------------------------------- */

static int64_t config_int(const json_t *config, const char *key, int64_t otherwise) {
    const json_t *value = json_object_get(config, key);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

/* Layers that keep keys and values, where the configuration lists what each layer is. */
static int64_t layers_of(const json_t *config) {
    const json_t *types = json_object_get(config, "layer_types");
    const int64_t all = config_int(config, "num_hidden_layers", 0);
    if (!json_is_array(types))
        return all;
    int64_t n = 0;
    for (size_t i = 0; i < json_array_size(types) && i < MAX_LAYERS; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        n += type != NULL && strstr(type, "attention") != NULL && strstr(type, "linear") == NULL;
    }
    return n > 0 ? n : all;
}

void fit_of_config(const json_t *config, FitNeeds *needs) {
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    if (name == NULL)
        name = json_string_value(json_object_get(config, "model_type"));
    if (name != NULL)
        snprintf(needs->architecture, sizeof needs->architecture, "%.60s", name);
    const json_t *text = json_object_get(config, "text_config");
    if (json_is_object(text))
        config = text;
    set_context(needs, config_int(config, "max_position_embeddings", 0));
    const int64_t all_heads = config_int(config, "num_attention_heads", 0);
    const int64_t width = all_heads > 0 ? config_int(config, "hidden_size", 0) / all_heads : 0;
    CacheShape shape = {.layers = layers_of(config), .heads = config_int(config, "num_key_value_heads", all_heads)};
    shape.width_k = config_int(config, "head_dim", width);
    shape.width_v = config_int(config, "v_head_dim", shape.width_k);
    const int64_t rank = config_int(config, "kv_lora_rank", 0);
    if (rank > 0)
        shape.latent = clamped(rank, 1 << 20) + clamped(config_int(config, "qk_rope_head_dim", 0), 1 << 20);
    needs->cache_bytes_per_token = cache_bytes(&shape);
}

/* ---- adding up --------------------------------------------------------------------------------------------------- */

uint64_t fit_memory_bytes(const FitNeeds *needs) {
    const uint64_t cache = needs->cache_bytes_per_token * (uint64_t)needs->context;
    return needs->weight_bytes + cache + working_bytes;
}

static uint64_t number_in_file(const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    unsigned long long number = 0;
    if (fscanf(file, "%llu", &number) != 1) /* "max" */
        number = 0;
    fclose(file);
    return number;
}

Machine fit_machine(void) {
    Machine machine = {0};
    FILE *file = fopen("/proc/meminfo", "re");
    char line[160];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long kib;
        if (sscanf(line, "MemTotal: %llu", &kib) == 1)
            machine.memory_bytes = (uint64_t)kib * 1024;
        else if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
            machine.available_bytes = (uint64_t)kib * 1024;
    }
    if (file != NULL)
        fclose(file);
    const uint64_t limit = number_in_file("/sys/fs/cgroup/memory.max");
    if (limit > 0 && limit < machine.memory_bytes) {
        const uint64_t used = number_in_file("/sys/fs/cgroup/memory.current");
        machine.memory_bytes = limit;
        machine.available_bytes = MIN(machine.available_bytes, limit - MIN(used, limit));
    }
    return machine;
}

uint64_t fit_disk_bytes(const char *folder) {
    /* The folder may not be there yet: then the nearest one above it that is. */
    char *path = mem_strdup(folder, MEM_MISC);
    struct statvfs disk;
    uint64_t bytes = 0;
    while (path != NULL && *path != '\0') {
        if (statvfs(path, &disk) == 0) {
            bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
            break;
        }
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            break;
        if (slash == path && path[1] != '\0')
            slash++;
        *slash = '\0';
    }
    mem_free(path);
    return bytes;
}
