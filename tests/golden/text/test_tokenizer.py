"""Our tokenizers against the `tokenizers` library and against llama.cpp's vocabulary tests, token for token."""

import json
import os
import pathlib
import sys

import carronade_text
import mixed_text
import pytest
import vocabularies

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
import peers  # noqa: E402

# How much text each comparison sees. The three vocabularies of our own models see all of it.
SIZE = int(os.environ.get("CARRONADE_TOKENIZER_TEXT_BYTES", "2100000"))

LLAMA_CPP = [
    *["qwen2", "qwen35", "deepseek-llm", "deepseek-coder", "llama-bpe", "gpt-2", "starcoder", "falcon", "command-r"],
    *["refact", "llama-spm", "phi-3", "bert-bge"],
]
# Vocabularies of our own models; the files are those of the catalogue. qwen2 is Qwen's own and always there.
OURS = ["qwen2", "smollm2", "deepseek-r1"]
# llama.cpp's file of this name is Qwen2's vocabulary split in Qwen3.5's way without normalization; its cases say so.
WITHOUT_NORMALIZER = ["qwen35"]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """name → the vocabulary and its file for carronade_tokenize."""
    made = {}

    def get(name):
        if name not in made:
            vocabulary = vocabularies.Vocabulary(peers.vocabulary_file(name))
            path = tmp_path_factory.mktemp("vocabulary") / f"{name}.ctok"
            vocabulary.write(path)
            made[name] = (vocabulary, path)
        return made[name]

    return get


def oracle_of(name, vocabulary):
    oracle = vocabularies.oracle(vocabulary)
    if name in WITHOUT_NORMALIZER:
        oracle.normalizer = None
    return oracle


def expect_equal(oracle, texts, results):
    """All texts; a difference is shown by its first tokens."""
    expected = oracle.encode_batch_fast([text.decode(errors="replace") for text in texts], add_special_tokens=False)
    for text, want, got in zip(texts, expected, results, strict=True):
        if want.ids == got:
            continue
        at = next((i for i, (a, b) in enumerate(zip(want.ids, got)) if a != b), min(len(want.ids), len(got)))
        names = [[oracle.id_to_token(i) for i in ids[at : at + 6]] for ids in (want.ids, got)]
        pytest.fail(f"token {at}: {names[0]} expected, {names[1]} found in {text[:2000]!r}")


@pytest.mark.parametrize("name", LLAMA_CPP)
def test_llama_cpp_cases(name, files):
    vocabulary = peers.llama_cpp_source() / "models" / f"ggml-vocab-{name}.gguf"
    separator = b"\n__ggml_vocab_test__\n"
    texts = vocabulary.with_name(vocabulary.name + ".inp").read_bytes().split(separator)
    lines = vocabulary.with_name(vocabulary.name + ".out").read_text(encoding="utf-8").split("\n")
    expected = [[int(i) for i in line.split()] for line in lines]
    assert len(texts) == len(expected) >= 40
    results, _ = carronade_text.tokenize(files(name)[1], texts)
    for text, want, got in zip(texts, expected, results, strict=True):
        assert got == want, text


@pytest.mark.parametrize("parse_special", [False, True], ids=["text", "special"])
@pytest.mark.parametrize("name", [*OURS, *[name for name in LLAMA_CPP if name not in OURS]])
def test_equals_tokenizers(name, parse_special, files):
    vocabulary, path = files(name)
    oracle = oracle_of(name, vocabulary)
    oracle.encode_special_tokens = not parse_special
    size = SIZE if name in OURS else SIZE // 8
    texts = mixed_text.mixed_text(len(name) + parse_special, size, vocabularies.words_of(vocabulary))
    assert sum(map(len, texts)) >= size
    results, _ = carronade_text.tokenize(path, texts, *(["--parse-special"] if parse_special else []))
    expect_equal(oracle, texts, results)


@pytest.mark.parametrize("name", [name for name in LLAMA_CPP if name not in ("llama-bpe", "command-r")])
def test_tokenizer_json_equals_tokenizers(name, files, tmp_path):
    vocabulary, _ = files(name)
    oracle = oracle_of(name, vocabulary)
    path = tmp_path / "tokenizer.json"
    oracle.save(str(path))
    oracle.encode_special_tokens = True
    texts = mixed_text.mixed_text(7, SIZE // 8, vocabularies.words_of(vocabulary))
    results, _ = carronade_text.tokenize(path, texts)
    expect_equal(oracle, texts, results)


@pytest.mark.parametrize("name", ["qwen2", "smollm2", "deepseek-r1", "llama-bpe", "phi-3"])
def test_detokenized_text_is_the_text(name, files):
    """Tokens back to text: the text itself, for what NFC leaves alone."""
    vocabulary, path = files(name)
    texts = [text.encode() for text in mixed_text.PROSE.values() if name in ("smollm2", "llama-bpe", "phi-3")]
    texts += [code.encode() for code in mixed_text.CODE] + [emoji.encode() for emoji in mixed_text.EMOJI]
    if name == "smollm2":  # its vocabulary lacks some bytes, which no text here needs
        texts = [text for text in texts if not text.startswith(b"\xf3")]
    results, _ = carronade_text.tokenize(path, texts)
    prefix = b" " if name == "phi-3" else b""
    assert carronade_text.detokenize(path, results) == [prefix + text for text in texts]


@pytest.mark.parametrize("name", ["qwen2", "smollm2", "llama-spm", "bert-bge", "deepseek-llm"])
def test_long_runs_are_not_quadratic(name, files):
    """A megabyte of one character; quadratic merging would take hours, the limit of time is a minute."""
    vocabulary, path = files(name)
    texts = mixed_text.runs(1_000_000)
    _, measured = carronade_text.tokenize(path, texts)
    assert measured["bytes"] > 10_000_000
    assert measured["encode_seconds"] < 60
    short = mixed_text.runs(600)
    results, _ = carronade_text.tokenize(path, short)
    expect_equal(oracle_of(name, vocabulary), short, results)


def test_added_special_tokens(files):
    for name, ends in {"deepseek-r1": ([151646], []), "llama-spm": ([1], []), "bert-bge": ([101], [102])}.items():
        _, path = files(name)
        plain, _ = carronade_text.tokenize(path, [b"Hello", b""])
        around, _ = carronade_text.tokenize(path, [b"Hello", b""], "--add-special")
        assert around == [ends[0] + ids + ends[1] for ids in plain], name


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[]", b"{}", b'{"model": {}}', b'{"model": {"type": "Unigram", "vocab": []}}', b'{"model": 7}'],
)
def test_broken_tokenizer_json_is_one_clear_line(broken, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(broken)
    with pytest.raises(AssertionError, match="tokenizer"):
        carronade_text.tokenize(path, [b"x"])


def test_unknown_step_is_named(files, tmp_path):
    vocabulary, _ = files("gpt-2")
    description = json.loads(vocabularies.oracle(vocabulary).to_str())
    description["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": ""}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(AssertionError, match="normalizer named 'Precompiled'"):
        carronade_text.tokenize(path, [b"x"])
