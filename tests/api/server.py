"""Start and stop the program for tests: `serve` on free ports of loopback, its log read as it comes."""
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading

import openai

BUILD = pathlib.Path(os.environ.get("CARRONADE_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build/release"))
BINARY = BUILD / "carronade"
# A catalogue name, or a file for machines that have one.
MODEL = os.environ.get("CARRONADE_TEST_MODEL", "smollm2-135m")
# Where the program keeps its own; not where the person who runs the tests has theirs.
DATA_HOME = tempfile.TemporaryDirectory(prefix="carronade-tests-")
os.environ["XDG_DATA_HOME"] = DATA_HOME.name  # a test may say another
PATIENCE = 120  # seconds until a test gives up; never waited for when all is well


def environment(**changes: str) -> dict[str, str]:
    """The tests' own environment without what would change the program's mind."""
    unset = {"VLLM_HOST", "VLLM_PORT", "VLLM_API_KEY", "CARRONADE_API_KEY"}
    return {**{k: v for k, v in os.environ.items() if k not in unset}, **changes}


class Server:
    def __init__(self, *arguments: str, model: str = MODEL, page: bool = True, command: list[str] | None = None, **env: str) -> None:
        command = command or [str(BINARY), "serve", model, "--port", "0", "--ui-port", "auto" if page else "0", "--served-model-name", "tiny", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        env=environment(**env))
        self.log: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()
        self.url = self.wait_for(r"API +(https?://\S+)/v1").group(1)
        self.page_url = self.wait_for(r'Chat +(https?://[^\s"]+)').group(1) if page else None
        self.wait_for("Ready")
        self.port = int(self.url.rsplit(":", 1)[1])

    def _read(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self.log.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str, start: int = 0) -> re.Match:
        """The first line from `start` on that matches, whenever it comes."""
        with self._changed:
            while True:
                for line in self.log[start:]:
                    if match := re.search(pattern, line):
                        return match
                if self._ended or not self._changed.wait(PATIENCE):
                    raise AssertionError(f"no line like {pattern!r} in the log:\n{''.join(self.log)}")

    def mark(self) -> int:
        with self._changed:
            return len(self.log)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def client_of(server: Server, **changes) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE, **changes)
