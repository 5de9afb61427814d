#!/usr/bin/env python3
"""Asks the server everything that its own /openapi.json allows, and much that it forbids: no 5xx, no status or type of body that the
document does not name, nothing valid refused for its form, nothing invalid taken.

    tests/fuzz/openapi.py [--cases 2000] [--seconds 600] [--seed N] [-- further arguments of schemathesis]

Wants smollm2-135m (carronade pull smollm2-135m) and, the first time, the network: schemathesis goes into an environment of its own.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "api"), str(HERE.parent)]
from peers import cache_folder  # noqa: E402
from server import Server  # noqa: E402

REQUIREMENTS = HERE / "openapi_requirements.txt"
# Nothing here is a secret or a limit, so what needs one is not looked for; and whether a text fits the context, or a model has marks for a
# gap, no schema can say, so that valid bodies may be refused.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method,allow_header_conformance"  # fmt: skip


def environment() -> pathlib.Path:
    folder = cache_folder() / "schemathesis"
    wanted = REQUIREMENTS.read_text()
    installed = folder / "installed"
    if not installed.exists() or installed.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS], check=True)
        installed.write_text(wanted)
    return folder / "bin"


def count_cases(report: pathlib.Path) -> tuple[int, dict[str, int]]:
    """Requests that were made, and how often each status came."""
    statuses: dict[str, int] = {}
    total = 0
    for line in report.read_text().splitlines():
        for scenario in json.loads(line).values():
            for interaction in (scenario.get("recorder", {}).get("interactions", {}) if isinstance(scenario, dict) else {}).values():
                total += 1
                response = interaction.get("response")
                status = str(response["status_code"]) if response else "none"
                statuses[status] = statuses.get(status, 0) + 1
    return total, dict(sorted(statuses.items()))


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.status == 200
    except urllib.error.HTTPError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="at least so many")
    parser.add_argument("--seconds", type=int, default=600, help="for all phases together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("further", nargs="*")
    arguments = parser.parse_args()
    programs = environment()
    # What is not bounded by a hook is by the context's end.
    flags = ["--max-model-len", "512", "--override-generation-config", '{"max_tokens": 3}', "--log-level", "warning"]
    with tempfile.TemporaryDirectory() as work, Server(*flags, page=False) as server:
        report = pathlib.Path(work) / "report.ndjson"
        command = [programs / "schemathesis", "run", f"{server.url}/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
                   "--max-time", arguments.seconds, "--seed", arguments.seed, "--request-timeout", 60, "--continue-on-failure",
                   "--suppress-health-check", "all", "--report", "ndjson", "--report-ndjson-path", report, "--no-color", *arguments.further]  # fmt: skip
        if not answers(f"{server.url}/docs"):
            command += ["--exclude-path", "/docs"]  # built without the page
        started = time.monotonic()
        status = subprocess.run(list(map(str, command)), cwd=work, env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "openapi_hooks.py")}).returncode
        cases, statuses = count_cases(report)
        alive = server.process.poll() is None
    print(f"{cases} cases in {time.monotonic() - started:.0f} s, {statuses}; schemathesis ended with {status}")
    enough = cases >= arguments.cases
    if not enough:
        print(f"fewer than {arguments.cases} cases: give it more --seconds")
    return 0 if status == 0 and enough and alive else 1


if __name__ == "__main__":
    sys.exit(main())
