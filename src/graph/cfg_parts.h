/* cfg_parts.h - making a configuration, and asking what was read of it; families see cfg.h only. */
#ifndef HOULE_GRAPH_CFG_PARTS_H
#define HOULE_GRAPH_CFG_PARTS_H

#include "base/text.h"
#include "graph/cfg.h"

#include <jansson.h>

/* Takes a reference to the JSON object. Composite models: keys of text_config (or llm_config, ...) come first, those
 * of the whole after. `aliases` of old spellings are a table in cfg.c. */
Status cfg_open(const json_t *config, bool gguf, Cfg **cfg, Error *err);
void cfg_close(Cfg *cfg);

/* What the configuration means where it leaves keys out, as a JSON object: the defaults of the published configuration
 * classes. They hold for config.json only (GGUF files have constants of their own), and not for keys that are null. */
void cfg_defaults(Cfg *c, const char *json);

/* model_type of the text part, and of the whole. */
const char *cfg_model_type(const Cfg *cfg);
const char *cfg_outer_type(const Cfg *cfg);

/* ERR_FORMAT / ERR_UNSUPPORTED with the first complaint, if there was one. */
Status cfg_refused(const Cfg *cfg, Error *err);

/* ERR_UNSUPPORTED when layers are of a kind that was not asked for ("mixer 'xyz' is not known; layers 3-40 use it");
 * `described` false: of a kind that no family knows. */
Status cfg_kinds(const Cfg *cfg, bool described, Error *err);

/* The keys that nobody read and that are not known to be without effect on the result, separated by ", ". */
Status cfg_unread(const Cfg *cfg, Text *list, Error *err);

#endif
