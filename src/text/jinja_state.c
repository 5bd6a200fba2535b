/* jinja_state.c - what each rendering spends and produces: fuel, memory, depth, output.
 *
 * There is one output Text. Captured text (macros, set blocks) and strings under construction are its tail, taken off
 * again when they are complete, so that they need no buffers of their own and count against the same limit. */
#include "text/jinja.h"

#include <stdio.h>
#include <string.h>

void jinja_record(Jinja *j, Status status, const char *format, ...) {
    char message[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    /* A cut inside a character would make the message useless for JSON. */
    message[utf8_complete_prefix(message, strlen(message))] = '\0';
    error_set(j->err, status, "line %d: %s", j->line, message);
}

Status jinja_spend(Jinja *j, size_t steps) {
    if (UNLIKELY(j->fuel < steps)) {
        j->fuel = 0;
        return jinja_fail(j, ERR_LIMIT, "the template takes more than %llu steps",
                          (unsigned long long)j->limits->steps);
    }
    j->fuel -= steps;
    return OK;
}

Status jinja_alloc(Jinja *j, size_t bytes, void *out_pointer) {
    void *piece = arena_alloc(&j->arena, bytes);
    if (UNLIKELY(piece == NULL)) {
        if (bytes > j->limits->memory_bytes || j->arena.bytes_used > j->limits->memory_bytes - bytes - 64)
            return jinja_fail(j, ERR_LIMIT, "the template's values take more than %zu bytes of memory",
                              j->limits->memory_bytes);
        return jinja_fail(j, ERR_MEMORY, "no memory for %zu bytes of a template's values", bytes);
    }
    memcpy(out_pointer, &piece, sizeof piece);
    return OK;
}

Status jinja_alloc_array(Jinja *j, size_t count, size_t element_bytes, void *out_pointer) {
    size_t bytes;
    if (!size_mul(count, element_bytes, &bytes))
        bytes = SIZE_MAX;
    return jinja_alloc(j, bytes, out_pointer);
}

Status jinja_enter(Jinja *j) {
    if (UNLIKELY(j->depth >= j->limits->depth))
        return jinja_fail(j, ERR_LIMIT, "the template is nested more than %d levels deep (a macro that calls itself?)",
                          j->limits->depth);
    j->depth++;
    return jinja_spend(j, 1);
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

Status jinja_write(Jinja *j, const char *bytes, size_t count) {
    if (UNLIKELY(count > j->limits->output_bytes - MIN(j->limits->output_bytes, j->out->count - j->out_base)))
        return jinja_fail(j, ERR_LIMIT, "the template writes more than %zu bytes", j->limits->output_bytes);
    if (UNLIKELY(!text_append(j->out, bytes, count)))
        return jinja_fail(j, ERR_MEMORY, "no memory for the template's output");
    return OK;
}

Status jinja_write_str(Jinja *j, const char *string) {
    return jinja_write(j, string, strlen(string));
}

Status jinja_write_char(Jinja *j, char c) {
    return jinja_write(j, &c, 1);
}

Status jinja_write_code_point(Jinja *j, uint32_t code_point) {
    char bytes[4];
    const int count = utf8_encode(code_point, bytes);
    return jinja_write(j, bytes, (size_t)count);
}

Status jinja_write_repeat(Jinja *j, const char *bytes, size_t count, size_t times) {
    size_t total;
    if (!size_mul(count, times, &total) || total > j->limits->output_bytes)
        return jinja_fail(j, ERR_LIMIT, "the template writes more than %zu bytes", j->limits->output_bytes);
    TRY(jinja_spend_bytes(j, total));
    if (count == 0)
        return OK;
    for (size_t i = 0; i < times; i++)
        TRY(jinja_write(j, bytes, count));
    return OK;
}

Status jinja_write_double(Jinja *j, char style, int precision, double number) {
    Text digits = {0};
    const bool done = text_append_double_as(&digits, style, precision, number);
    const Status status = done ? jinja_write(j, digits.bytes, digits.count)
                               : jinja_fail(j, ERR_MEMORY, "no memory to write a number");
    text_free(&digits);
    return status;
}

Status jinja_take(Jinja *j, size_t mark, Value *string) {
    const size_t count = j->out->count - mark;
    TRY(string_new(j, count > 0 ? j->out->bytes + mark : "", count, string));
    jinja_drop(j, mark);
    return OK;
}

void jinja_drop(Jinja *j, size_t mark) {
    j->out->count = mark;
    if (j->out->bytes != NULL)
        j->out->bytes[mark] = '\0';
}

Status stack_push(Jinja *j, Value v) {
    enum { STACK_VALUES = 1 << 14 };
    if (j->stack == NULL)
        TRY(jinja_alloc_array(j, STACK_VALUES, sizeof *j->stack, &j->stack));
    if (j->stack_count == STACK_VALUES)
        return jinja_fail(j, ERR_LIMIT, "more than %d arguments at once", STACK_VALUES);
    j->stack[j->stack_count++] = v;
    return OK;
}

Status jinja_now(Jinja *j, struct tm *now) {
    if (!j->now_known) {
        const time_t seconds = time(NULL);
        if (localtime_r(&seconds, &j->now) == NULL)
            return jinja_fail(j, ERR_INTERNAL, "the clock cannot be read");
        j->now_known = true;
    }
    *now = j->now;
    return OK;
}
