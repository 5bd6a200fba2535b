/* reply.h - what a model's output means: reasoning, content, tool calls; taken apart while it is being written.
 *
 * Models mark their reasoning and their calls in the text, each family in its own way; a format is a row of data
 * (reply_formats.c), named like the family. Text is fed in pieces cut anywhere. After each piece there are deltas:
 * what is certain by now. A delta never holds a marker or a part of one, and is never taken back; held back is only
 * what may yet turn out to be a marker, and white space that stands before one.
 *
 * A call is announced (with its id and name) as soon as its arguments begin; they follow as pieces of JSON text. What
 * looks like a call and is none (no JSON, no name) becomes content, word for word. Once announced, arguments that are
 * no JSON are passed on as they are, and stay incomplete when the output ends within them: the client must see it.
 *
 *     TRY(reply_open(format, tools, inside_reasoning, &reply, err));
 *     while (generate(&piece, &bytes)) {
 *         TRY(reply_feed(reply, piece, bytes, err));
 *         for (size_t i = 0; i < reply_delta_count(reply); i++)
 *             send(reply_delta(reply, i));
 *     }
 *     TRY(reply_finish(reply, err)); ... the deltas again
 *
 * One thread at a time for each Reply. */
#ifndef HOULE_TEXT_REPLY_H
#define HOULE_TEXT_REPLY_H

#include "base/text.h"

#include <jansson.h>

typedef struct Reply Reply;

typedef enum ReplyDeltaKind {
    REPLY_CONTENT,
    REPLY_REASONING,
    REPLY_CALL,      /* a call begins: index, id, name */
    REPLY_ARGUMENTS, /* the next piece of a call's arguments: index, text */
    REPLY_CALL_END,  /* the call is over: index; before whatever comes next, at the latest from reply_finish */
} ReplyDeltaKind;

typedef struct ReplyDelta {
    ReplyDeltaKind kind;
    size_t index; /* of the call */
    const char *id, *name;
    const char *text; /* not NUL-terminated */
    size_t bytes;
} ReplyDelta;

typedef struct ReplyCall {
    char *id, *name;
    Text arguments; /* JSON text of an object; NULL bytes while there is none */
    bool ended;     /* REPLY_CALL_END was given */
    bool complete;  /* ended, and the arguments are whole and valid JSON */
} ReplyCall;

/* The names of all formats, in the order of the alphabet; NULL behind the last. */
const char *reply_format_name(size_t index);
bool reply_format_known(const char *format);
/* Among the formats of a family (their names in a text, one space between them, the usual one first; NULL: none), the
 * one whose marks the template writes. Where it writes none of theirs, those that it does write count (tunes and
 * distillations bring their own), and then the usual one. A template of NULL has no say. */
const char *reply_format_choose(const char *list, const char *text);
/* Whether a rendered prompt ends with the reasoning opened, so that the output begins within it. False for an unknown
 * format. */
bool reply_inside_reasoning(const char *format, const char *prompt, size_t bytes);

/* What ends the reasoning in a format, as text (special tokens as their texts); NULL when it has none. */
const char *reply_reasoning_close(const char *format);

/* `tools` (an array of tool descriptions, or NULL) decides the types of parameters where a format leaves them open; it
 * must live as long as the reply. inside_reasoning: the prompt has opened the reasoning already. ERR_NOT_FOUND for an
 * unknown format. */
Status reply_open(const char *format, const json_t *tools, bool inside_reasoning, Reply **reply, Error *err);
void reply_close(Reply *reply); /* NULL is fine */

/* Takes the next piece of text (special tokens as their texts). The deltas of the call before are gone. */
Status reply_feed(Reply *reply, const char *text, size_t bytes, Error *err);
/* The output is over: gives what was held back. */
Status reply_finish(Reply *reply, Error *err);

/* What the last feed or finish found; valid until the next. */
size_t reply_delta_count(const Reply *reply);
const ReplyDelta *reply_delta(const Reply *reply, size_t index);

/* All deltas so far, put together. */
const Text *reply_content(const Reply *reply);
const Text *reply_reasoning(const Reply *reply);
size_t reply_call_count(const Reply *reply);
const ReplyCall *reply_call(const Reply *reply, size_t index);

#endif
