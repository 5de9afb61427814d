#!/usr/bin/env python3
"""Random template snippets, rendered by Jinja2 and by carronade_render: every difference is printed and fails the run.

    CARRONADE_BUILD=build/release python3 tests/fuzz/differential_templates.py --cases 3000 --seed 1
"""

import argparse
import pathlib
import random
import re
import sys
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden" / "text"))

import chat_jinja2  # noqa: E402

CONTEXT = {
    "s": "Hello, World",
    "u": "Grüße ΣΑΣ ﬁ 世界 👩‍👩‍👧 İ",
    "w": "  two\n lines \r\n\tand more\u2028x  ",
    "h": "<b>\"it's\" & co</b>",
    "e": "",
    "n": 7,
    "z": 0,
    "m": -13,
    "f": 2.5,
    "g": -0.1,
    "big": 123456789012345,
    "t": True,
    "no": False,
    "nil": None,
    "l": [3, 1, 2, 3],
    "names": ["b", "A", "c", "a", "B"],
    "mixed": [1, "1", 1.0, None, True, [1], {"a": 1}],
    "empty": [],
    "d": {"b": 1, "a": "x", "c": [1, {"k": "v"}], "items": "own"},
    "nested": {"x": {"y": [{"z": "deep"}, {"z": 2}]}},
    "people": [
        {"name": "Ann", "age": 31, "city": "Bern", "ok": True},
        {"name": "bob", "age": 25, "city": "bern", "ok": False},
        {"name": "Cy", "age": 31, "ok": True},
    ],
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U {x}"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"q": "ü"}}}]},
    ],
}

NAMES = [*CONTEXT, "missing", "loop", "x", "y", "v", "k", "ns"]
STRINGS = [
    "'a'", '"b"', "''", "'a,b,,c'", "'x y  z'", "'%s'", "'%d'", "'%05.1f|%-6s'", "'%(a)s'", "'{}'", "'{0}-{1}'", "'{:>8}'",
    "'{!r:*^12}'", "'{:,}'", "'{:.2f}'", "'\\n'", "'\\t\\x41\\u00e9'", "'İß'", "'12'", "' 3.5 '", "'0x1f'", "'<i>'", "'age'", "'name'",
    "'x.y.0.z'", "'Title case-here (and there)'", "'aXbXc'", "'content'", "'role'", "'1_000'", "'e'", "'None'", "'😀'",
]  # fmt: skip
NUMBERS = ["0", "1", "2", "-1", "3", "10", "2.5", "0.1", "1e3", "1e16", "1.5e-7", "100", "0x1F", "1_000", "-7", "1e300", "7.0"]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "and", "or", "==", "!=", "<", "<=", ">", ">=", "in", "not in"]
FILTERS = [
    "abs", "attr('items')", "attr('upper')", "batch(2)|list", "batch(3, 'f')|list", "capitalize", "center(9)", "center", "count",
    "d('x')", "default('x', true)", "default('x')", "dictsort", "dictsort(true, 'value')", "dictsort(reverse=true)", "e", "escape",
    "filesizeformat", "filesizeformat(true)", "first", "float", "float(1)", "forceescape", "format(1, 2)", "format('a')", "groupby('city')",
    "groupby('age')", "groupby('city', default='?')", "indent", "indent(2, true)", "indent('> ', true, true)", "int", "int(5)", "int(0, 16)",
    "int(base=2)", "items|list", "join", "join(', ')", "join('-', 'name')", "join('|', attribute='age')", "last", "length", "list", "lower",
    "map('upper')|list", "map(attribute='name')|list", "map(attribute='city', default='-')|list", "map('default', 1)|list",
    "map('int')|list", "map('length')|join(',')", "max", "max(attribute='age')", "min", "min(true)", "reject('none')|list", "reject|list",
    "reject('odd')|list", "rejectattr('ok')|list", "replace('a', 'Z')", "replace('', '.')", "replace('l', 'L', 1)", "reverse|list",
    "reverse", "round", "round(1)", "round(2, 'floor')", "round(0, 'ceil')", "round(-1)", "safe", "select|list", "select('string')|list",
    "select('>', 1)|list", "select('in', [1, 'a'])|list", "selectattr('ok')|list", "selectattr('age', '==', 31)|map(attribute='name')|list",
    "selectattr('city', 'defined')|list|length", "slice(2)|list", "slice(3, 'f')|list", "sort", "sort(true)", "sort(attribute='age,name')",
    "sort(case_sensitive=true)", "sort(attribute='name')", "string", "sum", "sum('age')", "sum(attribute='age', start=10)", "title",
    "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)", "tojson(sort_keys=true)", "tojson(separators=(',', ':'))", "tojson(indent=0)",
    "trim", "trim('H d')", "truncate(5)", "truncate(8, true, '.', 0)", "truncate(length=4, end='')", "unique|list", "unique(true)|list",
    "upper", "urlencode", "wordcount", "wordwrap(5)", "wordwrap(4, false)", "xmlattr", "xmlattr(false)", "nofilter",
]  # fmt: skip
TESTS = [
    "boolean", "callable", "defined", "divisibleby 2", "divisibleby(3)", "eq 1", "equalto('a')", "escaped", "even", "false", "filter",
    "float", "ge 2", "greaterthan 1", "gt 1", "in [1, 2, 'a']", "in 'abc'", "integer", "iterable", "le 1", "lessthan 2", "lower", "lt 3",
    "mapping", "ne 1", "none", "number", "odd", "sameas true", "sameas none", "sequence", "string", "test", "true", "undefined", "upper",
    "notest",
]  # fmt: skip
METHODS = [
    "upper()", "lower()", "title()", "capitalize()", "swapcase()", "casefold()", "strip()", "strip('H d')", "lstrip()", "rstrip('\\n ')",
    "split()", "split(',')", "split(',', 1)", "split(sep=' ', maxsplit=1)", "rsplit(None, 1)", "rsplit('o')", "splitlines()",
    "splitlines(true)", "partition('o')", "rpartition('o')", "replace('o', '0')", "replace('o', '0', 1)", "find('o')", "rfind('o')",
    "find('o', 5)", "index('o')", "count('l')", "count('')", "startswith('H')", "startswith(('a', 'H'))", "endswith('d')", "join(names)",
    "join(l)", "center(20, '*')", "ljust(15)", "rjust(15, '.')", "zfill(15)", "expandtabs(4)", "isalpha()", "isdigit()", "isalnum()",
    "isupper()", "islower()", "istitle()", "isspace()", "isnumeric()", "isidentifier()", "isprintable()", "isascii()", "removeprefix('He')",
    "removesuffix('ld')", "format(1, 'b', a=2)", "format('q')", "format(d, x=n)", "items()", "items()|list", "keys()|list", "values()|list",
    "get('a')", "get('nope')", "get('nope', 5)", "keys()", "values()", "append(1)", "pop()", "update({})", "index(3)", "count(3)", "copy()",
    "bit_length()", "is_integer()", "__class__", "_private", "items", "content", "upper", "a.b", "x.y[0].z", "0", "1", "nope()",
]  # fmt: skip
INDICES = ["0", "-1", "5", "'a'", "'items'", "'x'", "1:", ":2", "::-1", "1:-1", "-3:", "::2", "10:1:-3", "n", "missing", "1.0", "true", "none"]


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.depth = 0

    def pick(self, items):
        return self.random.choice(items)

    def expression(self):
        self.depth += 1
        try:
            if self.depth > 4 or self.random.random() < 0.25:
                return self.leaf()
            kind = self.random.randrange(13)
            if kind < 3:
                return f"{self.expression()}|{self.pick(FILTERS)}"
            if kind < 5:
                return f"{self.operand()}.{self.pick(METHODS)}"
            if kind == 5:
                return f"{self.operand()}[{self.pick(INDICES)}]"
            if kind < 8:
                return f"({self.expression()} {self.pick(BINARY)} {self.expression()})"
            if kind == 8:
                return f"{self.operand()} is {self.pick(['', 'not '])}{self.pick(TESTS)}"
            if kind == 9:
                return f"({self.expression()} if {self.expression()}{self.pick([' else ' + self.leaf(), ''])})"
            if kind == 10:
                return self.pick(["-", "not ", "+"]) + self.operand()
            if kind == 11:
                return self.container()
            return self.pick(
                [
                    f"range({self.pick(NUMBERS)})|list",
                    f"range(1, {self.pick(['5', 'n'])}, 2)",
                    f"dict(a={self.leaf()}, b=1)",
                    f"{self.leaf()} < {self.leaf()} <= {self.leaf()}",
                    f"namespace(a={self.leaf()}).a",
                    f"raise_exception({self.leaf()})",
                    f"dict({self.leaf()})",
                ]
            )
        finally:
            self.depth -= 1

    def operand(self):
        return self.leaf() if self.random.random() < 0.6 else f"({self.expression()})"

    def container(self):
        items = [self.expression() for _ in range(self.random.randrange(4))]
        return self.pick(
            [
                "[" + ", ".join(items) + "]",
                "(" + ", ".join(items) + ",)" if items else "()",
                "{" + ", ".join(f"{self.leaf()}: {item}" for item in items) + "}",
            ]
        )

    def leaf(self):
        return self.pick([self.pick(NAMES), self.pick(list(CONTEXT)), self.pick(STRINGS), self.pick(NUMBERS), "true", "none"])

    def block(self, name, inside=""):
        begin, end = self.pick(["{%", "{%-", "{%+"]), self.pick(["%}", "-%}", "%}", "+%}"])
        return f"{begin} {name} {inside}{end}"

    def text(self):
        return self.pick(["", " ", "\n", "  \n  ", "text", "\n\n a", "\t", "é\n", "{ % }", "x "])

    def body(self):
        return "".join(self.text() + self.statement() for _ in range(self.random.randrange(1, 4))) + self.text()

    def statement(self):
        self.depth += 1
        try:
            if self.depth > 3:
                return self.output()
            make = self.pick(
                [self.output, self.output, self.condition, self.loop, self.assign, self.assign, self.capture, self.macro, self.other]
            )
            return make()
        finally:
            self.depth -= 1

    def output(self):
        return self.pick(["{{", "{{-", "{{"]) + f" {self.expression()} " + self.pick(["}}", "-}}", "}}"])

    def condition(self):
        result = self.block("if", self.expression()) + self.body()
        if self.random.random() < 0.4:
            result += self.block("elif", self.expression()) + self.body()
        if self.random.random() < 0.5:
            result += self.block("else") + self.body()
        return result + self.block("endif")

    def loop(self):
        target = self.pick(["x", "y", "k, v", "x"])
        source = self.pick(
            ["l", "names", "people", "messages", "d", "d.items()", "d|dictsort", "s", "range(3)", "missing", "u", self.expression()]
        )
        extra = self.pick(["", "", "", f" if {self.expression()}", " if x is string", " if loop.index is odd"])
        inside = self.body() + self.pick(
            [
                "",
                "{{ loop.index }}/{{ loop.length }}",
                "{{ loop.first }}{{ loop.last }}{{ loop.revindex }}",
                "{{ loop.previtem }}{{ loop.nextitem }}",
                "{{ loop.cycle('a', 'b') }}",
                "{{ loop.changed(x) }}",
                "{% if loop.index > 2 %}{% break %}{% endif %}",
                "{% if x == 1 %}{% continue %}{% endif %}",
                "{% set x = 1 %}{{ x }}",
                "{% set ns.a = loop.index %}",
            ]
        )
        tail = self.block("else") + self.body() if self.random.random() < 0.3 else ""
        return self.block("for", f"{target} in {source}{extra}") + inside + tail + self.block("endfor")

    def assign(self):
        target = self.pick(["x", "y", "v", "ns.a", "x, y", "n", "s", "d"])
        return self.block("set", f"{target} = {self.expression()}")

    def capture(self):
        return self.pick(
            [
                self.block("set", self.pick(["x", "y", "s", "ns.b"]) + self.pick(["", " | upper", " | trim | length"]))
                + self.body()
                + self.block("endset"),
                self.block("filter", self.pick(FILTERS)) + self.body() + self.block("endfilter"),
                self.block("with", f"x = {self.expression()}, y = {self.expression()}") + self.body() + self.block("endwith"),
            ]
        )

    def macro(self):
        name = self.pick(["m", "f", "x"])
        signature = self.pick(["", "a", "a, b=1", "a, b='q', c=a", "x=n"])
        arguments = self.pick(["", "1", "1, 2", "a=3", "b=2", "1, 2, 3, 4", "q=1", "*l", "**d", "s"])
        inside = self.body() + self.pick(["", "{{ a }}{{ b }}", "{{ varargs }}{{ kwargs }}", "{{ caller() }}", "{{ caller(1) if caller }}"])
        definition = self.block("macro", f"{name}({signature})") + inside + self.block("endmacro")
        use = self.pick(
            [
                "{{ %s(%s) }}" % (name, arguments),
                "{%% call %s(%s) %%}%s{%% endcall %%}" % (name, arguments, self.body()),
                "{%% call(x) %s(%s) %%}%s{%% endcall %%}" % (name, arguments, self.body()),
                "{{ [%s.name, %s.arguments] }}" % (name, name),
            ]
        )
        return definition + use

    def other(self):
        return self.pick(
            [
                "{# comment #}",
                "{#- c\n -#}\n",
                "{% raw %}{{ x }}{% endraw %}",
                "{%- raw -%} {% x %} {%- endraw -%}",
                "{% set ns = namespace(a=1, b='x') %}",
                "{% set ns = namespace(d) %}{{ ns.b }}",
                "{% generation %}" + self.body() + "{% endgeneration %}",
                "{% for x in [[1, [2, [3]]], 4] recursive %}{{ x if x is not iterable else loop(x) }}{% endfor %}",
                "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}",
                "{% set j = joiner('|') %}{{ j() }}a{{ j() }}",
                "{% block b %}" + self.body() + "{% endblock %}",
                "{% print s, n %}",
                "{% include 'x' %}",
            ]
        )

    def template(self):
        self.depth = 0
        prefix = self.pick(["", "{% set ns = namespace(a=1) %}"])
        return prefix + (self.output() if self.random.random() < 0.5 else self.body())


# Addresses, and what is refused here on purpose: numbers beyond 64 bits, random or HTML-only filters, absurd sizes, and slices of
# literals that have none (Jinja2 folds them when it compiles, to nothing, but refuses them at run time).
UNPRINTABLE = re.compile(r"<(generator|function|bound|built-in|class|filter|map|list_rev|jinja2|reversed|dict_rev|itertools|Macro|transformers|chat_jinja2|range_it|method|__main__)")
REFUSED = re.compile(r"not supported|more than \d+|too large|is not subscriptable|unhashable type: 'slice'")


def differs(expected, actual):
    if expected["ok"] and actual["ok"]:
        return expected["text"] != actual["text"] and not UNPRINTABLE.search(expected["text"])
    if expected["ok"]:
        return not REFUSED.search(actual["error"]) and not UNPRINTABLE.search(expected["text"])
    return actual["ok"] and expected["type"] != "RecursionError"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="differences to print")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    renderer = chat_jinja2.Renderer()
    counts = {"equal": 0, "refused by both": 0, "not compared": 0, "different": 0}
    for case in range(options.cases):
        template = Grammar(f"{options.seed}:{case}").template()
        expected = chat_jinja2.render_with_jinja2(template, CONTEXT)
        actual = renderer.render(template, CONTEXT)
        if differs(expected, actual):
            counts["different"] += 1
            if counts["different"] <= options.show:
                print(f"case {options.seed}:{case}\n  {template!r}\n  Jinja2: {expected}\n  here:   {actual}\n")
        elif expected["ok"] != actual["ok"] or (expected["ok"] and expected["text"] != actual["text"]):
            counts["not compared"] += 1
        else:
            counts["equal" if expected["ok"] else "refused by both"] += 1
    renderer.close()
    print(counts)
    return 1 if counts["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
