/* bpe.c - see bpe.h. */
#include "text/bpe.h"

#include <string.h>

/* From so many symbols on a heap finds the best pair sooner than a scan does (measured: about equal from 30 to 60). */
enum { HEAP_FROM = 48, MAX_PROBES = 2048 };

enum { NONE = 0xFFFFFFFF }; /* no neighbour */

/* 24 bytes: for a text of one long word they are what the caches are filled with. */
typedef struct BpeSymbol {
    int32_t id;     /* -1: these bytes are no piece */
    uint32_t start; /* in the word; it ends where the next one starts. The top bit: never to be merged */
    uint32_t prev, next;
    uint32_t rank;  /* of the pair with the next symbol; BPE_NEVER also for a symbol that was merged away */
    int32_t merged; /* what that pair becomes */
} BpeSymbol;

enum { PLACE = 0x7FFFFFFF };
static const uint32_t frozen_bit = 1u << 31;

enum { CACHE_SLOTS = 2048, CACHE_WORD = 24, CACHE_IDS = 6 };

struct BpeCacheEntry {
    char word[CACHE_WORD];
    int32_t ids[CACHE_IDS];
    uint8_t bytes; /* 0 = empty */
    uint8_t count;
};

/* ---- the model -------------------------------------------------------------------------------------------------- */

static size_t pair_slot(const Bpe *bpe, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9E3779B97F4A7C15u;
    key ^= key >> 32;
    key *= 0xD6E8FEB86659FD93u;
    return (size_t)((key >> 32) * bpe->slots >> 32);
}

static size_t slot_after(const Bpe *bpe, size_t slot) {
    return slot + 1 < bpe->slots ? slot + 1 : 0;
}

static const char blank[] = "\xE2\x96\x81"; /* U+2581 */

static bool is_blank(const char *at, const char *end) {
    return end - at >= 3 && memcmp(at, blank, 3) == 0;
}

/* The first U+2581 that stands behind another character; NULL when there is none. */
static const char *next_blank(const char *from, const char *end) {
    bool other = false; /* a character that is no blank lies in between */
    for (const char *at = from; at < end;) {
        const char *lead = memchr(at, blank[0], (size_t)(end - at));
        if (lead == NULL)
            return NULL;
        other = other || lead > at;
        if (!is_blank(lead, end)) {
            other = true;
            at = lead + 1;
        } else if (other) {
            return lead;
        } else {
            at = lead + 3;
        }
    }
    return NULL;
}

/* Remembers the bytes behind which this piece goes on with a blank: a text must not be cut there. */
static void mark_joints(Bpe *bpe, int32_t id) {
    const char *at = vocab_bytes(bpe->vocab, id);
    const char *const end = at + bpe->vocab->pieces[id].count;
    while ((at = next_blank(at, end)) != NULL)
        bpe->joints[(unsigned char)at[-1]] = true;
}

/* Where the next word of a long text begins: at a blank that no piece has together with the character before it. */
static const char *next_word(const Bpe *bpe, const char *from, const char *end) {
    const char *at = from;
    while ((at = next_blank(at, end)) != NULL && bpe->joints[(unsigned char)at[-1]])
        continue;
    return at != NULL ? at : end;
}

Status bpe_set_merges(Bpe *bpe, const int32_t (*triples)[3], size_t count, const char *name, Error *err) {
    /* Two thirds full: a program that starts must clear and fill all of it. */
    const size_t slots = count + count / 2 + 16;
    FAIL_IF(slots > UINT32_MAX, ERR_LIMIT, "%s: %zu merges", name, count);
    bpe->merges = mem_alloc_aligned(slots * sizeof *bpe->merges, MEM_TEXT); /* large pages: it is read at random */
    FAIL_IF(bpe->merges == NULL, ERR_MEMORY, "%s: no memory for %zu merges", name, count);
    bpe->slots = slots;
    enum { AHEAD = 16 }; /* the table is larger than the caches: fetch places before they are needed */
    int32_t checked = -1;
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            PREFETCH(&bpe->merges[pair_slot(bpe, triples[i + AHEAD][0], triples[i + AHEAD][1])]);
        const int32_t left = triples[i][0], right = triples[i][1], id = triples[i][2];
        if (left < 0)
            continue;
        size_t at = pair_slot(bpe, left, right);
        int probes = 0;
        const uint32_t stored = (uint32_t)left + 1;
        while (bpe->merges[at].left != 0 && (bpe->merges[at].left != stored || bpe->merges[at].right != right)) {
            at = slot_after(bpe, at);
            FAIL_IF(++probes > MAX_PROBES, ERR_FORMAT, "%s: the merges collide on purpose", name);
        }
        /* Of a pair that is listed twice, the later place counts. */
        bpe->merges[at] = (BpeSlot){.left = stored, .right = right, .rank = (uint32_t)i, .id = id};
        if (!bpe->bytes && id != checked)
            mark_joints(bpe, id);
        checked = id;
    }
    return OK;
}

void bpe_prepare(Bpe *bpe) {
    for (int i = 0; i < 256; i++) {
        const char byte = (char)i;
        static const char digits[] = "0123456789ABCDEF";
        const char spelled[6] = {'<', '0', 'x', digits[i >> 4], digits[i & 15], '>'};
        bpe->byte_ids[i] = bpe->bytes           ? vocab_find(bpe->vocab, &byte, 1)
                           : bpe->byte_fallback ? vocab_find(bpe->vocab, spelled, sizeof spelled)
                                                : -1;
    }
    for (size_t i = 0; bpe->ranks != NULL && !bpe->bytes && i < bpe->vocab->count; i++)
        if (bpe->ranks[i] != BPE_NEVER)
            mark_joints(bpe, (int32_t)i);
    /* A run of unknown characters is one token; a blank ends it only when it is known itself. */
    bpe->cut_at_blank = !bpe->bytes && bpe->prefix_bytes == 0 && bpe->suffix_bytes == 0 && !bpe->whole_first &&
                        vocab_find(bpe->vocab, blank, 3) >= 0;
}

void bpe_free(Bpe *bpe) {
    mem_free(bpe->merges);
    mem_free(bpe->ranks);
    mem_free(bpe->prefix);
    mem_free(bpe->suffix);
    trie_free(&bpe->symbols);
    *bpe = (Bpe){0};
}

void bpe_scratch_free(BpeScratch *scratch) {
    mem_free(scratch->symbols);
    mem_free(scratch->heap);
    mem_free(scratch->splits);
    mem_free(scratch->cache);
    text_free(&scratch->spelled);
    *scratch = (BpeScratch){0};
}

void bpe_scratch_remember(BpeScratch *scratch) {
    if (scratch->cache == NULL)
        scratch->cache = mem_array(CACHE_SLOTS, sizeof *scratch->cache, MEM_TEXT);
}

/* ---- symbols ---------------------------------------------------------------------------------------------------- */

typedef struct Word {
    const Bpe *bpe;
    BpeScratch *scratch;
    const char *text;
    size_t count;
    uint32_t symbol_count;
} Word;

static Status add_symbol(Word *w, int32_t id, size_t start, bool frozen, Error *err) {
    BpeScratch *s = w->scratch;
    FAIL_IF(!mem_grow((void **)&s->symbols, &s->symbols_capacity, (size_t)w->symbol_count + 1, sizeof *s->symbols,
                      MEM_TEXT),
            ERR_MEMORY, "no memory for the tokens of a text");
    const uint32_t i = w->symbol_count++;
    s->symbols[i] = (BpeSymbol){.id = id,
                                .start = (uint32_t)start | (frozen ? frozen_bit : 0),
                                .prev = i == 0 ? NONE : i - 1,
                                .next = NONE,
                                .rank = BPE_NEVER};
    if (i > 0)
        s->symbols[i - 1].next = i;
    return OK;
}

static size_t character_length(const char *text, size_t count, size_t at) {
    size_t end = at + 1;
    while (end < count && ((unsigned char)text[end] & 0xC0) == 0x80)
        end++;
    return end - at;
}

/* One character (or byte) with prefix and suffix as its place in the word demands: its bytes, which may lie in
 * `buffer`. */
static Status spell_character(const Word *w, size_t start, size_t end, Text *buffer, const char **bytes, size_t *count,
                              Error *err) {
    const Bpe *bpe = w->bpe;
    const bool prefixed = bpe->prefix_bytes > 0 && start > 0;
    const bool suffixed = bpe->suffix_bytes > 0 && end == w->count;
    *bytes = w->text + start;
    *count = end - start;
    if (!prefixed && !suffixed)
        return OK;
    text_clear(buffer);
    if (prefixed)
        text_append(buffer, bpe->prefix, bpe->prefix_bytes);
    text_append(buffer, *bytes, *count);
    if (suffixed)
        text_append(buffer, bpe->suffix, bpe->suffix_bytes);
    *bytes = buffer->bytes;
    *count = buffer->count;
    return text_check(buffer, err);
}

static bool has_all_bytes(const Bpe *bpe, const char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (bpe->byte_ids[(unsigned char)bytes[i]] < 0)
            return false;
    return true;
}

/* The word as characters or bytes for a model with a list of merges. What is no piece becomes bytes or unknown; the
 * library keeps an unknown token back until the next known character, so bytes in between come before it. */
static Status split_for_list(Word *w, Text *buffer, Error *err) {
    const Bpe *bpe = w->bpe;
    const bool plain = bpe->prefix_bytes == 0 && bpe->suffix_bytes == 0;
    bool waiting = false; /* an unknown token, which begins at `from` */
    size_t from = 0;
    for (size_t at = 0; at < w->count;) {
        const size_t end = at + (bpe->bytes ? 1 : character_length(w->text, w->count, at));
        const char *bytes;
        size_t count;
        TRY(spell_character(w, at, end, buffer, &bytes, &count, err));
        const int32_t id =
            plain && bpe->bytes ? bpe->byte_ids[(unsigned char)*bytes] : vocab_find(bpe->vocab, bytes, count);
        if (id >= 0) {
            if (waiting)
                TRY(add_symbol(w, bpe->unknown, from, false, err));
            waiting = false;
            TRY(add_symbol(w, id, at, false, err));
        } else if (bpe->byte_fallback && !bpe->bytes && has_all_bytes(bpe, bytes, count)) {
            for (size_t i = 0; i < count; i++)
                TRY(add_symbol(w, bpe->byte_ids[(unsigned char)bytes[i]], at, false, err));
        } else if (bpe->unknown >= 0) {
            if (waiting && !bpe->fuse_unknown)
                TRY(add_symbol(w, bpe->unknown, from, false, err));
            from = waiting && bpe->fuse_unknown ? from : at;
            waiting = true;
        }
        at = end;
    }
    return waiting ? add_symbol(w, bpe->unknown, from, false, err) : OK;
}

/* The same for a model whose pieces have ranks: what is no piece stays as it is, since it may be part of one. */
static Status split_for_ranks(Word *w, Error *err) {
    const Bpe *bpe = w->bpe;
    for (size_t at = 0; at < w->count;) {
        size_t length = 0;
        const int32_t symbol = trie_longest(&bpe->symbols, w->text + at, w->count - at, &length);
        if (symbol < 0)
            length = bpe->bytes ? 1 : character_length(w->text, w->count, at);
        const int32_t id = symbol >= 0  ? symbol
                           : bpe->bytes ? bpe->byte_ids[(unsigned char)w->text[at]]
                                        : vocab_find(bpe->vocab, w->text + at, length);
        TRY(add_symbol(w, id, at, symbol >= 0, err));
        at += length;
    }
    return OK;
}

/* ---- merging ---------------------------------------------------------------------------------------------------- */

static uint32_t symbol_end(const Word *w, const BpeSymbol *symbol) {
    return symbol->next != NONE ? w->scratch->symbols[symbol->next].start & PLACE : (uint32_t)w->count;
}

/* Looks up what the symbol and its next one become. */
static void rate_pair(Word *w, uint32_t i) {
    const Bpe *bpe = w->bpe;
    BpeSymbol *left = &w->scratch->symbols[i];
    left->rank = BPE_NEVER;
    if (left->next == NONE)
        return;
    const BpeSymbol *right = &w->scratch->symbols[left->next];
    if (bpe->merges != NULL) {
        const uint32_t stored = (uint32_t)left->id + 1;
        for (size_t at = pair_slot(bpe, left->id, right->id); bpe->merges[at].left != 0; at = slot_after(bpe, at))
            if (bpe->merges[at].left == stored && bpe->merges[at].right == right->id) {
                left->rank = bpe->merges[at].rank;
                left->merged = bpe->merges[at].id;
                return;
            }
        return;
    }
    if (((left->start | right->start) & frozen_bit) != 0)
        return;
    const int32_t id = vocab_find(bpe->vocab, w->text + left->start, symbol_end(w, right) - left->start);
    if (id < 0 || bpe->ranks[id] == BPE_NEVER)
        return;
    left->rank = bpe->ranks[id];
    left->merged = id;
    if (bpe->has_unused && (bpe->vocab->flags[id] & TOKEN_UNUSED) != 0)
        w->scratch->splits[id] = right->start - left->start;
}

static void merge_pair(Word *w, uint32_t i) {
    BpeSymbol *symbols = w->scratch->symbols;
    BpeSymbol *left = &symbols[i], *right = &symbols[left->next];
    left->id = left->merged;
    left->next = right->next;
    right->rank = BPE_NEVER;
    if (left->next != NONE)
        symbols[left->next].prev = i;
    if (left->prev != NONE)
        rate_pair(w, left->prev);
    rate_pair(w, i);
}

static void merge_by_scan(Word *w) {
    const BpeSymbol *symbols = w->scratch->symbols;
    for (;;) {
        uint32_t best = NONE, rank = BPE_NEVER;
        for (uint32_t i = 0; i != NONE; i = symbols[i].next)
            if (symbols[i].rank < rank) {
                rank = symbols[i].rank;
                best = i;
            }
        if (best == NONE)
            return;
        merge_pair(w, best);
    }
}

/* A heap with four children to a node: half the levels, and the children share a cache line. */
static void sift_down(uint64_t *heap, size_t count, size_t at) {
    const uint64_t key = heap[at];
    for (size_t child; (child = 4 * at + 1) < count; at = child) {
        const size_t end = MIN(child + 4, count);
        for (size_t other = child + 1; other < end; other++)
            child = heap[other] < heap[child] ? other : child;
        if (heap[child] >= key)
            break;
        heap[at] = heap[child];
    }
    heap[at] = key;
}

static void sift_up(uint64_t *heap, size_t at) {
    const uint64_t key = heap[at];
    for (size_t parent; at > 0 && heap[parent = (at - 1) / 4] > key; at = parent)
        heap[at] = heap[parent];
    heap[at] = key;
}

/* The heap holds rank and place of pairs, also of pairs that are no more: one counts only as long as the symbol at that
 * place still has that rank. A merge adds two at the most, so room for three times the symbols is enough. */
static Status merge_by_heap(Word *w, Error *err) {
    BpeScratch *s = w->scratch;
    FAIL_IF(!mem_grow((void **)&s->heap, &s->heap_capacity, 3 * (size_t)w->symbol_count, sizeof *s->heap, MEM_TEXT),
            ERR_MEMORY, "no memory for the tokens of a text");
    uint64_t *heap = s->heap;
    size_t count = 0;
    for (uint32_t i = 0; i < w->symbol_count; i++)
        if (s->symbols[i].rank != BPE_NEVER)
            heap[count++] = (uint64_t)s->symbols[i].rank << 32 | i;
    for (size_t i = count / 4 + 1; i-- > 0;)
        if (i < count)
            sift_down(heap, count, i);
    while (count > 0) {
        const uint32_t rank = (uint32_t)(heap[0] >> 32), i = (uint32_t)heap[0];
        heap[0] = heap[--count];
        if (count > 0)
            sift_down(heap, count, 0);
        if (s->symbols[i].rank != rank)
            continue;
        merge_pair(w, i);
        const uint32_t changed[2] = {i, s->symbols[i].prev};
        for (int k = 0; k < 2; k++) {
            if (changed[k] == NONE || s->symbols[changed[k]].rank == BPE_NEVER)
                continue;
            heap[count] = (uint64_t)s->symbols[changed[k]].rank << 32 | changed[k];
            sift_up(heap, count++);
        }
    }
    return OK;
}

/* ---- output ----------------------------------------------------------------------------------------------------- */

static Status append(TokenIds *ids, int32_t id, Error *err) {
    FAIL_IF(!token_ids_append(ids, id), ERR_MEMORY, "no memory for the tokens of a text");
    return OK;
}

/* Bytes that are no piece: byte tokens, or unknown (once for neighbours). */
static Status append_unknown(const Word *w, size_t start, size_t end, bool *after_unknown, TokenIds *ids, Error *err) {
    if (has_all_bytes(w->bpe, w->text + start, end - start)) {
        for (size_t i = start; i < end; i++)
            TRY(append(ids, w->bpe->byte_ids[(unsigned char)w->text[i]], err));
        *after_unknown = false;
        return OK;
    }
    if (w->bpe->unknown >= 0 && !(*after_unknown && w->bpe->fuse_unknown))
        TRY(append(ids, w->bpe->unknown, err));
    *after_unknown = true;
    return OK;
}

/* A result that must not be one is taken apart as it was put together. Uses the heap's memory as a stack of places. */
static Status append_parts(const Word *w, uint32_t start, uint32_t end, bool *after_unknown, TokenIds *ids,
                           Error *err) {
    BpeScratch *s = w->scratch;
    size_t count = 0;
    for (;;) {
        const int32_t id = vocab_find(w->bpe->vocab, w->text + start, end - start);
        const uint32_t left = id >= 0 && (w->bpe->vocab->flags[id] & TOKEN_UNUSED) != 0 ? s->splits[id] : 0;
        if (left > 0 && left < end - start) {
            FAIL_IF(!mem_grow((void **)&s->heap, &s->heap_capacity, count + 1, sizeof *s->heap, MEM_TEXT), ERR_MEMORY,
                    "no memory for the tokens of a text");
            s->heap[count++] = (uint64_t)(start + left) << 32 | end;
            end = start + left;
            continue;
        }
        if (id >= 0) {
            *after_unknown = false;
            TRY(append(ids, id, err));
        } else {
            TRY(append_unknown(w, start, end, after_unknown, ids, err));
        }
        if (count == 0)
            return OK;
        start = (uint32_t)(s->heap[--count] >> 32);
        end = (uint32_t)s->heap[count];
    }
}

static Status append_symbols(const Word *w, TokenIds *ids, Error *err) {
    const BpeSymbol *symbols = w->scratch->symbols;
    bool after_unknown = false;
    for (uint32_t i = w->symbol_count > 0 ? 0 : NONE; i != NONE; i = symbols[i].next) {
        if (symbols[i].id < 0) {
            TRY(append_unknown(w, symbols[i].start & PLACE, symbol_end(w, &symbols[i]), &after_unknown, ids, err));
        } else if (w->bpe->has_unused && (w->bpe->vocab->flags[symbols[i].id] & TOKEN_UNUSED) != 0) {
            TRY(append_parts(w, symbols[i].start & PLACE, symbol_end(w, &symbols[i]), &after_unknown, ids, err));
        } else {
            after_unknown = false;
            TRY(append(ids, symbols[i].id, err));
        }
    }
    return OK;
}

static Status encode_word(const Bpe *bpe, BpeScratch *scratch, const char *text, size_t count, TokenIds *ids,
                          Error *err) {
    Word w = {.bpe = bpe, .scratch = scratch, .text = text, .count = count};
    if (bpe->has_unused && scratch->splits == NULL) {
        scratch->splits = mem_array(bpe->vocab->count, sizeof *scratch->splits, MEM_TEXT);
        FAIL_IF(scratch->splits == NULL, ERR_MEMORY, "no memory for the tokens of a text");
    }
    TRY(bpe->merges != NULL ? split_for_list(&w, &scratch->spelled, err) : split_for_ranks(&w, err));
    for (uint32_t i = 0; i < w.symbol_count; i++)
        rate_pair(&w, i);
    if (w.symbol_count < HEAP_FROM && w.symbol_count > 0)
        merge_by_scan(&w);
    else
        TRY(merge_by_heap(&w, err));
    return append_symbols(&w, ids, err);
}

/* A word through the cache. */
static Status encode_remembered(const Bpe *bpe, BpeScratch *scratch, const char *word, size_t count, TokenIds *ids,
                                Error *err) {
    BpeCacheEntry *entry = NULL;
    if (scratch->cache != NULL && count <= CACHE_WORD) {
        entry = &scratch->cache[vocab_hash(word, count) % CACHE_SLOTS];
        if (entry->bytes == count && memcmp(entry->word, word, count) == 0) {
            for (uint8_t i = 0; i < entry->count; i++)
                TRY(append(ids, entry->ids[i], err));
            return OK;
        }
    }
    const size_t before = ids->count;
    TRY(encode_word(bpe, scratch, word, count, ids, err));
    const size_t made = ids->count - before;
    if (entry != NULL && made <= CACHE_IDS) {
        memcpy(entry->word, word, count);
        memcpy(entry->ids, ids->ids + before, made * sizeof *ids->ids);
        entry->bytes = (uint8_t)count;
        entry->count = (uint8_t)made;
    }
    return OK;
}

Status bpe_encode(const Bpe *bpe, BpeScratch *scratch, const char *word, size_t count, TokenIds *ids, Error *err) {
    if (count == 0)
        return OK;
    if (bpe->whole_first) {
        const int32_t whole = vocab_find(bpe->vocab, word, count);
        if (whole >= 0)
            return append(ids, whole, err);
    }
    if (!bpe->cut_at_blank)
        return encode_remembered(bpe, scratch, word, count, ids, err);
    for (const char *at = word, *end = word + count; at < end;) {
        const char *next = next_word(bpe, at, end);
        TRY(encode_remembered(bpe, scratch, at, (size_t)(next - at), ids, err));
        at = next;
    }
    return OK;
}
