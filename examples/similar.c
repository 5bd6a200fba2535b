/* similar.c - which of some texts is nearest in meaning to the first, by the vectors of an embedding model.
 *
 *     cc similar.c $(pkg-config --cflags --libs houle) -o similar && ./similar bge-small "tides" "The sea rises." "Bread." */
#include <houle.h>

#include <stdio.h>
#include <stdlib.h>

static double product(const float *a, const float *b, int32_t n) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

int main(int argc, char **argv) {
    houle_error error = {0};
    houle_model *model = NULL;
    houle_embedder *embedder = NULL;
    if (argc < 4) {
        fprintf(stderr, "usage: similar MODEL TEXT TEXT...\n");
        return 2;
    }
    const size_t count = (size_t)argc - 2;
    float *vectors = NULL;
    houle_status status = houle_model_open(argv[1], &model, &error);
    if (status == HOULE_OK)
        status = houle_embedder_open(model, NULL, &embedder, &error);
    const int32_t width = status == HOULE_OK ? houle_embedder_width(embedder) : 0;
    if (status == HOULE_OK && (vectors = calloc(count, (size_t)width * sizeof *vectors)) != NULL)
        status = houle_embed(embedder, (const char *const *)(argv + 2), NULL, count, vectors, &error);
    for (size_t i = 1; status == HOULE_OK && vectors != NULL && i < count; i++)
        printf("%.4f  %s\n", product(vectors, vectors + i * (size_t)width, width), argv[2 + i]);
    if (status != HOULE_OK)
        fprintf(stderr, "similar: %s\n", error.text);
    free(vectors);
    houle_embedder_close(embedder);
    houle_model_close(model);
    return status == HOULE_OK ? 0 : 1;
}
