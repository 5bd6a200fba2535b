/* base64.c - see base64.h. */
#include "base/base64.h"

#include <stdint.h>
#include <string.h>

static const char letters64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_append(Text *out, const void *bytes, size_t count) {
    const uint8_t *b = bytes;
    for (size_t i = 0; i < count; i += 3) {
        const unsigned second = i + 1 < count ? b[i + 1] : 0, third = i + 2 < count ? b[i + 2] : 0;
        const unsigned word = (unsigned)b[i] << 16 | second << 8 | third;
        const char four[4] = {letters64[word >> 18], letters64[word >> 12 & 63],
                              i + 1 < count ? letters64[word >> 6 & 63] : '=',
                              i + 2 < count ? letters64[word & 63] : '='};
        text_append(out, four, sizeof four);
    }
    return !out->failed;
}

bool base64_append_decoded(Text *out, const char *letters, size_t count) {
    if (count % 4 != 0)
        return false;
    for (size_t i = 0; i < count; i += 4) {
        unsigned word = 0;
        int padding = 0;
        for (size_t k = 0; k < 4; k++) {
            const char c = letters[i + k];
            const char *at = c != '\0' ? strchr(letters64, c) : NULL;
            const bool pad = c == '=' && k >= 2 && i + 4 == count;
            if ((at == NULL && !pad) || (at != NULL && padding > 0))
                return false;
            padding += pad;
            word = word << 6 | (at != NULL ? (unsigned)(at - letters64) : 0);
        }
        const char three[3] = {(char)(word >> 16 & 255), (char)(word >> 8 & 255), (char)(word & 255)};
        text_append(out, three, (size_t)(3 - padding));
    }
    return !out->failed;
}
