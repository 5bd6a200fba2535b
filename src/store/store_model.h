/* store_model.h - a model that is on this machine, wherever it lies and whoever put it there. */
#ifndef HOULE_STORE_STORE_MODEL_H
#define HOULE_STORE_STORE_MODEL_H

#include "base/arena.h"
#include "base/digest.h"

typedef enum ModelSource {
    SOURCE_HUB,      /* pulled by name, or found in a cache while being pulled */
    SOURCE_URL,      /* pulled from an address */
    SOURCE_PATH,     /* registered where it lies */
    SOURCE_COPY,     /* copied into the store */
    SOURCE_HF_CACHE, /* not in the index: another program's */
    SOURCE_LM_STUDIO,
    SOURCE_OLLAMA,
    SOURCE_COUNT
} ModelSource;

typedef enum ModelState {
    MODEL_COMPLETE,
    MODEL_PULLING,  /* begun; files may be missing */
    MODEL_REMOVING, /* to be deleted: a crash came in between */
} ModelState;

typedef struct ModelFile {
    const char *path; /* below the model's root */
    const char *link; /* where it lies instead, when it is not below the root (absolute); NULL = below */
    uint64_t bytes;
    const char *sha256;   /* digits, "" = not known */
    const char *git_sha1; /* digits, "" = not known */
    const char *identity; /* of the download, see partial.h; "" = none */
    bool present;         /* in place, checked when it was put there */
    bool damaged;         /* found altered since; the next pull fetches it again */
} ModelFile;

typedef struct StoreModel {
    int64_t id; /* in the index; 0 = not there */
    const char *name;
    ModelSource source;
    ModelState state;
    const char *origin;    /* page, address or path that it came from */
    const char *publisher; /* the rest: "" = not known */
    const char *licence;
    const char *licence_link;
    const char *revision; /* commit or tag of the publisher */
    const char *label;    /* type or quantisation: "Q4_K_M", "BF16" */
    const char *root;     /* absolute folder */
    const char *entry;    /* below the root: what model_files_open gets; "" = the root itself */
    bool owned;           /* the files were put there by the store, which may delete them */
    int64_t since;        /* Unix time */
    uint64_t bytes;       /* of all files */
    ModelFile *files;
    size_t n_file;
} StoreModel;

/* Models and all their strings, in one arena. */
typedef struct StoreList {
    Arena arena;
    StoreModel *items;
    size_t count, capacity;
} StoreList;

void store_list_init(StoreList *list);
void store_list_free(StoreList *list);
/* A model of which nothing is known. */
StoreModel store_model_empty(void);
/* Room for one more, empty; NULL without memory. Valid until the next is added. */
StoreModel *store_list_add(StoreList *list);

/* "hub", "url", "path", "copy", "huggingface", "lm-studio", "ollama". */
const char *source_word(ModelSource source);

/* The absolute path of the model (for model_files_open), or of one of its files; fresh (mem_free), NULL without
 * memory. */
char *store_model_path(const StoreModel *model);
char *store_file_path(const StoreModel *model, const ModelFile *file);

#endif
