/* file.h - files: mapped for reading, read whole, written atomically.
 *
 * A mapping survives a file that is cut short under it: pages that are gone read as zeros and file_map_broken() turns
 * true, so that the reader can report an error instead of dying of SIGBUS. */
#ifndef HOULE_BASE_FILE_H
#define HOULE_BASE_FILE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct FileMap FileMap;

/* Maps a regular file read-only. The mapping belongs to the caller until file_map_close (NULL is fine). */
Status file_map_open(const char *path, FileMap **map, Error *err);
void file_map_close(FileMap *map);
const uint8_t *file_map_bytes(const FileMap *map);
size_t file_map_size(const FileMap *map);
const char *file_map_path(const FileMap *map);
/* The descriptor of the mapped file, for pread; -1 for an empty file. It belongs to the mapping. */
int file_map_descriptor(const FileMap *map);
/* True once a page of the mapping could not be read (file cut short, disk error). Any thread may ask at any time. */
bool file_map_broken(const FileMap *map);
/* Asks the kernel to read a range ahead; to forget it (the pages leave this process, not the page cache). */
void file_map_prefetch(const FileMap *map, size_t offset, size_t bytes);
void file_map_release(const FileMap *map, size_t offset, size_t bytes);
/* Tells that little of the file will be read through the mapping: a fault brings in its page and none around it, and pages
 * that were brought in so far leave the page cache, unless some process has them mapped. */
void file_map_sparse(const FileMap *map);

/* Reads a whole file of at most `limit` bytes into a fresh block (mem_free), NUL-terminated; *bytes may be NULL. */
Status file_read(const char *path, size_t limit, char **content, size_t *bytes, Error *err);
/* Writes to a temporary file beside `path`, syncs it and renames it: readers see the old content or the new. */
Status file_write_atomic(const char *path, const void *content, size_t bytes, Error *err);
/* The same of a file that only its owner may read, at no time anybody else. */
Status file_write_private(const char *path, const void *content, size_t bytes, Error *err);

/* All of the bytes, to a descriptor; `name` is for the message. */
Status file_write_all(int fd, const void *bytes, size_t count, const char *name, Error *err);

bool file_exists(const char *path);
bool file_is_directory(const char *path);
/* Makes a folder and those above it. */
Status file_make_directories(const char *path, Error *err);
/* The same for what only its owner may look into: so it is made; one that is there stays as it is. */
Status file_make_private_directory(const char *path, Error *err);
/* "folder/name" in a fresh string (mem_free); NULL without memory. */
char *path_join(const char *folder, const char *name);
/* What follows the last '/'. */
const char *path_name(const char *path);
/* True for a relative path without "..", empty or absolute parts: one that stays inside its folder. */
bool path_is_inside(const char *relative);
/* What a variable of the environment says, when that is an absolute path; else NULL. */
const char *path_variable(const char *name);
/* Our folder below what a variable says ("$XDG_CACHE_HOME/houle"), or else below a folder of the home ("~/.cache/houle").
 * False when there is no home either; *folder is a fresh string (mem_free), NULL also without memory. */
bool home_folder(const char *variable, const char *in_home, char **folder);

#endif
