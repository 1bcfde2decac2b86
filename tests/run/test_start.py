"""Errors of a start are reported before anything is loaded: an engine that is not installed, a configuration for
another machine, a hub that can't be reached."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants

from echorl_vl import train
from echorl_vl.config import ENGINES, load_config
from echorl_vl.engines import hub
from echorl_vl.engines.hub import check_hub, is_hub_id
from echorl_vl.engines.ray import host
from echorl_vl.engines.start import check_start
from echorl_vl.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
GEO3K = REPOSITORY / "configs/geo3k.yaml"
TINY = REPOSITORY / "configs/geo3k_tiny.yaml"
LOCAL = ENGINES["local"]
MODEL = "worker.actor.model.model_path"


@pytest.fixture(autouse=True)
def no_easyr1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides EasyR1, if it is installed."""
    monkeypatch.setattr(host, "_verl_folder", lambda: None)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that refuses every connection."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


class FakeHub(BaseHTTPRequestHandler):
    """Has the models `small/model` (1,000 parameters) and `large/model` (10^15), and the data set `some/set`."""

    KNOWN: ClassVar = {"models/small/model": 1000, "models/large/model": 10**15, "datasets/some/set": None}

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/").partition("?")[0]
        known = name in self.KNOWN
        body = {"id": name.partition("/")[2], "error": "Repository not found"}
        if known and self.KNOWN[name]:
            body["safetensors"] = {"parameters": {"BF16": self.KNOWN[name]}, "total": self.KNOWN[name]}
        text = json.dumps(body).encode()
        self.send_response(200 if known else 404)
        if not known:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def config(*overrides: str, path: Path = TINY):
    return load_config(path, overrides)


def error_of(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        check_hub(config(*overrides), LOCAL)
    return str(caught.value)


# --- a configuration for GPUs on a machine without ---


def test_a_configuration_for_gpus_is_refused_with_ways_out() -> None:
    with pytest.raises(UserError) as caught:
        check_start(config(path=GEO3K), LOCAL)
    message = str(caught.value)
    assert message.startswith(f"{MODEL} = Qwen/Qwen2.5-VL-7B-Instruct ({GEO3K} line ")
    for part in ("EasyR1 and GPUs", "n_gpus_per_node is set", "EasyR1 is not installed"):
        assert part in message
    for way in ("docs/easyr1.md", f"{MODEL}=FOLDER", "configs/geo3k_tiny.yaml", "engine=local"):
        assert way in message


def test_it_is_refused_before_heavy_imports_and_without_the_hub() -> None:
    """In another process, with a hub that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            "import sys\nfrom echorl_vl import train\nfrom echorl_vl.engines.ray import host\n"
            "host._verl_folder = lambda: None\n"
            "status = train.main(sys.argv[1:])\n"
            "heavy = {'transformers', 'datasets', 'peft', 'pandas', 'matplotlib.figure', 'huggingface_hub'}\n"
            "print('status', status, 'imported', sorted(heavy & set(sys.modules)))"
        )
        environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(GEO3K)], capture_output=True, text=True, env=environment, timeout=120
        )
    assert "status 2 imported []" in done.stdout
    assert "error: worker.actor.model.model_path = Qwen" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "overrides",
    [
        ("engine=local",),
        ("trainer.device=cpu",),
        (f"{MODEL}=echorl_vl/tiny/model",),
    ],
)
def test_it_trains_on_the_local_engine_on_request(overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echorl_vl.engines.start.check_hub", lambda config, engine: None)
    check_start(config(*overrides, path=GEO3K), LOCAL)


def test_a_configuration_without_devices_trains_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echorl_vl.engines.start.check_hub", lambda config, engine: None)
    check_start(config("engine=auto", f"{MODEL}=small/model"), LOCAL)


# --- engines that are not installed ---


@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize(
    ("engine", "how"), [("easyr1", "https://github.com/hiyouga/EasyR1"), ("verl", "pip install 'verl[verl-core]")]
)
def test_an_engine_that_is_not_installed_says_how_to_install_it(
    engine: str, how: str, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = REPOSITORY / ("configs/geo3k.yaml" if engine == "easyr1" else "configs/math_1_5b_verl.yaml")
    assert train.main([str(file), f"engine={engine}", f"trainer.device={device}"]) == 2
    message = capsys.readouterr().err
    assert f"\nerror: engine {engine}: " in message and how in message and "Traceback" not in message


# --- the hub ---


def test_a_hub_that_refuses_connections_is_reported_for_each_key() -> None:
    message = error_of(f"{MODEL}=some/model", "data.train_files=some/set@train", "data.val_files=some/set@test")
    lines = message.splitlines()
    assert lines[0] == "3 problems in the configuration:"
    for line, key in zip(lines[1:], (MODEL, "data.train_files", "data.val_files"), strict=True):
        assert line.strip().startswith(f"{key} = ") and "(command line)" in line
        assert "http://127.0.0.1:9 can't be reached" in line and "expected a path, or a network" in line


def test_a_hub_that_never_answers_is_given_up_after_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TIME_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert "can't be reached" in error_of("data.train_files=some/set@train")


def test_a_client_without_a_time_limit_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: forever.wait(60))
    monkeypatch.setattr(hub, "TIME_LIMIT", 0.2)
    assert "no answer within 0.2 seconds" in error_of("data.train_files=some/set@train")
    forever.set()


def test_offline_mode_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "can't be reached (" in error_of(f"{MODEL}=some/model")


def test_local_and_cached_inputs_need_no_hub(empty_cache: Path) -> None:
    check_hub(config(), LOCAL)  # folders and generators
    (empty_cache / "hub/models--some--model/snapshots/1").mkdir(parents=True)
    (empty_cache / "hub/datasets--some--set/snapshots/1").mkdir(parents=True)
    (empty_cache / "datasets/other___set/default").mkdir(parents=True)
    check_hub(config(f"{MODEL}=some/model", "data.train_files=some/set@train", "data.val_files=other/set@test"), LOCAL)


def test_inputs_that_the_hub_has_pass(fake_hub) -> None:
    check_hub(config(f"{MODEL}=small/model", "data.train_files=some/set@train"), LOCAL)


def test_all_inputs_that_the_hub_does_not_have_are_listed(fake_hub) -> None:
    message = error_of(f"{MODEL}=smal/model", "data.train_files=some/set@train", "data.val_files=some/st@test")
    assert message.startswith("2 problems in the configuration:")
    assert f'{MODEL} = "smal/model" (command line): no such model on the hub' in message
    assert 'data.val_files = "some/st@test" (command line): no such dataset on the hub' in message


def test_a_model_that_is_too_large_for_this_machine_is_refused(fake_hub) -> None:
    torch = pytest.importorskip("torch")
    large = (f"{MODEL}=large/model", "trainer.device=cpu")
    message = error_of(*large)
    assert message.startswith(f'{MODEL} = "large/model" (command line): 1000000.00 billion parameters')
    assert "weights, gradients and AdamW" in message and "expected at most this machine's" in message
    assert "frozen weights" in error_of(*large, "worker.actor.model.lora.rank=8")
    check_hub(config(*large), ENGINES["easyr1"])  # has its own check
    assert torch is not None


def test_an_unexpected_answer_of_the_hub_is_ignored(fake_hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeHub, "do_GET", lambda self: self.send_error(500))
    check_hub(config(f"{MODEL}=small/model"), LOCAL)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("gpt2", True),
        ("hiyouga/geometry3k", True),
        ("generated/geometry3k", False),
        ("problems.jsonl", False),
        ("echorl_vl/no_such_model", False),
        ("./model", False),
        ("/data/model", False),
        ("a/b/c", False),
        ("https://huggingface.co/a/b", False),
    ],
)
def test_hub_ids_and_paths_are_distinguished(place: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert is_hub_id(place) is expected
