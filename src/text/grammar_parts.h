/* grammar_parts.h - what the ways of writing a grammar share: each puts its language into a Net.
 *
 * All of them put paths from one node to another (grammar_net.h) and note failures in the net. */
#ifndef HOULE_TEXT_GRAMMAR_PARTS_H
#define HOULE_TEXT_GRAMMAR_PARTS_H

#include "text/grammar.h"
#include "text/grammar_expr.h"
#include "text/grammar_net.h"

/* A JSON Schema, which may be true or false. `vocab` is not needed. */
void schema_build(Net *net, uint32_t from, uint32_t to, const json_t *schema, GrammarSpace space);
/* Any JSON value, any JSON object. */
void value_build(Net *net, uint32_t from, uint32_t to, GrammarSpace space, bool object);

/* The start rule of a grammar in GBNF. */
void gbnf_build(Net *net, uint32_t from, uint32_t to, const char *text, size_t count);
/* Names in angle brackets are special tokens of the vocabulary. */
void lark_build(Net *net, uint32_t from, uint32_t to, const char *text, size_t count, const GrammarVocab *vocab,
                GrammarSpace space);

void choice_build(Net *net, uint32_t from, uint32_t to, const char *const *choices, size_t count);
/* Free text and constrained parts; the parts' contents are built by `content`. */
typedef void BuildSpec(Net *net, uint32_t from, uint32_t to, const GrammarSpec *spec, GrammarSpace space,
                       const GrammarVocab *vocab, int depth);
void tags_build(Net *net, uint32_t from, uint32_t to, const GrammarSpec *spec, GrammarSpace space,
                const GrammarVocab *vocab, int depth, BuildSpec *content);
/* Any bytes of texts, and any special token. */
void any_text_build(Net *net, uint32_t from, uint32_t to);
/* A text whose special tokens, where the vocabulary has them, may be written as such. */
void marked_text_build(Net *net, uint32_t from, uint32_t to, const char *text, size_t count, const GrammarVocab *vocab);

#endif
