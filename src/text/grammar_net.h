/* grammar_net.h - the one form of every grammar: a network of nodes over bytes, with calls and counted loops.
 *
 *     edge   from ──────────▶ to       free, or one byte of a set
 *            from ─ rule R ─▶ to       what leads from R's start to R's end
 *            from ─ loop L ─▶ to       L's rule, min..max times
 *
 * Builders put paths between two given nodes. They never lead an edge into `from` nor out of `to`, so that several of
 * them can share both ends (alternatives). The first failure is kept in the net, later calls do nothing: builders
 * check once, at the end. */
#ifndef HOULE_TEXT_GRAMMAR_NET_H
#define HOULE_TEXT_GRAMMAR_NET_H

#include "base/arena.h"
#include "base/map.h"
#include "base/status.h"

typedef struct ByteSet {
    uint64_t bits[4];
} ByteSet;

static inline void byte_set_add(ByteSet *set, unsigned low, unsigned high) {
    for (unsigned b = low; b <= high; b++)
        set->bits[b >> 6] |= (uint64_t)1 << (b & 63);
}

static inline bool byte_set_has(const ByteSet *set, unsigned byte) {
    return set->bits[byte >> 6] >> (byte & 63) & 1;
}

typedef enum EdgeKind { EDGE_FREE, EDGE_BYTES, EDGE_CALL, EDGE_LOOP } EdgeKind;

typedef struct NetEdge {
    uint32_t from;
    uint32_t to;
    uint32_t what; /* a set, rule or loop */
    uint32_t kind;
} NetEdge;

typedef struct NetRule {
    uint32_t start, end;
    const char *name; /* for messages, may be NULL */
} NetRule;

enum { NET_NO_END = 0xFFFFFFFF }; /* a loop without upper bound */

typedef struct NetLoop {
    uint32_t rule;
    uint32_t min, max;
    bool nullable; /* its rule matches the empty text; known when finished */
} NetLoop;

typedef struct Net {
    NetEdge *edges;
    ByteSet *sets;
    NetRule *rules;
    NetLoop *loops;
    size_t edge_count, edge_capacity, set_count, set_capacity, rule_count, rule_capacity, loop_count, loop_capacity;
    uint32_t node_count;
    uint32_t last_set[256]; /* where an equal set was seen last, by hash */
    Arena arena;            /* names, expressions */
    Error *err;
    Status status;
} Net;

enum { NET_MAX_NODES = 1 << 19, NET_MAX_EDGES = 1 << 21, NET_MAX_RULES = 1 << 16 };

void net_init(Net *net, Error *err);
void net_free(Net *net);
/* Notes a failure (the first one counts). */
void net_fail(Net *net, Status status, const char *format, ...) PRINTF_LIKE(3, 4);
void *net_alloc(Net *net, size_t bytes); /* zeroed, lives as long as the net; NULL = failed */

uint32_t net_node(Net *net);
void net_link(Net *net, uint32_t from, uint32_t to);
void net_bytes(Net *net, uint32_t from, uint32_t to, const ByteSet *set);
void net_range(Net *net, uint32_t from, uint32_t to, unsigned low, unsigned high);
void net_literal(Net *net, uint32_t from, uint32_t to, const char *bytes, size_t count);
void net_string(Net *net, uint32_t from, uint32_t to, const char *string);
/* A rule with its two nodes, to be filled. */
uint32_t net_rule(Net *net, const char *name);
void net_call(Net *net, uint32_t from, uint32_t to, uint32_t rule);
void net_loop(Net *net, uint32_t from, uint32_t to, uint32_t rule, uint32_t min, uint32_t max);
/* One of `count` byte strings, common beginnings shared; sorts `texts`. */
typedef struct NetText {
    const char *bytes;
    size_t count;
} NetText;
void net_choice(Net *net, uint32_t from, uint32_t to, NetText *texts, size_t count);

/* What a net becomes: edges of a node side by side, those that can never lead to an end left out, bytes that no set
 * tells apart in one class. */
enum { NODE_END = 1, NODE_BYTES = 2, NODE_ONLY_RETURNS = 4 };

typedef struct Machine {
    uint32_t *edge_at; /* [node_count + 1] */
    NetEdge *edges;
    uint8_t *flags; /* [node_count] */
    ByteSet *sets;  /* of classes */
    uint32_t *rule_start;
    NetLoop *loops;
    uint32_t node_count, start;
    uint32_t class_count;
    uint8_t class_of[256];
    uint8_t byte_of[256];   /* a byte of each class */
    uint16_t bytes_in[256]; /* how many */
    size_t bytes;           /* that all this takes */
} Machine;

/* Fails with the net's failure, with ERR_UNSUPPORTED for left recursion and ERR_ARGUMENT when no text matches. */
Status net_finish(Net *net, uint32_t start_rule, Machine *machine, Error *err);
void machine_free(Machine *machine);

#endif
