/* byte_level.h - GPT-2's alphabet: each byte written as one visible character.
 *
 * Byte-level vocabularies spell their pieces in it ("Ġthe" is " the"). Bytes 21-7E, A1-AC and AE-FF are the character
 * of the same number, the other 68 in order are U+0100..U+0143. We store and merge raw bytes and use the alphabet only
 * to read and write files. */
#ifndef HOULE_TEXT_BYTE_LEVEL_H
#define HOULE_TEXT_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character of a byte; the byte of a character, -1 when it is not of the alphabet. */
uint32_t byte_level_char(uint8_t byte);
int byte_level_byte(uint32_t character);

/* Text in the alphabet to bytes: writes at most `count` bytes to `bytes` (which may be `text` itself) and tells how
 * many; false, with nothing to rely on in `bytes`, when a character is not of the alphabet or the text is not UTF-8. */
bool byte_level_decode(const char *text, size_t count, char *bytes, size_t *decoded);

#endif
