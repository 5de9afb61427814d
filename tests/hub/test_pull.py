"""Fetching from a hub: the ordinary ways, and every way in which a network fails."""

import hashlib
import json
import os
import resource
import signal
import stat
import threading

import pytest
import stand_in
from conftest import dead_endpoint, gguf, ignore_file_size_signal, sha256
from stand_in import COMMIT, Blob

FILE = "/blobs/org/repo/model-Q4_K_M.gguf"  # at the storage


@pytest.fixture
def repository(hub):
    hub.repositories["org/repo"] = {
        "README.md": Blob(b"# words", lfs=False),
        "model-Q8_0.gguf": Blob(gguf(300_000, 8)),
        "model-Q4_K_M.gguf": Blob(gguf(200_000, 4)),
        "mmproj-model-Q4_K_M.gguf": Blob(gguf(1000, 5)),
    }
    return hub.repositories["org/repo"]


@pytest.mark.parametrize(
    ("reference", "file"),
    [
        ("org/repo", "model-Q4_K_M.gguf"),
        ("org/repo:q8_0", "model-Q8_0.gguf"),
        ("org/repo:model-Q8_0.gguf", "model-Q8_0.gguf"),
        ("hf.co/org/repo:Q8_0", "model-Q8_0.gguf"),
        ("https://huggingface.co/org/repo/blob/main/model-Q8_0.gguf", "model-Q8_0.gguf"),
    ],
)
def test_a_repository_gives_the_file_that_was_meant(carronade, repository, reference, file):
    path = carronade.pull(reference)
    assert path.name == file
    assert path.read_bytes() == repository[file].content
    manifest = json.loads((path.parent / "manifest.json").read_text())
    assert manifest["files"] == [{"path": file, "bytes": path.stat().st_size, "sha256": repository[file].sha256}]
    assert manifest["revision"] == COMMIT
    assert manifest["repository"] == "org/repo"
    assert carronade.parts() == []


def test_what_is_there_is_not_fetched_again(carronade, hub, repository):
    first = carronade.pull("org/repo")
    hub.seen.clear()
    assert carronade.pull("org/repo") == first
    assert carronade.pull("org/repo:Q4_K_M") == first
    assert hub.seen == []


def test_an_unknown_quantization_lists_what_there_is(carronade, repository):
    said = carronade.refuse("pull", "org/repo:Q5_K_M")
    assert "Q5_K_M" in said and "model-Q4_K_M.gguf, model-Q8_0.gguf" in said
    assert "mmproj" not in said


def test_json_says_what_was_fetched(carronade, repository):
    done = carronade.run("pull", "--json", "--quiet", "org/repo")
    assert done.returncode == 0 and done.stderr == ""
    said = json.loads(done.stdout)
    assert said["bytes"] == 200_000
    assert sha256(open(said["path"], "rb").read()) == said["files"][0]["sha256"]


def test_another_folder(carronade, repository, tmp_path):
    path = carronade.pull("org/repo", "--download-dir", tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere") in path.parents
    assert carronade.installed() == {}


def test_the_token_goes_to_the_hub_and_nowhere_else(carronade, hub, repository):
    hub.required_token = "hf_secret"
    carronade.pull("org/repo", environment={"HF_TOKEN": "hf_secret"})
    assert all(one.headers.get("Authorization") == "Bearer hf_secret" for one in hub.requests("hub"))
    assert hub.requests("storage")
    assert not any("Authorization" in one.headers for one in hub.requests("storage"))
    manifest = (carronade.models / "org--repo" / "manifest.json").read_text()
    assert "secret" not in manifest


def test_a_token_with_a_line_break_is_refused(carronade, repository):
    assert "HF_TOKEN" in carronade.refuse("pull", "org/repo", environment={"HF_TOKEN": "a\r\nX-Evil: 1"})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (stand_in.status(401), ["HF_TOKEN", "does not exist or is private"]),
        (stand_in.status(403, X_Error_Code="GatedRepo"), ["gated", "accept its terms", "HF_TOKEN"]),
        (stand_in.status(418), ["418"]),
        (stand_in.web_page, ["a web page", "login"]),
        (stand_in.status(200, b"[1, 2"), ["is it a model hub?"]),
        (stand_in.status(200, b'{"a": 1}'), ["not like a model hub"]),
    ],
)
def test_a_hub_that_refuses_is_understood(carronade, hub, repository, fault, words):
    hub.faults["/api/models/org/repo/tree/main"] = [fault]
    said = carronade.refuse("pull", "org/repo")
    assert all(word in said for word in words), said
    assert hub.requests("storage") == []


def test_a_refused_token_is_named(carronade, hub, repository):
    hub.required_token = "right"
    assert "HF_TOKEN" in carronade.refuse("pull", "org/repo", environment={"HF_TOKEN": "wrong"})


def test_an_unknown_repository(carronade):
    assert "404" in carronade.refuse("pull", "org/none")


def test_a_hub_out_of_reach_is_named(carronade):
    address = dead_endpoint()
    said = carronade.refuse("pull", "org/repo", environment={"HF_ENDPOINT": address})
    assert f"{address} cannot be reached" in said


def test_offline_asks_nobody(carronade, hub, repository):
    assert "HF_HUB_OFFLINE" in carronade.refuse("pull", "org/repo", environment={"HF_HUB_OFFLINE": "1"})
    assert hub.seen == []


def test_a_file_named_in_full_needs_no_listing(carronade, hub, repository):
    missing = stand_in.status(404)
    hub.faults["/api/models/org/repo/tree/main"] = [missing]
    hub.faults["/api/models/org/repo/revision/main"] = [missing]
    path = carronade.pull("org/repo:model-Q8_0.gguf")
    assert path.read_bytes() == repository["model-Q8_0.gguf"].content


def test_a_broken_transfer_goes_on_where_it_broke(carronade, hub, repository):
    hub.faults[FILE] = [stand_in.break_after(50_000), stand_in.break_after(60_000)]
    path = carronade.pull("org/repo")
    assert path.read_bytes() == repository["model-Q4_K_M.gguf"].content
    ranges = [one.headers.get("Range") for one in hub.requests("storage")]
    assert ranges == [None, "bytes=50000-", "bytes=110000-"]


def test_a_server_without_ranges_starts_again(carronade, hub, repository):
    hub.faults[FILE] = [stand_in.break_after(50_000), stand_in.without_ranges]
    assert carronade.pull("org/repo").read_bytes() == repository["model-Q4_K_M.gguf"].content


def test_a_server_that_always_breaks_is_given_up(carronade, hub, repository):
    hub.faults[FILE] = [stand_in.break_after(0) for _ in range(50)]
    assert "the transfer broke" in carronade.refuse("pull", "org/repo")
    assert len(hub.requests("storage")) == 3


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(carronade, hub, repository, code):
    hub.faults[FILE] = [stand_in.status(code, Retry_After="1")]
    done = carronade.run("pull", "org/repo")
    assert done.returncode == 0
    assert str(code) in done.stderr and "trying again in 1.0 s" in done.stderr


def interrupted_pull(carronade, hub, path, signal_number):
    """Starts a pull that hangs after 50,000 bytes, and ends it there. Returns what it said."""
    release = threading.Event()
    hub.faults[path] = [stand_in.hold_after(50_000, release)]
    process = carronade.start("pull", "org/repo")
    while not any(part.suffix == ".part" and part.stat().st_size == 50_000 for part in carronade.models.rglob("*.part")):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal_number)
    out, err = process.communicate(timeout=30)
    release.set()
    assert process.returncode != 0 and out == ""
    assert not list(carronade.models.rglob("manifest.json"))
    return err


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_pull_continues_later(carronade, hub, repository, signal_number):
    said = interrupted_pull(carronade, hub, FILE, signal_number)
    assert signal_number == signal.SIGKILL or "the same command continues" in said
    assert carronade.installed() == {}
    hub.seen.clear()
    assert carronade.pull("org/repo").read_bytes() == repository["model-Q4_K_M.gguf"].content
    assert [one.headers.get("Range") for one in hub.requests("storage")] == ["bytes=50000-"]
    assert carronade.parts() == []


def test_a_damaged_part_is_noticed_and_fetched_again(carronade, hub, repository):
    interrupted_pull(carronade, hub, FILE, signal.SIGKILL)
    [part] = carronade.parts()
    part.write_bytes(b"GGUF" + bytes(49_996))
    done = carronade.run("pull", "org/repo")
    assert done.returncode == 0 and "damaged" in done.stderr
    assert open(done.stdout.strip(), "rb").read() == repository["model-Q4_K_M.gguf"].content


def test_a_part_of_another_version_is_not_continued(carronade, hub, repository):
    interrupted_pull(carronade, hub, FILE, signal.SIGKILL)
    repository["model-Q4_K_M.gguf"] = Blob(gguf(200_000, 44))
    hub.seen.clear()
    assert carronade.pull("org/repo").read_bytes() == repository["model-Q4_K_M.gguf"].content
    assert [one.headers.get("Range") for one in hub.requests("storage")] == [None]


def test_wrong_bytes_are_removed(carronade, hub, repository):
    blob = repository["model-Q4_K_M.gguf"]
    blob.served = blob.content[:-1] + bytes([blob.content[-1] ^ 1])
    said = carronade.refuse("pull", "org/repo")
    assert "wrong hash" in said and "removed" in said and blob.sha256[:12] in said
    assert not list(carronade.models.rglob("*.gguf*"))
    assert carronade.installed() == {}


def test_small_files_are_verified_by_their_git_hash(carronade, hub):
    hub.repositories["org/repo"] = {
        "config.json": Blob(b'{"model_type": "qwen2"}', lfs=False, served=b'{"model_type": "qwen3"}'),
        "model.safetensors": Blob(b"weights" * 100),
    }
    assert "config.json" in carronade.refuse("pull", "org/repo")


def test_a_listing_that_contradicts_the_file(carronade, hub, repository):
    original = hub._resolve

    def lie(handler, name, path):
        repository[path] = Blob(gguf(200_000, 5))
        return original(handler, name, path)

    hub._resolve = lie
    assert "offers another file" in carronade.refuse("pull", "org/repo")


def test_a_listed_size_that_lies(carronade, hub, repository):
    repository["model-Q4_K_M.gguf"].listed_size = 150_000
    assert "should have 150000 bytes, but the server offers 200000" in carronade.refuse("pull", "org/repo")
    assert carronade.installed() == {}


def test_a_server_that_sends_for_ever_is_cut_off(carronade, hub, repository):
    hub.faults[FILE] = [stand_in.endless]
    assert "sends more than the 200000 bytes" in carronade.refuse("pull", "org/repo")
    assert carronade.parts() == []


def test_a_web_page_instead_of_the_file(carronade, hub, repository):
    hub.faults[FILE] = [stand_in.web_page]
    assert "a web page instead of the file" in carronade.refuse("pull", "org/repo")


def test_endless_redirects_end(carronade, hub, repository):
    place = "/org/repo/resolve/main/model-Q4_K_M.gguf"
    hub.faults[place] = [stand_in.redirect(place) for _ in range(50)]
    assert "redirects more than" in carronade.refuse("pull", "org/repo")


def test_a_redirect_to_a_local_file_is_not_followed(carronade, hub, repository):
    hub.faults["/org/repo/resolve/main/model-Q4_K_M.gguf"] = [stand_in.redirect("file:///etc/passwd")]
    assert "not followed" in carronade.refuse("pull", "org/repo")


def test_names_that_leave_the_folder_are_not_stored(carronade, hub):
    hub.repositories["org/repo"] = {
        "../../../escaped-Q4_K_M.gguf": Blob(gguf(1000, 1)),
        "/tmp/escaped-Q4_K_M.gguf": Blob(gguf(1000, 2)),
        "a\\..\\b-Q4_K_M.gguf": Blob(gguf(1000, 3)),
        "bell\a-Q4_K_M.gguf": Blob(gguf(1000, 4)),
        "odd name+ü%41#?-Q8_0.gguf": Blob(gguf(1000, 5)),
    }
    path = carronade.pull("org/repo")
    assert path.name == "odd name+ü%41#?-Q8_0.gguf"
    assert path.read_bytes() == gguf(1000, 5)
    assert "'../../../escaped-Q4_K_M.gguf'" in carronade.refuse("pull", "org/repo:../../../escaped-Q4_K_M.gguf")
    assert "not a repository" in carronade.refuse("pull", "org/..")


def test_no_byte_comes_when_the_disk_is_too_small(carronade, hub, repository):
    repository["model-Q4_K_M.gguf"].listed_size = 10**17
    said = carronade.refuse("pull", "org/repo")
    assert "not enough free disk" in said and "100 PB" in said
    assert hub.requests("storage") == []


def test_a_disk_that_fills_up_keeps_what_is_there(carronade, hub, repository):
    def limit():
        ignore_file_size_signal()
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))

    said = carronade.refuse("pull", "org/repo", preexec_fn=limit, restore_signals=False)
    assert "disk is full" in said and "run the same command again" in said
    [part] = carronade.parts()
    assert part.stat().st_size == 120_000
    assert carronade.pull("org/repo").read_bytes() == repository["model-Q4_K_M.gguf"].content


def test_a_folder_that_cannot_be_written(carronade, repository, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "--download-dir" in carronade.refuse("pull", "org/repo", "--download-dir", tmp_path / "file" / "models")


def test_two_pulls_at_once_fetch_once(carronade, hub, repository):
    release = threading.Event()
    hub.faults[FILE] = [stand_in.hold_after(50_000, release)]
    first = carronade.start("pull", "org/repo")
    while not hub.requests("storage"):
        assert first.poll() is None, first.communicate()
    second = carronade.start("pull", "org/repo")
    waiting = second.stderr.readline()
    assert "is being fetched by another process; waiting" in waiting
    release.set()
    out_of_first, _ = first.communicate(timeout=60)
    out_of_second, _ = second.communicate(timeout=60)
    assert first.returncode == second.returncode == 0
    assert out_of_first == out_of_second
    assert len(hub.requests("storage")) == 1


def test_split_files_come_together(carronade, hub):
    pieces = {f"Q4_K_M/big-0000{i}-of-00003.gguf": Blob(gguf(70_000 + i, i)) for i in (1, 2, 3)}
    hub.repositories["org/repo"] = dict(reversed(pieces.items()))
    path = carronade.pull("org/repo:Q4_K_M")
    assert path.name == "big-00001-of-00003.gguf"
    for name, blob in pieces.items():
        assert (path.parents[1] / name).read_bytes() == blob.content
    hub.repositories["org/repo"].pop("Q4_K_M/big-00002-of-00003.gguf")
    carronade.run("rm", "org/repo:Q4_K_M")
    assert "lacks Q4_K_M/big-00002-of-00003.gguf" in carronade.refuse("pull", "org/repo:Q4_K_M")


def safetensors_repository():
    return {
        "config.json": Blob(b'{"model_type": "qwen2"}', lfs=False),
        "tokenizer.json": Blob(b"{}", lfs=False),
        "model-00001-of-00002.safetensors": Blob(b"1" * 100_000),
        "model-00002-of-00002.safetensors": Blob(b"2" * 100_000),
        "model.safetensors.index.json": Blob(b'{"weight_map": {}}', lfs=False),
        "README.md": Blob(b"words", lfs=False),
        "pytorch_model.bin": Blob(b"pickle"),
        "folder/other.safetensors": Blob(b"other"),
    }


def test_a_safetensors_repository_comes_as_a_folder(carronade, hub):
    hub.repositories["org/repo"] = files = safetensors_repository()
    path = carronade.pull("org/repo")
    assert path.is_dir()
    names = {entry.name for entry in path.iterdir()}
    assert names == set(files) - {"README.md", "pytorch_model.bin", "folder/other.safetensors"} | {"manifest.json"}
    assert (path / "model-00002-of-00002.safetensors").read_bytes() == b"2" * 100_000


def test_finished_files_of_a_broken_pull_are_kept(carronade, hub):
    hub.repositories["org/repo"] = safetensors_repository()
    second = "/blobs/org/repo/model-00002-of-00002.safetensors"
    hub.faults[second] = [stand_in.break_after(0) for _ in range(3)]
    carronade.refuse("pull", "org/repo")
    hub.seen.clear()
    carronade.pull("org/repo")
    assert [one.path.split("?")[0] for one in hub.requests("storage")] == [second]


def test_a_repository_without_models_says_what_it_holds(carronade, hub):
    hub.repositories["org/repo"] = {"data.csv": Blob(b"1,2")}
    said = carronade.refuse("pull", "org/repo")
    assert "data.csv" in said and "*.gguf" in said


def test_modelscope(carronade, hub):
    hub.repositories["org/repo"] = {"model-Q4_K_M.gguf": Blob(gguf(100_000, 1))}
    path = carronade.pull("modelscope.cn/org/repo", environment={"MODELSCOPE_DOMAIN": hub.endpoint})
    assert path.read_bytes() == gguf(100_000, 1)
    assert hub.requests("hub", "/models/org/repo/resolve/master/model-Q4_K_M.gguf")


# Plain addresses.


def test_an_address(carronade, hub):
    hub.plain["/models/tiny.gguf"] = (gguf(100_000, 1), '"1"')
    path = carronade.pull(hub.storage_endpoint + "/models/tiny.gguf?key=secret")
    assert path.name == "tiny.gguf" and path.read_bytes() == gguf(100_000, 1)
    assert "secret" not in (path.parent / "manifest.json").read_text()
    [name] = carronade.installed()
    assert carronade.run("rm", name).returncode == 0
    assert carronade.installed() == {}


def test_an_address_with_the_expected_hash(carronade, hub):
    content = gguf(100_000, 1)
    hub.plain["/tiny.gguf"] = (content, None)
    address = hub.storage_endpoint + "/tiny.gguf"
    assert "wrong hash" in carronade.refuse("pull", address, "--sha256", "0" * 64)
    assert carronade.pull(address, "--sha256", hashlib.sha256(content).hexdigest().upper()).read_bytes() == content
    assert "64 hexadecimal" in carronade.refuse("pull", address, "--sha256", "12")


def test_an_address_that_holds_no_model(carronade, hub):
    hub.plain["/notes.txt"] = (b"only words", None)
    assert "no GGUF file" in carronade.refuse("pull", hub.storage_endpoint + "/notes.txt")
    assert carronade.installed() == {}


@pytest.mark.parametrize("changed", [False, True])
def test_an_address_is_continued_only_if_the_file_is_the_same(carronade, hub, changed):
    hub.plain["/tiny.gguf"] = (gguf(100_000, 1), '"one"')
    hub.faults["/tiny.gguf"] = [stand_in.break_after(40_000)] + [stand_in.break_after(0) for _ in range(3)]
    address = hub.storage_endpoint + "/tiny.gguf"
    carronade.refuse("pull", address)
    if changed:
        hub.plain["/tiny.gguf"] = (gguf(120_000, 2), '"two"')
    hub.seen.clear()
    hub.faults["/tiny.gguf"] = []
    assert carronade.pull(address).read_bytes() == hub.plain["/tiny.gguf"][0]
    [request] = hub.requests("storage")
    assert request.headers["Range"] == "bytes=40000-" and request.headers["If-Range"] == '"one"'


def test_other_schemes_are_refused(carronade):
    assert "only http:// and https://" in carronade.refuse("pull", "ftp://127.0.0.1/model.gguf")
    assert "only http:// and https://" in carronade.refuse("pull", "file:///etc/passwd")


def test_a_path_is_taken_as_it_is(carronade, hub, tmp_path):
    model = tmp_path / "mine.gguf"
    model.write_bytes(gguf(1000))
    assert carronade.pull(model) == model
    assert "there is no file" in carronade.refuse("pull", tmp_path / "none.gguf")
    assert "was not fetched by this program" in carronade.refuse("rm", model)
    assert model.exists() and hub.seen == []


def test_manifests_and_models_are_readable_by_others_of_the_group(carronade, repository):
    path = carronade.pull("org/repo", preexec_fn=lambda: os.umask(0o022))
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
