"""Requests, schemas, grammars and templates changed at random: what the tests of the server throw at it.

Nothing here is sent; a seed gives the same sequence again."""
import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
VALUES = [None, True, False, 0, -1, 1, 2 ** 31, -2 ** 63, 2 ** 64, 1e308, -0.0, 0.5, "", "x", "\u0000", "a" * 3000, "\ud83d\ude00", [], [[]],
          [None], {}, {"type": "x"}, {"": None}, [1, "a"], "tiny", "auto", "json_object", "*", "(((((", "root ::= root", "[a-", "{" * 200]


# ---- trees -------------------------------------------------------------------------------------------------------------------

def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from places(value[i], (*path, i))


def copy(value):
    return json.loads(json.dumps(value))


def tree(rng, value, values=VALUES, keys=()):
    """Something like it: parts left out, repeated, nested, exchanged for one of `values`, or set under one of `keys`."""
    value = copy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        path = rng.choice(list(places(value)))
        if not path:
            continue
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        what = rng.random()
        if what < 0.15:
            del inner[path[-1]]
        elif what < 0.25 and isinstance(inner, list):
            inner.extend([copy(inner[path[-1]])] * rng.choice((1, 50)))
        elif what < 0.35:
            for _ in range(rng.choice((3, 60, 200))):
                inner[path[-1]] = [inner[path[-1]]] if rng.random() < 0.5 else {"allOf": inner[path[-1]]}
        elif what < 0.6 and keys and isinstance(inner[path[-1]], dict):
            inner[path[-1]][rng.choice(keys)] = copy(rng.choice(values))
        else:
            inner[path[-1]] = copy(rng.choice(values))
    return value


def body(rng, value):
    """The bytes of a request like this one, sometimes no JSON any more."""
    text = bytearray(json.dumps(tree(rng, value)).replace("1e+308", "1e999").encode())
    if rng.random() < 0.2:
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text)


# ---- schemas -----------------------------------------------------------------------------------------------------------------

SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}, "b": {"$ref": "#/$defs/n"}}, "required": ["a"],
     "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}},
    {"patternProperties": {"^x_[0-9]{2}$": {"format": "date"}}, "propertyNames": {"minLength": 2}, "maxProperties": 3,
     "additionalProperties": False},
    {"allOf": [{"properties": {"k": {"pattern": "^a"}}, "required": ["k"]}, {"additionalProperties": {"maxLength": 3}}],
     "oneOf": [{"required": ["x"], "properties": {"x": {"const": 1}}}, {"required": ["x"], "properties": {"x": {"const": 2}}}]},
    {"anyOf": [{"type": "integer", "minimum": -7, "exclusiveMaximum": 900}, {"type": "number", "multipleOf": 0.25}, {"enum": [1, None, "x"]}]},
    {"type": "array", "prefixItems": [{"type": ["null", "boolean"]}, {"format": "date-time"}], "items": {"type": "number"}, "minItems": 1,
     "maxItems": 4, "uniqueItems": False},
    {"type": "object", "properties": {"t": {"type": "string", "format": "uuid"}, "n": {"type": "integer", "minimum": 0, "maximum": 255}},
     "required": ["t", "n"], "additionalProperties": False, "minProperties": 1},
    {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": {"not": {"required": ["c"]}}, "dependentRequired": {"a": ["b"]}},
]
SCHEMA_KEYS = ["type", "enum", "const", "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "items",
               "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "minLength", "maxLength", "pattern", "format", "minimum",
               "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "anyOf", "oneOf", "allOf", "not", "if", "then", "else", "$ref",
               "$defs", "definitions", "$anchor", "$id", "$dynamicRef", "dependentSchemas", "dependentRequired", "minProperties",
               "maxProperties", "unevaluatedProperties", "unevaluatedItems", "nullable", "title", "default"]


# ---- texts -------------------------------------------------------------------------------------------------------------------

GBNF = ['root ::= expr "\\n"?\nexpr ::= expr [-+] num | num # sum\nnum ::= [0-9]{1,3} | "(" expr ")"',
        'root ::= "{" ws pair ("," ws pair)* "}"\npair ::= str ":" ws (str | [0-9]+)\nstr ::= "\\"" [^"\\\\\\x00-\\x1f]* "\\""\nws ::= [ \\t\\n]*',
        "root ::= [a-cé-ü]+ root2?\nroot2 ::= (\"x\" | \"\\u00e9\"){2,} | ."]
GBNF_WORDS = ["root", "::=", "|", "(", ")", "[", "]", "[^", "*", "+", "?", "{2,9}", "{0}", "{,3}", "{1000000}", "\"", "\\\"", "\\x41", "\\u00e9", "\\U0001f600",
              ".", "# c", "\n", "<tag>", "<[7]>", "!<tag>", "a-z", "]]", "\\]", "\"\"", "root ::= root", "x ::= x x |"]
LARK = ['start: NAME ("," NAME)* <tag>?\nNAME: /[a-z]+/i "0".."9"~1..3\n%import common.WS\n%ignore WS\nx: %json {"type":"null"}\n',
        'start: sum\n?sum: product | sum "+" product -> add\nproduct: NUMBER | "(" sum ")"\nNUMBER: /[0-9]+(\\.[0-9]+)?/\n',
        'start: a{b, c}\na{x, y}: x y\nb: "b"i\nc: /c{2,5}/x\n%regex { "a" }\n']
LARK_WORDS = ["start", ":", "|", "(", ")", "[", "]", "~", "~2", "~1..9", "~0..1000000", "?", "*", "+", "/a+/", "/(/", "\"x\"", "\"x\"i", "\"a\"..\"z\"", "%import",
              "%ignore", "%json", "%regex", "%declare", "common.INT", "->", "!", "_x", "A", ".2", "\n", "{", "}", "//c", "\\", "<tag>", "start: start", "&", "~/x/"]
REGEX = [r"^(?:ab|[^c-f\d]{2,40}|\p{Lu}+?)\.é$", r"[0-9]{1,3}(a|b)*(?:\w+@\w+\.\w{2,})?", r"(?i)[a-z_][\w-]*=(\"[^\"]*\"|'[^']*')",
         r"(\d{4})-(0[1-9]|1[0-2])-\d\d(?=x)|\bend\b", "[[:alpha:]]+[^[:digit:]]\\x41\\u{1F600}"]
REGEX_WORDS = ["(", ")", "(?:", "(?=", "(?!", "(?<=", "(?<n>", "(?i)", "[", "]", "[^", "a-z", "{2}", "{2,}", "{0,100000}", "{,5}", "{999999999}", "*", "+", "?", "*?", "+?", "|",
               "\\", "\\d", "\\D", "\\w", "\\s", "\\b", "\\1", "\\p{L}", "\\P{", "\\x", "\\x{110000}", "\\u0000", "\\Q", ".", "^", "$", "é", "\\]", "[]", "[^]", "[a-]", "[z-a]"]
TEMPLATE_WORDS = ["{%", "%}", "{{", "}}", "{%-", "-%}", "{#", "#}", "for", "in", "if", "elif", "else", "endif", "endfor", "set", "endset", "macro", "endmacro", "call",
                  "endcall", "filter", "endfilter", "break", "continue", "is", "not", "and", "or", "defined", "none", "string", "mapping", "iterable", "loop.index",
                  "loop.previtem", "loop.last", "namespace()", "range(10)", "range(10**9)", "range(-1, -2**62, -7)", "messages", "messages[0]", "tools", "m", "|", "| tojson",
                  "| tojson(indent=99999)", "| trim", "| length", "| join(',')", "| map(attribute='x')", "| selectattr('role', 'equalto', 'user') | list", "| first",
                  "| items", "| upper", "| default('x')", "| int", "| list", "| sort", "| reverse", "| replace('a', 'aaaaaaaa')", "| indent(1000000)", ".split(',')", ".strip()",
                  ".startswith('a')", ".items()", ".append(1)", "[::-1]", "[-1]", "[1:]", "[::0]", "(", ")", "[", "]", "{", "}", ":", ",", "~", "+", "-", "*", "**", "/", "//", "%",
                  "==", "!=", "<", ">", "=", "'a' * 10**9", "[0] * 10**9", "'%s' % 1", "1 // 0", "1 % 0", "2 ** 99999", "-9223372036854775808", "1e999", "'", '"', "\\", "\n",
                  "raise_exception('x')", "strftime_now('%Y')", "strftime_now('%' * 500)", "lambda", "x if y", "self", "true", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]


def templates():
    """Published ones, and snippets of the language."""
    texts = [p.read_text("utf-8") for p in sorted((HERE.parent / "fuzz" / "corpus" / "template").glob("*.jinja"))]
    return [t for t in texts if len(t) < 20000]


def text(rng, seeds, words):
    """A text of pieces of the seeds and of words of the language."""
    pieces = re.findall(r"\w+|\s+|[^\w\s]", rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 6, 12))):
        at, what = rng.randrange(len(pieces) + 1), rng.random()
        if what < 0.2:
            del pieces[at:at + rng.choice((1, 1, 2, 8))]
        elif what < 0.7:
            pieces.insert(at, rng.choice(words))
        elif what < 0.8:
            other = re.findall(r"\w+|\s+|[^\w\s]", rng.choice(seeds))
            start = rng.randrange(len(other))
            pieces[at:at] = other[start:start + rng.randrange(1, 30)]
        elif what < 0.9:
            pieces[at:at] = pieces[at:at + rng.choice((1, 3, 9))] * rng.choice((1, 2, 40, 400))
        elif what < 0.96:
            pieces[at:at] = [rng.choice("([{")] * rng.choice((1, 50, 3000))
        else:
            pieces.insert(at, chr(rng.choice((0, 1, 0x7f, 0x80, 0xa0, 0x2028, 0xfeff, 0xffff, 0x10ffff, rng.randrange(1, 0xd800)))))
        if not pieces:
            pieces = [rng.choice(words)]
    return "".join(pieces)[:60000]
