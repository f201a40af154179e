// The parts of SQLite's C interface that Swift cannot import: destructor constants that are casts, variadic functions,
// and calls whose presence depends on the version of the header.
#ifndef TIDELINE_CSQLITE_SHIM_H
#define TIDELINE_CSQLITE_SHIM_H

#include <sqlite3.h>

// A null pointer would bind NULL, and an empty Swift buffer may well have a null pointer: empty is not absent.
static inline const void *csqlite_not_null(const void *bytes) {
    return bytes ? bytes : "";
}

// SQLite copies the bytes before returning.
static inline int csqlite_bind_text_copied(sqlite3_stmt *statement, int index, const void *bytes, sqlite3_uint64 count) {
    return sqlite3_bind_text64(statement, index, (const char *)csqlite_not_null(bytes), count, SQLITE_TRANSIENT, SQLITE_UTF8);
}

// The bytes must stay where they are until the statement has been reset and bound anew.
static inline int csqlite_bind_text_borrowed(sqlite3_stmt *statement, int index, const void *bytes, sqlite3_uint64 count) {
    return sqlite3_bind_text64(statement, index, (const char *)csqlite_not_null(bytes), count, SQLITE_STATIC, SQLITE_UTF8);
}

static inline int csqlite_bind_blob_copied(sqlite3_stmt *statement, int index, const void *bytes, sqlite3_uint64 count) {
    return sqlite3_bind_blob64(statement, index, csqlite_not_null(bytes), count, SQLITE_TRANSIENT);
}

static inline void csqlite_result_text(sqlite3_context *context, const void *bytes, sqlite3_uint64 count) {
    sqlite3_result_text64(context, (const char *)csqlite_not_null(bytes), count, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static inline void csqlite_result_blob(sqlite3_context *context, const void *bytes, sqlite3_uint64 count) {
    sqlite3_result_blob64(context, csqlite_not_null(bytes), count, SQLITE_TRANSIENT);
}

// Refuses SQL that can corrupt the file (writable_schema, writes to shadow tables). Older headers do not know it.
static inline int csqlite_set_defensive(sqlite3 *database) {
#ifdef SQLITE_DBCONFIG_DEFENSIVE
    return sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0);
#else
    (void)database;
    return SQLITE_OK;
#endif
}

// Triggers do not run for what this connection writes.
static inline int csqlite_disable_triggers(sqlite3 *database) {
    int isEnabled = 1;
    int result = sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, &isEnabled);
    return result != SQLITE_OK ? result : isEnabled ? SQLITE_ERROR : SQLITE_OK;
}

// Rows changed, as 64 bits where the library counts so (3.37 and later).
static inline sqlite3_int64 csqlite_changes(sqlite3 *database) {
#if SQLITE_VERSION_NUMBER >= 3037000
    return sqlite3_changes64(database);
#else
    return sqlite3_changes(database);
#endif
}

static inline sqlite3_int64 csqlite_total_changes(sqlite3 *database) {
#if SQLITE_VERSION_NUMBER >= 3037000
    return sqlite3_total_changes64(database);
#else
    return sqlite3_total_changes(database);
#endif
}

#endif
