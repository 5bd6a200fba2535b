/* template.c - see template.h: the door to the Jinja interpreter. */
#include "text/template.h"

#include "text/jinja_eval.h"
#include "text/jinja_parser.h"
#include "text/jinja_scope.h"

#include <string.h>

const TemplateLimits template_default_limits = {
    .steps = 100000000,
    .memory_bytes = (size_t)256 << 20,
    .output_bytes = (size_t)64 << 20,
    .depth = 1200, /* measured: less than 512 KiB of the C stack, optimised; 4 MiB with sanitizers */
    .integer_bits = 1 << 14,
};

struct Template {
    Program program;
};

static void state_open(Jinja *j, const TemplateLimits *limits, Text *out, Error *err) {
    *j = (Jinja){.limits = limits, .err = err, .out = out, .out_base = out->count, .fuel = limits->steps, .line = 1};
    arena_init(&j->arena, MEM_TEXT);
    j->arena.bytes_limit = limits->memory_bytes;
}

/* ---- compiling --------------------------------------------------------------------------------------------------- */

static Status compile(Jinja *j, const char *text, size_t bytes, Program *program) {
    Body body = {0};
    TRY(parser_run(j, text, bytes, &body));
    return scope_resolve(j, program, &body);
}

Status template_compile(const char *text, size_t bytes, Template **compiled, Error *err) {
    *compiled = NULL;
    Error local = {0};
    if (err == NULL)
        err = &local;
    FAIL_IF(bytes > TEMPLATE_MAX_BYTES, ERR_LIMIT, "a template of %zu bytes is too long (at most %d)", bytes,
            TEMPLATE_MAX_BYTES);
    FAIL_IF(!utf8_valid(text, bytes), ERR_FORMAT, "the template is not valid UTF-8");
    Template *fresh = mem_zalloc(sizeof *fresh, MEM_TEXT);
    FAIL_IF(fresh == NULL, ERR_MEMORY, "no memory for a template");
    Jinja j;
    Text scratch = {0};
    state_open(&j, &template_default_limits, &scratch, err);
    const Status status = compile(&j, text, bytes, &fresh->program);
    text_free(&scratch);
    fresh->program.arena = j.arena;
    if (status != OK) {
        template_free(fresh);
        return status;
    }
    *compiled = fresh;
    return OK;
}

void template_free(Template *compiled) {
    if (compiled == NULL)
        return;
    arena_free(&compiled->program.arena);
    mem_free(compiled);
}

/* ---- rendering --------------------------------------------------------------------------------------------------- */

static Status variable_value(Jinja *j, const TemplateVariable *variable, Value *value) {
    if (variable->json != NULL)
        return value_of_json(j, variable->json, value);
    if (variable->text == NULL) {
        *value = value_none();
        return OK;
    }
    REFUSE_IF(!utf8_valid(variable->text, variable->text_bytes), j, "the variable '%s' is not valid UTF-8",
              variable->name);
    *value = value_string(variable->text, variable->text_bytes);
    return OK;
}

static Status render(Jinja *j, const Program *program, const TemplateVariable *variables, size_t count) {
    Context given = {0}, assigned = {.outer = &given};
    TRY(dict_new(j, &given.vars));
    TRY(dict_new(j, &assigned.vars));
    for (size_t i = 0; i < count; i++) {
        Value value;
        TRY(variable_value(j, &variables[i], &value));
        TRY(dict_put(j, given.vars, value_str(variables[i].name), value));
    }
    return eval_program(j, program, &assigned);
}

Status template_render(const Template *compiled, const TemplateVariable *variables, size_t variable_count,
                       const TemplateOptions *options, Text *out, Error *err) {
    static const TemplateOptions no_options = {0};
    options = options != NULL ? options : &no_options;
    Error local = {0};
    if (err == NULL)
        err = &local;
    Jinja j;
    state_open(&j, options->limits != NULL ? options->limits : &template_default_limits, out, err);
    if (options->now != NULL) {
        j.now = *options->now;
        j.now_known = true;
    }
    const size_t base = out->count;
    const Status status = render(&j, &compiled->program, variables, variable_count);
    arena_free(&j.arena);
    if (status != OK) {
        out->failed = false;
        jinja_drop(&j, base);
    }
    return status;
}
