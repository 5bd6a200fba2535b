"""Grammars against JSON Schema itself: random schemas, random instances, random walks.

    grammar_test.py PROBE

For each schema of the list and for random ones the probe (grammar_probe.c) compiles a grammar, says which instances it
takes, and writes texts by drawing tokens among the allowed ones. Guarded against: a text that the schema forbids (an
instance taken, or written), a mask that disagrees with what can be accepted, a plain instance that is refused.
The judge is a small validator below, and the package jsonschema as well where it is installed.
"""
import json
import random
import re
import subprocess
import sys
from decimal import Decimal

try:
    from jsonschema import Draft202012Validator
except ImportError:
    Draft202012Validator = None


def type_of(value):
    for name, kind in (("boolean", bool), ("string", str), ("array", list), ("object", dict)):
        if isinstance(value, kind):
            return name
    if value is None:
        return "null"
    return "integer" if value == int(value) else "number"


def valid(schema, value, root=None):
    """JSON Schema, as far as the schemas below use it. Numbers are Decimals."""
    root = root or schema
    if schema is True or schema is False:
        return schema
    if "$ref" in schema and not valid(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], value, root):
        return False
    kind = type_of(value)
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if kind not in kinds and not (kind == "integer" and "number" in kinds):
            return False
    if "enum" in schema and not any(type_of(v) == kind and v == value for v in schema["enum"]):
        return False
    if "anyOf" in schema and not any(valid(s, value, root) for s in schema["anyOf"]):
        return False
    if "allOf" in schema and not all(valid(s, value, root) for s in schema["allOf"]):
        return False
    if kind in ("integer", "number"):
        return (value >= schema.get("minimum", value) and value <= schema.get("maximum", value)
                and ("exclusiveMinimum" not in schema or value > Decimal(str(schema["exclusiveMinimum"])))
                and ("multipleOf" not in schema or Decimal(value) % Decimal(str(schema["multipleOf"])) == 0))
    if kind == "string":
        return (schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
                and ("pattern" not in schema or re.search(schema["pattern"], value) is not None))
    if kind == "array":
        prefix = schema.get("prefixItems", [])
        parts = [(prefix[i] if i < len(prefix) else schema.get("items", True), v) for i, v in enumerate(value)]
        return (schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
                and all(valid(s, v, root) for s, v in parts))
    if kind == "object":
        if any(name not in value for name in schema.get("required", [])):
            return False
        if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
            return False
        for name, v in value.items():
            matching = [s for p, s in schema.get("patternProperties", {}).items() if re.search(p, name)]
            if name in schema.get("properties", {}):
                matching.append(schema["properties"][name])
            if not matching:
                matching = [schema.get("additionalProperties", True)]
            if not all(valid(s, v, root) for s in matching):
                return False
    return True


def random_schema(rng, depth):
    choice = rng.randrange(11 if depth > 0 else 7)
    if choice == 0:
        low = rng.randrange(-500, 500)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randrange(2000)}
    if choice == 1:
        return {"type": "number", "exclusiveMinimum": rng.randrange(-40, 40) / 4, "maximum": rng.randrange(11, 90)}
    if choice == 2:
        low = rng.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randrange(70)}
    if choice == 3:
        return {"type": "string", "pattern": rng.choice(["^[a-c]+$", "b", "^x?\\d{2,4}$", "a.c$", "^(foo|bar)?\"$"]), "maxLength": 9}
    if choice == 4:
        return {"enum": rng.sample([0, 1, "1", "a\"b", None, True, [1, 2], {"k": "v"}, 2.5, -3], 4)}
    if choice == 5:
        return {"type": rng.sample(["null", "boolean", "integer", "string"], 2)}
    if choice == 6:
        return {"type": "integer", "multipleOf": rng.randrange(1, 30), "minimum": rng.randrange(100)}
    if choice == 7:
        low = rng.randrange(3)
        return {"type": "array", "items": random_schema(rng, depth - 1), "minItems": low, "maxItems": low + rng.randrange(20)}
    if choice == 8:
        return {"anyOf": [random_schema(rng, depth - 1), random_schema(rng, depth - 1)]}
    if choice == 9:
        return {"type": "array", "prefixItems": [random_schema(rng, 0), random_schema(rng, 0)], "items": False, "minItems": 2}
    names = rng.sample(["a", "b", "name", "type", "é", "x\"y", "foo"], rng.randrange(1, 5))
    schema = {"type": "object", "properties": {n: random_schema(rng, depth - 1) for n in names},
              "required": rng.sample(names, rng.randrange(len(names) + 1))}
    schema["additionalProperties"] = rng.choice([False, False, {"type": "integer"}, {"type": "null"}])
    if rng.randrange(4) == 0:
        schema["maxProperties"] = max(len(schema["required"]), 2)
    return schema


def random_value(rng, depth):
    kind = rng.randrange(9 if depth > 0 else 7)
    if kind < 4:
        return [None, rng.random() < 0.5, rng.randrange(-30, 1200), rng.randrange(-300, 300) / 8][kind]
    if kind < 7:
        return "".join(rng.choice("abcfxo\"\\é\n0123") for _ in range(rng.randrange(8)))
    if kind == 7:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(["a", "b", "name", "type", "é", "foo"]): random_value(rng, depth - 1) for _ in range(rng.randrange(4))}


FIXED = [
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {
        "anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "required": ["v", "next"], "additionalProperties": False}}},
     [{"v": 1, "next": {"v": 2, "next": None}}, {"v": 1}, {"v": 1, "next": {}}]),
    ({"type": "object", "patternProperties": {"^s_": {"type": "string"}, "^i_": {"type": "integer"}}, "additionalProperties": False},
     [{"s_a": "x", "i_b": 2}, {"s_a": 1}, {"t": 1}]),
    ({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"a": {"minimum": 10}, "b": {"type": "boolean"}}, "required": ["b"]}]},
     [{"a": 10, "b": True}, {"a": 9, "b": True}, {"a": 10}]),
]


def main():
    probe = subprocess.Popen(sys.argv[1:2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(question):
        probe.stdin.write(json.dumps(question) + "\n")
        probe.stdin.flush()
        return json.loads(probe.stdout.readline())

    rng = random.Random(20260)
    cases = FIXED + [(random_schema(rng, 2), None) for _ in range(150)]
    wrong, texts, walks, compiled = [], 0, 0, 0
    for number, (schema, instances) in enumerate(cases):
        values = instances or [random_value(rng, 2) for _ in range(30)]
        written = [json.dumps(v, ensure_ascii=number % 2 == 0) for v in values]
        reply = ask({"kind": "schema", "schema": schema, "accept": written, "walks": 6, "seed": number + 1, "check": number % 3 == 0,
                     "cache": 300000 if number % 5 == 0 else 0})
        if reply["status"] != "ok":
            if reply["status"] not in ("unsupported", "bad_argument"):
                wrong.append(f"{schema}: {reply['error']}")
            continue
        compiled += 1
        judge = Draft202012Validator(schema) if Draft202012Validator else None
        if reply["walk_error"]:
            wrong.append(f"{schema}: {reply['walk_error']}")
        for text, taken in list(zip(written, reply["accept"])) + [(w, True) for w in reply["walks"] if w is not None]:
            exact = json.loads(text, parse_float=Decimal)
            texts += 1
            if taken and not valid(schema, exact):
                wrong.append(f"{schema} lets through {text}")
            if taken and judge and "number" not in json.dumps(schema) and not judge.is_valid(json.loads(text)):
                wrong.append(f"{schema} lets through, says jsonschema, {text}")
            # Scalars have no order of properties and no other freedom of writing: they are taken if they are valid.
            if not taken and not isinstance(exact, (dict, list, Decimal)) and valid(schema, exact):
                wrong.append(f"{schema} refuses {text}")
        walks += sum(w is not None for w in reply["walks"])
    probe.stdin.close()
    for line in wrong[:20]:
        print(line)
    print(f"{compiled} of {len(cases)} schemas compiled, {texts} texts judged, {walks} of them written, {len(wrong)} wrong"
          + ("" if Draft202012Validator else " (without jsonschema)"))
    return 1 if wrong or compiled < 100 or walks < 300 or probe.wait() != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
