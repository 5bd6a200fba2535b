/* unicode_class.c - see unicode_class.h. Categories come from utf8proc; ASCII, which is most text, goes first. */
#include "text/unicode_class.h"

#include "text/unicode_news.h"

#include <utf8proc.h>

bool unicode_is_space(uint32_t c) {
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

static utf8proc_category_t category(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c);
}

/* As the libraries see it, whose tables are newer than utf8proc's. */
static utf8proc_category_t category_now(uint32_t c) {
    const uint32_t other = unicode_stand_in(c);
    return category(other != 0 ? other : c);
}

bool unicode_is_digit(uint32_t c) {
    return c < 0x80 ? c >= '0' && c <= '9' : category_now(c) == UTF8PROC_CATEGORY_ND;
}

bool unicode_is_number(uint32_t c) {
    if (c < 0x80)
        return c >= '0' && c <= '9';
    const utf8proc_category_t k = category_now(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool unicode_is_punctuation(uint32_t c) {
    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    const utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool unicode_is_mark(uint32_t c) {
    const utf8proc_category_t k = c < 0x300 ? UTF8PROC_CATEGORY_LU : category(c);
    return k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
}

bool unicode_is_nonspacing(uint32_t c) {
    return c >= 0x300 && category(c) == UTF8PROC_CATEGORY_MN;
}

bool unicode_is_other(uint32_t c) {
    if (c < 0x80)
        return c < 0x20 || c == 0x7F;
    const utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

bool unicode_is_word(uint32_t c) {
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= 'a' && c <= 'z');
    if (c == 0x200C || c == 0x200D)
        return true;
    /* Alphabetic without being letters: circled and squared Latin letters. */
    if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
        (c >= 0x1F170 && c <= 0x1F189))
        return true;
    const utf8proc_category_t k = category_now(c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC;
}

int unicode_lower(uint32_t c, uint32_t lower[2]) {
    if (c == 0x130) { /* the one character whose lower case is two: i and a dot above */
        lower[0] = 'i';
        lower[1] = 0x307;
        return 2;
    }
    lower[0] = c < 0x80 ? c + (c >= 'A' && c <= 'Z' ? 32u : 0u) : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    return 1;
}
