/* store_index.c - see store_index.h. */
#include "store/store_index.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/database.h"

#include <sqlite3.h>
#include <string.h>

enum { SCHEMA_VERSION = 1 };

struct StoreIndex {
    Database *database;
    sqlite3 *db;      /* the database's */
    const char *path; /* likewise */
};

static const char schema[] =
    "CREATE TABLE model("
    "  id INTEGER PRIMARY KEY,"
    "  name TEXT NOT NULL COLLATE NOCASE,"
    "  state INTEGER NOT NULL,"  /* ModelState */
    "  source INTEGER NOT NULL," /* ModelSource */
    "  owned INTEGER NOT NULL,"
    "  since INTEGER NOT NULL,"
    "  origin TEXT NOT NULL, publisher TEXT NOT NULL, licence TEXT NOT NULL, licence_link TEXT NOT NULL,"
    "  revision TEXT NOT NULL, label TEXT NOT NULL, root TEXT NOT NULL, entry TEXT NOT NULL);"
    /* One complete and one unfinished model may share a name: an update under way. */
    "CREATE UNIQUE INDEX model_name ON model(name, state) WHERE state < 2;"
    "CREATE TABLE file("
    "  model INTEGER NOT NULL REFERENCES model(id) ON DELETE CASCADE,"
    "  path TEXT NOT NULL,"
    "  link TEXT,"
    "  bytes INTEGER NOT NULL,"
    "  sha256 TEXT NOT NULL, git_sha1 TEXT NOT NULL, identity TEXT NOT NULL,"
    "  present INTEGER NOT NULL, damaged INTEGER NOT NULL,"
    "  PRIMARY KEY(model, path)) WITHOUT ROWID;"
    "CREATE INDEX file_sha256 ON file(sha256);";

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static Status complain(StoreIndex *index, int code, Error *err) {
    return database_error(index->database, code, err);
}

/* After a statement that should have changed one row. */
static Status check_changed(StoreIndex *index, Error *err) {
    FAIL_IF(sqlite3_changes(index->db) < 1, ERR_BUSY, "%s: another houle has removed the model meanwhile", index->path);
    return OK;
}

Status store_index_open(const char *folder, bool write, StoreIndex **out, Error *err) {
    static const DatabaseSpec spec = {
        .what = "index",
        .schema = schema,
        .version = SCHEMA_VERSION,
        .when_damaged = "Move it away and register the models again with 'houle pull PATH'; the models themselves are not "
                        "touched"};
    *out = NULL;
    StoreIndex *index = mem_zalloc(sizeof *index, MEM_MISC);
    FAIL_IF(index == NULL, ERR_MEMORY, "no memory for the index");
    char *path = path_join(folder, "index.db");
    Status status = path == NULL ? error_set(err, ERR_MEMORY, "no memory for the index") : OK;
    if (status == OK && write)
        status = file_make_directories(folder, err);
    if (status == OK)
        status = database_open(path, &spec, write, &index->database, err);
    mem_free(path);
    if (status != OK) {
        store_index_close(index);
        return status;
    }
    index->db = database_handle(index->database);
    index->path = database_path(index->database);
    *out = index;
    return OK;
}

void store_index_close(StoreIndex *index) {
    if (index == NULL)
        return;
    database_close(index->database);
    mem_free(index);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* A column's text in the arena; NULL without memory. */
static const char *text_of(sqlite3_stmt *row, int column, Arena *arena) {
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text != NULL ? arena_strdup(arena, text) : arena_strdup(arena, "");
}

static uint64_t natural_of(sqlite3_stmt *row, int column) {
    const int64_t number = sqlite3_column_int64(row, column);
    return number > 0 ? (uint64_t)number : 0;
}

static Status read_file_row(StoreIndex *index, sqlite3_stmt *row, Arena *arena, ModelFile *file, Error *err) {
    const bool has_link = sqlite3_column_type(row, 1) == SQLITE_TEXT;
    *file = (ModelFile){.path = text_of(row, 0, arena),
                        .link = has_link ? text_of(row, 1, arena) : NULL,
                        .bytes = natural_of(row, 2),
                        .sha256 = text_of(row, 3, arena),
                        .git_sha1 = text_of(row, 4, arena),
                        .identity = text_of(row, 5, arena),
                        .present = sqlite3_column_int(row, 6) != 0,
                        .damaged = sqlite3_column_int(row, 7) != 0};
    FAIL_IF(file->path == NULL || (has_link && file->link == NULL) || file->sha256 == NULL || file->git_sha1 == NULL ||
                file->identity == NULL,
            ERR_MEMORY, "%s: no memory", index->path);
    /* The database is a file that others may have written to: paths are checked like those from the network. */
    FAIL_IF(!path_is_inside(file->path) || (has_link && file->link[0] != '/'), ERR_FORMAT,
            "%s: holds a path that leads out of its folder: %.200s", index->path, file->path);
    return OK;
}

static Status read_files(StoreIndex *index, Arena *arena, StoreModel *model, Error *err) {
    sqlite3_stmt *row = NULL;
    int code = sqlite3_prepare_v2(index->db,
                                  "SELECT path, link, bytes, sha256, git_sha1, identity, present, damaged FROM file "
                                  "WHERE model = ? ORDER BY path",
                                  -1, &row, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(row, 1, model->id);
    ModelFile *files = NULL;
    size_t capacity = 0, n = 0;
    Status status = OK;
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(row);
        if (code != SQLITE_ROW)
            break;
        if (!mem_grow((void **)&files, &capacity, n + 1, sizeof *files, MEM_MISC))
            status = error_set(err, ERR_MEMORY, "%s: no memory", index->path);
        if (status == OK)
            status = read_file_row(index, row, arena, &files[n], err);
        if (status != OK)
            break;
        model->bytes += files[n++].bytes;
    }
    if (status == OK && code != SQLITE_DONE)
        status = complain(index, code, err);
    sqlite3_finalize(row);
    if (status == OK) {
        model->files = arena_array(arena, n, sizeof *files);
        model->n_file = n;
        if (model->files == NULL)
            status = error_set(err, ERR_MEMORY, "%s: no memory", index->path);
        else if (n > 0)
            memcpy(model->files, files, n * sizeof *files);
    }
    mem_free(files);
    return status;
}

/* Below the models folder for owned models, so that the store can be moved as a whole. */
static Status take_root(StoreIndex *index, const char *models_folder, Arena *arena, StoreModel *model, Error *err) {
    FAIL_IF(model->owned ? !path_is_inside(model->root) : model->root[0] != '/', ERR_FORMAT,
            "%s: holds a folder that leads elsewhere: %.200s", index->path, model->root);
    FAIL_IF(*model->entry != '\0' && !path_is_inside(model->entry), ERR_FORMAT,
            "%s: holds a path that leads elsewhere: %.200s", index->path, model->entry);
    if (!model->owned)
        return OK;
    char *joined = path_join(models_folder, model->root);
    model->root = joined != NULL ? arena_strdup(arena, joined) : NULL;
    mem_free(joined);
    FAIL_IF(model->root == NULL, ERR_MEMORY, "%s: no memory", index->path);
    return OK;
}

static Status read_model_row(StoreIndex *index, sqlite3_stmt *row, const char *models_folder, StoreList *list,
                             Error *err) {
    StoreModel *m = store_list_add(list);
    FAIL_IF(m == NULL, ERR_MEMORY, "%s: no memory", index->path);
    m->id = sqlite3_column_int64(row, 0);
    m->state = (ModelState)sqlite3_column_int(row, 1);
    m->source = (ModelSource)sqlite3_column_int(row, 2);
    m->owned = sqlite3_column_int(row, 3) != 0;
    m->since = sqlite3_column_int64(row, 4);
    const char **texts[] = {&m->name,     &m->origin, &m->publisher, &m->licence, &m->licence_link,
                            &m->revision, &m->label,  &m->root,      &m->entry};
    for (size_t i = 0; i < COUNT(texts); i++) {
        *texts[i] = text_of(row, 5 + (int)i, &list->arena);
        FAIL_IF(*texts[i] == NULL, ERR_MEMORY, "%s: no memory", index->path);
    }
    FAIL_IF((unsigned)m->state > MODEL_REMOVING || (unsigned)m->source >= SOURCE_COUNT, ERR_FORMAT,
            "%s: holds what this houle does not know", index->path);
    TRY(take_root(index, models_folder, &list->arena, m, err));
    return read_files(index, &list->arena, m, err);
}

Status store_index_read(StoreIndex *index, const char *models_folder, StoreList *list, Error *err) {
    sqlite3_stmt *row = NULL;
    int code = sqlite3_prepare_v2(index->db,
                                  "SELECT id, state, source, owned, since, name, origin, publisher, licence, "
                                  "licence_link, revision, label, root, entry FROM model ORDER BY name, state",
                                  -1, &row, NULL);
    Status status = OK;
    while (status == OK && (code == SQLITE_OK || code == SQLITE_ROW)) {
        code = sqlite3_step(row);
        if (code != SQLITE_ROW)
            break;
        status = read_model_row(index, row, models_folder, list, err);
    }
    if (status == OK && code != SQLITE_DONE)
        status = complain(index, code, err);
    sqlite3_finalize(row);
    return status;
}

/* ---- changing ---------------------------------------------------------------------------------------------------- */

static Status add_rows(StoreIndex *index, const StoreModel *m, int64_t *id, Error *err) {
    TRY(database_change(index->database, err, "DELETE FROM model WHERE name = ? AND state = ?", "si", m->name, (int64_t)m->state));
    TRY(database_change(
        index->database, err,
        "INSERT INTO model(state, source, owned, since, name, origin, publisher, licence, licence_link, revision, "
        "label, root, entry) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
        "iiiisssssssss", (int64_t)m->state, (int64_t)m->source, (int64_t)m->owned, m->since, m->name, m->origin,
        m->publisher, m->licence, m->licence_link, m->revision, m->label, m->root, m->entry));
    *id = sqlite3_last_insert_rowid(index->db);
    for (size_t i = 0; i < m->n_file; i++) {
        const ModelFile *f = &m->files[i];
        TRY(database_change(index->database, err,
                   "INSERT INTO file(model, path, link, bytes, sha256, git_sha1, identity, present, damaged) "
                   "VALUES(?,?,?,?,?,?,?,?,?)",
                   "ississsii", *id, f->path, f->link, (int64_t)f->bytes, f->sha256, f->git_sha1, f->identity,
                   (int64_t)f->present, (int64_t)f->damaged));
    }
    return OK;
}

Status store_index_add(StoreIndex *index, const StoreModel *model, int64_t *id, Error *err) {
    int64_t unused;
    TRY(database_begin(index->database, err));
    return database_finish(index->database, add_rows(index, model, id != NULL ? id : &unused, err), err);
}

Status store_index_set_present(StoreIndex *index, int64_t id, const char *path, const char *sha256, Error *err) {
    TRY(database_change(index->database, err, "UPDATE file SET present = 1, damaged = 0, sha256 = ? WHERE model = ? AND path = ?", "sis",
               sha256, id, path));
    return check_changed(index, err);
}

Status store_index_set_damaged(StoreIndex *index, int64_t id, const char *path, Error *err) {
    return database_change(index->database, err, "UPDATE file SET damaged = 1 WHERE model = ? AND path = ?", "is", id, path);
}

static Status complete_rows(StoreIndex *index, int64_t id, const char *label, Error *err) {
    /* One in the same folder was completed anew, repaired: there is nothing to remove but its row. */
    TRY(database_change(index->database, err,
               "DELETE FROM model WHERE state = 0 AND id <> ?1 AND name = (SELECT name FROM model WHERE id = ?1) AND "
               "root = (SELECT root FROM model WHERE id = ?1) AND owned = (SELECT owned FROM model WHERE id = ?1)",
               "i", id));
    TRY(database_change(index->database, err,
               "UPDATE model SET state = 2 WHERE state = 0 AND id <> ?1 AND name = (SELECT name FROM model WHERE id = "
               "?1)",
               "i", id));
    TRY(database_change(index->database, err, "UPDATE model SET state = 0, label = ? WHERE id = ?", "si", label, id));
    return check_changed(index, err);
}

Status store_index_complete(StoreIndex *index, int64_t id, const char *label, Error *err) {
    TRY(database_begin(index->database, err));
    return database_finish(index->database, complete_rows(index, id, label, err), err);
}

Status store_index_mark_removing(StoreIndex *index, int64_t id, Error *err) {
    return database_change(index->database, err, "UPDATE model SET state = 2 WHERE id = ?", "i", id);
}

Status store_index_forget(StoreIndex *index, int64_t id, Error *err) {
    return database_change(index->database, err, "DELETE FROM model WHERE id = ?", "i", id);
}
