/* chat.h - a conversation with one model: messages, the text made of them, and answers that are shown while they are
 * drawn. What a turn shares with the one before is not computed again. */
#ifndef HOULE_CLI_CHAT_H
#define HOULE_CLI_CHAT_H

#include "cli/command.h"
#include "engine/answer.h"
#include "engine/generate.h"

typedef struct ChatSettings {
    SampleSpec sample;
    int64_t most_tokens;     /* of an answer; -1 = until it ends */
    bool raw;                /* the prompt as it stands, without the chat template */
    bool json;               /* answers as JSON objects, one a line */
    bool ignore_end;
    bool verbose;
    bool thinking_given, thinking; /* whether the model shall reason, where its template lets one choose */
    const char *const *stops;
    int n_stop;
    Draft *draft;            /* guesses ahead; the caller's; NULL = nothing is guessed */
} ChatSettings;

typedef struct Chat Chat;

/* The session stays the caller's and must outlive the chat. ERR_NOT_FOUND when the model has no tokenizer. */
Status chat_open(Session *session, const ChatSettings *settings, Chat **chat, Error *err);
void chat_close(Chat *chat);
ChatSettings *chat_settings(Chat *chat);
/* The conversation, as chat clients write it. */
json_t *chat_messages(Chat *chat);
/* Replaces (or with NULL removes) the system message; takes effect with the next turn. */
Status chat_set_system(Chat *chat, const char *text, Error *err);
/* Drops everything but the system message. */
void chat_clear(Chat *chat);
/* Writes the messages to a file, or replaces them with those of one. */
Status chat_save(const Chat *chat, const char *path, Error *err);
Status chat_load(Chat *chat, const char *path, Error *err);
/* Appends a message of the user and answers it. Valid UTF-8 only. When it fails, the message is taken back. */
Status chat_say(Chat *chat, const char *text, Error *err);
/* Answers the last message of the user once more, with other draws. */
Status chat_again(Chat *chat, Error *err);
/* Continues a text without a template. */
Status chat_continue(Chat *chat, const char *text, Error *err);

#endif
