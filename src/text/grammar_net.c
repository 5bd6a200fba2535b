/* grammar_net.c - see grammar_net.h: the builder, and the checks that make a net fit to be run. */
#include "text/grammar_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NET_ARENA_BYTES = 64 << 20 };

void net_init(Net *net, Error *err) {
    *net = (Net){.err = err};
    arena_init(&net->arena, MEM_TEXT);
    net->arena.bytes_limit = NET_ARENA_BYTES;
}

void net_free(Net *net) {
    mem_free(net->edges);
    mem_free(net->sets);
    mem_free(net->rules);
    mem_free(net->loops);
    arena_free(&net->arena);
    *net = (Net){0};
}

void net_fail(Net *net, Status status, const char *format, ...) {
    if (net->status != OK)
        return;
    char text[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    net->status = error_set(net->err, status, "%s", text);
}

static void no_memory(Net *net) {
    net_fail(net, ERR_MEMORY, "no memory for the grammar");
}

void *net_alloc(Net *net, size_t bytes) {
    void *block = net->status == OK ? arena_alloc(&net->arena, bytes) : NULL;
    if (block == NULL) {
        if (net->arena.bytes_used + bytes > NET_ARENA_BYTES / 4 * 3)
            net_fail(net, ERR_LIMIT, "the grammar is too large");
        no_memory(net);
    }
    return block;
}

uint32_t net_node(Net *net) {
    if (net->node_count >= NET_MAX_NODES)
        net_fail(net, ERR_LIMIT, "the grammar has more than %d nodes: it is too large, or repeats too much",
                 (int)NET_MAX_NODES);
    return net->status == OK ? net->node_count++ : 0;
}

static void add_edge(Net *net, uint32_t from, uint32_t to, EdgeKind kind, uint32_t what) {
    if (net->edge_count >= NET_MAX_EDGES)
        net_fail(net, ERR_LIMIT, "the grammar has more than %d edges", (int)NET_MAX_EDGES);
    if (net->status != OK)
        return;
    if (!mem_grow((void **)&net->edges, &net->edge_capacity, net->edge_count + 1, sizeof *net->edges, MEM_TEXT)) {
        no_memory(net);
        return;
    }
    net->edges[net->edge_count++] = (NetEdge){.from = from, .to = to, .what = what, .kind = kind};
}

void net_link(Net *net, uint32_t from, uint32_t to) {
    add_edge(net, from, to, EDGE_FREE, 0);
}

void net_bytes(Net *net, uint32_t from, uint32_t to, const ByteSet *set) {
    if ((set->bits[0] | set->bits[1] | set->bits[2] | set->bits[3]) == 0)
        return;
    const uint32_t slot = (uint32_t)hash_bytes(set, sizeof *set) & 255;
    uint32_t index = net->last_set[slot];
    if (index >= net->set_count || memcmp(&net->sets[index], set, sizeof *set) != 0) {
        if (net->status != OK ||
            !mem_grow((void **)&net->sets, &net->set_capacity, net->set_count + 1, sizeof *net->sets, MEM_TEXT)) {
            no_memory(net);
            return;
        }
        index = (uint32_t)net->set_count++;
        net->sets[index] = *set;
        net->last_set[slot] = index;
    }
    add_edge(net, from, to, EDGE_BYTES, index);
}

void net_range(Net *net, uint32_t from, uint32_t to, unsigned low, unsigned high) {
    ByteSet set = {{0}};
    byte_set_add(&set, low, high);
    net_bytes(net, from, to, &set);
}

void net_literal(Net *net, uint32_t from, uint32_t to, const char *bytes, size_t count) {
    if (count == 0)
        net_link(net, from, to);
    for (size_t i = 0; i < count && net->status == OK; i++) {
        const uint32_t next = i + 1 == count ? to : net_node(net);
        net_range(net, from, next, (unsigned char)bytes[i], (unsigned char)bytes[i]);
        from = next;
    }
}

void net_string(Net *net, uint32_t from, uint32_t to, const char *string) {
    net_literal(net, from, to, string, strlen(string));
}

uint32_t net_rule(Net *net, const char *name) {
    if (net->rule_count >= NET_MAX_RULES)
        net_fail(net, ERR_LIMIT, "the grammar has more than %d rules", (int)NET_MAX_RULES);
    const uint32_t start = net_node(net), end = net_node(net);
    if (net->status != OK)
        return 0;
    if (!mem_grow((void **)&net->rules, &net->rule_capacity, net->rule_count + 1, sizeof *net->rules, MEM_TEXT)) {
        no_memory(net);
        return 0;
    }
    net->rules[net->rule_count] = (NetRule){.start = start, .end = end, .name = name};
    return (uint32_t)net->rule_count++;
}

void net_call(Net *net, uint32_t from, uint32_t to, uint32_t rule) {
    add_edge(net, from, to, EDGE_CALL, rule);
}

void net_loop(Net *net, uint32_t from, uint32_t to, uint32_t rule, uint32_t min, uint32_t max) {
    if (max == 0) {
        net_link(net, from, to);
        return;
    }
    if (net->status != OK ||
        !mem_grow((void **)&net->loops, &net->loop_capacity, net->loop_count + 1, sizeof *net->loops, MEM_TEXT)) {
        no_memory(net);
        return;
    }
    net->loops[net->loop_count] = (NetLoop){.rule = rule, .min = min, .max = max};
    add_edge(net, from, to, EDGE_LOOP, (uint32_t)net->loop_count++);
}

static int compare_texts(const void *a, const void *b) {
    const NetText *x = a, *y = b;
    const size_t common = MIN(x->count, y->count);
    const int order = common > 0 ? memcmp(x->bytes, y->bytes, common) : 0;
    return order != 0 ? order : (x->count > y->count) - (x->count < y->count);
}

/* Sorted texts: each shares with the one before the path of what both begin with. path[i] is the node after i bytes. */
void net_choice(Net *net, uint32_t from, uint32_t to, NetText *texts, size_t count) {
    size_t longest = 0;
    for (size_t i = 0; i < count; i++)
        longest = MAX(longest, texts[i].count);
    uint32_t *path = net->status == OK ? mem_array(longest + 1, sizeof *path, MEM_TEXT) : NULL;
    if (path == NULL) {
        no_memory(net);
        return;
    }
    if (count > 0)
        qsort(texts, count, sizeof *texts, compare_texts);
    path[0] = from;
    for (size_t i = 0; i < count && net->status == OK; i++) {
        const NetText *t = &texts[i];
        size_t shared = 0;
        if (i > 0)
            while (shared < t->count && shared < texts[i - 1].count && t->bytes[shared] == texts[i - 1].bytes[shared])
                shared++;
        if (i > 0 && shared == t->count && shared == texts[i - 1].count)
            continue; /* the same once more */
        for (size_t at = shared; at < t->count; at++) {
            path[at + 1] = net_node(net);
            net_range(net, path[at], path[at + 1], (unsigned char)t->bytes[at], (unsigned char)t->bytes[at]);
        }
        net_link(net, path[t->count], to);
    }
    mem_free(path);
}

/* Backwards over edges from the ends of all rules: which nodes reach the end of their rule, by any bytes or (for
 * `empty`) by none. A call passes only when its rule does. */
typedef struct Reach {
    const Net *net;
    uint8_t *reached;  /* [node_count] */
    uint32_t *into_at; /* edges by the node they lead to */
    uint32_t *into;
    uint32_t *rule_at; /* calls and loops by their rule */
    uint32_t *rule_edge;
    uint32_t *queue;
    const uint32_t *rule_of_start; /* rule + 1 whose start this node is */
    bool empty;
} Reach;

static uint32_t edge_rule(const Net *net, const NetEdge *e) {
    return e->kind == EDGE_CALL ? e->what : net->loops[e->what].rule;
}

static bool edge_passes(const Reach *r, const NetEdge *e) {
    if (!r->reached[e->to])
        return false;
    if (e->kind == EDGE_BYTES)
        return !r->empty;
    if (e->kind == EDGE_FREE || (e->kind == EDGE_LOOP && r->net->loops[e->what].min == 0))
        return true;
    return r->reached[r->net->rules[edge_rule(r->net, e)].start];
}

static void reach(Reach *r) {
    const Net *net = r->net;
    size_t head = 0, tail = 0;
    memset(r->reached, 0, net->node_count);
    for (size_t i = 0; i < net->rule_count; i++) {
        r->reached[net->rules[i].end] = 1;
        r->queue[tail++] = net->rules[i].end;
    }
    while (head < tail) {
        const uint32_t node = r->queue[head++];
        for (uint32_t i = r->into_at[node]; i < r->into_at[node + 1]; i++) {
            const NetEdge *e = &net->edges[r->into[i]];
            if (!r->reached[e->from] && edge_passes(r, e)) {
                r->reached[e->from] = 1;
                r->queue[tail++] = e->from;
            }
        }
        if (r->rule_of_start[node] == 0)
            continue;
        const uint32_t rule = r->rule_of_start[node] - 1;
        for (uint32_t i = r->rule_at[rule]; i < r->rule_at[rule + 1]; i++) {
            const NetEdge *e = &net->edges[r->rule_edge[i]];
            if (!r->reached[e->from] && edge_passes(r, e)) {
                r->reached[e->from] = 1;
                r->queue[tail++] = e->from;
            }
        }
    }
}

/* Numbers grouped by a key below `groups`: at[key]..at[key+1] in `list`. */
static void group_edges(const Net *net, bool by_rule, size_t groups, uint32_t *at, uint32_t *list) {
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < net->edge_count; i++) {
            const NetEdge *e = &net->edges[i];
            if (by_rule && e->kind != EDGE_CALL && e->kind != EDGE_LOOP)
                continue;
            const uint32_t key = by_rule ? edge_rule(net, e) : e->to;
            if (pass == 0)
                at[key + 1]++;
            else
                list[at[key]++] = (uint32_t)i;
        }
        if (pass == 0)
            for (size_t k = 0; k < groups; k++)
                at[k + 1] += at[k];
    }
    memmove(at + 1, at, groups * sizeof *at); /* the second pass moved each start to the next one */
    at[0] = 0;
}

/* A rule that calls itself before anything is read would never come to an end. Every rule's left edge is found inside
 * the rule's own nodes; then rules without callers are taken away until only circles are left. */
typedef struct LeftCalls {
    uint32_t *list; /* pairs caller, called */
    size_t count, capacity;
} LeftCalls;

static bool collect_left_calls(const Net *net, const Machine *m, const uint8_t *nullable, uint8_t *seen,
                               uint32_t *stack, LeftCalls *calls) {
    memset(seen, 0, net->node_count);
    for (uint32_t rule = 0; rule < net->rule_count; rule++) {
        size_t depth = 0;
        stack[depth++] = net->rules[rule].start;
        seen[net->rules[rule].start] = 1;
        while (depth > 0) {
            const uint32_t node = stack[--depth];
            for (uint32_t i = m->edge_at[node]; i < m->edge_at[node + 1]; i++) {
                const NetEdge *e = &m->edges[i];
                bool through = e->kind == EDGE_FREE;
                if (e->kind == EDGE_CALL || e->kind == EDGE_LOOP) {
                    const uint32_t called = edge_rule(net, e);
                    through =
                        nullable[net->rules[called].start] || (e->kind == EDGE_LOOP && net->loops[e->what].min == 0);
                    if (!mem_grow((void **)&calls->list, &calls->capacity, 2 * calls->count + 2, sizeof *calls->list,
                                  MEM_TEXT))
                        return false;
                    calls->list[2 * calls->count] = rule;
                    calls->list[2 * calls->count + 1] = called;
                    calls->count++;
                }
                if (through && !seen[e->to]) {
                    seen[e->to] = 1;
                    stack[depth++] = e->to;
                }
            }
        }
    }
    return true;
}

/* The rule of a circle, or -1. callers[] counts; `after` lists pairs by caller. */
static int64_t find_circle(const Net *net, const LeftCalls *calls, uint32_t *callers, uint32_t *at, uint32_t *queue) {
    const size_t n = net->rule_count;
    memset(callers, 0, n * sizeof *callers);
    memset(at, 0, (n + 1) * sizeof *at);
    for (size_t i = 0; i < calls->count; i++) {
        callers[calls->list[2 * i + 1]]++;
        at[calls->list[2 * i] + 1]++;
    }
    for (size_t k = 0; k < n; k++)
        at[k + 1] += at[k];
    /* The pairs were collected caller by caller, so that they lie in order. */
    size_t head = 0, tail = 0;
    for (uint32_t k = 0; k < n; k++)
        if (callers[k] == 0)
            queue[tail++] = k;
    while (head < tail) {
        const uint32_t rule = queue[head++];
        for (uint32_t i = at[rule]; i < at[rule + 1]; i++)
            if (--callers[calls->list[2 * i + 1]] == 0)
                queue[tail++] = calls->list[2 * i + 1];
    }
    if (tail == n)
        return -1;
    /* Going back from what is left n times ends inside a circle. */
    uint32_t *before = queue; /* no longer needed */
    int64_t some = -1;
    for (size_t i = 0; i < calls->count; i++)
        if (callers[calls->list[2 * i]] > 0 && callers[calls->list[2 * i + 1]] > 0) {
            before[calls->list[2 * i + 1]] = calls->list[2 * i];
            some = calls->list[2 * i + 1];
        }
    for (size_t i = 0; i < n && some >= 0; i++)
        some = before[some];
    return some;
}

static Status check_left(const Net *net, const Machine *m, const uint8_t *nullable, Error *err) {
    const size_t n = net->rule_count;
    uint8_t *seen = mem_array(net->node_count, 1, MEM_TEXT);
    uint32_t *stack = mem_array(net->node_count, sizeof *stack, MEM_TEXT);
    uint32_t *work = mem_array(3 * n + 1, sizeof *work, MEM_TEXT);
    LeftCalls calls = {0};
    Status status = OK;
    if (seen == NULL || stack == NULL || work == NULL || !collect_left_calls(net, m, nullable, seen, stack, &calls)) {
        status = error_set(err, ERR_MEMORY, "no memory for the grammar");
    } else {
        const int64_t rule = find_circle(net, &calls, work, work + n, work + 2 * n + 1);
        if (rule >= 0)
            status = error_set(err, ERR_UNSUPPORTED,
                               "rule \"%s\" can begin with itself through other rules (left recursion); "
                               "write it as a repetition",
                               net->rules[rule].name != NULL ? net->rules[rule].name : "(unnamed)");
    }
    mem_free(seen);
    mem_free(stack);
    mem_free(work);
    mem_free(calls.list);
    return status;
}

/* Bytes that are in the same sets behave alike: split the one class of all bytes by every set. */
static void split_classes(const Net *net, Machine *m) {
    uint8_t class_of[256] = {0};
    uint32_t count = 1;
    for (size_t s = 0; s < net->set_count && count < 256; s++) {
        int16_t renamed[256]; /* what the members of a class that are in the set are called from now on */
        uint16_t outside[256] = {0};
        for (size_t i = 0; i < 256; i++)
            renamed[i] = -1;
        for (unsigned b = 0; b < 256; b++)
            if (!byte_set_has(&net->sets[s], b))
                outside[class_of[b]] = 1;
        for (unsigned b = 0; b < 256; b++) {
            const uint8_t c = class_of[b];
            if (!byte_set_has(&net->sets[s], b) || outside[c] == 0)
                continue;
            if (renamed[c] < 0)
                renamed[c] = (int16_t)count++;
            class_of[b] = (uint8_t)renamed[c];
            outside[renamed[c]] = 0;
        }
    }
    m->class_count = count;
    for (unsigned b = 256; b-- > 0;) {
        m->class_of[b] = class_of[b];
        m->byte_of[class_of[b]] = (uint8_t)b;
        m->bytes_in[class_of[b]]++;
    }
    for (size_t s = 0; s < net->set_count; s++)
        for (uint32_t c = 0; c < count; c++)
            if (byte_set_has(&net->sets[s], m->byte_of[c]))
                byte_set_add(&m->sets[s], c, c);
}

static bool allocate_machine(const Net *net, Machine *m) {
    const size_t n = net->node_count;
    m->edge_at = mem_array(n + 2, sizeof *m->edge_at, MEM_TEXT);
    m->edges = mem_array(net->edge_count + 1, sizeof *m->edges, MEM_TEXT);
    m->flags = mem_array(n, 1, MEM_TEXT);
    m->sets = mem_array(net->set_count + 1, sizeof *m->sets, MEM_TEXT);
    m->rule_start = mem_array(net->rule_count, sizeof *m->rule_start, MEM_TEXT);
    m->loops = mem_array(net->loop_count + 1, sizeof *m->loops, MEM_TEXT);
    m->bytes = sizeof *m + (n + 2) * 5 + net->edge_count * sizeof *m->edges + net->set_count * sizeof *m->sets +
               net->rule_count * 4 + net->loop_count * sizeof *m->loops;
    return m->edge_at && m->edges && m->flags && m->sets && m->rule_start && m->loops;
}

/* The edges that pass, by the node they leave. */
static void place_edges(const Net *net, const Reach *r, Machine *m) {
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < net->edge_count; i++) {
            const NetEdge *e = &net->edges[i];
            if (!edge_passes(r, e))
                continue;
            if (pass == 0) {
                m->edge_at[e->from + 2]++;
            } else {
                NetEdge *placed = &m->edges[m->edge_at[e->from + 1]++];
                *placed = *e;
                if (e->kind == EDGE_BYTES)
                    m->flags[e->from] |= NODE_BYTES;
                /* A loop whose rule matches nothing is passed by, when zero times are allowed. */
                if (e->kind == EDGE_LOOP && !r->reached[net->rules[net->loops[e->what].rule].start])
                    placed->kind = EDGE_FREE;
            }
        }
        if (pass == 0)
            for (size_t k = 0; k < net->node_count; k++)
                m->edge_at[k + 2] += m->edge_at[k + 1];
    }
}

static void mark_returns(const Net *net, Machine *m) {
    for (size_t i = 0; i < net->rule_count; i++)
        m->flags[net->rules[i].end] |= NODE_END;
    for (uint32_t node = 0; node < m->node_count; node++) {
        uint32_t at = node;
        for (int steps = 0; steps < 16;
             steps++) { /* chains of free edges to an end, as calls at the end of rules leave */
            const uint32_t edges = m->edge_at[at + 1] - m->edge_at[at];
            if (edges == 0 && (m->flags[at] & NODE_END)) {
                m->flags[node] |= NODE_ONLY_RETURNS;
                break;
            }
            if (edges != 1 || (m->flags[at] & NODE_END) || m->edges[m->edge_at[at]].kind != EDGE_FREE)
                break;
            at = m->edges[m->edge_at[at]].to;
        }
    }
}

static Status finish(const Net *net, uint32_t start_rule, Reach *r, uint32_t *rule_of_start, Machine *m, Error *err) {
    for (size_t i = 0; i < net->rule_count; i++)
        rule_of_start[net->rules[i].start] = (uint32_t)i + 1;
    group_edges(net, false, net->node_count, r->into_at, r->into);
    group_edges(net, true, net->rule_count, r->rule_at, r->rule_edge);
    reach(r);
    m->start = net->rules[start_rule].start;
    FAIL_IF(!r->reached[m->start], ERR_ARGUMENT, "no text at all satisfies it");
    m->node_count = net->node_count;
    place_edges(net, r, m);
    mark_returns(net, m);
    for (size_t i = 0; i < net->rule_count; i++)
        m->rule_start[i] = net->rules[i].start;
    split_classes(net, m);
    r->empty = true;
    reach(r);
    for (size_t i = 0; i < net->loop_count; i++) {
        m->loops[i] = net->loops[i];
        m->loops[i].nullable = r->reached[net->rules[net->loops[i].rule].start];
        if (!m->loops[i].nullable)
            continue;
        FAIL_IF(m->loops[i].max != NET_NO_END && m->loops[i].max > 64, ERR_LIMIT,
                "something that may be empty is repeated up to %u times", m->loops[i].max);
        m->loops[i].min = 0;
    }
    return check_left(net, m, r->reached, err);
}

Status net_finish(Net *net, uint32_t start_rule, Machine *machine, Error *err) {
    *machine = (Machine){0};
    if (net->status != OK)
        return net->status;
    const size_t n = net->node_count;
    uint32_t *rule_of_start = mem_array(n, sizeof *rule_of_start, MEM_TEXT);
    Reach r = {.net = net, .rule_of_start = rule_of_start};
    r.reached = mem_array(n, 1, MEM_TEXT);
    r.into_at = mem_array(n + 2, sizeof *r.into_at, MEM_TEXT);
    r.into = mem_array(net->edge_count + 1, sizeof *r.into, MEM_TEXT);
    r.rule_at = mem_array(net->rule_count + 2, sizeof *r.rule_at, MEM_TEXT);
    r.rule_edge = mem_array(net->edge_count + 1, sizeof *r.rule_edge, MEM_TEXT);
    r.queue = mem_array(n, sizeof *r.queue, MEM_TEXT);
    Status status;
    if (rule_of_start && r.reached && r.into_at && r.into && r.rule_at && r.rule_edge && r.queue &&
        allocate_machine(net, machine))
        status = finish(net, start_rule, &r, rule_of_start, machine, err);
    else
        status = error_set(err, ERR_MEMORY, "no memory for the grammar");
    mem_free(rule_of_start);
    mem_free(r.reached);
    mem_free(r.into_at);
    mem_free(r.into);
    mem_free(r.rule_at);
    mem_free(r.rule_edge);
    mem_free(r.queue);
    if (status != OK)
        machine_free(machine);
    return status;
}

void machine_free(Machine *machine) {
    mem_free(machine->edge_at);
    mem_free(machine->edges);
    mem_free(machine->flags);
    mem_free(machine->sets);
    mem_free(machine->rule_start);
    mem_free(machine->loops);
    *machine = (Machine){0};
}
