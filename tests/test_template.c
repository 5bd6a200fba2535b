/* test_template.c - the template language: what hostile templates may cost, what messages say, what happens without
 * memory. That it means what Jinja means is checked by the golden snippets and templates (text_test.py). */
#include "text/template.h"

#include "base/clock.h"
#include "base/mem.h"
#include "format/json.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static Status render_limited(const char *text, size_t bytes, const json_t *x, const TemplateLimits *limits, Text *out,
                             Error *err) {
    Template *compiled;
    TRY(template_compile(text, bytes, &compiled, err));
    const TemplateVariable variables[] = {{.name = "x", .json = x},
                                          {.name = "t", .text = "a\xC3\xA9", .text_bytes = 3}};
    const Status status =
        template_render(compiled, variables, COUNT(variables), &(TemplateOptions){.limits = limits}, out, err);
    template_free(compiled);
    return status;
}

static Status render(const char *text, const json_t *x, Text *out, Error *err) {
    return render_limited(text, strlen(text), x, NULL, out, err);
}

static void renders(const char *text, const char *expected) {
    Text out = {0};
    Error err = {0};
    if (render(text, NULL, &out, &err) != OK)
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(out.bytes != NULL ? out.bytes : "", expected);
    text_free(&out);
}

/* The template must fail so, with these words, leaving what was written before and no memory behind. */
static void refused(const char *text, Status status, const char *words) {
    const size_t before = mem_bytes_total();
    Text out = {0};
    text_append_str(&out, "kept");
    Error err = {0};
    const Status got = render(text, NULL, &out, &err);
    if (got != status || strstr(err.text, words) == NULL)
        fail_msg("%.60s: %s, \"%s\"; expected was %s, \"%s\"", text, status_word(got), err.text, status_word(status),
                 words);
    assert_string_equal(out.bytes, "kept");
    text_free(&out);
    assert_int_equal(mem_bytes_total(), before);
}

/* ---- the language ------------------------------------------------------------------------------------------------ */

static void test_language(void **state) {
    (void)state;
    renders("{% for i in range(3) %}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}", "1,2,3");
    renders("{% set ns = namespace(n=0) %}{% for c in t %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2");
    renders("{{ 2 ** 100 }} {{ -7 // 2 }} {{ 1 / 4 }} {{ [none, true, 'x'] }}",
            "1267650600228229401496703205376 -4 0.25 [None, True, 'x']");
    renders("{%- macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(3, b=4) }}", "1234");
    renders("{{ {'a': [1, {'b': t}]} | tojson }}", "{\"a\": [1, {\"b\": \"a\xC3\xA9\"}]}");
    renders("", "");
}

/* Messages of mistakes name the line; raise_exception speaks for itself. */
static void test_mistakes(void **state) {
    (void)state;
    refused("a\n{{ 1 +", ERR_FORMAT, "line 2");
    refused("{% if %}", ERR_FORMAT, "line 1");
    refused("\n\n{{ nothing.more }}", ERR_FORMAT, "line 3");
    refused("{{ raise_exception('only user and assistant') }}", ERR_ARGUMENT, "only user and assistant");
    refused("{% for x in [1] %}", ERR_FORMAT, "line 1");
    refused("{% include 'x' %}", ERR_UNSUPPORTED, "line 1");
    refused("\xFF", ERR_FORMAT, "UTF-8");
}

/* Python's way out of the sandbox does not exist. */
static void test_no_attributes_of_the_host(void **state) {
    (void)state;
    renders("{{ ''.__class__ is defined }}", "False");
    renders("{{ [].__class__ is defined }}{{ range.__globals__ is defined }}", "FalseFalse");
    refused("{{ ''.__class__.__mro__[1].__subclasses__() }}", ERR_FORMAT, "line 1");
}

/* ---- hostile templates ------------------------------------------------------------------------------------------- */

/* Each ends with an error, soon: a template comes with a downloaded model. With fewer steps than usual, which would
 * take minutes with sanitizers. */
static void test_budgets(void **state) {
    (void)state;
    static const struct {
        const char *text;
        Status status;
    } cases[] = {
        /* endless, or as good as */
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", ERR_LIMIT},
        {"{% for a in range(10 ** 15) %}{% endfor %}", ERR_LIMIT},
        {"{{ range(10 ** 12) | list | length }}", ERR_LIMIT},
        {"{{ range(10 ** 12) | sum }}", ERR_LIMIT},
        {"{{ (10 ** 12) in range(0, 10 ** 13, 7) | map('string') }}", ERR_LIMIT},
        /* too deep */
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ERR_LIMIT},
        {"{% macro m(f) %}{{ f(f) }}{% endmacro %}{{ m(m) }}", ERR_LIMIT},
        {"{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}", ERR_LIMIT},
        {"{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
         ERR_LIMIT},
        {"{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson "
         "}}",
         ERR_LIMIT},
        {"{% set l = [] %}{{ l.append(l) }}{{ l | string }}", OK}, /* [[...]] */
        {"{% set l = [] %}{{ l.append(l) }}{{ l | tojson }}", ERR_FORMAT},
        {"{% set l, m = [], [] %}{{ l.append(m) }}{{ m.append(l) }}{{ l == m }}", ERR_LIMIT},
        /* too large */
        {"{{ 'x' * 10 ** 12 }}", ERR_LIMIT},
        {"{{ [0] * 10 ** 12 }}", ERR_LIMIT},
        {"{{ 9 ** (9 ** 9) }}", ERR_LIMIT},
        {"{{ 10 ** 999999 }}", ERR_LIMIT},
        {"{{ 'x' | center(10 ** 12) }}", ERR_LIMIT},
        {"{{ '%999999999999d' % 1 }}", ERR_FORMAT},
        {"{{ '{:>999999999}'.format(1) }}", ERR_FORMAT},
        {"{{ 'a' | indent(10 ** 12, true) }}", ERR_LIMIT},
        {"{% set ns = namespace(s='x' * 64) %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
         ERR_LIMIT},
        {"{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('x', 'xx') %}{% endfor %}",
         ERR_LIMIT},
        {"{% for i in range(99999) %}{% for j in range(99) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}{% endfor %}",
         ERR_LIMIT},
        {"{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", ERR_LIMIT},
    };
    TemplateLimits limits = template_default_limits;
    limits.steps = 2000000;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const uint64_t start = clock_ns();
        const size_t before = mem_bytes_total();
        Text out = {0};
        Error err = {0};
        const Status status = render_limited(cases[i].text, strlen(cases[i].text), NULL, &limits, &out, &err);
        if (status != cases[i].status)
            fail_msg("%s: %s, \"%s\"", cases[i].text, status_word(status), err.text);
        text_free(&out);
        assert_int_equal(mem_bytes_total(), before);
        /* Seconds even with sanitizers on a busy machine; without budgets it would be for ever. */
        assert_true(clock_ns() - start < (uint64_t)60 * 1000000000u);
    }
}

static void append_many(Text *text, const char *piece, size_t times) {
    for (size_t i = 0; i < times; i++)
        text_append_str(text, piece);
}

/* Source text that nests deeply must not exhaust the C stack, neither while it is parsed nor after. */
static void test_deep_source(void **state) {
    (void)state;
    static const struct {
        const char *before, *open, *middle, *close, *after;
    } shapes[] = {
        {"{{ ", "(", "1", ")", " }}"},
        {"{{ ", "[", "", "]", " }}"},
        {"{{ ", "{1:", "1", "}", " }}"},
        {"{{ ", "not ", "1", "", " }}"},
        {"{{ ", "-", "1", "", " }}"},
        {"{{ x", "", "", ".a", " }}"},
        {"{{ 1", "", "", " if 1 else 1", " }}"},
        {"{{ 1", "", "", " + 1", " }}"},
        {"{{ 1", "", "", " ~ 1", " }}"},
        {"{{ 1", "", "", " | string", " }}"},
        {"{{ 1", "", "", " and 1", " }}"},
        {"{{ x", "", "", "(1)", " }}"},
        {"{{ x", "", "", "[1]", " }}"},
        {"", "{% if 1 %}", "x", "{% endif %}", ""},
        {"", "{% for a in [1] %}", "x", "{% endfor %}", ""},
        {"{% if 0 %}", "", "", "{% elif 0 %}", "{% endif %}"},
    };
    for (size_t i = 0; i < COUNT(shapes); i++) {
        for (size_t depth = 100; depth <= 100000; depth *= 10) {
            Text text = {0}, out = {0};
            text_append_str(&text, shapes[i].before);
            append_many(&text, shapes[i].open, depth);
            text_append_str(&text, shapes[i].middle);
            append_many(&text, shapes[i].close, depth);
            text_append_str(&text, shapes[i].after);
            assert_false(text.failed);
            Error err = {0};
            const Status status = render_limited(text.bytes, text.count, NULL, NULL, &out, &err);
            if (status != OK && status != ERR_LIMIT && status != ERR_FORMAT)
                fail_msg("%s, %zu deep: %s", shapes[i].close, depth, err.text);
            text_free(&text);
            text_free(&out);
        }
    }
}

/* The caller's limits count, each on its own. */
static void test_limits_of_the_caller(void **state) {
    (void)state;
    static const struct {
        const char *text;
        TemplateLimits limits;
        const char *words;
    } cases[] = {
        {"{% for i in range(2000) %}{% endfor %}", {1000, 1 << 20, 1 << 20, 100, 1000}, "steps"},
        {"{{ range(20000) | list | length }}", {1 << 20, 1 << 14, 1 << 20, 100, 1000}, "memory"},
        {"{{ 'x' * 2000 }}", {1 << 20, 1 << 20, 1000, 100, 1000}, "bytes"},
        {"{{ [[[[[[[[1]]]]]]]] }}", {1 << 20, 1 << 20, 1 << 20, 5, 1000}, "deep"},
        {"{{ 2 ** 200 }}", {1 << 20, 1 << 20, 1 << 20, 100, 100}, "100"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        Text out = {0};
        Error err = {0};
        const Status status = render_limited(cases[i].text, strlen(cases[i].text), NULL, &cases[i].limits, &out, &err);
        if (status != ERR_LIMIT || strstr(err.text, cases[i].words) == NULL)
            fail_msg("%s: %s, \"%s\"", cases[i].text, status_word(status), err.text);
        text_free(&out);
    }
}

/* ---- without memory ---------------------------------------------------------------------------------------------- */

/* The n-th allocation fails, for every n: an error each time, and nothing is lost. */
static void render_without_memory(const char *text, size_t bytes, const json_t *x, Status expected) {
    const size_t before = mem_bytes_total();
    long n = 1;
    for (bool struck = true; struck; n++) {
        Text out = {0};
        Error err = {0};
        mem_fail_at(n);
        const Status status = render_limited(text, bytes, x, NULL, &out, &err);
        struck = mem_fail_hit();
        mem_fail_at(0);
        if (status != (struck ? ERR_MEMORY : expected))
            fail_msg("allocation %ld of %.60s: %s, \"%s\"", n, text, status_word(status), err.text);
        text_free(&out);
        assert_int_equal(mem_bytes_total(), before);
    }
    assert_true(n > 3);
}

static void test_rendering_without_memory(void **state) {
    (void)state;
    json_setup();
    json_t *x;
    static const char value[] = "{\"a\": [1, 2.5, \"text\", {\"b\": null}], \"role\": \"user\", \"n\": 12345}";
    assert_int_equal(json_parse(value, strlen(value), "x", false, &x, NULL), OK);
    static const char *const texts[] = {
        "{% macro m(b=x) %}{{ caller() }}{{ b | tojson(indent=2) }}{% endmacro %}{% call m() %}{{ x.a }}{% endcall %}",
        "{% for k, v in x | items %}{{ k }}={{ v }}{% endfor %}{% set y %}{{ x | pprint }}{% endset %}{{ y | length }}",
        "{{ 3 ** 2000 // 7 ** 100 }}{{ x.a | map('string') | join(', ') | upper | replace('T', 'tt') }}",
        "{{ '%s %05d {}'.format(1) % ('a', 7) }}{{ x.a | selectattr('b', 'defined') | list }}{{ strftime_now('%Y') }}",
        "{{ x | dictsort }}{{ (x.a | string).split(',') }}{{ t | wordwrap(2) }}{{ x.role.title() ~ 1.25 }}",
        "{{ x | groupby('q') }}",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        Text out = {0};
        const Status expected = render(texts[i], x, &out, NULL);
        text_free(&out);
        render_without_memory(texts[i], strlen(texts[i]), x, expected);
    }
    json_decref(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_language),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_no_attributes_of_the_host),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_deep_source),
        cmocka_unit_test(test_limits_of_the_caller),
        cmocka_unit_test(test_rendering_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
