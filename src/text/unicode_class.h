/* unicode_class.h - what kind of character a code point is, in the sense that tokenizers mean it. */
#ifndef HOULE_TEXT_UNICODE_CLASS_H
#define HOULE_TEXT_UNICODE_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool unicode_is_space(uint32_t c);       /* White_Space: U+0085 and U+3000 are, U+200B and U+FEFF are not */
bool unicode_is_digit(uint32_t c);       /* Nd */
bool unicode_is_number(uint32_t c);      /* Nd, Nl, No */
bool unicode_is_punctuation(uint32_t c); /* P* and all of ASCII that is neither letter nor digit: "$+<=>^`|~" too */
bool unicode_is_mark(uint32_t c);        /* Mn, Mc, Me */
bool unicode_is_nonspacing(uint32_t c);  /* Mn */
bool unicode_is_other(uint32_t c);       /* Cc, Cf, Co */
bool unicode_is_word(uint32_t c);        /* \w of regular expressions: Alphabetic, M, Nd, Pc, joiners */

/* Lower case of one character, one or two code points; returns how many. */
int unicode_lower(uint32_t c, uint32_t lower[2]);

#endif
