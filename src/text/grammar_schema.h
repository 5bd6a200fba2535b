/* grammar_schema.h - JSON Schemas made flat: what the builder of nets and the merger of schemas share.
 *
 * A flat schema is a JSON object without $ref, allOf, anyOf, oneOf, not, const and nullable: only assertions, all of
 * which hold. Every schema is a list of flat ones, of which one holds:
 *
 *     {"type":"object","anyOf":[A,B]}    becomes    [ {"type":"object"} + A, {"type":"object"} + B ]
 *
 * A schema that is only a $ref stays one, so that recursion ends: {"$ref": "#/$defs/node"}. */
#ifndef HOULE_TEXT_GRAMMAR_SCHEMA_H
#define HOULE_TEXT_GRAMMAR_SCHEMA_H

#include "text/grammar_value.h"

typedef struct Schema {
    Net *net;
    const json_t *root;
    json_t *kept; /* an array of what was made and is looked at later */
    ValueRules values;
    Map refs;                    /* the address of a schema -> its rule */
    struct PendingRule *pending; /* rules whose schemas are yet to be built */
    size_t pending_count, pending_capacity;
    int depth; /* of nesting while building or flattening */
    long work; /* merges left */
} Schema;

/* Members of flat schemas that no published keyword uses: lists made by merging. */
#define KEY_PATTERNS "\001patterns" /* regexes and formats' regexes, all of which hold */
#define KEY_LATER "\001later"       /* schemas that hold as well and are yet to be merged */

/* An array (of the caller) of flat schemas; empty = nothing is valid. NULL = the net has failed. */
json_t *schema_flatten(Schema *s, const json_t *schema);
/* What each keyword is: its value's form is checked before anything is built on it. */
typedef enum Role {
    ROLE_NOTE,    /* says nothing about validity */
    ROLE_PART,    /* a place for schemas that are referred to */
    ROLE_COMBINE, /* taken apart by flattening */
    ROLE_NUMBER,
    ROLE_COUNT,
    ROLE_STRING,
    ROLE_SCHEMA,
    ROLE_SCHEMAS, /* an object of schemas */
    ROLE_LIST,    /* an array of schemas */
    ROLE_OTHER,
    ROLE_REFUSED,
} Role;
Role schema_role(const char *keyword);

/* Copies the assertions of one published schema object into a flat one: keywords that are not taken apart, checked. */
bool schema_copy_assertions(Schema *s, const json_t *schema, json_t *flat);
/* The schema that a $ref means; NULL = the net has failed. */
const json_t *schema_resolve(Schema *s, const json_t *schema);
/* {"allOf": [a, b]}, kept; either may be NULL. */
const json_t *schema_both(Schema *s, const json_t *a, const json_t *b);
/* Nothing satisfies both flat schemas, for certain. */
bool schema_disjoint(Schema *s, const json_t *a, const json_t *b, int depth);
/* Does the value satisfy the flat schema? 1, 0, or -1 = cannot be told. */
int schema_holds(Schema *s, const json_t *flat, const json_t *value);

/* The types that a flat schema allows. */
enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8, /* not only integers */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ALL = 127,
};
unsigned schema_types(Schema *s, const json_t *flat);
unsigned schema_type_of(const json_t *value);
/* The bounds of numbers; false when the net has failed. */
bool schema_range(Schema *s, const json_t *flat, NumberRange *range);
/* The value of a keyword that must be a count; `none` when it is absent. */
uint32_t schema_count(Schema *s, const json_t *flat, const char *keyword, uint32_t none);

/* Keeps a reference until the end; returns the value, NULL = no memory. Takes the reference. */
json_t *schema_keep(Schema *s, json_t *value);
/* Notes a failure at a keyword of a schema, with its JSON pointer. */
void schema_fail(Schema *s, Status status, const json_t *schema, const char *keyword, const char *why);
/* Puts the pointer in front of a failure that the net has got from below. */
void schema_context(Schema *s, const json_t *schema, const char *keyword);
bool schema_bad(const Schema *s);
/* Counts the making of an automaton as work; false when the net has failed. */
bool schema_spend(Schema *s, const Dfa *dfa);

#endif
