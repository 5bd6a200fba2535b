/* cfg.h - the configuration of a model, as its family reads it.
 *
 * One view of config.json (old and new spellings, text_config folded in) and of GGUF's keys (translated by a table to
 * the same names). Every key that is read is remembered, so that those nobody read can be reported. A missing needed
 * key or a value of the wrong kind is recorded; the description goes on with a harmless value and building then fails. */
#ifndef HOULE_GRAPH_CFG_H
#define HOULE_GRAPH_CFG_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Cfg Cfg;

/* The value of a key, or the default when it is absent or null. Dots go into objects: "rope_parameters.factor". */
int cfg_int(const Cfg *c, const char *key, int otherwise);
float cfg_real(const Cfg *c, const char *key, float otherwise);
bool cfg_bool(const Cfg *c, const char *key, bool otherwise);
const char *cfg_str(const Cfg *c, const char *key, const char *otherwise);
bool cfg_has(const Cfg *c, const char *key); /* present and not null */

/* The same, but the key must be there. */
int cfg_need(const Cfg *c, const char *key);

/* Lists: element i of a list of numbers or words; a single value counts as a list of it for every i. Values given for
 * layer i alone (per_layer_config) come first. */
int cfg_list_length(const Cfg *c, const char *key); /* 0 when absent, -1 when it is a single value */
/* How many entries an object or a list has; otherwise when there is none. */
int cfg_count(const Cfg *c, const char *key, int otherwise);
int cfg_need_at(const Cfg *c, const char *key, int i);
int cfg_int_at(const Cfg *c, const char *key, int i, int otherwise);
int64_t cfg_long_at(const Cfg *c, const char *key, int i, int64_t otherwise);
float cfg_real_at(const Cfg *c, const char *key, int i, float otherwise);
const char *cfg_str_at(const Cfg *c, const char *key, int i, const char *otherwise);
/* True when the list of whole numbers holds i. */
bool cfg_list_has(const Cfg *c, const char *key, int i);

/* True when layer_types[i] is `type` ("mamba" and "attention" count as "linear_attention" and "full_attention").
 * A model with a layer of a type that its family never asks for is refused, but for full_attention: so a family asks for
 * each type it knows, also where nothing follows from the answer. */
bool layer_is(const Cfg *c, int i, const char *type);

/* The same for mlp_layer_types, where "dense" need not be asked for. */
bool layer_ffn_is(const Cfg *c, int i, const char *type);

/* True when layer i sees a window (or chunk) only: by its entry in layer_types where those are listed, else every layer
 * but each `every`-th (sliding_window_pattern where that is given; 0 = none). */
bool layer_is_local(const Cfg *c, int i, int every);

/* True when layer i has experts in the place of one feed-forward block: by mlp_layer_types where those are listed, else
 * every layer from first_k_dense_replace on. */
bool layer_is_sparse(const Cfg *c, int i);

/* Whether layer i chooses the entries that it attends to by an index of its own, or goes by an earlier layer's choice:
 * indexer_types, index_topk_pattern, or index_topk_freq with index_skip_topk_offset. */
bool layer_has_index(const Cfg *c, int i);
/* The key says what others, which were read, have said already. */
void cfg_covered(const Cfg *c, const char *key);

/* The configuration came from a GGUF file (whose rows or constants may be arranged otherwise). */
bool cfg_is_gguf(const Cfg *c);

/* Records that the configuration asks for what the description cannot give. The first complaint is kept. */
void cfg_refuse(const Cfg *c, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
