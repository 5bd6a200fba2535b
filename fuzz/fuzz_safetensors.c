/* fuzz_safetensors.c - any bytes that begin with a length and a brace. */
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return fuzz_model(data, size);
}
