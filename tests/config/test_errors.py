"""Errors of the user pass from process to process."""

from __future__ import annotations

import pickle

import pytest

from echorl_vl.data.bad_rows import RowError
from echorl_vl.data.images import ImageError
from echorl_vl.errors import UserError
from echorl_vl.outputs.lock import FolderInUse
from echorl_vl.types import Problem

ERRORS = [
    UserError("config.yaml: no such key"),
    ImageError("set, row 1", "the picture is torn"),
    RowError(Problem("set:1", "?", "1"), "images[0]", "the picture is torn"),
    FolderInUse("run", "7"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_out_of_a_pickle_as_it_went_in(error: UserError) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))
