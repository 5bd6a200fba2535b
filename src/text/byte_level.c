/* byte_level.c - see byte_level.h. */
#include "text/byte_level.h"

#include "base/text.h"

uint32_t byte_level_char(uint8_t byte) {
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return 0x121u + byte - 0x7F;
    return byte == 0xAD ? 0x143u : byte;
}

int byte_level_byte(uint32_t c) {
    if ((c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xFF && c != 0xAD))
        return (int)c;
    if (c >= 0x100 && c <= 0x120)
        return (int)(c - 0x100);
    if (c >= 0x121 && c <= 0x142)
        return (int)(c - 0x121 + 0x7F);
    return c == 0x143 ? 0xAD : -1;
}

bool byte_level_decode(const char *text, size_t count, char *bytes, size_t *decoded) {
    size_t written = 0;
    for (size_t at = 0; at < count;) {
        const char c = text[at];
        if (c > 0x20 && c < 0x7F) { /* nearly all of most vocabularies */
            bytes[written++] = c;
            at++;
            continue;
        }
        uint32_t character;
        int bad;
        const int length = utf8_decode(text + at, count - at, &character, &bad);
        const int byte = length > 0 ? byte_level_byte(character) : -1;
        if (byte < 0)
            return false;
        bytes[written++] = (char)byte;
        at += (size_t)length;
    }
    *decoded = written;
    return true;
}
