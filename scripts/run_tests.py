#!/usr/bin/env python3
"""Run the tests, tier by tier, each timed; end with "N passed, N failed".

usage: run_tests.py all | fast | TIER...       (run_tests.py list shows the tiers)
"""
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "reports"
BINARY = ROOT / "build/release/carronade"
# With the models there, a test that needs one and does not find it fails; alone, it is skipped.
required: dict[str, str] = {}
TEST_MODELS = ["smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"]


class Tally:
    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def add_junit(self, report: pathlib.Path, status: int) -> None:
        """Count a JUnit report; a runner that failed without one, or ran nothing, is one failure."""
        ran = failed = skipped = 0
        if report.exists():
            # A message may hold control characters, which XML may not.
            text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", report.read_text(errors="replace"))
            for case in xml.fromstring(text.encode()).iter("testcase"):
                ran += 1
                if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
                    failed += 1
                elif case.find("skipped") is not None or case.get("status") == "disabled":
                    skipped += 1
        if (status != 0 and failed == 0) or ran == 0:
            failed += 1
            ran += 1
        self.failed += failed
        self.skipped += skipped
        self.passed += ran - failed - skipped


def run(command: list[str], **environment: str) -> int:
    print("+", " ".join(command), flush=True)
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}).returncode


def build(preset: str, *targets: str) -> None:
    if run(["scripts/build.sh", preset, *targets]) != 0:
        raise RuntimeError(f"the {preset} build failed")


def ctest(tally: Tally, preset: str, *arguments: str, **environment: str) -> None:
    report = REPORTS / f"ctest-{preset}.xml"
    report.unlink(missing_ok=True)
    status = run(["ctest", "--preset", preset, "-j", str(os.cpu_count()), "--output-on-failure", "--output-junit", str(report), *arguments],
                 **environment)
    tally.add_junit(report, status)


def pytest(tally: Tally, folder: str, **environment: str) -> None:
    report = REPORTS / f"pytest-{folder.replace('/', '-')}.xml"
    report.unlink(missing_ok=True)
    status = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", folder],
                 CARRONADE_BUILD=str(ROOT / "build/release"), **required, **environment)
    tally.add_junit(report, status)


def unit(tally: Tally) -> None:
    """C++ unit tests, release build, every instruction set this processor has"""
    build("release")
    build("release", "kernel_bench")  # it must compile
    ctest(tally, "release", **required)


def arm(tally: Tally) -> None:
    """the kernels for 64-bit Arm, cross-compiled, on an emulated processor with and without smmla and sdot"""
    build("aarch64", "backend_test")
    emulate = lambda cpu: ["qemu-aarch64-static", "-cpu", cpu, "-L", "/usr/aarch64-linux-gnu", "build/aarch64/src/backend/backend_test"]  # noqa: E731
    runs = {"max": "-*DeathTest*:*/generic*:*Reference*:*BackendTest.*SameBits*:ThreadTeam.*:*ThreadTeam*/16:*ThreadTeam*/61", "cortex-a76": "CpuIsa*:*Matmul*:*LinearTest*-*/generic*", "cortex-a53": "CpuIsa*"}
    for cpu, tests in runs.items():
        report = REPORTS / f"arm-{cpu}.xml"
        report.unlink(missing_ok=True)
        status = run([*emulate(cpu), f"--gtest_filter={tests}", "--gtest_brief=1", f"--gtest_output=xml:{report}"])
        tally.add_junit(report, status)


def sanitizers(tally: Tally) -> None:
    """the unit tests again under AddressSanitizer and UndefinedBehaviorSanitizer"""
    build("debug")
    # The models would take an hour here; the tier before ran them.
    ctest(tally, "debug", "-E", "RealWeights", ASAN_OPTIONS="detect_container_overflow=0")


def threads(tally: Tally) -> None:
    """the rooms with threads under ThreadSanitizer"""
    build("tsan", "backend_test", "engine_test", "hub_test", "chat_test", "server_test")
    ctest(tally, "tsan", "-R", r"^(engine|chat|server)\.|ThreadTeam|ModelPool|(CpuHeads|AGatedMlp).*/generic", "-E", "RealWeights")


def models(tally: Tally) -> None:
    """get the models that the tiers below use (once; 1.7 GB)"""
    build("release", "carronade")
    for model in TEST_MODELS:
        if run([str(BINARY), "pull", model]) != 0:
            raise RuntimeError(f"could not get {model}")
    required["CARRONADE_REQUIRE_MODELS"] = "1"


def hub(tally: Tally) -> None:
    """pulling models, against a hub stand-in on loopback"""
    pytest(tally, "tests/hub")


def golden(tally: Tally) -> None:
    """tokens and templates, equal to the originals', and templates made up at random"""
    pytest(tally, "tests/golden")
    status = run([sys.executable, "tests/fuzz/differential_templates.py", "--seed", "1", "--cases", "3000"],
                 CARRONADE_BUILD=str(ROOT / "build/release"))
    tally.passed += status == 0
    tally.failed += status != 0


def api(tally: Tally) -> None:
    """real clients against a real model"""
    pytest(tally, "tests/api")


def deploy(tally: Tally) -> None:
    """the compose files and the Dockerfile say what the program takes"""
    pytest(tally, "tests/deploy")


def page(tally: Tally) -> None:
    """the page's own unit tests"""
    report = REPORTS / "vitest.xml"
    report.unlink(missing_ok=True)
    status = run(["scripts/web.sh", "run", "test", "--", "--reporter=default", "--reporter=junit", f"--outputFile.junit={report}"])
    tally.add_junit(report, status)


def browser(tally: Tally) -> None:
    """Chromium drives the page, against a stand-in and against a real model"""
    status = run([sys.executable, "tests/browser/run.py"], CARRONADE_BUILD=str(ROOT / "build/release"),
                 CARRONADE_REPORT=str(REPORTS / "browser.xml"))
    tally.add_junit(REPORTS / "browser.xml", status)


TIERS = {f.__name__: f for f in (models, unit, arm, page, hub, golden, api, deploy, browser, sanitizers, threads)}
ON_REQUEST = ["sanitizers", "threads"]  # builds of their own: `make test-deep`


def main() -> int:
    wanted = sys.argv[1:] or ["all"]
    if wanted == ["list"]:
        for name, tier in TIERS.items():
            print(f"{name:12} {tier.__doc__}")
        return 0
    names = [n for n in TIERS if n not in ON_REQUEST] if wanted == ["all"] else ["unit", "page"] if wanted == ["fast"] else wanted
    REPORTS.mkdir(parents=True, exist_ok=True)
    total, lines = Tally(), []
    for name in names:
        print(f"\n=== {name}: {TIERS[name].__doc__}", flush=True)
        tally, started = Tally(), time.monotonic()
        try:
            TIERS[name](tally)
        except (RuntimeError, OSError, xml.ParseError) as error:
            print(f"{name}: {error}", flush=True)
            tally.failed += 1
        lines.append(f"  {name:12} {tally.passed:6} passed {tally.failed:4} failed {tally.skipped:4} skipped"
                     f" {time.monotonic() - started:8.0f} s")
        total.passed += tally.passed
        total.failed += tally.failed
        total.skipped += tally.skipped
    print("\n" + "\n".join(lines))
    print(f"{total.passed} passed, {total.failed} failed" + (f", {total.skipped} skipped" if total.skipped else ""))
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
