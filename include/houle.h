/* houle.h - running open-weight models from C.
 *
 *     houle_error error = {0};
 *     houle_model *model;
 *     houle_session *session;
 *     if (houle_model_open("model.gguf", &model, &error) == HOULE_OK &&
 *         houle_session_open(model, NULL, &session, &error) == HOULE_OK)
 *         houle_session_chat(session, "[{\"role\": \"user\", \"content\": \"Hello\"}]", NULL, NULL, on_text, NULL, &error);
 *
 * Functions that can fail return a status and describe the failure in a houle_error (which may be NULL). Strings are
 * UTF-8. A model is read-only once it is open and may be used by any number of sessions and threads; a session belongs
 * to one thread at a time. Nothing here prints, exits or aborts. Structures of options begin with their own size, so
 * that later versions may add to them: initialise them with the functions that are named beside them. */
#ifndef HOULE_H
#define HOULE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined __GNUC__
#define HOULE_API __attribute__((visibility("default")))
#else
#define HOULE_API
#endif

typedef enum houle_status {
    HOULE_OK = 0,
    HOULE_ERROR_ARGUMENT,    /* a value is out of range or contradicts another */
    HOULE_ERROR_NOT_FOUND,   /* no such file, model, tokenizer */
    HOULE_ERROR_IO,          /* the operating system refused */
    HOULE_ERROR_FORMAT,      /* a file or text is not what it claims to be */
    HOULE_ERROR_UNSUPPORTED, /* valid, but not something this version can do */
    HOULE_ERROR_MEMORY,
    HOULE_ERROR_LIMIT,       /* a stated limit is exceeded, such as the context */
    HOULE_ERROR_CANCELLED,
    HOULE_ERROR_NETWORK,
    HOULE_ERROR_DENIED,
    HOULE_ERROR_BUSY,
    HOULE_ERROR_INTERNAL     /* our own mistake */
} houle_status;

typedef struct houle_error {
    houle_status status;
    char text[768]; /* what, where, why, what to do; NUL-terminated */
} houle_error;

/* "0.1.0" */
HOULE_API const char *houle_version(void);

/* ---- models ---------------------------------------------------------------------------------------------------- */

typedef struct houle_model houle_model;

/* Opens a GGUF file, or a folder of safetensors as published on Hugging Face. The weights are mapped, not copied: the
 * files must stay as they are while the model is open. */
HOULE_API houle_status houle_model_open(const char *path, houle_model **model, houle_error *error);
/* The same with at most so many bytes of memory for the weights. Of a mixture of experts that is larger, experts are read
 * when they are chosen, and kept while they are of use; results are the same. HOULE_ERROR_MEMORY tells what is needed. */
HOULE_API houle_status houle_model_open_within(const char *path, uint64_t weight_bytes, houle_model **model, houle_error *error);
/* All sessions of the model must be closed before. NULL is fine. */
HOULE_API void houle_model_close(houle_model *model);

HOULE_API const char *houle_model_family(const houle_model *model);  /* lives as long as the model */
HOULE_API int32_t houle_model_vocabulary(const houle_model *model);  /* V, the number of logits */
HOULE_API int32_t houle_model_context(const houle_model *model);     /* the longest declared; 0 = not declared */
/* Whether a text ends with this token. */
HOULE_API int houle_model_ends(const houle_model *model, int32_t token);

/* Special tokens in a text count as such (a template's output), or are ordinary characters (a stranger's message);
 * HOULE_ADD_SPECIAL puts in front and behind what the model was trained with. */
enum { HOULE_ADD_SPECIAL = 1, HOULE_PARSE_SPECIAL = 2 };

/* The ids of `bytes` bytes. Writes at most `capacity` of them and tells in *count how many there are: call again with
 * more room when that is more. `ids` may be NULL with a capacity of 0. */
HOULE_API houle_status houle_tokenize(const houle_model *model, const char *text, size_t bytes, unsigned flags, int32_t *ids,
                                      size_t capacity, size_t *count, houle_error *error);
/* The text of ids, without special tokens, likewise; the NUL behind it is not counted and is left out when it has no
 * room. */
HOULE_API houle_status houle_detokenize(const houle_model *model, const int32_t *ids, size_t count, char *text,
                                        size_t capacity, size_t *bytes, houle_error *error);
/* The prompt that the model's chat template makes of messages (a JSON array of {"role", "content", ...}), with tools (a
 * JSON array of tool descriptions, or NULL); likewise. */
HOULE_API houle_status houle_chat_prompt(const houle_model *model, const char *messages, const char *tools, char *text,
                                         size_t capacity, size_t *bytes, houle_error *error);

/* ---- sessions -------------------------------------------------------------------------------------------------- */

typedef struct houle_session houle_session;

typedef enum houle_precision {
    HOULE_PRECISION_FAST, /* what this CPU does best */
    HOULE_PRECISION_F32   /* float activations, products and cache */
} houle_precision;

typedef struct houle_session_options {
    size_t size;               /* sizeof (houle_session_options) */
    int32_t context;           /* tokens; 0 = the declared context, at most 4096 */
    int32_t threads;           /* of the process' pool, taken from the first session; 0 = the physical cores */
    houle_precision precision;
    houle_model *draft;        /* a smaller model of the same vocabulary that guesses ahead, so that answers come faster; the
                                * answers stay the same. It must outlive the session. NULL: guesses come from the text only */
    int32_t draft_tokens;      /* guesses at once, at most 8; 0 = the usual number, -1 = none */
} houle_session_options;
HOULE_API houle_session_options houle_session_defaults(void);

/* `options` may be NULL. */
HOULE_API houle_status houle_session_open(houle_model *model, const houle_session_options *options, houle_session **session,
                                          houle_error *error);
HOULE_API void houle_session_close(houle_session *session); /* NULL is fine */

/* Makes `ids` the whole text of the session: what it shares with the text before is not computed again. */
HOULE_API houle_status houle_session_set(houle_session *session, const int32_t *ids, size_t count, houle_error *error);

typedef struct houle_sampling {
    size_t size;             /* sizeof (houle_sampling) */
    float temperature;       /* 0 = the likeliest token always */
    int32_t top_k;           /* 0 = off */
    float top_p, min_p;      /* 1 and 0 = off */
    float repeat_penalty;    /* 1 = off */
    float presence_penalty, frequency_penalty;
    uint64_t seed;
    int32_t max_tokens;      /* of an answer; -1 = until it ends or the context is full */
} houle_sampling;
/* What the model's files recommend. */
HOULE_API houle_sampling houle_sampling_defaults(const houle_model *model);

/* Draws the next token and appends it to the text. *ended: it ends the text, or the context is full (then *token is -1).
 * `sampling` may be NULL. */
HOULE_API houle_status houle_session_next(houle_session *session, const houle_sampling *sampling, int32_t *token, int *ended,
                                          houle_error *error);
/* The V logits that the last draw was made from; valid until the next call with this session. */
HOULE_API const float *houle_session_logits(const houle_session *session);

typedef enum houle_piece {
    HOULE_CONTENT,
    HOULE_REASONING,
    HOULE_CALL,      /* a tool call begins; the text is the tool's name */
    HOULE_ARGUMENTS, /* a piece of its arguments, JSON text */
    HOULE_CALL_END
} houle_piece;

/* Gets pieces of an answer as they are certain; the text is not NUL-terminated. Anything but 0 ends the answer. */
typedef int (*houle_on_piece)(void *user, houle_piece kind, const char *text, size_t bytes);

/* Answers a conversation: template, tokens, draws, and the answer taken apart. What the conversation shares with the
 * session's last one is not computed again. `tools` and `sampling` may be NULL. */
HOULE_API houle_status houle_session_chat(houle_session *session, const char *messages, const char *tools,
                                          const houle_sampling *sampling, houle_on_piece on_piece, void *user,
                                          houle_error *error);
/* Continues a text as it stands; all pieces are content. */
HOULE_API houle_status houle_session_continue(houle_session *session, const char *text, const houle_sampling *sampling,
                                              houle_on_piece on_piece, void *user, houle_error *error);

/* ---- vectors --------------------------------------------------------------------------------------------------- */

/* Makes vectors with an embedding model. It belongs to one thread at a time. */
typedef struct houle_embedder houle_embedder;

/* Of the options, which may be NULL, the draft has no meaning here; a context of 0 is the declared one, at most 8192.
 * HOULE_ERROR_UNSUPPORTED when the model's files do not make it an embedding model. */
HOULE_API houle_status houle_embedder_open(houle_model *model, const houle_session_options *options, houle_embedder **embedder,
                                           houle_error *error);
HOULE_API void houle_embedder_close(houle_embedder *embedder); /* NULL is fine */
/* Numbers of a vector. */
HOULE_API int32_t houle_embedder_width(const houle_embedder *embedder);
/* vectors [count, width]: of length 1, computed together. bytes[i]: those of texts[i]; `bytes` may be NULL: the texts end with
 * NUL then. HOULE_ERROR_LIMIT, with the numbers, for a text longer than the context. */
HOULE_API houle_status houle_embed(houle_embedder *embedder, const char *const *texts, const size_t *bytes, size_t count,
                                   float *vectors, houle_error *error);

#ifdef __cplusplus
}
#endif

#endif
