/* grammar_expr.c - see grammar_expr.h: sets of characters as UTF-8, and expressions as paths. */
#include "text/grammar_expr.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

void charset_add(Net *net, CharSet *set, uint32_t low, uint32_t high) {
    if (low > high)
        return;
    if (set->count == set->capacity) {
        const size_t capacity = set->capacity > 0 ? 2 * set->capacity : 4;
        CharRange *ranges = net_alloc(net, capacity * sizeof *ranges);
        if (ranges == NULL)
            return;
        if (set->count > 0)
            memcpy(ranges, set->ranges, set->count * sizeof *ranges);
        set->ranges = ranges;
        set->capacity = capacity;
    }
    set->ranges[set->count++] = (CharRange){low, high};
}

void charset_add_set(Net *net, CharSet *set, const CharSet *other) {
    for (size_t i = 0; i < other->count; i++)
        charset_add(net, set, other->ranges[i].low, other->ranges[i].high);
}

static int compare_ranges(const void *a, const void *b) {
    const CharRange *x = a, *y = b;
    return x->low != y->low ? (x->low > y->low ? 1 : -1) : (x->high > y->high) - (x->high < y->high);
}

void charset_tidy(CharSet *set) {
    if (set->count == 0)
        return;
    qsort(set->ranges, set->count, sizeof *set->ranges, compare_ranges);
    size_t kept = 0;
    for (size_t i = 1; i < set->count; i++) {
        if (set->ranges[i].low <= set->ranges[kept].high + 1)
            set->ranges[kept].high = MAX(set->ranges[kept].high, set->ranges[i].high);
        else
            set->ranges[++kept] = set->ranges[i];
    }
    set->count = kept + 1;
}

void charset_negate(Net *net, CharSet *set) {
    CharSet rest = {0};
    charset_tidy(set);
    uint32_t at = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->ranges[i].low > at)
            charset_add(net, &rest, at, set->ranges[i].low - 1);
        at = set->ranges[i].high + 1;
    }
    if (at <= CHAR_LAST)
        charset_add(net, &rest, at, CHAR_LAST);
    *set = rest;
}

void charset_fold(Net *net, CharSet *set) {
    charset_tidy(set);
    const size_t count = set->count;
    for (size_t i = 0; i < count; i++)
        for (uint32_t c = set->ranges[i].low; c <= MIN(set->ranges[i].high, 0x1FFFFu); c++) {
            const uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
            const uint32_t upper = (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
            if (lower != c)
                charset_add(net, set, lower, lower);
            if (upper != c)
                charset_add(net, set, upper, upper);
        }
    charset_tidy(set);
}

/* The set as 64-bit words, one for each last byte of UTF-8: character c is bit c & 63 of word c >> 6. Words are asked
 * for in ascending order. */
typedef struct Words {
    const CharSet *set;
    size_t range;
} Words;

static uint64_t word_at(Words *w, uint32_t index) {
    const uint32_t low = index << 6, high = low + 63;
    while (w->range < w->set->count && w->set->ranges[w->range].high < low)
        w->range++;
    uint64_t word = 0;
    for (size_t i = w->range; i < w->set->count && w->set->ranges[i].low <= high; i++) {
        const uint32_t a = MAX(w->set->ranges[i].low, low) - low, b = MIN(w->set->ranges[i].high, high) - low;
        word |= (b - a == 63 ? ~(uint64_t)0 : (((uint64_t)1 << (b - a + 1)) - 1) << a);
    }
    if (low >= CHAR_SURROGATE_FIRST && low <= CHAR_SURROGATE_LAST)
        return 0;
    return word;
}

/* Nodes before the last byte, one for each different word; before the last two, for each different run of words. */
typedef struct Tails {
    uint64_t words[64];
    uint32_t node;
} Tails;

typedef struct Builder {
    Net *net;
    uint32_t to;
    struct {
        uint64_t word;
        uint32_t node;
    } * last;
    size_t last_count, last_capacity;
    Tails *two;
    size_t two_count, two_capacity;
} Builder;

static ByteSet continuation(uint64_t word) {
    return (ByteSet){{0, 0, word, 0}};
}

static uint32_t last_node(Builder *b, uint64_t word) {
    for (size_t i = 0; i < b->last_count; i++)
        if (b->last[i].word == word)
            return b->last[i].node;
    if (!mem_grow((void **)&b->last, &b->last_capacity, b->last_count + 1, sizeof *b->last, MEM_TEXT)) {
        net_fail(b->net, ERR_MEMORY, "no memory for a set of characters");
        return 0;
    }
    const uint32_t node = net_node(b->net);
    const ByteSet set = continuation(word);
    net_bytes(b->net, node, b->to, &set);
    b->last[b->last_count].word = word;
    b->last[b->last_count++].node = node;
    return node;
}

/* Groups equal words of a run under one edge each. */
static void run_edges(Builder *b, uint32_t from, const uint64_t words[64]) {
    for (unsigned i = 0; i < 64 && b->net->status == OK; i++) {
        bool first = words[i] != 0;
        for (unsigned k = 0; k < i && first; k++)
            first = words[k] != words[i];
        if (!first)
            continue;
        uint64_t leads = 0;
        for (unsigned k = i; k < 64; k++)
            if (words[k] == words[i])
                leads |= (uint64_t)1 << k;
        const ByteSet set = continuation(leads);
        net_bytes(b->net, from, last_node(b, words[i]), &set);
    }
}

static uint32_t two_node(Builder *b, const uint64_t words[64]) {
    for (size_t i = 0; i < b->two_count; i++)
        if (memcmp(b->two[i].words, words, sizeof b->two[i].words) == 0)
            return b->two[i].node;
    if (!mem_grow((void **)&b->two, &b->two_capacity, b->two_count + 1, sizeof *b->two, MEM_TEXT)) {
        net_fail(b->net, ERR_MEMORY, "no memory for a set of characters");
        return 0;
    }
    Tails *t = &b->two[b->two_count++];
    memcpy(t->words, words, sizeof t->words);
    t->node = net_node(b->net);
    const uint32_t node = t->node;
    run_edges(b, node, words);
    return node;
}

static bool read_run(Words *w, uint32_t first, uint64_t words[64]) {
    uint64_t any = 0;
    for (uint32_t i = 0; i < 64; i++)
        any |= words[i] = word_at(w, first + i);
    return any != 0;
}

void charset_build(Net *net, uint32_t from, uint32_t to, const CharSet *set) {
    Words w = {.set = set};
    Builder b = {.net = net, .to = to};
    const ByteSet ascii = {{word_at(&w, 0), word_at(&w, 1), 0, 0}};
    net_bytes(net, from, to, &ascii);
    const bool beyond = set->count > 0 && set->ranges[set->count - 1].high >= 0x80;
    for (uint32_t lead = 0xC2; beyond && lead <= 0xDF; lead++) {
        const uint64_t word = word_at(&w, lead & 0x1F);
        if (word != 0)
            net_range(net, from, last_node(&b, word), lead, lead);
    }
    uint64_t words[64];
    for (uint32_t lead = 0xE0; beyond && lead <= 0xEF; lead++) {
        /* E0 is followed by A0..BF only: what is below U+0800 has shorter forms. */
        if (!read_run(&w, (lead & 0xF) << 6, words))
            continue;
        if (lead == 0xE0)
            memset(words, 0, 32 * sizeof *words);
        bool any = false;
        for (unsigned i = 0; i < 64; i++)
            any = any || words[i] != 0;
        if (any)
            net_range(net, from, two_node(&b, words), lead, lead);
    }
    for (uint32_t lead = 0xF0; beyond && lead <= 0xF4 && net->status == OK; lead++) {
        uint32_t three = 0;
        for (uint32_t second = 0; second < 64; second++) {
            const uint32_t plane = (lead & 7) << 6 | second; /* of 4,096 characters */
            if (plane < 0x10 || plane > 0x10F || !read_run(&w, plane << 6, words))
                continue;
            if (three == 0) {
                three = net_node(net);
                net_range(net, from, three, lead, lead);
            }
            net_range(net, three, two_node(&b, words), 0x80 + second, 0x80 + second);
        }
    }
    mem_free(b.last);
    mem_free(b.two);
}

Expr *expr_new(Net *net, ExprKind kind) {
    Expr *e = net_alloc(net, sizeof *e);
    if (e != NULL)
        e->kind = kind;
    return e;
}

Expr *expr_bytes(Net *net, const char *bytes, size_t count) {
    Expr *e = expr_new(net, EXPR_BYTES);
    char *copy = net_alloc(net, count + 1);
    if (e == NULL || copy == NULL)
        return NULL;
    if (count > 0)
        memcpy(copy, bytes, count);
    e->bytes = copy;
    e->count = count;
    return e;
}

Expr *expr_repeat(Net *net, Expr *part, uint32_t min, uint32_t max) {
    Expr *e = expr_new(net, EXPR_REPEAT);
    if (e == NULL || part == NULL)
        return NULL;
    e->min = min;
    e->max = max;
    expr_add(e, part);
    return e;
}

void expr_add(Expr *whole, Expr *part) {
    if (whole == NULL || part == NULL)
        return;
    if (whole->last != NULL)
        whole->last->next = part;
    else
        whole->first = part;
    whole->last = part;
}

/* A set inside a repetition is built again and again: the second time, its edges are copied. */
static void chars_build(Net *net, uint32_t from, uint32_t to, Expr *e) {
    if (!e->built) {
        e->built_from = from;
        e->built_to = to;
        e->built_nodes = net->node_count;
        e->built_edges = net->edge_count;
        charset_build(net, from, to, &e->set);
        e->built_edges_end = net->edge_count;
        e->built = true;
        return;
    }
    const uint32_t shift = net->node_count - e->built_nodes;
    uint32_t nodes = 0;
    for (size_t i = e->built_edges; i < e->built_edges_end && net->status == OK; i++) {
        const NetEdge edge = net->edges[i];
        const uint32_t a = edge.from == e->built_from ? from : edge.from + shift;
        const uint32_t b = edge.to == e->built_to ? to : edge.to + shift;
        if (edge.to != e->built_to)
            nodes = MAX(nodes, edge.to - e->built_nodes + 1);
        const ByteSet set = net->sets[edge.what];
        net_bytes(net, a, b, &set);
    }
    for (uint32_t i = 0; i < nodes; i++)
        net_node(net);
}

/* Copies of the part one behind the other up to this many, beyond it a counted loop. */
enum { MAX_COPIES = 12 };

static void repeat_build(Net *net, uint32_t from, uint32_t to, Expr *e) {
    const bool endless = e->max == NET_NO_END;
    const uint32_t copies = endless ? e->min : e->max;
    if (copies > MAX_COPIES) {
        const uint32_t rule = net_rule(net, NULL);
        if (net->status != OK)
            return;
        expr_build(net, net->rules[rule].start, net->rules[rule].end, e->first);
        net_loop(net, from, to, rule, e->min, e->max);
        return;
    }
    uint32_t at = from;
    for (uint32_t i = 0; i < copies && net->status == OK; i++) {
        if (i >= e->min)
            net_link(net, at, to);
        const uint32_t next = net_node(net);
        expr_build(net, at, next, e->first);
        at = next;
    }
    if (endless) {
        const uint32_t middle = net_node(net), after = net_node(net);
        net_link(net, at, middle);
        expr_build(net, middle, after, e->first);
        net_link(net, after, middle);
        at = middle;
    }
    net_link(net, at, to);
}

void expr_build(Net *net, uint32_t from, uint32_t to, Expr *e) {
    if (e == NULL || net->status != OK)
        return;
    switch (e->kind) {
    case EXPR_EMPTY:
        net_link(net, from, to);
        break;
    case EXPR_CHARS:
        chars_build(net, from, to, e);
        break;
    case EXPR_BYTES:
        net_literal(net, from, to, e->bytes, e->count);
        break;
    case EXPR_SEQUENCE:
        for (Expr *part = e->first; part != NULL && net->status == OK; part = part->next) {
            const uint32_t next = part->next != NULL ? net_node(net) : to;
            expr_build(net, from, next, part);
            from = next;
        }
        if (e->first == NULL)
            net_link(net, from, to);
        break;
    case EXPR_EITHER:
        for (Expr *part = e->first; part != NULL; part = part->next)
            expr_build(net, from, to, part);
        break;
    case EXPR_REPEAT:
        repeat_build(net, from, to, e);
        break;
    case EXPR_RULE:
        net_call(net, from, to, e->rule);
        break;
    case EXPR_BEGIN:
        net_range(net, from, to, MARK_BEGIN, MARK_BEGIN);
        break;
    case EXPR_END:
        net_range(net, from, to, MARK_END, MARK_END);
        break;
    }
}

bool expr_has_anchor(const Expr *expr) {
    bool found = expr->kind == EXPR_BEGIN || expr->kind == EXPR_END;
    for (const Expr *part = expr->first; part != NULL && !found; part = part->next)
        found = expr_has_anchor(part);
    return found;
}
