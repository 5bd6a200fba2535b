/* draft.c - see draft.h. */
#include "engine/draft.h"

#include "base/mem.h"

#include <string.h>

enum { LONGEST_MATCH = 4, SHORTEST_MATCH = 2, LOOK_BACK = 8192, QUIET_STEPS = 32 };

/* The latest earlier place where the last `match` tokens stand; -1 when there is none. Returns where they end. */
static int find_earlier(const int32_t *tokens, int n, int match) {
    const int32_t *tail = tokens + n - match;
    const int first = n > LOOK_BACK ? n - LOOK_BACK : 0;
    for (int at = n - match - 1; at >= first; at--)
        if (tokens[at] == tail[0] && memcmp(tokens + at, tail, (size_t)match * sizeof *tokens) == 0)
            return at + match;
    return -1;
}

/* How many guesses give the most tokens per time, by what is known of their luck and their cost. */
static int best_count(const DraftCosts *c, int most) {
    const double luck = c->luck > 0 ? c->luck : 0.5;
    const double one = c->step_ns[0];
    int best = 0;
    double best_rate = 1, expected = 1, chance = 1;
    for (int k = 1; k <= most; k++) {
        chance *= luck;
        expected += chance;
        /* Not measured yet: assume that each row more costs a tenth. */
        const double cost = c->step_ns[k] > 0 && one > 0 ? c->step_ns[k] / one : 1 + 0.1 * k;
        if (expected / cost > best_rate * 1.02) {
            best_rate = expected / cost;
            best = k;
        }
    }
    return best;
}

int draft_from_text(DraftCosts *c, int32_t **tokens, size_t *capacity, int n, int most) {
    if (most > DRAFT_MAX)
        most = DRAFT_MAX;
    if (most < 1 || n < 2 * SHORTEST_MATCH)
        return 0;
    if (c->quiet > 0) {
        c->quiet--;
        return 0;
    }
    int from = -1;
    for (int match = LONGEST_MATCH; match >= SHORTEST_MATCH && from < 0; match--)
        if (n > match)
            from = find_earlier(*tokens, n, match);
    if (from < 0)
        return 0;
    int count = best_count(c, most);
    if (count == 0) {
        c->quiet = QUIET_STEPS;
        c->luck = c->luck * 0.5 + 0.25; /* texts change: try again as if nothing were known */
        return 0;
    }
    if (count > n - from)
        count = n - from;
    if (!mem_grow((void **)tokens, capacity, (size_t)n + DRAFT_MAX + 1, sizeof **tokens, MEM_MISC))
        return 0;
    memcpy(*tokens + n, *tokens + from, (size_t)count * sizeof **tokens);
    return count;
}

void draft_learn_cost(DraftCosts *c, int drafts, double ns) {
    if (drafts > DRAFT_MAX)
        return;
    double *known = &c->step_ns[drafts];
    *known = *known == 0 ? ns : *known + 0.1 * (ns - *known);
}

void draft_learn_luck(DraftCosts *c, int drafts, int right) {
    /* The first wrong guess ends the row: what came after it says nothing. */
    const int tried = right < drafts ? right + 1 : drafts;
    for (int i = 0; i < tried; i++)
        c->luck += 0.1 * ((i < right ? 1.0 : 0.0) - c->luck);
}
