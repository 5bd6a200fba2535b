/* bench_shape.h - a configuration run without its weights: some of its layers, with made-up weights, stand for the whole. */
#ifndef HOULE_CLI_BENCH_SHAPE_H
#define HOULE_CLI_BENCH_SHAPE_H

#include "engine/session.h"

#include <jansson.h>

typedef struct Shape {
    Model *model;         /* of the chosen layers */
    LayerKinds kinds;     /* of the whole network */
    bool *chosen;         /* [kinds.n_layer] */
    int n_chosen;
    const MadeKind *made;
    double whole_bytes, whole_bytes_per_token; /* of weights: stored, and read for a token */
} Shape;

/* path: a config.json, or a folder with one. type: of the weights, or NULL: what the configuration says. layers: how many
 * to run, 0 = all. */
Status shape_open(const char *path, const char *type, int layers, Shape *shape, Error *err);
void shape_close(Shape *shape); /* a zeroed one is fine */

/* How much longer a step of the whole network takes than one of the chosen layers: the time of each kind of layer times the
 * number of such layers, and what stands outside the layers once. 1 when nothing was measured. */
double shape_factor(const Shape *shape, const Session *session, Phase phase);

/* What was run and how the whole follows from it, for people and as JSON; the rates are those of the chosen layers. */
void shape_print(const Shape *shape, const Session *session, double prompt, double generation, double read_all);
json_t *shape_json(const Shape *shape, const Session *session, double prompt, double generation, double read_all);

#endif
