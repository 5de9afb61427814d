"""Run the browser tests: a real server with a small real model beside the stand-in that the tests bring themselves.

usage: run.py       ($CARRONADE_BUILD names the build folder, $CARRONADE_REPORT the JUnit file to write)
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
MODEL = "qwen2.5-coder-1.5b"  # slow enough to be seen streaming and to be stopped


def start_server(binary: pathlib.Path, data: str) -> tuple[subprocess.Popen, str]:
    """Serve on free ports; the address of the page is the one that the program prints. Its output goes on to a file, so it never blocks."""
    log = pathlib.Path(data) / "log"
    with log.open("w") as out:
        server = subprocess.Popen([str(binary), "serve", MODEL, "--port", "0", "--ui-port", "auto", "--data-dir", data],
                                  stdout=out, stderr=subprocess.STDOUT)
    while server.poll() is None:
        if match := re.search(r"^Chat\s+(http://\S+)", log.read_text(), re.M):
            return server, match.group(1)
        time.sleep(0.05)
    raise SystemExit("the server ended before it printed the page's address:\n" + log.read_text())


def main() -> int:
    build = pathlib.Path(os.environ.get("CARRONADE_BUILD", HERE.parents[1] / "build/release"))
    chromium = shutil.which("chromium")
    if not chromium:
        sys.exit("chromium is not installed; scripts/setup.sh test installs it")
    report = os.environ.get("CARRONADE_REPORT", str(build / "browser.xml"))
    with tempfile.TemporaryDirectory() as data:
        server, address = start_server(build / "carronade", data)
        try:
            return subprocess.run(
                ["node", "--test", "--test-reporter=spec", "--test-reporter-destination=stdout", "--test-reporter=junit",
                 f"--test-reporter-destination={report}", *map(str, sorted(HERE.glob("*.test.*js")))],
                env={**os.environ, "NO_COLOR": "1", "CARRONADE_PAGE": str(build / "web-dist"), "CARRONADE_PAGE_URL": address, "CHROMIUM": chromium}).returncode
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    sys.exit(main())
