/* houle.c - the public door (include/houle.h): names, sizes and errors of the outside over the engine of the inside. */
#include "houle.h"

#include "engine/answer.h"
#include "engine/embed.h"
#include "engine/generate.h"
#include "format/json.h"

#include <pthread.h>
#include <string.h>

_Static_assert((int)HOULE_ERROR_INTERNAL == (int)ERR_INTERNAL, "statuses are the same numbers inside and outside");
_Static_assert(sizeof(houle_error) == sizeof(Error), "errors have the same form inside and outside");

struct houle_model { Model *model; };

struct houle_session {
    Session *session;
    Generator *generator;
    Draft *draft;
    Sampler *sampler;
    houle_sampling sampling; /* that the sampler was made for */
};

struct houle_embedder {
    const Model *model;
    Embedder *embedder;
};

static Error *inside(houle_error *error) {
    return (Error *)(void *)error;
}

const char *houle_version(void) {
    return HOULE_VERSION;
}

/* ---- the pool of the process --------------------------------------------------------------------------------------- */

static struct { pthread_mutex_t lock; Pool *pool; int users; } process = {.lock = PTHREAD_MUTEX_INITIALIZER};

static Status take_pool(int threads, Pool **pool, Error *err) {
    pthread_mutex_lock(&process.lock);
    const Status status = process.pool != NULL ? OK : pool_open(threads, &process.pool, err);
    if (status == OK)
        process.users++;
    *pool = process.pool;
    pthread_mutex_unlock(&process.lock);
    return status;
}

static void give_pool_back(void) {
    pthread_mutex_lock(&process.lock);
    if (--process.users == 0) {
        pool_close(process.pool);
        process.pool = NULL;
    }
    pthread_mutex_unlock(&process.lock);
}

/* ---- models ---------------------------------------------------------------------------------------------------------- */

houle_status houle_model_open(const char *path, houle_model **out, houle_error *error) {
    return houle_model_open_within(path, UINT64_MAX, out, error);
}

houle_status houle_model_open_within(const char *path, uint64_t weight_bytes, houle_model **out, houle_error *error) {
    Error *err = inside(error);
    *out = NULL;
    json_setup();
    houle_model *m = mem_zalloc(sizeof *m, MEM_MISC);
    if (m == NULL)
        return (houle_status)error_set(err, ERR_MEMORY, "no memory for the model");
    Status status = model_open(path, &m->model, err);
    if (status == OK)
        status = model_fit(m->model, weight_bytes, err);
    if (status != OK)
        houle_model_close(m);
    else
        *out = m;
    return (houle_status)status;
}

void houle_model_close(houle_model *m) {
    if (m == NULL)
        return;
    model_close(m->model);
    mem_free(m);
}

const char *houle_model_family(const houle_model *m) {
    return model_family(m->model)->name;
}

int32_t houle_model_vocabulary(const houle_model *m) {
    return model_vocab(m->model);
}

int32_t houle_model_context(const houle_model *m) {
    return model_context(m->model);
}

int houle_model_ends(const houle_model *m, int32_t token) {
    return model_ends_at(m->model, token);
}

houle_status houle_tokenize(const houle_model *m, const char *text, size_t bytes, unsigned flags, int32_t *ids, size_t capacity,
                            size_t *count, houle_error *error) {
    const Tokenizer *tokenizer;
    TokenIds list = {0};
    const unsigned own = (flags & HOULE_ADD_SPECIAL ? ENCODE_ADD_SPECIAL : 0u) | (flags & HOULE_PARSE_SPECIAL ? ENCODE_PARSE_SPECIAL : 0u);
    Status status = model_tokenizer(m->model, &tokenizer, inside(error));
    if (status == OK)
        status = tokenizer_encode(tokenizer, text, bytes, own, &list, inside(error));
    if (status == OK && capacity > 0 && list.count > 0)
        memcpy(ids, list.ids, MIN(capacity, list.count) * sizeof *ids);
    *count = status == OK ? list.count : 0;
    token_ids_free(&list);
    return (houle_status)status;
}

static void copy_out(const Text *from, char *text, size_t capacity, size_t *bytes) {
    *bytes = from->count;
    if (capacity > 0 && from->count > 0)
        memcpy(text, from->bytes, MIN(capacity, from->count));
    if (from->count < capacity)
        text[from->count] = '\0';
}

houle_status houle_detokenize(const houle_model *m, const int32_t *ids, size_t count, char *text, size_t capacity, size_t *bytes,
                              houle_error *error) {
    const Tokenizer *tokenizer;
    Text all = {0};
    *bytes = 0;
    Status status = model_tokenizer(m->model, &tokenizer, inside(error));
    if (status == OK)
        status = tokenizer_decode(tokenizer, ids, count, DECODE_SKIP_SPECIAL, &all, inside(error));
    if (status == OK)
        copy_out(&all, text, capacity, bytes);
    text_free(&all);
    return (houle_status)status;
}

typedef struct Conversation {
    json_t *messages, *tools;
    Text prompt;
    const char *format;
} Conversation;

static void conversation_free(Conversation *c) {
    json_decref(c->messages);
    json_decref(c->tools);
    text_free(&c->prompt);
}

static Status conversation_read(const Model *model, const char *messages, const char *tools, Conversation *c, Error *err) {
    const ChatTemplate *chat;
    TRY(model_chat(model, &chat, err));
    TRY(json_parse(messages, strlen(messages), "messages", false, &c->messages, err));
    if (tools != NULL)
        TRY(json_parse(tools, strlen(tools), "tools", false, &c->tools, err));
    const ChatRequest request = {.messages = c->messages, .tools = c->tools, .add_generation_prompt = true};
    TRY(chat_template_render(chat, &request, &c->prompt, err));
    c->format = model_reply_format(model, &request);
    return OK;
}

houle_status houle_chat_prompt(const houle_model *m, const char *messages, const char *tools, char *text, size_t capacity,
                               size_t *bytes, houle_error *error) {
    Conversation c = {0};
    *bytes = 0;
    const Status status = conversation_read(m->model, messages, tools, &c, inside(error));
    if (status == OK)
        copy_out(&c.prompt, text, capacity, bytes);
    conversation_free(&c);
    return (houle_status)status;
}

/* ---- sessions -------------------------------------------------------------------------------------------------------- */

houle_session_options houle_session_defaults(void) {
    return (houle_session_options){.size = sizeof(houle_session_options)};
}

/* Guesses ahead: as wished, where tokens can be taken back. */
static Status open_draft(const houle_model *m, const houle_session_options *options, SessionSpec *spec, Draft **draft, Error *err) {
    const Model *model = options->draft != NULL ? options->draft->model : NULL;
    const int most = options->draft_tokens == 0 ? draft_usual(model != NULL) : MIN(options->draft_tokens, (int32_t)DRAFT_MAX);
    if (most < 0 || (model == NULL && !draft_possible(m->model)))
        return OK;
    const DraftSpec own = {.target = m->model, .model = model, .precision = spec->precision, .cache_type = spec->cache_type,
                           .context = spec->context, .most = most, .pool = spec->pool};
    spec->max_wanted = 1 + most;
    return draft_open(&own, draft, err);
}

houle_status houle_session_open(houle_model *m, const houle_session_options *given, houle_session **out, houle_error *error) {
    Error *err = inside(error);
    houle_session_options options = houle_session_defaults();
    *out = NULL;
    if (given != NULL)
        memcpy(&options, given, MIN(given->size, sizeof options));
    if (options.context < 0 || options.threads < 0 || (unsigned)options.precision > HOULE_PRECISION_F32 || options.draft_tokens < -1)
        return (houle_status)error_set(err, ERR_ARGUMENT, "an option of the session is out of range");
    houle_session *s = mem_zalloc(sizeof *s, MEM_MISC);
    if (s == NULL)
        return (houle_status)error_set(err, ERR_MEMORY, "no memory for a session");
    const int declared = model_context(m->model);
    SessionSpec spec = {.precision = options.precision == HOULE_PRECISION_F32 ? PRECISION_F32 : PRECISION_FAST, .cache_type = CACHE_F16};
    spec.context = options.context > 0 ? options.context : declared > 0 ? MIN(declared, 4096) : 4096;
    Status status = take_pool(options.threads, &spec.pool, err);
    if (status != OK) {
        mem_free(s);
        return (houle_status)status;
    }
    status = open_draft(m, &options, &spec, &s->draft, err);
    if (status == OK)
        status = session_open(m->model, spec, &s->session, err);
    if (status == OK)
        status = generator_open(s->session, 0, &s->generator, err);
    if (status == OK)
        generator_guess(s->generator, s->draft);
    if (status != OK)
        houle_session_close(s);
    else
        *out = s;
    return (houle_status)status;
}

void houle_session_close(houle_session *s) {
    if (s == NULL)
        return;
    sampler_close(s->sampler);
    generator_close(s->generator);
    draft_close(s->draft);
    session_close(s->session);
    mem_free(s);
    give_pool_back();
}

houle_status houle_session_set(houle_session *s, const int32_t *ids, size_t count, houle_error *error) {
    Error *err = inside(error);
    const int vocab = model_vocab(session_model(s->session));
    if (count == 0 || count > INT32_MAX)
        return (houle_status)error_set(err, ERR_ARGUMENT, "a text of %zu tokens", count);
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return (houle_status)error_set(err, ERR_ARGUMENT, "token %d is outside the vocabulary of %d", ids[i], vocab);
    return (houle_status)generator_set(s->generator, ids, (int)count, NULL, err);
}

houle_sampling houle_sampling_defaults(const houle_model *m) {
    const SampleSpec s = model_sampling(m->model);
    return (houle_sampling){
        .size = sizeof(houle_sampling),
        .temperature = s.temperature,
        .top_k = s.top_k,
        .top_p = s.top_p,
        .min_p = s.min_p,
        .repeat_penalty = s.repeat_penalty,
        .presence_penalty = s.presence_penalty,
        .frequency_penalty = s.frequency_penalty,
        .max_tokens = -1,
    };
}

static houle_sampling sampling_of(const houle_session *s, const houle_sampling *given) {
    const houle_model model = {.model = (Model *)session_model(s->session)};
    houle_sampling sampling = houle_sampling_defaults(&model);
    if (given != NULL)
        memcpy(&sampling, given, MIN(given->size, sizeof sampling));
    sampling.size = sizeof sampling;
    return sampling;
}

static bool samples_alike(const houle_sampling *a, const houle_sampling *b) {
    const float of_a[] = {a->temperature, a->top_p, a->min_p, a->repeat_penalty, a->presence_penalty, a->frequency_penalty};
    const float of_b[] = {b->temperature, b->top_p, b->min_p, b->repeat_penalty, b->presence_penalty, b->frequency_penalty};
    return memcmp(of_a, of_b, sizeof of_a) == 0 && a->top_k == b->top_k && a->seed == b->seed;
}

/* The sampler goes on as long as the same is wanted of it; its draws depend on the seed and their number. */
static Status take_sampler(houle_session *s, const houle_sampling *given, bool anew, Error *err) {
    const houle_sampling sampling = sampling_of(s, given);
    if (s->sampler != NULL && !anew && samples_alike(&sampling, &s->sampling))
        return OK;
    SampleSpec spec = sample_defaults();
    spec.temperature = sampling.temperature;
    spec.top_k = sampling.top_k;
    spec.top_p = sampling.top_p;
    spec.min_p = sampling.min_p;
    spec.repeat_penalty = sampling.repeat_penalty;
    spec.presence_penalty = sampling.presence_penalty;
    spec.frequency_penalty = sampling.frequency_penalty;
    spec.seed = sampling.seed;
    sampler_close(s->sampler);
    s->sampler = NULL;
    s->sampling = sampling;
    return sampler_open(spec, model_vocab(session_model(s->session)), &s->sampler, err);
}

houle_status houle_session_next(houle_session *s, const houle_sampling *sampling, int32_t *token, int *ended, houle_error *error) {
    GenerateEnd end = END_NONE;
    int n;
    *token = -1;
    *ended = 0;
    generator_tokens(s->generator, &n);
    if (n == 0)
        return (houle_status)error_set(inside(error), ERR_ARGUMENT, "the session has no text to continue; houle_session_set gives it one");
    Status status = take_sampler(s, sampling, false, inside(error));
    if (status == OK)
        status = generator_next(s->generator, s->sampler, false, NULL, token, &end, inside(error));
    *ended = end != END_NONE;
    return (houle_status)status;
}

const float *houle_session_logits(const houle_session *s) {
    return generator_logits(s->generator);
}

typedef struct Listener {
    houle_on_piece on_piece;
    void *user;
    bool enough;
} Listener;

static void tell(void *user, const ReplyDelta *d) {
    static const houle_piece kinds[] = {[REPLY_CONTENT] = HOULE_CONTENT, [REPLY_REASONING] = HOULE_REASONING,
                                        [REPLY_CALL] = HOULE_CALL, [REPLY_ARGUMENTS] = HOULE_ARGUMENTS,
                                        [REPLY_CALL_END] = HOULE_CALL_END};
    Listener *l = user;
    const bool call = d->kind == REPLY_CALL;
    if (l->on_piece != NULL && !l->enough)
        l->enough = l->on_piece(l->user, kinds[d->kind], call ? d->name : d->text, call ? strlen(d->name) : d->bytes) != 0;
}

static Status draw_answer(houle_session *s, Answer *answer, const Listener *listener, Error *err) {
    for (int32_t i = 0; s->sampling.max_tokens < 0 || i < s->sampling.max_tokens; i++) {
        int32_t token;
        GenerateEnd end;
        TRY(generator_next(s->generator, s->sampler, false, NULL, &token, &end, err));
        if (end != END_NONE)
            break;
        TRY(answer_push(answer, token, err));
        if (listener->enough)
            break;
    }
    return answer_finish(answer, err);
}

static Status answer_prompt(houle_session *s, const Text *prompt, unsigned flags, const char *format, const json_t *tools,
                            const houle_sampling *sampling, Listener *listener, Error *err) {
    const Tokenizer *tokenizer;
    TokenIds ids = {0};
    Answer *answer = NULL;
    TRY(model_tokenizer(session_model(s->session), &tokenizer, err));
    const AnswerSpec spec = {.tokenizer = tokenizer, .reply_format = format, .tools = tools, .on_delta = tell, .user = listener,
                             .inside_reasoning = format != NULL && reply_inside_reasoning(format, prompt->bytes, prompt->count)};
    Status status = tokenizer_encode(tokenizer, prompt->bytes, prompt->count, flags, &ids, err);
    if (status == OK && ids.count == 0)
        status = error_set(err, ERR_ARGUMENT, "the prompt is empty");
    if (status == OK)
        status = take_sampler(s, sampling, true, err);
    if (status == OK)
        status = generator_set(s->generator, ids.ids, (int)ids.count, NULL, err);
    if (status == OK)
        status = answer_open(&spec, &answer, err);
    if (status == OK)
        status = draw_answer(s, answer, listener, err);
    answer_close(answer);
    token_ids_free(&ids);
    return status;
}

houle_status houle_session_chat(houle_session *s, const char *messages, const char *tools, const houle_sampling *sampling,
                                houle_on_piece on_piece, void *user, houle_error *error) {
    Conversation c = {0};
    Listener listener = {.on_piece = on_piece, .user = user};
    Status status = conversation_read(session_model(s->session), messages, tools, &c, inside(error));
    if (status == OK)
        status = answer_prompt(s, &c.prompt, ENCODE_PARSE_SPECIAL, c.format, c.tools, sampling, &listener, inside(error));
    conversation_free(&c);
    return (houle_status)status;
}

houle_status houle_session_continue(houle_session *s, const char *text, const houle_sampling *sampling, houle_on_piece on_piece,
                                    void *user, houle_error *error) {
    Text prompt = {0};
    Listener listener = {.on_piece = on_piece, .user = user};
    text_append_str(&prompt, text);
    Status status = text_check(&prompt, inside(error));
    if (status == OK)
        status = answer_prompt(s, &prompt, ENCODE_ADD_SPECIAL, NULL, NULL, sampling, &listener, inside(error));
    text_free(&prompt);
    return (houle_status)status;
}

/* ---- vectors --------------------------------------------------------------------------------------------------------- */

houle_status houle_embedder_open(houle_model *m, const houle_session_options *given, houle_embedder **out, houle_error *error) {
    Error *err = inside(error);
    houle_session_options options = houle_session_defaults();
    *out = NULL;
    if (given != NULL)
        memcpy(&options, given, MIN(given->size, sizeof options));
    if (options.context < 0 || options.threads < 0 || (unsigned)options.precision > HOULE_PRECISION_F32)
        return (houle_status)error_set(err, ERR_ARGUMENT, "an option of the embedder is out of range");
    houle_embedder *e = mem_zalloc(sizeof *e, MEM_MISC);
    if (e == NULL)
        return (houle_status)error_set(err, ERR_MEMORY, "no memory for an embedder");
    const int declared = model_context(m->model);
    TextSpec spec = {.precision = options.precision == HOULE_PRECISION_F32 ? PRECISION_F32 : PRECISION_FAST, .cache_type = CACHE_F16};
    spec.context = options.context > 0 ? options.context : declared > 0 ? MIN(declared, 8192) : 8192;
    e->model = m->model;
    Status status = take_pool(options.threads, &spec.pool, err);
    if (status != OK) {
        mem_free(e);
        return (houle_status)status;
    }
    status = embedder_open(m->model, &spec, &e->embedder, err);
    if (status != OK)
        houle_embedder_close(e);
    else
        *out = e;
    return (houle_status)status;
}

void houle_embedder_close(houle_embedder *e) {
    if (e == NULL)
        return;
    embedder_close(e->embedder);
    mem_free(e);
    give_pool_back();
}

int32_t houle_embedder_width(const houle_embedder *e) {
    return embedder_width(e->embedder);
}

houle_status houle_embed(houle_embedder *e, const char *const *texts, const size_t *bytes, size_t count, float *vectors,
                         houle_error *error) {
    Error *err = inside(error);
    const int width = embedder_width(e->embedder);
    if (count == 0 || count > INT32_MAX / (size_t)width)
        return (houle_status)error_set(err, ERR_ARGUMENT, "vectors of %zu texts", count);
    TokenIds ids = {0};
    TextInput *inputs = mem_array(count, sizeof *inputs, MEM_MISC);
    Status status = inputs == NULL ? error_set(err, ERR_MEMORY, "no memory for %zu texts", count)
                                   : text_inputs_encode(e->model, texts, bytes, count, &ids, inputs, err);
    if (status == OK)
        status = embedder_run(e->embedder, inputs, (int)count, vectors, NULL, NULL, err);
    for (size_t i = 0; status == OK && i < count; i++)
        embed_unit(vectors + i * (size_t)width, width, 0);
    mem_free(inputs);
    token_ids_free(&ids);
    return (houle_status)status;
}
