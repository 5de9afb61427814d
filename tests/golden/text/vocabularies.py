"""Vocabularies for the tests: read from GGUF files, written for carronade_tokenize, and rebuilt as `tokenizers` tokenizers.

The rebuilt ones have the normalizers, pre-tokenizers and flags of the tokenizer.json that the model's makers published; only the lists of
tokens and merges come from the GGUF file.
"""

import json
import struct

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

GGUF_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def read_gguf_metadata(path):
    """{key: value} of a GGUF file, also of one that was cut off behind its metadata."""
    with open(path, "rb") as file:

        def scalar(kind):
            format_ = GGUF_SCALARS[kind]
            return struct.unpack(format_, file.read(struct.calcsize(format_)))[0]

        def string():
            return file.read(scalar(10))

        def value(kind):
            if kind == 8:
                return string()
            if kind != 9:
                return scalar(kind)
            kind, count = scalar(4), scalar(10)
            if kind in GGUF_SCALARS:
                format_ = f"<{count}{GGUF_SCALARS[kind][1]}"
                return list(struct.unpack(format_, file.read(struct.calcsize(format_))))
            return [value(kind) for _ in range(count)]

        assert file.read(4) == b"GGUF", path
        scalar(4)  # version
        scalar(10)  # number of tensors
        return {string().decode(): value(scalar(4)) for _ in range(scalar(10))}


class Vocabulary:
    """The tokenizer of a GGUF file; strings are bytes, as the file has them."""

    def __init__(self, path):
        metadata = read_gguf_metadata(path)

        def field(name, default=None):
            return metadata.get("tokenizer.ggml." + name, default)

        self.model = field("model").decode()
        self.pre = field("pre", b"").decode()
        self.tokens = field("tokens")
        self.types = field("token_type", [NORMAL] * len(self.tokens))
        self.scores = field("scores", [])
        self.merges = field("merges", [])
        bert = self.model == "bert"
        self.bos = field("cls_token_id" if bert else "bos_token_id", field("bos_token_id", -1))
        self.eos = field("seperator_token_id" if bert else "eos_token_id", field("eos_token_id", -1))
        self.unknown = field("unknown_token_id", -1)
        self.padding = field("padding_token_id", -1)
        self.add_bos = bool(field("add_bos_token", self.model in ("llama", "bert")))
        self.add_eos = bool(field("add_eos_token", self.model == "bert"))
        self.add_space_prefix = bool(field("add_space_prefix", True))

    def write(self, path):
        """In the format that carronade_tokenize reads."""

        def string(text):
            return struct.pack("<I", len(text)) + text

        ids = (self.bos, self.eos, self.unknown, self.padding)
        flags = (self.add_bos, self.add_eos, self.add_space_prefix)
        out = [b"CTOK", string(self.model.encode()), string(self.pre.encode())]
        out.append(struct.pack("<4i3I", *ids, *flags))
        out += [struct.pack("<I", len(self.tokens)), *map(string, self.tokens)]
        out.append(struct.pack(f"<I{len(self.types)}I", len(self.types), *self.types))
        out.append(struct.pack(f"<I{len(self.scores)}f", len(self.scores), *self.scores))
        out += [struct.pack("<I", len(self.merges)), *map(string, self.merges)]
        path.write_bytes(b"".join(out))

    def texts(self):
        return [token.decode("utf-8", errors="replace") for token in self.tokens]


CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ί"
    "ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ"
    "𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


def digits():
    return pre_tokenizers.Digits(individual_digits=True)


# What each family's tokenizer.json says, by the name that GGUF has for it: normalizer, pre-tokenizer, other options of the BPE model.
FAMILIES = {
    "qwen2": lambda: (normalizers.NFC(), sequence(split(QWEN2), byte_level(False)), {}),
    "deepseek-r1-qwen": lambda: (normalizers.NFC(), sequence(split(QWEN2), byte_level(False)), {}),
    "qwen35": lambda: (normalizers.NFC(), sequence(split(QWEN35), byte_level(False)), {}),
    "llama-bpe": lambda: (None, sequence(split(LLAMA3), byte_level(False)), {"ignore_merges": True}),
    "gpt-2": lambda: (None, byte_level(True), {}),
    "smollm": lambda: (None, sequence(digits(), byte_level(True)), {}),
    "starcoder": lambda: (None, sequence(digits(), byte_level(True)), {}),
    "refact": lambda: (None, sequence(digits(), byte_level(True)), {}),
    "command-r": lambda: (normalizers.NFC(), sequence(digits(), byte_level(True)), {}),
    "falcon": lambda: (
        None,
        sequence(pre_tokenizers.Punctuation("contiguous"), byte_level(True), split("[0-9][0-9][0-9]")),
        {},
    ),
    "deepseek-llm": lambda: (
        None,
        sequence(
            split("[\r\n]"),
            split(rf"\s?[{DEEPSEEK_LETTERS}]+"),
            split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            split(r"\s+$"),
            split("[一-龥ࠀ-一가-퟿]+"),
            digits(),
            byte_level(False),
        ),
        {},
    ),
    "deepseek-coder": lambda: (
        None,
        sequence(
            split("[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            split("[一-龥ࠀ-一가-퟿]+"),
            digits(),
            byte_level(False),
        ),
        {},
    ),
}


def oracle(vocabulary):
    """The `tokenizers` tokenizer of a byte-level BPE."""
    normalizer, pre_tokenizer, options = FAMILIES[vocabulary.pre]()
    texts = vocabulary.texts()
    merges = []
    for merge in vocabulary.merges:
        merge = merge.decode()
        at = merge.index(" ", 1)
        merges.append((merge[:at], merge[at + 1 :]))
    ids = {}
    for i, text in enumerate(texts):
        if vocabulary.types[i] in (NORMAL, UNUSED):
            ids.setdefault(text, i)
    added = [(i, text) for i, text in enumerate(texts) if vocabulary.types[i] in (CONTROL, USER_DEFINED, UNKNOWN)]
    for i, text in added:
        ids[text] = i
    tokenizer = Tokenizer(models.BPE(ids, merges, **options))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    for i, text in added:
        special = vocabulary.types[i] != USER_DEFINED
        token = AddedToken(text, special=special, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    assert all(tokenizer.token_to_id(text) == i for i, text in added)
    return tokenizer


def load_json(path):
    return json.loads(path.read_text(encoding="utf-8"))
