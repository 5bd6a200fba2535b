/* direct_file.h - reading parts of a large file without leaving them in the page cache.
 *
 * Who keeps a cache of their own would otherwise have everything twice, and pages that are read once would push out those
 * that are needed again. The file is opened for direct transfers; where a file system has none, what was read is
 * dropped from the page cache afterwards. Transfers are whole blocks, so a buffer needs some room around the bytes:
 *
 *     buffer (aligned)          result                            buffer + direct_file_room(bytes)
 *     |......................... |== bytes ======================|..........|
 *      offset % DIRECT_BLOCK    */
#ifndef HOULE_BASE_DIRECT_FILE_H
#define HOULE_BASE_DIRECT_FILE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct DirectFile DirectFile;

enum { DIRECT_BLOCK = 4096 };

Status direct_file_open(const char *path, DirectFile **file, Error *err);
void direct_file_close(DirectFile *file); /* NULL is fine */

/* Bytes that a buffer must have for a read of so many, wherever they begin: a multiple of DIRECT_BLOCK. */
size_t direct_file_room(size_t bytes);

/* Reads `bytes` bytes from `offset` on into a buffer that is aligned to DIRECT_BLOCK and has room for them; they begin at
 * *result, which has the alignment that the bytes have in the file. ERR_IO, naming the file, when it ends before or
 * cannot be read. Any number of threads at once. */
Status direct_file_read(DirectFile *file, uint64_t offset, size_t bytes, uint8_t *buffer, const uint8_t **result, Error *err);

#endif
