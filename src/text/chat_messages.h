/* chat_messages.h - messages brought into the form that a template reads.
 *
 * Clients send arguments of calls as JSON text, and content as text, as a list of parts, or as null beside calls.
 * Templates are written for arguments as an object or for text, for content that may be a list or null or for text
 * only. Nothing in a model's files says which, so the template is asked once, with conversations made for it. */
#ifndef HOULE_TEXT_CHAT_MESSAGES_H
#define HOULE_TEXT_CHAT_MESSAGES_H

#include "text/template.h"

/* What a template cannot read in the usual form. */
typedef struct MessageForm {
    bool text_arguments; /* the arguments of a call must be JSON text, not an object */
    bool text_content;   /* the content must be text: lists of parts are joined */
    bool empty_content;  /* the content must be there: none becomes empty */
} MessageForm;

/* Tries the template. `tokens` are the model's special tokens. Only a lack of memory is an error: a template that
 * refuses all that is tried gets the usual form. */
Status message_form_find(const Template *compiled, const TemplateVariable *tokens, size_t token_count,
                         MessageForm *form, Error *err);

/* A new array (json_decref) of the messages in the form; messages are shared where nothing changes. A message's
 * reasoning stands under both names that templates know. ERR_ARGUMENT when messages is no array of objects, or
 * when a part that is no text meets a template that reads only text. */
Status messages_prepare(const json_t *messages, MessageForm form, json_t **prepared, Error *err);

#endif
