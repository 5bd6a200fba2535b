/* draft.c - see draft.h: where guesses come from, and whether they pay. */
#include "engine/draft.h"

#include "base/clock.h"
#include "engine/draft_model.h"

#include <string.h>

enum {
    LONGEST_MATCH = 4, /* tokens that are looked up */
    SHORTEST_MATCH = 2,
    LOOK_BACK = 8192,
    SHORTEST_PAUSE = 32, /* steps that a source which did not pay is left alone */
    LONGEST_PAUSE = 4096,
    PLAIN_EVERY = 64, /* steps with guesses after which one without is measured again */
    READ_FIRST = 32,  /* tokens that the model reads at once before its speed is known */
};

/* Of the time of a step, what the model may take to catch up with a text that it has not read: a prompt. */
static const double READ_SHARE = 0.5;

typedef enum SourceKind { FROM_TEXT, FROM_MODEL, SOURCE_COUNT } SourceKind;

typedef struct Source {
    double luck;  /* moving average: the share of guesses that were right; 0 = not known */
    double ns;    /* that a guess takes */
    int quiet;    /* steps until the next try */
    int pause;    /* how long the next quiet will be */
} Source;

struct Draft {
    DraftSpec spec;
    DraftModel *model;
    Source sources[SOURCE_COUNT];
    SourceKind last; /* whose guesses the step has */
    double step_ns[DRAFT_MAX + 1]; /* a step with so many guesses; 0 = not measured */
    double read_ns;                /* a token that the model reads, many at once */
    int since_plain;
    DraftStats stats;
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static bool can_take_back(const Graph *g) {
    for (int i = 0; i < g->n_state; i++)
        if (g->states[i].floats > 0 || (g->states[i].rows.heads > 0 && g->states[i].rows.stride > 1))
            return false;
    return true;
}

bool draft_possible(const Model *target) {
    return can_take_back(model_graph(target));
}

int draft_usual(bool with_model) {
    return with_model ? DRAFT_MAX : DRAFT_MAX / 2;
}

static SessionSpec session_spec(const DraftSpec *spec) {
    return (SessionSpec){.precision = spec->precision, .cache_type = spec->cache_type, .context = spec->context, .pool = spec->pool};
}

Status draft_memory(const DraftSpec *spec, size_t *bytes, Error *err) {
    *bytes = sizeof(Draft);
    if (spec->model == NULL)
        return OK;
    size_t more;
    TRY(draft_model_memory(spec->target, spec->model, session_spec(spec), &more, err));
    *bytes += more;
    return OK;
}

Status draft_open(const DraftSpec *spec, Draft **out, Error *err) {
    *out = NULL;
    const Model *lacking = !draft_possible(spec->target)                               ? spec->target
                           : spec->model != NULL && !draft_possible(spec->model) ? spec->model
                                                                                        : NULL;
    FAIL_IF(lacking != NULL, ERR_UNSUPPORTED,
            "%s: layers with a memory cannot take a wrong guess back, so neither it nor a model that guesses for it can "
            "be used to guess ahead", model_files_path(model_files(lacking)));
    Draft *d = mem_zalloc(sizeof *d, MEM_MISC);
    FAIL_IF(d == NULL, ERR_MEMORY, "no memory to guess ahead");
    d->spec = *spec;
    d->spec.most = MIN(MAX(spec->most, 0), DRAFT_MAX);
    for (int i = 0; i < SOURCE_COUNT; i++)
        d->sources[i].pause = SHORTEST_PAUSE;
    const Status status = spec->model == NULL ? OK
                                              : draft_model_open(spec->target, spec->model, session_spec(spec), &d->model, err);
    if (status != OK) {
        draft_close(d);
        return status;
    }
    *out = d;
    return OK;
}

void draft_close(Draft *d) {
    if (d == NULL)
        return;
    draft_model_close(d->model);
    mem_free(d);
}

DraftStats draft_stats(const Draft *d) {
    return d->stats;
}

/* ---- does it pay ------------------------------------------------------------------------------------------------- */

/* A step with k guesses, as a multiple of one without. Not measured yet: each row more costs what it did up to the
 * nearest measured one, or a tenth. */
static double step_cost(const Draft *d, int k) {
    const double one = d->step_ns[0];
    if (d->step_ns[k] > 0)
        return d->step_ns[k] / one;
    int known = k;
    while (known > 0 && d->step_ns[known] == 0)
        known--;
    const double row = known > 0 ? (d->step_ns[known] / one - 1) / known : 0.1;
    return d->step_ns[known] / one + (k - known) * (row > 0.02 ? row : 0.02);
}

/* How many guesses give the most tokens per time, and how many times what a step without gives: 1 when none do. */
static int best_count(const Draft *d, const Source *source, int most, double *gain) {
    const double luck = source->luck > 0 ? source->luck : 0.5;
    int best = 0;
    double expected = 1, chance = 1;
    *gain = 1;
    for (int k = 1; k <= most; k++) {
        chance *= luck;
        expected += chance;
        const double rate = expected / (step_cost(d, k) + k * source->ns / d->step_ns[0]);
        if (rate > *gain * 1.02) {
            *gain = rate;
            best = k;
        }
    }
    return best;
}

/* The same, for a source that is left alone for a while when it does not pay. */
static int wanted_count(Draft *d, SourceKind kind, int most, double *gain) {
    Source *source = &d->sources[kind];
    *gain = 1;
    if (d->spec.always) {
        *gain = kind == FROM_MODEL ? 3 : 2;
        return most;
    }
    if (source->quiet > 0) {
        source->quiet--;
        return 0;
    }
    const int count = best_count(d, source, most, gain);
    if (count == 0) {
        source->quiet = source->pause;
        source->pause = MIN(source->pause * 2, LONGEST_PAUSE);
        source->luck = source->luck * 0.5 + 0.25; /* texts change: try again as if little were known */
    }
    return count;
}

/* Moving averages; a step that was held up by something else counts for little. */
static void average(double *known, double ns) {
    *known = *known == 0 ? ns : *known + 0.1 * (MIN(ns, 3 * *known) - *known);
}

void draft_learn_cost(Draft *d, int guesses, double ns) {
    average(&d->step_ns[guesses], ns);
    d->since_plain = guesses == 0 ? 0 : d->since_plain + 1;
}

void draft_learn_luck(Draft *d, int guesses, int right) {
    Source *source = &d->sources[d->last];
    if (guesses == 0)
        return;
    if (source->luck == 0)
        source->luck = 0.5;
    /* The first wrong guess ends the row: what came after it says nothing. */
    const int tried = right < guesses ? right + 1 : guesses;
    for (int i = 0; i < tried; i++)
        source->luck += 0.1 * ((i < right ? 1.0 : 0.0) - source->luck);
    if (right > 0)
        source->pause = MAX(source->pause / 2, SHORTEST_PAUSE);
    d->stats.guessed += (uint64_t)guesses;
    d->stats.right += (uint64_t)right;
    if (d->last == FROM_MODEL) {
        d->stats.model_guessed += (uint64_t)guesses;
        d->stats.model_right += (uint64_t)right;
    }
}

/* ---- from the text ----------------------------------------------------------------------------------------------- */

/* The latest earlier place where the last `match` tokens stand; -1 when there is none. Returns where they end. */
static int find_earlier(const int32_t *tokens, int n, int match) {
    const int32_t *tail = tokens + n - match;
    const int first = n > LOOK_BACK ? n - LOOK_BACK : 0;
    for (int at = n - match - 1; at >= first; at--)
        if (tokens[at] == tail[0] && memcmp(tokens + at, tail, (size_t)match * sizeof *tokens) == 0)
            return at + match;
    return -1;
}

static int find_longest(const int32_t *tokens, int n) {
    int from = -1;
    for (int match = LONGEST_MATCH; match >= SHORTEST_MATCH && from < 0; match--)
        if (n > match)
            from = find_earlier(tokens, n, match);
    return from;
}

/* ---- from the model ---------------------------------------------------------------------------------------------- */

static void give_up(Draft *d, const Error *err) {
    d->stats.failure = *err;
    draft_model_close(d->model);
    d->model = NULL;
}

/* Reads what the model has not, in pieces that don't hold the text up for long; true when it is level with it. */
static bool catch_up(Draft *d, const int32_t *tokens, int n, int *read, Error *err) {
    const int behind = draft_model_follow(d->model, tokens, n);
    *read = 0;
    if (behind < 0)
        return false;
    const double allowed = d->read_ns > 0 ? READ_SHARE * d->step_ns[0] / d->read_ns : READ_FIRST;
    const int most = d->spec.always ? behind : allowed < READ_FIRST ? READ_FIRST : (int)MIN(allowed, 4096.0);
    const int rows = MIN(behind, most);
    const uint64_t began = clock_ns();
    if (draft_model_read(d->model, tokens, rows, err) != OK)
        return false;
    if (rows >= READ_FIRST)
        average(&d->read_ns, (double)(clock_ns() - began) / rows);
    *read = rows;
    return rows == behind;
}

static int guess_by_model(Draft *d, const int32_t *tokens, int n, int prompt, Sampler *sampler, int count, int32_t *guesses) {
    Error err = {0};
    int read;
    const uint64_t began = clock_ns();
    const bool level = catch_up(d, tokens, n, &read, &err);
    const uint64_t guessing = read < READ_FIRST ? began : clock_ns(); /* a token or two belong to every guess */
    if (level && draft_model_guess(d->model, n, prompt, sampler, count, guesses, &err) == OK)
        average(&d->sources[FROM_MODEL].ns, (double)(clock_ns() - guessing) / count);
    else
        count = 0;
    d->stats.model_ns += clock_ns() - began;
    if (err.status != OK)
        give_up(d, &err);
    return count;
}

/* Guesses up to the first that has no row in the target's table. */
static int known_only(const Draft *d, const int32_t *guesses, int count) {
    const int rows = model_graph(d->spec.target)->vocab_rows;
    int known = 0;
    while (known < count && guesses[known] < rows)
        known++;
    return known;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

int draft_guess(Draft *d, const int32_t *tokens, int n, int prompt, Sampler *sampler, int most, int32_t guesses[DRAFT_MAX]) {
    most = MIN(MIN(most, d->spec.most), d->spec.context - n);
    if (most < 1 || (!d->spec.always && (d->step_ns[0] == 0 || d->since_plain >= PLAIN_EVERY)))
        return 0; /* what a step without guesses takes must be known */
    const int from = find_longest(tokens, n);
    double text_gain = 1, model_gain = 1;
    const int by_text = from >= 0 ? MIN(wanted_count(d, FROM_TEXT, most, &text_gain), n - from) : 0;
    const int by_model = d->model != NULL ? wanted_count(d, FROM_MODEL, most, &model_gain) : 0;
    if (by_model > 0 && (by_text == 0 || model_gain > text_gain)) {
        const int count = known_only(d, guesses, guess_by_model(d, tokens, n, prompt, sampler, by_model, guesses));
        d->last = FROM_MODEL;
        if (count > 0)
            return count;
    }
    d->last = FROM_TEXT;
    if (by_text > 0)
        memcpy(guesses, tokens + from, (size_t)by_text * sizeof *guesses);
    return by_text;
}
