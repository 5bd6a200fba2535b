/* weights.c - weights in use: handles, and the streaming of models that are larger than memory; see weights.h.
 *
 * Streamed experts are pieces of an ExpertCache. A piece is what one matrix takes in the file: a run of bytes, and one of
 * scales where these lie apart. Two matrices whose numbers are interleaved (the halves of a gated unit in one tensor) are one
 * piece. Scales of blocks, zero points and orders are small and stay mapped. */
#include "graph/weights_parts.h"

#include "base/file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* A run of bytes in the mapped files. */
typedef struct Extent {
    const uint8_t *begin, *end;
} Extent;

/* One piece: its runs, and how many of its kind a token uses in a layer. */
typedef struct Part {
    Extent extent[PIECE_RANGES];
    int least;
} Part;

typedef enum StreamKind { KIND_MAPPED, KIND_EXPERTS, KIND_TABLE } StreamKind;

/* Which weights are streamed, and how: what both the plan and the streaming itself begin with. */
typedef struct Layout {
    StreamKind *kinds;  /* per weight */
    int *first;         /* per weight: its first entry in `part_of`, when it is KIND_EXPERTS */
    int *part_of;       /* the part of each of its matrices */
    Part *parts;
    int n_part;
    size_t bytes;       /* of these lists */
    StreamPlan plan;
} Layout;

struct Stream {
    Layout layout;
    DirectFile **files;
    int n_file;
    ExpertCache *cache; /* NULL: no experts */
    pthread_mutex_t lock;
    Error failure;      /* of reading a row */
    atomic_bool failed;
    _Atomic uint64_t row_bytes;
    size_t cache_bytes;
};

/* ---- where matrices lie ------------------------------------------------------------------------------------------------ */

static const FileMap *map_of(const ModelFiles *files, const uint8_t *at, int *number) {
    for (int i = 0; i < model_files_count(files); i++) {
        const FileMap *map = model_files_map(files, i);
        const uint8_t *begin = file_map_bytes(map);
        if (begin != NULL && at >= begin && at < begin + file_map_size(map)) {
            *number = i;
            return map;
        }
    }
    return NULL;
}

/* The bytes of `n` runs, from one to the next `stride` apart. The last may be shorter: no further than the file goes. */
static Extent extent_of(const ModelFiles *files, const uint8_t *at, size_t n, size_t stride) {
    int number;
    const FileMap *map = map_of(files, at, &number);
    if (map == NULL)
        return (Extent){0};
    const uint8_t *end = file_map_bytes(map) + file_map_size(map);
    const size_t left = (size_t)(end - at);
    return (Extent){.begin = at, .end = n * stride > left ? end : at + n * stride};
}

static Extent numbers_of(const ModelFiles *files, const Matrix *m) {
    size_t n = (size_t)m->rows;
    if (m->form == FORM_GPTQ || m->form == FORM_GPTQ_ORDER)
        n = (size_t)m->cols * m->bits / 32; /* words of inputs */
    else if (!form_by_rows(m->form))
        n = (size_t)m->cols;
    return extent_of(files, m->data, n, m->row_bytes);
}

/* Scales that lie in rows beside the numbers. Those of blocks of rows are found from the whole tensor's begin. */
static Extent scales_of(const ModelFiles *files, const Matrix *m) {
    const bool in_rows = m->form == FORM_MXFP4_SPLIT || m->form == FORM_NVFP4_SPLIT || m->form == FORM_I8_SCALED ||
                         m->form == FORM_INT_PACKED;
    return m->scales != NULL && in_rows ? extent_of(files, m->scales, (size_t)m->rows, m->scale_row_bytes) : (Extent){0};
}

static size_t extent_bytes(Extent e) {
    return (size_t)(e.end - e.begin);
}

static bool overlap(Extent a, Extent b) {
    return a.begin != NULL && b.begin != NULL && a.begin < b.end && b.begin < a.end;
}

static void widen(Extent *a, Extent b) {
    if (b.begin == NULL)
        return;
    if (a->begin == NULL || b.begin < a->begin)
        a->begin = b.begin;
    if (a->end == NULL || b.end > a->end)
        a->end = b.end;
}

/* ---- what is streamed -------------------------------------------------------------------------------------------------- */

static void layout_free(Layout *l) {
    mem_free(l->kinds);
    mem_free(l->first);
    mem_free(l->part_of);
    mem_free(l->parts);
    *l = (Layout){0};
}

/* Tables that are looked up by rows, and nothing else; rows that are runs of bytes. */
static void find_tables(const Weights *w, StreamKind *kinds) {
    const Graph *g = w->graph;
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        if ((op->kind != OP_EMBED && op->kind != OP_NGRAM) || op->weight[0] < 0)
            continue;
        const Matrix *m = w->weights[op->weight[0]].matrices;
        if (m != NULL && form_by_rows(m->form) && m->scales == NULL &&
            direct_file_room(m->row_bytes) + DIRECT_BLOCK <= TABLE_SCRATCH_BYTES)
            kinds[op->weight[0]] = KIND_TABLE;
    }
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        for (size_t k = 0; k < COUNT(op->weight) && op->kind != OP_EMBED && op->kind != OP_NGRAM; k++)
            if (op->weight[k] >= 0 && kinds[op->weight[k]] == KIND_TABLE)
                kinds[op->weight[k]] = KIND_MAPPED; /* tied to the output matrix */
    }
}

/* The parts of the matrices of an operation. Entries of a second half that lies between the rows of the first are the same
 * parts. */
static void add_parts(const Weights *w, Layout *l, const Op *op, int n_matrix) {
    int of_first = -1;
    for (int k = 0; k < n_matrix; k++) {
        const int weight = op->weight[k];
        if (weight < 0 || w->weights[weight].matrices == NULL || l->kinds[weight] == KIND_EXPERTS)
            continue;
        l->kinds[weight] = KIND_EXPERTS;
        for (int e = 0; e < w->weights[weight].count; e++) {
            const Matrix *m = &w->weights[weight].matrices[e];
            const Extent numbers = numbers_of(w->files, m), scales = scales_of(w->files, m);
            Part *shared = of_first >= 0 ? &l->parts[l->part_of[l->first[of_first] + e]] : NULL;
            if (shared != NULL && overlap(shared->extent[0], numbers)) {
                widen(&shared->extent[0], numbers);
                widen(&shared->extent[1], scales);
                l->part_of[l->first[weight] + e] = l->part_of[l->first[of_first] + e];
                continue;
            }
            l->part_of[l->first[weight] + e] = l->n_part;
            l->parts[l->n_part++] = (Part){.extent = {numbers, scales}, .least = 3 * op->u.experts.used};
        }
        of_first = of_first < 0 ? weight : of_first;
    }
}

static Status layout_make(const Weights *w, Layout *l, Error *err) {
    const Graph *g = w->graph;
    const size_t n_weight = (size_t)g->n_weight + 1;
    size_t n = 1;
    *l = (Layout){0};
    l->kinds = mem_array(n_weight, sizeof *l->kinds, MEM_WEIGHTS);
    l->first = mem_array(n_weight, sizeof *l->first, MEM_WEIGHTS);
    for (int i = 0; i < g->n_weight && l->first != NULL; i++) {
        l->first[i] = (int)n;
        n += g->weights[i].role == WEIGHT_EXPERTS && !g->weights[i].kept_only ? (size_t)w->weights[i].count : 0;
    }
    l->part_of = mem_array(n, sizeof *l->part_of, MEM_WEIGHTS);
    l->parts = mem_array(n, sizeof *l->parts, MEM_WEIGHTS);
    if (l->kinds == NULL || l->first == NULL || l->part_of == NULL || l->parts == NULL) {
        layout_free(l);
        return error_set(err, ERR_MEMORY, "no memory to plan the reading of experts");
    }
    l->bytes = n_weight * (sizeof *l->kinds + sizeof *l->first) + n * (sizeof *l->part_of + sizeof *l->parts);
    find_tables(w, l->kinds);
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        if (op->kind == OP_EXPERTS_UP || op->kind == OP_EXPERTS_DOWN)
            add_parts(w, l, op, op->kind == OP_EXPERTS_UP ? 2 : 1);
    }
    StreamPlan *plan = &l->plan;
    for (int i = 0; i < l->n_part; i++)
        for (int r = 0; r < PIECE_RANGES; r++)
            plan->experts += extent_bytes(l->parts[i].extent[r]);
    for (int i = 0; i < g->n_weight; i++) {
        const Weight *weight = &w->weights[i];
        if (g->weights[i].kept_only)
            continue; /* nobody reads it */
        if (l->kinds[i] == KIND_TABLE)
            plan->tables += weight->bytes;
        else if (l->kinds[i] == KIND_MAPPED)
            plan->resident += weight->bytes;
        for (int e = 0; l->kinds[i] == KIND_EXPERTS && e < weight->count; e++) {
            const Matrix *m = &weight->matrices[e];
            if (m->scales == NULL || scales_of(w->files, m).begin != NULL)
                continue;
            const size_t bytes = form_matrix_bytes(m);
            plan->resident += bytes - MIN(bytes, extent_bytes(numbers_of(w->files, m)));
        }
    }
    plan->whole = plan->experts + plan->tables + plan->resident;
    return OK;
}

/* The pieces of a cache, in files that are open for reading or not yet. */
static CachePiece *pieces_of(const Weights *w, const Layout *l, DirectFile **files) {
    CachePiece *pieces = mem_array((size_t)l->n_part + 1, sizeof *pieces, MEM_WEIGHTS);
    for (int i = 0; pieces != NULL && i < l->n_part; i++) {
        pieces[i].least = l->parts[i].least;
        for (int r = 0; r < PIECE_RANGES; r++) {
            int number = 0;
            const FileMap *map = map_of(w->files, l->parts[i].extent[r].begin, &number);
            if (map == NULL)
                continue;
            pieces[i].range[r].file = files != NULL ? files[number] : NULL;
            pieces[i].range[r].offset = (uint64_t)(l->parts[i].extent[r].begin - file_map_bytes(map));
            pieces[i].range[r].bytes = extent_bytes(l->parts[i].extent[r]);
        }
    }
    return pieces;
}

static Status complete_plan(Layout *l, const CachePiece *pieces, size_t budget, Error *err) {
    StreamPlan *plan = &l->plan;
    size_t least, most;
    TRY(expert_cache_bounds(pieces, l->n_part, &least, &most, err));
    plan->resident += l->bytes;
    plan->least = plan->resident + (l->n_part > 0 ? least : 0);
    if (l->n_part > 0 && budget >= plan->least) {
        plan->cache = MIN(budget - plan->resident, most);
        plan->cached = (size_t)((double)plan->experts * ((double)plan->cache / (double)most));
    }
    return OK;
}

Status weights_stream_plan(const Weights *w, size_t budget, StreamPlan *plan, Error *err) {
    Layout l;
    TRY(layout_make(w, &l, err));
    CachePiece *pieces = pieces_of(w, &l, NULL);
    const Status status = pieces != NULL ? complete_plan(&l, pieces, budget, err) : error_set(err, ERR_MEMORY, "no memory for a plan");
    *plan = l.plan;
    mem_free(pieces);
    layout_free(&l);
    return status;
}

/* ---- streaming --------------------------------------------------------------------------------------------------------- */

void stream_close(Stream *s) {
    if (s == NULL)
        return;
    expert_cache_close(s->cache);
    for (int i = 0; i < s->n_file; i++)
        direct_file_close(s->files[i]);
    pthread_mutex_destroy(&s->lock);
    layout_free(&s->layout);
    mem_free(s->files);
    mem_free(s);
}

/* Reading ahead of a fault would bring in the experts around what stays mapped; that is asked for by its ranges instead. */
static void advise(const Weights *w, const Layout *l) {
    for (int i = 0; i < model_files_count(w->files); i++)
        file_map_sparse(model_files_map(w->files, i));
    for (int i = 0; i < w->graph->n_weight; i++) {
        const Weight *weight = &w->weights[i];
        for (int e = 0; l->kinds[i] == KIND_MAPPED && !w->graph->weights[i].kept_only && weight->matrices != NULL && e < weight->count; e++) {
            const Extent numbers = numbers_of(w->files, &weight->matrices[e]);
            int number;
            const FileMap *map = numbers.begin != NULL ? map_of(w->files, numbers.begin, &number) : NULL;
            if (map != NULL)
                file_map_prefetch(map, (size_t)(numbers.begin - file_map_bytes(map)), extent_bytes(numbers));
        }
    }
}

static Status open_stream(const Weights *w, Stream *s, size_t budget, Error *err) {
    TRY(layout_make(w, &s->layout, err));
    s->files = mem_array((size_t)model_files_count(w->files) + 1, sizeof(DirectFile *), MEM_WEIGHTS);
    FAIL_IF(s->files == NULL, ERR_MEMORY, "no memory to stream the weights");
    for (; s->n_file < model_files_count(w->files); s->n_file++)
        TRY(direct_file_open(model_files_file_path(w->files, s->n_file), &s->files[s->n_file], err));
    CachePiece *pieces = pieces_of(w, &s->layout, s->files);
    FAIL_IF(pieces == NULL, ERR_MEMORY, "no memory to stream the weights");
    Status status = complete_plan(&s->layout, pieces, budget, err);
    const StreamPlan *plan = &s->layout.plan;
    if (status == OK && budget < plan->least)
        status = error_set(err, ERR_MEMORY, "the weights need %zu KiB at the least (%zu of them for what every token uses), there are %zu",
                           plan->least / 1024 + 1, plan->resident / 1024, budget / 1024);
    if (status == OK && s->layout.n_part > 0)
        status = expert_cache_open(pieces, s->layout.n_part, plan->cache, &s->cache, err);
    mem_free(pieces);
    return status;
}

Status weights_stream(Weights *w, size_t budget, Error *err) {
    FAIL_IF(w->stream != NULL, ERR_INTERNAL, "the weights are streamed already");
    Stream *s = mem_zalloc(sizeof *s, MEM_WEIGHTS);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory to stream the weights");
    pthread_mutex_init(&s->lock, NULL);
    const Status status = open_stream(w, s, budget, err);
    if (status != OK) {
        stream_close(s);
        return status;
    }
    advise(w, &s->layout);
    w->stream = s;
    return OK;
}

bool weights_streamed(const Weights *w) {
    return w->stream != NULL;
}

size_t weights_resident_bytes(const Weights *w) {
    if (w->stream == NULL)
        return w->mapped_bytes + w->copied_bytes;
    const Stream *s = w->stream;
    return s->layout.plan.resident + (s->cache != NULL ? expert_cache_bytes(s->cache) : 0) + w->copied_bytes;
}

CacheCounts weights_counts(const Weights *w) {
    CacheCounts counts = {0};
    if (w->stream != NULL && w->stream->cache != NULL)
        counts = expert_cache_counts(w->stream->cache);
    if (w->stream != NULL)
        counts.bytes_read += atomic_load(&w->stream->row_bytes);
    return counts;
}

/* ---- handles ----------------------------------------------------------------------------------------------------------- */

/* The piece of a matrix; -1: it is simply there. */
static int piece_of(const Weights *w, int weight, int index) {
    if (w->stream == NULL || weight < 0 || w->stream->layout.kinds[weight] != KIND_EXPERTS)
        return -1;
    return w->stream->layout.part_of[w->stream->layout.first[weight] + index];
}

const Matrix *weight_acquire(const Weights *w, int weight, int index, Matrix *room) {
    const Matrix *m = &w->weights[weight].matrices[index];
    const int piece = piece_of(w, weight, index);
    if (piece < 0)
        return m;
    const Part *part = &w->stream->layout.parts[piece];
    const uint8_t *bytes[PIECE_RANGES];
    expert_cache_hold(w->stream->cache, piece, bytes);
    *room = *m;
    room->data = bytes[0] + (m->data - part->extent[0].begin);
    if (part->extent[1].begin != NULL)
        room->scales = bytes[1] + (m->scales - part->extent[1].begin);
    return room;
}

void weight_release(const Weights *w, int weight, int index) {
    const int piece = piece_of(w, weight, index);
    if (piece >= 0)
        expert_cache_drop(w->stream->cache, piece);
}

static void note_failure(Stream *s, const Error *err) {
    pthread_mutex_lock(&s->lock);
    if (s->failure.status == OK)
        s->failure = *err;
    pthread_mutex_unlock(&s->lock);
    atomic_store(&s->failed, true);
}

void weight_decode_row(const Weights *w, int weight, int index, int row, int n, void *scratch, float *out) {
    const Matrix *m = &w->weights[weight].matrices[index];
    Stream *s = w->stream;
    if (s == NULL || s->layout.kinds[weight] != KIND_TABLE) {
        form_decode_row(m, row, 0, n, out);
        return;
    }
    int number = 0;
    Error err = {0};
    const uint8_t *at = m->data + (size_t)row * m->row_bytes;
    const FileMap *map = map_of(w->files, at, &number);
    uint8_t *buffer = (uint8_t *)scratch + (DIRECT_BLOCK - (uintptr_t)scratch % DIRECT_BLOCK) % DIRECT_BLOCK;
    Matrix one = *m;
    const Status status = map == NULL ? error_set(&err, ERR_INTERNAL, "row %d of a table is outside its file", row)
                                      : direct_file_read(s->files[number], (uint64_t)(at - file_map_bytes(map)), m->row_bytes,
                                                         buffer, &one.data, &err);
    if (status != OK) {
        memset(out, 0, (size_t)n * sizeof *out);
        note_failure(s, &err);
        return;
    }
    atomic_fetch_add_explicit(&s->row_bytes, m->row_bytes, memory_order_relaxed);
    one.rows = 1;
    form_decode_row(&one, 0, 0, n, out);
}

Form weight_form(const Weights *w, int weight) {
    return w->weights[weight].matrices[0].form;
}

const float *weight_vector(const Weights *w, int weight) {
    return weight >= 0 ? w->weights[weight].vector : NULL;
}

void weights_step(const Weights *w, int tokens) {
    if (w->stream != NULL && w->stream->cache != NULL)
        expert_cache_step(w->stream->cache, tokens);
}

void weights_layer(const Weights *w) {
    if (w->stream != NULL && w->stream->cache != NULL)
        expert_cache_layer(w->stream->cache);
}

void weight_use(const Weights *w, int weight, int index, float share) {
    const int piece = piece_of(w, weight, index);
    if (piece >= 0)
        expert_cache_use(w->stream->cache, piece, share);
}

void weight_prefetch(const Weights *w, int weight, int index) {
    const int piece = piece_of(w, weight, index);
    if (piece >= 0)
        expert_cache_ahead(w->stream->cache, piece);
}

void weight_guess(const Weights *w, int weight, int index) {
    const int piece = piece_of(w, weight, index);
    if (piece >= 0)
        expert_cache_guess(w->stream->cache, piece);
}

void weight_done(const Weights *w, int weight, int index) {
    const int piece = piece_of(w, weight, index);
    if (piece >= 0)
        expert_cache_done(w->stream->cache, piece);
}

/* ---- in all ------------------------------------------------------------------------------------------------------------ */

size_t weights_mapped_bytes(const Weights *w) {
    return w->mapped_bytes;
}

size_t weights_copied_bytes(const Weights *w) {
    return w->copied_bytes;
}

size_t weight_bytes(const Weights *w, int weight) {
    return w->weights[weight].bytes;
}

Status weights_check(const Weights *w, Error *err) {
    TRY(model_files_check(w->files, err));
    if (w->stream == NULL)
        return OK;
    if (w->stream->cache != NULL)
        TRY(expert_cache_check(w->stream->cache, err));
    if (!atomic_load(&w->stream->failed))
        return OK;
    pthread_mutex_lock(&w->stream->lock);
    const Error failure = w->stream->failure;
    pthread_mutex_unlock(&w->stream->lock);
    return error_set(err, failure.status, "%s", failure.text);
}
