/* template.h - chat templates: Jinja text in, prompt out.
 *
 * Compile once, render any number of times, from any number of threads. Templates come with the models and are
 * foreign code: they see nothing but the variables given, and each rendering is bounded in steps, memory, output and
 * depth. Every violation and every mistake in a template is an ordinary error whose message names the line. */
#ifndef HOULE_TEXT_TEMPLATE_H
#define HOULE_TEXT_TEMPLATE_H

#include "base/text.h"

#include <jansson.h>
#include <time.h>

typedef struct TemplateLimits {
    uint64_t steps;      /* nodes evaluated, items walked over, and one for each 64 bytes of text worked on */
    size_t memory_bytes; /* of values made while rendering, freed at its end */
    size_t output_bytes;
    int depth;           /* nested evaluation: macros that call themselves, lists within lists */
    int integer_bits;    /* 2 ** 64 works; 9 ** 99999 does not */
} TemplateLimits;

/* What template_render uses without limits of the caller's: far more than published templates need. */
extern const TemplateLimits template_default_limits;

/* A template text is refused beyond this. */
enum { TEMPLATE_MAX_BYTES = 1 << 20 };

typedef struct Template Template;

/* Compiles `bytes` of UTF-8 text, which need not live on. Errors: ERR_FORMAT with "line N: ...", ERR_LIMIT. */
Status template_compile(const char *text, size_t bytes, Template **compiled, Error *err);
void template_free(Template *compiled); /* NULL is fine */

/* A variable of the template: JSON, or a text when json is NULL; both NULL is none. */
typedef struct TemplateVariable {
    const char *name;
    const json_t *json;
    const char *text;
    size_t text_bytes;
} TemplateVariable;

typedef struct TemplateOptions {
    const TemplateLimits *limits; /* NULL: template_default_limits */
    const struct tm *now;         /* what strftime_now shows; NULL: the local time */
} TemplateOptions;

/* Renders and appends to `out` (left as it was on failure). Of variables of the same name the last counts. `options`
 * may be NULL. ERR_ARGUMENT is raise_exception: the template refuses the conversation, the message is its own. */
Status template_render(const Template *compiled, const TemplateVariable *variables, size_t variable_count,
                       const TemplateOptions *options, Text *out, Error *err);

#endif
