#!/usr/bin/env python3
"""Autobahn's suite of WebSocket tests against this server's frames. Not part of `make test`: the suite is of Python 2.

    python2 -m pip install autobahntestsuite
    cmake --build build/release --target websocket_echo
    python3 tests/autobahn/run.py [--python2 python2] [CASE …]

Left out are the cases of binary messages, which are refused here, and those of compression, which is not offered. The others are also written
out in tests/api/test_websocket_conformance.py.
"""
import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ["1.2.*", "9.2.*", "9.4.*", "9.6.*", "9.8.*"]
COMPRESSION = ["12.*", "13.*"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python2", default="python2")
    parser.add_argument("cases", nargs="*", default=["*"])
    arguments = parser.parse_args()
    echo = pathlib.Path(os.environ.get("CARRONADE_BUILD", ROOT / "build/release")) / "tests/autobahn/websocket_echo"
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen([echo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        specification = pathlib.Path(folder) / "fuzzing.json"
        specification.write_text(json.dumps({
            "outdir": f"{folder}/reports", "servers": [{"url": f"ws://127.0.0.1:{server.stdout.readline().strip()}"}],
            "cases": arguments.cases, "exclude-cases": BINARY + COMPRESSION, "exclude-agent-cases": {},
        }))
        subprocess.run([arguments.python2, "-m", "autobahntestsuite.wstest", "-m", "fuzzingclient", "-s", specification], check=True, cwd=folder,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        [results] = json.loads((pathlib.Path(folder) / "reports/index.json").read_text()).values()
        server.stdin.close()
    for case, result in sorted(results.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
        for aspect in ("behavior", "behaviorClose"):
            if result[aspect] not in ("OK", "INFORMATIONAL"):
                print(f"{case}: {aspect} {result[aspect]}, close code {result['remoteCloseCode']}")
    counts = collections.Counter(result["behavior"] for result in results.values())
    print(f"{len(results)} cases: " + ", ".join(f"{count} {behavior}" for behavior, count in counts.most_common()))
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
