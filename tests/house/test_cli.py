"""`echorl` runs each program, imports that program alone, and names the extra that it needs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from echorl_vl import __version__, cli
from echorl_vl.cli import COMMANDS, main

# Refuses every import but the standard library's, torch's own requirements (numpy is none of them) and ours.
ALONE = """
import importlib.abc, importlib.metadata, re, sys

def required(name, found):
    if name not in found:
        found.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            return found
        for line in lines:
            if "extra ==" not in line:
                required(re.match(r"[\\w.-]+", line)[0].lower().replace("_", "-"), found)
    return found

expected = required("torch", set())
names = importlib.metadata.packages_distributions()
allowed = {module for module, owners in names.items() if {o.lower().replace("_", "-") for o in owners} & expected}
allowed |= set(sys.stdlib_module_names) | {"echorl_vl", "torch", "sitecustomize", "usercustomize"}

class Alone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Alone())
assert not {"numpy", "yaml", "transformers"} & allowed
"""

CORE = """
import warnings
warnings.simplefilter("ignore")  # torch says that numpy is missing
import torch
from echorl_vl.core import EchoConfig, echo_loss, mine_echo_clips

step_ids = torch.tensor([[0, 0, 1, 1, 2, 2]]).repeat(2, 1)
entropy = torch.tensor([[0.1, 0.1, 0.9, 0.9, 0.2, 0.2], [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]])
group, verified = torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.bool)
clips = mine_echo_clips(entropy, step_ids, group, verified, EchoConfig(min_step_tokens=1))
log_probs = torch.full((2, 6), -0.5, requires_grad=True)
loss = echo_loss(log_probs, clips.token_weights, 1)
loss.backward()
print(len(clips), clips.token_weights.count_nonzero().item(), bool(log_probs.grad.abs().sum() > 0))
"""


def run_alone(script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script that can import torch, its requirements and this package only."""
    return subprocess.run([sys.executable, "-c", ALONE + script, *arguments], capture_output=True, text=True, cwd=cwd)


def test_core_works_with_torch_alone(tmp_path) -> None:
    done = run_alone(CORE, cwd=tmp_path)
    assert done.stdout.split() == ["1", "4", "True"], done.stderr[-2000:]


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.extra])
def test_a_missing_extra_is_named(name, tmp_path) -> None:
    done = run_alone("from echorl_vl.cli import main\nsys.exit(main(sys.argv[1:]))", name, "x", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr and not done.stdout
    assert done.stderr.count("\n") == 1 and f"error: `echorl {name}` needs the package " in done.stderr
    assert done.stderr.strip().endswith(f'pip install "echorl-vl[{COMMANDS[name].extra}]"')


def test_init_needs_no_extra(tmp_path) -> None:
    done = run_alone("from echorl_vl.cli import main\nsys.exit(main(sys.argv[1:]))", "init", "my.yaml", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "my.yaml").is_file(), done.stderr


def test_an_import_error_in_our_own_code_is_not_a_missing_extra(monkeypatch) -> None:
    def broken(name: str):
        raise ModuleNotFoundError("No module named 'echorl_vl.gone'", name="echorl_vl.gone")

    monkeypatch.setattr(cli, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match=r"echorl_vl\.gone"):
        main(["train"])


@pytest.mark.parametrize("flags", [["--help"], ["-h"], []])
def test_help_lists_every_command_on_one_line(flags, capsys) -> None:
    assert main(flags) == (0 if flags else 2)
    lines = capsys.readouterr().out.splitlines()
    for name, command in COMMANDS.items():
        assert [line for line in lines if line.split()[:1] == [name] and line.endswith(command.summary)]
    assert max(map(len, lines)) <= 100


def test_the_version_is_printed(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"echorl-vl {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("trian", "did you mean train?"),
        ("evaluate", "did you mean eval?"),
        ("--plot", "did you mean plots?"),
        ("my.yaml", "did you mean `echorl train my.yaml`?"),
        ("\x1b[2J", "expected one of init, train,"),
    ],
)
def test_an_unknown_command_suggests_the_nearest_one(typed, advice, capsys) -> None:
    assert main([typed]) == 2
    error = capsys.readouterr().err
    assert advice in error and "\x1b" not in error


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_command_as_it_was_typed(name, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/echorl", name, "--help"])
    program = import_module(COMMANDS[name].module)
    try:
        assert main([name, "--help"]) == 0
    except SystemExit as end:  # argparse's
        assert end.code == 0
    by_echorl = capsys.readouterr().out
    assert by_echorl.startswith(f"usage: echorl {name} ")
    monkeypatch.setattr(sys, "argv", ["/somewhere/module.py"])
    with contextlib.suppress(SystemExit):
        program.main(["--help"])
    assert capsys.readouterr().out.startswith("usage: python -m ")


def test_other_programs_are_not_imported(tmp_path) -> None:
    script = "import sys\nfrom echorl_vl import cli\ncli.main(['init', 'my.yaml'])\nprint(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    loaded = {name for name in eval(done.stdout.splitlines()[-1]) if name.split(".")[0] not in sys.stdlib_module_names}
    assert not {name for name in loaded if name.split(".")[0] in ("torch", "numpy", "yaml", "rich", "transformers")}
    assert {name for name in loaded if name.startswith("echorl_vl.")} <= {
        *("echorl_vl.cli", "echorl_vl.errors", "echorl_vl.init", "echorl_vl.outputs"),
        *(f"echorl_vl.outputs.{name}" for name in ("atomic", "command", "terminal")),
    }
