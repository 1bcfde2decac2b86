"""An engine is one folder: a toy engine is listed, checked and run; and no shared code names an engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from echorl_vl.config import ENGINES, load_config
from echorl_vl.engines.base import Engine, register
from echorl_vl.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "echorl_vl"
CONFIG = REPOSITORY / "configs/math_tiny.yaml"

TOY = "toy_of_this_test"
CODE = f"""
from echorl_vl.config.issues import issue_at
from echorl_vl.engines.base import Engine, register


@register
class ToyEngine(Engine):
    name = "{TOY}"
    summary = "says what it would train"
    accepts = {{"worker.rollout.top_p": ((1.0,), "engine {TOY} supports 1")}}
    ignores = ("worker.actor.padding_free",)

    def issues(self, config):
        found = super().issues(config)
        if config.data.seed == 13:
            found.append(issue_at(config, "data.seed", "engine {TOY} is superstitious"))
        return found

    def run(self, config):
        print("{TOY} trains", config.trainer.max_steps, "steps")
        return 0
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and two more engines: the toy, and the example of the documentation."""
    home = tmp_path_factory.mktemp("home")
    engines = home / "echorl_vl/engines"
    engines.mkdir(parents=True)
    for source, target in ((PACKAGE, engines.parent), (PACKAGE / "engines", engines)):
        for entry in source.iterdir():
            if entry.name not in ("engines", "__pycache__", "nothing"):
                (target / entry.name).symlink_to(entry)
    page = (REPOSITORY / "docs/engines.md").read_text(encoding="utf-8")
    [documented] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for name, code in ((TOY, CODE), ("nothing", documented)):
        (engines / name).mkdir()
        (engines / name / "engine.py").write_text(code)
    return home


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *arguments]
    environment = os.environ | {"PYTHONPATH": str(home)}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120)


def test_an_engine_is_listed_in_the_help(home: Path) -> None:
    assert f"  {TOY}: says what it would train\n" in run(home, "echorl_vl.train", "--help").stdout
    text = " ".join(run(home, "echorl_vl.train", "--help-all").stdout.split())
    assert f"(one of auto, {', '.join(sorted({*ENGINES, TOY, 'nothing'}))})" in text
    assert re.search(rf"[;,] {TOY}(, \w+)*: only 1\.0[;)]", text)
    acting = set(re.search(r"padding_free = true ([\w, ]+): pack", text)[1].split(", "))
    assert {"easyr1", "local", "nothing", "verl"} <= acting and TOY not in acting


def test_issues_of_an_engine_are_listed_with_all_others(home: Path) -> None:
    invalid = ["worker.rollout.n=1", "worker.rollout.top_p=0.9", "data.seed=13"]
    error = run(home, "echorl_vl.train", str(CONFIG), f"engine={TOY}", *invalid).stderr
    assert error.startswith("error: 3 problems in the configuration:")
    for part in ("expected at least 2", f"engine {TOY} supports 1", f"engine {TOY} is superstitious"):
        assert part in error


def test_an_algorithm_without_support_is_refused(home: Path) -> None:
    luffy = ["algorithm.name=luffy", "data.trace_key=x"]
    error = run(home, "echorl_vl.train", str(CONFIG), f"engine={TOY}", *luffy).stderr
    having = r"engine (\w+ or )*easyr1 or (\w+ or )*local( or \w+)* does"
    needs = "demonstrations among the rows of a group"
    assert re.search(f"{needs}, which engine {TOY} does not support; {having}", error), error


def test_an_engine_runs(home: Path) -> None:
    done = run(home, "echorl_vl.train", str(CONFIG), f"engine={TOY}", "trainer.max_steps=7")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"engine: {TOY} (as configured)\n")
    assert done.stdout == f"{TOY} trains 7 steps\n"
    assert run(home, "echorl_vl.engines.check", TOY).stdout.startswith("torch ")


@pytest.mark.slow
def test_the_engine_of_the_documentation_runs(home: Path) -> None:
    done = run(home, "echorl_vl.train", str(CONFIG), "engine=nothing")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2000\n"


def test_an_engine_can_be_registered_outside_the_package() -> None:
    class Mine(Engine):
        name, summary = "mine_in_this_test", "a custom engine"

        def run(self, config):
            return 0

    register(Mine)
    try:
        assert load_config(CONFIG, [f"engine={Mine.name}"]).engine == Mine.name
        with pytest.raises(ValueError, match=f"two engines are called {Mine.name!r}"):
            register(Mine)
    finally:
        del ENGINES[Mine.name]
    with pytest.raises(UserError, match=f"one of auto, {', '.join(ENGINES)}$"):
        load_config(CONFIG, [f"engine={Mine.name}"])


# --- no shared code names an engine ---

CALLED = "|".join(f"{name} engine|engine {name}" for name in ENGINES)  # `local` alone is an ordinary word
NAMES = re.compile(rf"\b(easyr1|verl|{CALLED}|EasyR1 engine|engines? on Ray)\b")


ABOVE = ("engines", "evidence")
INTERFACES = ("rewards",)  # has the interfaces of EasyR1's and verl's reward functions
PLACES = {one.name for one in PACKAGE.iterdir() if one.suffix in ("", ".py")} - {*ABOVE, *INTERFACES, "__pycache__"}


@pytest.mark.parametrize("place", sorted(PLACES))
def test_no_engine_is_named_in(place: str) -> None:
    """Except in comments; `EasyR1` alone is the format of the configuration file."""
    path = PACKAGE / place
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        with tokenize.open(file) as stream:
            tokens = [one for one in tokenize.generate_tokens(stream.readline) if one.type != tokenize.COMMENT]
        named = [f"line {one.start[0]}: {found[0]}" for one in tokens if (found := NAMES.search(one.string))]
        assert not named, f"{file.relative_to(REPOSITORY)}: {named}"


# --- no heavy imports ---

PROGRAM = """
import sys
import echorl_vl.engines
from echorl_vl import train
status = train.main(sys.argv[1:])
heavy = {"torch", "transformers", "datasets", "ray", "verl", "matplotlib", "PIL", "pyarrow"}
print("status", status, "imported", sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--help-all"], 0),
        ([str(REPOSITORY / "configs/geo3k.yaml"), "--print-config"], 0),
        ([str(REPOSITORY / "configs/geo3k.yaml"), "engine=easyr1", "worker.rollout.n=1"], 2),
        ([str(REPOSITORY / "configs/math_1_5b_verl.yaml"), "worker.rollout.n=1", "echo.coef=-1"], 2),
        ([str(CONFIG), "engine=local", "trainer.critic_warmup=2"], 2),
    ],
    ids=["help", "help-all", "print", "easyr1", "verl", "local"],
)
def test_a_configuration_is_checked_without_importing_torch(arguments: list[str], status: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == f"status {status} imported []", done.stderr
