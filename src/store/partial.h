/* partial.h - a file being downloaded: its bytes, and the map of what is here, on disk.
 *
 * Both lie in one folder, named by the content that they are meant to become ("HEX.data", "HEX.map"), so that any
 * download of the same content goes on where another was cut off, whatever model it belongs to. A lock on the map keeps
 * two processes from writing the same file. One thread writes and marks; another may sync and read at the same time. */
#ifndef HOULE_STORE_PARTIAL_H
#define HOULE_STORE_PARTIAL_H

#include "store/chunk_map.h"

typedef struct Partial Partial;

/* The name under which content is kept: 32 digits of the SHA-256 of `identity` ("sha256:...", an address, ...). */
enum { PARTIAL_NAME_BYTES = 33 };
Status partial_name(const char *identity, char name[PARTIAL_NAME_BYTES], Error *err);

/* Opens or begins the file in `folder` (a handle, which must outlive the Partial). Room on the disk is reserved at
 * once. ERR_BUSY when another process has it; ERR_IO when the disk is full. */
Status partial_open(int folder, const char *identity, uint64_t file_bytes, uint32_t chunk_bytes, Partial **partial,
                    Error *err);
/* Closes; what is here stays for the next time. NULL is fine. */
void partial_close(Partial *partial);

size_t partial_chunks(const Partial *partial);
uint64_t partial_chunk_start(const Partial *partial, size_t chunk);
uint64_t partial_chunk_length(const Partial *partial, size_t chunk);
bool partial_has(Partial *partial, size_t chunk);
uint64_t partial_done_bytes(Partial *partial);
/* Bytes from the start that are here without a gap. */
uint64_t partial_frontier(Partial *partial);

Status partial_write(Partial *partial, uint64_t offset, const void *bytes, size_t count, Error *err);
/* All bytes of a chunk were written and have this SHA-256. */
Status partial_mark(Partial *partial, size_t chunk, const uint8_t hash[CHUNK_HASH_BYTES], Error *err);
/* Makes what was marked so far survive a power cut. */
Status partial_sync(Partial *partial, Error *err);
/* Reads at most `count` bytes that are here; ERR_IO when the file is shorter. */
Status partial_read(const Partial *partial, uint64_t offset, void *bytes, size_t count, Error *err);
/* Compares the chunks on disk with their recorded hashes; altered ones count as missing again. */
Status partial_recheck(Partial *partial, size_t *altered, Error *err);
/* Forgets every chunk. */
Status partial_forget(Partial *partial, Error *err);
/* Syncs the complete file and moves it to `folder`/`name`. With `replace` false an existing file there is ERR_DENIED.
 * The map is gone afterwards; the Partial can only be closed. */
Status partial_publish(Partial *partial, int folder, const char *name, bool replace, Error *err);

/* Removes the data and map of content that is no longer wanted; a file in use is left alone. *freed gets the bytes. */
Status partial_discard(int folder, const char *identity, uint64_t *freed, Error *err);
/* Bytes that the data of a content take on the disk already. */
uint64_t partial_disk_bytes(int folder, const char *identity);
/* What is recorded for a content without opening it for writing: 0 when nothing. For lists. */
uint64_t partial_peek(int folder, const char *identity, uint64_t file_bytes, uint32_t chunk_bytes);

#endif
