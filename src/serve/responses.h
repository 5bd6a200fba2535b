/* responses.h - what the files of /v1/responses share.
 *
 *     responses.c             the handlers: fields of a request, retrieving, deleting
 *     responses_input.c       items of a conversation -> messages as templates read them
 *     responses_make.c        pieces of an answer -> items and events
 *     responses_background.c  answers that are made without a client waiting */
#ifndef HOULE_SERVE_RESPONSES_H
#define HOULE_SERVE_RESPONSES_H

#include "serve/api.h"

enum { RESPONSE_ID_BYTES = 64 };

/* ---- input ------------------------------------------------------------------------------------------------------- */

/* The request's input as an array of items, each with an id that begins with its kind and contains the response's id.
 * *items is the caller's. */
Status response_items(ApiCall *call, const json_t *input, const char *response_id, json_t **items, Error *err);
/* The messages of a conversation. Instructions come first (NULL = none). Items of unknown kinds are left out with a
 * warning. *messages is the caller's. */
Status response_messages(ApiCall *call, const json_t *items, const char *instructions, json_t **messages, Error *err);
/* Reads "tools" into ask->tools and ask->customs. */
Status response_tools(Ask *ask, const json_t *tools, Error *err);

/* ---- making ------------------------------------------------------------------------------------------------------ */

typedef enum ItemKind { ITEM_NONE, ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL, ITEM_CUSTOM } ItemKind;

/* An answer that is being put together. Zeroed, then the fields up to the line; response_maker_free in the end. */
typedef struct ResponseMaker {
    char id[RESPONSE_ID_BYTES];
    json_t *body;           /* the object that the client gets; owned */
    json_t *input;          /* items of its own; owned */
    json_t *custom;         /* as ask->customs; owned */
    char *previous, *owner; /* owned */
    bool store, events, summary, encrypted, logprobs;
    Archive *archive;
    const Tokenizer *tokenizer;
    const Generation *generation; /* that the pieces come from */
    /* ---- */
    int64_t sequence;              /* of the next event */
    ItemKind kind;                 /* of the item that is open */
    json_t *item;                  /* as it was announced; its text follows at its end */
    Text text;                     /* of it */
    json_t *tokens, *fresh_tokens; /* log-probabilities: of the item; not sent yet */
    int n_item;
    bool failed; /* there was no memory for something of it */
} ResponseMaker;

void response_maker_free(ResponseMaker *maker);
/* Appends an event (the value is taken); nothing when no events are wanted. */
void response_event(ResponseMaker *maker, Text *out, const char *type, json_t *value);
void response_begin(ResponseMaker *maker, Text *out);
void response_take(ResponseMaker *maker, const Piece *piece, Text *out);
/* All has come: completes the body, stores it, appends the last event. cancelled: because the client wished so. What
 * went wrong is in the body (status "failed") and in *err. */
Status response_end(ResponseMaker *maker, const ApiCall *call, const Generation *generation, bool cancelled, Text *out,
                    Error *err);
/* Stores the body as it is; process: which makes it, 0 = it is complete. */
Status response_store(const ResponseMaker *maker, int64_t process, const char *events, Error *err);

/* ---- in the background ------------------------------------------------------------------------------------------- */

typedef struct ResponseJobs ResponseJobs;

Status response_jobs_open(ResponseJobs **jobs, Error *err);
/* Waits for those that run; they must have been told to end. */
void response_jobs_close(ResponseJobs *jobs);
int response_jobs_running(ResponseJobs *jobs);
/* Takes both, also on failure. With `stream` the reply is the answer's events, else its body as it is now. */
Status response_job_start(ApiCall *call, Answering *answering, ResponseMaker *maker, bool stream, Error *err);
/* Whether one runs here. */
bool response_job_runs(ResponseJobs *jobs, const char *id);
/* Asks one to end, and waits for it; false when none of this id runs. */
bool response_job_cancel(ResponseJobs *jobs, const char *id);
/* Replies with its events behind a sequence number; false when none of this id runs. */
bool response_job_stream(ApiCall *call, const char *id, int64_t after);
/* The same of a stream that is over: appends the events of `all` behind a sequence number. */
void response_events_after(Text *out, const char *all, size_t bytes, int64_t after);

#endif
