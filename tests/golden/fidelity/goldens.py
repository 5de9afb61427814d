"""Golden log-probabilities: their file, and what is measured against them. The format is described in src/cli/logprob_golden.h.

The divergence is KL(oracle || model) in nats over the golden's K most probable tokens and one bin for all others. Putting tokens together
can only make a divergence smaller; what it leaves out is what happens among tokens that the oracle holds for improbable.
"""

import dataclasses
import json
import pathlib

import numpy as np

UNIT = 1 / 2048  # nats: rounding to it shifts a divergence by about UNIT^2 / 24 = 1e-8


@dataclasses.dataclass
class Golden:
    model: str
    sha256: str  # of the model's file
    oracle: str
    names: list  # of the sequences
    sequences: list  # token ids
    tokens: np.ndarray  # [positions, K], best first
    logprobs: np.ndarray  # [positions, K]
    rest: np.ndarray  # [positions]
    actual: np.ndarray  # [positions]

    @property
    def positions(self):
        return len(self.actual)

    def write(self, path):
        head = {"format": "carronade-logprobs", "version": 1, "model": self.model, "sha256": self.sha256, "oracle": self.oracle,
                "top": self.tokens.shape[1], "unit": UNIT, "names": self.names, "sequences": self.sequences}
        steps = np.minimum(np.rint(-self.logprobs / UNIT), 65535)
        arrays = [(self.tokens, "<u4"), (steps, "<u2"), (self.rest, "<f4"), (self.actual, "<f4")]
        pathlib.Path(path).write_bytes(json.dumps(head).encode() + b"\n" + b"".join(a.astype(t).tobytes() for a, t in arrays))


def read(path):
    line, _, data = pathlib.Path(path).read_bytes().partition(b"\n")
    head = json.loads(line)
    assert (head["format"], head["version"]) == ("carronade-logprobs", 1), path
    positions, top = sum(len(sequence) - 1 for sequence in head["sequences"]), head["top"]
    at = 0

    def take(kind, *shape):
        nonlocal at
        values = np.frombuffer(data, kind, int(np.prod(shape)), at).reshape(shape)
        at += values.nbytes
        return values

    tokens, steps = take("<u4", positions, top), take("<u2", positions, top)
    rest, actual = take("<f4", positions), take("<f4", positions)
    assert at == len(data), path
    return Golden(head["model"], head["sha256"], head["oracle"], head["names"], head["sequences"], tokens.astype(np.int64),
                  -head["unit"] * steps.astype(np.float64), rest.astype(np.float64), actual.astype(np.float64))


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def log_rest(logprobs, tokens):
    """The log of what the tokens [positions, K] leave; summed without them, so that what is small is not lost."""
    others = logprobs.copy()
    np.put_along_axis(others, tokens, -np.inf, axis=-1)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(others).sum(axis=-1))


class Comparison:
    """Logits of a model, given position by position in the golden's order, held against it."""

    def __init__(self, golden):
        self.golden = golden
        self.kl, self.same_top, self.surprise = [], [], []
        ids = [np.array(sequence[1:]) for sequence in golden.sequences]
        self.expected = np.concatenate(ids)

    def add(self, logits):
        """logits: [n, vocabulary] of the next n positions."""
        first, count = len(self.kl), len(logits)
        golden, rows = self.golden, slice(first, first + count)
        logprobs = log_softmax(logits)
        tokens = golden.tokens[rows]
        model = np.concatenate([np.take_along_axis(logprobs, tokens, axis=-1), log_rest(logprobs, tokens)[:, None]], axis=1)
        oracle = np.concatenate([golden.logprobs[rows], golden.rest[rows, None]], axis=1)
        oracle -= np.log(np.exp(oracle).sum(axis=1, keepdims=True))  # rounded, they sum to almost 1
        p = np.exp(oracle)
        with np.errstate(invalid="ignore"):
            terms = np.where(p > 0, p * (oracle - model), 0.0)
        self.kl += terms.sum(axis=1).tolist()
        self.same_top += (logits.argmax(axis=1) == tokens[:, 0]).tolist()
        self.surprise += (-logprobs[np.arange(count), self.expected[rows]]).tolist()

    def summary(self):
        """As `carronade eval --compare --json` calls them."""
        assert len(self.kl) == self.golden.positions
        kl, surprise = np.array(self.kl), np.array(self.surprise)
        difference = surprise + self.golden.actual
        perplexity, ratio = np.exp(surprise.mean()), np.exp(difference.mean())
        return {
            "positions": len(kl),
            "perplexity": perplexity,
            "perplexity_error": perplexity * standard_error(surprise),
            "golden_perplexity": np.exp(-self.golden.actual.mean()),
            "perplexity_ratio": ratio,
            "perplexity_ratio_error": ratio * standard_error(difference),
            "mean_kl": kl.mean(),
            "mean_kl_error": standard_error(kl),
            "p99_kl": np.sort(kl)[int(np.ceil(0.99 * len(kl))) - 1],
            "max_kl": kl.max(),
            "same_top": np.mean(self.same_top),
        }


def standard_error(values):
    return values.std(ddof=1) / np.sqrt(len(values))
