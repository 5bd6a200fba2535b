/* cache.c - see cache.h. */
#include "graph/cache.h"

#include <string.h>

enum { MAX_GROUPS = 16, NO_PAGE = -1 };

typedef struct Group {
    int stride, window;
    int pages;
    size_t page_bytes; /* of all its states: from one page to the next */
    int32_t *free; /* a stack of free page numbers */
    int n_free;
    int32_t *references; /* per page */
} Group;

typedef struct Place { /* of a state */
    int group;         /* -1: a memory, or the last tokens */
    int ring;          /* last tokens: how many are kept */
    uint8_t *first;    /* its part of page 0; its first memory */
    size_t entry_bytes, head_bytes;
    size_t bytes;      /* its part of a page; a memory */
    CacheType type;
} Place;

struct Cache {
    const Graph *graph;
    Group groups[MAX_GROUPS];
    int n_group;
    Place *places;
    uint8_t *slab;
    Sequence **sequences;
    int n_sequence;
    Arena arena;
};

struct Sequence {
    Cache *cache;
    int index;
    int tokens;
    int written; /* the most tokens it had: rings hold the last ones of these */
    int64_t declared;
    int32_t *tables[MAX_GROUPS];
    int n_page[MAX_GROUPS]; /* length of the table: pages for entries 0 .. 64 n_page - 1 (some given back) */
    int first_page[MAX_GROUPS];
};

static int group_of(Group *groups, int *n_group, const RowState *rows) {
    for (int i = 0; i < *n_group; i++)
        if (groups[i].stride == rows->stride && groups[i].window == rows->window)
            return i;
    if (*n_group == MAX_GROUPS)
        return -1;
    groups[*n_group] = (Group){.stride = rows->stride, .window = rows->window};
    return (*n_group)++;
}

/* Entries kept at the most for `tokens` tokens. A window keeps what it sees, what one step adds (a prompt's cut is at
 * most STEP tokens), and the page it is in the middle of. */
enum { WINDOW_SLACK = 2048 };

static int64_t group_pages(const Group *g, int64_t tokens, int sequences) {
    int64_t entries = (tokens + g->stride - 1) / g->stride;
    if (g->window > 0) {
        const int64_t most = (int64_t)sequences * ((g->window + WINDOW_SLACK) / g->stride + 2 * CACHE_BLOCK);
        entries = MIN(entries, most);
    }
    return (entries + CACHE_BLOCK - 1) / CACHE_BLOCK + sequences;
}

static CacheType type_of(const StateDecl *d, CacheType type) {
    return d->rows.exact ? CACHE_F32 : type;
}

/* Of one state; as a page has 64 entries, whole lines of the processor's cache. */
static size_t page_bytes_of(const StateDecl *d, CacheType type) {
    return (size_t)d->rows.heads * CACHE_BLOCK * cache_entry_bytes(type_of(d, type), d->rows.width);
}

static size_t rounded(size_t bytes) {
    return (bytes + 63) & ~(size_t)63;
}

/* Last tokens beyond those that are looked back at let a sequence be cut by that many (a draft that was refused). A
 * recurrent memory rules cuts out, and then nothing is to be gained. */
enum { RING_SLACK = 64 };

static bool has_memories(const Graph *graph) {
    bool any = false;
    for (int s = 0; s < graph->n_state; s++)
        any = any || graph->states[s].floats > 0;
    return any;
}

static int ring_of(const StateDecl *d, bool memories) {
    return d->recent + (memories ? 0 : RING_SLACK);
}

/* Of a memory or a ring; 0 for rows. */
static size_t memory_bytes_of(const StateDecl *d, bool memories) {
    if (d->recent > 0)
        return rounded((size_t)ring_of(d, memories) * (size_t)d->width * sizeof(float));
    return rounded((size_t)d->floats * sizeof(float));
}

size_t cache_sequence_bytes(const Graph *graph) {
    const bool memories = has_memories(graph);
    size_t bytes = 0;
    for (int s = 0; s < graph->n_state; s++)
        bytes += memory_bytes_of(&graph->states[s], memories);
    return bytes;
}

size_t cache_bytes(const Graph *graph, CacheType type, int64_t tokens, int sequences) {
    Group groups[MAX_GROUPS];
    int n_group = 0;
    size_t bytes = cache_sequence_bytes(graph) * (size_t)sequences;
    for (int s = 0; s < graph->n_state; s++) {
        const StateDecl *d = &graph->states[s];
        if (d->rows.heads == 0)
            continue;
        const int g = group_of(groups, &n_group, &d->rows);
        if (g >= 0)
            bytes += (size_t)group_pages(&groups[g], tokens, sequences) * page_bytes_of(d, type);
    }
    return bytes;
}

Status cache_open(const Graph *graph, CacheType type, int64_t tokens, int sequences, Cache **out, Error *err) {
    *out = NULL;
    FAIL_IF(tokens < 1 || tokens > INT32_MAX || sequences < 1, ERR_ARGUMENT, "a cache for %lld tokens in %d sequences",
            (long long)tokens, sequences);
    Cache *c = mem_zalloc(sizeof *c, MEM_CACHE);
    FAIL_IF(c == NULL, ERR_MEMORY, "no memory for the cache");
    arena_init(&c->arena, MEM_CACHE);
    c->graph = graph;
    c->n_sequence = sequences;
    c->places = arena_array(&c->arena, (size_t)graph->n_state + 1, sizeof *c->places);
    c->sequences = arena_array(&c->arena, (size_t)sequences, sizeof(Sequence *));
    const size_t bytes = cache_bytes(graph, type, tokens, sequences);
    c->slab = mem_alloc_aligned(bytes + 64, MEM_CACHE);
    const bool memories = has_memories(graph);
    bool done = c->places != NULL && c->sequences != NULL && c->slab != NULL;
    uint8_t *at = c->slab;
    for (int s = 0; done && s < graph->n_state; s++) {
        const StateDecl *d = &graph->states[s];
        Place *p = &c->places[s];
        if (d->rows.heads == 0) {
            p->group = -1;
            p->ring = d->recent > 0 ? ring_of(d, memories) : 0;
            p->bytes = memory_bytes_of(d, memories);
            p->first = at;
            at += p->bytes * (size_t)sequences;
            continue;
        }
        p->group = group_of(c->groups, &c->n_group, &d->rows);
        if (p->group < 0) {
            cache_close(c);
            return error_set(err, ERR_UNSUPPORTED, "more than %d kinds of caches in one model", MAX_GROUPS);
        }
        p->type = type_of(d, type);
        p->entry_bytes = cache_entry_bytes(p->type, d->rows.width);
        p->head_bytes = p->entry_bytes * CACHE_BLOCK;
        p->bytes = page_bytes_of(d, type);
        c->groups[p->group].page_bytes += p->bytes;
    }
    for (int g = 0; done && g < c->n_group; g++) {
        uint8_t *part = at;
        for (int s = 0; s < graph->n_state; s++)
            if (c->places[s].group == g) {
                c->places[s].first = part;
                part += c->places[s].bytes;
            }
        at += (size_t)group_pages(&c->groups[g], tokens, sequences) * c->groups[g].page_bytes;
    }
    for (int g = 0; done && g < c->n_group; g++) {
        Group *group = &c->groups[g];
        group->pages = (int)group_pages(group, tokens, sequences);
        group->free = arena_array(&c->arena, (size_t)group->pages, sizeof *group->free);
        group->references = arena_array(&c->arena, (size_t)group->pages, sizeof *group->references);
        done = group->free != NULL && group->references != NULL;
        for (int p = group->pages - 1; done && p >= 0; p--)
            group->free[group->n_free++] = p;
    }
    if (!done) {
        cache_close(c);
        char size[16];
        return error_set(err, ERR_MEMORY, "no memory for a cache of %s; a smaller --ctx needs less", format_bytes(bytes, size));
    }
    *out = c;
    return OK;
}

void cache_close(Cache *c) {
    if (c == NULL)
        return;
    for (int i = 0; c->sequences != NULL && i < c->n_sequence; i++)
        sequence_close(c->sequences[i]);
    mem_free(c->slab);
    arena_free(&c->arena);
    mem_free(c);
}

static void clear_memories(Sequence *s) {
    const Cache *c = s->cache;
    for (int i = 0; i < c->graph->n_state; i++)
        if (c->places[i].group < 0)
            memset(c->places[i].first + c->places[i].bytes * (size_t)s->index, 0, c->places[i].bytes);
}

Status sequence_open(Cache *c, int64_t declared, Sequence **out, Error *err) {
    *out = NULL;
    int index = 0;
    while (index < c->n_sequence && c->sequences[index] != NULL)
        index++;
    FAIL_IF(index == c->n_sequence, ERR_MEMORY, "all %d sequences of the cache are in use", c->n_sequence);
    Sequence *s = mem_zalloc(sizeof *s, MEM_CACHE);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for a sequence");
    s->cache = c;
    s->index = index;
    s->declared = declared;
    for (int g = 0; g < c->n_group; g++) {
        /* Long enough for any sequence: a table never moves, so that steps can read it without locks. */
        const int64_t most = declared / c->groups[g].stride / CACHE_BLOCK + 2;
        s->tables[g] = mem_array((size_t)most, sizeof(int32_t), MEM_CACHE);
        if (s->tables[g] == NULL) {
            sequence_close(s);
            return error_set(err, ERR_MEMORY, "no memory for a sequence of %lld tokens", (long long)declared);
        }
    }
    c->sequences[index] = s;
    clear_memories(s);
    *out = s;
    return OK;
}

static void give_back(Sequence *s, int g, int from, int to) {
    for (int p = from; p < to; p++)
        if (s->tables[g][p] != NO_PAGE) {
            cache_drop_page(s->cache, g, s->tables[g][p]);
            s->tables[g][p] = NO_PAGE;
        }
}

void sequence_close(Sequence *s) {
    if (s == NULL)
        return;
    for (int g = 0; g < s->cache->n_group; g++) {
        if (s->tables[g] != NULL)
            give_back(s, g, s->first_page[g], s->n_page[g]);
        mem_free(s->tables[g]);
    }
    if (s->cache->sequences[s->index] == s)
        s->cache->sequences[s->index] = NULL;
    mem_free(s);
}

int sequence_tokens(const Sequence *s) {
    return s->tokens;
}

int64_t sequence_declared(const Sequence *s) {
    return s->declared;
}

static int pages_for(const Group *g, int64_t tokens) {
    const int64_t entries = (tokens + g->stride - 1) / g->stride;
    return (int)((entries + CACHE_BLOCK - 1) / CACHE_BLOCK);
}

/* True when the next entry goes into a page that others have too (after a cut inside it). */
static bool shared_tail(const Sequence *s, int g) {
    const int entry = s->tokens / s->cache->groups[g].stride, index = entry / CACHE_BLOCK;
    return entry % CACHE_BLOCK != 0 && index < s->n_page[g] && s->tables[g][index] != NO_PAGE &&
           s->cache->groups[g].references[s->tables[g][index]] > 1;
}

/* The parts of all states lie one behind the other, from that of the group's first state on. */
static uint8_t *whole_page(const Cache *c, int group, int32_t page) {
    int s = 0;
    while (c->places[s].group != group)
        s++;
    return c->places[s].first + (size_t)page * c->groups[group].page_bytes;
}

static void copy_page(Cache *c, int group, int32_t to, int32_t from) {
    memcpy(whole_page(c, group, to), whole_page(c, group, from), c->groups[group].page_bytes);
}

Status sequence_reserve(Sequence *s, int n, Error *err) {
    Cache *c = s->cache;
    const int64_t tokens = (int64_t)s->tokens + n;
    FAIL_IF(tokens > s->declared, ERR_LIMIT,
            "%lld tokens do not fit the context of %lld; a larger --ctx makes room", (long long)tokens,
            (long long)s->declared);
    for (int g = 0; g < c->n_group; g++) {
        const int more = pages_for(&c->groups[g], tokens) - s->n_page[g];
        FAIL_IF(more + shared_tail(s, g) > c->groups[g].n_free, ERR_LIMIT, "the cache has no room for %d more tokens", n);
    }
    for (int g = 0; g < c->n_group; g++) {
        if (shared_tail(s, g)) { /* what is shared stays as it is: go on in a copy */
            int32_t *page = &s->tables[g][s->tokens / c->groups[g].stride / CACHE_BLOCK];
            const int32_t copy = cache_take_page(c, g);
            copy_page(c, g, copy, *page);
            cache_drop_page(c, g, *page);
            *page = copy;
        }
        const int wanted = pages_for(&c->groups[g], tokens);
        while (s->n_page[g] < wanted)
            s->tables[g][s->n_page[g]++] = cache_take_page(c, g);
    }
    return OK;
}

void sequence_advance(Sequence *s, int n) {
    s->tokens += n;
    s->written = MAX(s->written, s->tokens);
    for (int g = 0; g < s->cache->n_group; g++) {
        const Group *group = &s->cache->groups[g];
        if (group->window == 0)
            continue;
        /* First entry that a next token can see, and a little more: guessed tokens may be taken back. */
        const int oldest = (s->tokens - group->window - CACHE_BLOCK) / group->stride;
        const int keep = oldest > 0 ? oldest / CACHE_BLOCK : 0;
        if (keep > s->first_page[g]) {
            give_back(s, g, s->first_page[g], keep);
            s->first_page[g] = keep;
        }
    }
}

bool sequence_cut(Sequence *s, int tokens) {
    Cache *c = s->cache;
    if (tokens == s->tokens && tokens > 0)
        return true;
    if (tokens > s->tokens || tokens < 0)
        return false;
    for (int i = 0; tokens > 0 && i < c->graph->n_state; i++) {
        const int g = c->places[i].group;
        if (g < 0) {
            /* The next token looks back at the last `recent` ones, which a longer past may have overwritten. */
            const int from = MAX(tokens - c->graph->states[i].recent, 0);
            if (c->places[i].ring == 0 || from < s->written - c->places[i].ring)
                return false;
            continue;
        }
        const Group *group = &c->groups[g];
        /* Every entry that the next token sees must still be there, and an entry over several tokens whole. */
        if (tokens % group->stride != 0)
            return false;
        const int oldest = group->window > 0 ? (tokens - group->window) / group->stride : 0;
        if (oldest > 0 ? oldest / CACHE_BLOCK < s->first_page[g] : s->first_page[g] > 0)
            return false;
    }
    for (int g = 0; g < c->n_group; g++) {
        const int keep = pages_for(&c->groups[g], tokens);
        give_back(s, g, MAX(keep, s->first_page[g]), s->n_page[g]);
        s->n_page[g] = MIN(keep, s->n_page[g]);
        if (tokens == 0)
            s->first_page[g] = 0;
    }
    s->tokens = tokens;
    if (tokens == 0) {
        clear_memories(s);
        s->written = 0;
    }
    return true;
}

void sequence_abandon(Sequence *s) {
    for (int i = 0; i < s->cache->graph->n_state; i++)
        if (s->cache->places[i].group < 0) {
            sequence_cut(s, 0);
            return;
        }
}

/* ---- sharing ---------------------------------------------------------------------------------------------------------- */

int cache_groups(const Cache *c) {
    return c->n_group;
}

int cache_group_stride(const Cache *c, int group) {
    return c->groups[group].stride;
}

int cache_group_window(const Cache *c, int group) {
    return c->groups[group].window;
}

int cache_free_pages(const Cache *c, int group) {
    return c->groups[group].n_free;
}

int cache_pages(const Cache *c, int group) {
    return c->groups[group].pages;
}

int32_t cache_take_page(Cache *c, int group) {
    Group *g = &c->groups[group];
    if (g->n_free == 0)
        return NO_PAGE;
    const int32_t page = g->free[--g->n_free];
    g->references[page] = 1;
    return page;
}

void cache_hold_page(Cache *c, int group, int32_t page) {
    c->groups[group].references[page]++;
}

void cache_drop_page(Cache *c, int group, int32_t page) {
    Group *g = &c->groups[group];
    if (--g->references[page] == 0)
        g->free[g->n_free++] = page;
}

int cache_page_references(const Cache *c, int group, int32_t page) {
    return c->groups[group].references[page];
}

int32_t sequence_share_page(const Sequence *s, int group, int index) {
    const int32_t page = index < s->n_page[group] ? s->tables[group][index] : NO_PAGE;
    if (page != NO_PAGE)
        s->cache->groups[group].references[page]++;
    return page;
}

void sequence_adopt_page(Sequence *s, int group, int index, int32_t page) {
    while (s->n_page[group] <= index)
        s->tables[group][s->n_page[group]++] = NO_PAGE;
    s->tables[group][index] = page;
}

void sequence_resume(Sequence *s, int tokens) {
    s->tokens = s->written = tokens;
    for (int g = 0; g < s->cache->n_group; g++) {
        s->first_page[g] = 0;
        while (s->first_page[g] < s->n_page[g] && s->tables[g][s->first_page[g]] == NO_PAGE)
            s->first_page[g]++;
    }
}

size_t cache_page_bytes(const Cache *c, int group) {
    return c->groups[group].page_bytes;
}

void cache_read_page(const Cache *c, int group, int32_t page, uint8_t *bytes) {
    memcpy(bytes, whole_page(c, group, page), c->groups[group].page_bytes);
}

void cache_write_page(Cache *c, int group, int32_t page, const uint8_t *bytes) {
    memcpy(whole_page(c, group, page), bytes, c->groups[group].page_bytes);
}

size_t cache_entries_bytes(const Cache *c, int group, int entries) {
    return cache_page_bytes(c, group) / CACHE_BLOCK * (size_t)entries;
}

/* One entry lies in as many pieces as its state has heads. */
static size_t copy_entry(const Sequence *s, int group, int entry, uint8_t *out, const uint8_t *in) {
    const Cache *c = s->cache;
    size_t done = 0;
    for (int i = 0; i < c->graph->n_state; i++) {
        const Place *p = &c->places[i];
        if (p->group != group)
            continue;
        uint8_t *at = sequence_page(s, i, entry);
        if (at == NULL) { /* no longer kept: nobody will look at it */
            const size_t bytes = p->entry_bytes * (size_t)c->graph->states[i].rows.heads;
            if (out != NULL)
                memset(out + done, 0, bytes);
            done += bytes;
            continue;
        }
        at += (size_t)(entry % CACHE_BLOCK) * p->entry_bytes;
        for (int h = 0; h < c->graph->states[i].rows.heads; h++, done += p->entry_bytes) {
            if (out != NULL)
                memcpy(out + done, at + (size_t)h * p->head_bytes, p->entry_bytes);
            else
                memcpy(at + (size_t)h * p->head_bytes, in + done, p->entry_bytes);
        }
    }
    return done;
}

void sequence_read_entries(const Sequence *s, int group, int from, int to, uint8_t *bytes) {
    for (int e = from; e < to; e++)
        bytes += copy_entry(s, group, e, bytes, NULL);
}

bool sequence_write_entries(Sequence *s, int group, int from, int to, const uint8_t *bytes) {
    for (int e = from; e < to; e++) {
        const int index = e / CACHE_BLOCK;
        if (index >= s->n_page[group] || s->tables[group][index] == NO_PAGE) {
            const int32_t page = cache_take_page(s->cache, group);
            if (page == NO_PAGE)
                return false;
            sequence_adopt_page(s, group, index, page);
        }
        bytes += copy_entry(s, group, e, NULL, bytes);
    }
    return true;
}

size_t cache_memories_bytes(const Cache *c) {
    size_t bytes = 0;
    for (int s = 0; s < c->graph->n_state; s++)
        if (c->places[s].group < 0)
            bytes += c->places[s].bytes;
    return bytes;
}

void sequence_read_memories(const Sequence *s, uint8_t *bytes) {
    const Cache *c = s->cache;
    for (int i = 0; i < c->graph->n_state; i++)
        if (c->places[i].group < 0) {
            memcpy(bytes, sequence_memory(s, i), c->places[i].bytes);
            bytes += c->places[i].bytes;
        }
}

void sequence_write_memories(Sequence *s, const uint8_t *bytes) {
    const Cache *c = s->cache;
    for (int i = 0; i < c->graph->n_state; i++)
        if (c->places[i].group < 0) {
            memcpy(sequence_memory(s, i), bytes, c->places[i].bytes);
            bytes += c->places[i].bytes;
        }
}

/* ---- for the running of steps ---------------------------------------------------------------------------------------- */

const Cache *sequence_cache(const Sequence *s) {
    return s->cache;
}

CacheType cache_type_of(const Cache *c, State state) {
    return c->places[state].type;
}

uint8_t *sequence_page(const Sequence *s, State state, int entry) {
    const Place *p = &s->cache->places[state];
    const int32_t page = s->tables[p->group][entry / CACHE_BLOCK];
    return page == NO_PAGE ? NULL : p->first + (size_t)page * s->cache->groups[p->group].page_bytes;
}

float *sequence_memory(const Sequence *s, State state) {
    const Place *p = &s->cache->places[state];
    return (float *)(void *)(p->first + p->bytes * (size_t)s->index);
}

float *sequence_recent(const Sequence *s, State state, int entry) {
    const Place *p = &s->cache->places[state];
    const size_t width = (size_t)s->cache->graph->states[state].width;
    return entry < 0 ? NULL : sequence_memory(s, state) + (size_t)(entry % p->ring) * width;
}

int cache_recent_tokens(const Cache *c, State state) {
    return c->places[state].ring;
}

size_t cache_head_bytes(const Cache *c, State state) {
    return c->places[state].head_bytes;
}

size_t cache_stride_bytes(const Cache *c, State state) {
    return c->places[state].entry_bytes;
}
