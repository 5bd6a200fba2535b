/* jinja_number.h - numbers read and written as Python does, and format specifications of numbers. */
#ifndef HOULE_TEXT_JINJA_NUMBER_H
#define HOULE_TEXT_JINJA_NUMBER_H

#include "text/jinja.h"

/* Any value by a specification: what '{:spec}'.format(value) gives. */
Status write_formatted(Jinja *j, Value value, Value spec);

/* int() and float() of a text: *valid is false when it is none. Base 0 takes the prefix's. */
Status number_int_of_text(Jinja *j, Value text, int base, bool *valid, Value *integer);
Status number_float_of_text(Jinja *j, Value text, bool *valid, double *number);
/* Python's round(number, digits). */
Status number_round(Jinja *j, Value number, int64_t digits, Value *rounded);
/* Writes a magnitude as %e, %f, %g (either case) of printf would, `alternate` keeping the point. */
Status write_double_styled(Jinja *j, double magnitude, char style, int precision, bool alternate);

#endif
