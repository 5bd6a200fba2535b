/* keys.c - see keys.h. Limits are leaky buckets that hold what one minute allows. */
#include "serve/keys.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "format/json.h"

#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_KEYS = 4096, FILE_BYTES = 4 << 20, SECRET_BYTES = 16 };

typedef struct Key {
    char name[KEY_NAME_BYTES];
    uint8_t sha256[DIGEST_BYTES];
    json_t *models; /* patterns; NULL = all */
    bool admin;
    double requests, tokens; /* per minute; 0 = any */
    double requests_left, tokens_left;
    uint64_t filled_us;
} Key;

struct Keys {
    pthread_mutex_t lock;
    char *path;
    Key *keys;
    size_t count;
    struct timespec modified;
};

static void free_list(Key *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        json_decref(list[i].models);
    mem_free(list);
}

static Status read_rate(const char *path, const json_t *entry, const char *field, double *rate, Error *err) {
    const json_t *value = json_object_get(entry, field);
    FAIL_IF(value != NULL && (!json_is_number(value) || !(json_number_value(value) > 0)), ERR_FORMAT,
            "%s: \"%s\" must be a number above 0", path, field);
    *rate = value != NULL ? json_number_value(value) : 0;
    return OK;
}

static Status read_key(const char *path, const json_t *entry, Key *key, Error *err) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *sha256 = json_string_value(json_object_get(entry, "sha256"));
    json_t *models = json_object_get(entry, "models");
    FAIL_IF(name == NULL || name[0] == '\0' || strlen(name) >= sizeof key->name, ERR_FORMAT,
            "%s: each key needs a \"name\" of 1 to %zu characters", path, sizeof key->name - 1);
    FAIL_IF(sha256 == NULL || strlen(sha256) != 2 * DIGEST_BYTES || !digest_unhex(sha256, key->sha256, DIGEST_BYTES),
            ERR_FORMAT, "%s: key '%s' needs \"sha256\", the digest of the key in 64 digits", path, name);
    FAIL_IF(models != NULL && !json_is_array(models), ERR_FORMAT, "%s: key '%s': \"models\" must be an array of names",
            path, name);
    memcpy(key->name, name, strlen(name) + 1);
    key->admin = json_is_true(json_object_get(entry, "admin"));
    TRY(read_rate(path, entry, "requests_per_minute", &key->requests, err));
    TRY(read_rate(path, entry, "tokens_per_minute", &key->tokens, err));
    key->models = json_incref(models);
    key->requests_left = key->requests;
    key->tokens_left = key->tokens;
    key->filled_us = clock_us();
    return OK;
}

static Status read_file(Keys *k, Error *err) {
    json_t *file;
    struct stat s;
    FAIL_IF(stat(k->path, &s) != 0, ERR_NOT_FOUND,
            "%s: there is no such file of keys; 'houle serve --keys FILE --make-key NAME' makes one", k->path);
    FAIL_IF((s.st_mode & (S_IRWXG | S_IRWXO)) != 0, ERR_DENIED,
            "%s: others can read or write this file of keys; 'chmod 600' it", k->path);
    TRY(json_read(k->path, FILE_BYTES, &file, err));
    const json_t *entries = json_object_get(file, "keys");
    const size_t n = json_array_size(entries);
    Key *list = NULL;
    size_t read = 0;
    Status status = OK;
    if (!json_is_array(entries) || n > MAX_KEYS)
        status =
            error_set(err, ERR_FORMAT, "%s: {\"keys\": [...]} with at most %d keys is expected", k->path, MAX_KEYS);
    else if ((list = mem_array(n + 1, sizeof *list, MEM_MISC)) == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for the keys");
    for (; status == OK && read < n; read++)
        status = read_key(k->path, json_array_get(entries, read), &list[read], err);
    json_decref(file);
    if (status != OK) {
        free_list(list, read);
        return status;
    }
    /* What was used up stays used up. */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k->count; j++)
            if (memcmp(list[i].sha256, k->keys[j].sha256, DIGEST_BYTES) == 0) {
                list[i].requests_left = MIN(k->keys[j].requests_left, list[i].requests);
                list[i].tokens_left = MIN(k->keys[j].tokens_left, list[i].tokens);
                list[i].filled_us = k->keys[j].filled_us;
            }
    free_list(k->keys, k->count);
    k->keys = list;
    k->count = n;
    k->modified = s.st_mtim;
    return OK;
}

Status keys_open(const char *path, Keys **out, Error *err) {
    *out = NULL;
    Keys *k = mem_zalloc(sizeof *k, MEM_MISC);
    FAIL_IF(k == NULL, ERR_MEMORY, "no memory for the keys");
    pthread_mutex_init(&k->lock, NULL);
    Status status = OK;
    if (path != NULL) {
        k->path = mem_strdup(path, MEM_MISC);
        status = k->path != NULL ? read_file(k, err) : error_set(err, ERR_MEMORY, "no memory for the keys");
    }
    if (status != OK) {
        keys_close(k);
        return status;
    }
    *out = k;
    return OK;
}

void keys_close(Keys *k) {
    if (k == NULL)
        return;
    free_list(k->keys, k->count);
    mem_free(k->path);
    pthread_mutex_destroy(&k->lock);
    mem_free(k);
}

bool keys_asked(const Keys *k) {
    return k->path != NULL;
}

static void refresh(Keys *k) {
    struct stat s;
    if (stat(k->path, &s) == 0 && (s.st_mtim.tv_sec != k->modified.tv_sec || s.st_mtim.tv_nsec != k->modified.tv_nsec))
        (void)read_file(k, NULL);
}

/* In the same time wherever they differ. */
static bool same_digest(const uint8_t *a, const uint8_t *b) {
    unsigned differ = 0;
    for (int i = 0; i < DIGEST_BYTES; i++)
        differ |= a[i] ^ b[i];
    return differ == 0;
}

static void fill(Key *key) {
    const uint64_t now = clock_us();
    const double minutes = (double)(now - key->filled_us) / 60e6;
    key->requests_left = MIN(key->requests, key->requests_left + minutes * key->requests);
    key->tokens_left = MIN(key->tokens, key->tokens_left + minutes * key->tokens);
    key->filled_us = now;
}

static Status take_turn(Key *key, int *retry_s, Error *err) {
    fill(key);
    if (key->requests > 0 && key->requests_left < 1) {
        *retry_s = 1 + (int)((1 - key->requests_left) * 60 / key->requests);
        return error_set(err, ERR_BUSY, "the key '%s' allows %g requests a minute; try again in %d s", key->name,
                         key->requests, *retry_s);
    }
    if (key->tokens > 0 && key->tokens_left <= 0) {
        *retry_s = 1 + (int)(-key->tokens_left * 60 / key->tokens);
        return error_set(err, ERR_BUSY, "the key '%s' allows %g tokens a minute; try again in %d s", key->name,
                         key->tokens, *retry_s);
    }
    key->requests_left -= key->requests > 0;
    return OK;
}

Status keys_admit(Keys *k, const char *text, Caller *caller, int *retry_s, Error *err) {
    *caller = (Caller){.admin = true};
    if (!keys_asked(k))
        return OK;
    FAIL_IF(text == NULL || text[0] == '\0', ERR_DENIED,
            "an API key is needed: 'Authorization: Bearer KEY' or 'x-api-key: KEY'");
    Digest digest = {0};
    uint8_t sha256[DIGEST_BYTES];
    TRY(digest_begin(&digest, DIGEST_SHA256, err));
    digest_add(&digest, text, strlen(text));
    TRY(digest_end_bytes(&digest, sha256, err));
    pthread_mutex_lock(&k->lock);
    refresh(k);
    Key *found = NULL;
    for (size_t i = 0; i < k->count; i++)
        if (same_digest(k->keys[i].sha256, sha256))
            found = &k->keys[i];
    Status status =
        found != NULL ? take_turn(found, retry_s, err) : error_set(err, ERR_DENIED, "this API key is not known");
    if (status == OK) {
        memcpy(caller->name, found->name, sizeof caller->name);
        memcpy(&caller->id, found->sha256, sizeof caller->id);
        caller->admin = found->admin;
    }
    pthread_mutex_unlock(&k->lock);
    return status;
}

static Key *key_of(Keys *k, const Caller *caller) {
    for (size_t i = 0; i < k->count; i++)
        if (strcmp(k->keys[i].name, caller->name) == 0)
            return &k->keys[i];
    return NULL;
}

bool keys_allow(Keys *k, const Caller *caller, const char *model) {
    if (!keys_asked(k))
        return true;
    pthread_mutex_lock(&k->lock);
    const Key *key = key_of(k, caller);
    bool allowed = key != NULL && key->models == NULL;
    for (size_t i = 0; key != NULL && !allowed && i < json_array_size(key->models); i++) {
        const char *pattern = json_string_value(json_array_get(key->models, i));
        allowed = pattern != NULL && fnmatch(pattern, model, 0) == 0;
    }
    pthread_mutex_unlock(&k->lock);
    return allowed;
}

void keys_charge(Keys *k, const Caller *caller, int tokens) {
    if (!keys_asked(k))
        return;
    pthread_mutex_lock(&k->lock);
    Key *key = key_of(k, caller);
    if (key != NULL && key->tokens > 0) {
        fill(key);
        key->tokens_left -= tokens;
    }
    pthread_mutex_unlock(&k->lock);
}

/* ---- making keys ------------------------------------------------------------------------------------------------- */

/* Keeps others that make keys out of the folder in which the file is (it is replaced, so a lock on it would be on the old
 * one); *fd is to be closed. */
static Status lock_folder(const char *path, int *fd, Error *err) {
    const size_t bytes = (size_t)(path_name(path) - path);
    char *folder = bytes > 0 ? mem_strndup(path, bytes, MEM_MISC) : mem_strdup(".", MEM_MISC);
    FAIL_IF(folder == NULL, ERR_MEMORY, "no memory for a path");
    const Status status = folder_open(folder, false, fd, err);
    mem_free(folder);
    TRY(status);
    while (flock(*fd, LOCK_EX) != 0)
        if (errno != EINTR) {
            close(*fd);
            return error_set(err, ERR_IO, "%s: its folder cannot be locked: %s", path, strerror(errno));
        }
    return OK;
}

/* What the file says, and one more key. */
static Status add_key(const char *path, const char *name, bool admin, const char *sha256, Error *err) {
    json_t *file = NULL;
    json_setup();
    if (file_exists(path))
        TRY(json_read(path, FILE_BYTES, &file, err));
    else
        file = json_pack("{s:[]}", "keys");
    json_t *entries = json_object_get(file, "keys"), *entry;
    size_t i;
    Status status = json_is_array(entries) ? OK : error_set(err, ERR_FORMAT, "%s: {\"keys\": [...]} is expected", path);
    json_array_foreach (entries, i, entry)
        if (status == OK && json_string_value(json_object_get(entry, "name")) != NULL &&
            strcmp(json_string_value(json_object_get(entry, "name")), name) == 0)
            status = error_set(err, ERR_ARGUMENT, "%s: there is a key '%s' already", path, name);
    char *text = NULL;
    if (status == OK) {
        json_t *made = json_pack("{s:s, s:s}", "name", name, "sha256", sha256);
        if (admin && made != NULL)
            json_object_set_new(made, "admin", json_true());
        if (made == NULL || json_array_append_new(entries, made) != 0 ||
            (text = json_dumps(file, JSON_INDENT(2))) == NULL)
            status = error_set(err, ERR_MEMORY, "no memory for a key");
    }
    if (status == OK)
        status = file_write_private(path, text, strlen(text), err);
    mem_free(text);
    json_decref(file);
    return status;
}

Status keys_make(const char *path, const char *name, bool admin, char key[KEY_TEXT_BYTES], Error *err) {
    uint8_t secret[SECRET_BYTES * 2];
    char hex[SECRET_BYTES * 2 + 1], sha256[DIGEST_HEX];
    int folder;
    FAIL_IF(name[0] == '\0' || strlen(name) >= KEY_NAME_BYTES, ERR_ARGUMENT, "a key's name has 1 to %d characters",
            KEY_NAME_BYTES - 1);
    FAIL_IF(getrandom(secret, SECRET_BYTES, 0) != SECRET_BYTES, ERR_IO, "the system gives no random numbers");
    digest_hex(secret, SECRET_BYTES, hex);
    memcpy(key, "houle-", 6);
    memcpy(key + 6, hex, sizeof hex);
    TRY(digest_of_bytes(DIGEST_SHA256, key, strlen(key), sha256, err));
    TRY(lock_folder(path, &folder, err));
    const Status status = add_key(path, name, admin, sha256, err);
    close(folder); /* the lock goes with it */
    return status;
}
