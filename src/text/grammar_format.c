/* grammar_format.c - the formats of strings that can be enforced, as regular expressions.
 *
 * Each is at most as wide as its definition (RFC 3339, 4122, 3986, 1123, 5321, ISO 8601 durations, RFC 6901): what it
 * lets through is valid, some valid rarities (quoted mailboxes, leap seconds, very long names) are left out. */
#include "text/grammar_value.h"

#include <string.h>

#define YEAR "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
#define LEAP "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
#define DATE                                                                                                           \
    "(" YEAR                                                                                                           \
    "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"         \
    "|" LEAP "-02-29)"
#define CLOCK "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define N "[0-9]{1,9}"
#define DURATION_TIME "T(" N "H(" N "M(" N "S)?)?|" N "M(" N "S)?|" N "S)"
#define DURATION_DATE "(" N "Y(" N "M(" N "D)?)?|" N "M(" N "D)?|" N "D)"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9]|-[A-Za-z0-9]){0,29}"
#define HOST LABEL "(\\." LABEL "){0,3}"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 BYTE "(\\." BYTE "){3}"
#define H "[0-9A-Fa-f]{1,4}"
#define IPV6                                                                                                           \
    "((" H ":){7}" H "|(" H ":){1,7}:|(" H ":){1,6}:" H "|(" H ":){1,5}(:" H "){1,2}|(" H ":){1,4}(:" H "){1,3}"       \
    "|(" H ":){1,3}(:" H "){1,4}|(" H ":){1,2}(:" H "){1,5}|" H ":(:" H "){1,6}|:(:" H "){1,7}|::)"
#define PCHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define QUERY                                                                                                          \
    "(\\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?(#([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
#define SCHEME "[A-Za-z][A-Za-z0-9+.-]{0,30}:"
#define AUTHORITY "//(([A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})+@)?" HOST "(:[0-9]{1,5})?"
#define URI SCHEME "(" AUTHORITY "(/" PCHAR "*)*|/?" PCHAR "+(/" PCHAR "*)*)" QUERY

static const struct {
    const char *format, *regex;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" CLOCK "$"},
    {"date-time", "^" DATE "T" CLOCK "$"},
    {"duration", "^P(" DURATION_DATE "(" DURATION_TIME ")?|" DURATION_TIME "|" N "W)$"},
    {"email", "^[A-Za-z0-9_%+-]{1,30}(\\.[A-Za-z0-9_%+-]{1,15}){0,2}@" LABEL "(\\." LABEL "){1,3}$"},
    {"idn-email", "^[A-Za-z0-9_%+-]{1,30}(\\.[A-Za-z0-9_%+-]{1,15}){0,2}@" LABEL "(\\." LABEL "){1,3}$"},
    {"hostname", "^" HOST "$"},
    {"idn-hostname", "^" HOST "$"},
    {"ipv4", "^" IPV4 "$"},
    {"ipv6", "^" IPV6 "$"},
    {"uuid", "^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$"},
    {"uri", "^" URI "$"},
    {"iri", "^" URI "$"},
    {"url", "^" URI "$"},
    {"uri-reference", "^(" URI "|(/" PCHAR "+)+/?" QUERY ")$"},
    {"iri-reference", "^(" URI "|(/" PCHAR "+)+/?" QUERY ")$"},
    {"json-pointer", "^(/([^~/]|~[01])*)*$"},
    {"relative-json-pointer", "^(0|[1-9][0-9]{0,8})(#|(/([^~/]|~[01])*)*)$"},
    {"byte", "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
    {"password", ""},
    {"string", ""},
};

const char *format_regex(const char *format) {
    for (size_t i = 0; i < COUNT(formats); i++)
        if (strcmp(formats[i].format, format) == 0)
            return formats[i].regex;
    return NULL;
}
