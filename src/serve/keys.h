/* keys.h - who may ask: API keys, what each of them may use, and how much.
 *
 * A file holds {"keys": [{"name", "sha256", "models", "requests_per_minute", "tokens_per_minute", "admin"}]}. Keys are
 * random (128 bits), so one round of SHA-256 hides them; the file never holds a key itself. It is read again when it
 * changes; a file that is wrong then leaves the old keys in force. Thread-safe. */
#ifndef HOULE_SERVE_KEYS_H
#define HOULE_SERVE_KEYS_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Keys Keys;

enum { KEY_NAME_BYTES = 64, KEY_TEXT_BYTES = 48 };

typedef struct Caller {
    char name[KEY_NAME_BYTES]; /* "" = nobody in particular: no keys are asked for */
    uint64_t id;               /* stable for a name: requests of one caller share their turn */
    bool admin;                /* may pull, delete, copy, unload */
} Caller;

/* path NULL: no keys; everybody may do everything. */
Status keys_open(const char *path, Keys **keys, Error *err);
void keys_close(Keys *keys);
bool keys_asked(const Keys *keys);

/* Whose key this is (NULL = none was given): ERR_DENIED when it is not known, or none was given where one is asked for.
 * ERR_BUSY: the caller's rate is used up; *retry_s says for how long. */
Status keys_admit(Keys *keys, const char *key, Caller *caller, int *retry_s, Error *err);
/* May the caller use the model? */
bool keys_allow(Keys *keys, const Caller *caller, const char *model);
/* What an answer took, for the limit of tokens. */
void keys_charge(Keys *keys, const Caller *caller, int tokens);

/* Makes a new key of this name, writes its hash into the file (made with mode 0600 when it is not there) and gives the
 * key itself, for once. */
Status keys_make(const char *path, const char *name, bool admin, char key[KEY_TEXT_BYTES], Error *err);

#endif
