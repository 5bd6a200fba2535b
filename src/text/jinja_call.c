/* jinja_call.c - calls of builtins: finding them by name, binding arguments to their parameters. */
#include "text/jinja.h"

#include <string.h>

const Builtin *builtin_find(const Builtin *table, size_t count, const char *name, size_t bytes) {
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const char *other = table[middle].name;
        const size_t length = strlen(other);
        int order = memcmp(name, other, MIN(bytes, length));
        if (order == 0)
            order = (bytes > length) - (bytes < length);
        if (order == 0)
            return &table[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

enum { MAX_PARAMETERS = 8 };

typedef struct Parameter {
    const char *name;
    size_t bytes;
    bool optional;
} Parameter;

static size_t read_parameters(const char *text, Parameter parameters[MAX_PARAMETERS]) {
    size_t count = 0;
    while (*text != '\0' && count < MAX_PARAMETERS) {
        Parameter *p = &parameters[count++];
        p->name = text;
        p->bytes = strcspn(text, "? ");
        text += p->bytes;
        p->optional = *text == '?';
        text += p->optional;
        text += *text == ' ';
    }
    return count;
}

Status builtin_call(Jinja *j, const Builtin *builtin, Value self, const Args *args, Value *result) {
    TRY(jinja_spend(j, 1));
    if (builtin->parameters == NULL)
        return builtin->call(j, self, args, result);
    const bool positional_only = builtin->parameters[0] == '/', named_only = builtin->parameters[0] == '*';
    Parameter parameters[MAX_PARAMETERS];
    const size_t count = read_parameters(builtin->parameters + (positional_only || named_only), parameters);
    REFUSE_IF(named_only && args->count > 0, j, "%s takes no positional arguments", builtin->name);
    REFUSE_IF(args->count > count, j, "%s takes at most %zu arguments (%zu given)", builtin->name, count, args->count);
    Value bound[MAX_PARAMETERS] = {0};
    if (args->count > 0)
        memcpy(bound, args->items, args->count * sizeof *bound);
    for (size_t k = 0; k < args->keyword_count; k++) {
        const Value name = args->keywords[k].name;
        size_t at = 0;
        while (at < count &&
               (parameters[at].bytes != name.count || memcmp(parameters[at].name, name.as.text, name.count)))
            at++;
        REFUSE_IF(at == count || positional_only, j, "%s takes no argument named '%.*s'", builtin->name,
                  (int)MIN(name.count, 80u), name.as.text);
        REFUSE_IF(is_given(bound[at]), j, "%s is given its argument '%.*s' twice", builtin->name,
                  (int)MIN(name.count, 80u), name.as.text);
        bound[at] = args->keywords[k].value;
    }
    for (size_t i = 0; i < count; i++)
        REFUSE_IF(!parameters[i].optional && !is_given(bound[i]), j, "%s misses its argument '%.*s'", builtin->name,
                  (int)parameters[i].bytes, parameters[i].name);
    const Args given = {.items = bound, .count = count};
    return builtin->call(j, self, &given, result);
}
