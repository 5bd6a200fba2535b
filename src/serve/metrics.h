/* metrics.h - what the server counts, as Prometheus reads it. Labels are names of models and of routes: few. */
#ifndef HOULE_SERVE_METRICS_H
#define HOULE_SERVE_METRICS_H

#include "serve/registry.h"

typedef struct Metrics Metrics;

typedef enum Timing {
    TIMING_QUEUE,       /* until the request was admitted to a step */
    TIMING_FIRST_TOKEN, /* from the request's arrival */
    TIMING_BETWEEN,     /* tokens of one answer: its mean gap */
    TIMING_WHOLE,
    TIMING_LOAD, /* waiting for the model */
    TIMING_COUNT
} Timing;

typedef struct AnswerCounts {
    int prompt, cached, generated, reasoning;
    double seconds[TIMING_COUNT]; /* < 0: none */
    const char *finish;           /* "stop", "length", "tool_calls", "abort", "error" */
} AnswerCounts;

Status metrics_open(Metrics **metrics, Error *err);
void metrics_close(Metrics *metrics);
/* Any thread. */
void metrics_add_answer(Metrics *metrics, const char *model, const AnswerCounts *counts);
void metrics_add_reply(Metrics *metrics, const char *route, int status);
/* The mean time from one token to the next in this model's answers, in seconds; < 0: none was measured yet. */
double metrics_token_seconds(Metrics *metrics, const char *model);
/* All of it, with the registry's state, in the text format. */
Status metrics_write(Metrics *metrics, Registry *registry, int active, Text *out, Error *err);

#endif
