/* bind.c - finding a description's weights in a model's files; see weights.h.
 *
 * A canonical name is tried in the spellings that containers use: as it is, under the prefixes of composite models
 * ("language_model."), or by GGUF's table. A matrix may be a tensor, a part of one (fused q/k/v, gate and up), one of a
 * stack (experts), or several tensors (values and scales of the quantised formats). */
#include "graph/weights_parts.h"

#include "base/half.h"
#include "base/text.h"
#include "format/gguf_names.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------------------------------------------------- */

static const Tensor *find_spelled(const Binder *b, const char *name) {
    char text[512];
    if (b->arch != NULL) {
        return gguf_tensor_name(b->arch, name, text) ? model_files_find(b->files, text) : NULL;
    }
    const Tensor *t = model_files_find(b->files, name);
    if (t != NULL)
        return t;
    /* Composite checkpoints, old and new layouts of Hugging Face. */
    static const struct { const char *from, *to; } prefixes[] = {
        {"model.", "language_model.model."}, {"model.", "model.language_model."}, {"lm_head.", "language_model.lm_head."},
        {"model.", "model.text_model."},     {"model.", "language_model."},        {"model.", ""},
        {"model.", "thinker.model."},        {"lm_head.", "thinker.lm_head."},     {"model.", "transformer."},
        {"lm_head.", "model.language_model.lm_head."}, {"model.embed_tokens.", "embed."}, {"lm_head.", "head."},
        {"model.embed_tokens.", "backbone.embeddings."}, {"model.", "backbone."},
        {"model.embed_tokens.", "model.word_embeddings."},
        {"embeddings.", "bert.embeddings."}, {"encoder.", "bert.encoder."}, {"pooler.", "bert.pooler."},
        {"embeddings.", "roberta.embeddings."}, {"encoder.", "roberta.encoder."}, {"pooler.", "roberta.pooler."},
    };
    for (size_t i = 0; i < COUNT(prefixes) && t == NULL; i++) {
        if (!starts_with(name, prefixes[i].from))
            continue;
        const int n = snprintf(text, sizeof text, "%s%s", prefixes[i].to, name + strlen(prefixes[i].from));
        if (n > 0 && (size_t)n < sizeof text)
            t = model_files_find(b->files, text);
    }
    return t;
}

/* The factors and summands of norms were called otherwise in the first checkpoints. */
static const Tensor *find_greek(const Binder *b, const char *name) {
    static const struct { const char *now, *then; } ends[] = {{"LayerNorm.weight", "LayerNorm.gamma"},
                                                               {"LayerNorm.bias", "LayerNorm.beta"}};
    char text[512];
    for (size_t i = 0; i < COUNT(ends); i++) {
        const size_t kept = strlen(name) - (ends_with(name, ends[i].now) ? strlen(ends[i].now) : 0);
        if (kept < strlen(name) && kept + strlen(ends[i].then) < sizeof text) {
            snprintf(text, sizeof text, "%.*s%s", (int)kept, name, ends[i].then);
            return find_spelled(b, text);
        }
    }
    return NULL;
}

/* The tensor of a canonical name, in any spelling. Matrices that are not part of a module have no ".weight". */
static const Tensor *find(const Binder *b, const char *name) {
    const Tensor *t = find_spelled(b, name);
    if (t == NULL && b->arch == NULL)
        t = find_greek(b, name);
    char text[512];
    const size_t length = strlen(name);
    if (t != NULL || b->arch != NULL || !ends_with(name, ".weight") || length >= sizeof text)
        return t;
    memcpy(text, name, length - 7);
    text[length - 7] = '\0';
    return find_spelled(b, text);
}

/* A companion of "x.weight": "x" + suffix. */
static const Tensor *find_beside(const Binder *b, const char *name, const char *suffix) {
    char text[512];
    const size_t length = strlen(name) - (ends_with(name, ".weight") ? 7 : 0);
    const int n = snprintf(text, sizeof text, "%.*s%s", (int)length, name, suffix);
    return n > 0 && (size_t)n < sizeof text ? find(b, text) : NULL;
}

/* Quantised checkpoints have other tensors in the place of "x.weight". */
static const char *const stand_ins[] = {".weight_packed", ".qweight", "_blocks", ".weight_blocks"};

bool binder_has_tensor(void *user, const char *name) {
    const Binder *b = user;
    if (find(b, name) != NULL)
        return true;
    for (size_t i = 0; i < COUNT(stand_ins) && b->arch == NULL; i++)
        if (find_beside(b, name, stand_ins[i]) != NULL)
            return true;
    return false;
}

static void mark(Weights *w, const Tensor *t) {
    if (t != NULL && w->used != NULL)
        w->used[t - model_files_tensor(w->files, 0)] = true;
}

/* ---- from tensors to matrices --------------------------------------------------------------------------------------------- */

static bool scale_type_of(DType type, uint8_t *out) {
    switch (type) {
    case DT_F32: *out = SCALE_F32; return true;
    case DT_F16: *out = SCALE_F16; return true;
    case DT_BF16: *out = SCALE_BF16; return true;
    case DT_E8M0: case DT_U8: *out = SCALE_E8M0; return true;
    case DT_F8_E4M3: *out = SCALE_E4M3; return true;
    default: return false;
    }
}

/* All dimensions but the last multiplied: rows of a tensor seen as a matrix. */
static size_t flat_rows(const Tensor *t) {
    size_t rows = 1;
    for (int d = 0; d + 1 < t->n_dim; d++)
        rows *= t->dims[d];
    return rows;
}

static size_t flat_cols(const Tensor *t) {
    return t->n_dim > 0 ? t->dims[t->n_dim - 1] : 1;
}

static Status wrong_shape(const char *name, const Tensor *t, size_t rows, size_t cols, Error *err) {
    char shape[96] = "";
    for (int d = 0; d < t->n_dim; d++)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%zu", d > 0 ? " x " : "", t->dims[d]);
    return error_set(err, ERR_FORMAT, "%s: %zu x %zu expected, %s found in the file (tensor %s)", name, rows, cols, shape,
                     t->name);
}

/* A whole tensor [rows, cols] of plain numbers or ggml blocks. */
static Status plain_matrix(Weights *w, const char *name, const Tensor *t, size_t rows, size_t cols, Matrix *m,
                           Error *err) {
    Form form;
    FAIL_IF(!dtype_form(t->type, &form), ERR_UNSUPPORTED, "%s: numbers of type %s cannot be multiplied", name,
            dtype_name(t->type));
    const size_t have_rows = flat_rows(t), have_cols = flat_cols(t);
    if (have_rows != rows || have_cols != cols)
        return wrong_shape(name, t, rows, cols, err);
    FAIL_IF(cols % form_info(form)->multiple != 0, ERR_FORMAT, "%s: rows of %zu numbers do not fit %s", name, cols,
            dtype_name(t->type));
    *m = (Matrix){.form = form, .rows = (int)rows, .cols = (int)cols, .data = t->data,
                  .row_bytes = dtype_row_bytes(t->type, have_cols)};
    mark(w, t);
    return OK;
}

/* E4M3 values with scales: one for the tensor, one per row, or one per block (found from the shapes). */
static Status f8_matrix(Weights *w, const Binder *b, const char *name, const Tensor *t, size_t rows, size_t cols, Matrix *m,
                        Error *err) {
    static const char *const names[] = {".weight_scale_inv", ".weight_scale", "_scale_inv", "_scale", ".scale"};
    const Tensor *s = NULL;
    for (size_t i = 0; i < COUNT(names) && s == NULL; i++)
        s = find_beside(b, name, names[i]);
    uint8_t scale_type;
    FAIL_IF(s == NULL, ERR_FORMAT, "%s: 8-bit numbers without a scale tensor", name);
    FAIL_IF(!scale_type_of(s->type, &scale_type), ERR_UNSUPPORTED, "%s: scales of type %s", name, dtype_name(s->type));
    const size_t have_rows = flat_rows(t), have_cols = flat_cols(t);
    if (have_rows != rows || have_cols != cols)
        return wrong_shape(name, t, rows, cols, err);
    /* Scales cover the last two dimensions; a stack repeats them. Blocks are 128 x 128, 32 x 32 or whole rows. */
    const size_t stack = t->n_dim > 2 ? have_rows / t->dims[t->n_dim - 2] : 1;
    const size_t down = flat_rows(s) / stack, along = flat_cols(s), one_rows = have_rows / stack;
    FAIL_IF(down == 0 || along == 0, ERR_FORMAT, "%s: its scale tensor is empty", name);
    static const size_t sides[] = {1, 16, 32, 64, 128, 256};
    size_t block_rows = down == 1 ? one_rows : 0, block_cols = along == 1 ? have_cols : 0;
    for (size_t i = 0; i < COUNT(sides); i++) {
        if (block_rows == 0 && (one_rows + sides[i] - 1) / sides[i] == down)
            block_rows = sides[i];
        if (block_cols == 0 && (have_cols + sides[i] - 1) / sides[i] == along)
            block_cols = sides[i];
    }
    FAIL_IF(block_rows == 0 || block_cols == 0 || block_rows > UINT16_MAX || block_cols > UINT16_MAX, ERR_UNSUPPORTED,
            "%s: %zu x %zu scales for %zu x %zu numbers", name, down, along, one_rows, have_cols);
    FAIL_IF(stack > 1 && one_rows % block_rows != 0, ERR_UNSUPPORTED, "%s: a stack of %zu rows with blocks of %zu", name,
            one_rows, block_rows);
    const bool e8m0 = scale_type == SCALE_E8M0;
    *m = (Matrix){.form = e8m0 ? FORM_F8_E8M0 : FORM_F8_BLOCK, .rows = (int)rows, .cols = (int)cols, .data = t->data, .row_bytes = have_cols, .scales = s->data,
                  .scale_row_bytes = dtype_row_bytes(s->type, along), .scale_type = scale_type,
                  .block_rows = (uint16_t)block_rows, .block_cols = (uint16_t)block_cols};
    mark(w, t);
    mark(w, s);
    return OK;
}

static float first_number(const Tensor *t) {
    float f = 1;
    if (t != NULL && t->bytes >= dtype_info(t->type)->block_bytes && t->type <= DT_BF16)
        dequantise_row(t->type, t->data, &f, 1);
    return f;
}

/* compressed-tensors: "x.weight_packed" with "x.weight_scale"; 4-bit floats (U8) or integers (I32). */
static Status packed_matrix(Weights *w, const Binder *b, const char *name, const Tensor *t, size_t rows, size_t cols,
                            Matrix *m, Error *err) {
    const Tensor *s = find_beside(b, name, ".weight_scale"), *z = find_beside(b, name, ".weight_zero_point");
    uint8_t scale_type;
    FAIL_IF(s == NULL || !scale_type_of(s->type, &scale_type), ERR_FORMAT, "%s: packed numbers without usable scales",
            name);
    const size_t have_cols = flat_cols(t), groups = flat_cols(s);
    if (flat_rows(t) != rows || flat_rows(s) != rows || groups == 0)
        return wrong_shape(name, t, rows, cols, err);
    *m = (Matrix){.rows = (int)rows, .cols = (int)cols, .data = t->data, .row_bytes = dtype_row_bytes(t->type, have_cols),
                  .scales = s->data, .scale_row_bytes = dtype_row_bytes(s->type, groups), .scale_type = scale_type,
                  .global_scale = 1};
    if (t->type == DT_U8 && have_cols * 2 == cols && groups * 16 == cols) {
        const Tensor *global = find_beside(b, name, ".weight_global_scale");
        m->form = FORM_NVFP4_SPLIT;
        m->scale_type = SCALE_E4M3;
        m->global_scale = 1.0f / first_number(global);
        mark(w, global);
    } else if (t->type == DT_U8 && have_cols * 2 == cols && groups * 32 == cols) {
        m->form = FORM_MXFP4_SPLIT;
    } else {
        const size_t bits = cols > 0 ? have_cols * 32 / cols : 0, group = cols / groups;
        FAIL_IF(t->type != DT_I32 || (bits != 4 && bits != 8) || have_cols * 32 != cols * bits || group * groups != cols ||
                    group % 32 != 0 || group > UINT16_MAX,
                ERR_UNSUPPORTED, "%s: %zu numbers packed in rows of %zu %s with %zu scales", name, cols, have_cols,
                dtype_name(t->type), groups);
        m->form = FORM_INT_PACKED;
        m->bits = (uint8_t)bits;
        m->block_cols = (uint16_t)group;
        if (z != NULL) {
            FAIL_IF(z->type != DT_I32 || flat_cols(z) != groups || flat_rows(z) * 32 / bits < rows, ERR_UNSUPPORTED,
                    "%s: zero points of an unknown layout", name);
            m->zeros = z->data;
            m->zero_row_bytes = groups * 4;
        }
    }
    FAIL_IF(cols % 32 != 0, ERR_UNSUPPORTED, "%s: rows of %zu packed numbers, a multiple of 32 is expected", name, cols);
    mark(w, t);
    mark(w, s);
    mark(w, z);
    mark(w, find_beside(b, name, ".weight_shape"));
    return OK;
}

/* GPTQ and AWQ: "x.qweight", "x.qzeros", "x.scales" (and "x.g_idx"). */
static Status q_matrix(Weights *w, const Binder *b, const char *name, const Tensor *t, size_t rows, size_t cols, Matrix *m,
                       Error *err) {
    const Tensor *s = find_beside(b, name, ".scales"), *z = find_beside(b, name, ".qzeros");
    const Tensor *order = find_beside(b, name, ".g_idx");
    FAIL_IF(s == NULL || z == NULL || t->type != DT_I32 || z->type != DT_I32 || t->n_dim != 2 || s->n_dim != 2 ||
                z->n_dim != 2 || s->dims[1] != rows,
            ERR_FORMAT, "%s: qweight needs scales and qzeros of matching shapes", name);
    uint8_t scale_type;
    FAIL_IF(!scale_type_of(s->type, &scale_type), ERR_UNSUPPORTED, "%s: scales of type %s", name, dtype_name(s->type));
    const size_t groups = s->dims[0];
    FAIL_IF(groups == 0 || cols % groups != 0 || (cols / groups) % 32 != 0 || cols / groups > UINT16_MAX ||
                z->dims[0] != groups,
            ERR_UNSUPPORTED, "%s: %zu groups of %zu inputs", name, groups, cols);
    *m = (Matrix){.rows = (int)rows, .cols = (int)cols, .data = t->data, .row_bytes = t->dims[1] * 4, .scales = s->data,
                  .scale_row_bytes = dtype_row_bytes(s->type, rows), .scale_type = scale_type, .zeros = z->data,
                  .zero_row_bytes = z->dims[1] * 4, .block_cols = (uint16_t)(cols / groups)};
    if (t->dims[0] == cols && t->dims[1] * 8 == rows) {
        m->form = FORM_AWQ;
        m->bits = 4;
    } else {
        const size_t bits = t->dims[0] * 32 / cols;
        FAIL_IF((bits != 4 && bits != 8) || t->dims[0] * 32 != cols * bits || t->dims[1] != rows, ERR_UNSUPPORTED,
                "%s: qweight of %zu x %zu for %zu x %zu numbers", name, t->dims[0], t->dims[1], rows, cols);
        m->form = FORM_GPTQ;
        m->bits = (uint8_t)bits;
        m->zero_plus = b->gptq_v2 ? 0 : 1;
        if (order != NULL && order->type == DT_I32 && order->bytes == cols * 4) {
            int32_t *g = arena_array(&w->arena, cols, sizeof *g); /* a file may have it at any address */
            FAIL_IF(g == NULL, ERR_MEMORY, "%s: no memory for the order of %zu inputs", name, cols);
            memcpy(g, order->data, cols * sizeof *g);
            w->copied_bytes += cols * sizeof *g;
            bool in_order = true;
            for (size_t k = 0; k < cols; k++) {
                FAIL_IF(g[k] < 0 || (size_t)g[k] >= groups, ERR_FORMAT, "%s: g_idx names group %d of %zu", name, g[k],
                        groups);
                in_order = in_order && (size_t)g[k] == k / (cols / groups);
            }
            if (!in_order) {
                m->form = FORM_GPTQ_ORDER;
                m->order = g;
            }
        }
    }
    mark(w, t);
    mark(w, s);
    mark(w, z);
    mark(w, order);
    return OK;
}

/* 4-bit floats as published in MXFP4: "x_blocks" [.., rows, groups, 16] and "x_scales" [.., rows, groups]. */
static Status mxfp4_matrix(Weights *w, const Binder *b, const char *name, const Tensor *t, size_t rows, size_t cols,
                           Matrix *m, Error *err) {
    const Tensor *s = find_beside(b, name, "_scales");
    FAIL_IF(s == NULL || t->type != DT_U8 || s->type != DT_U8 || t->bytes != rows * cols / 2 || s->bytes * 32 != rows * cols ||
                cols % 32 != 0,
            ERR_FORMAT, "%s: 4-bit blocks and scales that do not fit %zu x %zu", name, rows, cols);
    *m = (Matrix){.form = FORM_MXFP4_SPLIT, .rows = (int)rows, .cols = (int)cols, .data = t->data, .row_bytes = cols / 2,
                  .scales = s->data, .scale_row_bytes = cols / 32, .scale_type = SCALE_E8M0, .global_scale = 1};
    mark(w, t);
    mark(w, s);
    return OK;
}

/* 4-bit floats, two in a byte, "x.weight" [rows, cols / 2] with a power of two for 32 of them, "x.scale" [rows, cols / 32]. */
static bool is_packed_fp4(const Binder *b, const char *name, const Tensor *t, size_t cols) {
    const Tensor *s = find_beside(b, name, ".scale");
    return b->arch == NULL && (t->type == DT_I8 || t->type == DT_U8) && flat_cols(t) * 2 == cols && s != NULL &&
           (s->type == DT_E8M0 || s->type == DT_U8) && flat_cols(s) * 32 == cols;
}

static Status paired_fp4_matrix(Weights *w, const Binder *b, const char *name, const Tensor *t, size_t rows, size_t cols,
                                Matrix *m, Error *err) {
    const Tensor *s = find_beside(b, name, ".scale");
    if (flat_rows(t) != rows || flat_rows(s) != rows)
        return wrong_shape(name, t, rows, cols, err);
    *m = (Matrix){.form = FORM_MXFP4_SPLIT, .rows = (int)rows, .cols = (int)cols, .data = t->data, .row_bytes = cols / 2,
                  .scales = s->data, .scale_row_bytes = cols / 32, .scale_type = SCALE_E8M0, .global_scale = 1};
    mark(w, t);
    mark(w, s);
    return OK;
}

/* The whole tensor(s) of a canonical name as one matrix; *found false when there are none. */
static Status matrix_named(Weights *w, const Binder *b, const char *name, size_t rows, size_t cols, Matrix *m, bool *found,
                           Error *err) {
    *found = true;
    const Tensor *t = find(b, name);
    if (t != NULL && t->type == DT_F8_E4M3)
        return f8_matrix(w, b, name, t, rows, cols, m, err);
    if (t != NULL && is_packed_fp4(b, name, t, cols))
        return paired_fp4_matrix(w, b, name, t, rows, cols, m, err);
    if (t != NULL && t->type == DT_I8 && b->arch == NULL) {
        const Tensor *s = find_beside(b, name, ".weight_scale");
        FAIL_IF(s == NULL || !scale_type_of(s->type, &m->scale_type) || flat_rows(t) != rows || flat_cols(t) != cols ||
                    flat_rows(s) != rows || cols % 32 != 0,
                ERR_UNSUPPORTED, "%s: 8-bit integers without one scale per row", name);
        *m = (Matrix){.form = FORM_I8_SCALED, .rows = (int)rows, .cols = (int)cols, .data = t->data, .row_bytes = cols,
                      .scales = s->data, .scale_row_bytes = dtype_row_bytes(s->type, flat_cols(s)),
                      .scale_type = m->scale_type, .block_cols = (uint16_t)MIN(cols / flat_cols(s), 65504)};
        mark(w, t);
        mark(w, s);
        return OK;
    }
    if (t != NULL)
        return plain_matrix(w, name, t, rows, cols, m, err);
    if (b->arch == NULL) {
        if ((t = find_beside(b, name, ".weight_packed")) != NULL)
            return packed_matrix(w, b, name, t, rows, cols, m, err);
        if ((t = find_beside(b, name, ".qweight")) != NULL)
            return q_matrix(w, b, name, t, rows, cols, m, err);
        if ((t = find_beside(b, name, "_blocks")) != NULL)
            return mxfp4_matrix(w, b, name, t, rows, cols, m, err);
    }
    *found = false;
    return OK;
}

/* Rows begin, begin + step, ... of a matrix, `rows` of them. */
static Status rows_of(const char *name, Matrix *m, int begin, int rows, int step, Error *err) {
    const size_t at = (size_t)begin;
    switch (m->form) {
    case FORM_F32_T: case FORM_F16_T: case FORM_BF16_T:
        m->data += at * (m->form == FORM_F32_T ? 4 : 2);
        m->row_step = step;
        break;
    case FORM_F8_BLOCK_T: case FORM_F8_E8M0_T:
        FAIL_IF(step != 1, ERR_UNSUPPORTED, "%s: interleaved rows of a transposed 8-bit tensor", name);
        m->data += at;
        m->scale_col0 += begin;
        break;
    case FORM_F8_BLOCK: case FORM_F8_E8M0:
        FAIL_IF(step != 1 && m->block_rows != 1, ERR_UNSUPPORTED, "%s: interleaved rows of a tensor with scales per block",
                name);
        m->data += at * m->row_bytes;
        if (step != 1) {
            m->scales += at * m->scale_row_bytes;
            m->scale_row_bytes *= (size_t)step;
            m->row_bytes *= (size_t)step;
        } else {
            m->scale_row0 += begin;
        }
        break;
    case FORM_GPTQ: case FORM_GPTQ_ORDER: case FORM_AWQ:
        FAIL_IF(step != 1 || begin % 8 != 0, ERR_UNSUPPORTED, "%s: a part of a packed tensor that begins at row %d", name,
                begin);
        m->data += at * m->bits / 8 * (m->form == FORM_AWQ ? 1 : 32 / m->bits);
        m->scales += at * (m->scale_type == SCALE_F32 ? 4 : 2);
        m->zeros += at * m->bits / 8;
        break;
    default:
        m->data += at * m->row_bytes;
        m->row_bytes *= (size_t)step;
        if (m->scales != NULL) {
            m->scales += at * m->scale_row_bytes;
            m->scale_row_bytes *= (size_t)step;
        }
        if (m->zeros != NULL) {
            FAIL_IF(step != 1, ERR_UNSUPPORTED, "%s: interleaved rows of a tensor with zero points", name);
            m->scale_row0 += begin;
        }
    }
    m->rows = rows;
    return OK;
}

/* The transpose of a matrix, without moving a number. */
static Status turn(const char *name, Matrix *m, Error *err) {
    static const struct { Form from, to; } forms[] = {
        {FORM_F32, FORM_F32_T}, {FORM_F16, FORM_F16_T}, {FORM_BF16, FORM_BF16_T},
        {FORM_F8_BLOCK, FORM_F8_BLOCK_T}, {FORM_F8_E8M0, FORM_F8_E8M0_T},
    };
    for (size_t i = 0; i < COUNT(forms); i++) {
        if (forms[i].from != m->form)
            continue;
        const int rows = m->rows;
        m->form = forms[i].to;
        m->rows = m->cols;
        m->cols = rows;
        return OK;
    }
    return error_set(err, ERR_UNSUPPORTED, "%s: %s cannot be used transposed", name, form_info(m->form)->name);
}

/* ---- weights ---------------------------------------------------------------------------------------------------------------- */

static Status missing(const WeightDecl *d, Error *err) {
    return error_set(err, ERR_FORMAT, "tensor %s (%d x %d) is missing; is the file complete, and of this family?", d->name,
                     d->count * d->rows, d->cols);
}

static Status bind_matrix(Weights *w, const Binder *b, const WeightDecl *d, Weight *weight, Error *err) {
    const int part = d->transposed ? d->cols : d->rows; /* stored rows of one matrix */
    const int whole = d->whole != 0 ? d->whole : part;  /* stored rows from one group to the next */
    Matrix tensor;
    bool found;
    TRY(matrix_named(w, b, d->name, (size_t)d->count * (size_t)whole, (size_t)(d->transposed ? d->rows : d->cols), &tensor,
                     &found, err));
    if (!found)
        return missing(d, err);
    for (int i = 0; i < d->count; i++) {
        weight->matrices[i] = tensor;
        TRY(rows_of(d->name, &weight->matrices[i], i * whole + d->begin, part, 1, err));
        if (d->transposed)
            TRY(turn(d->name, &weight->matrices[i], err));
    }
    return OK;
}

static Status bind_experts(Weights *w, const Binder *b, const WeightDecl *d, Weight *weight, Error *err) {
    bool found;
    Matrix tensor;
    for (int l = 0; l < EXPERT_LAYOUTS; l++) {
        const ExpertLayout *layout = &d->layout[l];
        if (layout->each != NULL && b->arch == NULL) {
            for (int e = 0; e < d->count; e++) {
                char name[512];
                snprintf(name, sizeof name, layout->each, e);
                const int rows = e + 1 == d->count && d->last_rows > 0 ? d->last_rows : d->rows;
                TRY(matrix_named(w, b, name, (size_t)rows, (size_t)d->cols, &weight->matrices[e], &found, err));
                if (!found && e == 0)
                    break;
                FAIL_IF(!found, ERR_FORMAT, "tensor %s is missing, experts before it are there", name);
                if (e + 1 == d->count)
                    return OK;
            }
        } else if (layout->stacked != NULL) {
            const size_t rows = (size_t)d->rows * (size_t)layout->parts;
            /* A transposed stack is [E, cols, rows]: bound whole as [E * cols, rows], then each part turned. */
            const bool plain = b->arch != NULL; /* GGUF's stacks are [E, rows, cols], gate before up */
            const bool turned = layout->transposed && !plain && find_beside(b, layout->stacked, "_blocks") == NULL;
            TRY(matrix_named(w, b, layout->stacked, turned ? (size_t)d->count * (size_t)d->cols : (size_t)d->count * rows,
                             turned ? rows : (size_t)d->cols, &tensor, &found, err));
            if (!found)
                continue;
            for (int e = 0; e < d->count; e++) {
                Matrix *m = &weight->matrices[e];
                *m = tensor;
                const bool alternate = layout->interleaved && !plain;
                const int part = alternate ? layout->part : layout->part * d->rows;
                const int step = alternate ? layout->parts : 1;
                if (!turned) {
                    TRY(rows_of(d->name, m, e * (int)rows + part, d->rows, step, err));
                    continue;
                }
                TRY(rows_of(d->name, m, e * d->cols, d->cols, 1, err));
                TRY(turn(d->name, m, err));
                TRY(rows_of(d->name, m, part, d->rows, step, err));
            }
            return OK;
        }
    }
    /* GGUF's stack under the canonical name. */
    const int last = d->last_rows > 0 ? d->last_rows : d->rows;
    TRY(matrix_named(w, b, d->name, (size_t)(d->count - 1) * (size_t)d->rows + (size_t)last, (size_t)d->cols, &tensor, &found, err));
    if (!found)
        return missing(d, err);
    for (int e = 0; e < d->count; e++) {
        weight->matrices[e] = tensor;
        TRY(rows_of(d->name, &weight->matrices[e], e * d->rows, e + 1 == d->count ? last : d->rows, 1, err));
    }
    return OK;
}

static float mapped(VectorMap map, float x) {
    return map == MAP_NONE ? x : map == MAP_EXP ? expf(x) : -expf(x);
}

static Status bind_vector(Weights *w, const Binder *b, const WeightDecl *d, Weight *weight, Error *err) {
    const ExpertLayout *part = &d->layout[0];
    const size_t n = (size_t)d->rows * (size_t)d->cols;
    const Tensor *t = find(b, d->name);
    const bool fused = t == NULL && part->stacked != NULL;
    if (fused)
        t = find(b, part->stacked);
    if (t == NULL && d->optional)
        return OK;
    if (t == NULL)
        return missing(d, err);
    const size_t parts = fused && part->parts > 1 ? (size_t)part->parts : 1;
    const size_t whole = d->whole != 0 ? (size_t)d->whole : n * parts;
    const size_t have = flat_rows(t) * flat_cols(t);
    if (have != whole || t->bytes != dtype_row_bytes(t->type, have))
        return wrong_shape(d->name, t, (size_t)d->rows * parts, (size_t)d->cols, err);
    weight->vector = arena_array(&w->arena, n + 16, sizeof(float)); /* kernels may read whole vectors */
    float *all = mem_alloc((whole + 1) * sizeof *all, MEM_WEIGHTS);
    FAIL_IF(weight->vector == NULL || all == NULL, (mem_free(all), ERR_MEMORY), "%s: no memory for %zu numbers", d->name, n);
    dequantise_row(t->type, t->data, all, whole);
    const size_t cols = (size_t)d->cols;
    for (size_t r = 0; r < (size_t)d->rows; r++)
        for (size_t i = 0; i < cols; i++) {
            size_t from = (size_t)d->begin + r * cols * parts;
            from += parts == 1 ? i : part->interleaved ? i * parts + (size_t)part->part : (size_t)part->part * cols + i;
            if (d->transposed)
                from = (size_t)d->begin + i * (size_t)d->rows + r;
            weight->vector[r * cols + i] = mapped(d->map, all[from]);
        }
    mem_free(all);
    w->copied_bytes += n * sizeof(float);
    mark(w, t);
    return OK;
}

/* Whether the files have anything for a declaration. */
static bool weight_is_there(Binder *b, const WeightDecl *d) {
    bool there = binder_has_tensor(b, d->name);
    for (int l = 0; l < EXPERT_LAYOUTS && !there; l++) {
        char name[512];
        if (d->layout[l].each != NULL)
            snprintf(name, sizeof name, d->layout[l].each, 0);
        else
            snprintf(name, sizeof name, "%s", d->layout[l].stacked != NULL ? d->layout[l].stacked : d->name);
        there = binder_has_tensor(b, name);
    }
    return there;
}

static Status bind_weight(Weights *w, const Binder *b, const WeightDecl *d, Weight *weight, Error *err) {
    if (d->role == WEIGHT_VECTOR)
        return bind_vector(w, b, d, weight, err);
    weight->count = d->count;
    weight->matrices = arena_array(&w->arena, (size_t)d->count, sizeof *weight->matrices);
    FAIL_IF(weight->matrices == NULL, ERR_MEMORY, "no memory for the weights");
    TRY(d->role == WEIGHT_EXPERTS ? bind_experts(w, b, d, weight, err) : bind_matrix(w, b, d, weight, err));
    for (int m = 0; m < d->count; m++)
        weight->bytes += form_matrix_bytes(&weight->matrices[m]);
    return OK;
}

Status weights_open(const Graph *graph, const ModelFiles *files, Weights **out, Error *err) {
    *out = NULL;
    Weights *w = mem_zalloc(sizeof *w, MEM_GRAPH);
    FAIL_IF(w == NULL, ERR_MEMORY, "no memory for the weights");
    arena_init(&w->arena, MEM_WEIGHTS);
    w->graph = graph;
    w->files = files;
    w->weights = arena_array(&w->arena, (size_t)graph->n_weight, sizeof *w->weights);
    w->used = arena_array(&w->arena, model_files_tensors(files) + 1, sizeof *w->used);
    char arch[64];
    Binder b = {.files = files, .arch = gguf_architecture(files, arch) ? arch : NULL};
    const json_t *config = model_files_config(files);
    const json_t *quant = config != NULL ? json_object_get(config, "quantization_config") : NULL;
    const char *checkpoint = json_string_value(json_object_get(quant, "checkpoint_format"));
    b.gptq_v2 = checkpoint != NULL && strcmp(checkpoint, "gptq_v2") == 0;
    Status status = w->weights == NULL || w->used == NULL ? error_set(err, ERR_MEMORY, "no memory for the weights") : OK;
    for (int i = 0; status == OK && i < graph->n_weight; i++) {
        const WeightDecl *d = &graph->weights[i];
        if (d->kept_only && !weight_is_there(&b, d))
            continue;
        status = bind_weight(w, &b, d, &w->weights[i], err);
        if (d->kept_only && status != OK && status != ERR_MEMORY) { /* nothing runs with it: a model works without */
            w->weights[i] = (Weight){0};
            error_clear(err);
            status = OK;
        }
        w->mapped_bytes += w->weights[i].bytes;
    }
    if (status != OK) {
        weights_close(w);
        return status;
    }
    *out = w;
    return OK;
}

void weights_close(Weights *w) {
    if (w == NULL)
        return;
    stream_close(w->stream);
    arena_free(&w->arena);
    mem_free(w);
}

size_t weights_unused(const Weights *w, Text *list, int limit) {
    size_t count = 0;
    for (size_t i = 0; i < model_files_tensors(w->files); i++) {
        if (w->used[i])
            continue;
        if (count++ < (size_t)limit) {
            const char *name = model_files_tensor(w->files, i)->name;
            text_append_str(list, list->count > 0 ? ", " : "");
            text_append_printable(list, name, strlen(name));
        }
    }
    return count;
}
