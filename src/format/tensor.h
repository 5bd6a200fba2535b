/* tensor.h - a tensor in a file, and the containers that it may lie in. */
#ifndef HOULE_FORMAT_TENSOR_H
#define HOULE_FORMAT_TENSOR_H

#include "format/dtype.h"

typedef enum ContainerKind { CONTAINER_GGUF, CONTAINER_SAFETENSORS } ContainerKind;

enum { TENSOR_MAX_DIMS = 8 };

typedef struct Tensor {
    const char *name;             /* as in the file: valid UTF-8, not empty, without NUL */
    DType type;
    int n_dim;                    /* 0 = a single number */
    size_t dims[TENSOR_MAX_DIMS]; /* row-major: the last is contiguous (GGUF's order is turned round); may be 0 */
    const uint8_t *data;          /* in the mapping; safetensors promises no alignment, not even the number's own */
    size_t bytes;                 /* all within the file; 0 when a dimension is 0 */
    int file;                     /* which of the files */
    size_t offset;                /* of data in that file */
} Tensor;

/* The numbers of a tensor: the product of its dimensions, which is known to fit. */
size_t tensor_numbers(const Tensor *tensor);
/* The length of a row (the last dimension; 1 for a single number) and how many rows there are. */
size_t tensor_columns(const Tensor *tensor);
size_t tensor_rows(const Tensor *tensor);

#endif
