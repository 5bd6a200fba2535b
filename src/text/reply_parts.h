/* reply_parts.h - what the files of the reply parser share: the description of a format, the parser's state, and the
 * ways to emit. */
#ifndef HOULE_TEXT_REPLY_PARTS_H
#define HOULE_TEXT_REPLY_PARTS_H

#include "text/reply.h"
#include "text/reply_json.h"

/* How calls are written. */
typedef enum CallStyle {
    CALLS_NONE,
    CALLS_OBJECT,  /* <open>{"name", "arguments"}<close>, an object or several */
    CALLS_ARRAY,   /* <open>[{"name", "arguments", "id"}, ...] */
    CALLS_BARE,    /* the whole output is {"name", "parameters"}, or (with args_open) a list of calls as literals */
    CALLS_HEADER,  /* <open>name<header_end>{arguments}<close> */
    CALLS_XML,     /* <open>name<param>key</..>value</..><close> */
    CALLS_TREE,    /* <open>name<key>value</key><close>, where a value may be elements in turn */
    CALLS_LITERAL, /* <open>name(key=literal, ...)<close>, one or several */
    CALLS_HARMONY, /* messages with channels and recipients */
} CallStyle;

/* A row of the table. Markers are texts; NULL: the format has none. */
typedef struct ReplyFormat {
    const char *name;
    const char *think_open, *think_close;
    const char *prompt_opening; /* how a prompt opens the reasoning; NULL: with think_open */
    const char *reasoning_close; /* what ends it and begins the content; NULL: think_close */
    const char *content_open, *content_close; /* around the content, left out */
    CallStyle style;
    bool calls_end_reasoning; /* the section of calls may follow the reasoning without its close */
    bool short_ids;           /* ids that are made up have nine letters and digits, else "call_..." */
    const char *section_open, *section_close; /* around all calls */
    const char *call_open, *call_close;       /* around one of them */
    const char *call_alone;                   /* begins a call, and a section that was not opened */
    /* CALLS_HEADER */
    const char *header_end;  /* between name and arguments */
    const char *id_open;     /* between name and id, before header_end */
    const char *name_prefix; /* the header is the id: prefix, name, colon, number; CALLS_LITERAL: before each name */
    const char *fence_open, *fence_close; /* the header is a type; the name stands between header_end and the fence */
    bool bare; /* a line that is a tool's name, with an object behind it, is a call; call_open may stand in front */
    /* CALLS_XML, CALLS_TREE */
    const char *name_end;   /* NULL: a newline or the next tag */
    const char *param_open, *param_name_end;
    const char *text_end, *json_end; /* in place of param_name_end: they say of what type the value is */
    const char *value_open; /* between param_name_end and the value, white space before it */
    const char *param_close; /* CALLS_TREE: how a closing tag begins */
    bool lines;         /* written with a newline behind each tag */
    bool trim_newlines; /* the value may stand between newlines that are no part of it */
    bool inline_values; /* and is written without them */
    /* CALLS_LITERAL, CALLS_BARE */
    const char *args_open, *args_close, *key_end;
    const char *quote; /* around strings, which have no escapes then; NULL: as Python writes them */
    bool bracketed;    /* calls are the entries of a list; else each has a line of its own */
} ReplyFormat;

const ReplyFormat *reply_format_find(const char *name);

typedef enum ReplyMode {
    MODE_TEXT,
    MODE_REASONING,
    /* CALLS_OBJECT, CALLS_ARRAY, CALLS_BARE: reply_object.c */
    MODE_OBJECT_START, /* behind the open marker */
    MODE_OBJECT,       /* inside of a call's object */
    MODE_OBJECT_AFTER, /* behind an object: another one, or the close marker */
    /* CALLS_HEADER: reply_header.c */
    MODE_SECTION, /* between the calls of a section */
    MODE_HEADER,
    MODE_FENCE, /* the name and the fence's opening */
    MODE_ARGUMENTS_START,
    MODE_ARGUMENTS,
    MODE_ARGUMENTS_AFTER,
    /* CALLS_XML: reply_xml.c */
    MODE_XML_SECTION,
    MODE_XML_NAME,
    MODE_XML_PARAMS,
    MODE_XML_KEY,
    MODE_XML_VALUE_START,
    MODE_XML_VALUE,
    /* CALLS_TREE: reply_tree.c; its calls begin as those of CALLS_XML */
    MODE_TREE_NEXT, /* an element, or the end of the one around it */
    MODE_TREE_TAG,
    MODE_TREE_VALUE_START,
    MODE_TREE_TEXT,
    MODE_TREE_CLOSE,
    /* CALLS_LITERAL: reply_literal.c */
    MODE_LITERAL_CALL,
    MODE_LITERAL_NEXT, /* an entry, or the end of what is open */
    MODE_LITERAL_COLON,
    MODE_LITERAL_VALUE,
    MODE_LITERAL_STRING,
    MODE_LITERAL_AFTER,
    /* CALLS_HARMONY: reply_harmony.c */
    MODE_MESSAGE_START,
    MODE_MESSAGE_HEADER,
    MODE_MESSAGE_TEXT,
    MODE_MESSAGE_ARGUMENTS,
    /* All: arguments that are no JSON, up to the call's end. */
    MODE_VERBATIM,
} ReplyMode;

/* Which of a call object's values is being read. */
typedef enum ObjectValue { VALUE_NONE, VALUE_OTHER, VALUE_NAME, VALUE_ID, VALUE_ARGUMENTS } ObjectValue;

/* What is known of a call's object that is being read. Positions are in the input. */
typedef struct CallObject {
    JsonScan scan;
    bool in_array;
    ObjectValue key;   /* of the value to come */
    ObjectValue value; /* being read; NONE between values */
    size_t token;      /* where the key or the value begins */
    size_t arguments, arguments_end; /* of arguments that must wait for the name or the id */
    bool has_arguments, arguments_done;
    bool streaming; /* the arguments pass on as they come */
    Text name, id;
} CallObject;

/* How a parameter's value becomes JSON (CALLS_XML). */
typedef enum ParamKind {
    PARAM_TEXT,          /* a string, as it stands */
    PARAM_NULLABLE_TEXT, /* a string, or null */
    PARAM_JSON,          /* JSON; a string when it is none */
} ParamKind;

enum { REPLY_DEPTH = 64 }; /* of values within values, where this file's parsers nest */

/* The elements that are open, the call's arguments first (CALLS_TREE). */
typedef struct TreeLevel {
    const json_t *schema;
    bool list; /* entries without keys */
    bool any;  /* it has an entry */
} TreeLevel;

typedef struct TreeScan {
    TreeLevel levels[REPLY_DEPTH];
    int depth;
    const json_t *schema; /* of the value being read */
} TreeScan;

/* The lists, objects and arguments that are open (CALLS_LITERAL). */
typedef struct LiteralLevel {
    char close;
    bool keyed, any;
} LiteralLevel;

typedef struct LiteralScan {
    LiteralLevel levels[REPLY_DEPTH];
    int depth;
    bool is_key;  /* the string being read is a key */
    char quote;   /* of it; 0: the format's own mark */
    bool triple;  /* three of them */
} LiteralScan;

/* Where a message goes (CALLS_HARMONY). */
typedef enum MessageKind { MESSAGE_CONTENT, MESSAGE_REASONING, MESSAGE_DROPPED } MessageKind;

struct Reply {
    const ReplyFormat *format;
    const json_t *tools;
    ReplyMode mode;
    bool finished;  /* nothing more will come: what may be a marker is none */
    Text input;     /* what is still needed of the text fed */
    size_t at;      /* the next byte of it */
    size_t limit;   /* bytes that end with a whole character */
    bool in_call;   /* the input is kept from call_at on: a call that may turn out to be none, or an object */
    size_t call_at;
    bool section_used; /* the section has had a call */

    Text held_content, held_reasoning; /* white space that may stand before a marker */
    bool any_content, any_reasoning;   /* something was emitted */
    bool skip_spaces;    /* white space before the first content is layout */
    bool text_begins;    /* of reasoning, of a message: white space is layout, and what was before is set apart */
    bool opening_passed; /* of reasoning that the prompt began */
    bool bare_tried;     /* CALLS_BARE: the output is known to be text */
    bool content_closed; /* behind content_close: white space is layout */

    JsonScan scan;     /* of arguments outside of call objects */
    CallObject object;
    Text name;         /* of the call being read */
    ParamKind param;   /* CALLS_XML */
    bool first_param;
    bool own_line; /* the value began behind a newline that is no part of it */
    size_t searched;   /* a long value holds no marker before this byte of the input */
    MessageKind message;
    TreeScan tree;
    LiteralScan literal;

    struct PendingDelta *pending;
    size_t pending_count, pending_capacity;
    ReplyDelta *deltas;
    size_t delta_count, delta_capacity;
    Text delta_text;
    Text content, reasoning;
    ReplyCall *calls;
    size_t call_count, call_capacity;
    bool failed; /* out of memory */
    uint64_t id_seed;
};

/* ---- looking at the input ---------------------------------------------------------------------------------------- */

typedef enum Match { MATCH_NO, MATCH_YES, MATCH_PARTLY } Match;

/* Whether a marker stands at a byte of the input; PARTLY: more text must come (never once finished). NULL: no. */
Match reply_match(const Reply *r, size_t at, const char *marker);
/* The first of the markers (NULLs are skipped) from a byte on: true with its number and place. Otherwise *clear is how
 * far the text is certain to hold none. */
bool reply_find(const Reply *r, size_t from, const char *const *markers, size_t count, size_t *which, size_t *place,
                size_t *clear);
/* Moves over white space; false when the input ends with it (and may go on). */
bool reply_skip_spaces(Reply *r);
static inline bool reply_is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
static inline const char *reply_at(const Reply *r) { return r->input.bytes + r->at; }

/* ---- emitting ---------------------------------------------------------------------------------------------------- */

/* Content or reasoning; white space at its end is held back where a mark may follow. */
void reply_emit_text(Reply *r, bool reasoning, const char *text, size_t bytes);
/* The call begins. id NULL or empty: one is made up. */
void reply_announce(Reply *r, const char *name, size_t name_bytes, const char *id, size_t id_bytes);
/* A piece of the announced call's arguments. */
void reply_emit_arguments(Reply *r, const char *text, size_t bytes);
/* Passes JSON of the input through to the arguments, from r->at on, up to the end of the value that brings the scan
 * back to `depth`, or to the byte that is no JSON. Control characters in strings are escaped. */
JsonStep reply_stream_json(Reply *r, JsonScan *scan, int depth);
/* The same for a range of the input that has been scanned before. */
void reply_emit_json(Reply *r, size_t from, size_t to);
/* Text as a part of a JSON string of the arguments, and as a whole one. */
void reply_emit_escaped(Reply *r, const char *text, size_t bytes);
void reply_emit_string(Reply *r, const char *text, size_t bytes);
/* A parameter's text as a value of its kind: JSON where it is, Python's words and lists for the same, else a string. */
ParamKind reply_param_kind(const json_t *schema);
void reply_emit_value(Reply *r, ParamKind kind, const char *text, size_t bytes);

/* Appends a list or a dictionary in Python's notation as JSON; false when the text is none, whatever was appended. */
bool reply_python_json(const char *text, size_t bytes, Text *json);

/* ---- calls ------------------------------------------------------------------------------------------------------- */

enum { REPLY_MAX_NAME = 256 }; /* bytes of a tool's or a parameter's name; whatever is longer is none */

/* A marker was passed that begins a call or a section of calls; its text begins at `from`. */
void reply_begin_call(Reply *r, size_t from);
/* It was no call: all of it up to r->at is content. */
void reply_not_a_call(Reply *r);
/* Between the calls of a section: at a call's mark the mode becomes `call`. Whether it got further. */
bool reply_step_section(Reply *r, ReplyMode call);
/* The call, or the section, is over; text follows. */
void reply_end_call(Reply *r);
/* What could be the name of a tool (letters, digits, "_-./:"), and what is the name of one that is offered. */
bool reply_is_name(const char *name, size_t bytes);
bool reply_is_tool(const Reply *r, const char *name, size_t bytes);
/* Whether the name of one of them goes on like this. */
bool reply_begins_tool(const Reply *r, const char *name, size_t bytes);
/* The schema of a tool's parameters, and of one of them; or NULL. */
const json_t *reply_parameters(const Reply *r, const char *tool);
const json_t *reply_parameter(const Reply *r, const char *tool, const char *parameter);
/* Whether a value of that schema may be of a type of JSON. */
bool reply_allows(const json_t *schema, const char *type);

/* For `bare`: whether a line begins here that is a call's header. */
Match reply_match_header(const Reply *r, size_t at);

/* Each makes one step in its modes: true when something moved, false when more text is needed. */
bool reply_step_object(Reply *r);
bool reply_step_header(Reply *r);
bool reply_step_xml(Reply *r);
bool reply_step_tree(Reply *r);
bool reply_step_literal(Reply *r);
bool reply_step_harmony(Reply *r);

#endif
