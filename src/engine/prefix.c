/* prefix.c - see prefix.h.
 *
 * A node's piece on disk:  tokens (64 x 4)  flags (8)  pages of the groups with stride 1, as flags tell  entries of the
 * other groups that became whole in this run  memories, if flags tell. */
#include "engine/prefix.h"

#include "base/bytes.h"
#include "base/digest.h"
#include "base/mem.h"

#include <string.h>

enum { MAX_GROUPS = 16, NO_NODE = -1, HAS_MEMORY = 1 << 30, HEAD_BYTES = PREFIX_RUN * 4 + 8 };

typedef struct Node {
    uint8_t key[SPILL_KEY_BYTES];
    int32_t tokens[PREFIX_RUN];
    int parent, next;          /* in the bucket; for a free node: the next free one */
    int depth;                 /* runs up to and with this one */
    int children;
    int32_t pages[MAX_GROUPS]; /* -1: not kept */
    uint8_t *entries;          /* of groups with a stride */
    uint8_t *memories;         /* or NULL */
    uint64_t used;
    bool taken;
} Node;

struct Prefix {
    Cache *cache;
    Spill *spill;
    uint8_t root[SPILL_KEY_BYTES];
    Node *nodes;
    size_t capacity;
    int n_node, free_node;
    int *buckets; /* n_bucket of them, a power of two */
    int n_bucket;
    size_t budget, copied;
    size_t memories_bytes;
    uint64_t now;
    PrefixStats stats;
};

static bool chain(const uint8_t parent[SPILL_KEY_BYTES], const int32_t *tokens, uint8_t key[SPILL_KEY_BYTES]) {
    Digest digest = {0};
    uint8_t sum[DIGEST_BYTES];
    if (digest_begin(&digest, DIGEST_SHA256, NULL) != OK)
        return false;
    digest_add(&digest, parent, SPILL_KEY_BYTES);
    digest_add(&digest, tokens, PREFIX_RUN * sizeof *tokens);
    if (digest_end_bytes(&digest, sum, NULL) != OK)
        return false;
    memcpy(key, sum, SPILL_KEY_BYTES);
    return true;
}

Status prefix_open(Cache *cache, const void *identity, size_t identity_bytes, size_t memory_budget, Spill *spill,
                   Prefix **out, Error *err) {
    *out = NULL;
    Prefix *p = mem_zalloc(sizeof *p, MEM_CACHE);
    FAIL_IF(p == NULL, ERR_MEMORY, "no memory for the store of prefixes");
    p->cache = cache;
    p->spill = spill;
    p->budget = memory_budget;
    p->free_node = NO_NODE;
    p->memories_bytes = cache_memories_bytes(cache);
    p->n_bucket = 1 << 14;
    p->buckets = mem_alloc((size_t)p->n_bucket * sizeof *p->buckets, MEM_CACHE);
    Digest digest = {0};
    uint8_t sum[DIGEST_BYTES];
    Status status = p->buckets == NULL ? error_set(err, ERR_MEMORY, "no memory for the store of prefixes") : OK;
    if (status == OK)
        status = digest_begin(&digest, DIGEST_SHA256, err);
    if (status == OK) {
        digest_add(&digest, identity, identity_bytes);
        status = digest_end_bytes(&digest, sum, err);
    }
    if (status != OK) {
        prefix_close(p);
        return status;
    }
    memcpy(p->root, sum, sizeof p->root);
    for (int i = 0; i < p->n_bucket; i++)
        p->buckets[i] = NO_NODE;
    *out = p;
    return OK;
}

bool prefix_needs_memory(const Prefix *p) {
    return p->memories_bytes > 0;
}

static int *bucket_of(const Prefix *p, const uint8_t *key) {
    return &p->buckets[load_u32(key) & (uint32_t)(p->n_bucket - 1)];
}

static size_t entries_bytes(const Prefix *p, int depth) {
    size_t bytes = 0;
    for (int g = 0; g < cache_groups(p->cache); g++) {
        const int stride = cache_group_stride(p->cache, g);
        if (stride > 1)
            bytes += cache_entries_bytes(p->cache, g, depth * PREFIX_RUN / stride - (depth - 1) * PREFIX_RUN / stride);
    }
    return bytes;
}

static void free_node(Prefix *p, int index) {
    Node *n = &p->nodes[index];
    int *at = bucket_of(p, n->key);
    while (*at != index)
        at = &p->nodes[*at].next;
    *at = n->next;
    for (int g = 0; g < cache_groups(p->cache); g++)
        if (n->pages[g] >= 0)
            cache_drop_page(p->cache, g, n->pages[g]);
    if (n->entries != NULL)
        p->copied -= entries_bytes(p, n->depth);
    if (n->memories != NULL)
        p->copied -= p->memories_bytes;
    mem_free(n->entries);
    mem_free(n->memories);
    if (n->parent != NO_NODE)
        p->nodes[n->parent].children--;
    n->taken = false;
    n->next = p->free_node;
    p->free_node = index;
    p->stats.nodes--;
}

void prefix_close(Prefix *p) {
    if (p == NULL)
        return;
    for (int i = 0; i < p->n_node; i++)
        if (p->nodes[i].taken) {
            p->nodes[i].parent = NO_NODE;
            free_node(p, i);
        }
    mem_free(p->nodes);
    mem_free(p->buckets);
    mem_free(p);
}

static int find(const Prefix *p, const uint8_t *key, int parent, const int32_t *tokens) {
    for (int i = *bucket_of(p, key); i != NO_NODE; i = p->nodes[i].next) {
        const Node *n = &p->nodes[i];
        if (n->parent == parent && memcmp(n->key, key, SPILL_KEY_BYTES) == 0 &&
            memcmp(n->tokens, tokens, sizeof n->tokens) == 0)
            return i;
    }
    return NO_NODE;
}

static int new_node(Prefix *p, const uint8_t *key, int parent, const int32_t *tokens) {
    int index = p->free_node;
    if (index != NO_NODE) {
        p->free_node = p->nodes[index].next;
    } else {
        if (!mem_grow((void **)&p->nodes, &p->capacity, (size_t)p->n_node + 1, sizeof *p->nodes, MEM_CACHE))
            return NO_NODE;
        index = p->n_node++;
    }
    Node *n = &p->nodes[index];
    *n = (Node){.parent = parent, .depth = parent != NO_NODE ? p->nodes[parent].depth + 1 : 1, .used = ++p->now, .taken = true};
    memcpy(n->key, key, SPILL_KEY_BYTES);
    memcpy(n->tokens, tokens, sizeof n->tokens);
    for (int g = 0; g < MAX_GROUPS; g++)
        n->pages[g] = -1;
    int *bucket = bucket_of(p, key);
    n->next = *bucket;
    *bucket = index;
    if (parent != NO_NODE)
        p->nodes[parent].children++;
    p->stats.nodes++;
    return index;
}

/* ---- giving up --------------------------------------------------------------------------------------------------------------- */

/* The leaf that was used longest ago. Leaves only: a node without its parent can never be found. */
static int oldest_leaf(const Prefix *p) {
    int oldest = NO_NODE;
    for (int i = 0; i < p->n_node; i++)
        if (p->nodes[i].taken && p->nodes[i].children == 0 && (oldest == NO_NODE || p->nodes[i].used < p->nodes[oldest].used))
            oldest = i;
    return oldest;
}

static bool has_room(const Prefix *p, int pages) {
    for (int g = 0; g < cache_groups(p->cache); g++)
        if (cache_free_pages(p->cache, g) < pages)
            return false;
    return true;
}

bool prefix_make_room(Prefix *p, int pages) {
    while (!has_room(p, pages)) {
        const int leaf = oldest_leaf(p);
        if (leaf == NO_NODE)
            return false;
        free_node(p, leaf);
        p->stats.evicted++;
    }
    return true;
}

static void keep_budget(Prefix *p) {
    while (p->copied > p->budget) {
        const int leaf = oldest_leaf(p);
        if (leaf == NO_NODE)
            return;
        free_node(p, leaf);
        p->stats.evicted++;
    }
}

/* ---- disk ------------------------------------------------------------------------------------------------------------------------ */

static void write_node(Prefix *p, int index) {
    const Node *n = &p->nodes[index];
    if (p->spill == NULL || spill_has(p->spill, n->key))
        return;
    size_t bytes = HEAD_BYTES + entries_bytes(p, n->depth) + (n->memories != NULL ? p->memories_bytes : 0);
    uint64_t flags = n->memories != NULL ? HAS_MEMORY : 0;
    for (int g = 0; g < cache_groups(p->cache); g++)
        if (n->pages[g] >= 0) {
            flags |= (uint64_t)1 << g;
            bytes += cache_page_bytes(p->cache, g);
        }
    uint8_t *piece = mem_alloc(bytes, MEM_CACHE);
    if (piece == NULL)
        return; /* stays in memory only */
    uint8_t *at = piece;
    memcpy(at, n->tokens, sizeof n->tokens);
    at += sizeof n->tokens;
    store_u64(at, flags);
    at += 8;
    for (int g = 0; g < cache_groups(p->cache); g++)
        if (n->pages[g] >= 0) {
            cache_read_page(p->cache, g, n->pages[g], at);
            at += cache_page_bytes(p->cache, g);
        }
    if (n->entries != NULL)
        memcpy(at, n->entries, entries_bytes(p, n->depth));
    at += entries_bytes(p, n->depth);
    if (n->memories != NULL)
        memcpy(at, n->memories, p->memories_bytes);
    spill_put(p->spill, n->key, piece, bytes);
}

/* A node from its piece on disk, or NO_NODE. */
static int read_node(Prefix *p, const uint8_t *key, int parent, const int32_t *tokens) {
    uint8_t *piece;
    size_t count;
    if (p->spill == NULL || spill_get(p->spill, key, &piece, &count, NULL) != OK)
        return NO_NODE;
    const int depth = parent != NO_NODE ? p->nodes[parent].depth + 1 : 1;
    const uint64_t flags = count >= HEAD_BYTES ? load_u64(piece + PREFIX_RUN * 4) : 0;
    size_t expected = HEAD_BYTES + entries_bytes(p, depth) + (flags & HAS_MEMORY ? p->memories_bytes : 0);
    for (int g = 0; g < cache_groups(p->cache); g++)
        expected += flags >> g & 1 ? cache_page_bytes(p->cache, g) : 0;
    int index = NO_NODE;
    if (count == expected && memcmp(piece, tokens, PREFIX_RUN * sizeof *tokens) == 0 && prefix_make_room(p, 1))
        index = new_node(p, key, parent, tokens);
    bool done = index != NO_NODE;
    const uint8_t *at = piece + HEAD_BYTES;
    for (int g = 0; done && g < cache_groups(p->cache); g++) {
        if ((flags >> g & 1) == 0)
            continue;
        const int32_t page = cache_take_page(p->cache, g);
        done = page >= 0;
        if (done) {
            cache_write_page(p->cache, g, page, at);
            p->nodes[index].pages[g] = page;
        }
        at += cache_page_bytes(p->cache, g);
    }
    const size_t extra = entries_bytes(p, depth);
    if (done && extra > 0) {
        p->nodes[index].entries = mem_alloc(extra, MEM_CACHE);
        done = p->nodes[index].entries != NULL;
        if (done) {
            memcpy(p->nodes[index].entries, at, extra);
            p->copied += extra;
        }
    }
    at += extra;
    if (done && (flags & HAS_MEMORY) != 0) {
        p->nodes[index].memories = mem_alloc(p->memories_bytes, MEM_CACHE);
        done = p->nodes[index].memories != NULL;
        if (done) {
            memcpy(p->nodes[index].memories, at, p->memories_bytes);
            p->copied += p->memories_bytes;
        }
    }
    mem_free(piece);
    if (!done && index != NO_NODE) {
        free_node(p, index);
        index = NO_NODE;
    }
    p->stats.from_disk += done;
    return index;
}

/* ---- finding and keeping ---------------------------------------------------------------------------------------------------------- */

/* Nodes of the tokens' runs, as far as they are known; returns how many. With `disk`, each is held (as if it had a child
 * more), so that reading the next one cannot push it out; release_path lets go. */
static int walk(Prefix *p, const int32_t *tokens, int runs, bool disk, int *path) {
    uint8_t key[SPILL_KEY_BYTES];
    memcpy(key, p->root, sizeof key);
    int found = 0;
    for (int parent = NO_NODE; found < runs; found++) {
        const int32_t *run = tokens + (size_t)found * PREFIX_RUN;
        if (!chain(key, run, key))
            break;
        int node = find(p, key, parent, run);
        if (node == NO_NODE && disk)
            node = read_node(p, key, parent, run);
        if (node == NO_NODE)
            break;
        if (disk) {
            p->nodes[node].used = ++p->now;
            p->nodes[node].children++;
        }
        path[found] = node;
        parent = node;
    }
    return found;
}

static void release_path(Prefix *p, const int *path, int found) {
    for (int i = 0; i < found; i++)
        p->nodes[path[i]].children--;
}

/* Whether a sequence can be taken up after `depth` runs of a path: every page that is seen from there is kept. */
static bool can_resume(const Prefix *p, const int *path, int depth) {
    if (p->memories_bytes > 0 && p->nodes[path[depth - 1]].memories == NULL)
        return false;
    for (int g = 0; g < cache_groups(p->cache); g++) {
        if (cache_group_stride(p->cache, g) > 1)
            continue;
        const int window = cache_group_window(p->cache, g);
        const int oldest = window > 0 ? depth * PREFIX_RUN - window : 0;
        for (int i = oldest > 0 ? oldest / PREFIX_RUN : 0; i < depth; i++)
            if (p->nodes[path[i]].pages[g] < 0)
                return false;
    }
    return true;
}

static bool give_entries(const Prefix *p, const int *path, int depth, Sequence *s) {
    for (int i = 0; i < depth; i++) {
        const uint8_t *at = p->nodes[path[i]].entries;
        for (int g = 0; g < cache_groups(p->cache); g++) {
            const int stride = cache_group_stride(p->cache, g);
            if (stride == 1)
                continue;
            const int from = i * PREFIX_RUN / stride, to = (i + 1) * PREFIX_RUN / stride;
            if (at == NULL || !sequence_write_entries(s, g, from, to, at))
                return false;
            at += cache_entries_bytes(p->cache, g, to - from);
        }
    }
    return true;
}

int prefix_resume(Prefix *p, const int32_t *tokens, int n, Sequence *s) {
    const int runs = n > 0 ? (n - 1) / PREFIX_RUN : 0;
    p->stats.lookups++;
    p->stats.tokens_asked += (uint64_t)(n > 0 ? n : 0);
    int *path = runs > 0 ? mem_alloc((size_t)runs * sizeof *path, MEM_CACHE) : NULL;
    if (path == NULL)
        return 0;
    const int found = walk(p, tokens, runs, true, path);
    int depth = found;
    while (depth > 0 && !can_resume(p, path, depth))
        depth--;
    bool strided = false;
    for (int g = 0; g < cache_groups(p->cache); g++)
        strided = strided || cache_group_stride(p->cache, g) > 1;
    if (depth > 0 && strided && !give_entries(p, path, depth, s)) {
        sequence_cut(s, 0);
        depth = 0;
    }
    for (int g = 0; depth > 0 && g < cache_groups(p->cache); g++) {
        if (cache_group_stride(p->cache, g) > 1)
            continue;
        const int window = cache_group_window(p->cache, g);
        const int oldest = window > 0 ? depth * PREFIX_RUN - window : 0;
        for (int i = oldest > 0 ? oldest / PREFIX_RUN : 0; i < depth; i++) {
            const int32_t page = p->nodes[path[i]].pages[g];
            cache_hold_page(p->cache, g, page);
            sequence_adopt_page(s, g, i, page);
        }
    }
    if (depth > 0) {
        if (p->memories_bytes > 0)
            sequence_write_memories(s, p->nodes[path[depth - 1]].memories);
        sequence_resume(s, depth * PREFIX_RUN);
    }
    release_path(p, path, found);
    mem_free(path);
    keep_budget(p);
    p->stats.tokens_found += (uint64_t)(depth * PREFIX_RUN);
    return depth * PREFIX_RUN;
}

int prefix_known(Prefix *p, const int32_t *tokens, int n) {
    const int runs = n > 0 ? (n - 1) / PREFIX_RUN : 0;
    int *path = runs > 0 ? mem_alloc((size_t)runs * sizeof *path, MEM_CACHE) : NULL;
    const int found = path != NULL ? walk(p, tokens, runs, false, path) : 0;
    mem_free(path);
    return found * PREFIX_RUN;
}

int prefix_difference(Prefix *p, const int32_t *tokens, int n) {
    const int runs = n > 0 ? n / PREFIX_RUN : 0;
    int *path = mem_alloc(((size_t)runs + 1) * sizeof *path, MEM_CACHE);
    if (path == NULL)
        return 0;
    const int found = walk(p, tokens, runs, false, path), last = found > 0 ? path[found - 1] : NO_NODE;
    const int32_t *rest = tokens + found * PREFIX_RUN;
    const int most = MIN(n - found * PREFIX_RUN, PREFIX_RUN);
    int same = 0;
    for (int i = 0; i < p->n_node && same < most; i++) {
        const Node *node = &p->nodes[i];
        int k = 0;
        while (node->taken && node->parent == last && k < most && node->tokens[k] == rest[k])
            k++;
        same = MAX(same, k);
    }
    mem_free(path);
    return found * PREFIX_RUN + same;
}

/* Fills what a node of run `i` lacks from the sequence that has it. */
static void complete(Prefix *p, int index, const Sequence *s, int i) {
    Node *n = &p->nodes[index];
    for (int g = 0; g < cache_groups(p->cache); g++)
        if (cache_group_stride(p->cache, g) == 1 && n->pages[g] < 0)
            n->pages[g] = sequence_share_page(s, g, i);
    const size_t extra = entries_bytes(p, n->depth);
    if (extra == 0 || n->entries != NULL)
        return;
    n->entries = mem_alloc(extra, MEM_CACHE);
    uint8_t *at = n->entries;
    for (int g = 0; at != NULL && g < cache_groups(p->cache); g++) {
        const int stride = cache_group_stride(p->cache, g);
        if (stride == 1)
            continue;
        const int from = i * PREFIX_RUN / stride, to = (i + 1) * PREFIX_RUN / stride;
        sequence_read_entries(s, g, from, to, at);
        at += cache_entries_bytes(p->cache, g, to - from);
    }
    if (n->entries != NULL)
        p->copied += extra;
}

void prefix_keep(Prefix *p, const int32_t *tokens, int n, const Sequence *s, bool with_memory) {
    const int have = MIN(n, sequence_tokens(s)), runs = have / PREFIX_RUN;
    uint8_t key[SPILL_KEY_BYTES];
    memcpy(key, p->root, sizeof key);
    int parent = NO_NODE;
    for (int i = 0; i < runs; i++) {
        const int32_t *run = tokens + (size_t)i * PREFIX_RUN;
        if (!chain(key, run, key))
            break;
        int node = find(p, key, parent, run);
        if (node == NO_NODE)
            node = new_node(p, key, parent, run);
        if (node == NO_NODE)
            break;
        p->nodes[node].used = ++p->now;
        complete(p, node, s, i);
        parent = node;
        const bool last = i == runs - 1;
        if (last && with_memory && p->memories_bytes > 0 && sequence_tokens(s) == runs * PREFIX_RUN &&
            p->nodes[node].memories == NULL) {
            p->nodes[node].memories = mem_alloc(p->memories_bytes, MEM_CACHE);
            if (p->nodes[node].memories != NULL) {
                sequence_read_memories(s, p->nodes[node].memories);
                p->copied += p->memories_bytes;
            }
        }
        write_node(p, node);
    }
    keep_budget(p);
}

PrefixStats prefix_stats(const Prefix *p) {
    PrefixStats stats = p->stats;
    stats.copied_bytes = p->copied;
    return stats;
}
