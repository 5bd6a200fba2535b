/* unicode_news.h - characters that are younger than PCRE2's tables.
 *
 * PCRE2 10.42 knows Unicode 14; the libraries that made the published tokenizers know 16. Ten thousand characters, the
 * pink heart among them, are letters or symbols to a model and nothing at all to us, and texts would be split
 * otherwise. So a pattern is run over a copy in which each of them is replaced by an older character of the same
 * category (and, for ideographs, the same script) that takes as many bytes. With a newer PCRE2 nothing changes. */
#ifndef HOULE_TEXT_UNICODE_NEWS_H
#define HOULE_TEXT_UNICODE_NEWS_H

#include "base/text.h"

/* The older character for one that is young; 0 for any other. */
uint32_t unicode_stand_in(uint32_t c);

/* True when the text (valid UTF-8) has such characters; then `out` becomes the copy, or is marked as failed. */
bool unicode_without_news(const char *text, size_t count, Text *out);

#endif
