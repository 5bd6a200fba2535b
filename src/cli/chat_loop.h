/* chat_loop.h - the chat on a terminal. */
#ifndef HOULE_CLI_CHAT_LOOP_H
#define HOULE_CLI_CHAT_LOOP_H

#include "cli/chat.h"

/* Reads from the terminal until the user leaves. `first`: a question to begin with, or NULL. Failures of single turns
 * are told and don't end the chat. */
Status chat_loop(Chat *chat, const char *first, Error *err);

#endif
