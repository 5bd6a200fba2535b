/* jinja_int.c - arithmetic on limbs of 32 bits, schoolbook; numbers in templates are short, and limited.
 *
 * Each operation first tries 64 bits. Otherwise both operands become Limbs: a magnitude in place (for 64-bit ones,
 * in two limbs of the struct itself). */
#include "text/jinja_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Limbs {
    bool negative;
    size_t count;
    const uint32_t *limbs;
    uint32_t own[2];
} Limbs;

enum { MAX_DECIMAL_DIGITS = 4300 };

static int64_t small_of(Value v) {
    return v.kind == V_BOOL ? v.as.boolean : v.as.integer;
}

static void limbs_of(Value v, Limbs *out) {
    if (v.kind == V_BIG) {
        *out = (Limbs){.negative = v.as.big->negative, .count = v.as.big->count, .limbs = v.as.big->limbs};
        return;
    }
    const int64_t number = small_of(v);
    const uint64_t magnitude = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    out->negative = number < 0;
    out->own[0] = (uint32_t)magnitude;
    out->own[1] = (uint32_t)(magnitude >> 32);
    out->count = out->own[1] != 0 ? 2 : out->own[0] != 0;
    out->limbs = out->own;
}

static Status big_new(Jinja *j, size_t limbs, BigInt **big) {
    if (limbs > (size_t)j->limits->integer_bits / 32 + 2)
        return jinja_fail(j, ERR_LIMIT, "an integer of more than %d bits", j->limits->integer_bits);
    TRY(jinja_spend(j, limbs));
    TRY(jinja_alloc(j, sizeof(BigInt) + limbs * sizeof(uint32_t), big));
    (*big)->count = (uint32_t)limbs;
    return OK;
}

/* Drops leading zeros; what fits 64 bits becomes V_INT. */
static Value normalised(BigInt *big) {
    while (big->count > 0 && big->limbs[big->count - 1] == 0)
        big->count--;
    if (big->count <= 2) {
        const uint64_t magnitude =
            (big->count > 1 ? (uint64_t)big->limbs[1] << 32 : 0) | (big->count > 0 ? big->limbs[0] : 0);
        if (!big->negative && magnitude <= INT64_MAX)
            return value_int((int64_t)magnitude);
        if (big->negative && magnitude <= (uint64_t)INT64_MAX + 1)
            return value_int(magnitude == 0 ? 0 : -1 - (int64_t)(magnitude - 1));
    }
    return (Value){.kind = V_BIG, .as.big = big};
}

static int compare_magnitudes(const Limbs *a, const Limbs *b) {
    if (a->count != b->count)
        return a->count > b->count ? 1 : -1;
    for (size_t i = a->count; i-- > 0;)
        if (a->limbs[i] != b->limbs[i])
            return a->limbs[i] > b->limbs[i] ? 1 : -1;
    return 0;
}

static void add_magnitudes(const Limbs *a, const Limbs *b, BigInt *sum) {
    uint64_t carry = 0;
    for (size_t i = 0; i < sum->count; i++) {
        carry += i < a->count ? a->limbs[i] : 0;
        carry += i < b->count ? b->limbs[i] : 0;
        sum->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
}

/* a >= b */
static void subtract_magnitudes(const Limbs *a, const Limbs *b, BigInt *difference) {
    int64_t borrow = 0;
    for (size_t i = 0; i < difference->count; i++) {
        borrow += (int64_t)a->limbs[i] - (i < b->count ? b->limbs[i] : 0);
        difference->limbs[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
}

static Status add_limbs(Jinja *j, const Limbs *a, const Limbs *b, Value *sum) {
    BigInt *big;
    if (a->negative == b->negative) {
        TRY(big_new(j, MAX(a->count, b->count) + 1, &big));
        add_magnitudes(a, b, big);
        big->negative = a->negative;
    } else {
        const bool swap = compare_magnitudes(a, b) < 0;
        const Limbs *large = swap ? b : a, *small = swap ? a : b;
        TRY(big_new(j, large->count, &big));
        subtract_magnitudes(large, small, big);
        big->negative = large->negative;
    }
    *sum = normalised(big);
    return OK;
}

Status int_add(Jinja *j, Value a, Value b, Value *sum) {
    if (a.kind != V_BIG && b.kind != V_BIG) {
        const int64_t x = small_of(a), y = small_of(b);
        if (y >= 0 ? x <= INT64_MAX - y : x >= INT64_MIN - y) {
            *sum = value_int(x + y);
            return OK;
        }
    }
    Limbs x, y;
    limbs_of(a, &x);
    limbs_of(b, &y);
    return add_limbs(j, &x, &y, sum);
}

Status int_subtract(Jinja *j, Value a, Value b, Value *difference) {
    if (a.kind != V_BIG && b.kind != V_BIG) {
        const int64_t x = small_of(a), y = small_of(b);
        if (y >= 0 ? x >= INT64_MIN + y : x <= INT64_MAX + y) {
            *difference = value_int(x - y);
            return OK;
        }
    }
    Limbs x, y;
    limbs_of(a, &x);
    limbs_of(b, &y);
    y.negative = !y.negative;
    return add_limbs(j, &x, &y, difference);
}

Status int_negate(Jinja *j, Value a, Value *negated) {
    return int_subtract(j, value_int(0), a, negated);
}

static bool fits_half(int64_t number) {
    return number >= INT32_MIN && number <= INT32_MAX;
}

Status int_multiply(Jinja *j, Value a, Value b, Value *product) {
    if (a.kind != V_BIG && b.kind != V_BIG && fits_half(small_of(a)) && fits_half(small_of(b))) {
        *product = value_int(small_of(a) * small_of(b));
        return OK;
    }
    Limbs x, y;
    limbs_of(a, &x);
    limbs_of(b, &y);
    BigInt *big;
    TRY(big_new(j, x.count + y.count, &big));
    TRY(jinja_spend(j, x.count * y.count / 16));
    for (size_t i = 0; i < x.count; i++) {
        uint64_t carry = 0;
        for (size_t k = 0; k < y.count; k++) {
            carry += (uint64_t)x.limbs[i] * y.limbs[k] + big->limbs[i + k];
            big->limbs[i + k] = (uint32_t)carry;
            carry >>= 32;
        }
        big->limbs[i + y.count] = (uint32_t)carry;
    }
    big->negative = x.negative != y.negative;
    *product = normalised(big);
    if (int_bits(*product) > (size_t)j->limits->integer_bits)
        return jinja_fail(j, ERR_LIMIT, "an integer of more than %d bits", j->limits->integer_bits);
    return OK;
}

/* Divides in place by one limb, returns the remainder. */
static uint32_t divide_by_limb(uint32_t *limbs, size_t count, uint32_t divisor) {
    uint64_t rest = 0;
    for (size_t i = count; i-- > 0;) {
        rest = rest << 32 | limbs[i];
        limbs[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    return (uint32_t)rest;
}

static int leading_zeros(uint32_t limb) {
    int zeros = 0;
    while ((limb & 0x80000000u) == 0) {
        limb <<= 1;
        zeros++;
    }
    return zeros;
}

/* Long division (Knuth, The Art of Computer Programming, volume 2, 4.3.1, algorithm D). `rest` holds the dividend
 * shifted left so that the divisor's top bit is set, one limb longer than it; it becomes the shifted remainder. */
static void divide_long(uint32_t *rest, size_t rest_count, const uint32_t *divisor, size_t n, uint32_t *quotient) {
    for (size_t k = rest_count - n; k-- > 0;) {
        const uint64_t top = (uint64_t)rest[k + n] << 32 | rest[k + n - 1];
        uint64_t guess = top / divisor[n - 1], left = top % divisor[n - 1];
        while (guess > UINT32_MAX || guess * divisor[n - 2] > (left << 32 | rest[k + n - 2])) {
            guess--;
            left += divisor[n - 1];
            if (left > UINT32_MAX)
                break;
        }
        int64_t borrow = 0;
        uint64_t carry = 0;
        for (size_t i = 0; i < n; i++) {
            carry += guess * divisor[i];
            borrow += (int64_t)rest[k + i] - (int64_t)(carry & UINT32_MAX);
            rest[k + i] = (uint32_t)borrow;
            borrow >>= 32;
            carry >>= 32;
        }
        borrow += (int64_t)rest[k + n] - (int64_t)carry;
        rest[k + n] = (uint32_t)borrow;
        if (borrow < 0) { /* the guess was one too large */
            guess--;
            uint64_t back = 0;
            for (size_t i = 0; i < n; i++) {
                back += (uint64_t)rest[k + i] + divisor[i];
                rest[k + i] = (uint32_t)back;
                back >>= 32;
            }
            rest[k + n] += (uint32_t)back;
        }
        quotient[k] = (uint32_t)guess;
    }
}

static void shift_left(const uint32_t *from, size_t count, int bits, uint32_t *to) {
    uint32_t carry = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t wide = (uint64_t)from[i] << bits;
        to[i] = (uint32_t)wide | carry;
        carry = (uint32_t)(wide >> 32);
    }
    to[count] = carry;
}

/* Magnitudes only, rounding towards zero. b != 0. */
static Status divide_magnitudes(Jinja *j, const Limbs *a, const Limbs *b, BigInt **quotient, BigInt **remainder) {
    if (compare_magnitudes(a, b) < 0) {
        TRY(big_new(j, 0, quotient));
        TRY(big_new(j, a->count, remainder));
        memcpy((*remainder)->limbs, a->limbs, a->count * sizeof(uint32_t));
        return OK;
    }
    if (b->count == 1) {
        TRY(big_new(j, a->count, quotient));
        TRY(big_new(j, 1, remainder));
        memcpy((*quotient)->limbs, a->limbs, a->count * sizeof(uint32_t));
        (*remainder)->limbs[0] = divide_by_limb((*quotient)->limbs, a->count, b->limbs[0]);
        return OK;
    }
    const int shift = leading_zeros(b->limbs[b->count - 1]);
    BigInt *divisor;
    TRY(big_new(j, a->count + 1, remainder));
    TRY(big_new(j, b->count + 1, &divisor));
    TRY(big_new(j, a->count - b->count + 1, quotient));
    TRY(jinja_spend(j, a->count * b->count / 16));
    shift_left(a->limbs, a->count, shift, (*remainder)->limbs);
    shift_left(b->limbs, b->count, shift, divisor->limbs);
    divide_long((*remainder)->limbs, a->count + 1, divisor->limbs, b->count, (*quotient)->limbs);
    uint32_t *rest = (*remainder)->limbs;
    for (size_t i = 0; shift > 0 && i < a->count; i++)
        rest[i] = rest[i] >> shift | rest[i + 1] << (32 - shift);
    (*remainder)->count = (uint32_t)b->count;
    return OK;
}

Status int_divide(Jinja *j, Value a, Value b, Value *quotient, Value *remainder) {
    REFUSE_IF(int_sign(b) == 0, j, "integer division or modulo by zero");
    Value q, r;
    if (a.kind != V_BIG && b.kind != V_BIG && !(small_of(a) == INT64_MIN && small_of(b) == -1)) {
        const int64_t x = small_of(a), y = small_of(b);
        int64_t whole = x / y, rest = x % y;
        if (rest != 0 && (rest < 0) != (y < 0)) {
            whole--;
            rest += y;
        }
        q = value_int(whole);
        r = value_int(rest);
    } else {
        Limbs x, y;
        limbs_of(a, &x);
        limbs_of(b, &y);
        BigInt *whole, *rest;
        TRY(divide_magnitudes(j, &x, &y, &whole, &rest));
        whole->negative = x.negative != y.negative;
        rest->negative = x.negative;
        q = normalised(whole);
        r = normalised(rest);
        if (int_sign(r) != 0 && x.negative != y.negative) {
            TRY(int_subtract(j, q, value_int(1), &q));
            TRY(int_add(j, r, b, &r));
        }
    }
    if (quotient != NULL)
        *quotient = q;
    if (remainder != NULL)
        *remainder = r;
    return OK;
}

Status int_power(Jinja *j, Value base, Value exponent, Value *power) {
    int64_t n;
    const int64_t small = base.kind == V_BIG ? 2 : small_of(base);
    if (!int_to_int64(exponent, &n))
        n = small >= -1 && small <= 1 ? 2 + (exponent.as.big->limbs[0] & 1) : INT64_MAX;
    /* (bits - 1) * n bits at the least: refuse before computing. */
    const size_t bits = int_bits(base);
    if (bits > 1 && (uint64_t)n > (uint64_t)j->limits->integer_bits / (bits - 1))
        return jinja_fail(j, ERR_LIMIT, "an integer of more than %d bits", j->limits->integer_bits);
    Value result = value_int(1), square = base;
    for (uint64_t left = (uint64_t)n; left > 0; left >>= 1) {
        if ((left & 1) != 0)
            TRY(int_multiply(j, result, square, &result));
        if (left > 1)
            TRY(int_multiply(j, square, square, &square));
    }
    *power = result;
    return OK;
}

int int_sign(Value a) {
    if (a.kind == V_BIG)
        return a.as.big->negative ? -1 : 1;
    const int64_t number = small_of(a);
    return (number > 0) - (number < 0);
}

bool int_to_int64(Value a, int64_t *number) {
    if (a.kind == V_BIG)
        return false;
    *number = small_of(a);
    return true;
}

size_t int_bits(Value a) {
    Limbs limbs;
    limbs_of(a, &limbs);
    return limbs.count == 0 ? 0 : limbs.count * 32 - (size_t)leading_zeros(limbs.limbs[limbs.count - 1]);
}

static uint64_t bits_at(const Limbs *limbs, size_t at) {
    uint64_t word = 0;
    for (size_t i = 0; i < 3; i++) {
        const size_t limb = at / 32 + i;
        if (limb >= limbs->count)
            break;
        const int offset = (int)(i * 32) - (int)(at % 32);
        if (offset >= 0)
            word |= (uint64_t)limbs->limbs[limb] << offset;
        else
            word |= (uint64_t)limbs->limbs[limb] >> -offset;
    }
    return word;
}

static bool any_bit_below(const Limbs *limbs, size_t at) {
    for (size_t limb = 0; limb * 32 < at && limb < limbs->count; limb++) {
        uint32_t word = limbs->limbs[limb];
        if (at - limb * 32 < 32)
            word &= (1u << (at - limb * 32)) - 1;
        if (word != 0)
            return true;
    }
    return false;
}

/* magnitude * 2^exponent (plus a little more when `sticky`), rounded once, ties to even. The magnitude has 64 bits. */
static double round_to_double(uint64_t top, bool sticky, int64_t exponent) {
    /* 64 bits down to 53 (fewer for results below the normal range, which do not occur here). */
    const uint64_t rest = top & 0x7FF;
    uint64_t kept = top >> 11;
    if (rest > 0x400 || (rest == 0x400 && (sticky || (kept & 1) != 0)))
        kept++;
    return ldexp((double)kept, (int)exponent + 11);
}

bool int_to_double(Value a, double *number) {
    if (a.kind != V_BIG) {
        *number = (double)small_of(a);
        return true;
    }
    Limbs limbs;
    limbs_of(a, &limbs);
    const size_t bits = int_bits(a);
    if (bits > 1024)
        return false;
    const size_t low = bits - 64; /* a big integer has at least 64 bits */
    const double magnitude = round_to_double(bits_at(&limbs, low), any_bit_below(&limbs, low), (int64_t)low);
    *number = limbs.negative ? -magnitude : magnitude;
    return isfinite(magnitude);
}

Status number_to_double(Jinja *j, Value a, double *number) {
    if (a.kind == V_FLOAT) {
        *number = a.as.real;
        return OK;
    }
    REFUSE_IF(!int_to_double(a, number), j, "int too large to convert to float");
    return OK;
}

Status int_true_divide(Jinja *j, Value a, Value b, double *quotient) {
    REFUSE_IF(int_sign(b) == 0, j, "division by zero");
    const size_t a_bits = int_bits(a), b_bits = int_bits(b);
    if (a_bits <= 53 && b_bits <= 53) {
        *quotient = (double)small_of(a) / (double)small_of(b);
        return OK;
    }
    REFUSE_IF(a_bits > b_bits + 1024, j, "integer division result too large for a float");
    if (int_sign(a) == 0 || b_bits > a_bits + 1000) {
        /* Below 2^-1000 the exact rounding of subnormals is of no interest. */
        double small = 0;
        if (b_bits <= 1024 && int_to_double(b, &small))
            small = ldexp((double)int_sign(a), (int)a_bits - (int)b_bits);
        *quotient = int_sign(b) < 0 ? -small : small;
        return OK;
    }
    /* Scale so that the quotient has at least 64 bits, take its first 64 and note whether anything follows. */
    const int64_t shift = 66 + (int64_t)b_bits - (int64_t)a_bits;
    Value scale, scaled_a = a, scaled_b = b, q, r;
    TRY(int_power(j, value_int(2), value_int(shift < 0 ? -shift : shift), &scale));
    if (shift >= 0)
        TRY(int_multiply(j, a, scale, &scaled_a));
    else
        TRY(int_multiply(j, b, scale, &scaled_b));
    const bool negative = int_sign(a) * int_sign(b) < 0;
    if (int_sign(a) < 0)
        TRY(int_negate(j, scaled_a, &scaled_a));
    if (int_sign(b) < 0)
        TRY(int_negate(j, scaled_b, &scaled_b));
    TRY(int_divide(j, scaled_a, scaled_b, &q, &r));
    Limbs limbs;
    limbs_of(q, &limbs);
    const size_t low = int_bits(q) - 64;
    const bool sticky = int_sign(r) != 0 || any_bit_below(&limbs, low);
    const double magnitude = round_to_double(bits_at(&limbs, low), sticky, (int64_t)low - shift);
    REFUSE_IF(isinf(magnitude), j, "integer division result too large for a float");
    *quotient = negative ? -magnitude : magnitude;
    return OK;
}

Status int_of_double(Jinja *j, double number, Value *integer) {
    REFUSE_IF(isnan(number), j, "cannot convert float NaN to integer");
    REFUSE_IF(isinf(number), j, "cannot convert float infinity to integer");
    if (number > -0x1p63 && number < 0x1p63) {
        *integer = value_int((int64_t)number);
        return OK;
    }
    int exponent;
    const double fraction = frexp(fabs(number), &exponent); /* 53 bits: an integer after scaling by 2^53 */
    const uint64_t mantissa = (uint64_t)ldexp(fraction, 53);
    Value scale, magnitude;
    TRY(int_power(j, value_int(2), value_int(exponent - 53), &scale));
    TRY(int_multiply(j, value_int((int64_t)mantissa), scale, &magnitude));
    if (number < 0)
        return int_negate(j, magnitude, integer);
    *integer = magnitude;
    return OK;
}

static uint32_t digit_value(char c) {
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0');
    return (uint32_t)((c | 0x20) - 'a') + 10;
}

Status int_of_digits(Jinja *j, const char *digits, size_t count, int base, bool negative, Value *integer) {
    REFUSE_IF(base == 10 && count > MAX_DECIMAL_DIGITS, j, "an integer of %zu digits is too long (at most %d)", count,
              MAX_DECIMAL_DIGITS);
    if (count > (size_t)j->limits->integer_bits)
        return jinja_fail(j, ERR_LIMIT, "an integer of more than %d bits", j->limits->integer_bits);
    BigInt *big;
    TRY(big_new(j, count * 6 / 32 + 3 > 4 ? MIN(count * 6 / 32 + 3, (size_t)j->limits->integer_bits / 32 + 2) : 4,
                &big));
    const size_t room = big->count;
    size_t used = 0;
    TRY(jinja_spend(j, count * count / 256));
    for (size_t i = 0; i < count; i++) {
        uint64_t carry = digit_value(digits[i]);
        for (size_t k = 0; k < used; k++) {
            carry += (uint64_t)big->limbs[k] * (uint32_t)base;
            big->limbs[k] = (uint32_t)carry;
            carry >>= 32;
        }
        if (carry != 0) {
            if (used == room)
                return jinja_fail(j, ERR_LIMIT, "an integer of more than %d bits", j->limits->integer_bits);
            big->limbs[used++] = (uint32_t)carry;
        }
    }
    big->negative = negative;
    *integer = normalised(big);
    return OK;
}

Status int_write(Jinja *j, Value a, int base, bool upper) {
    if (a.kind != V_BIG && base == 10) {
        char decimal[24];
        const int count = snprintf(decimal, sizeof decimal, "%" PRId64, small_of(a));
        return jinja_write(j, decimal, (size_t)count);
    }
    Limbs limbs;
    limbs_of(a, &limbs);
    if (limbs.count == 0)
        return jinja_write_char(j, '0');
    const char *alphabet = upper ? "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" : "0123456789abcdefghijklmnopqrstuvwxyz";
    const size_t room = limbs.count * 32 + 1;
    char small[80], *digits = small;
    if (room > sizeof small)
        TRY(jinja_alloc(j, room, &digits));
    BigInt *rest;
    TRY(big_new(j, limbs.count, &rest));
    TRY(jinja_spend(j, limbs.count * limbs.count));
    memcpy(rest->limbs, limbs.limbs, limbs.count * sizeof(uint32_t));
    size_t at = room, count = limbs.count;
    /* Nine decimal digits (or as many as fit a limb) for each division. */
    uint32_t chunk = (uint32_t)base;
    int chunk_digits = 1;
    while (chunk <= UINT32_MAX / (uint32_t)base) {
        chunk *= (uint32_t)base;
        chunk_digits++;
    }
    while (count > 0) {
        uint32_t part = divide_by_limb(rest->limbs, count, chunk);
        while (count > 0 && rest->limbs[count - 1] == 0)
            count--;
        for (int i = 0; i < chunk_digits && (count > 0 || part > 0); i++) {
            digits[--at] = alphabet[part % (uint32_t)base];
            part /= (uint32_t)base;
        }
    }
    REFUSE_IF(base == 10 && room - at > MAX_DECIMAL_DIGITS, j,
              "an integer of %zu digits is too long to print (at most %d)", room - at, MAX_DECIMAL_DIGITS);
    if (limbs.negative)
        TRY(jinja_write_char(j, '-'));
    return jinja_write(j, digits + at, room - at);
}

/* An integer against a double, exactly. */
static int compare_with_double(Value a, double b) {
    if (isinf(b))
        return b > 0 ? -1 : 1;
    if (a.kind == V_BIG) {
        const int sign = int_sign(a);
        int exponent;
        const double fraction = frexp(fabs(b), &exponent);
        if (b == 0 || (b > 0) != (sign > 0) || exponent < 1)
            return sign;
        const size_t bits = int_bits(a);
        if (bits != (size_t)exponent)
            return bits > (size_t)exponent ? sign : -sign;
        Limbs limbs;
        limbs_of(a, &limbs);
        const uint64_t top = bits_at(&limbs, bits - 64), other = (uint64_t)ldexp(fraction, 53) << 11;
        if (top != other)
            return top > other ? sign : -sign;
        return any_bit_below(&limbs, bits - 64) ? sign : 0;
    }
    const int64_t number = small_of(a);
    if (b >= 0x1p63)
        return -1;
    if (b < -0x1p63)
        return 1;
    const int64_t whole = (int64_t)b;
    if (number != whole)
        return number > whole ? 1 : -1;
    const double fraction = b - (double)whole; /* exact: a double with a fraction is below 2^53 */
    return fraction > 0 ? -1 : fraction < 0;
}

int number_compare(Value a, Value b, bool *unordered) {
    *unordered = (a.kind == V_FLOAT && isnan(a.as.real)) || (b.kind == V_FLOAT && isnan(b.as.real));
    if (*unordered)
        return 0;
    if (a.kind == V_FLOAT && b.kind == V_FLOAT)
        return (a.as.real > b.as.real) - (a.as.real < b.as.real);
    if (a.kind == V_FLOAT)
        return -compare_with_double(b, a.as.real);
    if (b.kind == V_FLOAT)
        return compare_with_double(a, b.as.real);
    if (a.kind != V_BIG && b.kind != V_BIG)
        return (small_of(a) > small_of(b)) - (small_of(a) < small_of(b));
    Limbs x, y;
    limbs_of(a, &x);
    limbs_of(b, &y);
    if (x.negative != y.negative)
        return x.negative ? -1 : 1;
    return x.negative ? -compare_magnitudes(&x, &y) : compare_magnitudes(&x, &y);
}
