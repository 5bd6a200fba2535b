/* run_attend.c - attention: some query rows of one key/value head, over all they can see.
 *
 * Rows are (token, query head) pairs that share a key/value head, up to ATTEND_MAX_ROWS of them: a unit. What a unit sees is one or two
 * caches, of each a range of entries or a list of chosen ones, cut into chunks: entries 1024 c .. 1024 c + 1023 of a range, the
 * same of a list. A chunk gives a partial result; partial results are merged in ascending order, so that the bits depend
 * on nothing else. When there are few rows, the chunks are shared out among the threads and merged in a second phase. */
#include "graph/program_parts.h"

#include "base/carve.h"

#include <math.h>
#include <string.h>

/* How the rows of one run are cut into units. A block is the query heads of one key/value head, or some of them: all blocks are
 * cut into as few parts (of tokens) as there can be, the last `finer` blocks into so many that every thread gets the same.
 * (With 3 key/value heads and 2 threads: two whole and two halves.) A tile of the cache is made ready once a unit, which costs
 * as much as five rows of it. */
typedef struct Cut {
    int group;        /* query heads per key/value head */
    int heads;        /* of them in a unit */
    int head_blocks;
    int tokens;       /* in a unit, at most */
    int blocks;
    int finer;        /* of the blocks; their number of parts is a multiple of `multiple` */
    int multiple;
} Cut;

static Cut cut_of(const Attend *a) {
    Cut c = {.group = a->heads / a->kv_heads};
    c.heads = MIN(c.group, ATTEND_MAX_ROWS);
    c.head_blocks = (c.group + c.heads - 1) / c.heads;
    c.tokens = MAX(ATTEND_MAX_ROWS / c.heads, 1);
    c.blocks = a->kv_heads * c.head_blocks;
    return c;
}

static Cut cut_for(const Ctx *ctx, const Attend *a) {
    Cut c = cut_of(a);
    if (ctx->batch->n_row <= FEW_ROWS || ctx->n_thread == 1)
        return c;
    c.finer = c.blocks % ctx->n_thread;
    for (c.multiple = 1; c.finer * c.multiple % ctx->n_thread != 0;)
        c.multiple++;
    return c;
}

static int parts_of_run(const Run *run, const Cut *c) {
    return (run->n_row + c->tokens - 1) / c->tokens;
}

static int finer_parts_of_run(const Run *run, const Cut *c) {
    if (c->finer == 0)
        return 0;
    return MIN((parts_of_run(run, c) + c->multiple - 1) / c->multiple * c->multiple, run->n_row);
}

static const Choice *choice_of(const Program *p, Val chosen) {
    return &p->graph->ops[p->graph->values[chosen].op].u.choice;
}

/* Entries at the most in a list of a token. */
static int longest_list(const Program *p, const Op *op) {
    const Attend *a = &op->u.attend;
    int longest = 0;
    if (op->in[1] != NO_VAL)
        longest = (choice_of(p, op->in[1])->top + (a->tail ? 1 : 0)) * a->span;
    if (op->in[2] != NO_VAL)
        longest = MAX(longest, choice_of(p, op->in[2])->top);
    return MIN(longest, p->spec.max_context);
}

/* Scratch of a unit. */
typedef struct Pieces {
    float *query, *part, *total;            /* [ATTEND_MAX_ROWS][key_width], [ATTEND_MAX_ROWS][value_width] twice */
    float *part_top, *part_sum, *top, *sum; /* [ATTEND_MAX_ROWS] */
    const uint8_t **keys, **values;         /* blocks */
    int32_t *entries;                       /* [tokens][longest_list] */
    void *kernel;
} Pieces;

static size_t cut_pieces(const Program *program, const Op *op, uint8_t *block, Pieces *p) {
    const Attend *a = &op->u.attend;
    const size_t rows = ATTEND_MAX_ROWS, blocks = (size_t)program->spec.max_context / CACHE_BLOCK + 2;
    Carve c = {.block = block};
    p->query = carve(&c, rows * (size_t)a->key_width * sizeof(float));
    p->part = carve(&c, rows * (size_t)a->value_width * sizeof(float));
    p->total = carve(&c, rows * (size_t)a->value_width * sizeof(float));
    p->part_top = carve(&c, rows * sizeof(float));
    p->part_sum = carve(&c, rows * sizeof(float));
    p->top = carve(&c, rows * sizeof(float));
    p->sum = carve(&c, rows * sizeof(float));
    p->keys = carve(&c, blocks * sizeof(uint8_t *));
    p->values = carve(&c, blocks * sizeof(uint8_t *));
    p->entries = carve(&c, (size_t)cut_of(a).tokens * (size_t)longest_list(program, op) * sizeof(int32_t));
    p->kernel = carve(&c, attend_scratch_bytes(ATTEND_MAX_ROWS, a->key_width, a->value_width));
    return c.used;
}

static size_t attend_bytes(const Program *p, const Op *op) {
    Pieces pieces;
    return cut_pieces(p, op, NULL, &pieces);
}

/* ---- units --------------------------------------------------------------------------------------------------------- */

/* Tokens of one run, and the query heads of one key/value head, or some of them. */
typedef struct Unit {
    const Run *run;
    int token0, tokens;
    int kv, head0, heads;
} Unit;

static int units_of_run(const Run *run, const Cut *c) {
    return parts_of_run(run, c) * (c->blocks - c->finer) + finer_parts_of_run(run, c) * c->finer;
}

static int all_units(const Ctx *ctx, const Attend *a) {
    const Cut c = cut_for(ctx, a);
    int units = 0;
    for (int i = 0; i < ctx->batch->n_run; i++)
        units += units_of_run(&ctx->batch->runs[i], &c);
    return units;
}

/* Units of late tokens see more and whole ones have more rows: they come first, so that no thread begins a long one at the end. */
static Unit unit_at(const Ctx *ctx, const Attend *a, int unit) {
    const Cut cut = cut_for(ctx, a);
    const Run *run = ctx->batch->runs;
    for (int units; unit >= (units = units_of_run(run, &cut)); run++)
        unit -= units;
    int parts = parts_of_run(run, &cut), blocks = cut.blocks - cut.finer, first = 0;
    if (unit >= parts * blocks) {
        unit -= parts * blocks;
        first = blocks;
        blocks = cut.finer;
        parts = finer_parts_of_run(run, &cut);
    }
    const int part = parts - 1 - unit / blocks, block = first + unit % blocks;
    const int token0 = (int)((int64_t)run->n_row * part / parts), end = (int)((int64_t)run->n_row * (part + 1) / parts);
    const int kv = block / cut.head_blocks, head_block = block % cut.head_blocks;
    return (Unit){.run = run, .token0 = token0, .tokens = end - token0, .kv = kv,
                  .head0 = kv * cut.group + head_block * cut.heads,
                  .heads = MIN(cut.heads, cut.group - head_block * cut.heads)};
}

/* ---- what is seen -------------------------------------------------------------------------------------------------- */

/* A cache that is read, and which of its entries. */
typedef struct Source {
    State keys, values;
    int stride;           /* tokens per entry */
    int window, chunk;
    bool both;
    Ref chosen;           /* lists of items, or no buffer */
    const Choice *choice;
    int span;             /* entries of an item */
    bool tail;
} Source;

static int sources_of(const Ctx *ctx, const Step *step, Source out[2]) {
    const Attend *a = &step->op->u.attend;
    const StateDecl *states = ctx->program->graph->states;
    const Val *in = step->op->in;
    out[0] = (Source){.keys = a->keys, .values = a->values, .stride = states[a->keys].rows.stride, .window = a->window,
                      .chunk = a->chunk, .both = a->both, .chosen = step->in[1], .span = a->span, .tail = a->tail,
                      .choice = in[1] != NO_VAL ? choice_of(ctx->program, in[1]) : NULL};
    if (!a->more)
        return 1;
    out[1] = (Source){.keys = a->more_keys, .values = a->more_keys, .stride = states[a->more_keys].rows.stride,
                      .chosen = step->in[2], .span = 1, .choice = in[2] != NO_VAL ? choice_of(ctx->program, in[2]) : NULL};
    return 2;
}

/* The last entry that a token reaches: one over several tokens is seen once it is whole. */
static int last_entry(const Source *s, const Unit *u, int token) {
    if (s->both) { /* the text ends with the step */
        const int last = sequence_tokens(u->run->sequence) + u->run->n_row - 1, place = u->token0 + token;
        return s->window > 0 ? MIN(last, place + s->window - 1) : last;
    }
    return (sequence_tokens(u->run->sequence) + u->token0 + token + 1) / s->stride - 1;
}

static int first_entry(const Source *s, const Unit *u, int token) {
    const int place = sequence_tokens(u->run->sequence) + u->token0 + token;
    int from = s->window > 0 ? MAX(place - s->window + 1, 0) : 0;
    if (s->chunk > 0)
        from = MAX(from, place / s->chunk * s->chunk);
    return from / s->stride;
}

/* How many items a token has chosen, and which. */
static const int32_t *items_of(const Ctx *ctx, const Source *s, const Unit *u, int token, int *n) {
    const int32_t *lists = (const int32_t *)(const void *)ref_at(ctx, s->chosen, u->run->row0 + u->token0 + token);
    const int32_t *list = lists + (s->choice->groups > 1 ? (size_t)u->kv * (size_t)(1 + s->choice->top) : 0);
    *n = list[0];
    return list + 1;
}

/* A token's list as entries (`entries` NULL: only counted). */
static int entries_of(const Ctx *ctx, const Source *s, const Unit *u, int token, int32_t *entries) {
    int n, count = 0;
    const int32_t *items = items_of(ctx, s, u, token, &n);
    const int last = last_entry(s, u, token);
    if (entries == NULL && n > 0)
        count = n * s->span - MAX(items[n - 1] * s->span + s->span - 1 - last, 0);
    for (int i = 0; entries != NULL && i < n; i++)
        for (int e = items[i] * s->span; e < items[i] * s->span + s->span && e <= last; e++)
            entries[count++] = e;
    for (int e = (last + 1) / s->span * s->span; s->tail && e <= last; e++, count++)
        if (entries != NULL)
            entries[count] = e;
    return count;
}

/* Lists of everything are not followed: ranges give the same bits, since both are summed up in the same steps. */
static bool has_lists(const Ctx *ctx, const Source *s, const Unit *u) {
    for (int t = 0; s->chosen.buffer >= 0 && t < u->tokens; t++)
        if (entries_of(ctx, s, u, t, NULL) <= last_entry(s, u, t))
            return true;
    return false;
}

/* The entries of a range that some row of the unit sees: lowest to highest. */
static void range_of(const Source *s, const Unit *u, int *lowest, int *highest) {
    *lowest = first_entry(s, u, 0);
    *highest = last_entry(s, u, u->tokens - 1);
}

static int chunks_of(const Ctx *ctx, const Source *s, const Unit *u) {
    int lowest, highest;
    if (has_lists(ctx, s, u)) {
        int longest = 0;
        for (int t = 0; t < u->tokens; t++)
            longest = MAX(longest, entries_of(ctx, s, u, t, NULL));
        return (longest + CACHE_CHUNK - 1) / CACHE_CHUNK;
    }
    range_of(s, u, &lowest, &highest);
    return lowest <= highest ? highest / CACHE_CHUNK - lowest / CACHE_CHUNK + 1 : 0;
}

/* ---- chunks -------------------------------------------------------------------------------------------------------- */

/* A source made ready for the rows of a unit. */
typedef struct View {
    AttendJob job;
    int32_t first[ATTEND_MAX_ROWS], last[ATTEND_MAX_ROWS];
    int lowest, highest; /* of a range */
    bool lists;
    const int32_t *list[ATTEND_MAX_ROWS], *list_at[ATTEND_MAX_ROWS];
    int32_t length[ATTEND_MAX_ROWS], length_at[ATTEND_MAX_ROWS];
} View;

static void look(const Ctx *ctx, const Step *step, const Source *s, const Unit *u, const Pieces *p, View *v) {
    const Attend *a = &step->op->u.attend;
    const Cache *cache = sequence_cache(u->run->sequence);
    v->job = (AttendJob){.type = cache_type_of(cache, s->keys), .key_width = a->key_width, .value_width = a->value_width,
                         .n_row = u->tokens * u->heads, .group = u->heads, .query = p->query, .key_blocks = p->keys,
                         .value_blocks = p->values, .key_stride = cache_stride_bytes(cache, s->keys),
                         .value_stride = cache_stride_bytes(cache, s->values), .first = v->first, .last = v->last,
                         .softcap = a->softcap, .scratch = p->kernel};
    range_of(s, u, &v->lowest, &v->highest);
    v->lists = has_lists(ctx, s, u);
    int32_t *entries = p->entries;
    for (int t = 0; t < u->tokens; t++) {
        v->first[t] = first_entry(s, u, t);
        v->last[t] = last_entry(s, u, t);
        if (!v->lists)
            continue;
        v->list[t] = entries;
        v->length[t] = entries_of(ctx, s, u, t, entries);
        entries += v->length[t];
        v->lowest = 0;
    }
    for (int b = v->lowest / CACHE_BLOCK; b * CACHE_BLOCK <= v->highest; b++) {
        p->keys[b] = sequence_page(u->run->sequence, s->keys, b * CACHE_BLOCK) + (size_t)u->kv * cache_head_bytes(cache, s->keys);
        p->values[b] = sequence_page(u->run->sequence, s->values, b * CACHE_BLOCK) +
                       (size_t)u->kv * cache_head_bytes(cache, s->values);
    }
}

/* The partial result of chunk `c` of a view. */
static void see(const Ctx *ctx, View *v, const Unit *u, int c, float *top, float *sum, float *out) {
    AttendJob *job = &v->job;
    job->top = top;
    job->sum = sum;
    job->out = out;
    int chunk = c; /* of the entries, or of the lists */
    if (v->lists) {
        for (int t = 0; t < u->tokens; t++) {
            v->list_at[t] = v->list[t] + c * CACHE_CHUNK;
            v->length_at[t] = MIN(MAX(v->length[t] - c * CACHE_CHUNK, 0), CACHE_CHUNK);
        }
        job->chosen = v->list_at;
        job->n_chosen = v->length_at;
    } else {
        chunk += v->lowest / CACHE_CHUNK;
        const int begin = chunk * CACHE_CHUNK;
        job->begin = MAX(begin, v->lowest / CACHE_BLOCK * CACHE_BLOCK);
        job->end = MIN(begin + CACHE_CHUNK, v->highest + 1);
    }
    /* What is attended to most, the begin of a text, stays in floats where the rest may be rounded: texts of one chunk are as
     * exact as without bf16, and longer ones have most of its speed. Where an entry stands decides, so any cut gives the same bits. */
    ctx->kernels->attend[chunk == 0 ? PRECISION_F32 : ctx->program->spec.precision](job);
}

static void begin_rows(const Ctx *ctx, const Step *step, const Unit *u, const Pieces *p) {
    const Attend *a = &step->op->u.attend;
    const size_t width = (size_t)u->heads * (size_t)a->key_width;
    for (int t = 0; t < u->tokens; t++) {
        const float *q = ref_floats(ctx, step->in[0], u->run->row0 + u->token0 + t) + (size_t)u->head0 * (size_t)a->key_width;
        ctx->kernels->affine(p->query + (size_t)t * width, q, (int)width, a->scale, 0);
    }
}

static void begin_sums(const Attend *a, const Unit *u, const Pieces *p) {
    for (int r = 0; r < u->tokens * u->heads; r++) {
        p->top[r] = -INFINITY;
        p->sum[r] = 0;
    }
    memset(p->total, 0, (size_t)(u->tokens * u->heads) * (size_t)a->value_width * sizeof(float));
}

static void merge(const Attend *a, const Unit *u, const Pieces *p, const float *top, const float *sum, const float *out) {
    const size_t width = (size_t)a->value_width;
    for (int r = 0; r < u->tokens * u->heads; r++)
        attend_merge(&p->top[r], &p->sum[r], p->total + (size_t)r * width, top[r], sum[r], out + (size_t)r * width, a->value_width);
}

static void end_rows(const Ctx *ctx, const Step *step, const Unit *u, const Pieces *p) {
    const int vw = step->op->u.attend.value_width;
    for (int r = 0; r < u->tokens * u->heads; r++) {
        float *total = p->total + (size_t)r * (size_t)vw;
        const int head = u->head0 + r % u->heads;
        if (step->vector[0] != NULL) { /* a sink takes its share of the softmax and gives nothing */
            const float sink = step->vector[0][head], top = MAX(p->top[r], sink);
            const float mine = p->top[r] == -INFINITY ? 0 : expf(p->top[r] - top);
            ctx->kernels->affine(total, total, vw, mine, 0);
            p->sum[r] = p->sum[r] * mine + expf(sink - top);
        }
        float *y = ref_floats(ctx, step->out, u->run->row0 + u->token0 + r / u->heads) + (size_t)head * (size_t)vw;
        ctx->kernels->affine(y, total, vw, p->sum[r] > 0 ? 1.0f / p->sum[r] : 0, 0);
    }
}

/* ---- the first phase: whole units, or their chunks ------------------------------------------------------------------- */

/* The partial result of one chunk in the program's shared memory: [rows] maxima, [rows] sums, [rows][value_width]. */
static size_t slot_floats(const Attend *a) {
    const Cut c = cut_of(a);
    const size_t rows = (size_t)(c.heads * MIN(c.tokens, FEW_ROWS));
    return rows * (2 + (size_t)a->value_width);
}

static size_t attend_shared(const Program *p, const Op *op) {
    const Attend *a = &op->u.attend;
    const size_t chunks = (size_t)(a->more ? 2 : 1) * ((size_t)p->spec.max_context / CACHE_CHUNK + 2);
    const size_t units = (size_t)FEW_ROWS * (size_t)cut_of(a).blocks;
    return chunks > 2 ? units * chunks * slot_floats(a) * sizeof(float) : 0;
}

/* Chunks that a source is shared out in, for the tokens of a unit: enough for every key head. */
static int shared_chunks(const Ctx *ctx, const Source *s, const Unit *u) {
    const int lists = s->choice != NULL ? s->choice->groups : 1;
    int most = 0;
    Unit head = *u;
    for (head.kv = 0; head.kv < lists; head.kv++)
        most = MAX(most, chunks_of(ctx, s, &head));
    return most;
}

static int block_chunks(const Ctx *ctx, const Step *step, const Unit *u) {
    Source sources[2];
    int chunks = 0;
    for (int i = 0, n = sources_of(ctx, step, sources); i < n; i++)
        chunks += shared_chunks(ctx, &sources[i], u);
    return chunks;
}

/* Slots of shared memory when chunks are to be shared out, else 0. Units of one block of tokens have as many each. */
static int split_slots(const Ctx *ctx, const Step *step) {
    const Attend *a = &step->op->u.attend;
    if (ctx->batch->n_row > FEW_ROWS || ctx->n_thread == 1)
        return 0;
    const Cut c = cut_for(ctx, a);
    const int units = all_units(ctx, a), block = c.blocks;
    int slots = 0;
    for (int i = 0; i < units; i += block) {
        const Unit u = unit_at(ctx, a, i);
        slots += block * block_chunks(ctx, step, &u);
    }
    return slots > units ? slots : 0;
}

/* The unit whose slots hold `slot`, and the first of them. */
static Unit unit_of_slot(const Ctx *ctx, const Step *step, int slot, int *first) {
    const Attend *a = &step->op->u.attend;
    const Cut c = cut_for(ctx, a);
    const int block = c.blocks;
    *first = 0;
    for (int i = 0;; i += block) {
        const Unit u = unit_at(ctx, a, i);
        const int chunks = block_chunks(ctx, step, &u);
        if (slot < *first + block * chunks) {
            const int within = (slot - *first) / chunks;
            *first += within * chunks;
            return unit_at(ctx, a, i + within);
        }
        *first += block * chunks;
    }
}

static int first_slot(const Ctx *ctx, const Step *step, int unit) {
    const Attend *a = &step->op->u.attend;
    const Cut c = cut_for(ctx, a);
    const int block = c.blocks;
    int slot = 0;
    for (int i = 0;; i += block) {
        const Unit u = unit_at(ctx, a, i);
        const int chunks = block_chunks(ctx, step, &u);
        if (unit < i + block)
            return slot + (unit - i) * chunks;
        slot += block * chunks;
    }
}

static int attend_units(const Ctx *ctx, const Step *step) {
    const int slots = split_slots(ctx, step);
    return slots > 0 ? slots : all_units(ctx, &step->op->u.attend);
}

static void run_whole(const Ctx *ctx, const Step *step, int unit) {
    const Attend *a = &step->op->u.attend;
    const Unit u = unit_at(ctx, a, unit);
    Pieces p;
    cut_pieces(ctx->program, step->op, ctx->scratch, &p);
    begin_rows(ctx, step, &u, &p);
    begin_sums(a, &u, &p);
    Source sources[2];
    for (int i = 0, n = sources_of(ctx, step, sources); i < n; i++) {
        View v;
        look(ctx, step, &sources[i], &u, &p, &v);
        for (int c = 0, chunks = chunks_of(ctx, &sources[i], &u); c < chunks; c++) {
            see(ctx, &v, &u, c, p.part_top, p.part_sum, p.part);
            merge(a, &u, &p, p.part_top, p.part_sum, p.part);
        }
    }
    end_rows(ctx, step, &u, &p);
}

static float *slot_at(const Ctx *ctx, const Attend *a, int slot) {
    return (float *)(void *)ctx->program->shared + (size_t)slot * slot_floats(a);
}

static void run_chunk(const Ctx *ctx, const Step *step, int slot) {
    const Attend *a = &step->op->u.attend;
    int first, chunks;
    const Unit u = unit_of_slot(ctx, step, slot, &first);
    Pieces p;
    cut_pieces(ctx->program, step->op, ctx->scratch, &p);
    begin_rows(ctx, step, &u, &p);
    Source sources[2];
    sources_of(ctx, step, sources);
    const Source *s = sources;
    int c = slot - first;
    for (; c >= (chunks = shared_chunks(ctx, s, &u)); s++)
        c -= chunks;
    View v;
    look(ctx, step, s, &u, &p, &v);
    float *top = slot_at(ctx, a, slot), *sum = top + u.tokens * u.heads;
    see(ctx, &v, &u, c, top, sum, sum + u.tokens * u.heads);
}

static void run_attend(const Ctx *ctx, const Step *step, int unit) {
    split_slots(ctx, step) > 0 ? run_chunk(ctx, step, unit) : run_whole(ctx, step, unit);
}

/* ---- the second phase: chunks are merged ------------------------------------------------------------------------------ */

static int merge_units(const Ctx *ctx, const Step *step) {
    return split_slots(ctx, step) > 0 ? all_units(ctx, &step->op->u.attend) : 0;
}

static void run_merge(const Ctx *ctx, const Step *step, int unit) {
    const Attend *a = &step->op->u.attend;
    const Unit u = unit_at(ctx, a, unit);
    const int first = first_slot(ctx, step, unit);
    Pieces p;
    cut_pieces(ctx->program, step->op, ctx->scratch, &p);
    begin_sums(a, &u, &p);
    for (int c = 0, chunks = block_chunks(ctx, step, &u); c < chunks; c++) {
        const float *top = slot_at(ctx, a, first + c), *sum = top + u.tokens * u.heads;
        merge(a, &u, &p, top, sum, sum + u.tokens * u.heads);
    }
    end_rows(ctx, step, &u, &p);
}

static const MixOps mix_merge = {.units = merge_units, .run = run_merge, .scratch = attend_bytes};
const MixOps mix_attend = {.units = attend_units, .run = run_attend, .scratch = attend_bytes, .shared = attend_shared,
                           .then = &mix_merge};
