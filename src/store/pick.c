/* pick.c - see pick.h. Names are all there is to go by before anything is fetched, so this is a list of habits: those
 * of the publishers of GGUF files, of transformers, of diffusers, of sentence-transformers. */
#include "store/pick.h"

#include "base/file.h"
#include "store/manifest.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SMALL_FILE_BYTES = 96 << 20, LICENCE_FILE_BYTES = 1 << 20, OTHERS_SHOWN = 12 };

static bool ends_like(const char *text, const char *tail) {
    const size_t a = strlen(text), b = strlen(tail);
    return a >= b && strcasecmp(text + a - b, tail) == 0;
}

static bool begins_like(const char *text, const char *lead) {
    return strncasecmp(text, lead, strlen(lead)) == 0;
}

static bool at_top(const char *path) {
    return strchr(path, '/') == NULL;
}

static bool same_folder(const char *a, const char *b) {
    const size_t lead = (size_t)(path_name(a) - a);
    return lead == (size_t)(path_name(b) - b) && memcmp(a, b, lead) == 0;
}

/* ---- the list being made ----------------------------------------------------------------------------------------- */

static bool has_file(const Pick *pick, const HubFile *file) {
    for (size_t i = 0; i < pick->n_file; i++)
        if (pick->files[i] == file)
            return true;
    return false;
}

static void add_file(Pick *pick, const HubFile *file) {
    if (!has_file(pick, file))
        pick->files[pick->n_file++] = file;
}

static int compare_files(const void *a, const void *b) {
    const HubFile *x = *(const HubFile *const *)a, *y = *(const HubFile *const *)b;
    const bool small_x = x->bytes <= SMALL_FILE_BYTES, small_y = y->bytes <= SMALL_FILE_BYTES;
    return small_x != small_y ? (small_x ? -1 : 1) : strcmp(x->path, y->path);
}

static void add_licences(const HubModel *model, Pick *pick) {
    static const char *const leads[] = {"LICENSE", "LICENCE", "NOTICE", "USE_POLICY", "COPYING"};
    for (size_t i = 0; i < model->n_file; i++)
        for (size_t j = 0; j < COUNT(leads); j++)
            if (at_top(model->files[i].path) && begins_like(model->files[i].path, leads[j]) &&
                model->files[i].bytes <= LICENCE_FILE_BYTES)
                add_file(pick, &model->files[i]);
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------- */

typedef enum GgufKind { GGUF_MODEL, GGUF_PROJECTOR, GGUF_OTHER } GgufKind;

/* One model in the repository: a file, or all the parts of it. */
typedef struct GgufSet {
    const char *path; /* of its first file seen */
    size_t stem_bytes;
    GgufKind kind;
    int parts, n_part;
    uint64_t bytes;
    char label[QUANT_LABEL_BYTES];
} GgufSet;

typedef struct GgufSets {
    GgufSet *items;
    size_t count;
} GgufSets;

static bool is_gguf(const char *path) {
    return ends_like(path, ".gguf");
}

static bool has_word(const char *path, const char *word) {
    const size_t bytes = strlen(word);
    for (const char *p = path_name(path); *p != '\0'; p++)
        if (strncasecmp(p, word, bytes) == 0)
            return true;
    return false;
}

static GgufKind kind_of(const char *path) {
    if (has_word(path, "mmproj"))
        return GGUF_PROJECTOR;
    return has_word(path, "imatrix") ? GGUF_OTHER : GGUF_MODEL;
}

bool pick_begins_gguf(const char *path) {
    SplitName split;
    return is_gguf(path) && kind_of(path) == GGUF_MODEL && (!split_of_path(path, &split) || split.part == 1);
}

static size_t stem_of(const char *path, int *parts) {
    SplitName split;
    *parts = 1;
    if (!split_of_path(path, &split))
        return strlen(path) - strlen(".gguf");
    *parts = split.parts;
    return split.stem_bytes;
}

static Status collect_sets(const HubModel *model, Arena *arena, GgufSets *sets, Error *err) {
    sets->items = arena_array(arena, model->n_file, sizeof *sets->items);
    FAIL_IF(sets->items == NULL, ERR_MEMORY, "no memory for a list of files");
    for (size_t i = 0; i < model->n_file; i++) {
        const HubFile *file = &model->files[i];
        if (!is_gguf(file->path))
            continue;
        int parts;
        const size_t stem = stem_of(file->path, &parts);
        GgufSet *set = NULL;
        for (size_t j = 0; j < sets->count && set == NULL; j++) {
            GgufSet *s = &sets->items[j];
            if (s->stem_bytes == stem && s->parts == parts && memcmp(s->path, file->path, stem) == 0)
                set = s;
        }
        if (set == NULL) {
            set = &sets->items[sets->count++];
            *set = (GgufSet){.path = file->path, .stem_bytes = stem, .parts = parts, .kind = kind_of(file->path)};
            quant_of_path(file->path, set->label);
        }
        set->n_part++;
        if (file->bytes != HEAD_UNKNOWN)
            set->bytes += file->bytes;
    }
    return OK;
}

/* What a set is called in messages: its label, or its file. */
static const char *set_name(const GgufSet *set) {
    return set->label[0] != '\0' ? set->label : path_name(set->path);
}

static const char *list_sets(const GgufSets *sets, const GgufSet *but, bool paths, Arena *arena) {
    Text text = {0};
    int shown = 0, more = 0;
    for (size_t i = 0; i < sets->count; i++) {
        const GgufSet *s = &sets->items[i];
        if (s->kind != GGUF_MODEL || s == but)
            continue;
        if (shown == OTHERS_SHOWN) {
            more++;
            continue;
        }
        char size[16];
        text_append_format(&text, "%s%.100s (%s)", shown++ > 0 ? ", " : "", paths ? s->path : set_name(s),
                           format_bytes(s->bytes, size));
    }
    if (more > 0)
        text_append_format(&text, " and %d more", more);
    const char *copy = text.failed ? NULL : arena_strdup(arena, text.bytes != NULL ? text.bytes : "");
    text_free(&text);
    return copy != NULL ? copy : "";
}

static bool is_part_of(const GgufSet *set, const char *path) {
    int parts;
    return is_gguf(path) && stem_of(path, &parts) == set->stem_bytes && parts == set->parts &&
           memcmp(path, set->path, set->stem_bytes) == 0;
}

static bool set_has_path(const HubModel *model, const GgufSet *set, const char *wish) {
    for (size_t i = 0; i < model->n_file; i++) {
        const char *path = model->files[i].path;
        if (is_part_of(set, path) && (strcmp(path, wish) == 0 || strcmp(path_name(path), wish) == 0))
            return true;
    }
    return false;
}

/* How well a set is what was wished: 1 = not, 0 = not at all. Files and exact labels come before "UD-" ones. */
static int suits(const HubModel *model, const GgufSet *set, const char *wish) {
    if (set_has_path(model, set, wish))
        return 3;
    if (set->kind != GGUF_MODEL || !quant_matches(set->label, wish))
        return 0;
    return strcasecmp(set->label, wish) == 0 ? 2 : 1;
}

static Status choose_by_wish(const HubModel *model, const GgufSets *sets, const char *wish, Arena *arena,
                             const GgufSet **chosen, Error *err) {
    int best = 0, equals = 0;
    for (size_t i = 0; i < sets->count; i++) {
        const int how = suits(model, &sets->items[i], wish);
        if (how > best) {
            best = how;
            equals = 0;
            *chosen = &sets->items[i];
        }
        equals += how == best && how > 0;
    }
    FAIL_IF(best == 0, ERR_NOT_FOUND, "%s has no %s; there are: %s", model->id, wish,
            list_sets(sets, NULL, false, arena));
    FAIL_IF(equals > 1, ERR_ARGUMENT, "%s has %d models called %s; name one by its file: %s", model->id, equals, wish,
            list_sets(sets, NULL, true, arena));
    return OK;
}

/* The usual choice: four and a half bits a weight, which costs little quality, before larger and smaller ones. */
static Status choose_by_habit(const HubModel *model, const GgufSets *sets, Arena *arena, const GgufSet **chosen,
                              Error *err) {
    static const char *const habit[] = {"Q4_K_M", "UD-Q4_K_XL", "Q4_K_XL", "Q4_K_S", "Q4_K",   "MXFP4",  "MXFP4_MOE",
                                        "IQ4_XS", "IQ4_NL",     "Q4_0",    "Q4_1",   "Q5_K_M", "Q5_K_S", "Q5_0",
                                        "Q6_K",   "Q8_0",       "Q3_K_M",  "BF16",   "F16",    "F32"};
    size_t best = COUNT(habit) + 1;
    int equals = 0;
    for (size_t i = 0; i < sets->count; i++) {
        const GgufSet *s = &sets->items[i];
        if (s->kind != GGUF_MODEL)
            continue;
        size_t rank = 0;
        while (rank < COUNT(habit) && strcmp(habit[rank], s->label) != 0)
            rank++;
        if (rank < best) {
            best = rank;
            equals = 0;
            *chosen = s;
        }
        equals += rank == best;
    }
    FAIL_IF(*chosen == NULL, ERR_NOT_FOUND, "%s holds no model, only parts that go with one", model->id);
    FAIL_IF(equals > 1, ERR_ARGUMENT, "%s holds several models; say which, with ':' and a quantisation or file: %s",
            model->id, list_sets(sets, NULL, best < COUNT(habit), arena));
    return OK;
}

static const GgufSet *choose_projector(const GgufSets *sets) {
    static const char *const habit[] = {"F16", "BF16", "Q8_0", "F32"};
    const GgufSet *chosen = NULL;
    size_t best = COUNT(habit) + 1;
    for (size_t i = 0; i < sets->count; i++) {
        const GgufSet *s = &sets->items[i];
        size_t rank = 0;
        while (rank < COUNT(habit) && strcmp(habit[rank], s->label) != 0)
            rank++;
        if (s->kind == GGUF_PROJECTOR && rank < best) {
            best = rank;
            chosen = s;
        }
    }
    return chosen;
}

static Status add_set(const HubModel *model, const GgufSet *set, Pick *pick, const char **first, Error *err) {
    FAIL_IF(set->n_part != set->parts, ERR_NOT_FOUND, "%s: of %s, %d of %d parts are there", model->id, set_name(set),
            set->n_part, set->parts);
    *first = NULL;
    for (size_t i = 0; i < model->n_file; i++) {
        const char *path = model->files[i].path;
        if (!is_part_of(set, path))
            continue;
        add_file(pick, &model->files[i]);
        if (*first == NULL || strcmp(path, *first) < 0)
            *first = path;
    }
    return OK;
}

static Status pick_gguf(const HubModel *model, const char *wish, Arena *arena, Pick *pick, Error *err) {
    GgufSets sets = {0};
    TRY(collect_sets(model, arena, &sets, err));
    const GgufSet *chosen = NULL;
    if (*wish != '\0')
        TRY(choose_by_wish(model, &sets, wish, arena, &chosen, err));
    else
        TRY(choose_by_habit(model, &sets, arena, &chosen, err));
    TRY(add_set(model, chosen, pick, &pick->entry, err));
    const GgufSet *projector = choose_projector(&sets);
    const char *unused;
    if (projector != NULL && projector != chosen)
        TRY(add_set(model, projector, pick, &unused, err));
    pick->gguf = true;
    pick->weights = pick->entry;
    pick->others = list_sets(&sets, chosen, false, arena);
    memcpy(pick->label, chosen->label, sizeof pick->label);
    /* A label names the model if no other set has it; else its file does. */
    int same = 0;
    for (size_t i = 0; i < sets.count; i++)
        same += sets.items[i].kind == GGUF_MODEL && strcmp(sets.items[i].label, chosen->label) == 0;
    pick->selection = chosen->label[0] != '\0' && same == 1 ? chosen->label : path_name(pick->entry);
    return OK;
}

/* ---- safetensors ------------------------------------------------------------------------------------------------- */

static bool is_safetensors(const char *path) {
    return ends_like(path, ".safetensors");
}

static bool is_pickle(const char *path) {
    static const char *const tails[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
    for (size_t i = 0; i < COUNT(tails); i++)
        if (ends_like(path, tails[i]))
            return true;
    return false;
}

/* Small files at the top that a model needs to be used, by what they are called. */
static bool is_companion(const HubFile *file) {
    const char *name = path_name(file->path);
    if (file->bytes > SMALL_FILE_BYTES && file->bytes != HEAD_UNKNOWN)
        return false;
    if (ends_like(name, ".json"))
        return !ends_like(name, ".index.json") && strcmp(name, "trainer_state.json") != 0 &&
               strcmp(name, MANIFEST_NAME) != 0;
    static const char *const tails[] = {".jinja", ".tiktoken", ".spm"};
    for (size_t i = 0; i < COUNT(tails); i++)
        if (ends_like(name, tails[i]))
            return true;
    static const char *const names[] = {
        "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
        "source.spm", "target.spm"};
    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return ends_like(name, ".model") && has_word(name, "tok");
}

/* The path "model.safetensors" for "model.fp16.safetensors", when the repository has both: the second is a copy. */
static bool is_copy(const HubModel *model, const char *path) {
    static const char *const marks[] = {".fp16", ".bf16", ".fp32", ".non_ema", ".ema_only"};
    for (size_t i = 0; i < COUNT(marks); i++) {
        const char *mark = strstr(path_name(path), marks[i]);
        if (mark == NULL || strlen(path) >= HUB_MAX_PATH_BYTES)
            continue;
        char plain[HUB_MAX_PATH_BYTES + 1];
        const size_t lead = (size_t)(mark - path);
        memcpy(plain, path, lead);
        memcpy(plain + lead, mark + strlen(marks[i]), strlen(mark + strlen(marks[i])) + 1);
        if (hub_find_file(model, plain) != NULL)
            return true;
        /* The full set may be cut into parts while the copy is not. */
        for (size_t j = 0; j < model->n_file; j++) {
            const char *other = model->files[j].path;
            if (is_safetensors(other) && strncmp(other, path, lead) == 0 && other[lead] == '-')
                return true;
        }
    }
    return false;
}

/* Weights at the top: what transformers and its relatives call them. */
typedef enum TopName { TOP_MODEL, TOP_CONSOLIDATED, TOP_ADAPTER, TOP_OTHER } TopName;

static TopName top_name(const char *path) {
    if (begins_like(path, "model.safetensors") || begins_like(path, "model-"))
        return TOP_MODEL;
    if (begins_like(path, "consolidated"))
        return TOP_CONSOLIDATED;
    return begins_like(path, "adapter_model") ? TOP_ADAPTER : TOP_OTHER;
}

static size_t count_top(const HubModel *model, TopName name) {
    size_t n = 0;
    for (size_t i = 0; i < model->n_file; i++) {
        const char *path = model->files[i].path;
        n += at_top(path) && is_safetensors(path) && !is_copy(model, path) && top_name(path) == name;
    }
    return n;
}

static void add_top(const HubModel *model, TopName name, Pick *pick) {
    for (size_t i = 0; i < model->n_file; i++) {
        const char *path = model->files[i].path;
        if (!at_top(path) || !is_safetensors(path) || is_copy(model, path) || top_name(path) != name)
            continue;
        add_file(pick, &model->files[i]);
        if (pick->weights == NULL)
            pick->weights = path;
    }
}

/* Every shard that the index names must be there. */
static Status add_indexed(const HubModel *model, const HubFile *index_file, const json_t *index, Pick *pick,
                          Error *err) {
    const json_t *map = json_object_get(index, "weight_map");
    FAIL_IF(!json_is_object(map), ERR_FORMAT, "%s of %s has no weight_map", index_file->path, model->id);
    add_file(pick, index_file);
    const char *key;
    const json_t *value;
    const HubFile *last = NULL;
    json_object_foreach((json_t *)map, key, value) {
        const char *name = json_string_value(value);
        FAIL_IF(name == NULL, ERR_FORMAT, "%s of %s: the file of %.100s is no string", index_file->path, model->id,
                key);
        if (last != NULL && strcmp(last->path, name) == 0)
            continue; /* thousands of tensors in a row lie in the same shard */
        last = hub_find_file(model, name);
        FAIL_IF(last == NULL || !is_safetensors(name), ERR_FORMAT,
                "%s of %s names the file %.200s, which the repository does not hold", index_file->path, model->id,
                name);
        add_file(pick, last);
        if (pick->weights == NULL || strcmp(name, pick->weights) < 0)
            pick->weights = last->path;
    }
    FAIL_IF(pick->weights == NULL, ERR_FORMAT, "%s of %s names no file", index_file->path, model->id);
    return OK;
}

static bool is_copies_folder(const char *path) {
    static const char *const folders[] = {"original/", "metal/", "onnx/", "openvino/",   "gguf/",
                                          "coreml/",   "flax/",  "tf/",   "checkpoints/"};
    for (size_t i = 0; i < COUNT(folders); i++)
        if (begins_like(path, folders[i]))
            return true;
    return false;
}

/* A pipeline of several networks, each in a folder of its own (diffusers). */
static void add_pipeline(const HubModel *model, Pick *pick) {
    for (size_t i = 0; i < model->n_file; i++) {
        const HubFile *file = &model->files[i];
        if (at_top(file->path) || is_copies_folder(file->path))
            continue;
        const bool weights = is_safetensors(file->path) && !is_copy(model, file->path);
        if (!weights && !is_companion(file) && !ends_like(file->path, ".safetensors.index.json"))
            continue;
        add_file(pick, file);
        if (weights && pick->weights == NULL)
            pick->weights = file->path;
    }
}

/* "1_Pooling/config.json", "2_Dense/model.safetensors": the steps behind an embedding model (sentence-transformers). */
static void add_numbered_folders(const HubModel *model, Pick *pick) {
    for (size_t i = 0; i < model->n_file; i++) {
        const HubFile *file = &model->files[i];
        const char *path = file->path;
        const size_t digits = strspn(path, "0123456789");
        if (digits > 0 && path[digits] == '_' && strchr(path, '/') != NULL &&
            (is_companion(file) || (is_safetensors(path) && !is_copy(model, path))))
            add_file(pick, file);
    }
}

static void add_companions(const HubModel *model, Pick *pick) {
    for (size_t i = 0; i < model->n_file; i++)
        if ((at_top(model->files[i].path) || begins_like(model->files[i].path, "additional_chat_templates/")) &&
            is_companion(&model->files[i]))
            add_file(pick, &model->files[i]);
    add_numbered_folders(model, pick);
}

static Status complain_of_nothing(const HubModel *model, Error *err) {
    int pickles = 0, below = 0;
    for (size_t i = 0; i < model->n_file; i++) {
        pickles += is_pickle(model->files[i].path);
        below += is_safetensors(model->files[i].path);
    }
    FAIL_IF(below > 0, ERR_NOT_FOUND, "%s has no weights at its top, only in folders; name a file with ':'", model->id);
    FAIL_IF(pickles > 0, ERR_UNSUPPORTED,
            "%s has its weights as pickles only (.bin, .pt, ...). Opening one runs the code in it, so houle does not "
            "take them; look for a repository with safetensors or GGUF files",
            model->id);
    return error_set(err, ERR_NOT_FOUND, "%s holds neither GGUF nor safetensors files", model->id);
}

static const char *list_tops(const HubModel *model, Arena *arena) {
    Text text = {0};
    int shown = 0;
    for (size_t i = 0; i < model->n_file && shown < OTHERS_SHOWN; i++)
        if (at_top(model->files[i].path) && is_safetensors(model->files[i].path))
            text_append_format(&text, "%s%s", shown++ > 0 ? ", " : "", model->files[i].path);
    const char *copy = text.failed || text.bytes == NULL ? "" : arena_strdup(arena, text.bytes);
    text_free(&text);
    return copy != NULL ? copy : "";
}

static Status pick_set(const HubModel *model, const json_t *index, Arena *arena, Pick *pick, Error *err) {
    const HubFile *index_file = pick_index(model, "");
    if (hub_find_file(model, "model_index.json") != NULL) {
        add_pipeline(model, pick);
    } else if (index_file != NULL && index != NULL) {
        TRY(add_indexed(model, index_file, index, pick, err));
    } else {
        for (int name = TOP_MODEL; name <= TOP_OTHER && pick->n_file == 0; name++) {
            /* "model.safetensors" is all of it; parts beside it belong to another cut of the same weights. */
            const HubFile *one = name == TOP_MODEL ? hub_find_file(model, "model.safetensors") : NULL;
            FAIL_IF(name == TOP_OTHER && count_top(model, TOP_OTHER) > 1, ERR_ARGUMENT,
                    "%s holds several files of weights; say which, with ':' and its name: %s", model->id,
                    list_tops(model, arena));
            if (one != NULL) {
                add_file(pick, one);
                pick->weights = one->path;
            } else {
                add_top(model, (TopName)name, pick);
            }
        }
    }
    if (pick->weights == NULL)
        return complain_of_nothing(model, err);
    add_companions(model, pick);
    return OK;
}

/* One file that was named, with the small files beside it and at the top. */
static Status pick_one(const HubModel *model, const char *wish, Arena *arena, Pick *pick, Error *err) {
    const HubFile *file = hub_find_file(model, wish);
    FAIL_IF(file == NULL || !is_safetensors(wish), file != NULL ? ERR_UNSUPPORTED : ERR_NOT_FOUND,
            file != NULL && is_pickle(wish)
                ? "%s: %s is a pickle; opening it would run the code in it, so houle does not take it"
            : file != NULL ? "%s: %s is no file of weights that houle opens (GGUF or safetensors)"
                           : "%s has no quantisation or file %s",
            model->id, wish);
    add_file(pick, file);
    pick->weights = file->path;
    pick->selection = arena_strdup(arena, wish);
    pick->entry = file->path;
    FAIL_IF(pick->selection == NULL, ERR_MEMORY, "no memory for a list of files");
    add_companions(model, pick);
    for (size_t i = 0; i < model->n_file; i++) {
        const HubFile *beside = &model->files[i];
        if (!same_folder(beside->path, wish) || !is_companion(beside))
            continue;
        add_file(pick, beside);
        if (strcmp(path_name(beside->path), "config.json") == 0) { /* a folder that stands for itself */
            const size_t lead = (size_t)(path_name(wish) - wish);
            pick->entry = lead > 0 ? arena_strndup(arena, wish, lead - 1) : "";
            FAIL_IF(pick->entry == NULL, ERR_MEMORY, "no memory for a list of files");
        }
    }
    return OK;
}

const HubFile *pick_index(const HubModel *model, const char *wish) {
    if ((*wish != '\0' && strcasecmp(wish, "safetensors") != 0) || hub_find_file(model, "model_index.json") != NULL)
        return NULL;
    return hub_find_file(model, "model.safetensors.index.json");
}

Status pick_files(const HubModel *model, const char *wish, const json_t *index, Arena *arena, Pick *pick, Error *err) {
    *pick = (Pick){.entry = "", .selection = "", .others = ""};
    pick->files = arena_array(arena, model->n_file, sizeof *pick->files);
    FAIL_IF(pick->files == NULL, ERR_MEMORY, "no memory for a list of files");
    bool gguf = false, set = pick_index(model, "") != NULL || hub_find_file(model, "model_index.json") != NULL;
    for (size_t i = 0; i < model->n_file; i++) {
        gguf = gguf || (is_gguf(model->files[i].path) && kind_of(model->files[i].path) == GGUF_MODEL);
        set = set || strcmp(model->files[i].path, "model.safetensors") == 0;
    }
    set = set && (hub_find_file(model, "config.json") != NULL || hub_find_file(model, "model_index.json") != NULL);
    /* With both, the safetensors are the publisher's own and the GGUF files are copies: taken when asked for. */
    const bool named_set = strcasecmp(wish, "safetensors") == 0;
    const bool named_file = is_safetensors(wish) || is_pickle(wish);
    if (gguf && !named_set && !named_file && (*wish != '\0' || !set))
        TRY(pick_gguf(model, wish, arena, pick, err));
    else if (*wish != '\0' && !named_set)
        TRY(pick_one(model, wish, arena, pick, err));
    else
        TRY(pick_set(model, index, arena, pick, err));
    add_licences(model, pick);
    qsort(pick->files, pick->n_file, sizeof *pick->files, compare_files);
    return OK;
}

/* ---- what a configuration says ----------------------------------------------------------------------------------- */

void pick_label_of_config(const json_t *config, char label[QUANT_LABEL_BYTES]) {
    const json_t *text = json_object_get(config, "text_config");
    const json_t *quant = json_object_get(config, "quantization_config");
    if (quant == NULL)
        quant = json_object_get(text, "quantization_config");
    const char *word = json_string_value(json_object_get(quant, "quant_method"));
    static const char *const keys[] = {"dtype", "torch_dtype"};
    for (size_t i = 0; i < 2 * COUNT(keys) && word == NULL; i++)
        word = json_string_value(json_object_get(i < COUNT(keys) ? config : text, keys[i % COUNT(keys)]));
    static const struct {
        const char *word, *label;
    } known[] = {{"bfloat16", "BF16"}, {"float16", "F16"}, {"float32", "F32"}, {"float8_e4m3fn", "FP8"}};
    label[0] = '\0';
    if (word == NULL)
        return;
    for (size_t i = 0; i < COUNT(known); i++)
        if (strcmp(word, known[i].word) == 0)
            word = known[i].label;
    size_t n = 0;
    for (; word[n] != '\0' && n + 1 < QUANT_LABEL_BYTES; n++)
        label[n] = (char)(word[n] >= 'a' && word[n] <= 'z' ? word[n] - 'a' + 'A' : word[n]);
    label[n] = '\0';
}
