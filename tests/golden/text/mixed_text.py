"""Text to tokenize, of every kind that goes wrong, the same for the same seed."""

import random

PROSE = {
    "en": """The quick brown fox jumps over the lazy dog, doesn't it? We'll see; they've said "it's fine" -- I'd wait. 'Tis
    HE'S WE'RE you'Ll I'M Mr. O'Neil's co-operative naïve café résumé 3.14159 1,000,000 50% $19.99 e.g. i.e. (see p. 42) ½ ²
    Reasoning step by step: first, let x = 7; then 2x + 3 = 17, so the answer is \\boxed{17}. Therefore, QED.""",
    "zh": """今天天气很好，我们一起去公园散步吧。他说：“人工智能正在改变世界！”二〇二四年，中国的GDP增长了5.2%左右。
    請問這個多少錢？繁體字與简体字混排，１２３全角数字，《红楼梦》是曹雪芹写的。龘𠀀𪚥㐀""",
    "ja": """吾輩は猫である。名前はまだ無い。東京タワーへ行きたいですが、カメラを忘れました。ｶﾀｶﾅ半角ﾃｽﾄ、が（か＋゙）：が
    プログラミング言語「ルビー」は楽しい！ありがとうございます〜。第１２回、㍻㋿""",
    "ko": """안녕하세요. 한국어 문장입니다. 오늘은 날씨가 좋네요! 한글 자모 ㄱㄴㄷ 대한민국""",
    "ar": """السَّلامُ عَلَيْكُمْ، كيف حالك؟ هذا نصٌّ عربيٌّ مكتوبٌ بالتشكيل. العدد ١٢٣٤٥ و ۶۷۸۹. بِسْمِ اللَّهِ ﷽ لا إله""",
    "hi": """नमस्ते दुनिया, यह हिन्दी का एक वाक्य है। क्या आप ठीक हैं? क़ख़ग़ज़ड़ढ़ संख्या १२३४५६ क्षत्रिय ज्ञान श्रीमान्""",
    "ru": """Привет, мир! Это предложение на русском языке; ёлка й Україна їжак нещо на Български 1917 г.""",
    "th": """สวัสดีครับ นี่คือประโยคภาษาไทย กำลังทดสอบ ๑๒๓ កាន់តែពិសេសអាចខលចេញ ພາສາລາວ""",
    "vi": """Cửa Việt, tiếng Việt có nhiều dấu: ặ ẫ ề ỗ ự Tiếng Việt Å Ω ﬁ ſs 'ſ'S""",
    "he": """שָׁלוֹם עוֹלָם, זהו משפט בעברית. Ελληνικά: Καλημέρα κόσμε! ΐ ΰ ᾳ Ἀθῆναι հայերեն ქართული""",
}
CODE = [
    "def f(x: int) -> dict[str, list[int]]:\n    \"\"\"Docstring's here.\"\"\"\n\treturn {k: [v for v in range(10)] for k, v in x.items()}\n",
    "#include <vector>\nint main() {\r\n  std::vector<std::pair<int,float>> v{{1,2.0f}};\r\n  return v.empty() ? -1 : 0xDEADBEEF;\r\n}\r\n",
    "SELECT a.id, COUNT(*) FROM `users` AS a WHERE a.name LIKE '%o''neil%' AND x<>3 GROUP BY 1;\n\n\n",
    "const s = `${a ?? b}` // don't\n  .filter(x=>x!==null)\n\t\t.map(x=>({...x, y:[1,2,3]}));\n",
    '{"key": "v\\u00e9\\n", "n": [1.5e-10, true, null], "nested": {"a": {}}}\n',
    "<div class=\"a-b\">&nbsp;<!-- x --></div>\n\n    <p>text</p>   \n",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n\n```python\nprint('hi')\n```\n$$\\int_0^1 x^2\\,dx=\\frac{1}{3}$$\n",
    "    \n  \n \n\n\t\t\n   x\n      y\n",
]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇨🇳🇫🇷", "😶‍🌫️", "❤️‍🔥", "✅", "🦙", "1️⃣", "🧑🏿‍🚀", "☕️", "🫠", "\U0001fae8", "©️™"]
SPACES = [" ", "  ", "   ", "        ", "\t", "\n", "\r\n", "\r", "\n\n", " \n", "\n ", "\u00a0", "\u3000", "\u2003", "\u200b", "\u2028", "\u0085"]
SPACES += ["\x0b", "\x0c", "\u1680", "\u202f", "\ufeff", "\x1c", " " * 40, "\t" * 9, "\n" * 17, " \t \n\r\n "]
ODD = ["\u0000", "\u0001", "\x7f", "\u0301", "e\u0301\u0323", "\u0327\u0301", "\u1100\u1161\u11a8", "\u0344", "\ufffd", "\ue000", "\U000e0001"]
ODD += ["\u0378", "\U0010ffff", "\u0130", "\u212b", "\u2126", "\uf900", "\u0958", "\ufb1d", "Ａ１", "①Ⅷ¼", "x²", "\u09c7\u09be", "\U0001d15e"]
INVALID = [b"\xff", b"\xc3", b"\xe4\xbd", b"\xf0\x9f\xa6", b"\xed\xa0\x80", b"\xc0\xaf", b"\x80\x80", b"\xf5\x80\x80\x80", b"\xe0\x80\x80", b"\xf4\x90\x80\x80"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<｜User｜>", "<｜Assistant｜>"]
SPECIAL += ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|im_start", "|im_end|>", "<<|im_end|>>", "<|fim_prefix|>", "<jupyter_code>"]
RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00), (0x1E00, 0x2070), (0x2070, 0x2C00)]
RANGES += [(0x3000, 0x3400), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xF900, 0xFB50), (0xFF00, 0xFFF0), (0x10000, 0x11000), (0x1D100, 0x1F000)]
RANGES += [(0x1F000, 0x1FB00), (0x20000, 0x20100), (0, 0xD800), (0xE000, 0x110000)]


def pieces(rng, words, special, invalid):
    """One kind of text a call, as bytes."""
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice(list(PROSE.values())).encode()
    if kind == 1:
        language = rng.choice(list(PROSE.values())).split()
        return " ".join(rng.choices(language, k=rng.randrange(1, 40))).encode()
    if kind == 2:
        return rng.choice(CODE).encode()
    if kind in (3, 4, 5):
        return b"".join(rng.choices(words, k=rng.randrange(1, 60)))
    if kind == 6:
        return "".join(rng.choices(EMOJI + SPACES, k=rng.randrange(1, 10))).encode()
    if kind == 7:
        return "".join(rng.choices(SPACES, k=rng.randrange(1, 6))).encode()
    if kind == 8:
        first, last = rng.choice(RANGES)
        count = rng.randrange(1, 30)
        return "".join(chr(c) for c in rng.choices(range(first, last), k=count) if not 0xD800 <= c < 0xE000).encode()
    if kind == 9:
        return "".join(rng.choices(ODD + ["a", "é", "1", " ", "'s", "'LL", "'ſ"], k=rng.randrange(1, 12))).encode()
    if kind == 10:
        return rng.choice(special).encode() * rng.randrange(1, 3)
    return rng.choice(invalid) * rng.randrange(1, 3)


def mixed_text(seed, size, tokens, special=()):
    """Texts of `size` bytes together, from 0 to some thousand bytes each. `tokens`: byte strings of the vocabulary, which bring words of
    every language that it knows."""
    rng = random.Random(seed)
    words = [token for token in tokens if token]
    special = [*SPECIAL, *special]
    texts = [b"", b" ", b"\n", b"a"]
    total = 0
    while total < size:
        text = b"".join(pieces(rng, words, special, INVALID) for _ in range(rng.choice([1, 1, 2, 3, 5, 10, 40])))
        texts.append(text)
        total += len(text)
    return texts


def runs(length):
    """Long runs of one character and other texts that punish a bad algorithm."""
    return [
        b"a" * length,
        b" " * length,
        b"\n" * length,
        "你".encode() * (length // 3),
        "é".encode() * (length // 2),
        b"ab" * (length // 2),
        b"=" * length,
        b"7" * length,
        "\u0301".encode() * (length // 2),
        b"\xff" * length,
        b"<" * length,
        b"<|im_end" * (length // 8),
        b"a b" * (length // 3),
        b" \n" * (length // 2),
        b"\t " * (length // 2),
    ]
