/* fuzz_model.h - opens bytes as a model and uses all that it offers. For the fuzz targets of the containers. */
#ifndef HOULE_FUZZ_FUZZ_MODEL_H
#define HOULE_FUZZ_FUZZ_MODEL_H

#include "base/mem.h"
#include "format/model_files.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Something must be done with what is read, or the compiler leaves the reading out. */
static volatile double fuzz_sum;

static void fuzz_use_tensor(const ModelFiles *files, const Tensor *tensor) {
    enum { MOST = 1024 }; /* a multiple of every block */
    float row[MOST];
    const size_t numbers = tensor_numbers(tensor) < MOST ? tensor_numbers(tensor) : MOST;
    dequantise_row(tensor->type, tensor->data, row, numbers);
    if (numbers > 0)
        fuzz_sum += (double)row[numbers - 1];
    if (tensor->bytes > 0)
        fuzz_sum += tensor->data[tensor->bytes - 1];
    if (model_files_find(files, tensor->name) != tensor || strlen(tensor->name) == 0)
        abort();
}

static void fuzz_use_meta(const MetaValue *value) {
    const char *bytes;
    size_t count;
    double real;
    if (meta_real(value, &real))
        fuzz_sum += real;
    for (size_t i = 0; value->type == META_ARRAY && i < value->as.array.count; i++) {
        if (meta_array_string(value, i, &bytes, &count))
            fuzz_sum += count > 0 ? bytes[count - 1] : 0;
        else if (meta_array_real(value, i, &real))
            fuzz_sum += real;
        else
            abort();
    }
}

/* One byte of the input chooses an allocation that fails; 0: none. */
static inline int fuzz_model(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    const int descriptor = memfd_create("fuzz", 0);
    if (descriptor < 0 || write(descriptor, data + 1, size - 1) != (ssize_t)(size - 1))
        abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    const size_t before = mem_bytes_total();
    ModelFiles *files;
    Error err = {0};
    mem_fail_at(data[0]);
    const Status status = model_files_open(path, &files, &err);
    mem_fail_at(0);
    if (status == OK) {
        for (size_t i = 0; i < model_files_tensors(files); i++)
            fuzz_use_tensor(files, model_files_tensor(files, i));
        for (size_t i = 0; i < model_files_metas(files); i++)
            fuzz_use_meta(model_files_meta(files, i));
        model_files_close(files);
    } else if (status != ERR_MEMORY && strstr(err.text, path) == NULL) {
        abort(); /* the message must name the file */
    }
    if (mem_bytes_total() != before)
        abort();
    close(descriptor);
    return 0;
}

#endif
