"""The server as who runs it sees it: metrics, the scheduler's state, vLLM's small routes, the dashboard."""
import json
import pathlib
import re
import time
import urllib.error
import urllib.request

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from server import PATIENCE, Server, client_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTION = [{"role": "user", "content": "Name three xylophones, please."}]
# What product documents and existing dashboards count on.
VLLM = """num_requests_running num_requests_waiting kv_cache_usage_perc prefix_cache_queries_total prefix_cache_hits_total num_preemptions_total
prompt_tokens_total generation_tokens_total iteration_tokens_total request_success_total request_prompt_tokens request_generation_tokens
time_to_first_token_seconds inter_token_latency_seconds e2e_request_latency_seconds request_queue_time_seconds request_prefill_time_seconds
request_decode_time_seconds request_inference_time_seconds request_params_n request_params_max_tokens request_max_num_generation_tokens
request_time_per_output_token_seconds spec_decode_num_draft_tokens_total spec_decode_num_accepted_tokens_total""".split()


def get(server: Server, path: str, method: str = "GET", **headers: str):
    request = urllib.request.Request(server.url + path, headers=headers, method=method)
    return urllib.request.urlopen(request, timeout=PATIENCE)


def samples(server: Server) -> list:
    with get(server, "/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return [sample for family in text_string_to_metric_families(answer.read().decode()) for sample in family.samples]


def value(read: list, name: str, **labels: str) -> float:
    found = [s.value for s in read if s.name == name and labels.items() <= s.labels.items()]
    assert len(found) == 1, f"{len(found)} samples of {name} {labels}"
    return found[0]


def scheduler(server: Server) -> dict:
    return json.load(get(server, "/debug/scheduler"))


def wait_until_idle(server: Server) -> dict:
    deadline = time.monotonic() + PATIENCE
    while (state := scheduler(server))["running"] or state["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return state


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with Server("--data-dir", str(tmp_path_factory.mktemp("data")), "--kv-disk", "1GiB", "--max-num-seqs", "4") as running:
        yield running


def test_metrics_agree_with_what_clients_saw(watched):
    before = samples(watched)
    client = client_of(watched)
    usages = [client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=n, seed=n).usage for n in (1, 9, 17)]
    with client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=3000, stream=True, extra_body={"ignore_eos": True}) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break  # and leave
    wait_until_idle(watched)
    after = samples(watched)

    def grown(name: str, **labels: str) -> float:
        return value(after, "vllm:" + name, **labels) - value(before, "vllm:" + name, **labels)

    ended = {reason: grown("request_success_total", finished_reason=reason) for reason in ("stop", "length", "abort", "error")}
    assert ended["stop"] + ended["length"] == 3 and ended["abort"] == 1 and ended["error"] == 0
    assert grown("request_prompt_tokens_sum") == sum(u.prompt_tokens for u in usages)
    assert grown("request_generation_tokens_sum") == sum(u.completion_tokens for u in usages)
    assert grown("prompt_tokens_total") == 4 * usages[0].prompt_tokens
    assert grown("prefix_cache_queries_total") == 4 * usages[0].prompt_tokens
    assert grown("prefix_cache_hits_total") >= sum(u.prompt_tokens_details.cached_tokens for u in usages)
    assert grown("generation_tokens_total") > sum(u.completion_tokens for u in usages)
    assert grown("request_params_max_tokens_sum") == 1 + 9 + 17
    for per_request in ("e2e_request_latency_seconds", "request_queue_time_seconds", "request_prefill_time_seconds", "request_decode_time_seconds"):
        assert grown(per_request + "_count") == 3, per_request
    assert grown("time_to_first_token_seconds_count") == 4
    assert value(after, "vllm:num_requests_running") == 0 == value(after, "vllm:kv_cache_usage_perc")
    posts = {"handler": "/v1/chat/completions", "method": "POST", "status": "2xx"}
    assert value(after, "http_requests_total", **posts) >= 4


def test_answers_to_one_prompt_are_one_n(watched):
    before = samples(watched)
    usage = client_of(watched).chat.completions.create(model="tiny", messages=QUESTION, max_tokens=5, n=3).usage
    after = samples(watched)
    grown = {name: value(after, "vllm:" + name) - value(before, "vllm:" + name)
             for name in ("request_params_n_count", "request_params_n_sum", "request_generation_tokens_count", "request_generation_tokens_sum")}
    assert grown == {"request_params_n_count": 1, "request_params_n_sum": 3, "request_generation_tokens_count": 3,
                     "request_generation_tokens_sum": usage.completion_tokens}


def test_metrics_have_every_name_and_label_of_vllms(watched):
    read = samples(watched)
    names = {s.name for s in read}
    for name in VLLM:
        here = {f"vllm:{name}", f"vllm:{name}_bucket"} & names
        assert here, name
        labels = next(s.labels for s in read if s.name in here)
        assert labels["model_name"] == "tiny" and labels["engine"] == "0", name
    assert value(read, "process_resident_memory_bytes") > 10e6
    assert abs(value(read, "process_start_time_seconds") - time.time()) < 3600


def test_the_scheduler_is_shown_and_no_text_of_anyone(watched):
    client = client_of(watched)
    streams = [client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=3000, stream=True, extra_body={"ignore_eos": True})
               for _ in range(6)]  # two more than run at once
    deadline = time.monotonic() + PATIENCE
    while True:  # the first reads the prompt for all of them
        with get(watched, "/debug/scheduler") as answer:
            text = answer.read().decode()
        assert "xylophone" not in text
        state = json.loads(text)
        assert len(state["running"]) + len(state["waiting"]) == 6
        if len(state["running"]) == 4:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running = state["running"][0]
    assert running["prompt_tokens"] > 0 and running["blocks"] > 0 and running["phase"] in ("prefill", "decode")
    assert state["pool"]["used"] > 0 and state["pool"]["balanced"]
    assert json.load(get(watched, "/load")) == {"server_load": 6}
    for stream in streams:
        stream.close()
    pool = wait_until_idle(watched)["pool"]
    assert pool["used"] == 0 and pool["cached"] + pool["free"] == pool["total"] and pool["balanced"]


def test_vllms_small_routes(watched):
    assert re.fullmatch(r"\d+\.\d+\.\d+", json.load(get(watched, "/version"))["version"])
    for method in ("GET", "POST"):
        with get(watched, "/ping", method) as answer:
            assert answer.status == 200 and answer.read() == b""


def test_metrics_and_debugging_want_the_key():
    with Server("--api-key", "secret", page=False) as server:
        for path in ("/metrics", "/debug/scheduler", "/load", "/ping", "/version"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(server, path)
            assert get(server, path, Authorization="Bearer secret").status == 200
        assert get(server, "/health").status == 200


def queries(dashboard: dict) -> list[str]:
    found = []

    def walk(node) -> None:
        if isinstance(node, dict):
            found.extend(node[key] for key in ("expr", "query", "definition") if isinstance(node.get(key), str))
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(dashboard)
    return [q for q in found if q != "prometheus"]


def test_every_query_of_the_dashboard_names_what_is_exported(watched):
    exported = {s.name for s in samples(watched)}
    dashboards = list((ROOT / "deploy/grafana").glob("*.json"))
    assert dashboards
    for path in dashboards:
        asked = queries(json.loads(path.read_text()))
        assert len(asked) > 20
        for query in asked:
            names = set(re.findall(r"\b(?:vllm|carronade):\w+|\b(?:process|http)_\w+", query))
            assert names and names <= exported, f"{query}: {names - exported}"


def test_the_scrape_example_asks_for_what_is_there(watched):
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["carronade"]
    assert get(watched, jobs[0]["metrics_path"]).status == 200
    assert jobs[0]["authorization"]["type"] == "Bearer"
