"""Writes goldens.bin: what the `gguf` package (0.19.0, numpy) makes of random blocks, and how it rounds random rows.

    pip install gguf==0.19.0 numpy && python make_goldens.py

Records, little-endian: name (8 bytes, NUL-padded), kind (u32: 0 blocks → floats, 1 floats → blocks), elements (u32), then the block bytes,
then the float32s.
"""
import pathlib
import struct

import gguf
import numpy as np

TYPES = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS".split()
ROUNDED = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0".split()  # where the package's rounding is ggml's reference's
# Where the float16 scales stand in a block; random bits there would be infinities now and then.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
random = np.random.default_rng(20240817)


def record(name, kind, blocks, floats):
    assert floats.dtype == np.float32
    return name.encode().ljust(8, b"\0") + struct.pack("<II", kind, floats.size) + blocks.tobytes() + floats.tobytes()


def dequantized(name):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 4 if elements == 256 else 16 if elements == 32 else 300
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    if name in ("F16", "BF16"):  # finite numbers only; infinities and NaN have tests of their own
        words = blocks.view(np.uint16)
        exponent = 0x7C00 if name == "F16" else 0x7F80
        words[(words & exponent) == exponent] ^= 0x4000
    for offset in HALVES.get(name, []):
        scales = (random.standard_normal(count) * 10.0 ** random.integers(-7, 3, count)).astype(np.float16)
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(count, 2)
    return record(name, 0, blocks, gguf.quants.dequantize(blocks, kind).astype(np.float32).reshape(-1))


def quantized(name):
    kind = gguf.GGMLQuantizationType[name]
    rows = random.standard_normal((16, 32)).astype(np.float32) * (10.0 ** random.integers(-4, 3, (16, 1))).astype(np.float32)
    rows[0] = 0
    rows[1] = 1.25
    rows[2, ::2] *= -0.0
    return record(name, 1, gguf.quants.quantize(rows, kind), rows.reshape(-1))


out = b"".join([dequantized(t) for t in TYPES] + [quantized(t) for t in ROUNDED])
pathlib.Path(__file__).with_name("goldens.bin").write_bytes(out)
