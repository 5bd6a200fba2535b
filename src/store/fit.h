/* fit.h - whether a model will fit, told from its headers before anything large is downloaded.
 *
 * An estimate, on the safe side: weights as they are stored, the cache of one conversation, and a working area. The
 * exact plan is made when the model is opened; this one must be right about "far too large" and "easily". */
#ifndef HOULE_STORE_FIT_H
#define HOULE_STORE_FIT_H

#include "format/model_files.h"

typedef struct FitNeeds {
    uint64_t weight_bytes;
    uint64_t cache_bytes_per_token; /* 0 = not known */
    int64_t context;                /* tokens that the cache is counted for: 4096, or the model's limit if smaller */
    char architecture[64];          /* as the file calls it; "" = not known */
} FitNeeds;

typedef struct Machine {
    uint64_t memory_bytes;    /* that this process may use: of the machine, or of its cgroup */
    uint64_t available_bytes; /* now */
} Machine;

/* What a GGUF file's metadata tells; weight_bytes is the caller's to set. */
void fit_of_gguf(const ModelFiles *files, FitNeeds *needs);
/* What a config.json tells. */
void fit_of_config(const json_t *config, FitNeeds *needs);

/* Weights, cache and working area together. */
uint64_t fit_memory_bytes(const FitNeeds *needs);
Machine fit_machine(void);
/* Free bytes where `folder` lies, for an ordinary user; 0 when that cannot be told. */
uint64_t fit_disk_bytes(const char *folder);

#endif
