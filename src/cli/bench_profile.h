/* bench_profile.h - where the time of a model's steps goes: tables and JSON of what a session measured. */
#ifndef HOULE_CLI_BENCH_PROFILE_H
#define HOULE_CLI_BENCH_PROFILE_H

#include "engine/session.h"

#include <jansson.h>

/* For prompts and for generation, each kind of step on a line, longest first. */
Status bench_profile_print(const Session *session, const LayerKinds *kinds, Error *err);
/* {"prompt": [...], "generation": [...]} */
Status bench_profile_json(const Session *session, const LayerKinds *kinds, json_t **json, Error *err);

#endif
