/* mem.h - the one entry to the heap.
 *
 * Every allocation names its purpose, so that totals can be printed, and passes through one place, so that tests can
 * make the n-th one fail. All functions return NULL when there is no memory (or the failure was injected); the
 * caller turns that into ERR_MEMORY. Blocks of 64-byte alignment come from mem_alloc_aligned(); all of them are
 * returned by mem_free(). Thread-safe. */
#ifndef HOULE_BASE_MEM_H
#define HOULE_BASE_MEM_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum MemTag {
    MEM_MISC,    /* small structures */
    MEM_TEXT,    /* tokenizers, templates, grammars, strings */
    MEM_FORMAT,  /* headers of model files, JSON */
    MEM_GRAPH,   /* descriptions and programs */
    MEM_WEIGHTS, /* tensors that had to be copied or converted */
    MEM_CACHE,   /* key/value caches and recurrent states */
    MEM_SCRATCH, /* activations of a step */
    MEM_NETWORK, /* requests, responses, downloads */
    MEM_TAG_COUNT
} MemTag;

void *mem_alloc(size_t bytes, MemTag tag);
void *mem_zalloc(size_t bytes, MemTag tag);
/* An array of count zeroed elements; NULL also when the product overflows. */
void *mem_array(size_t count, size_t element_bytes, MemTag tag);
/* Like realloc: the old block stays valid on failure. The tag of an existing block is kept. */
void *mem_realloc(void *block, size_t bytes, MemTag tag);
/* Zeroed, aligned to 64 bytes; from 4 MiB on aligned to 2 MiB and, but for caches, advised to huge pages. */
void *mem_alloc_aligned(size_t bytes, MemTag tag);
void mem_free(void *block);
/* The bytes asked for when the block was made or last resized; 0 for NULL. For libraries that want to know. */
size_t mem_block_bytes(const void *block);

char *mem_strdup(const char *text, MemTag tag);
char *mem_strndup(const char *text, size_t bytes, MemTag tag);

/* Bytes now in use for one purpose, and for all. */
size_t mem_bytes(MemTag tag);
size_t mem_bytes_total(void);
const char *mem_tag_word(MemTag tag);

/* Test hook: the n-th allocation from now on fails (1 = the next one), then all later ones succeed again.
 * 0 switches it off. mem_fail_hit() tells whether it has struck since it was set. */
void mem_fail_at(long n);
bool mem_fail_hit(void);

/* Grows *array (of element_bytes each) so that it holds at least `needed` elements, at least doubling its capacity.
 * Returns false without memory; the array stays as it was. */
bool mem_grow(void **array, size_t *capacity, size_t needed, size_t element_bytes, MemTag tag) MUST_CHECK;

/* product = a * b; false when it does not fit. For every product of numbers read from a file. */
bool size_mul(size_t a, size_t b, size_t *product) MUST_CHECK;
bool size_add(size_t a, size_t b, size_t *sum) MUST_CHECK;

#endif
