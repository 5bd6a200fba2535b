/* reply_json.h - JSON checked byte by byte as it arrives, without building anything. */
#ifndef HOULE_TEXT_REPLY_JSON_H
#define HOULE_TEXT_REPLY_JSON_H

#include "base/text.h"

enum { JSON_SCAN_DEPTH = 256 };

typedef enum JsonScanState {
    JSON_AT_VALUE,    /* a value must come */
    JSON_AT_FIRST,    /* in a list: a value or its end */
    JSON_AT_KEY,      /* a key must come */
    JSON_AT_KEY_OR_END,
    JSON_AT_COLON,
    JSON_AFTER_VALUE, /* a comma or the end of the container */
    JSON_IN_STRING,
    JSON_IN_KEY,
    JSON_IN_LITERAL,
    JSON_NUMBER_SIGN, /* behind "-" */
    JSON_NUMBER_ZERO, /* behind a leading 0 */
    JSON_NUMBER_WHOLE,
    JSON_NUMBER_POINT, /* behind "." */
    JSON_NUMBER_FRACTION,
    JSON_NUMBER_E, /* behind "e" */
    JSON_NUMBER_E_SIGN,
    JSON_NUMBER_EXPONENT,
} JsonScanState;

typedef struct JsonScan {
    JsonScanState state;
    int depth;                            /* open containers */
    uint8_t objects[JSON_SCAN_DEPTH / 8]; /* a bit for each open container: it is an object */
    bool escape;                          /* behind a backslash */
    int hex_left;                         /* digits of \uXXXX still to come */
    const char *literal;                  /* what is left of true, false, null */
} JsonScan;

typedef enum JsonStep {
    JSON_STEP_MORE,
    JSON_STEP_DONE, /* the outermost value ended with this byte, or (numbers) before it */
    JSON_STEP_INVALID,
} JsonStep;

/* Begins to scan one value. */
static inline void json_scan_open(JsonScan *scan) { *scan = (JsonScan){.state = JSON_AT_VALUE}; }
/* Control characters within strings are let pass: models write them, and whoever passes the text on escapes them. */
JsonStep json_scan(JsonScan *scan, char c);
static inline bool json_scan_in_string(const JsonScan *scan) {
    return scan->state == JSON_IN_STRING || scan->state == JSON_IN_KEY;
}
/* Whether all of the text is one JSON value (white space around it allowed). */
bool json_is_value(const char *text, size_t bytes);
/* The content of a JSON string (without its quotes), escapes resolved; lone surrogates become U+FFFD. */
bool json_append_unescaped(Text *out, const char *text, size_t bytes);
/* The inverse, for any UTF-8 text. */
bool json_append_escaped(Text *out, const char *text, size_t bytes);

#endif
