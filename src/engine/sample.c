/* sample.c - see sample.h.
 *
 * A vocabulary has up to 260,000 entries and a step has microseconds. Where nothing but min-p cuts, one is drawn from all
 * of them without an order (share.h). Else candidates are the best few, kept in a heap whose smallest member most logits
 * fail to beat; for wide nuclei more are tried. */
#include "engine/sample.h"

#include "base/mem.h"
#include "engine/share.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Candidate {
    float logit;
    int32_t token;
    float p;
} Candidate;

struct Sampler {
    SampleSpec spec;
    int vocab;
    uint64_t draws;
    float *copy;            /* of the logits, changed by penalties */
    float *logits;          /* the copy, or the caller's own when nothing changes them */
    Candidate *candidates;  /* [vocab] */
    uint16_t *counts;       /* [vocab], zero between picks */
    float *blocks;          /* sums of shares */
};

enum { FIRST_TRY = 512 }; /* candidates before a nucleus is known to be wider */

SampleSpec sample_defaults(void) {
    return (SampleSpec){.temperature = 0.8f, .top_p = 1, .typical_p = 1, .repeat_penalty = 1, .penalty_last = 64,
                        .dry_base = 1.75f, .dry_allowed = 2, .dry_last = -1, .xtc_threshold = 0.1f};
}

Status sampler_open(SampleSpec spec, int vocab, Sampler **out, Error *err) {
    *out = NULL;
    FAIL_IF(!(spec.temperature >= 0) || spec.temperature > 100, ERR_ARGUMENT, "temperature %g: 0 to 100 is possible",
            (double)spec.temperature);
    FAIL_IF(!(spec.top_p > 0) || spec.top_p > 1, ERR_ARGUMENT, "top_p %g: more than 0, at most 1 is possible", (double)spec.top_p);
    FAIL_IF(!(spec.typical_p > 0) || spec.typical_p > 1, ERR_ARGUMENT, "typical_p %g: more than 0, at most 1 is possible",
            (double)spec.typical_p);
    FAIL_IF(!(spec.min_p >= 0) || spec.min_p > 1, ERR_ARGUMENT, "min_p %g: 0 to 1 is possible", (double)spec.min_p);
    FAIL_IF(spec.top_k < 0, ERR_ARGUMENT, "top_k %d: 0 (off) or more is possible", spec.top_k);
    FAIL_IF(!(spec.repeat_penalty > 0) || spec.repeat_penalty > 1000, ERR_ARGUMENT, "repeat penalty %g: more than 0 is possible",
            (double)spec.repeat_penalty);
    FAIL_IF(!isfinite(spec.presence_penalty) || !isfinite(spec.frequency_penalty) || !isfinite(spec.dry_multiplier) ||
                !isfinite(spec.dry_base),
            ERR_ARGUMENT, "a penalty is not a number");
    Sampler *s = mem_zalloc(sizeof *s, MEM_MISC);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for a sampler");
    s->spec = spec;
    s->vocab = vocab;
    s->copy = mem_array((size_t)vocab, sizeof *s->copy, MEM_MISC);
    s->candidates = mem_array((size_t)vocab, sizeof *s->candidates, MEM_MISC);
    s->counts = mem_array((size_t)vocab, sizeof *s->counts, MEM_MISC);
    s->blocks = mem_array((size_t)(vocab + SHARE_BLOCK - 1) / SHARE_BLOCK, sizeof *s->blocks, MEM_MISC);
    if (s->copy == NULL || s->candidates == NULL || s->counts == NULL || s->blocks == NULL) {
        sampler_close(s);
        return error_set(err, ERR_MEMORY, "no memory for a sampler");
    }
    *out = s;
    return OK;
}

void sampler_close(Sampler *s) {
    if (s == NULL)
        return;
    mem_free(s->copy);
    mem_free(s->candidates);
    mem_free(s->counts);
    mem_free(s->blocks);
    mem_free(s);
}

/* ---- penalties --------------------------------------------------------------------------------------------------------- */

static bool is_token(const Sampler *s, int32_t t) {
    return t >= 0 && t < s->vocab;
}

static void penalise_repeats(Sampler *s, const int32_t *history, int n, int prompt) {
    const SampleSpec *spec = &s->spec;
    if (spec->repeat_penalty == 1 && spec->presence_penalty == 0 && spec->frequency_penalty == 0)
        return;
    const int from = spec->penalty_last < 0 || spec->penalty_last > n ? 0 : n - spec->penalty_last;
    for (int i = from; i < n; i++) {
        const int32_t t = history[i];
        if (!is_token(s, t))
            continue;
        if (spec->repeat_penalty != 1 && (s->counts[t] & 0x8000) == 0) {
            s->logits[t] = s->logits[t] > 0 ? s->logits[t] / spec->repeat_penalty : s->logits[t] * spec->repeat_penalty;
            s->counts[t] |= 0x8000;
        }
        if (i >= prompt && (s->counts[t] & 0x7FFF) < 0x7FFF)
            s->counts[t]++;
    }
    for (int i = from; i < n; i++) {
        const int32_t t = history[i];
        if (!is_token(s, t) || s->counts[t] == 0)
            continue;
        const int count = s->counts[t] & 0x7FFF;
        if (count > 0)
            s->logits[t] -= spec->presence_penalty + spec->frequency_penalty * (float)count;
        s->counts[t] = 0;
    }
}

static bool is_breaker(const SampleSpec *spec, int32_t t) {
    for (int i = 0; i < spec->n_dry_breaker; i++)
        if (spec->dry_breakers[i] == t)
            return true;
    return false;
}

/* For each earlier place where the last tokens occurred already: the token that followed there loses by the length of
 * the match. counts[] keeps the longest match per token. */
static void penalise_dry(Sampler *s, const int32_t *history, int n) {
    const SampleSpec *spec = &s->spec;
    enum { LONGEST = 64 };
    if (spec->dry_multiplier == 0 || n < 2 || is_breaker(spec, history[n - 1]))
        return;
    const int from = spec->dry_last < 0 || spec->dry_last > n ? 0 : n - spec->dry_last;
    for (int i = n - 2; i >= from; i--) {
        if (history[i] != history[n - 1])
            continue;
        int length = 1;
        while (length < LONGEST && i - length >= from && history[i - length] == history[n - 1 - length] &&
               !is_breaker(spec, history[i - length]))
            length++;
        const int32_t next = history[i + 1];
        if (is_token(s, next) && length > s->counts[next])
            s->counts[next] = (uint16_t)length;
    }
    for (int i = from; i < n; i++) {
        const int32_t t = history[i];
        if (!is_token(s, t) || s->counts[t] == 0)
            continue;
        if (s->counts[t] >= spec->dry_allowed)
            s->logits[t] -= spec->dry_multiplier * powf(spec->dry_base, (float)(s->counts[t] - spec->dry_allowed));
        s->counts[t] = 0;
    }
}

/* ---- candidates -------------------------------------------------------------------------------------------------------- */

/* Better: the higher logit, and the lower token among equals, so that the order is total. */
static bool better(const Candidate *a, const Candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static int compare(const void *a, const void *b) {
    return better(a, b) ? -1 : 1;
}

static void sift_down(Candidate *heap, int n, int at) { /* the worst is on top */
    for (;;) {
        int worst = at;
        for (int child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++)
            if (better(&heap[worst], &heap[child]))
                worst = child;
        if (worst == at)
            return;
        const Candidate swap = heap[at];
        heap[at] = heap[worst];
        heap[worst] = swap;
        at = worst;
    }
}

/* The k best of the logits, sorted; returns how many there are (fewer where logits are not finite). */
static int take_best(const float *logits, int vocab, int k, Candidate *heap) {
    int n = 0, i = 0;
    for (; i < vocab && n < k; i++)
        if (logits[i] > -INFINITY && logits[i] < INFINITY)
            heap[n++] = (Candidate){.logit = logits[i], .token = i};
    for (int at = n / 2 - 1; at >= 0; at--)
        sift_down(heap, n, at);
    for (float worst = n > 0 ? heap[0].logit : 0; i < vocab; i++)
        if (logits[i] > worst && logits[i] < INFINITY) {
            heap[0] = (Candidate){.logit = logits[i], .token = i};
            sift_down(heap, n, 0);
            worst = heap[0].logit;
        }
    qsort(heap, (size_t)n, sizeof *heap, compare);
    return n;
}

static int32_t best_of(const float *logits, int vocab) {
    int32_t best = -1;
    float top = -INFINITY;
    for (int i = 0; i < vocab; i++)
        if (logits[i] > top && logits[i] < INFINITY) {
            top = logits[i];
            best = i;
        }
    return best;
}

/* Sum of e^(logit - top) over the vocabulary. */
static double mass(const float *logits, int vocab, float top) {
    const Shares all = {.logits = logits, .vocab = vocab, .top = top, .least = -INFINITY, .scale = 1};
    return shares_sum(&all, NULL);
}

static void give_probabilities(Candidate *c, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        c[i].p = expf(c[i].logit - c[0].logit);
        sum += (double)c[i].p;
    }
    for (int i = 0; i < n; i++)
        c[i].p = (float)((double)c[i].p / sum);
}

/* How many of the best reach the share p of the whole: n when they don't. */
static int nucleus(const Candidate *c, int n, float p) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += (double)c[i].p;
        if (sum >= (double)p)
            return i + 1;
    }
    return n;
}

static int by_typicality(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    return x->logit < y->logit ? -1 : x->logit > y->logit ? 1 : x->token < y->token ? -1 : 1;
}

/* Keeps the candidates whose surprise is nearest to the expected one, up to a share p of the mass. */
static int typical(Candidate *c, int n, float p) {
    double entropy = 0;
    for (int i = 0; i < n; i++)
        entropy -= c[i].p > 0 ? (double)c[i].p * log((double)c[i].p) : 0;
    for (int i = 0; i < n; i++) /* the logit gives way to the distance, and is found again from p */
        c[i].logit = (float)fabs(-log((double)c[i].p + 1e-30) - entropy);
    qsort(c, (size_t)n, sizeof *c, by_typicality);
    const int kept = nucleus(c, n, p);
    for (int i = 0; i < kept; i++)
        c[i].logit = logf(c[i].p + 1e-30f);
    qsort(c, (size_t)kept, sizeof *c, compare);
    return kept;
}

/* A number in [0, 1) from the seed and the count of draws: splitmix64. */
static double draw(Sampler *s) {
    uint64_t z = s->spec.seed + ++s->draws * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static int exclude_top(Sampler *s, Candidate *c, int n) {
    if (s->spec.xtc_probability <= 0 || draw(s) >= (double)s->spec.xtc_probability)
        return n;
    int over = 0;
    while (over < n && c[over].p >= s->spec.xtc_threshold)
        over++;
    if (over < 2)
        return n;
    memmove(c, c + over - 1, (size_t)(n - over + 1) * sizeof *c);
    return n - over + 1;
}

/* How many of the n best, of more, top-p and min-p leave; 0: perhaps more than these. */
static int kept_of(Sampler *s, int n, double all) {
    const SampleSpec *spec = &s->spec;
    Candidate *c = s->candidates;
    for (int i = 0; i < n; i++)
        c[i].p = (float)((double)expf(c[i].logit - c[0].logit) / all);
    const int kept = spec->top_p < 1 ? nucleus(c, n, spec->top_p) : n;
    const bool all_of_min = spec->min_p > 0 && c[n - 1].p < spec->min_p * c[0].p;
    return kept < n || all_of_min ? kept : 0;
}

static int candidates_of(Sampler *s) {
    const SampleSpec *spec = &s->spec;
    const int limit = spec->top_k > 0 && spec->top_k < s->vocab ? spec->top_k : s->vocab;
    int tried = limit == s->vocab && spec->typical_p >= 1 ? FIRST_TRY : limit;
    int n = 0;
    for (double all = 0; tried < limit; tried *= 16) {
        n = take_best(s->logits, s->vocab, tried, s->candidates);
        if (n < tried) /* all that there are: a grammar leaves few */
            break;
        all = all > 0 ? all : mass(s->logits, s->vocab, s->candidates[0].logit);
        const int kept = kept_of(s, n, all);
        if (kept == 0)
            continue;
        give_probabilities(s->candidates, kept);
        return kept;
    }
    if (tried >= limit)
        n = take_best(s->logits, s->vocab, limit, s->candidates);
    give_probabilities(s->candidates, n);
    if (spec->typical_p < 1) {
        n = typical(s->candidates, n, spec->typical_p);
        give_probabilities(s->candidates, n);
    }
    if (spec->top_p < 1)
        n = nucleus(s->candidates, n, spec->top_p);
    return n;
}

/* One of all, or of those that min-p leaves: no order is needed. */
static int32_t draw_of_all(Sampler *s) {
    const SampleSpec *spec = &s->spec;
    const int32_t best = best_of(s->logits, s->vocab);
    if (best < 0)
        return -1;
    const float top = s->logits[best];
    const Shares shares = {.logits = s->logits, .vocab = s->vocab, .top = top, .scale = 1 / spec->temperature,
                           .least = spec->min_p > 0 ? top + logf(spec->min_p) : -INFINITY};
    const double sum = shares_sum(&shares, s->blocks);
    return shares_find(&shares, s->blocks, draw(s) * sum);
}

static void forbid(float *logits, int vocab, const uint64_t *allowed) {
    for (int from = 0; from < vocab; from += 64) {
        const uint64_t word = allowed[from / 64];
        for (int i = from; word != UINT64_MAX && i < vocab && i < from + 64; i++)
            logits[i] = word >> (i % 64) & 1 ? logits[i] : -INFINITY;
    }
}

Status sampler_pick(Sampler *s, const float *logits, const int32_t *history, int n_history, int prompt,
                    const uint64_t *allowed, int32_t *token, Error *err) {
    const SampleSpec *spec = &s->spec;
    const bool changed = spec->n_bias > 0 || allowed != NULL || spec->repeat_penalty != 1 || spec->presence_penalty != 0 ||
                         spec->frequency_penalty != 0 || spec->dry_multiplier != 0;
    s->logits = changed ? memcpy(s->copy, logits, (size_t)s->vocab * sizeof *logits) : (float *)logits; /* not written then */
    for (int i = 0; i < spec->n_bias; i++)
        if (is_token(s, spec->bias[i].token))
            s->logits[spec->bias[i].token] += spec->bias[i].bias;
    if (allowed != NULL)
        forbid(s->logits, s->vocab, allowed);
    penalise_repeats(s, history, n_history, prompt);
    penalise_dry(s, history, n_history);
    if (spec->temperature == 0) {
        *token = best_of(s->logits, s->vocab);
        FAIL_IF(*token < 0, ERR_INTERNAL, "no token can be chosen: the model's logits are not numbers, or all are excluded");
        return OK;
    }
    const bool uncut = (spec->top_k == 0 || spec->top_k >= s->vocab) && spec->top_p >= 1 && spec->typical_p >= 1;
    if (uncut && spec->xtc_probability <= 0) {
        *token = draw_of_all(s);
        FAIL_IF(*token < 0, ERR_INTERNAL, "no token can be chosen: the model's logits are not numbers, or all are excluded");
        return OK;
    }
    int n = candidates_of(s);
    FAIL_IF(n == 0, ERR_INTERNAL, "no token can be chosen: the model's logits are not numbers, or all are excluded");
    while (n > 1 && spec->min_p > 0 && s->candidates[n - 1].p < spec->min_p * s->candidates[0].p)
        n--;
    n = exclude_top(s, s->candidates, n);
    /* Temperature last: the cuts above are made on the model's own probabilities. */
    double sum = 0;
    for (int i = 0; i < n; i++) {
        s->candidates[i].p = expf((s->candidates[i].logit - s->candidates[0].logit) / spec->temperature);
        sum += (double)s->candidates[i].p;
    }
    double left = draw(s) * sum;
    int chosen = 0;
    while (chosen < n - 1 && left >= (double)s->candidates[chosen].p)
        left -= (double)s->candidates[chosen++].p;
    *token = s->candidates[chosen].token;
    return OK;
}

uint64_t sampler_draws(const Sampler *s) {
    return s->draws;
}

void sampler_rewind(Sampler *s, uint64_t draws) {
    s->draws = draws;
}

float logprob_of(const float *logits, int vocab, int32_t token) {
    const int32_t best = best_of(logits, vocab);
    if (best < 0)
        return -INFINITY;
    return (float)((double)(logits[token] - logits[best]) - log(mass(logits, vocab, logits[best])));
}

void best_logprobs(const float *logits, int vocab, int n, int32_t *tokens, float *logprobs) {
    Candidate heap[64];
    const int got = take_best(logits, vocab, MIN(n, (int)COUNT(heap)), heap);
    const double norm = got > 0 ? log(mass(logits, vocab, heap[0].logit)) : 0;
    for (int i = 0; i < n; i++) {
        tokens[i] = i < got ? heap[i].token : -1;
        logprobs[i] = i < got ? (float)((double)(heap[i].logit - heap[0].logit) - norm) : -INFINITY;
    }
}
