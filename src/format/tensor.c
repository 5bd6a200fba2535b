/* tensor.c - see tensor.h. */
#include "format/tensor.h"

size_t tensor_numbers(const Tensor *tensor) {
    size_t numbers = 1;
    for (int i = 0; i < tensor->n_dim; i++) {
        if (tensor->dims[i] == 0)
            return 0;
        numbers *= tensor->dims[i];
    }
    return numbers;
}

size_t tensor_columns(const Tensor *tensor) {
    return tensor->n_dim > 0 ? tensor->dims[tensor->n_dim - 1] : 1;
}

size_t tensor_rows(const Tensor *tensor) {
    const size_t columns = tensor_columns(tensor);
    return columns > 0 ? tensor_numbers(tensor) / columns : 0;
}
