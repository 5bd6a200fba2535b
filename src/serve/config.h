/* config.h - the server's configuration file: settings of models, and of all of them (docs/serve.md). */
#ifndef HOULE_SERVE_CONFIG_H
#define HOULE_SERVE_CONFIG_H

#include "serve/registry.h"

/* Reads {"defaults": {settings}, "models": {NAME: {settings}}}. The caller owns *config (json_decref). */
Status config_read(const char *path, json_t **config, Error *err);
/* Adds its models. Relative paths are relative to the file's folder. */
Status config_apply(const json_t *config, const char *path, Registry *registry, Error *err);

#endif
