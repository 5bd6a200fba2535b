/* show_effective.h - houle show --effective: which settings `houle serve` would use for a model, and who says so. */
#ifndef HOULE_CLI_SHOW_EFFECTIVE_H
#define HOULE_CLI_SHOW_EFFECTIVE_H

#include "base/status.h"

/* Prints them: a table, or JSON (docs/json-schema.md). config: the file of `houle serve --config`; NULL = none. */
Status show_effective(const char *model, const char *config, bool as_json, Error *err);

#endif
