"""A model of random weights whose tokens are bytes: it answers within milliseconds, also where sanitizers slow it down."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden" / "models"))
import adapters  # noqa: E402
import checkpoints  # noqa: E402

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"


def byte_alphabet() -> list[str]:
    """GPT-2's characters for bytes: those that can be seen are themselves, the others follow behind 256."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in seen else chr(next(hidden)) for byte in range(256)]


def write(folder: pathlib.Path) -> pathlib.Path:
    model = checkpoints.write_published(adapters.BASE, folder / "tiny")
    alphabet = byte_alphabet()
    vocabulary = {alphabet[i] if i < 256 else f"{alphabet[65]}{i}": i for i in range(checkpoints.VOCABULARY)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None, "pre_tokenizer": byte_level,
        "decoder": byte_level, "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }  # fmt: skip
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (model / "chat_template.jinja").write_text(TEMPLATE)
    return model
