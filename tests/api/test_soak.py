"""Ten seconds of bench/soak: clients that come, stream, leave half way and come back, some of them hostile."""
import pathlib
import subprocess
import sys

from server import BINARY, MODEL, PATIENCE, environment

SOAK = pathlib.Path(__file__).resolve().parents[2] / "bench/soak/soak.py"


def test_nothing_unexpected_and_everything_given_back():
    # Memory is still being touched for the first time: that it is flat is for the long run to show.
    ran = subprocess.run([sys.executable, str(SOAK), "--clients", "24", "--minutes", str(10 / 60), "--hostile", "0.2", "--growth", "9", "--model", MODEL,
                          "--binary", str(BINARY), "--dry-run"], capture_output=True, text=True, timeout=5 * PATIENCE,
                         env=environment(PYTHONDONTWRITEBYTECODE="1"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
