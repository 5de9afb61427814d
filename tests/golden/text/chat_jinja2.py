"""The two sides that the template tests compare: Jinja2 as transformers sets it up, and carronade_render."""

import datetime
import json
import os
import pathlib
import subprocess

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = ROOT / os.environ.get("CARRONADE_BUILD", "build/release")


def tool():
    for folder in (BUILD, BUILD / "src" / "text", BUILD / "bin"):
        if (folder / "carronade_render").exists():
            return folder / "carronade_render"
    raise FileNotFoundError(f"carronade_render is not in {BUILD}; build the target of that name")


class Renderer:
    """carronade_render, kept running."""

    def __init__(self, *options):
        self.process = subprocess.Popen([tool(), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, template, context):
        request = json.dumps({"template": template, "context": context})
        self.process.stdin.write(request.encode() + b"\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        assert reply, f"carronade_render ended with {self.process.wait()} on {request}"
        return json.loads(reply)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class GenerationTag(jinja2.ext.Extension):
    """transformers' AssistantTracker, where nobody tracks."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_generation"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _generation(self, context, caller):
        return caller()


class TemplateDict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


class TemplateNamespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):  # the signature that lets a namespace have an attribute `self`
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            TemplateNamespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        TemplateNamespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"underscore-prefixed attribute {name!r}")


def environment():
    """As in transformers.utils.chat_template_utils._cached_compile_jinja_template (5.23)."""

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    env.globals["dict"] = TemplateDict()
    env.globals["namespace"] = TemplateNamespace
    return env


ENVIRONMENT = environment()


def render_with_jinja2(template, context):
    """The same shape as carronade_render's replies, with the exception's type."""
    try:
        text = ENVIRONMENT.from_string(template).render(**context)
        text.encode()
        return {"ok": True, "text": text}
    except RecursionError as error:
        return {"ok": False, "error": str(error), "type": "RecursionError"}
    except Exception as error:  # pylint: disable=broad-except
        return {
            "ok": False,
            "error": str(error),
            "type": type(error).__name__,
            "line": getattr(error, "lineno", None),
        }
