/* constraint.c - what an answer must look like: response formats, grammars and forced tool calls become a Grammar.
 *
 * A constraint that cannot be kept is refused, with the place in the schema; none is dropped. Calls are bound when all
 * is known of the prompt, since how they are written depends on the format of the reply (text/reply_calls.h). */
#include "serve/api.h"

#include "text/reply_calls.h"

#include <string.h>

enum { CHOICES_MOST = 1024, TOOLS_MOST = 256, GRAMMAR_BYTES = 1 << 20 };

static Status compile(Ask *ask, const char *param, const GrammarSpec *spec, Error *err) {
    const GrammarVocab *vocab;
    if (ask->grammar != NULL)
        return field_wrong(ask->call, param, err, "only one constraint on an answer is possible");
    TRY(served_vocab(ask->served, &vocab, err));
    const GrammarOptions options = {.space = GRAMMAR_SPACE_ONE, .cache_bytes = (size_t)16 << 20};
    Error own = {0};
    const Status status = grammar_compile(vocab, spec, &options, &ask->grammar, &own);
    if (status == OK)
        return OK;
    if (status == ERR_MEMORY)
        return error_set(err, status, "%s", own.text);
    ask->call->code = "unsupported_constraint";
    return field_wrong(ask->call, param, err, "%s", own.text);
}

static Status of_schema(Ask *ask, const char *param, const json_t *schema, Error *err) {
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return field_wrong(ask->call, param, err, "a JSON schema is expected");
    return compile(ask, param, &(GrammarSpec){.kind = GRAMMAR_SCHEMA, .schema = schema}, err);
}

static Status of_text(Ask *ask, const char *param, GrammarKind kind, const json_t *text, Error *err) {
    if (!json_is_string(text) || json_string_length(text) > GRAMMAR_BYTES)
        return field_wrong(ask->call, param, err, "a text of at most %d bytes is expected", GRAMMAR_BYTES);
    const GrammarSpec spec = {.kind = kind, .text = json_string_value(text), .text_count = json_string_length(text)};
    return compile(ask, param, &spec, err);
}

/* A grammar in one of two notations: in the one rules are written "name ::= ...", in the other "name: ...". Or an
 * object that says so: {"syntax": "lark", "regex" or "gbnf", "definition"}. */
static Status of_grammar(Ask *ask, const char *param, const json_t *value, Error *err) {
    static const struct {
        const char *syntax;
        GrammarKind kind;
    } syntaxes[] = {{"lark", GRAMMAR_LARK}, {"regex", GRAMMAR_REGEX}, {"gbnf", GRAMMAR_GBNF}};
    const char *text = json_string_value(value), *syntax = json_string_value(json_object_get(value, "syntax"));
    if (text != NULL)
        return of_text(ask, param, strstr(text, "::=") != NULL ? GRAMMAR_GBNF : GRAMMAR_LARK, value, err);
    for (size_t i = 0; syntax != NULL && i < COUNT(syntaxes); i++)
        if (strcmp(syntaxes[i].syntax, syntax) == 0)
            return of_text(ask, param, syntaxes[i].kind, json_object_get(value, "definition"), err);
    return field_wrong(ask->call, param, err,
                       "a grammar is expected, or an object with \"syntax\" (lark, regex, gbnf) and \"definition\"");
}

static Status of_choice(Ask *ask, const char *param, const json_t *choices, Error *err) {
    const size_t n = json_array_size(choices);
    if (n == 0 || n > CHOICES_MOST)
        return field_wrong(ask->call, param, err, "an array of 1 to %d texts is expected", CHOICES_MOST);
    const char **texts = mem_array(n, sizeof *texts, MEM_NETWORK);
    FAIL_IF(texts == NULL, ERR_MEMORY, "no memory for the choices");
    Status status = OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        texts[i] = json_string_value(json_array_get(choices, i));
        if (texts[i] == NULL || strlen(texts[i]) != json_string_length(json_array_get(choices, i)))
            status = field_wrong(ask->call, param, err, "an array of texts is expected");
    }
    if (status == OK)
        status = compile(ask, param, &(GrammarSpec){.kind = GRAMMAR_CHOICE, .choices = texts, .count = n}, err);
    mem_free(texts);
    return status;
}

Status ask_format(Ask *ask, const char *param, const json_t *format, Error *err) {
    const char *type = json_string_value(json_object_get(format, "type"));
    if (format == NULL || (type != NULL && strcmp(type, "text") == 0))
        return OK;
    if (type != NULL && strcmp(type, "json_object") == 0) {
        const json_t *schema = json_object_get(format, "schema");
        return schema != NULL ? of_schema(ask, param, schema, err)
                              : compile(ask, param, &(GrammarSpec){.kind = GRAMMAR_OBJECT}, err);
    }
    if (type != NULL && strcmp(type, "json_schema") == 0) {
        const json_t *inner = json_object_get(format, "json_schema");
        return of_schema(ask, param, json_object_get(inner != NULL ? inner : format, "schema"), err);
    }
    if (type != NULL && (strcmp(type, "grammar") == 0 || strcmp(type, "lark_grammar") == 0)) {
        const json_t *inner = json_object_get(format, type);
        return of_grammar(ask, param, inner != NULL ? inner : format, err);
    }
    return field_wrong(ask->call, param, err,
                       "the type must be \"text\", \"json_object\", \"json_schema\" or \"grammar\"");
}

Status ask_json(Ask *ask, const char *param, const json_t *schema, Error *err) {
    return schema == NULL ? compile(ask, param, &(GrammarSpec){.kind = GRAMMAR_OBJECT}, err)
                          : of_schema(ask, param, schema, err);
}

/* What other servers call the same things. */
Status ask_constraints(Ask *ask, Fields *f, Error *err) {
    static const struct {
        const char *field, *inner;
        GrammarKind kind;
    } ways[] = {
        {"guided_json", "json", GRAMMAR_SCHEMA},     {"guided_regex", "regex", GRAMMAR_REGEX},
        {"guided_choice", "choice", GRAMMAR_CHOICE}, {"guided_grammar", "grammar", GRAMMAR_GBNF},
        {"json_schema", NULL, GRAMMAR_SCHEMA},       {"grammar", NULL, GRAMMAR_GBNF},
    };
    const json_t *more = NULL;
    TRY(field_object(f, "structured_outputs", &more, err));
    for (size_t i = 0; i < COUNT(ways); i++) {
        const json_t *inner = ways[i].inner != NULL ? json_object_get(more, ways[i].inner) : NULL,
                     *own = field(f, ways[i].field);
        const json_t *value = inner != NULL && !json_is_null(inner) ? inner : own;
        if (value == NULL || (json_is_string(value) && json_string_length(value) == 0))
            continue;
        if (ways[i].kind == GRAMMAR_SCHEMA)
            TRY(of_schema(ask, ways[i].field, value, err));
        else if (ways[i].kind == GRAMMAR_GBNF)
            TRY(of_grammar(ask, ways[i].field, value, err));
        else if (ways[i].kind == GRAMMAR_CHOICE)
            TRY(of_choice(ask, ways[i].field, value, err));
        else
            TRY(of_text(ask, ways[i].field, ways[i].kind, value, err));
    }
    return OK;
}

/* ---- calls of tools ---------------------------------------------------------------------------------------------- */

Status ask_force_call(Ask *ask, const char *param, const char *name, Error *err) {
    size_t i;
    json_t *tool;
    bool found = false;
    if (json_array_size(ask->tools) == 0 || json_array_size(ask->tools) > TOOLS_MOST)
        return field_wrong(ask->call, param, err, "1 to %d tools are needed for it", TOOLS_MOST);
    json_array_foreach(ask->tools, i, tool) {
        const char *own = json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        found = found || (own != NULL && (name == NULL || strcmp(own, name) == 0));
    }
    if (!found)
        return field_wrong(ask->call, param, err, "there is no tool '%.100s'", name != NULL ? name : "");
    ask->forced_call = true;
    ask->force_name = name;
    ask->force_param = param;
    return OK;
}

/* Compiles calls in a format. ERR_UNSUPPORTED: it has no notation for them that can be bound. */
static Status of_calls(Ask *ask, const char *param, const char *format, bool forced, Error *err) {
    const ReplyCallsSpec spec = {.format = format,
                                 .tools = ask->tools,
                                 .customs = ask->customs,
                                 .only = forced ? ask->force_name : NULL,
                                 .forced = forced};
    ReplyCalls *calls;
    TRY(reply_calls_open(&spec, &calls, err));
    const Status status = compile(ask, param, reply_calls_grammar(calls), err);
    reply_calls_close(calls);
    return status;
}

/* In the model's own notation if that can be bound, else as tagged objects, which are read back without doubt. */
static Status force_call(Ask *ask, Error *err) {
    static const char other[] = "tagged_objects";
    const char *format = ask->spec.reply_format;
    Error own = {0};
    grammar_free(ask->grammar); /* what else the answer should look like does not matter: it is a call */
    ask->grammar = NULL;
    Status status = ERR_UNSUPPORTED;
    if (format != NULL)
        status = of_calls(ask, ask->force_param, format, true, &own);
    if (status == ERR_UNSUPPORTED) {
        const char *text = ask->text.bytes != NULL ? ask->text.bytes : "";
        if (ask->spec.inside_reasoning && !reply_inside_reasoning(other, text, ask->text.count))
            return field_wrong(ask->call, ask->force_param, err,
                               "a call cannot be forced behind this model's reasoning; switch that off");
        ask->spec.reply_format = other;
        return of_calls(ask, ask->force_param, other, true, err);
    }
    FAIL_IF(status != OK, status, "%s", own.text);
    return OK;
}

static bool is_strict(const Ask *ask) {
    size_t i;
    json_t *tool;
    const char *key;
    json_array_foreach(ask->tools, i, tool) if (json_is_true(json_object_get(json_object_get(tool, "function"),
                                                                             "strict"))) return true;
    json_object_foreach(ask->customs, key,
                        tool) if (json_object_get(json_object_get(tool, "format"), "definition") != NULL) return true;
    return false;
}

/* The model may call or not; a call that it begins keeps its tool's schema. Where its notation cannot be bound, that is
 * said: the client's own check is then the only one. */
static Status bind_calls(Ask *ask, Error *err) {
    Error own = {0};
    const char *format = ask->spec.reply_format;
    if (!is_strict(ask) || ask->grammar != NULL)
        return OK;
    const Status status = format != NULL ? of_calls(ask, "tools", format, false, &own)
                                         : error_set(&own, ERR_UNSUPPORTED, "its answers have no format");
    if (status == ERR_UNSUPPORTED) {
        api_warn(ask->call, "tools: \"strict\" is not enforced for this model: %s", own.text);
        return OK;
    }
    FAIL_IF(status != OK, status, "%s", own.text);
    ask->bound_calls = true;
    return OK;
}

/* Constrained text is what was asked for and nothing else, so it is not taken apart; unless it begins with reasoning,
 * behind which the constraint sets in, or is a call. */
Status ask_prepare_constraint(Ask *ask, Error *err) {
    if (ask->forced_call)
        TRY(force_call(ask, err));
    else
        TRY(bind_calls(ask, err));
    if (ask->grammar == NULL)
        return OK;
    if (!ask->forced_call && !ask->bound_calls && !ask->spec.inside_reasoning)
        ask->spec.reply_format = NULL;
    ask->spec.grammar = ask->grammar;
    return OK;
}
