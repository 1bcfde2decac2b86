"""docs/quickstart.ipynb runs top to bottom in any folder, and its stored outputs are clean."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs/quickstart.ipynb"
MAX_BYTES = 400_000
LOCAL_PATH = re.compile(r"(?<![\w.:/])/(?:work|home|root|tmp|var|opt|usr|mnt|Users|private)/|[A-Z]:\\Users")
CLUTTER = re.compile(r"warning|traceback|it/s\]|tokens/s", re.IGNORECASE)


def cells(kind: str) -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def texts(output: dict) -> list[str]:
    """Return everything that an output shows as text."""
    shown = [output.get("text", ""), *(value for kind, value in output.get("data", {}).items() if "image" not in kind)]
    return ["".join(text) for text in shown]


def test_every_code_cell_parses():
    for cell in cells("code"):
        ast.parse("".join(cell["source"]))


def test_the_stored_run_is_complete_and_without_errors():
    code = cells("code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_outputs_contain_no_local_paths_and_no_clutter():
    shown = [text for cell in cells("code") for output in cell["outputs"] for text in texts(output)]
    assert [text for text in shown if LOCAL_PATH.search(text) or CLUTTER.search(text)] == []
    assert [cell["source"] for cell in cells("code") if LOCAL_PATH.search("".join(cell["source"]))] == []


def test_the_file_is_small_and_its_metadata_is_minimal():
    assert NOTEBOOK.stat().st_size < MAX_BYTES
    metadata = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert set(metadata) == {"kernelspec", "language_info"}
    assert all(cell["metadata"] == {} for kind in ("code", "markdown") for cell in cells(kind))


def test_links_lead_to_existing_pages():
    links = re.findall(r"\]\(([^)#]+)", "".join("".join(cell["source"]) for cell in cells("markdown")))
    assert len(links) > 5
    assert [link for link in links if "://" not in link and not (NOTEBOOK.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_runs_top_to_bottom_in_any_folder(tmp_path):
    reason = "running the notebook needs ipykernel, nbclient and nbformat: pip install ipykernel nbclient"
    nbformat, nbclient, _ = (pytest.importorskip(name, reason=reason) for name in ("nbformat", "nbclient", "ipykernel"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=1500, kernel_name="python3", resources=resources)
    client.execute()  # raises CellExecutionError if a cell or an assertion fails
    assert list(tmp_path.iterdir()) == []  # the run uses its own temporary folder
