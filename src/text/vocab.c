/* vocab.c - see vocab.h. */
#include "text/vocab.h"

#include <string.h>

/* A table that is half full of well-mixed hashes has chains of a few dozen at the most; a file with longer ones was
 * made to be slow. */
enum { MAX_PROBES = 2048 };

bool vocab_reserve(Vocab *vocab, size_t ids, size_t bytes) {
    return mem_grow((void **)&vocab->bytes, &vocab->bytes_capacity, bytes, 1, MEM_TEXT) &&
           mem_grow((void **)&vocab->pieces, &vocab->pieces_capacity, ids, sizeof *vocab->pieces, MEM_TEXT) &&
           mem_grow((void **)&vocab->flags, &vocab->flags_capacity, ids, sizeof *vocab->flags, MEM_TEXT);
}

Status vocab_set(Vocab *vocab, int64_t id, const char *bytes, size_t count, unsigned flags, const char *name,
                 Error *err) {
    FAIL_IF(id < 0 || id >= VOCAB_MAX_IDS, ERR_FORMAT, "%s: token id %lld is not between 0 and %d", name, (long long)id,
            VOCAB_MAX_IDS - 1);
    FAIL_IF(count > UINT32_MAX / 2 || vocab->bytes_count > UINT32_MAX / 2, ERR_LIMIT, "%s: the tokens have over 2 GiB",
            name);
    FAIL_IF(!vocab_reserve(vocab, (size_t)id + 1, vocab->bytes_count + count), ERR_MEMORY,
            "%s: no memory for the vocabulary", name);
    if ((size_t)id >= vocab->count) {
        const size_t fresh = (size_t)id + 1 - vocab->count;
        memset(vocab->pieces + vocab->count, 0, fresh * sizeof *vocab->pieces);
        memset(vocab->flags + vocab->count, 0, fresh * sizeof *vocab->flags);
        vocab->count = (size_t)id + 1;
    }
    if (count > 0)
        memcpy(vocab->bytes + vocab->bytes_count, bytes, count);
    vocab->pieces[id] = (Piece){.start = (uint32_t)vocab->bytes_count, .count = (uint32_t)count};
    vocab->flags[id] = (uint16_t)(flags | TOKEN_PRESENT);
    vocab->bytes_count += count;
    return OK;
}

/* Eight bytes at a time, two multiplications each: pieces have six bytes on average, and loading hashes millions. */
uint32_t vocab_hash(const char *bytes, size_t count) {
    const uint64_t multiplier = 0x9E3779B97F4A7C15u;
    uint64_t hash = (uint64_t)count * multiplier;
    uint64_t word;
    while (count >= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * multiplier;
        hash ^= hash >> 29;
        bytes += 8;
        count -= 8;
    }
    if (count >= 4) { /* the last 4 to 7 bytes as two words that overlap */
        uint32_t low, high;
        memcpy(&low, bytes, 4);
        memcpy(&high, bytes + count - 4, 4);
        word = (uint64_t)high << 32 | low;
    } else {
        word = 0;
        if (count > 0)
            word = (uint64_t)(unsigned char)bytes[0] | (uint64_t)(unsigned char)bytes[count / 2] << 8 |
                   (uint64_t)(unsigned char)bytes[count - 1] << 16;
    }
    hash = (hash ^ word) * multiplier;
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93u;
    return (uint32_t)(hash >> 32);
}

/* memcmp, but that half of loading would be calls of it for six bytes each. */
static bool equal_bytes(const char *a, const char *b, size_t count) {
    if (count >= 8) {
        uint64_t x, y;
        for (size_t i = 0; i + 8 < count; i += 8) {
            memcpy(&x, a + i, 8);
            memcpy(&y, b + i, 8);
            if (x != y)
                return false;
        }
        memcpy(&x, a + count - 8, 8);
        memcpy(&y, b + count - 8, 8);
        return x == y;
    }
    if (count >= 4) {
        uint32_t x[2], y[2];
        memcpy(&x[0], a, 4);
        memcpy(&y[0], b, 4);
        memcpy(&x[1], a + count - 4, 4);
        memcpy(&y[1], b + count - 4, 4);
        return x[0] == y[0] && x[1] == y[1];
    }
    return count == 0 || (a[0] == b[0] && a[count / 2] == b[count / 2] && a[count - 1] == b[count - 1]);
}

static bool same_bytes(const Vocab *vocab, int32_t id, const char *bytes, size_t count) {
    const Piece piece = vocab->pieces[id];
    return piece.count == count && equal_bytes(vocab->bytes + piece.start, bytes, count);
}

Status vocab_build_index(Vocab *vocab, const char *name, Error *err) {
    size_t slots = 16;
    while (slots < 2 * vocab->count)
        slots *= 2;
    mem_free(vocab->slots);
    vocab->slots = mem_alloc_aligned(slots * sizeof *vocab->slots, MEM_TEXT); /* large pages: it is read at random */
    FAIL_IF(vocab->slots == NULL, ERR_MEMORY, "%s: no memory for the vocabulary's index", name);
    vocab->mask = slots - 1;
    vocab->longest = 0;
    for (size_t i = 0; i < vocab->count; i++) {
        if (vocab->flags[i] == 0 || (vocab->flags[i] & PIECE_HIDDEN) != 0)
            continue;
        const Piece piece = vocab->pieces[i];
        const char *bytes = vocab->bytes + piece.start;
        const uint32_t hash = vocab_hash(bytes, piece.count);
        size_t at = hash & vocab->mask;
        int probes = 0;
        while (vocab->slots[at].place != 0 &&
               !(vocab->slots[at].hash == hash && same_bytes(vocab, vocab->slots[at].place - 1, bytes, piece.count))) {
            at = (at + 1) & vocab->mask;
            FAIL_IF(++probes > MAX_PROBES, ERR_FORMAT, "%s: the vocabulary's tokens collide on purpose", name);
        }
        vocab->slots[at] = (VocabSlot){.hash = hash, .place = (int32_t)i + 1};
        vocab->longest = MAX(vocab->longest, piece.count);
    }
    return OK;
}

int32_t vocab_find_hashed(const Vocab *vocab, uint32_t hash, const char *bytes, size_t count) {
    for (size_t at = hash & vocab->mask;; at = (at + 1) & vocab->mask) {
        const VocabSlot slot = vocab->slots[at];
        if (slot.place == 0 || (slot.hash == hash && same_bytes(vocab, slot.place - 1, bytes, count)))
            return slot.place - 1;
    }
}

int32_t vocab_find(const Vocab *vocab, const char *bytes, size_t count) {
    if (count > vocab->longest)
        return -1;
    return vocab_find_hashed(vocab, vocab_hash(bytes, count), bytes, count);
}

void vocab_free(Vocab *vocab) {
    mem_free(vocab->bytes);
    mem_free(vocab->pieces);
    mem_free(vocab->flags);
    mem_free(vocab->slots);
    *vocab = (Vocab){0};
}
