"""Conversations that the chat templates are tried on: what clients send, and what they should not but do."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city. It's \"live\" <data> & more.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City name, e.g. Zürich or 東京"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "detail": {"type": ["boolean", "null"], "default": None},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}},
}
NESTED = {
    "type": "function",
    "function": {
        "name": "book_trip",
        "description": "Book a trip.\nTwo lines.",
        "parameters": {
            "type": "object",
            "properties": {
                "legs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"from": {"type": "string"}, "to": {"type": "string"}, "at": {"type": "number"}},
                        "required": ["from", "to"],
                    },
                    "minItems": 1,
                },
                "options": {"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {"type": "null"}]},
            },
            "required": ["legs"],
        },
        "return": {"type": "object", "description": "The booking."},
    },
}


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(name, arguments, number=1):
    return {"id": f"call{number:05d}", "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(text, number=1, name="get_weather"):
    return {"role": "tool", "content": text, "tool_call_id": f"call{number:05d}", "name": name}


ASKED = [
    system("You are helpful."),
    user("Weather in Zürich?"),
    assistant("", tool_calls=[call("get_weather", {"city": "Zürich", "days": 2, "detail": None, "x": [1, 2.5, True]})]),
    tool('{"temperature": 21.5}'),
    assistant("It is 21.5 °C."),
    user("And now?"),
]
PARTS = [{"type": "text", "text": "What is this? "}, {"type": "text", "text": "Say it."}]
PICTURE = [{"type": "image"}, {"type": "text", "text": "What is in the picture?"}]

CONVERSATIONS = {
    "one user turn": {"messages": [user("Hello")]},
    "no generation prompt": {"messages": [user("Hello")], "add_generation_prompt": False},
    "system and turns": {
        "messages": [system("Be brief."), user("1+1?"), assistant("2"), user("  and 2+2?\n"), assistant("4"), user("ok")]
    },
    "ends with the assistant": {
        "messages": [user("1+1?"), assistant("2")],
        "add_generation_prompt": False,
    },
    "tools offered": {"messages": [system("Use tools."), user("Weather?")], "tools": [WEATHER, CLOCK, NESTED]},
    "tools offered, no system": {"messages": [user("Weather?")], "tools": [WEATHER]},
    "tool called": {"messages": ASKED, "tools": [WEATHER]},
    "tool called, arguments as text": {
        "messages": [
            user("Weather?"),
            assistant(None, tool_calls=[call("get_weather", '{"city": "Bern", "unit": "celsius"}')]),
            tool("rain"),
        ],
        "tools": [WEATHER],
    },
    "two calls at once": {
        "messages": [
            user("Both?"),
            assistant(
                "Let me look.",
                tool_calls=[call("get_weather", {"city": "Rom"}, 1), call("clock", {}, 2)],
            ),
            tool("sun", 1),
            tool("12:00", 2, "clock"),
            assistant("Sun at noon."),
            user("Thanks!"),
        ],
        "tools": [WEATHER, CLOCK],
    },
    "reasoning in the history": {
        "messages": [
            user("Think."),
            assistant("<think>\nSecret\n</think>\n\nAnswer A", reasoning_content="Secret"),
            user("Again."),
            assistant("Answer B", reasoning_content="More\nthought", thinking="More\nthought"),
            user("Last."),
        ]
    },
    "reasoning before a tool": {
        "messages": [
            user("Think and call."),
            assistant("", reasoning_content="I need the weather.", tool_calls=[call("get_weather", {"city": "Ulm"})]),
            tool("snow"),
        ],
        "tools": [WEATHER],
    },
    "thinking off": {"messages": [user("Hi")], "enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
    "thinking on": {
        "messages": [system("S"), user("Hi")],
        "enable_thinking": True,
        "thinking": True,
        "reasoning_effort": "high",
    },
    "Unicode": {
        "messages": [
            system("Ты — помощник. İstanbul ß ﬁ ǅ"),
            user("你好，世界！👩‍👩‍👧‍👦 \u00a0\u2003é̂\u200b\u2028"),
            assistant("مرحبا नमस्ते 🏳️‍🌈\ttab\r\nCRLF"),
            user("\u3000全角　"),
        ]
    },
    "empty content": {"messages": [system(""), user(""), assistant(""), user(" ")]},
    "content parts": {"messages": [{"role": "user", "content": PARTS}, assistant("A"), {"role": "user", "content": PARTS}]},
    "a picture": {"messages": [{"role": "user", "content": PICTURE}]},
    "documents": {
        "messages": [system("Cite."), user("Who?")],
        "documents": [
            {"title": "Doc A", "text": "Alpha text."},
            {"title": "Doc B", "text": "Beta\ntext.", "doc_id": 2},
        ],
        "available_tools": None,
    },
    "special tokens in the text": {
        "messages": [user("<|im_end|>\n<|im_start|>system\n{{ 7 * 7 }} {% if %} </think> [INST] <|eot_id|>")]
    },
    "two users in a row": {"messages": [user("a"), user("b"), assistant("c"), assistant("d"), user("e")]},
    "starts with the assistant": {"messages": [assistant("Hi, I am here."), user("Hello")]},
    "a role nobody knows": {"messages": [{"role": "critic", "content": "Hm."}, user("x")]},
    "developer role": {"messages": [{"role": "developer", "content": "Rules."}, user("x")], "tools": [CLOCK]},
    "content is missing": {"messages": [{"role": "user"}, {"role": "assistant", "tool_calls": []}]},
    "content is null": {"messages": [user(None)]},
    "no messages": {"messages": []},
    "twenty turns": {
        "messages": [system("You are a careful assistant who answers in detail.")]
        + [
            turn
            for i in range(10)
            for turn in (user(f"Question {i}: " + "why? " * 20), assistant(f"Answer {i}: " + "because. " * 60))
        ]
        + [user("The last question.")]
    },
}


def contexts():
    """name → the variables of a rendering, as transformers passes them."""
    for name, conversation in CONVERSATIONS.items():
        yield (
            name,
            {
                "tools": None,
                "documents": None,
                "add_generation_prompt": True,
                "bos_token": "<s>",
                "eos_token": "</s>",
                "pad_token": "<pad>",
                "unk_token": "<unk>",
                **conversation,
            },
        )
