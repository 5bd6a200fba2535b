/* constraint.c - what an answer must look like: response formats, grammars and forced tool calls become a Grammar.
 *
 * A constraint that cannot be kept is refused, with the place in the schema; none is dropped. A forced call is written
 * as <tool_call> {"name": ..., "arguments": ...} </tool_call>, whatever the model's own form is: that form is read back
 * without doubt. */
#include "serve/api.h"

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
    return field_wrong(ask->call, param, err, "the type must be \"text\", \"json_object\" or \"json_schema\"");
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
        else if (ways[i].kind == GRAMMAR_CHOICE)
            TRY(of_choice(ask, ways[i].field, value, err));
        else
            TRY(of_text(ask, ways[i].field, ways[i].kind, value, err));
    }
    return OK;
}

/* ---- forced calls ------------------------------------------------------------------------------------------------ */

typedef struct CallTags {
    GrammarTag tags[TOOLS_MOST];
    GrammarSpec contents[TOOLS_MOST];
    Text begins[TOOLS_MOST];
    size_t n;
} CallTags;

static Status add_call(CallTags *t, const json_t *function, Error *err) {
    static const char end[] = "}\n</tool_call>";
    const json_t *parameters = json_object_get(function, "parameters");
    Text *begin = &t->begins[t->n];
    JsonWriter writer = {.out = begin};
    text_append_str(begin, "<tool_call>\n{\"name\": ");
    json_write_string(&writer, json_string_value(json_object_get(function, "name")));
    text_append_str(begin, ", \"arguments\": ");
    TRY(text_check(begin, err));
    t->contents[t->n] = json_is_object(parameters) ? (GrammarSpec){.kind = GRAMMAR_SCHEMA, .schema = parameters}
                                                   : (GrammarSpec){.kind = GRAMMAR_OBJECT};
    t->tags[t->n] = (GrammarTag){.begin = begin->bytes, .content = &t->contents[t->n], .end = end};
    t->n++;
    return OK;
}

Status ask_force_call(Ask *ask, const char *param, const char *name, Error *err) {
    size_t i;
    json_t *tool;
    if (json_array_size(ask->tools) == 0 || json_array_size(ask->tools) > TOOLS_MOST)
        return field_wrong(ask->call, param, err, "1 to %d tools are needed for it", TOOLS_MOST);
    CallTags *t = mem_zalloc(sizeof *t, MEM_NETWORK);
    FAIL_IF(t == NULL, ERR_MEMORY, "no memory for the tools");
    Status status = OK;
    json_array_foreach (ask->tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        const char *own = json_string_value(json_object_get(function, "name"));
        if (status == OK && own != NULL && (name == NULL || strcmp(own, name) == 0))
            status = add_call(t, function, err);
    }
    if (status == OK && t->n == 0)
        status = field_wrong(ask->call, param, err, "there is no tool '%.100s'", name != NULL ? name : "");
    if (status == OK) {
        const GrammarSpec spec = {
            .kind = GRAMMAR_TAGS, .tags = t->tags, .count = t->n, .required = true, .single = true, .bare = true};
        status = compile(ask, param, &spec, err);
    }
    ask->forced_call = status == OK;
    for (i = 0; i < t->n; i++)
        text_free(&t->begins[i]);
    mem_free(t);
    return status;
}

/* Constrained text is what was asked for and nothing else, so it is not taken apart; unless it begins with reasoning,
 * behind which the constraint sets in. */
Status ask_prepare_constraint(Ask *ask, Error *err) {
    static const char calls[] = "tagged_objects";
    if (ask->grammar == NULL)
        return OK;
    const char *text = ask->text.bytes != NULL ? ask->text.bytes : "";
    if (ask->forced_call) {
        if (ask->spec.inside_reasoning && !reply_inside_reasoning(calls, text, ask->text.count))
            return field_wrong(ask->call, "tool_choice", err,
                               "a call cannot be forced behind this model's reasoning; switch that off");
        ask->spec.reply_format = calls;
    } else if (!ask->spec.inside_reasoning)
        ask->spec.reply_format = NULL;
    ask->spec.grammar = ask->grammar;
    ask->spec.prompt_text = text;
    ask->spec.prompt_bytes = ask->text.count;
    return OK;
}
