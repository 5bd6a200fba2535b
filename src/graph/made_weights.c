/* made_weights.c - see made_weights.h. */
#include "graph/made_weights.h"

#include "base/half.h"
#include "base/text.h"
#include "graph/describe.h"
#include "op/form_sample.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const MadeKind kinds[] = {
    {"bf16", DT_BF16, MADE_PLAIN, MADE_ALL},       {"q8_0", DT_Q8_0, MADE_PLAIN, MADE_ALL},
    {"q6_k", DT_Q6_K, MADE_PLAIN, MADE_ALL},       {"q5_k", DT_Q5_K, MADE_PLAIN, MADE_ALL},
    {"q4_k", DT_Q4_K, MADE_PLAIN, MADE_ALL},       {"q3_k", DT_Q3_K, MADE_PLAIN, MADE_ALL},
    {"q2_k", DT_Q2_K, MADE_PLAIN, MADE_ALL},       {"fp8", DT_F8_E4M3, MADE_F8_BLOCKS, MADE_LAYERS},
    {"mxfp4", DT_U8, MADE_FP4_BLOCKS, MADE_EXPERTS}, {"int4", DT_I32, MADE_INT4_GROUPS, MADE_LAYERS},
    {"q4_0", DT_Q4_0, MADE_PLAIN, MADE_ALL},       {"q4_1", DT_Q4_1, MADE_PLAIN, MADE_ALL},
    {"q5_0", DT_Q5_0, MADE_PLAIN, MADE_ALL},       {"q5_1", DT_Q5_1, MADE_PLAIN, MADE_ALL},
    {"iq4_nl", DT_IQ4_NL, MADE_PLAIN, MADE_ALL},   {"iq4_xs", DT_IQ4_XS, MADE_PLAIN, MADE_ALL},
    {"iq3_s", DT_IQ3_S, MADE_PLAIN, MADE_ALL},     {"iq3_xxs", DT_IQ3_XXS, MADE_PLAIN, MADE_ALL},
    {"iq2_s", DT_IQ2_S, MADE_PLAIN, MADE_ALL},     {"iq2_xs", DT_IQ2_XS, MADE_PLAIN, MADE_ALL},
    {"iq2_xxs", DT_IQ2_XXS, MADE_PLAIN, MADE_ALL}, {"iq1_s", DT_IQ1_S, MADE_PLAIN, MADE_ALL},
    {"iq1_m", DT_IQ1_M, MADE_PLAIN, MADE_ALL},     {"tq1_0", DT_TQ1_0, MADE_PLAIN, MADE_ALL},
    {"tq2_0", DT_TQ2_0, MADE_PLAIN, MADE_ALL},     {"nvfp4", DT_NVFP4, MADE_PLAIN, MADE_ALL},
    {"f16", DT_F16, MADE_PLAIN, MADE_ALL},         {"f32", DT_F32, MADE_PLAIN, MADE_ALL},
};

const MadeKind *made_kind_at(int i) {
    return i >= 0 && (size_t)i < COUNT(kinds) ? &kinds[i] : NULL;
}

Status made_kind_of_word(const char *word, const MadeKind **kind, Error *err) {
    char all[256] = "";
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strcasecmp(kinds[i].word, word) == 0) {
            *kind = &kinds[i];
            return OK;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i > 0 ? " " : "", kinds[i].word);
    }
    return error_set(err, ERR_ARGUMENT, "'%.20s' is no kind of weights; there are %s", word, all);
}

const MadeKind *made_kind_of_config(const json_t *config) {
    static const struct { const char *method, *word; } methods[] = {
        {"fp8", "fp8"}, {"fbgemm_fp8", "fp8"}, {"mxfp4", "mxfp4"}, {"compressed-tensors", "int4"}, {"gptq", "int4"},
        {"awq", "int4"},
    };
    const json_t *text = json_object_get(config, "text_config"), *quant = json_object_get(config, "quantization_config");
    if (quant == NULL)
        quant = json_object_get(text, "quantization_config");
    const char *method = json_string_value(json_object_get(quant, "quant_method")), *word = "bf16";
    for (size_t i = 0; method != NULL && i < COUNT(methods); i++)
        if (strcmp(methods[i].method, method) == 0)
            word = methods[i].word;
    const MadeKind *kind = &kinds[0];
    (void)!made_kind_of_word(word, &kind, NULL);
    return kind;
}

const MadeKind *made_kind_of_label(const char *label) {
    const char *quant = strncasecmp(label, "UD-", 3) == 0 ? label + 3 : label;
    const MadeKind *longest = NULL;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const size_t length = strlen(kinds[i].word);
        const bool begins = strncasecmp(quant, kinds[i].word, length) == 0 && (quant[length] == '\0' || quant[length] == '_');
        if (begins && (longest == NULL || length > strlen(longest->word)))
            longest = &kinds[i];
    }
    return longest;
}

/* ---- which form a weight gets ------------------------------------------------------------------------------------------ */

/* How the operations use a weight. */
typedef struct Use {
    bool exact;     /* by a router or the like: floats */
    bool vocabulary; /* looked up by token, or multiplied for the logits */
    bool turned;    /* stored as its transpose, in this or another declaration of the tensor */
    bool ids;       /* a table of experts by token */
    int experts;    /* of that table */
} Use;

static void find_uses(const Graph *g, Use *uses) {
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        for (size_t w = 0; w < COUNT(op->weight); w++) {
            if (op->weight[w] < 0)
                continue;
            Use *use = &uses[op->weight[w]];
            const bool linear = op->kind == OP_LINEAR && w == 0;
            use->exact = use->exact || (linear && op->u.linear.exact);
            use->vocabulary = use->vocabulary || op->kind == OP_EMBED || (linear && g->values[op->in[0]].rows == ROWS_WANTED);
            if (op->kind == OP_ROUTE && w == 2) {
                use->ids = true;
                use->experts = op->u.route.experts;
            }
        }
    }
    for (int w = 0; w < g->n_weight; w++) /* several declarations may read parts of one tensor */
        for (int o = 0; g->weights[w].role == WEIGHT_MATRIX && g->weights[w].transposed && o < g->n_weight; o++)
            if (strcmp(g->weights[w].name, g->weights[o].name) == 0)
                uses[o].turned = true;
}

/* Rows and columns of the whole tensor that holds a weight. */
static void tensor_shape(const WeightDecl *d, size_t *rows, size_t *cols) {
    const int part = d->transposed ? d->cols : d->rows, whole = d->whole != 0 ? d->whole : part;
    *cols = (size_t)(d->transposed ? d->rows : d->cols);
    *rows = (size_t)d->count * (size_t)whole;
    if (d->role == WEIGHT_EXPERTS && d->last_rows > 0)
        *rows -= (size_t)(d->rows - d->last_rows);
}

static const MadeKind plain_bf16 = {"bf16", DT_BF16, MADE_PLAIN, MADE_ALL}, plain_f32 = {"f32", DT_F32, MADE_PLAIN, MADE_ALL},
                      plain_q8_0 = {"q8_0", DT_Q8_0, MADE_PLAIN, MADE_ALL}, plain_q5_0 = {"q5_0", DT_Q5_0, MADE_PLAIN, MADE_ALL};

/* What a matrix is stored as: other than asked for where makers of such checkpoints do so, and where its rows do not fit. */
static MadeKind kind_for(const MadeKind *asked, const WeightDecl *d, const Use *use, bool experts) {
    const bool converted = asked->where == MADE_ALL ? !use->exact
                           : asked->where == MADE_EXPERTS && experts ? d->split == SPLIT_EXPERTS
                                                                     : !use->exact && !use->vocabulary;
    MadeKind kind = converted ? *asked : dtype_info(asked->type)->quantised ? plain_f32 : plain_bf16;
    size_t rows, cols;
    tensor_shape(d, &rows, &cols);
    const bool can_turn = kind.type == DT_F32 || kind.type == DT_F16 || kind.type == DT_BF16 || kind.type == DT_F8_E4M3;
    if (use->turned && !can_turn)
        return plain_bf16;
    const size_t block = kind.scheme == MADE_FP4_BLOCKS || kind.scheme == MADE_INT4_GROUPS ? 32 : dtype_info(kind.type)->block_length;
    if (cols % block == 0)
        return kind;
    const DTypeInfo *info = dtype_info(kind.type);
    const bool few_bits = info->block_bytes * 8 < 6 * info->block_length; /* as the usual quantiser does */
    if (cols % 32 == 0)
        return few_bits ? plain_q5_0 : plain_q8_0;
    return plain_bf16;
}

/* Inputs that share a scale of packed integers. */
static size_t int4_group(size_t cols) {
    return cols % 128 == 0 ? 128 : 32;
}

enum { F8_BLOCK = 128 };

static size_t blocks_of(size_t n) {
    return (n + F8_BLOCK - 1) / F8_BLOCK;
}

/* ---- tensors -------------------------------------------------------------------------------------------------------------- */

/* The name of what stands beside "x.weight": "x" and the suffix. */
static Status add_beside(ModelFiles *files, const char *name, const char *suffix, DType type, size_t rows, size_t cols,
                         MadeContent content, Error *err) {
    char text[512];
    const size_t length = strlen(name) - (ends_with(name, ".weight") ? 7 : 0);
    const int n = snprintf(text, sizeof text, "%.*s%s", (int)length, name, suffix);
    FAIL_IF(n < 0 || (size_t)n >= sizeof text, ERR_LIMIT, "%s: the name of a weight is too long", name);
    return made_files_add(files, text, type, rows, cols, content, err);
}

static Status add_matrix(ModelFiles *files, const WeightDecl *d, const MadeKind *kind, Error *err) {
    size_t rows, cols;
    tensor_shape(d, &rows, &cols);
    switch (kind->scheme) {
    case MADE_F8_BLOCKS:
        TRY(made_files_add(files, d->name, DT_F8_E4M3, rows, cols, MADE_NUMBERS, err));
        return add_beside(files, d->name, ".weight_scale_inv", DT_F32, blocks_of(rows), blocks_of(cols), MADE_NUMBERS, err);
    case MADE_FP4_BLOCKS:
        TRY(add_beside(files, d->name, "_blocks", DT_U8, rows, cols / 2, MADE_NUMBERS, err));
        return add_beside(files, d->name, "_scales", DT_U8, rows, cols / 32, MADE_POWERS, err);
    case MADE_INT4_GROUPS:
        TRY(add_beside(files, d->name, ".weight_packed", DT_I32, rows, cols / 8, MADE_NUMBERS, err));
        return add_beside(files, d->name, ".weight_scale", DT_BF16, rows, cols / int4_group(cols), MADE_NUMBERS, err);
    default:
        return made_files_add(files, d->name, kind->type, rows, cols, MADE_NUMBERS, err);
    }
}

/* Around one, so that norms neither silence nor blow up; of ids each is an expert. */
static Status add_vector(ModelFiles *files, const WeightDecl *d, const Use *use, Error *err) {
    const size_t n = d->whole != 0 ? (size_t)d->whole : (size_t)d->rows * (size_t)d->cols;
    float *numbers;
    TRY(made_files_add_floats(files, d->name, 1, n, &numbers, err));
    uint32_t state = 12345;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        numbers[i] = use->ids ? (float)((state >> 8) % (uint32_t)MAX(use->experts, 1)) : 0.75f + (float)(state >> 16) / 131072.0f;
    }
    return OK;
}

static bool is_there(const ModelFiles *files, const char *name) {
    static const char *const suffixes[] = {"_blocks", ".weight_packed"};
    char text[512];
    bool there = model_files_find(files, name) != NULL;
    for (size_t i = 0; i < COUNT(suffixes) && !there; i++) {
        const size_t length = strlen(name) - (ends_with(name, ".weight") ? 7 : 0);
        snprintf(text, sizeof text, "%.*s%s", (int)length, name, suffixes[i]);
        there = model_files_find(files, text) != NULL;
    }
    return there;
}

Status made_weights_add(const Graph *g, const MadeKind *asked, ModelFiles *files, Error *err) {
    Use *uses = mem_array((size_t)g->n_weight + 1, sizeof *uses, MEM_GRAPH);
    FAIL_IF(uses == NULL, ERR_MEMORY, "no memory for the weights");
    find_uses(g, uses);
    const bool experts = graph_has_experts(g);
    Status status = OK;
    for (int w = 0; status == OK && w < g->n_weight; w++) {
        const WeightDecl *d = &g->weights[w];
        if (d->kept_only || is_there(files, d->name))
            continue;
        const MadeKind kind = kind_for(asked, d, &uses[w], experts);
        status = d->role == WEIGHT_VECTOR ? add_vector(files, d, &uses[w], err) : add_matrix(files, d, &kind, err);
    }
    mem_free(uses);
    return status;
}

/* Bytes of `numbers` numbers in rows of `cols`, as one matrix of the kind has them. */
static WeightForm form_for(const MadeKind *kind, size_t numbers, size_t cols) {
    switch (kind->scheme) {
    case MADE_F8_BLOCKS: return (WeightForm){FORM_F8_BLOCK, numbers + numbers / (F8_BLOCK * F8_BLOCK) * 4};
    case MADE_FP4_BLOCKS: return (WeightForm){FORM_MXFP4_SPLIT, numbers / 2 + numbers / 32};
    case MADE_INT4_GROUPS: return (WeightForm){FORM_INT_PACKED, numbers / 2 + numbers / int4_group(cols) * 2};
    default: break;
    }
    WeightForm f = {FORM_BF16, 0};
    (void)!dtype_form(kind->type, &f.form);
    const DTypeInfo *info = dtype_info(kind->type);
    f.bytes = numbers / info->block_length * info->block_bytes;
    return f;
}

Status made_weights_forms(const Graph *g, const MadeKind *asked, WeightForm *forms, Error *err) {
    Use *uses = mem_array((size_t)g->n_weight + 1, sizeof *uses, MEM_GRAPH);
    FAIL_IF(uses == NULL, ERR_MEMORY, "no memory for the weights");
    find_uses(g, uses);
    const bool experts = graph_has_experts(g);
    for (int w = 0; w < g->n_weight; w++) {
        const WeightDecl *d = &g->weights[w];
        const size_t missing = d->last_rows > 0 ? (size_t)(d->rows - d->last_rows) : 0;
        const size_t numbers = ((size_t)d->rows * (size_t)d->count - missing) * (size_t)d->cols;
        const MadeKind kind = kind_for(asked, d, &uses[w], experts);
        forms[w] = d->kept_only                ? (WeightForm){FORM_F32, 0}
                   : d->role == WEIGHT_VECTOR ? (WeightForm){FORM_F32, numbers * 4}
                                              : form_for(&kind, numbers, (size_t)(d->transposed ? d->rows : d->cols));
    }
    mem_free(uses);
    return OK;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------------ */

/* The codes of every form are random bits, the scales moderate numbers (op/form_sample.c). */
static Status fill_tile(DType type, MadeContent content, uint8_t *tile, size_t bytes, Error *err) {
    uint32_t state = 99;
    Form form;
    if (content == MADE_POWERS || !dtype_form(type, &form)) {
        for (size_t i = 0; i < bytes; i++) {
            state = state * 1664525u + 1013904223u;
            const uint8_t any = (uint8_t)(state >> 20);
            tile[i] = content == MADE_POWERS ? (uint8_t)(114 + any % 8) : type == DT_F8_E4M3 && (any & 0x7F) == 0x7F ? 0 : any;
        }
        return OK;
    }
    const DTypeInfo *info = dtype_info(type);
    const int cols = (int)(bytes / info->block_bytes * info->block_length);
    uint8_t *block = mem_alloc(form_sample_bytes(form, 1, cols), MEM_SCRATCH);
    FAIL_IF(block == NULL, ERR_MEMORY, "no memory for made weights");
    form_sample(form, 1, cols, 4, SAMPLE_RANDOM, 7, block);
    memcpy(tile, block, bytes);
    mem_free(block);
    return OK;
}

Status made_weights_fill(ModelFiles *files, size_t memory_bytes, Error *err) {
    return made_files_fill(files, memory_bytes, fill_tile, err);
}
