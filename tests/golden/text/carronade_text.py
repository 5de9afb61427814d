"""Runs carronade_tokenize."""

import json
import os
import pathlib
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = ROOT / os.environ.get("CARRONADE_BUILD", "build/release")


def tool():
    for folder in (BUILD, BUILD / "tests" / "golden" / "text", BUILD / "bin"):
        if (folder / "carronade_tokenize").exists():
            return folder / "carronade_tokenize"
    raise FileNotFoundError(f"carronade_tokenize is not in {BUILD}; build the target of that name")


def tokenize(vocabulary, texts, *options):
    """([[token id]], what it measured) of byte strings."""
    data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    done = subprocess.run([tool(), vocabulary, *options], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    out, at, results = done.stdout, 0, []
    while at < len(out):
        (count,) = struct.unpack_from("<I", out, at)
        results.append(list(struct.unpack_from(f"<{count}i", out, at + 4)))
        at += 4 + 4 * count
    return results, json.loads(done.stderr)


def detokenize(vocabulary, tokens):
    """[bytes] of lists of token ids, as a TokenStream gives them."""
    data = b"".join(struct.pack(f"<I{len(ids)}i", len(ids), *ids) for ids in tokens)
    out = subprocess.run([tool(), vocabulary, "--bytes"], input=data, capture_output=True, check=True).stdout
    at, results = 0, []
    while at < len(out):
        (count,) = struct.unpack_from("<I", out, at)
        results.append(out[at + 4 : at + 4 + count])
        at += 4 + count
    return results
