/* api.h - what the files of the APIs share: a request being answered, its fields, its errors, its events.
 *
 * A handler reads the body through Fields, which remember what was read: a field that nobody has read in the end is one
 * that the server does not know, and is answered with 400. Handlers return a Status; what they return with an Error
 * becomes an error in the form that the API's clients expect. */
#ifndef HOULE_SERVE_API_H
#define HOULE_SERVE_API_H

#include "format/json_write.h"
#include "serve/file_facts.h"
#include "serve/generation.h"
#include "serve/http.h"
#include "serve/keys.h"
#include "serve/metrics.h"
#include "serve/server.h"
#include "text/fill_in.h"
#include "serve/archive.h"

#include <stdatomic.h>

typedef enum ApiForm { API_OPENAI, API_ANTHROPIC, API_OLLAMA } ApiForm;

struct Server {
    ServerSpec spec;
    HttpServer *http;
    Registry *registry;
    Keys *keys;
    Metrics *metrics;
    Archive *archive;
    struct ResponseJobs *jobs;
    FactsCache *facts;
    char *url;
    char **hosts;
    char **origins;
    int n_host, n_origin;
    bool loopback;
    atomic_bool stopping;   /* nothing new is begun */
    atomic_bool cancelling; /* what runs is to end */
    atomic_uint_fast64_t next_id;
    uint64_t began_us;
    int64_t began_unix;
};

typedef struct ApiCall ApiCall;
typedef Status (*ApiHandler)(ApiCall *call, Error *err);

struct ApiCall {
    Server *server;
    HttpCall *http;    /* NULL once it is over */
    int references;    /* the HTTP call's and the stream's: one thread */
    const char *route; /* as in the table of routes */
    const char *rest;  /* of the path, behind a route's last '/' */
    ApiForm form;
    ApiHandler handler;
    Caller caller;
    uint64_t id;
    char request_id[32]; /* as the reply's header names it */
    json_t *body; /* what was sent, an object; NULL without a body */
    uint64_t began_us;
    /* for the answer to an error */
    const char *param, *code;
    char param_text[64]; /* of a field's name: its own text goes with the request's tree */
    int http_status;     /* 0: told by the Status */
    int retry_s;
    json_t *warnings;      /* texts, or NULL */
    bool bodiless;         /* a POST that may go without one */
    struct Upload *upload; /* a body that is written to a file; NULL = none */
    bool streams;            /* its handler can stream */
    struct Waiting *waiting; /* for its model; NULL = not, or no longer */
    struct LateReply *late;  /* a stream has begun already: where the handler's reply is put. NULL = it has not */
    bool cut_inputs; /* texts to embed that are longer than the model's context are cut, not refused */
    /* Makes another shape of a good reply (which it takes); NULL: as it is. */
    json_t *(*reshape)(const ApiCall *call, json_t *value);
    /* for the log */
    char model[128];
    int status;
    uint64_t sent;
    AnswerCounts counts;
    bool counted;
    char error[ERROR_TEXT_BYTES];
};

typedef struct Upload Upload;
typedef struct Waiting Waiting;
void upload_free(Upload *upload); /* NULL is fine */
/* Removes the files of a model that was made of blobs, unless they are another preset's, too (NULL: nobody's). */
void created_delete(const ApiCall *call, const json_t *preset, const json_t *but);

/* ---- a call's life (call.c) -------------------------------------------------------------------------------------- */

void api_hold(ApiCall *call);
void api_release(ApiCall *call);
/* A call for work that goes on when the reply has left: without body and client. NULL without memory. */
ApiCall *api_detach(const ApiCall *call);
/* A line of the log (taken), which there must be. */
void api_log(const Server *server, json_t *line);

/* ---- replies ----------------------------------------------------------------------------------------------------- */

/* Replies with a tree (taken); NULL is a lack of memory. */
Status api_reply_json(ApiCall *call, int status, json_t *value, Error *err);
typedef struct LateReply {
    HttpSource stream;
    Text whole;
} LateReply;

/* A streamed reply, and one as a whole (the text is taken): into the stream where one has begun already. */
void api_stream(ApiCall *call, const char *type, HttpSource source);
void api_reply(ApiCall *call, int status, const char *type, Text *body);
/* The reply to a failure. */
void api_reply_error(ApiCall *call, Status status, const Error *err);
/* The same as a tree, for streams that have begun. */
json_t *api_error_value(const ApiCall *call, Status status, const Error *err);
int api_error_status(const ApiCall *call, Status status);
/* Appends "data: {...}\n\n", with an event's name in front if it has one; or one line. Takes the tree. */
void sse_append(Text *out, const char *event, json_t *value);
void ndjson_append(Text *out, json_t *value);
void api_warn(ApiCall *call, const char *format, ...) PRINTF_LIKE(2, 3);
/* "chatcmpl-000000000000002a": a fresh one. */
void api_make_id(ApiCall *call, const char *prefix, char id[64]);
int64_t unix_seconds(void);
/* "2026-11-22T08:00:00Z" */
void iso_time(int64_t seconds, char text[32]);

/* ---- waiting for a model (waiting.c) ----------------------------------------------------------------------------- */

/* registry_acquire for a handler. Where a stream is wanted and the model not soon there, ERR_BUSY: the handler gives up
 * (any status will do), and api_wait lets the stream begin, with signs of life; the handler is called again when the
 * model is there, and finds it here. */
Status api_acquire(ApiCall *call, const char *name, uint64_t wait_us, Served **served, uint64_t *load_us, Error *err);
/* Whether the handler gave up for that: then the reply is under way. */
bool api_wait(ApiCall *call);

/* ---- fields ------------------------------------------------------------------------------------------------------ */

enum { FIELDS_MAX = 128 };

typedef struct Fields {
    ApiCall *call;
    const json_t *object;
    const char *read[FIELDS_MAX];
    int n_read;
} Fields;

Fields fields_of(ApiCall *call, const json_t *object);
/* The value, or NULL when it is not there or null. From then on it counts as read. */
const json_t *field(Fields *fields, const char *name);
/* These leave *value as it is when the field is not there. ERR_ARGUMENT, naming the field, when it is something else.
 */
Status field_bool(Fields *fields, const char *name, bool *value, Error *err);
Status field_int(Fields *fields, const char *name, int64_t least, int64_t most, int64_t *value, Error *err);
Status field_real(Fields *fields, const char *name, double least, double most, float *value, Error *err);
Status field_string(Fields *fields, const char *name, const char **value, Error *err);
Status field_array(Fields *fields, const char *name, const json_t **value, Error *err);
Status field_object(Fields *fields, const char *name, const json_t **value, Error *err);
/* Fields that concern accounting or other servers' inner workings: nothing in the answer depends on them. */
void fields_ignore(Fields *fields, const char *const *names);
/* Options of Ollama's clients that concern the machine, up to NULL: the server's own business. Where "num_ctx" bounds an
 * answer it is read before these are ignored. */
extern const char *const ollama_machine_options[];
/* 400 for a template in the notation of Go, in which theirs are written: the engine runs those that models are published
 * with. `otherwise` says what goes without a template. */
Status ollama_check_notation(ApiCall *call, const char *text, const char *otherwise, Error *err);
/* 400 for the first field that nobody has read. */
Status fields_end(Fields *fields, Error *err);
/* ERR_ARGUMENT about a field. */
Status field_wrong(ApiCall *call, const char *name, Error *err, const char *format, ...) PRINTF_LIKE(4, 5);

/* ---- asking a model ---------------------------------------------------------------------------------------------- */

enum { ASK_STOPS = ANSWER_STOPS };

/* All that one request asks of a model. Zeroed, then ask_model; ask_free in the end, whatever happened. */
typedef struct Ask {
    ApiCall *call;
    Served *served;
    const Model *model;
    const Tokenizer *tokenizer;
    uint64_t load_us;
    TokenIds prompt;
    Text text;      /* of the prompt, when it was rendered or given as text */
    json_t *preset; /* of the model's name; NULL = none */
    json_t *merged; /* the request's fields over the model's defaults */
    json_t *tools, *variables;
    LogitBias *bias;
    int32_t *breakers;
    Grammar *grammar;                     /* what the answer must look like; NULL = anything */
    bool forced_call, bound_calls;        /* the answer must be a call; calls in it keep their schemas */
    const char *force_name, *force_param; /* which (NULL: any), and the field that says so */
    json_t *customs;                      /* tools that take any text, by name; see text/reply_calls.h */
    const char *stops[ASK_STOPS];
    GenerationSpec spec;
} Ask;

/* Gets hold of the model: 404 when it is not here, 403 when the key may not use it. */
Status ask_model(ApiCall *call, const char *name, Ask *ask, Error *err);
/* The same of the body's "model"; where there is only one, programs that know no models may leave it out. */
Status ask_only_model(ApiCall *call, Ask *ask, Error *err);
void ask_free(Ask *ask);
/* The body's fields over the model's defaults: what the following read from. */
Status ask_fields(Ask *ask, const json_t *object, Fields *fields, Error *err);
/* Temperature and the like, seed, logit_bias, stop. */
Status ask_sampling(Ask *ask, Fields *fields, Error *err);
/* A variable of the template (the value is taken). */
Status ask_variable(Ask *ask, const char *name, json_t *value, Error *err);
/* Reasoning on or off, by both names that templates know for it. */
Status ask_switch_thinking(Ask *ask, bool on, Error *err);
/* How much the model may think: a word ("none" to "max"), or the fields in which clients say it, and those of the
 * template. */
Status ask_effort(Ask *ask, const char *effort, Error *err);
Status ask_thinking(Ask *ask, Fields *fields, Error *err);
/* "tools" (functions and custom tools; others are left out, with a warning) and "functions", into ask->tools. */
Status ask_tools(Ask *ask, Fields *fields, Error *err);
/* "auto", "none", "required", a tool's name in one of the forms that clients use, or those that are allowed. NULL:
 * auto. Changes ask->tools, which must have been read. */
Status ask_tool_choice(Ask *ask, const char *param, const json_t *choice, Error *err);
/* A tool that takes any text, or one in a grammar: {"name", "description", "format"}. For the template it is a function
 * with one parameter, "input"; what it is called with then is custom_input. */
Status ask_custom_tool(Ask *ask, const json_t *tool, size_t index, Error *err);
json_t *custom_input(const Text *arguments);
/* Renders messages (an array) with the tools and variables in `ask` and tokenises the result. continue_final: the last
 * message, the assistant's, is to be gone on with. */
Status ask_chat(Ask *ask, const json_t *messages, bool add_generation_prompt, bool continue_final, Error *err);
/* Only renders, into ask->text. */
Status ask_render(Ask *ask, const json_t *messages, bool add_generation_prompt, bool continue_final, Error *err);
/* Tokenises a text as it stands. */
Status ask_text(Ask *ask, const char *text, size_t bytes, bool parse_special, Error *err);
/* Appends the whole numbers of an array (NULL: none) to `ids`; the field `name` is blamed for what is no token from 0
 * to bound - 1. */
Status ask_token_ids(Ask *ask, const char *name, const json_t *array, int32_t bound, TokenIds *ids, Error *err);
/* A prompt for what belongs between two texts (text/fill_in.h). `param` is the field that asks for it. */
Status ask_fill(Ask *ask, const char *param, const FillFile *files, size_t n_file, FillText before, FillText behind,
                FillText middle, Error *err);
/* The messages as templates should get them, in a new array (messages.c). */
Status messages_clean(const json_t *messages, const char *template, json_t **cleaned, Error *err);
/* Constraints on the answer, from OpenAI's object of a format (NULL = none); a JSON schema (NULL: any object); the
 * fields that other servers have for it; or a call that must be made, of the tool of this name (NULL: of any). What
 * cannot be kept is ERR_ARGUMENT with its place in the schema. */
Status ask_format(Ask *ask, const char *param, const json_t *format, Error *err);
Status ask_json(Ask *ask, const char *param, const json_t *schema, Error *err);
Status ask_constraints(Ask *ask, Fields *fields, Error *err);
Status ask_force_call(Ask *ask, const char *param, const char *name, Error *err);
/* For ask_start. */
Status ask_prepare_constraint(Ask *ask, Error *err);
/* Begins. 400 context_length_exceeded when prompt (and max_tokens, if given) do not fit. */
Status ask_start(Ask *ask, Generation **generation, Error *err);

/* ---- answering --------------------------------------------------------------------------------------------------- */

/* Begins what every API's own structure of an answer begins with. */
typedef struct Answering {
    ApiCall *call; /* held */
    Generation *generation;
    Served *served;
    bool over; /* all of it has come */
} Answering;

/* Starts what was asked for: `bytes` zeroed, an Answering in front. The ask still has to be freed; it may be right
 * away, whether this succeeds or not. NULL on failure. */
void *answering_open(Ask *ask, size_t bytes, Status *status, Error *err);
/* Counts, ends the work if it still runs, and frees. */
void answering_close(Answering *answering);

/* The next piece; notices a server that stops. NEWS_QUIET after quiet_ms; streams ask for it after api_ping_ms, and then send
 * something empty, so that nobody on the way takes them for dead. */
int api_ping_ms(const ApiCall *call);
GenerationNews api_next(ApiCall *call, Generation *generation, int quiet_ms, Piece *piece);
/* What it all came to: for metrics, limits and log. Once, when the generation is over or given up. */
void api_count(ApiCall *call, const Generation *generation, bool whole);
/* "stop", "length", "tool_calls"; NULL when it failed (the Error is in the ending), "abort" for cancelled ones. */
const char *finish_word(const Ending *ending);
/* An ending that is an error: its status. OK when it is none. */
Status ending_status(const Ending *ending, Error *err);
/* OpenAI's object of usage. */
json_t *usage_value(const Generation *generation);
/* {"first_difference": n, timings}: what the server says beyond the standard fields. */
json_t *timings_value(const Generation *generation);
/* {processed, total, cache, time_ms} of a piece of progress. */
json_t *progress_value(const Generation *generation, const Piece *piece);
/* {token, logprob, bytes, top_logprobs} of a token. */
json_t *logprob_value(const Tokenizer *tokenizer, const RequestToken *token);

/* ---- the APIs: for the table of routes --------------------------------------------------------------------------- */

Status openai_chat(ApiCall *call, Error *err);
Status openai_completions(ApiCall *call, Error *err);
Status openai_embeddings(ApiCall *call, Error *err);
Status openai_rerank(ApiCall *call, Error *err);
Status openai_models(ApiCall *call, Error *err);
Status responses_create(ApiCall *call, Error *err);
Status responses_count(ApiCall *call, Error *err);
Status responses_retrieve(ApiCall *call, Error *err);
Status responses_cancel(ApiCall *call, Error *err);
Status responses_compact(ApiCall *call, Error *err);
Status responses_delete(ApiCall *call, Error *err);
Status anthropic_messages(ApiCall *call, Error *err);
Status anthropic_count(ApiCall *call, Error *err);
Status ollama_chat(ApiCall *call, Error *err);
Status ollama_generate(ApiCall *call, Error *err);
Status ollama_tags(ApiCall *call, Error *err);
Status ollama_show(ApiCall *call, Error *err);
Status ollama_ps(ApiCall *call, Error *err);
Status ollama_version(ApiCall *call, Error *err);
Status ollama_pull(ApiCall *call, Error *err);
Status ollama_delete(ApiCall *call, Error *err);
Status ollama_copy(ApiCall *call, Error *err);
Status page_front(ApiCall *call, Error *err);
Status page_file(ApiCall *call, Error *err);
Status ollama_create(ApiCall *call, Error *err);
Status ollama_push(ApiCall *call, Error *err);
Status ollama_embed(ApiCall *call, Error *err);
Status ollama_embeddings(ApiCall *call, Error *err);
Status blob_head(ApiCall *call, Error *err);
Status blob_begin(ApiCall *call, Error *err); /* when the head is there */
Status blob_end(ApiCall *call, Error *err);
Status infill(ApiCall *call, Error *err);
Status text_tokenize(ApiCall *call, Error *err);
Status text_detokenize(ApiCall *call, Error *err);
Status text_apply_template(ApiCall *call, Error *err);

#endif
