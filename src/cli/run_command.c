/* run_command.c - houle run: one answer, or a chat. */
#include "cli/chat_loop.h"
#include "cli/run_options.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    const char *ids, *precision, *cache, *system, *first, *draft;
    StringList stops, dry_breakers;
    bool print_ids, ignore_eos, raw, json, think, think_given, verbose;
    int64_t n, ctx, threads, draft_tokens, top_k, seed, repeat_last, dry_allowed, dry_last;
    double temp, top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty, dry_multiplier, dry_base;
    double xtc_probability, xtc_threshold;
    bool seed_given;
    uint64_t memory;
} want = {.precision = "fast", .cache = "f16", .n = -1, .draft_tokens = -1, .temp = -1, .top_k = -1, .top_p = -1, .min_p = -1, .typical_p = 1,
          .repeat_penalty = -1, .repeat_last = -1, .dry_base = 1.75, .dry_allowed = 2, .dry_last = -1, .xtc_threshold = 0.1};

/* What the user says, over what the model's files say, over our defaults. */
static SampleSpec sampling_of(const Model *model) {
    SampleSpec s = model_sampling(model);
    if (want.temp >= 0)
        s.temperature = (float)want.temp;
    if (want.top_p >= 0)
        s.top_p = (float)want.top_p;
    if (want.min_p >= 0)
        s.min_p = (float)want.min_p;
    if (want.repeat_penalty >= 0)
        s.repeat_penalty = (float)want.repeat_penalty;
    if (want.top_k >= 0)
        s.top_k = (int)MIN(want.top_k, 1 << 20);
    s.presence_penalty = (float)want.presence_penalty;
    s.frequency_penalty = (float)want.frequency_penalty;
    s.penalty_last = (int)MIN(want.repeat_last, INT32_MAX);
    s.typical_p = (float)want.typical_p;
    s.dry_multiplier = (float)want.dry_multiplier;
    s.dry_base = (float)want.dry_base;
    s.dry_allowed = (int)MIN(want.dry_allowed, INT32_MAX);
    s.dry_last = (int)MIN(want.dry_last, INT32_MAX);
    s.xtc_probability = (float)want.xtc_probability;
    s.xtc_threshold = (float)want.xtc_threshold;
    s.seed = want.seed_given ? (uint64_t)want.seed : clock_ns();
    return s;
}

static Status run_ids(Session *session, Draft *draft, Error *err) {
    int32_t *ids;
    int n;
    Generator *g = NULL;
    Sampler *sampler = NULL;
    TRY(parse_ids(want.ids, &ids, &n, err));
    Status status = generator_open(session, 0, &g, err);
    if (status == OK)
        status = generator_set(g, ids, n, NULL, err);
    if (status == OK)
        status = sampler_open(sampling_of(session_model(session)), model_vocab(session_model(session)), &sampler, err);
    if (status == OK)
        generator_guess(g, draft);
    const int64_t most = want.n >= 0 ? want.n : INT32_MAX;
    for (int64_t i = 0; status == OK && i < most && !cli_interrupted(); i++) {
        int32_t token;
        GenerateEnd end;
        status = generator_next(g, sampler, want.ignore_eos, NULL, &token, &end, err);
        if (status != OK || end != END_NONE)
            break;
        printf("%s%d", i > 0 ? " " : "", token);
    }
    if (status == OK)
        printf("\n");
    sampler_close(sampler);
    generator_close(g);
    mem_free(ids);
    return status;
}

static Status one_shot(Chat *chat, const char *prompt, Error *err) {
    Text input = {0};
    Status status = OK;
    if (prompt == NULL) {
        status = cli_read_all("-", &input, err);
        prompt = input.bytes;
    }
    if (status == OK && (prompt == NULL || prompt[0] == '\0'))
        status = error_set(err, ERR_ARGUMENT, "the prompt is empty");
    if (status == OK)
        status = want.raw ? chat_continue(chat, prompt, err) : chat_say(chat, prompt, err);
    text_free(&input);
    return status;
}

/* The tokens at which repetitions that --dry-* counts begin anew: all whose text contains one of the breakers. */
static Status dry_breakers(const Model *model, SampleSpec *s, int32_t **list, Error *err) {
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    *list = NULL;
    if (s->dry_multiplier == 0)
        return OK;
    const Tokenizer *tokenizer;
    TRY(model_tokenizer(model, &tokenizer, err));
    const bool given = want.dry_breakers.count > 0;
    const int n = given ? want.dry_breakers.count : (int)COUNT(usual);
    size_t capacity = 0;
    for (int32_t id = 0; id < tokenizer_count(tokenizer); id++) {
        const char *bytes;
        size_t count;
        bool breaks = false;
        if (!tokenizer_piece(tokenizer, id, &bytes, &count))
            continue;
        for (int i = 0; i < n && !breaks; i++) {
            const char *breaker = given ? want.dry_breakers.items[i] : usual[i];
            breaks = breaker[0] != '\0' && count > 0 && memmem(bytes, count, breaker, strlen(breaker)) != NULL;
        }
        if (!breaks)
            continue;
        if (!mem_grow((void **)list, &capacity, (size_t)s->n_dry_breaker + 1, sizeof **list, MEM_MISC)) {
            mem_free(*list);
            *list = NULL;
            return error_set(err, ERR_MEMORY, "no memory for --dry-breaker");
        }
        (*list)[s->n_dry_breaker++] = id;
    }
    s->dry_breakers = *list;
    return OK;
}

static Status run_text(Session *session, Draft *draft, const char *prompt, Error *err) {
    const bool chatting = (prompt == NULL || want.first != NULL) && !want.json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    ChatSettings settings = {
        .sample = sampling_of(session_model(session)), .most_tokens = want.n, .raw = want.raw, .json = want.json,
        .ignore_end = want.ignore_eos, .verbose = want.verbose, .thinking_given = want.think_given, .thinking = want.think,
        .stops = want.stops.items, .n_stop = want.stops.count, .draft = draft,
    };
    int32_t *breakers;
    TRY(dry_breakers(session_model(session), &settings.sample, &breakers, err));
    Chat *chat = NULL;
    Status status = chat_open(session, &settings, &chat, err);
    if (status == OK && want.system != NULL)
        status = chat_set_system(chat, want.system, err);
    cli_catch_interrupt();
    if (status == OK && chatting)
        status = chat_loop(chat, want.first, err);
    else if (status == OK)
        status = one_shot(chat, prompt != NULL ? prompt : want.first, err);
    chat_close(chat);
    mem_free(breakers);
    return status;
}

static void print_streaming(const Model *model) {
    Text text = {0};
    cli_append_streaming(&text, model);
    if (!text.failed && text.count > 0)
        fprintf(stderr, "%s\n", text.bytes);
    text_free(&text);
}

typedef struct Opened {
    Model *model, *draft_model;
    Session *session;
    Draft *draft;
} Opened;

static void close_all(Opened *o) {
    session_close(o->session);
    draft_close(o->draft);
    model_close(o->draft_model);
    model_close(o->model);
}

/* How many tokens are guessed ahead. */
static int guesses_wanted(const Model *model) {
    const int usual = draft_usual(want.draft != NULL);
    const bool possible = want.draft != NULL || draft_possible(model);
    return !possible ? 0 : want.draft_tokens < 0 ? usual : (int)MIN(want.draft_tokens, DRAFT_MAX);
}

static Status open_draft(Opened *o, const SessionSpec *spec, int guesses, Error *err) {
    if (guesses == 0)
        return OK;
    if (want.draft != NULL)
        TRY(cli_open_model(want.draft, &o->draft_model, err));
    const DraftSpec draft = {.target = o->model, .model = o->draft_model, .precision = spec->precision,
                             .cache_type = spec->cache_type, .context = spec->context, .most = guesses, .pool = spec->pool};
    return draft_open(&draft, &o->draft, err);
}

static Status open_all(const char *name, SessionSpec *spec, Opened *o, Error *err) {
    TRY(cli_open_model(name, &o->model, err));
    const int declared = model_context(o->model), guesses = guesses_wanted(o->model);
    spec->context = want.ctx > 0 ? (int)MIN(want.ctx, INT32_MAX) : declared > 0 ? MIN(declared, 4096) : 4096;
    spec->max_wanted = 1 + guesses;
    TRY(open_draft(o, spec, guesses, err));
    return cli_open_session(o->model, *spec, want.memory, &o->session, err);
}

static int run(int n_argument, char **arguments, Error *err) {
    Opened o = {0};
    SessionSpec spec = {0};
    Status status = parse_precision(want.precision, &spec.precision, err);
    if (status == OK)
        status = parse_cache_type(want.cache, &spec.cache_type, err);
    if (status == OK && want.first != NULL && n_argument > 1)
        status = error_set(err, ERR_ARGUMENT, "--first begins a chat; it cannot stand beside a prompt");
    if (status == OK && want.ids != NULL && n_argument > 1)
        status = error_set(err, ERR_ARGUMENT, "--ids takes the place of the prompt");
    if (status == OK && want.print_ids && want.ids == NULL)
        status = error_set(err, ERR_ARGUMENT, "--print-ids goes with --ids");
    if (status == OK)
        status = cli_pool((int)want.threads, &spec.pool, err);
    if (status == OK)
        status = open_all(arguments[0], &spec, &o, err);
    if (status == OK)
        status = want.ids != NULL ? run_ids(o.session, o.draft, err)
                                  : run_text(o.session, o.draft, n_argument > 1 ? arguments[1] : NULL, err);
    if (status == OK && want.verbose)
        print_streaming(o.model);
    close_all(&o);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"n", OPT_INT, &want.n, "N", "generate at most N tokens", NULL},
    {"system", OPT_STRING, &want.system, "TEXT", "what the model is told before everything", NULL},
    {"first", OPT_STRING, &want.first, "TEXT", "begin the chat with this question", NULL},
    {"raw", OPT_FLAG, &want.raw, NULL, "continue the prompt as it stands, without the chat template", NULL},
    {"think", OPT_FLAG, &want.think, NULL, "ask for reasoning; --no-think asks for none (where the model has the choice)",
     &want.think_given},
    {"stop", OPT_LIST, &want.stops, "TEXT", "end the answer where this text appears (may be repeated)", NULL},
    {"json", OPT_FLAG, &want.json, NULL, "print the answer as a JSON object", NULL},
    {"v", OPT_FLAG, &want.verbose, NULL, "tell the time to the first token and the speeds", NULL},
    {"temp", OPT_REAL, &want.temp, "T", "temperature; 0 always takes the likeliest token", NULL},
    {"top-k", OPT_INT, &want.top_k, "N", "choose among the N likeliest (0 = all)", NULL},
    {"top-p", OPT_REAL, &want.top_p, "P", "choose among the likeliest that together have probability P", NULL},
    {"min-p", OPT_REAL, &want.min_p, "P", "leave out tokens less likely than P times the likeliest", NULL},
    {"typical-p", OPT_REAL, &want.typical_p, "P", "choose among the most typical that together have probability P (1 = off)", NULL},
    {"xtc-probability", OPT_REAL, &want.xtc_probability, "P", "chance of leaving out the top choices (0 = off)", NULL},
    {"xtc-threshold", OPT_REAL, &want.xtc_threshold, "P", "top choices are those over this probability (0.1)", NULL},
    {"repeat-penalty", OPT_REAL, &want.repeat_penalty, "X", "divide the logits of tokens that occurred by X (1 = off)", NULL},
    {"repeat-last", OPT_INT, &want.repeat_last, "N", "tokens that the penalties look back at (-1 = all)", NULL},
    {"presence-penalty", OPT_REAL, &want.presence_penalty, "X", "lower the logits of tokens that occurred in the answer", NULL},
    {"frequency-penalty", OPT_REAL, &want.frequency_penalty, "X", "lower them by X for each occurrence", NULL},
    {"dry-multiplier", OPT_REAL, &want.dry_multiplier, "X", "strength of the penalty on repeating sequences (0 = off)", NULL},
    {"dry-base", OPT_REAL, &want.dry_base, "X", "its growth with the length of the repetition (1.75)", NULL},
    {"dry-allowed", OPT_INT, &want.dry_allowed, "N", "repetitions of this length are free (2)", NULL},
    {"dry-last", OPT_INT, &want.dry_last, "N", "tokens that it looks back at (-1 = all)", NULL},
    {"dry-breaker", OPT_LIST, &want.dry_breakers, "TEXT", "repetitions end at this text (newline, colon, quote, star)", NULL},
    {"seed", OPT_INT, &want.seed, "N", "seed of the draws (a new one each time)", &want.seed_given},
    {"ids", OPT_STRING, &want.ids, "1,2,3", "token ids in place of a text; needs no tokenizer", NULL},
    {"print-ids", OPT_FLAG, &want.print_ids, NULL, "print the new token ids on one line", NULL},
    {"ignore-eos", OPT_FLAG, &want.ignore_eos, NULL, "go on when the model ends its text", NULL},
    {"draft", OPT_STRING, &want.draft, "MODEL", "a smaller model of the same vocabulary that guesses ahead; the answer stays the same", NULL},
    {"draft-tokens", OPT_INT, &want.draft_tokens, "N", "guess at most N tokens ahead (4; with --draft 8; 0 = none)", NULL},
    {"ctx", OPT_INT, &want.ctx, "N", "context in tokens (the declared one, at most 4096)", NULL},
    {"precision", OPT_STRING, &want.precision, "f32|fast", "float throughout, or what this CPU does best (fast)", NULL},
    {"memory", OPT_BYTES, &want.memory, "SIZE", "what all of it may take; experts that do not fit are read when they are needed", NULL},
    {"cache-type", OPT_STRING, &want.cache, "TYPE", "f16 (default), q8_0, f32", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads (default: the physical cores this process may use)", NULL},
    {0},
};

const Command command_run = {
    .name = "run",
    .arguments = "MODEL [PROMPT]",
    .summary = "answer a prompt, or chat",
    .text = "Answers PROMPT, or what stands on standard input; without either it chats (/help there lists its commands).\n"
            "The answer goes to standard output, everything else to standard error. MODEL is a GGUF file, a folder as\n"
            "published on Hugging Face, or the name of a model in the store.",
    .example = "  houle run model.gguf \"What is a tide?\"\n"
               "      answers and ends\n"
               "  houle run model.gguf < letter.txt\n"
               "      the prompt is the file\n"
               "  houle run model.gguf\n"
               "      chats",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 2,
    .run = run,
};
