/* grammar_dfa.c - languages of strings that are combined: patterns with lengths, keys that are not among the named
 * ones. A net is run through all its states by the recogniser itself; products of two automata are pairs of states. */
#include "text/grammar_expr.h"
#include "text/grammar_steps.h"

#include <string.h>

void dfa_free(Dfa *dfa) {
    mem_free(dfa->next);
    mem_free(dfa->accepts);
    *dfa = (Dfa){0};
}

static Status too_large(Error *err) {
    return error_set(err, ERR_LIMIT, "a pattern, or several of them together, need more than %d states",
                     (int)DFA_MAX_STATES);
}

static Status allocate(Dfa *dfa, uint32_t states, uint32_t classes, Error *err) {
    dfa->state_count = states;
    dfa->class_count = classes;
    dfa->next = mem_array((size_t)states * classes, sizeof *dfa->next, MEM_TEXT);
    dfa->accepts = mem_array(states, 1, MEM_TEXT);
    if (dfa->next != NULL && dfa->accepts != NULL)
        return OK;
    dfa_free(dfa);
    return error_set(err, ERR_MEMORY, "no memory for an automaton of %u states", states);
}

/* The states of the Steps, in order of their discovery, become 1, 2, ... */
static Status all_states(Steps *s, Dfa *dfa, Error *err) {
    const Machine *m = s->machine;
    uint32_t at = steps_start(s);
    if (at == STATE_NONE)
        return s->status;
    /* The start is the first state that is made, number 2; dead is 1. */
    for (uint32_t state = 2; state < s->state_count; state++) {
        if (s->state_count > DFA_MAX_STATES)
            return too_large(err);
        for (uint32_t c = 0; c < m->class_count; c++)
            if (steps_class(s, state, c) == STATE_NONE)
                return s->status;
    }
    TRY(allocate(dfa, (uint32_t)s->state_count - 1, m->class_count, err));
    memcpy(dfa->class_of, m->class_of, sizeof dfa->class_of);
    for (uint32_t state = 2; state < s->state_count; state++) {
        dfa->accepts[state - 1] = s->states[state].accepts;
        for (uint32_t c = 0; c < m->class_count; c++)
            dfa->next[(size_t)(state - 1) * m->class_count + c] = s->states[state].row[c] - 1;
    }
    return OK;
}

Status dfa_of_net(Net *net, uint32_t rule, Dfa *dfa, Error *err) {
    *dfa = (Dfa){0};
    Machine machine;
    Error local = {0};
    Error *const outer = net->err;
    net->err = &local;
    const Status status = net_finish(net, rule, &machine, &local);
    net->err = outer;
    if (status == ERR_ARGUMENT) /* nothing matches: a start that leads nowhere */
        return allocate(dfa, 2, 1, err);
    if (status != OK)
        return error_set(err, status, "%s", local.text);
    Steps steps;
    Status done = steps_init(&steps, &machine, 64, err);
    if (done == OK) {
        done = all_states(&steps, dfa, err);
        steps_free(&steps);
    }
    machine_free(&machine);
    return done;
}

/* The marks become places: the text begins after MARK_BEGIN, and ends where MARK_END would lead to an end. */
static void take_marks_away(Dfa *dfa) {
    const uint32_t classes = dfa->class_count;
    const uint32_t begin = dfa->class_of[MARK_BEGIN], end = dfa->class_of[MARK_END];
    const uint32_t start = dfa->next[classes + begin];
    for (uint32_t s = 1; s < dfa->state_count; s++) {
        const uint32_t ended = dfa->next[(size_t)s * classes + end];
        /* Accepting is now written as 2, so that what was accepting for the marked text is still known. */
        if (dfa->accepts[ended] & 1)
            dfa->accepts[s] |= 2;
    }
    for (uint32_t s = 0; s < dfa->state_count; s++) {
        dfa->accepts[s] >>= 1;
        dfa->next[(size_t)s * classes + end] = 0;
        dfa->next[(size_t)s * classes + begin] = 0;
    }
    /* State 1 takes the place of the new start; nothing leads back to the old one, which stands before all bytes. */
    memcpy(&dfa->next[classes], &dfa->next[(size_t)start * classes], classes * sizeof *dfa->next);
    dfa->accepts[1] = dfa->accepts[start];
}

static void any_char_build(Net *net, uint32_t from, uint32_t to) {
    CharSet all = {0};
    charset_add(net, &all, 0, CHAR_LAST);
    charset_build(net, from, to, &all);
}

/* One node that any characters lead back to. */
static uint32_t any_text_node(Net *net) {
    const uint32_t node = net_node(net), after = net_node(net);
    any_char_build(net, node, after);
    net_link(net, after, node);
    return node;
}

/* After the first byte no text begins: what waits for MARK_BEGIN there would only make states. */
static void forget_begins(Expr *e) {
    if (e->kind == EXPR_BEGIN)
        e->kind = EXPR_CHARS; /* of no characters */
    for (Expr *part = e->first; part != NULL; part = part->next)
        forget_begins(part);
}

Status dfa_of_regex(const char *text, size_t count, bool whole, Dfa *dfa, Error *err) {
    *dfa = (Dfa){0};
    Net net;
    net_init(&net, err);
    const uint32_t rule = net_rule(&net, NULL);
    Expr *expr = regex_parse(&net, text, count, false, false);
    if (net.status == OK) {
        /* MARK_BEGIN any* regex any* MARK_END, where the regex may itself begin with the one mark and end with the
         * other. Each mark comes once, so that both have a class of their own in every net. */
        const uint32_t from = net.rules[rule].start, to = net.rules[rule].end;
        const uint32_t start = net_node(&net), end = net_node(&net);
        const uint32_t before = net_node(&net);
        const uint32_t after = whole ? net_node(&net) : any_text_node(&net);
        net_link(&net, from, start);
        net_range(&net, from, before, MARK_BEGIN, MARK_BEGIN);
        net_link(&net, before, start);
        expr_build(&net, start, end, expr);
        if (!whole) { /* the regex found later in the text */
            const uint32_t skipped = any_text_node(&net), later = net_node(&net);
            const uint32_t first = net_node(&net);
            any_char_build(&net, first, skipped);
            net_link(&net, before, first);
            net_link(&net, skipped, later);
            forget_begins(expr);
            expr_build(&net, later, end, expr);
        }
        net_link(&net, end, after);
        net_range(&net, after, to, MARK_END, MARK_END);
        net_link(&net, end, to);
    }
    Status status = net.status;
    if (status == OK)
        status = dfa_of_net(&net, rule, dfa, err);
    net_free(&net);
    if (status == OK && dfa->class_count > 1)
        take_marks_away(dfa);
    return status;
}

Status dfa_of_length(uint32_t min, uint32_t max, Dfa *dfa, Error *err) {
    *dfa = (Dfa){0};
    Net net;
    net_init(&net, err);
    const uint32_t rule = net_rule(&net, NULL), one = net_rule(&net, NULL);
    if (net.status == OK) {
        any_char_build(&net, net.rules[one].start, net.rules[one].end);
        net_loop(&net, net.rules[rule].start, net.rules[rule].end, one, min, max);
    }
    Status status = net.status;
    if (status == OK)
        status = dfa_of_net(&net, rule, dfa, err);
    net_free(&net);
    return status;
}

Status dfa_of_texts(NetText *texts, size_t count, Dfa *dfa, Error *err) {
    *dfa = (Dfa){0};
    Net net;
    net_init(&net, err);
    const uint32_t rule = net_rule(&net, NULL);
    if (net.status == OK)
        net_choice(&net, net.rules[rule].start, net.rules[rule].end, texts, count);
    Status status = net.status;
    if (status == OK)
        status = dfa_of_net(&net, rule, dfa, err);
    net_free(&net);
    return status;
}

/* Bytes that both automata treat alike. */
static uint32_t joint_classes(const Dfa *a, const Dfa *b, uint8_t class_of[256], uint8_t byte_of[256]) {
    uint32_t count = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint32_t c = 0;
        while (c < count &&
               (a->class_of[byte_of[c]] != a->class_of[byte] || b->class_of[byte_of[c]] != b->class_of[byte]))
            c++;
        if (c == count)
            byte_of[count++] = (uint8_t)byte;
        class_of[byte] = (uint8_t)c;
    }
    return count;
}

typedef struct Pairs {
    Map map;
    uint64_t *list; /* a's state << 32 | b's; the place is the number - 1 */
    size_t count;
} Pairs;

/* The number of a pair, 0 = no room or no memory. The list does not move: the map's keys are in it. */
static uint32_t pair_number(Pairs *p, uint32_t a, uint32_t b) {
    const uint64_t pair = (uint64_t)a << 32 | b;
    const int64_t *known = map_find(&p->map, (const char *)&pair, sizeof pair);
    if (known != NULL)
        return (uint32_t)*known;
    if (p->count >= DFA_MAX_STATES)
        return 0;
    p->list[p->count] = pair;
    if (!map_put(&p->map, (const char *)&p->list[p->count], sizeof pair, (int64_t)p->count + 1))
        return 0;
    return (uint32_t)++p->count;
}

static Status product(const Dfa *a, const Dfa *b, bool negate, Pairs *p, uint32_t **next, Dfa *out, Error *err) {
    uint8_t byte_of[256], class_of[256];
    const uint32_t classes = joint_classes(a, b, class_of, byte_of);
    size_t capacity = 0;
    p->list = mem_array(DFA_MAX_STATES, sizeof *p->list, MEM_TEXT);
    FAIL_IF(p->list == NULL || pair_number(p, 1, 1) == 0, ERR_MEMORY, "no memory for an automaton");
    for (size_t i = 0; i < p->count; i++) {
        const uint32_t x = (uint32_t)(p->list[i] >> 32), y = (uint32_t)p->list[i];
        FAIL_IF(!mem_grow((void **)next, &capacity, (i + 1) * classes, sizeof **next, MEM_TEXT), ERR_MEMORY,
                "no memory for an automaton");
        for (uint32_t c = 0; c < classes; c++) {
            const uint32_t x2 = a->next[(size_t)x * a->class_count + a->class_of[byte_of[c]]];
            const uint32_t y2 = b->next[(size_t)y * b->class_count + b->class_of[byte_of[c]]];
            uint32_t number = 0;
            if (x2 != 0 && (y2 != 0 || negate)) {
                number = pair_number(p, x2, y2);
                if (number == 0)
                    return p->count >= DFA_MAX_STATES ? too_large(err)
                                                      : error_set(err, ERR_MEMORY, "no memory for an automaton");
            }
            (*next)[i * classes + c] = number;
        }
    }
    TRY(allocate(out, (uint32_t)p->count + 1, classes, err));
    memcpy(out->class_of, class_of, sizeof class_of);
    for (size_t i = 0; i < p->count; i++)
        out->accepts[i + 1] = a->accepts[p->list[i] >> 32] && (b->accepts[(uint32_t)p->list[i]] != 0) != negate;
    memcpy(out->next + classes, *next, p->count * classes * sizeof *out->next);
    return OK;
}

Status dfa_and(Dfa *dfa, const Dfa *other, bool negate, Error *err) {
    Pairs pairs = {0};
    uint32_t *next = NULL;
    Dfa result = {0};
    const Status status = product(dfa, other, negate, &pairs, &next, &result, err);
    map_free(&pairs.map);
    mem_free(pairs.list);
    mem_free(next);
    if (status == OK) {
        dfa_free(dfa);
        *dfa = result;
    }
    return status;
}

bool dfa_empty(const Dfa *dfa) {
    for (uint32_t s = 1; s < dfa->state_count; s++)
        if (dfa->accepts[s])
            return false;
    return true;
}

bool dfa_matches(const Dfa *dfa, const char *bytes, size_t count) {
    uint32_t state = 1;
    for (size_t i = 0; i < count && state != 0; i++)
        state = dfa->next[(size_t)state * dfa->class_count + dfa->class_of[(uint8_t)bytes[i]]];
    return dfa->accepts[state] != 0;
}

/* A byte that a JSON string must escape, from the node after its backslash. */
static void escape_build(Net *net, uint32_t from, uint32_t to, unsigned byte) {
    static const char short_forms[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    for (size_t i = 0; i + 1 < sizeof short_forms; i += 2)
        if ((unsigned char)short_forms[i] == byte) {
            net_range(net, from, to, (unsigned char)short_forms[i + 1], (unsigned char)short_forms[i + 1]);
            return;
        }
    static const char digits[] = "0123456789abcdef";
    const char form[] = {'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
    net_literal(net, from, to, form, sizeof form);
}

static bool must_escape(unsigned byte) {
    return byte < 0x20 || byte == '"' || byte == '\\';
}

/* The edges of one state: a set for each state it leads to. */
static void state_build(Net *net, uint32_t first, uint32_t state, const Dfa *dfa, bool escape, uint8_t *done) {
    const uint32_t *row = &dfa->next[(size_t)state * dfa->class_count];
    uint32_t backslash = 0;
    memset(done, 0, dfa->class_count);
    for (uint32_t c = 0; c < dfa->class_count && net->status == OK; c++) {
        if (row[c] == 0 || done[c])
            continue;
        for (uint32_t k = c; k < dfa->class_count; k++)
            done[k] = done[k] || row[k] == row[c];
        ByteSet set = {{0}};
        const uint32_t to = first + row[c] - 1;
        for (unsigned byte = 0; byte < 256; byte++) {
            if (row[dfa->class_of[byte]] != row[c])
                continue;
            if (!escape || !must_escape(byte)) {
                byte_set_add(&set, byte, byte);
                continue;
            }
            if (backslash == 0) {
                backslash = net_node(net);
                net_range(net, first + state - 1, backslash, '\\', '\\');
            }
            escape_build(net, backslash, to, byte);
        }
        net_bytes(net, first + state - 1, to, &set);
    }
}

void dfa_build(Net *net, uint32_t from, uint32_t to, const Dfa *dfa, bool escape) {
    uint8_t done[256];
    const uint32_t first = net->node_count;
    for (uint32_t s = 1; s < dfa->state_count; s++)
        net_node(net);
    net_link(net, from, first);
    for (uint32_t s = 1; s < dfa->state_count && net->status == OK; s++) {
        state_build(net, first, s, dfa, escape, done);
        if (dfa->accepts[s])
            net_link(net, first + s - 1, to);
    }
}

/* Anchors inside a pattern are what an automaton of its own understands. */
void regex_build(Net *net, uint32_t from, uint32_t to, const char *text, size_t count) {
    Expr *e = regex_parse(net, text, count, false, false);
    if (e == NULL)
        return;
    regex_drop_edges(e);
    if (!expr_has_anchor(e)) {
        expr_build(net, from, to, e);
        return;
    }
    Dfa dfa;
    if (dfa_of_regex(text, count, true, &dfa, net->err) == OK)
        dfa_build(net, from, to, &dfa, false);
    else
        net->status = net->err->status;
    dfa_free(&dfa);
}
