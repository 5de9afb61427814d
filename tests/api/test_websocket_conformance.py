"""RFC 6455 over bare sockets: the cases of Autobahn's suite, whose numbers are in the names (that program is of Python 2).

There is no echo here. What comes back instead: a text that is no request gets one error in reply, with the beginning of its `type`, so that is
what shows that it came whole; what the protocol forbids gets a close frame with the right code.
"""
import json
import struct

import pytest
from websocket_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawWebSocket, close_frame, frame

SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20]


@pytest.fixture
def peer(server):
    with RawWebSocket(server.port) as connection:
        assert connection.status == 101, connection.head
        yield connection


def typed(word: str) -> bytes:
    return json.dumps({"type": word}, ensure_ascii=False).encode()


def sized(size: int) -> bytes:
    return b"*" * size if size < 128 else typed("*" * (size - len(typed(""))))


def expect_reply(peer: RawWebSocket, word: str | None = None) -> None:
    opcode, payload = peer.read()
    message = json.loads(payload)
    assert opcode == TEXT and message["type"] == "error" and message["error"]["code"] == 400, payload
    if word is not None:
        assert message["error"]["param"] == "type" and word[:20] in message["error"]["message"], payload


def expect_close(peer: RawWebSocket, code: int | None) -> None:
    opcode, payload = peer.read()
    assert opcode == CLOSE, (opcode, payload)
    assert (struct.unpack("!H", payload[:2])[0] if payload else None) == code, payload
    peer.send(close_frame(code))
    assert peer.at_end()


def expect_alive(peer: RawWebSocket) -> None:
    peer.send(frame(PING, b"there?"))
    assert peer.read() == (PONG, b"there?")


# ---- 1: sizes

@pytest.mark.parametrize("size", SIZES)
def test_1_1_text_of_any_size(peer, size):
    peer.send(frame(TEXT, sized(size)))
    expect_reply(peer, "***" if size >= 128 else None)
    expect_alive(peer)


@pytest.mark.parametrize("chop", [1, 997])
def test_1_1_8_text_in_pieces_of_tcp(peer, chop):
    peer.send_chopped(frame(TEXT, sized(65536 if chop > 1 else 300)), chop)
    expect_reply(peer, "***")


@pytest.mark.parametrize("size", SIZES)
def test_1_2_binary_is_refused(peer, size):
    peer.send(frame(BINARY, b"\xfe" * size))
    expect_close(peer, 1003)


def test_1_2_binary_is_refused_before_it_has_come_whole(peer):
    peer.send(frame(BINARY, b"x", fin=False))
    expect_close(peer, 1003)


# ---- 2: pings and pongs

@pytest.mark.parametrize("payload", [b"", b"Hello", bytes([0, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0, 0xFF]), b"\xfe" * 125], ids=["empty", "text", "bytes", "125"])
def test_2_1_to_4_a_ping_comes_back(peer, payload):
    peer.send(frame(PING, payload))
    assert peer.read() == (PONG, payload)


def test_2_5_a_ping_of_126_bytes(peer):
    peer.send(frame(PING, b"\xfe" * 126))
    expect_close(peer, 1002)


def test_2_6_a_ping_byte_by_byte(peer):
    peer.send_chopped(frame(PING, b"\xfe" * 125), 1)
    assert peer.read() == (PONG, b"\xfe" * 125)


@pytest.mark.parametrize("payload", [b"", b"nobody asked"])
def test_2_7_to_9_a_pong_that_nobody_asked_for(peer, payload):
    peer.send(frame(PONG, payload), frame(PING, b"after"))
    assert peer.read() == (PONG, b"after")


@pytest.mark.parametrize("chop", [None, 1])
def test_2_10_and_11_ten_pings(peer, chop):
    data = b"".join(frame(PING, b"payload %d" % i) for i in range(10))
    peer.send_chopped(data, chop or len(data))
    assert [peer.read() for _ in range(10)] == [(PONG, b"payload %d" % i) for i in range(10)]


# ---- 3: reserved bits

@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
@pytest.mark.parametrize("rsv", range(1, 8))
def test_3_reserved_bits(peer, rsv, opcode):
    peer.send(frame(TEXT, typed("before")))
    expect_reply(peer, "before")
    peer.send(frame(opcode, b"", rsv=rsv), frame(PING))
    expect_close(peer, 1002)


# ---- 4: opcodes that mean nothing

@pytest.mark.parametrize("payload", [b"", b"reserved opcode payload"])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_4_reserved_opcodes(peer, opcode, payload):
    peer.send(frame(TEXT, typed("before")), frame(opcode, payload), frame(PING))
    expect_reply(peer, "before")
    expect_close(peer, 1002)


# ---- 5: fragments

@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_5_1_and_2_control_frames_are_never_fragments(peer, opcode):
    peer.send(frame(opcode, b"frag", fin=False), frame(CONTINUATION, b"ment"))
    expect_close(peer, 1002)


@pytest.mark.parametrize("chop", [None, 1])
@pytest.mark.parametrize("pieces", [2, 5, 40])
def test_5_3_to_5_text_in_fragments(peer, pieces, chop):
    text = typed("fragmented word")
    step = max(1, len(text) // (pieces - 1))
    parts = [text[at:at + step] for at in range(0, len(text), step)] + [b""]
    frames = [frame(TEXT if i == 0 else CONTINUATION, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)]
    for data in frames:
        peer.send_chopped(data, chop or len(data))
    expect_reply(peer, "fragmented word")
    expect_alive(peer)


@pytest.mark.parametrize("chop", [None, 1])
def test_5_6_to_8_a_ping_between_fragments(peer, chop):
    text = typed("word")
    data = frame(TEXT, text[:5], fin=False) + frame(PING, b"between") + frame(CONTINUATION, text[5:])
    peer.send_chopped(data, chop or len(data))
    assert peer.read() == (PONG, b"between")
    expect_reply(peer, "word")


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("after", [b"", frame(TEXT, b"")], ids=["at once", "after a message"])
def test_5_9_to_14_a_continuation_of_nothing(peer, fin, after):
    peer.send(after, frame(CONTINUATION, b"of what?", fin=fin), frame(TEXT, b"Hello"))
    if after:
        expect_reply(peer)
    expect_close(peer, 1002)


def test_5_15_a_continuation_behind_a_message_in_fragments(peer):
    text = typed("word")
    peer.send(frame(TEXT, text[:3], fin=False), frame(CONTINUATION, text[3:]), frame(CONTINUATION, b"more", fin=False))
    expect_reply(peer, "word")
    expect_close(peer, 1002)


@pytest.mark.parametrize("fin", [True, False])
def test_5_16_to_18_a_message_within_another(peer, fin):
    peer.send(frame(TEXT, b"first", fin=False), frame(TEXT, b"second", fin=fin))
    expect_close(peer, 1002)


def test_5_19_and_20_fragments_with_pings_and_pauses_between(peer):
    text = typed("fragment1 fragment2 fragment3")
    peer.send(frame(TEXT, text[:8], fin=False), frame(CONTINUATION, text[8:15], fin=False), frame(PING, b"pongme 1"))
    assert peer.read() == (PONG, b"pongme 1")
    peer.send(frame(CONTINUATION, text[15:20], fin=False), frame(CONTINUATION, b"", fin=False), frame(PING, b"pongme 2"))
    assert peer.read() == (PONG, b"pongme 2")
    peer.send(frame(CONTINUATION, text[20:]))
    expect_reply(peer, "fragment1")


# ---- 6: UTF-8

WORDS = {
    "6.2": "Hello-µ@ßöäüàá-UTF-8!!", "6.5": "κόσμε", "6.6 first of each length": "\u0001\u0080\u0800\U00010000",
    "6.7 last of each length": "\u007f\u07ff\uffff\U0010ffff", "6.9 around the surrogates": "\ud7ff\ue000\ufffd", "6.22 no characters": "\ufffe\uffff\U0001fffe",
    "6.23 replacement": "\ufffd",
}


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_6_1_and_2_utf8_in_fragments_at_every_byte(peer, word):
    text = typed(word)
    for step in (len(text), 1):
        parts = [text[at:at + step] for at in range(0, len(text), step)]
        peer.send(*(frame(TEXT if i == 0 else CONTINUATION, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)))
        expect_reply(peer, word)


WRONG = {
    "6.3 surrogate": b"\xed\xa0\x80", "6.8 past the last": b"\xf4\x90\x80\x80", "5 bytes": b"\xf8\x88\x80\x80\x80", "6 bytes": b"\xfc\x84\x80\x80\x80\x80",
    "6.10 continuation": b"\x80", "6.10 two": b"\x80\xbf", "6.11 lonely lead": b"\xc2 ", "6.11 of three": b"\xe2 ", "6.11 of four": b"\xf0 ",
    "6.12 cut": b"\xe2\x82", "6.12 cut of four": b"\xf0\x9f\x98", "6.14 fe": b"\xfe", "6.14 ff": b"\xff", "6.15 overlong 2": b"\xc0\xaf",
    "6.15 overlong 3": b"\xe0\x80\xaf", "6.15 overlong 4": b"\xf0\x80\x80\xaf", "6.16 longest overlong": b"\xc1\xbf", "6.17 overlong nought": b"\xc0\x80",
    "6.18 last surrogate": b"\xed\xbf\xbf", "6.19 pair": b"\xed\xa0\x80\xed\xb0\x80",
}


@pytest.mark.parametrize("chop", [None, 1])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_6_3_what_is_not_utf8(peer, wrong, chop):
    text = "κόσμε".encode() + wrong
    if not chop:
        peer.send(frame(TEXT, text))
    else:
        peer.send(*(frame(TEXT if i == 0 else CONTINUATION, text[i:i + 1], fin=i == len(text) - 1) for i in range(len(text))))
    expect_close(peer, 1007)


@pytest.mark.parametrize("bad", [b"\xf4\x90", b"\xed\xa0", b"\xc0", b"\xff"])
def test_6_4_1_and_2_fails_in_the_fragment_that_is_wrong(peer, bad):
    peer.send(frame(TEXT, "κόσμε".encode(), fin=False), frame(CONTINUATION, bad, fin=False))
    expect_close(peer, 1007)  # the message never ended


@pytest.mark.parametrize("bad", [b"\xf4\x90", b"\xed\xa0", b"\xc0", b"\xff"])
def test_6_4_3_and_4_fails_at_the_byte_that_is_wrong(peer, bad):
    text = "κόσμε".encode() + bad + b"edited"
    whole = frame(TEXT, text)
    peer.send(whole[:-len(b"edited")])
    expect_close(peer, 1007)  # nor did the frame


# ---- 7: closing

def test_7_1_1_a_message_then_a_close(peer):
    peer.send(frame(TEXT, typed("last")), close_frame(1000))
    expect_reply(peer, "last")
    expect_close(peer, 1000)


@pytest.mark.parametrize("behind", [close_frame(1000), frame(PING, b"late"), frame(TEXT, b"late"), frame(TEXT, b"a" * 300_000)], ids=["close", "ping", "text", "long text"])
def test_7_1_2_to_6_nothing_is_answered_behind_a_close(peer, behind):
    peer.send(close_frame(1000), behind)
    opcode, payload = peer.read()
    assert (opcode, payload) == (CLOSE, struct.pack("!H", 1000))
    assert peer.at_end()


def test_7_1_4_a_close_between_fragments(peer):
    peer.send(frame(TEXT, b"frag", fin=False), close_frame(1000), frame(CONTINUATION, b"ment"))
    expect_close(peer, 1000)


def test_7_3_1_a_close_without_a_code(peer):
    peer.send(close_frame())
    opcode, payload = peer.read()
    assert opcode == CLOSE and payload in (b"", struct.pack("!H", 1000))
    assert peer.at_end()


def test_7_3_2_a_code_of_one_byte(peer):
    peer.send(frame(CLOSE, b"a"))
    expect_close(peer, 1002)


@pytest.mark.parametrize("reason", [b"Hello World!", b"*" * 123], ids=["short", "longest"])
def test_7_3_3_to_5_a_close_with_a_reason(peer, reason):
    peer.send(close_frame(1000, reason))
    expect_close(peer, 1000)


def test_7_3_6_a_reason_that_is_too_long(peer):
    peer.send(close_frame(1000, b"*" * 124))
    expect_close(peer, 1002)


def test_7_5_1_a_reason_that_is_not_utf8(peer):
    peer.send(close_frame(1000, "κόσμε".encode() + b"\xed\xa0\x80edited"))
    opcode, payload = peer.read()
    assert opcode == CLOSE and struct.unpack("!H", payload[:2])[0] in (1002, 1007)
    assert peer.at_end()


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_7_7_codes_come_back(peer, code):
    peer.send(close_frame(code))
    expect_close(peer, code)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999])
def test_7_9_codes_that_nobody_may_send(peer, code):
    peer.send(close_frame(code))
    expect_close(peer, 1002)


# ---- 9 and 10: limits

LIMIT = 16 << 20


def test_9_the_largest_message_is_taken(peer):
    peer.send(frame(TEXT, sized(LIMIT)))
    expect_reply(peer, "***")


@pytest.mark.parametrize("fragments", [False, True])
def test_9_a_larger_one_is_not(peer, fragments):
    if fragments:
        peer.send(frame(TEXT, b"*" * (LIMIT - 10), fin=False), frame(CONTINUATION, b"*" * 11, length=11)[:8])
    else:
        peer.send(frame(TEXT, b"**", length=LIMIT + 1))  # its head is enough
    expect_close(peer, 1009)


def test_9_a_length_beyond_all_bounds(peer):
    peer.send(frame(TEXT, b"**", length=(1 << 63) - 1))
    expect_close(peer, 1009)


def test_10_1_65536_bytes_in_frames_of_1300(peer):
    text = sized(65536)
    parts = [text[at:at + 1300] for at in range(0, len(text), 1300)]
    peer.send(*(frame(TEXT if i == 0 else CONTINUATION, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)))
    expect_reply(peer, "***")


# ---- Besides

def test_a_frame_without_a_mask(peer):
    peer.send(frame(TEXT, b"bare", masked=False))
    expect_close(peer, 1002)


def test_lengths_are_written_as_shortly_as_they_can_be(peer):
    peer.send(bytes([0x81, 0x80 | 126, 0, 5]) + b"\0\0\0\0" + b"Hello")
    expect_close(peer, 1002)


def test_12_compression_is_not_agreed_on(server):
    with RawWebSocket(server.port, headers={"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}) as peer:
        assert peer.status == 101 and peer.header("Sec-WebSocket-Extensions") is None


@pytest.mark.parametrize("headers,status", [
    ({"Sec-WebSocket-Version": "8"}, 426), ({"Sec-WebSocket-Version": None}, 426), ({"Sec-WebSocket-Key": None}, 400), ({"Sec-WebSocket-Key": "short"}, 400),
    ({"Connection": "keep-alive"}, 400), ({"Sec-WebSocket-Key": "*" * 24}, 400), ({"Upgrade": None}, 426), ({"Upgrade": "h2c"}, 426),
])
def test_a_handshake_that_is_wrong_is_told_so(server, headers, status):
    with RawWebSocket(server.port, headers=headers) as peer:
        assert peer.status == status, peer.head
        if status == 426:
            assert peer.header("Sec-WebSocket-Version") == "13" and peer.header("Upgrade") == "websocket"


def test_a_handshake_as_proxies_write_it(server):
    with RawWebSocket(server.port, headers={"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket"}) as peer:
        assert peer.status == 101
        expect_alive(peer)
