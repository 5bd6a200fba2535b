/* folder.h - folders by handle: nothing inside them is reached through a symbolic link.
 *
 * A folder that other programs may write to can hold a link that leads elsewhere; whoever creates, renames or deletes
 * below it must not follow one. The handle of the top folder is opened by its path (which may be a link: that is the
 * user's choice); from there on each step is taken by name, without following. */
#ifndef HOULE_BASE_FOLDER_H
#define HOULE_BASE_FOLDER_H

#include "base/arena.h"
#include "base/status.h"

#include <sys/stat.h>

/* The top folder; with `create`, made with those above it. *fd belongs to the caller (close). */
Status folder_open(const char *path, bool create, int *fd, Error *err);
/* A folder below `top`: `relative` is "" (top itself) or passes path_is_inside. With `create` missing ones are made.
 * ERR_NOT_FOUND when it isn't there, ERR_DENIED when a part of it is a link or no folder. */
Status folder_open_below(int top, const char *relative, bool create, int *fd, Error *err);
/* The folder of a file below `top`; *name is the last part of `relative`. */
Status folder_open_parent(int top, const char *relative, bool create, int *fd, const char **name, Error *err);
/* A regular file in a folder; `flags` as for open(). ERR_NOT_FOUND, ERR_DENIED (a link, no file), ERR_IO. */
Status folder_open_file(int folder, const char *name, int flags, int *fd, Error *err);
/* Writes a file below `top` (folders on the way are made): `fill` writes the content and makes it durable, then it
 * takes its name. Readers see the old file or the new one; after a failure the old one is there. */
typedef Status FolderFill(void *user, int fd, Error *err);
Status folder_write_atomic(int top, const char *relative, FolderFill *fill, void *user, Error *err);
/* What lies under a name, without following: false when there is nothing (or it cannot be asked). */
bool folder_stat(int folder, const char *name, struct stat *st);
/* Makes the folder's entries durable: after creating, renaming or deleting in it. */
Status folder_sync(int folder, Error *err);
/* Removes the folders of `relative` (a file's or folder's path below `top`) that are now empty, innermost first. */
void folder_prune(int top, const char *relative);

typedef struct FolderEntry {
    const char *name; /* in the arena */
    bool is_folder;   /* links are followed to tell */
    bool is_file;
    uint64_t bytes; /* of a file */
} FolderEntry;

/* What a folder holds, sorted by name, without "." and ".."; at most `limit` entries (ERR_LIMIT). A folder that is not
 * there, or must not be read, is empty. */
Status folder_list(const char *path, size_t limit, Arena *arena, FolderEntry **entries, size_t *count, Error *err);

#endif
