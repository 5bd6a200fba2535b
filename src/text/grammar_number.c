/* grammar_number.c - numbers between bounds, and multiples, as automata over their decimal digits.
 *
 * A number is compared with a bound digit by digit: as long as all digits were equal to the bound's, the next one is
 * limited ("tight"), once one was strictly inside it is free:
 *
 *     at least 23:   2 ─tight─▶ 3..9        3..9 ─free─▶ 0..9        three digits and more: free from the start
 *
 * The whole parts of each length have their own nodes, the fractions are shared. */
#include "text/grammar_value.h"

#include "base/text.h"

#include <string.h>

static const uint64_t whole_end = 1000000000000000000u; /* 10^18 */

/* Digits of "12.5", "1e-07", "-3": as the shortest form that names the same double. */
static Decimal parse_decimal(const char *text) {
    Decimal d = {0};
    char digits[64];
    int count = 0, point = -1, exponent = 0;
    const char *p = text;
    if (*p == '-') {
        d.negative = true;
        p++;
    }
    for (; *p != '\0' && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.')
            point = count;
        else if (count < (int)sizeof digits)
            digits[count++] = (char)(*p - '0');
    }
    if (*p != '\0') {
        int64_t e = 0;
        const char *number = p[1] == '+' ? p + 2 : p + 1;
        if (parse_int64(number, &e))
            exponent = (int)MAX(MIN(e, 400), -400);
    }
    if (point < 0)
        point = count;
    point += exponent; /* the digits before it are the whole part */
    for (int i = 0; i < MAX(point, 0) && !d.huge; i++) {
        d.whole = d.whole * 10 + (i < count ? (uint64_t)digits[i] : 0);
        d.huge = d.whole >= whole_end;
    }
    for (int i = MAX(point, 0); i < count; i++) {
        const int place = i - point;
        if (place < DECIMAL_FRACTION)
            d.fraction[place] = (uint8_t)digits[i];
        else if (digits[i] != 0)
            d.inexact = true;
    }
    return d;
}

bool decimal_of(const json_t *number, Decimal *decimal) {
    Text text = {0};
    if (json_is_integer(number))
        text_append_format(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(number));
    else
        text_append_double(&text, json_real_value(number));
    const bool done = !text.failed;
    if (done)
        *decimal = parse_decimal(text.bytes);
    text_free(&text);
    return done;
}

/* Magnitudes from low to high, without sign. */
typedef struct Digits {
    Net *net;
    uint32_t to;
    const Decimal *low, *high; /* NULL = none */
    bool open_low, open_high, integer;
    uint32_t fraction[DECIMAL_FRACTION + 1][2]
                     [2]; /* the node after so many digits, tight below, tight above; 0 = none */
} Digits;

static bool rest_is_zero(const Decimal *d, int from) {
    for (int i = from; i < DECIMAL_FRACTION; i++)
        if (d->fraction[i] != 0)
            return false;
    return true;
}

/* May the number end after `places` digits of its fraction? */
static bool may_end(const Digits *g, int places, bool tight_low, bool tight_high) {
    if (tight_low && (!rest_is_zero(g->low, places) || g->open_low))
        return false;
    return !(tight_high && rest_is_zero(g->high, places) && g->open_high);
}

static uint32_t fraction_node(Digits *g, int places, bool tight_low, bool tight_high) {
    uint32_t *slot = &g->fraction[places][tight_low][tight_high];
    if (*slot != 0 || g->net->status != OK)
        return *slot;
    const uint32_t node = *slot = net_node(g->net);
    if (places > 0 && may_end(g, places, tight_low, tight_high))
        net_link(g->net, node, g->to);
    if (places == DECIMAL_FRACTION)
        return node;
    const unsigned first = tight_low ? g->low->fraction[places] : 0, last = tight_high ? g->high->fraction[places] : 9;
    for (unsigned digit = first; digit <= last && g->net->status == OK; digit++)
        net_range(g->net, node, fraction_node(g, places + 1, tight_low && digit == first, tight_high && digit == last),
                  '0' + digit, '0' + digit);
    return node;
}

static void end_of_whole(Digits *g, uint32_t node, bool tight_low, bool tight_high) {
    if (may_end(g, 0, tight_low, tight_high))
        net_link(g->net, node, g->to);
    if (!g->integer)
        net_range(g->net, node, fraction_node(g, 0, tight_low, tight_high), '.', '.');
}

static int count_digits(uint64_t n) {
    int count = 1;
    for (; n >= 10; n /= 10)
        count++;
    return count;
}

static unsigned digit_of(uint64_t n, int length, int place) {
    for (int i = place + 1; i < length; i++)
        n /= 10;
    return (unsigned)(n % 10);
}

/* Whole parts of exactly so many digits. */
static void build_length(Digits *g, uint32_t from, int length) {
    const int low_digits = g->low != NULL ? count_digits(g->low->whole) : 0;
    const int high_digits = g->high != NULL ? count_digits(g->high->whole) : DECIMAL_WHOLE + 1;
    if (length < low_digits || length > high_digits)
        return;
    uint32_t nodes[2][2] = {{0}}; /* by tightness, at the present place */
    const bool bound_low = length == low_digits, bound_high = length == high_digits;
    uint32_t first = net_node(g->net);
    net_link(g->net, from, first);
    nodes[bound_low][bound_high] = first;
    for (int place = 0; place < length; place++) {
        uint32_t next[2][2] = {{0}};
        for (int tight = 0; tight < 4; tight++) {
            const bool tight_low = tight & 1, tight_high = tight >> 1;
            const uint32_t node = nodes[tight_low][tight_high];
            if (node == 0)
                continue;
            const unsigned zero = place == 0 && length > 1 ? 1 : 0; /* no leading zeros */
            const unsigned least = tight_low ? digit_of(g->low->whole, length, place) : zero;
            const unsigned most = tight_high ? digit_of(g->high->whole, length, place) : 9;
            for (unsigned digit = least; digit <= most; digit++) {
                uint32_t *to = &next[tight_low && digit == least][tight_high && digit == most];
                if (*to == 0)
                    *to = net_node(g->net);
                if (g->net->status != OK)
                    return;
                net_range(g->net, node, *to, '0' + digit, '0' + digit);
            }
        }
        memcpy(nodes, next, sizeof nodes);
    }
    for (int tight = 0; tight < 4; tight++)
        if (nodes[tight & 1][tight >> 1] != 0)
            end_of_whole(g, nodes[tight & 1][tight >> 1], tight & 1, tight >> 1);
}

static bool is_zero(const Decimal *d) {
    return !d->huge && d->whole == 0 && rest_is_zero(d, 0) && !d->inexact;
}

static void build_magnitudes(Net *net, uint32_t from, uint32_t to, const NumberRange *r, bool negative) {
    /* For the numbers below zero the bounds change places. */
    const bool has_near = negative ? r->has_high : r->has_low, has_far = negative ? r->has_low : r->has_high;
    const Decimal *near = negative ? &r->high : &r->low, *far = negative ? &r->low : &r->high;
    Digits g = {.net = net, .to = to, .integer = r->integer};
    static const Decimal zero;
    if (has_far && (far->negative != negative || is_zero(far)) && !(is_zero(far) && !negative))
        return; /* the far bound lies on the other side of zero */
    if (has_near && near->negative == negative && !is_zero(near)) {
        g.low = near;
        g.open_low = negative ? r->open_high : r->open_low;
    } else {
        g.low = &zero; /* zero itself belongs to the numbers without a sign */
        g.open_low = negative || (has_near && is_zero(near) && r->open_low);
    }
    if (has_far && !far->huge) {
        g.high = far;
        g.open_high = negative ? r->open_low : r->open_high;
    }
    if (g.low->huge)
        return;
    if (g.high != NULL) { /* an empty range: the digits would cross */
        const int order = g.low->whole != g.high->whole ? (g.low->whole < g.high->whole ? -1 : 1)
                                                        : memcmp(g.low->fraction, g.high->fraction, DECIMAL_FRACTION);
        if (order > 0)
            return;
    }
    for (int length = 1; length <= DECIMAL_WHOLE && net->status == OK; length++)
        build_length(&g, from, length);
}

static void build_range(Net *net, uint32_t from, uint32_t to, const NumberRange *r) {
    build_magnitudes(net, from, to, r, false);
    const uint32_t minus = net_node(net);
    net_range(net, from, minus, '-', '-');
    build_magnitudes(net, minus, to, r, true);
}

/* Multiples of p / 10^places: all that was read so far, modulo p. */
enum { MAX_REMAINDERS = 8000 };

static Status build_multiples(Net *net, uint32_t from, uint32_t to, uint32_t p, int places) {
    const uint32_t first = net->node_count;
    for (uint32_t i = 0; i < p * (uint32_t)(places + 1); i++) /* [digits of the fraction][remainder] */
        net_node(net);
    uint32_t scale = 1 % p; /* of a whole number */
    for (int i = 0; i < places; i++)
        scale = (uint32_t)((uint64_t)scale * 10 % p);
    const uint32_t start = net_node(net), minus = net_node(net);
    net_link(net, from, start);
    net_range(net, from, minus, '-', '-');
    net_link(net, minus, start);
    for (uint32_t digit = 0; digit <= 9; digit++)
        net_range(net, start, first + digit % p, '0' + digit, '0' + digit);
    for (int place = 0; place <= places; place++) {
        for (uint32_t r = 0; r < p && net->status == OK; r++) {
            const uint32_t node = first + (uint32_t)place * p + r;
            if ((uint64_t)r * scale % p == 0)
                net_link(net, node, to);
            const uint32_t row = first + (uint32_t)place * p, below = row + p;
            if (place == 0) {
                for (uint32_t digit = 0; digit <= 9; digit++)
                    net_range(net, node, row + (r * 10 + digit) % p, '0' + digit, '0' + digit);
            }
            if (place == places)
                continue;
            uint32_t point = node;
            if (place == 0) {
                point = net_node(net);
                net_range(net, node, point, '.', '.');
            }
            for (uint32_t digit = 0; digit <= 9; digit++)
                net_range(net, point, below + (r * 10 + digit) % p, '0' + digit, '0' + digit);
        }
        /* One digit more was read: the whole is ten times nearer to its full length. */
        scale = 1 % p;
        for (int i = place + 1; i < places; i++)
            scale = (uint32_t)((uint64_t)scale * 10 % p);
    }
    return net->status;
}

static Status multiples_dfa(const NumberRange *r, Dfa *dfa, Error *err) {
    *dfa = (Dfa){0};
    Decimal m;
    FAIL_IF(!decimal_of(r->multiple, &m), ERR_MEMORY, "no memory for a number");
    int places = DECIMAL_FRACTION;
    while (places > 0 && m.fraction[places - 1] == 0)
        places--;
    uint64_t p = m.whole;
    for (int i = 0; i < places && p <= MAX_REMAINDERS; i++)
        p = p * 10 + m.fraction[i];
    FAIL_IF(m.negative || m.huge || m.inexact || p == 0 || p * (uint64_t)(places + 1) > MAX_REMAINDERS, ERR_UNSUPPORTED,
            "multipleOf is only supported for small positive numbers");
    Net net;
    net_init(&net, err);
    const uint32_t rule = net_rule(&net, NULL);
    Status status = net.status;
    if (status == OK)
        status = build_multiples(&net, net.rules[rule].start, net.rules[rule].end, (uint32_t)p, places);
    if (status == OK)
        status = dfa_of_net(&net, rule, dfa, err);
    net_free(&net);
    return status;
}

static Status range_dfa(const NumberRange *r, Dfa *dfa, Error *err) {
    *dfa = (Dfa){0};
    Net net;
    net_init(&net, err);
    const uint32_t rule = net_rule(&net, NULL);
    if (net.status == OK)
        build_range(&net, net.rules[rule].start, net.rules[rule].end, r);
    Status status = net.status;
    if (status == OK)
        status = dfa_of_net(&net, rule, dfa, err);
    net_free(&net);
    return status;
}

void number_build(ValueRules *j, uint32_t from, uint32_t to, const NumberRange *range) {
    Net *net = j->net;
    if (!range->has_low && !range->has_high && range->multiple == NULL) {
        value_number(j, from, to, range->integer);
        return;
    }
    if ((range->has_low && range->low.inexact && !range->low.huge) ||
        (range->has_high && range->high.inexact && !range->high.huge)) {
        net_fail(net, ERR_UNSUPPORTED, "a bound with more than %d digits after the point", (int)DECIMAL_FRACTION);
        return;
    }
    if (range->multiple == NULL) {
        build_range(net, from, to, range);
        return;
    }
    Dfa bounds, multiples;
    Status status = range_dfa(range, &bounds, net->err);
    if (status == OK) {
        status = multiples_dfa(range, &multiples, net->err);
        if (status == OK)
            status = dfa_and(&bounds, &multiples, false, net->err);
        dfa_free(&multiples);
    }
    if (status == OK)
        dfa_build(net, from, to, &bounds, false);
    else if (net->status == OK)
        net->status = status;
    dfa_free(&bounds);
}
