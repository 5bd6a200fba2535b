/* database.c - see database.h. */
#include "store/database.h"

#include "base/file.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>

enum { BUSY_MS = 15000 };

struct Database {
    sqlite3 *db;
    char *path;
    const DatabaseSpec *spec;
};

/* ---- memory: SQLite allocates through mem.h ---------------------------------------------------------------------- */

static void *sqlite_alloc(int bytes) {
    return mem_alloc((size_t)bytes, MEM_MISC);
}

static void *sqlite_resize(void *block, int bytes) {
    return mem_realloc(block, (size_t)bytes, MEM_MISC);
}

static int sqlite_block_bytes(void *block) {
    return (int)mem_block_bytes(block);
}

static int sqlite_round(int bytes) {
    return (bytes + 7) & ~7;
}

static int sqlite_begin(void *user) {
    (void)user;
    return SQLITE_OK;
}

static void sqlite_end(void *user) {
    (void)user;
}

static pthread_once_t memory_once = PTHREAD_ONCE_INIT;

static void set_memory(void) {
    static const sqlite3_mem_methods methods = {sqlite_alloc, mem_free,     sqlite_resize, sqlite_block_bytes,
                                                sqlite_round, sqlite_begin, sqlite_end,    NULL};
    /* Refused when somebody in this process has begun to use SQLite; then it keeps its own. */
    sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

Status database_error(const Database *d, int code, Error *err) {
    switch (code & 0xFF) {
    case SQLITE_NOMEM:
        return error_set(err, ERR_MEMORY, "%s: no memory", d->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, ERR_BUSY, "%s: another houle is changing it; try again", d->path);
    case SQLITE_FULL:
        return error_set(err, ERR_IO, "%s: the disk is full", d->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(err, ERR_FORMAT, "%s: the %s is damaged. %s", d->path, d->spec->what, d->spec->when_damaged);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return error_set(err, ERR_IO, "%s: cannot be opened for writing: %s", d->path, sqlite3_errstr(code & 0xFF));
    default:
        return error_set(err, ERR_IO, "%s: %s", d->path,
                         d->db != NULL ? sqlite3_errmsg(d->db) : sqlite3_errstr(code));
    }
}

Status database_run(Database *d, const char *sql, Error *err) {
    const int code = sqlite3_exec(d->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? OK : database_error(d, code, err);
}

static Status prepare(Database *d, sqlite3_stmt **statement, Error *err, const char *sql, const char *kinds,
                      va_list values) {
    int code = sqlite3_prepare_v2(d->db, sql, -1, statement, NULL);
    for (int i = 0; code == SQLITE_OK && kinds[i] != '\0'; i++) {
        if (kinds[i] == 's')
            code = sqlite3_bind_text(*statement, i + 1, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
        else
            code = sqlite3_bind_int64(*statement, i + 1, va_arg(values, int64_t));
    }
    if (code == SQLITE_OK)
        return OK;
    const Status status = database_error(d, code, err);
    sqlite3_finalize(*statement);
    *statement = NULL;
    return status;
}

Status database_change(Database *d, Error *err, const char *sql, const char *kinds, ...) {
    sqlite3_stmt *statement = NULL;
    va_list values;
    va_start(values, kinds);
    Status status = prepare(d, &statement, err, sql, kinds, values);
    va_end(values);
    if (status != OK)
        return status;
    const int code = sqlite3_step(statement);
    if (code != SQLITE_DONE)
        status = database_error(d, code, err);
    sqlite3_finalize(statement);
    return status;
}

Status database_query(Database *d, sqlite3_stmt **statement, Error *err, const char *sql, const char *kinds, ...) {
    va_list values;
    *statement = NULL;
    va_start(values, kinds);
    const Status status = prepare(d, statement, err, sql, kinds, values);
    va_end(values);
    return status;
}

Status database_row(Database *d, sqlite3_stmt *statement, bool *more, Error *err) {
    const int code = sqlite3_step(statement);
    *more = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? OK : database_error(d, code, err);
}

Status database_begin(Database *d, Error *err) {
    return database_run(d, "BEGIN IMMEDIATE", err);
}

Status database_finish(Database *d, Status status, Error *err) {
    if (status == OK)
        status = database_run(d, "COMMIT", err);
    if (status != OK && sqlite3_get_autocommit(d->db) == 0)
        sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static Status read_version(Database *d, int *version, Error *err) {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(d->db, "PRAGMA user_version", -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    *version = code == SQLITE_ROW ? sqlite3_column_int(statement, 0) : 0;
    sqlite3_finalize(statement);
    return code == SQLITE_ROW ? OK : database_error(d, code, err);
}

static Status make_tables(Database *d, Error *err) {
    char set_version[48];
    sqlite3_snprintf(sizeof set_version, set_version, "PRAGMA user_version = %d", d->spec->version);
    TRY(database_run(d, d->spec->schema, err));
    return database_run(d, set_version, err);
}

static Status check_version(Database *d, bool write, Error *err) {
    int version;
    TRY(read_version(d, &version, err));
    FAIL_IF(version > d->spec->version, ERR_UNSUPPORTED, "%s: made by a newer houle", d->path);
    if (version == d->spec->version)
        return OK;
    FAIL_IF(!write, ERR_NOT_FOUND, "%s: is empty", d->path);
    TRY(database_begin(d, err));
    Status status = read_version(d, &version, err); /* another process may have been faster */
    if (status == OK && version == 0)
        status = make_tables(d, err);
    return database_finish(d, status, err);
}

static Status open_file(Database *d, bool write, Error *err) {
    FAIL_IF(!write && !file_exists(d->path), ERR_NOT_FOUND, "%s: there is no %s", d->path, d->spec->what);
    const int flags = write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE;
    int code = sqlite3_open_v2(d->path, &d->db, flags | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code != SQLITE_OK && d->db != NULL && !write) {
        sqlite3_close(d->db);
        d->db = NULL;
        code = sqlite3_open_v2(d->path, &d->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_FULLMUTEX, NULL);
    }
    if (code != SQLITE_OK)
        return database_error(d, code, err);
    sqlite3_busy_timeout(d->db, BUSY_MS);
    /* What a database that somebody tampered with may do is to be wrong, not to run things. */
    sqlite3_db_config(d->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(d->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    TRY(database_run(d, "PRAGMA foreign_keys = ON", err));
    if (write)
        TRY(database_run(d, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", err));
    return check_version(d, write, err);
}

Status database_open(const char *path, const DatabaseSpec *spec, bool write, Database **out, Error *err) {
    *out = NULL;
    pthread_once(&memory_once, set_memory);
    Database *d = mem_zalloc(sizeof *d, MEM_MISC);
    FAIL_IF(d == NULL, ERR_MEMORY, "no memory for a database");
    d->spec = spec;
    d->path = mem_strdup(path, MEM_MISC);
    const Status status = d->path == NULL ? error_set(err, ERR_MEMORY, "no memory for a database") : open_file(d, write, err);
    if (status != OK) {
        database_close(d);
        return status;
    }
    *out = d;
    return OK;
}

void database_close(Database *d) {
    if (d == NULL)
        return;
    sqlite3_close(d->db);
    mem_free(d->path);
    mem_free(d);
}

sqlite3 *database_handle(const Database *d) {
    return d->db;
}

const char *database_path(const Database *d) {
    return d->path;
}
