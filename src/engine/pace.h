/* pace.h - how many rows of a prompt a step takes beside texts that are being generated.
 *
 * Who reads a text as it is written sees each step as a pause between two tokens; who waits for a prompt wants it read
 * soon. With g the time of a step that only generates, r what a prompt's row adds and pauses of G g allowed, a step has
 * room for (G - 1) g / r rows, and the prompt takes G / (G - 1) times as long as its rows alone.
 *
 * r is learnt from steps of prompts alone, g from steps of generating alone. What a mixed step takes beyond g + n r (rows at
 * a greater depth, few rows that use the processor less well) is learnt from mixed steps and taken off the time allowed, so
 * that the pauses are kept while a prompt becomes longer. */
#ifndef HOULE_ENGINE_PACE_H
#define HOULE_ENGINE_PACE_H

#include <stdbool.h>

/* Nanoseconds, moving averages; all zero: nothing is known yet. */
typedef struct Pace {
    double generate_ns, row_ns, beyond_ns;
} Pace;

/* Rows for prompts in the next step: at most `room`, and at least 8 of them so that every prompt comes to an end. */
int pace_rows(const Pace *pace, bool generating, int room);
/* A step was made: with that many texts generating and rows of prompts. */
void pace_learn(Pace *pace, int generating, int rows, double ns);

#endif
