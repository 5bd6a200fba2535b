/* run_options.h - what the commands that run a model have in common: ids on the command line, threads, precision. */
#ifndef HOULE_CLI_RUN_OPTIONS_H
#define HOULE_CLI_RUN_OPTIONS_H

#include "base/text.h"
#include "cli/command.h"
#include "engine/session.h"

/* "1,2,3" (or spaces) as token ids in a fresh array (mem_free). */
Status parse_ids(const char *text, int32_t **ids, int *n, Error *err);
Status parse_precision(const char *word, Precision *precision, Error *err);
Status parse_cache_type(const char *word, CacheType *type, Error *err);
/* The pool that the process uses: made at the first call, with this many threads (0 = the machine's). */
Status cli_pool(int n_thread, Pool **pool, Error *err);
/* Opens the files of MODEL: a file, a folder, or a name of the local store (store_resolve). */
Status cli_open_files(const char *name, ModelFiles **files, Error *err);
/* Opens MODEL in the same way. Warns on standard error about configuration keys nobody read. */
Status cli_open_model(const char *name, Model **model, Error *err);

/* session_fit and session_open. memory 0: what is free on this machine, if the model can do with it. */
Status cli_open_session(Model *model, SessionSpec spec, uint64_t memory, Session **session, Error *err);
/* What streaming came to, on a line: nothing when the model is not streamed. */
void cli_append_streaming(Text *text, const Model *model);
/* A whole file ("-": standard input) appended to `text`, without the newlines at its end. It must be UTF-8 without NUL, at
 * most 1 GiB. */
Status cli_read_all(const char *path, Text *text, Error *err);

#endif
