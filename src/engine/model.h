/* model.h - a loaded model: its files, configuration, description and weights. Read-only once open, shared by any
 * number of sessions and threads. */
#ifndef HOULE_ENGINE_MODEL_H
#define HOULE_ENGINE_MODEL_H

#include "engine/sample.h"
#include "family/family.h"
#include "graph/made_weights.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

typedef struct Model Model;

/* Opens a GGUF file or a folder of safetensors: reads headers, describes the network, binds the weights (mapped, not
 * copied). ERR_UNSUPPORTED names the family and what is lacking. */
Status model_open(const char *path, Model **model, Error *err);
/* The same from files that are open already; takes the files, also on failure. */
Status model_open_files(ModelFiles *files, Model **model, Error *err);
/* The same from files that stay the caller's and must outlive the model. */
Status model_bind(const ModelFiles *files, Model **model, Error *err);
/* Only the description: no weights are bound, so that a configuration alone is enough (plans, parameter counts). The
 * model cannot run. The files stay the caller's and must outlive the model. */
Status model_describe(const ModelFiles *files, Model **model, Error *err);
/* A model of a configuration (made_files_open), with weights that are made up in the form asked for: it runs, and what it
 * says means nothing. Takes the files, also on failure. */
typedef struct MadeSpec {
    const MadeKind *kind;
    size_t memory_bytes; /* that all weights together may take (made_files.h); 0: none, the model must not be run */
    const bool *layers;  /* only those whose number is marked; NULL: all */
    int n_layers;        /* marks */
} MadeSpec;
Status model_open_made(ModelFiles *files, const MadeSpec *spec, Model **model, Error *err);
void model_close(Model *model);
/* model_stream if the weights take more; nothing otherwise. */
Status model_fit(Model *model, uint64_t bytes, Error *err);
/* From now on the weights take at most so many bytes of memory (weights_stream). Before the first session. */
Status model_stream(Model *model, size_t bytes, Error *err);

const ModelFiles *model_files(const Model *model);
const Cfg *model_cfg(const Model *model);
const Family *model_family(const Model *model);
const Graph *model_graph(const Model *model);
const Weights *model_weights(const Model *model); /* NULL: only described */
int model_vocab(const Model *model);
/* All numbers that are weights, a tied matrix once. */
uint64_t model_parameters(const Model *model);
/* What the network gives: logits of a next token, or what stands for tokens and texts (then it writes no text). */
Result model_result(const Model *model);
/* ERR_UNSUPPORTED, in words for people, when the model writes no text. */
Status model_must_write(const Model *model, Error *err);
/* The longest context that the configuration declares, or its table of positions has; 0 when it does not say. */
int model_context(const Model *model);
/* Tokens at which generation ends (generation_config.json, config.json or GGUF's keys). */
const int *model_end_tokens(const Model *model, int *count);
/* Whether generation ends with this token: one of those, or one that the tokenizer (if it was asked for) knows as such. */
bool model_ends_at(const Model *model, int32_t token);
/* What the model's files recommend, over our defaults. */
SampleSpec model_sampling(const Model *model);
/* The tokenizer and the chat templates that came with the model: loaded by the first call, kept with the model. Any
 * thread. ERR_NOT_FOUND when the model has none. */
Status model_tokenizer(const Model *model, const Tokenizer **tokenizer, Error *err);
Status model_chat(const Model *model, const ChatTemplate **chat, Error *err);
/* The format of its answers: what its family names, else what its template shows; NULL when it is plain text. */
const char *model_reply_format(const Model *model, const ChatRequest *request);
/* Keys of the configuration that nobody read and that could change the result, separated by ", "; "" when none. */
const char *model_unread_keys(const Model *model);

#endif
