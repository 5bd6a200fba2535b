/* embed_dense.c - see embed_dense.h. */
#include "engine/embed_dense.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "format/json.h"
#include "format/model_files.h"
#include "op/op_row.h"

#include <string.h>

enum { WIDTH_MOST = 1 << 16 };

struct EmbedDense {
    EmbedDense *next;
    int in, out;
    Act act;
    float *weight; /* [out, in] */
    float *bias;   /* [out]; NULL = none */
    float *result; /* [out]: what the next one takes */
};

/* Class names of PyTorch. */
static bool act_of_class(const char *name, Act *act) {
    static const struct { const char *end; Act act; } known[] = {
        {".Identity", ACT_NONE}, {".Tanh", ACT_TANH}, {".ReLU", ACT_RELU}, {".GELU", ACT_GELU_ERF}, {".SiLU", ACT_SILU}, {".Sigmoid", ACT_SIGMOID},
    };
    for (size_t i = 0; i < COUNT(known); i++)
        if (ends_with(name, known[i].end)) {
            *act = known[i].act;
            return true;
        }
    return false;
}

static Status read_config(EmbedDense *d, const char *path, const json_t *config, bool *bias, Error *err) {
    const json_int_t in = json_integer_value(json_object_get(config, "in_features")), out = json_integer_value(json_object_get(config, "out_features"));
    const char *act = json_string_value(json_object_get(config, "activation_function"));
    FAIL_IF(in < 1 || out < 1 || in > WIDTH_MOST || out > WIDTH_MOST, ERR_FORMAT, "%s: a layer from %lld to %lld numbers", path,
            (long long)in, (long long)out);
    FAIL_IF(act != NULL && !act_of_class(act, &d->act), ERR_UNSUPPORTED, "%s: the activation %.64s is not known", path, act);
    d->in = (int)in;
    d->out = (int)out;
    *bias = !json_is_false(json_object_get(config, "bias"));
    return OK;
}

static Status read_tensor(const ModelFiles *files, const char *name, int rows, int cols, float **numbers, Error *err) {
    const Tensor *t = model_files_find(files, name);
    const size_t count = (size_t)rows * (size_t)cols;
    FAIL_IF(t == NULL || tensor_numbers(t) != count || !dtype_form(t->type, &(Form){0}), ERR_FORMAT,
            "%s: %s of %d x %d numbers is not there", model_files_path(files), name, rows, cols);
    *numbers = mem_array(count, sizeof **numbers, MEM_WEIGHTS);
    FAIL_IF(*numbers == NULL, ERR_MEMORY, "no memory for a dense layer");
    dequantise_row(t->type, t->data, *numbers, count);
    return OK;
}

static Status read_layer(EmbedDense *d, const char *path, Error *err) {
    char *file = path_join(path, "config.json");
    json_t *config = NULL;
    bool bias = false;
    FAIL_IF(file == NULL, ERR_MEMORY, "no memory for a path");
    Status status = json_read(file, 1 << 20, &config, err);
    if (status == OK)
        status = read_config(d, file, config, &bias, err);
    json_decref(config);
    mem_free(file);
    TRY(status);
    char *weights = path_join(path, "model.safetensors");
    FAIL_IF(weights == NULL, ERR_MEMORY, "no memory for a path");
    ModelFiles *files = NULL;
    status = model_files_open(weights, &files, err);
    mem_free(weights);
    TRY(status);
    status = read_tensor(files, "linear.weight", d->out, d->in, &d->weight, err);
    if (status == OK && bias)
        status = read_tensor(files, "linear.bias", 1, d->out, &d->bias, err);
    if (status == OK)
        status = model_files_check(files, err);
    model_files_close(files);
    TRY(status);
    d->result = mem_array((size_t)d->out, sizeof *d->result, MEM_WEIGHTS);
    FAIL_IF(d->result == NULL, ERR_MEMORY, "no memory for a dense layer");
    return OK;
}

Status embed_dense_add(EmbedDense **dense, const char *folder, const char *module, Error *err) {
    EmbedDense **at = dense;
    int width = 0;
    for (; *at != NULL; at = &(*at)->next)
        width = (*at)->out;
    char *path = path_join(folder, module);
    *at = mem_zalloc(sizeof **at, MEM_WEIGHTS);
    Status status = path == NULL || *at == NULL ? error_set(err, ERR_MEMORY, "no memory for a dense layer") : read_layer(*at, path, err);
    if (status == OK && width != 0 && (*at)->in != width)
        status = error_set(err, ERR_FORMAT, "%s: it takes %d numbers, the layer before gives %d", path, (*at)->in, width);
    mem_free(path);
    return status;
}

void embed_dense_close(EmbedDense *dense) {
    while (dense != NULL) {
        EmbedDense *next = dense->next;
        mem_free(dense->weight);
        mem_free(dense->bias);
        mem_free(dense->result);
        mem_free(dense);
        dense = next;
    }
}

size_t embed_dense_bytes(const EmbedDense *dense) {
    size_t bytes = 0;
    for (const EmbedDense *d = dense; d != NULL; d = d->next)
        bytes += ((size_t)d->in + 2) * (size_t)d->out * sizeof(float);
    return bytes;
}

int embed_dense_in(const EmbedDense *dense) {
    return dense->in;
}

int embed_dense_out(const EmbedDense *dense) {
    while (dense->next != NULL)
        dense = dense->next;
    return dense->out;
}

void embed_dense_apply(const EmbedDense *dense, const float *x, float *y) {
    for (const EmbedDense *d = dense; d != NULL; x = d->result, d = d->next) {
        for (int r = 0; r < d->out; r++) {
            double sum = d->bias != NULL ? (double)d->bias[r] : 0;
            for (int i = 0; i < d->in; i++)
                sum += (double)d->weight[(size_t)r * (size_t)d->in + (size_t)i] * (double)x[i];
            d->result[r] = (float)sum;
        }
        if (d->act != ACT_NONE)
            op_act(d->result, d->result, d->out, d->act);
        if (d->next == NULL)
            memcpy(y, d->result, (size_t)d->out * sizeof *y);
    }
}
