/* reply_calls.h - calls of tools as a grammar, in the notation in which a model was trained to write them.
 *
 * What a reply format reads (reply.h) is turned round: its marks become the beginning and the end of a tag, the tool's
 * schema what stands between them. So a model that must call a tool does it in its own way. */
#ifndef HOULE_TEXT_REPLY_CALLS_H
#define HOULE_TEXT_REPLY_CALLS_H

#include "text/grammar.h"

typedef struct ReplyCalls ReplyCalls;

typedef struct ReplyCallsSpec {
    const char *format;    /* of replies */
    const json_t *tools;   /* an array of {"function": {"name", "parameters", "strict"}} */
    const json_t *customs; /* an object, or NULL: by name, tools whose parameter "input" keeps a grammar:
                              {"format": {"syntax": "lark" or "regex", "definition"}} */
    const char *only;      /* this tool's; NULL: any */
    bool forced;           /* the text is one call and nothing else. Otherwise it is free, and calls in it are bound */
} ReplyCallsSpec;

/* ERR_NOT_FOUND when there is no such tool; ERR_UNSUPPORTED when the format has no notation for it that can be bound.
 */
Status reply_calls_open(const ReplyCallsSpec *spec, ReplyCalls **calls, Error *err);
void reply_calls_close(ReplyCalls *calls); /* NULL is fine */
/* For grammar_compile; lives as long as the calls, which refer to the tools. */
const GrammarSpec *reply_calls_grammar(const ReplyCalls *calls);

#endif
