"""Every chat template of llama.cpp's archive, and of the models at hand, rendered here and by Jinja2: equal byte for byte."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import chat_jinja2  # noqa: E402
import conversations  # noqa: E402
import peers  # noqa: E402
import vocabularies  # noqa: E402

CONTEXTS = dict(conversations.contexts())


def model_files():
    """The GGUF files at hand: two that the tests fetch themselves, and what is installed."""
    for name in ("smollm2", "deepseek-r1"):
        yield name, peers.vocabulary_file(name)
    for path in sorted((peers.cache_folder() / "models").glob("*/*.gguf")):
        yield path.parent.name, path


def templates():
    folder = peers.llama_cpp_source() / "models" / "templates"
    for path in sorted(folder.glob("*.jinja")):
        yield path.stem, path.read_text(encoding="utf-8")
    for name, path in model_files():
        template = vocabularies.read_gguf_metadata(path).get("tokenizer.chat_template")
        if template:
            yield f"model {name}", template.decode()


TEMPLATES = dict(templates())


@pytest.fixture(scope="module")
def renderer():
    process = chat_jinja2.Renderer()
    yield process
    process.close()


def compare(renderer, template, context):
    expected = chat_jinja2.render_with_jinja2(template, context)
    actual = renderer.render(template, context)
    if expected["ok"]:
        assert actual == {"ok": True, "text": expected["text"]}
        return
    assert not actual["ok"], f"Jinja2 refuses: {expected}"
    if expected["type"] == "TemplateError":  # raise_exception
        assert actual["error"] == expected["error"]
    if expected["type"] in ("TemplateSyntaxError", "TemplateAssertionError"):
        assert f"line {expected['line']}," in actual["error"]


def test_there_are_templates():
    assert len(TEMPLATES) >= 65
    assert {"model smollm2", "model deepseek-r1"} <= set(TEMPLATES)
    if os.environ.get("CARRONADE_REQUIRE_MODELS"):
        assert {"model qwen2.5-coder-0.5b", "model qwen2.5-coder-1.5b"} <= set(TEMPLATES)
    assert len(CONTEXTS) >= 12


@pytest.mark.parametrize("conversation", CONTEXTS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_equal_to_jinja2(renderer, template, conversation):
    compare(renderer, TEMPLATES[template], CONTEXTS[conversation])


MISTAKES = [
    "{% if x %}",
    "a\n{% endif %}",
    "a\nb {{ x",
    "{{ x }",
    "{{ 'abc }}",
    "line\n{% foo %}",
    "{% for x in %}{% endfor %}",
    "{% for x y in z %}{% endfor %}",
    "\n\n{{ x | nofilter }}",
    "\n{{ x is notest }}",
    "{% set 1 = 2 %}",
    "{% set loop = 1 %}",
    "{% for loop in x %}{% endfor %}",
    "{{ (1, 2 }}",
    "{{ [1, 2) }}",
    "{{ {1: 2 }}",
    "{# never closed",
    "{% raw %} never closed",
    "{% macro m(a, a) %}{% endmacro %}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% break %}",
    "{{ f(a=1, a=2) }}",
    "{{ f(*a, b) }}",
    "{{ a ? b }}",
    "{{ '\\x4' }}",
    "{{ 1 is not }}",
    "{% if a %}{% else %}{% else %}{% endif %}",
    "{% block a %}{% endblock %}{% block a %}{% endblock %}",
    "{% call x %}{% endcall %}",
    "{{ }}",
    "{% %}",
]


@pytest.mark.parametrize("template", MISTAKES)
def test_refused_as_by_jinja2(renderer, template):
    compare(renderer, template, {})


# Found by comparing random templates: what has keys may be left over after a format.
@pytest.mark.parametrize("template", ["{{ 'role' % nothing }}", "{{ 'x' % range(2) }}", "{{ 'x' % [1] }}", "{{ 'x' % {} }}", "{{ 'x' % 1 }}", "{{ 'x' % (1,) }}"])
def test_values_left_over_after_a_format(renderer, template):
    compare(renderer, template, {})


@pytest.mark.parametrize("template", ["{% for x in [1, 2] %}{{ loop }}{% endfor %}", "{% for x in 'abc' %}{{ [loop] }}{% endfor %}"])
def test_a_loop_as_text(renderer, template):
    compare(renderer, template, {})
