/* database.h - SQLite as it is used here: small databases that survive being killed and may be shared by processes.
 *
 * Opened with a write-ahead log, written through to the disk at the end of each transaction, memory through mem.h,
 * errors that say which file and what to do. One Database may be used by several threads, but a transaction belongs to
 * all of them: who shares one and needs transactions locks around them. */
#ifndef HOULE_STORE_DATABASE_H
#define HOULE_STORE_DATABASE_H

#include "base/status.h"

#include <sqlite3.h>
#include <stdint.h>

typedef struct Database Database;

typedef struct DatabaseSpec {
    const char *what;         /* what messages call it: "index" */
    const char *schema;       /* statements that make the tables of a new one */
    int version;              /* of the schema; a database of a later one is refused */
    const char *when_damaged; /* what to do then, as a sentence without its full stop */
} DatabaseSpec;

/* Opens a file, or memory only (":memory:"). With `write` false nothing is made: ERR_NOT_FOUND when there is none. The
 * spec must outlive the database. */
Status database_open(const char *path, const DatabaseSpec *spec, bool write, Database **database, Error *err);
void database_close(Database *database); /* NULL is fine */
sqlite3 *database_handle(const Database *database);
const char *database_path(const Database *database);

/* A result code of SQLite's as an error. */
Status database_error(const Database *database, int code, Error *err);
/* Statements that return nothing, without values. */
Status database_run(Database *database, const char *sql, Error *err);
/* One statement that returns nothing. What its '?' are, in order: 's' text (NULL is NULL), 'i' int64_t. */
Status database_change(Database *database, Error *err, const char *sql, const char *kinds, ...);
/* One that returns rows: to be stepped with database_row, and finalized. */
Status database_query(Database *database, sqlite3_stmt **statement, Error *err, const char *sql, const char *kinds,
                      ...);
/* The next row; *more is false behind the last. */
Status database_row(Database *database, sqlite3_stmt *statement, bool *more, Error *err);
/* A transaction: ended by COMMIT when all went well (status is OK), else as if it had not been. */
Status database_begin(Database *database, Error *err);
Status database_finish(Database *database, Status status, Error *err);

#endif
