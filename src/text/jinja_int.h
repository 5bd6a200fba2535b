/* jinja_int.h - integers without bounds, as Python has them: 64 bits, and limbs beyond.
 *
 * All functions take V_INT, V_BIG or V_BOOL and give V_INT wherever the result fits. A result of more than the
 * limit's integer_bits is ERR_LIMIT. */
#ifndef HOULE_TEXT_JINJA_INT_H
#define HOULE_TEXT_JINJA_INT_H

#include "text/jinja.h"

/* Sign and magnitude, least significant limb first, no leading zeros, at least 64 bits. */
struct BigInt {
    bool negative;
    uint32_t count;
    uint32_t limbs[];
};

Status int_add(Jinja *j, Value a, Value b, Value *sum);
Status int_subtract(Jinja *j, Value a, Value b, Value *difference);
Status int_multiply(Jinja *j, Value a, Value b, Value *product);
/* Rounds towards minus infinity; the remainder has the divisor's sign. Fails for zero. Either may be NULL. */
Status int_divide(Jinja *j, Value a, Value b, Value *quotient, Value *remainder);
/* exponent >= 0. */
Status int_power(Jinja *j, Value base, Value exponent, Value *power);
Status int_negate(Jinja *j, Value a, Value *negated);
/* a / b as the nearest double. Fails for zero and beyond the range. */
Status int_true_divide(Jinja *j, Value a, Value b, double *quotient);

int int_sign(Value a);
/* false when it does not fit. */
bool int_to_int64(Value a, int64_t *number);
/* The nearest double, ties to even; false beyond the range of doubles. */
bool int_to_double(Value a, double *number);
/* Drops the fraction; fails for infinities and NaN. */
Status int_of_double(Jinja *j, double number, Value *integer);
/* Digits of a base from 2 to 36, nothing else; `count` > 0. */
Status int_of_digits(Jinja *j, const char *digits, size_t count, int base, bool negative, Value *integer);
/* The digits (and "-") to the output. Python's limit of 4300 decimal digits applies. */
Status int_write(Jinja *j, Value a, int base, bool upper);
/* Bits of the magnitude. */
size_t int_bits(Value a);

/* Order of any two numbers, floats included; exact. */
int number_compare(Value a, Value b, bool *unordered);
/* A number as double; fails for integers beyond the range. */
Status number_to_double(Jinja *j, Value a, double *number);

#endif
