"""Vocabularies for the tests: read from GGUF files, written for carronade_tokenize, and rebuilt as `tokenizers` tokenizers.

The rebuilt ones have the normalizers, pre-tokenizers and flags of the tokenizer.json that the model's makers published; only the lists of
tokens and merges come from the GGUF file.
"""

import struct

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

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
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f"
    "\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-"
    "\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d"
    "\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-"
    "\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d"
    "\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-"
    "\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-"
    "\U000118df\U0001e900-\U0001e943"
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
            split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"),
            split(r"\s+$"),
            split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
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
            split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
            digits(),
            byte_level(False),
        ),
        {},
    ),
}


def add_tokens(tokenizer, vocabulary, texts):
    """The tokens that are found before anything else, at the ids that they have."""
    added = [(i, text) for i, text in enumerate(texts) if vocabulary.types[i] in (CONTROL, USER_DEFINED, UNKNOWN)]
    for _, text in added:
        special = vocabulary.types[tokenizer.token_to_id(text)] != USER_DEFINED
        token = AddedToken(text, special=special, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    assert all(tokenizer.token_to_id(text) == i for i, text in added)


def byte_level_oracle(vocabulary):
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
    for i, text in enumerate(texts):
        if vocabulary.types[i] in (CONTROL, USER_DEFINED, UNKNOWN):
            ids[text] = i
    tokenizer = Tokenizer(models.BPE(ids, merges, **options))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    add_tokens(tokenizer, vocabulary, texts)
    return tokenizer


def sentence_piece_oracle(vocabulary):
    """As the converter of `transformers` makes it from a SentencePiece file."""
    texts = vocabulary.texts()
    ids = {text: i for i, text in enumerate(texts)}
    merges = []
    for i, text in enumerate(texts):
        if vocabulary.types[i] not in (NORMAL, UNUSED):
            continue
        local = [(text[:cut], text[cut:]) for cut in range(1, len(text)) if text[:cut] in ids and text[cut:] in ids]
        merges += [(-vocabulary.scores[i], i, left, right) for left, right in local]
    merges.sort(key=lambda merge: merge[:2])
    model = models.BPE(
        ids, [merge[2:] for merge in merges], unk_token=texts[vocabulary.unknown], fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps)
    add_tokens(tokenizer, vocabulary, texts)
    return tokenizer


def word_piece_oracle(vocabulary):
    """As in BERT's tokenizer.json; GGUF files spell "##ing" as "ing" and "word" with U+2581 before it."""
    ids = {}
    for i, text in enumerate(vocabulary.texts()):
        if vocabulary.types[i] == NORMAL:
            text = text[1:] if text.startswith("\u2581") else "##" + text
        ids[text] = i
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    add_tokens(tokenizer, vocabulary, vocabulary.texts())
    return tokenizer


def oracle(vocabulary):
    """The `tokenizers` tokenizer that the model's makers published."""
    makers = {"gpt2": byte_level_oracle, "llama": sentence_piece_oracle, "bert": word_piece_oracle}
    return makers[vocabulary.model](vocabulary)


def words_of(vocabulary):
    """The ordinary tokens as bytes."""
    kinds = vocabulary.types
    if vocabulary.model != "gpt2":
        return [t.replace(b"\xe2\x96\x81", b" ") for t, kind in zip(vocabulary.tokens, kinds) if kind == NORMAL]
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in printable]
    bytes_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    texts = [text for text, kind in zip(vocabulary.texts(), kinds) if kind == NORMAL]
    return [bytes(bytes_of[c] for c in text) for text in texts if all(c in bytes_of for c in text)]
