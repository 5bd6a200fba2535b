/* file_facts.h - what the headers of a model's files say about it, for lists of models: read once for each state of the
 * files, without loading anything. */
#ifndef HOULE_SERVE_FILE_FACTS_H
#define HOULE_SERVE_FILE_FACTS_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct ModelFacts {
    char format[16];       /* "gguf", "safetensors" */
    char family[64];       /* as its files call the architecture; "" = they do not */
    char quantisation[32]; /* "Q4_K_M", "BF16" */
    uint64_t parameters;
    int64_t context, width; /* tokens that it was made for, numbers in a vector; 0 = not said */
    bool writes, tools, thinks, embeds, ranks;
} ModelFacts;

typedef struct FactsCache FactsCache;

Status facts_open(FactsCache **cache, Error *err);
void facts_close(FactsCache *cache); /* NULL is fine */
/* Of the model at `path`, whose files were last changed at `modified` and have so many bytes. false when its headers cannot
 * be read: then all is zero. Thread-safe. */
bool facts_of(FactsCache *cache, const char *path, int64_t modified, uint64_t bytes, ModelFacts *facts);

/* What a template tells, in the place of what the model's own did. */
void facts_of_template(ModelFacts *facts, const char *text);

/* Fresh values, NULL without memory. The first is what Ollama's clients show; the second lists what a model can be asked for. */
json_t *facts_details(const ModelFacts *facts);
json_t *facts_capabilities(const ModelFacts *facts);

#endif
