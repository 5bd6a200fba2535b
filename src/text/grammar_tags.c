/* grammar_tags.c - lists of texts, free text, and free text with constrained parts: calls of tools.
 *
 * Free text is read by an automaton that always knows the longest beginning of a trigger that the text ends with
 * (Aho and Corasick's); the byte that completes a trigger leads out of it, into the rest of the tag:
 *
 *     text ─"<"─▶ "<" ─"t"─▶ "<t" ... ─">"─▶ rest of begin ─▶ content ─▶ end ─▶ text
 *
 * Where the vocabulary has a special token for a part of a tag, it and its spelling do equally. */
#include "text/grammar_parts.h"
#include "text/grammar_vocab.h"

#include "base/text.h"

#include <string.h>

enum { MAX_TAGS = 1024, MAX_TRIGGER_BYTES = 4096 };

void choice_build(Net *net, uint32_t from, uint32_t to, const char *const *choices, size_t count) {
    NetText *texts = mem_array(count + 1, sizeof *texts, MEM_TEXT);
    if (texts == NULL) {
        net_fail(net, ERR_MEMORY, "no memory for a list of choices");
        return;
    }
    for (size_t i = 0; i < count; i++)
        texts[i] = (NetText){choices[i], strlen(choices[i])};
    net_choice(net, from, to, texts, count);
    mem_free(texts);
}

/* A whole special token, from its first byte on. */
static void special_build(Net *net, uint32_t from, uint32_t to) {
    const uint32_t open = net_node(net), digits = net_node(net), close = net_node(net);
    net_range(net, from, open, SPECIAL_BYTE, SPECIAL_BYTE);
    net_range(net, open, digits, '[', '[');
    net_range(net, digits, close, '0', '9');
    net_range(net, close, close, '0', '9');
    net_range(net, close, to, ']', ']');
}

void any_text_build(Net *net, uint32_t from, uint32_t to) {
    const uint32_t text = net_node(net);
    net_link(net, from, text);
    net_range(net, text, text, 0, SPECIAL_BYTE - 1);
    special_build(net, text, text);
    net_link(net, text, to);
}

void marked_text_build(Net *net, uint32_t from, uint32_t to, const char *text, size_t count,
                       const GrammarVocab *vocab) {
    size_t at = 0;
    while (at < count && net->status == OK) {
        size_t name;
        const int32_t id = vocab_special_at(vocab, text + at, count - at, &name);
        const size_t bytes = id >= 0 ? name : 1;
        const uint32_t next = net_node(net);
        net_literal(net, from, next, text + at, bytes);
        if (id >= 0) {
            char spelling[SPECIAL_BYTES];
            net_literal(net, from, next, spelling, special_spelling(id, spelling));
        }
        from = next;
        at += bytes;
    }
    net_link(net, from, to);
}

/* The automaton of free text. Node 0 is the empty beginning. */
typedef struct TriggerNode {
    uint32_t node;     /* in the net */
    uint32_t fallback; /* the longest proper ending that is a beginning too */
    uint32_t parent, first_child, sibling;
    uint8_t byte;
    int32_t trigger; /* that is complete here; -1 = none */
} TriggerNode;

typedef struct Triggers {
    Net *net;
    TriggerNode *nodes;
    size_t count, capacity;
} Triggers;

static uint32_t child_of(const Triggers *t, uint32_t at, uint8_t byte) {
    for (uint32_t c = t->nodes[at].first_child; c != 0; c = t->nodes[c].sibling)
        if (t->nodes[c].byte == byte)
            return c;
    return 0;
}

static bool add_node(Triggers *t, uint32_t parent, uint8_t byte) {
    if (t->count > MAX_TRIGGER_BYTES) {
        net_fail(t->net, ERR_LIMIT, "the triggers of the tags are too long");
        return false;
    }
    if (!mem_grow((void **)&t->nodes, &t->capacity, t->count + 1, sizeof *t->nodes, MEM_TEXT)) {
        net_fail(t->net, ERR_MEMORY, "no memory for tags");
        return false;
    }
    t->nodes[t->count] = (TriggerNode){.node = net_node(t->net), .parent = parent, .byte = byte, .trigger = -1};
    if (t->count > 0) {
        t->nodes[t->count].sibling = t->nodes[parent].first_child;
        t->nodes[parent].first_child = (uint32_t)t->count;
    }
    t->count++;
    return t->net->status == OK;
}

static void add_trigger(Triggers *t, const char *bytes, size_t count, int32_t trigger) {
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t next = child_of(t, at, (uint8_t)bytes[i]);
        if (next == 0) {
            if (!add_node(t, at, (uint8_t)bytes[i]))
                return;
            next = (uint32_t)t->count - 1;
        }
        at = next;
    }
    if (t->nodes[at].trigger < 0)
        t->nodes[at].trigger = trigger;
}

static uint32_t step(const Triggers *t, uint32_t at, uint8_t byte) {
    for (;;) {
        const uint32_t next = child_of(t, at, byte);
        if (next != 0 || at == 0)
            return next;
        at = t->nodes[at].fallback;
    }
}

/* Children after their parents: by levels, for which a queue is the simplest. */
static bool set_fallbacks(Triggers *t) {
    uint32_t *queue = mem_array(t->count, sizeof *queue, MEM_TEXT);
    if (queue == NULL) {
        net_fail(t->net, ERR_MEMORY, "no memory for tags");
        return false;
    }
    size_t head = 0, tail = 1;
    while (head < tail) {
        const uint32_t at = queue[head++];
        for (uint32_t c = t->nodes[at].first_child; c != 0; c = t->nodes[c].sibling) {
            TriggerNode *n = &t->nodes[c];
            n->fallback = at == 0 ? 0 : step(t, t->nodes[at].fallback, n->byte);
            if (n->trigger < 0) /* a shorter trigger may end inside a longer one */
                n->trigger = t->nodes[n->fallback].trigger;
            queue[tail++] = c;
        }
    }
    mem_free(queue);
    return true;
}

/* after[k]: where the text goes on once trigger k is complete. */
static void text_edges(Triggers *t, const uint32_t *after) {
    Net *net = t->net;
    for (uint32_t at = 0; at < t->count && net->status == OK; at++) {
        if (t->nodes[at].trigger >= 0)
            continue; /* left at once */
        ByteSet home = {{0}};
        for (unsigned byte = 0; byte < SPECIAL_BYTE; byte++) {
            const uint32_t next = step(t, at, (uint8_t)byte);
            if (next == 0) {
                byte_set_add(&home, byte, byte);
                continue;
            }
            const int32_t trigger = t->nodes[next].trigger;
            net_range(net, t->nodes[at].node, trigger >= 0 ? after[trigger] : t->nodes[next].node, byte, byte);
        }
        net_bytes(net, t->nodes[at].node, t->nodes[0].node, &home);
    }
}

typedef struct Tags {
    Net *net;
    const GrammarSpec *spec;
    const GrammarVocab *vocab;
    uint32_t *after;     /* by tag: the node behind its trigger */
    int32_t *trigger_of; /* by tag: the first tag with the same trigger */
} Tags;

static const char *trigger_text(const GrammarTag *tag) {
    return tag->trigger != NULL ? tag->trigger : tag->begin;
}

/* Free text, from its start to the nodes behind the triggers; it may end anywhere. */
static uint32_t build_free(Tags *g, uint32_t end) {
    Net *net = g->net;
    Triggers t = {.net = net};
    uint32_t start = 0;
    if (add_node(&t, 0, 0)) {
        start = t.nodes[0].node;
        for (size_t i = 0; i < g->spec->count; i++)
            if (g->trigger_of[i] == (int32_t)i) {
                const char *text = trigger_text(&g->spec->tags[i]);
                add_trigger(&t, text, strlen(text), (int32_t)i);
            }
        if (net->status == OK && set_fallbacks(&t)) {
            text_edges(&t, g->after);
            /* Special tokens: those that are a trigger lead there, every other one stays in the text. */
            for (uint32_t at = 0; at < t.count; at++) {
                if (t.nodes[at].trigger >= 0)
                    continue;
                if (end != 0)
                    net_link(net, t.nodes[at].node, end);
            }
        }
        for (size_t id = 0; id < g->vocab->special_count && net->status == OK; id++) {
            char spelling[SPECIAL_BYTES];
            const size_t bytes = special_spelling(g->vocab->specials[id], spelling);
            const VocabToken name = g->vocab->names[id];
            uint32_t to = start;
            for (size_t i = 0; i < g->spec->count; i++) {
                const char *text = trigger_text(&g->spec->tags[i]);
                if (g->trigger_of[i] == (int32_t)i && strlen(text) == name.count &&
                    memcmp(text, g->vocab->bytes + name.start, name.count) == 0)
                    to = g->after[i];
            }
            for (uint32_t at = 0; at < t.count; at++)
                if (t.nodes[at].trigger < 0)
                    net_literal(net, t.nodes[at].node, to, spelling, bytes);
        }
    }
    mem_free(t.nodes);
    return start;
}

static bool check_tags(Tags *g) {
    const GrammarSpec *spec = g->spec;
    if (spec->count == 0 || spec->count > MAX_TAGS) {
        net_fail(g->net, ERR_ARGUMENT, "%zu tags (1 to %d are possible)", spec->count, (int)MAX_TAGS);
        return false;
    }
    for (size_t i = 0; i < spec->count; i++) {
        const GrammarTag *tag = &spec->tags[i];
        const char *trigger = trigger_text(tag);
        if (*trigger == '\0' || !starts_with(tag->begin, trigger)) {
            net_fail(g->net, ERR_ARGUMENT, "tag %zu: its trigger must be a beginning of it, and not empty", i);
            return false;
        }
    }
    return true;
}

static void build_tags(Tags *g, uint32_t from, uint32_t to, GrammarSpace space, int depth, BuildSpec *content) {
    Net *net = g->net;
    const GrammarSpec *spec = g->spec;
    const uint32_t done = net_node(net); /* after a tag */
    for (size_t i = 0; i < spec->count; i++) {
        g->trigger_of[i] = (int32_t)i;
        for (size_t k = 0; k < i && g->trigger_of[i] == (int32_t)i; k++)
            if (strcmp(trigger_text(&spec->tags[k]), trigger_text(&spec->tags[i])) == 0)
                g->trigger_of[i] = (int32_t)k;
        g->after[i] = net_node(net);
    }
    for (size_t i = 0; i < spec->count && net->status == OK; i++) {
        const GrammarTag *tag = &spec->tags[i];
        const char *rest = tag->begin + strlen(trigger_text(tag));
        const uint32_t open = net_node(net), close = net_node(net);
        marked_text_build(net, g->after[g->trigger_of[i]], open, rest, strlen(rest), g->vocab);
        content(net, open, close, tag->content, space, g->vocab, depth);
        const char *end = tag->end != NULL ? tag->end : "";
        marked_text_build(net, close, done, end, strlen(end), g->vocab);
    }
    if (spec->bare) {
        const uint32_t start = net_node(net);
        net_link(net, from, start);
        for (size_t i = 0; i < spec->count; i++)
            if (g->trigger_of[i] == (int32_t)i) {
                const char *trigger = trigger_text(&spec->tags[i]);
                marked_text_build(net, start, g->after[i], trigger, strlen(trigger), g->vocab);
            }
        if (!spec->required)
            net_link(net, from, to);
        if (!spec->single)
            net_link(net, done, start);
        net_link(net, done, to);
        return;
    }
    net_link(net, from, build_free(g, spec->required ? 0 : to));
    if (spec->single)
        net_link(net, done, to);
    else
        net_link(net, done, build_free(g, to));
}

void tags_build(Net *net, uint32_t from, uint32_t to, const GrammarSpec *spec, GrammarSpace space,
                const GrammarVocab *vocab, int depth, BuildSpec *content) {
    Tags g = {.net = net, .spec = spec, .vocab = vocab};
    if (!check_tags(&g))
        return;
    g.after = mem_array(spec->count, sizeof *g.after, MEM_TEXT);
    g.trigger_of = mem_array(spec->count, sizeof *g.trigger_of, MEM_TEXT);
    if (g.after == NULL || g.trigger_of == NULL)
        net_fail(net, ERR_MEMORY, "no memory for tags");
    else
        build_tags(&g, from, to, space, depth, content);
    mem_free(g.after);
    mem_free(g.trigger_of);
}
