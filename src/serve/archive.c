/* archive.c - see archive.h. */
#include "serve/archive.h"

#include "base/file.h"
#include "base/text.h"
#include "format/json.h"
#include "format/json_write.h"
#include "store/database.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { CHAIN_MOST = 10000 };

struct Archive {
    Database *database;
    char *folder;
    ArchiveSpec spec;
    pthread_mutex_t lock; /* for every use: a change beside a transaction would be part of it */
};

/* used and bytes stand in an index, so that sums and the search for the oldest read no texts. */
static const char schema[] = "CREATE TABLE answer("
                             "  id TEXT PRIMARY KEY,"
                             "  owner TEXT NOT NULL,"
                             "  previous TEXT,"
                             "  used INTEGER NOT NULL," /* microseconds of Unix time */
                             "  bytes INTEGER NOT NULL,"
                             "  process INTEGER NOT NULL,"
                             "  body TEXT NOT NULL, input TEXT NOT NULL, events TEXT);"
                             "CREATE INDEX answer_used ON answer(used, bytes);"
                             "CREATE TABLE preset(name TEXT PRIMARY KEY COLLATE NOCASE, settings TEXT NOT NULL);";

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static Status open_files(Archive *s, Error *err) {
    static const DatabaseSpec database = {
        .what = "server's memory",
        .schema = schema,
        .version = 1,
        .when_damaged = "Move it away: a new one is made, and conversations that clients keep by their ids are lost"};
    if (s->spec.folder == NULL)
        return database_open(":memory:", &database, true, &s->database, err);
    s->folder = mem_strdup(s->spec.folder, MEM_MISC);
    FAIL_IF(s->folder == NULL, ERR_MEMORY, "no memory for the server's state");
    TRY(file_make_private_directory(s->folder, err));
    char *path = path_join(s->folder, "serve.db");
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for the server's state");
    const Status status = database_open(path, &database, true, &s->database, err);
    mem_free(path);
    return status;
}

Status archive_open(const ArchiveSpec *spec, Archive **out, Error *err) {
    *out = NULL;
    Archive *s = mem_zalloc(sizeof *s, MEM_MISC);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for the server's state");
    s->spec = *spec;
    pthread_mutex_init(&s->lock, NULL);
    const Status status = open_files(s, err);
    s->spec.folder = s->folder;
    if (status != OK) {
        archive_close(s);
        return status;
    }
    *out = s;
    return OK;
}

void archive_close(Archive *s) {
    if (s == NULL)
        return;
    database_close(s->database);
    pthread_mutex_destroy(&s->lock);
    mem_free(s->folder);
    mem_free(s);
}

const char *archive_folder(const Archive *s) {
    return s->folder;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

void stored_answer_free(StoredAnswer *a) {
    mem_free(a->previous);
    json_decref(a->body);
    json_decref(a->input);
    mem_free(a->events);
    *a = (StoredAnswer){0};
}

static Status write_json(Text *out, const json_t *value, Error *err) {
    JsonWriter w = {.out = out};
    json_write_value(&w, value);
    return text_check(out, err);
}

/* Those unused for too long, then the least recently used until the rest fits; of one conversation the last first. */
static Status make_room(Archive *s, Error *err) {
    TRY(database_change(s->database, err, "DELETE FROM answer WHERE used < ? AND process = 0", "i",
                        now_us() - s->spec.keep_s * 1000000));
    return database_change(
        s->database, err,
        "DELETE FROM answer WHERE id IN (SELECT id FROM (SELECT id, sum(bytes) OVER (ORDER BY used DESC, "
        "rowid) AS total FROM answer) WHERE total > ?)",
        "i", (int64_t)MIN(s->spec.budget_bytes, (uint64_t)INT64_MAX));
}

static Status put_rows(Archive *s, const char *id, const char *owner, const StoredAnswer *a, const Text *body,
                       const Text *input, Error *err) {
    const size_t bytes = body->count + input->count + (a->events != NULL ? strlen(a->events) : 0);
    TRY(database_change(s->database, err,
                        "INSERT OR REPLACE INTO answer(id, owner, previous, used, bytes, process, body, input, events) "
                        "VALUES(?,?,?,?,?,?,?,?,?)",
                        "sssiiisss", id, owner, a->previous, now_us(), (int64_t)bytes, a->process, body->bytes,
                        input->bytes, a->events));
    return make_room(s, err);
}

Status archive_put(Archive *s, const char *id, const char *owner, const StoredAnswer *a, Error *err) {
    Text body = {0}, input = {0};
    Status status = write_json(&body, a->body, err);
    if (status == OK)
        status = write_json(&input, a->input, err);
    if (status == OK) {
        pthread_mutex_lock(&s->lock);
        status = database_begin(s->database, err);
        if (status == OK)
            status = database_finish(s->database, put_rows(s, id, owner, a, &body, &input, err), err);
        pthread_mutex_unlock(&s->lock);
    }
    text_free(&body);
    text_free(&input);
    return status;
}

static char *column_text(sqlite3_stmt *row, int column) {
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text != NULL ? mem_strdup(text, MEM_NETWORK) : NULL;
}

static Status column_json(const Archive *s, sqlite3_stmt *row, int column, json_t **value, Error *err) {
    const char *text = (const char *)sqlite3_column_text(row, column);
    return json_parse(text != NULL ? text : "", text != NULL ? strlen(text) : 0, database_path(s->database), false,
                      value, err);
}

static Status read_answer(const Archive *s, sqlite3_stmt *row, StoredAnswer *a, Error *err) {
    a->previous = column_text(row, 0);
    a->process = sqlite3_column_int64(row, 1);
    a->events = column_text(row, 4);
    a->input_bytes = (size_t)sqlite3_column_bytes(row, 3);
    TRY(column_json(s, row, 2, &a->body, err));
    return column_json(s, row, 3, &a->input, err);
}

/* Under the lock. */
static Status find_answer(Archive *s, const char *id, const char *owner, StoredAnswer *a, Error *err) {
    sqlite3_stmt *row;
    bool found;
    *a = (StoredAnswer){0};
    TRY(database_query(s->database, &row, err,
                       "SELECT previous, process, body, input, events FROM answer WHERE id = ? AND owner = ?", "ss", id,
                       owner));
    Status status = database_row(s->database, row, &found, err);
    if (status == OK && !found)
        status = error_set(err, ERR_NOT_FOUND, "there is no response with the id '%.80s'", id);
    if (status == OK)
        status = read_answer(s, row, a, err);
    sqlite3_finalize(row);
    if (status != OK)
        stored_answer_free(a);
    return status;
}

Status archive_get(Archive *s, const char *id, const char *owner, StoredAnswer *a, Error *err) {
    pthread_mutex_lock(&s->lock);
    const Status status = find_answer(s, id, owner, a, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

Status archive_delete(Archive *s, const char *id, const char *owner, Error *err) {
    pthread_mutex_lock(&s->lock);
    Status status = database_change(s->database, err, "DELETE FROM answer WHERE id = ? AND owner = ?", "ss", id, owner);
    if (status == OK && sqlite3_changes(database_handle(s->database)) == 0)
        status = error_set(err, ERR_NOT_FOUND, "there is no response with the id '%.80s'", id);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* Answers come from the last to the first; their items are put in order when all are there. */
static Status join(const json_t *answers, json_t *items, Error *err) {
    bool good = true;
    for (size_t i = json_array_size(answers); good && i > 0; i--) {
        const json_t *answer = json_array_get(answers, i - 1);
        good = json_array_extend(items, json_array_get(answer, 0)) == 0 &&
               json_array_extend(items, json_array_get(answer, 1)) == 0;
    }
    FAIL_IF(!good, ERR_MEMORY, "no memory for a conversation");
    return OK;
}

static Status collect(Archive *s, const char *id, const char *owner, size_t most_bytes, json_t *items, Error *err) {
    json_t *answers = json_array();
    char *at = mem_strdup(id, MEM_NETWORK);
    size_t bytes = 0;
    const int64_t now = now_us();
    Status status = at == NULL ? error_set(err, ERR_MEMORY, "no memory for a conversation") : OK;
    for (int i = 0; status == OK && at != NULL; i++) {
        StoredAnswer a;
        status = find_answer(s, at, owner, &a, err);
        if (status == ERR_NOT_FOUND && i > 0 && err != NULL) {
            error_clear(err);
            error_set(err, ERR_NOT_FOUND, "the response '%.80s', from which '%.80s' goes on, has been deleted", at, id);
        }
        if (status != OK)
            break;
        json_t *one = json_pack("[O, O]", a.input, json_object_get(a.body, "output"));
        if (json_array_append_new(answers, one) != 0)
            status = error_set(err, ERR_MEMORY, "no memory for a conversation");
        bytes += a.input_bytes;
        if (status == OK && (i == CHAIN_MOST || bytes > most_bytes))
            status = error_set(err, ERR_LIMIT, "the conversation behind '%.80s' is too long", id);
        if (status == OK)
            status = database_change(s->database, err, "UPDATE answer SET used = ? WHERE id = ?", "is", now, at);
        mem_free(at);
        at = a.previous;
        a.previous = NULL;
        stored_answer_free(&a);
    }
    mem_free(at);
    if (status == OK)
        status = join(answers, items, err);
    json_decref(answers);
    return status;
}

Status archive_conversation(Archive *s, const char *id, const char *owner, size_t most_bytes, json_t **items,
                            Error *err) {
    *items = json_array();
    FAIL_IF(*items == NULL, ERR_MEMORY, "no memory for a conversation");
    pthread_mutex_lock(&s->lock);
    Status status = database_begin(s->database, err);
    if (status == OK)
        status = database_finish(s->database, collect(s, id, owner, most_bytes, *items, err), err);
    pthread_mutex_unlock(&s->lock);
    if (status != OK) {
        json_decref(*items);
        *items = NULL;
    }
    return status;
}

/* ---- presets ----------------------------------------------------------------------------------------------------- */

/* In the place of one of the same name, however it was spelled. */
static Status put_preset(Archive *s, const char *name, const char *settings, Error *err) {
    TRY(database_change(s->database, err, "DELETE FROM preset WHERE name = ? || ':latest'", "s", name));
    return database_change(s->database, err, "INSERT OR REPLACE INTO preset(name, settings) VALUES(?,?)", "ss", name,
                           settings);
}

Status archive_put_preset(Archive *s, const char *name, const json_t *preset, Error *err) {
    Text text = {0};
    Status status = write_json(&text, preset, err);
    if (status == OK) {
        pthread_mutex_lock(&s->lock);
        status = database_begin(s->database, err);
        if (status == OK)
            status = database_finish(s->database, put_preset(s, name, text.bytes, err), err);
        pthread_mutex_unlock(&s->lock);
    }
    text_free(&text);
    return status;
}

Status archive_delete_preset(Archive *s, const char *name, Error *err) {
    pthread_mutex_lock(&s->lock);
    const Status status = database_change(s->database, err, "DELETE FROM preset WHERE name = ?", "s", name);
    pthread_mutex_unlock(&s->lock);
    return status;
}

Status archive_presets(Archive *s, json_t **presets, Error *err) {
    sqlite3_stmt *row;
    *presets = json_object();
    FAIL_IF(*presets == NULL, ERR_MEMORY, "no memory for presets");
    pthread_mutex_lock(&s->lock);
    Status status = database_query(s->database, &row, err, "SELECT name, settings FROM preset ORDER BY name", "");
    for (bool more = true; status == OK && more;) {
        json_t *preset = NULL;
        status = database_row(s->database, row, &more, err);
        if (status != OK || !more)
            break;
        status = column_json(s, row, 1, &preset, err);
        if (status == OK && json_object_set_new(*presets, (const char *)sqlite3_column_text(row, 0), preset) != 0)
            status = error_set(err, ERR_MEMORY, "no memory for presets");
    }
    sqlite3_finalize(row);
    pthread_mutex_unlock(&s->lock);
    if (status != OK) {
        json_decref(*presets);
        *presets = NULL;
    }
    return status;
}
