/* mem.c - tagged allocation. Each block has a 64-byte header in front of it (the alignment of tensor data), or a
 * 16-byte one for ordinary blocks; its last 16 bytes hold size and tag, right before the block, so that free and
 * realloc need neither from the caller. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct Header {
    size_t bytes;    /* of the block, without header */
    uint32_t offset; /* from the start of the system's block to ours */
    uint32_t tag;
} Header;

enum { HEADER_BYTES = 16, ALIGN_BYTES = 64 };
static const size_t huge_page_bytes = (size_t)2 << 20;
_Static_assert(sizeof(Header) == HEADER_BYTES, "the header must keep malloc's alignment");

static atomic_size_t in_use[MEM_TAG_COUNT];
static atomic_long fail_countdown;
static atomic_bool fail_struck;

bool size_mul(size_t a, size_t b, size_t *product) {
    if (b != 0 && a > SIZE_MAX / b)
        return false;
    *product = a * b;
    return true;
}

bool size_add(size_t a, size_t b, size_t *sum) {
    if (a > SIZE_MAX - b)
        return false;
    *sum = a + b;
    return true;
}

static bool failure_due(void) {
    if (LIKELY(atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0))
        return false;
    if (atomic_fetch_sub(&fail_countdown, 1) != 1)
        return false;
    atomic_store(&fail_countdown, 0);
    atomic_store(&fail_struck, true);
    return true;
}

void mem_fail_at(long n) {
    atomic_store(&fail_struck, false);
    atomic_store(&fail_countdown, n);
}

bool mem_fail_hit(void) {
    return atomic_load(&fail_struck);
}

static Header *header_of(void *block) {
    return (Header *)(void *)((char *)block - HEADER_BYTES);
}

static void *place(char *base, size_t offset, size_t bytes, MemTag tag) {
    char *block = base + offset;
    *header_of(block) = (Header){.bytes = bytes, .offset = (uint32_t)offset, .tag = (uint32_t)tag};
    atomic_fetch_add_explicit(&in_use[tag], bytes, memory_order_relaxed);
    return block;
}

void *mem_alloc(size_t bytes, MemTag tag) {
    size_t whole;
    if (failure_due() || !size_add(bytes, HEADER_BYTES, &whole))
        return NULL;
    char *base = malloc(whole);
    return base != NULL ? place(base, HEADER_BYTES, bytes, tag) : NULL;
}

void *mem_zalloc(size_t bytes, MemTag tag) {
    size_t whole;
    if (failure_due() || !size_add(bytes, HEADER_BYTES, &whole))
        return NULL;
    char *base = calloc(1, whole);
    return base != NULL ? place(base, HEADER_BYTES, bytes, tag) : NULL;
}

void *mem_array(size_t count, size_t element_bytes, MemTag tag) {
    size_t bytes;
    return size_mul(count, element_bytes, &bytes) ? mem_zalloc(bytes, tag) : NULL;
}

void *mem_alloc_aligned(size_t bytes, MemTag tag) {
    const bool huge = bytes >= 2 * huge_page_bytes;
    const size_t align = huge ? huge_page_bytes : ALIGN_BYTES;
    size_t whole;
    if (failure_due() || !size_add(bytes, 2 * align, &whole))
        return NULL;
    if (!huge) {
        char *base = aligned_alloc(align, (whole + align - 1) / align * align);
        if (base == NULL)
            return NULL;
        memset(base + ALIGN_BYTES, 0, bytes);
        return place(base, ALIGN_BYTES, bytes, tag);
    }
    /* Large blocks: fresh pages are zero already, and touching them here would put them all on this thread's node.
     * offset 0 in the header marks them; the mapping starts one huge page before the block. */
    char *map = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    const size_t past = (size_t)((uintptr_t)map % align);
    const size_t lead = past ? align - past : 0;
    if (lead > 0)
        munmap(map, lead);
    char *base = map + lead;
    const size_t keep = align + bytes;
    const size_t page = 4096;
    const size_t kept = (keep + page - 1) / page * page;
    if (lead + kept < whole)
        munmap(base + kept, whole - lead - kept);
    /* Huge pages spare the processor address translations, but each is handed out in one go, which took 5 ms in a virtual
     * machine whose host had to find it: a cache, of which each step needs a little more, takes small ones. */
    if (tag != MEM_CACHE)
        madvise(base + align, kept - align, MADV_HUGEPAGE);
    void *block = place(base, align, bytes, tag);
    header_of(block)->offset = 0;
    return block;
}

void *mem_realloc(void *block, size_t bytes, MemTag tag) {
    if (block == NULL)
        return mem_alloc(bytes, tag);
    Header *head = header_of(block);
    const Header old = *head;
    if (old.offset != HEADER_BYTES) { /* an aligned block: move it */
        void *moved = mem_alloc_aligned(bytes, (MemTag)old.tag);
        if (moved != NULL) {
            memcpy(moved, block, old.bytes < bytes ? old.bytes : bytes);
            mem_free(block);
        }
        return moved;
    }
    size_t whole;
    if (failure_due() || !size_add(bytes, HEADER_BYTES, &whole))
        return NULL;
    char *base = realloc(head, whole);
    if (base == NULL)
        return NULL;
    atomic_fetch_sub_explicit(&in_use[old.tag], old.bytes, memory_order_relaxed);
    return place(base, HEADER_BYTES, bytes, (MemTag)old.tag);
}

void mem_free(void *block) {
    if (block == NULL)
        return;
    const Header head = *header_of(block);
    atomic_fetch_sub_explicit(&in_use[head.tag], head.bytes, memory_order_relaxed);
    if (head.offset == 0)
        munmap((char *)block - huge_page_bytes, huge_page_bytes + head.bytes);
    else
        free((char *)block - head.offset);
}

size_t mem_block_bytes(const void *block) {
    return block != NULL ? ((const Header *)(const void *)((const char *)block - HEADER_BYTES))->bytes : 0;
}

char *mem_strndup(const char *text, size_t bytes, MemTag tag) {
    char *copy = mem_alloc(bytes + 1, tag);
    if (copy != NULL) {
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
    }
    return copy;
}

char *mem_strdup(const char *text, MemTag tag) {
    return mem_strndup(text, strlen(text), tag);
}

size_t mem_bytes(MemTag tag) {
    return atomic_load_explicit(&in_use[tag], memory_order_relaxed);
}

size_t mem_bytes_total(void) {
    size_t sum = 0;
    for (int tag = 0; tag < MEM_TAG_COUNT; tag++)
        sum += mem_bytes((MemTag)tag);
    return sum;
}

const char *mem_tag_word(MemTag tag) {
    static const char *const words[MEM_TAG_COUNT] = {"misc",  "text",    "format", "graph", "weights",
                                                     "cache", "scratch", "network"};
    return (size_t)tag < MEM_TAG_COUNT ? words[tag] : "unknown";
}

bool mem_grow(void **array, size_t *capacity, size_t needed, size_t element_bytes, MemTag tag) {
    if (needed <= *capacity)
        return true;
    size_t wanted = *capacity < 8 ? 8 : *capacity;
    while (wanted < needed) {
        if (wanted > SIZE_MAX / 2)
            return false;
        wanted *= 2;
    }
    size_t bytes;
    if (!size_mul(wanted, element_bytes, &bytes))
        return false;
    void *grown = mem_realloc(*array, bytes, tag);
    if (grown == NULL)
        return false;
    *array = grown;
    *capacity = wanted;
    return true;
}
