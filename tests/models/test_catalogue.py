"""What a model's name leads to is known without torch, and no name is a fault of the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import catalogue
from models.errors import ModelInvalid, ModelNotFound


@pytest.mark.parametrize("name", ["~no-such-user/model", "~/no such folder", "m" * 300, "", "@", "/nothing/here@v1"])
def test_a_name_that_can_be_no_model_is_refused(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"^model "):
        catalogue.require_known(name)


def test_a_model_that_knows_little_says_so_by_whichever_name_and_others_say_nothing() -> None:
    names = ("tiny", catalogue.CHECKPOINTS["tiny-qwen3-vl"])

    assert [catalogue.limitation(name) for name in ("qwen3-vl-2b", "own/model")] == [None, None]
    assert all(f"{name!r} knows drawn streets only" in str(catalogue.limitation(name)) for name in names)


@pytest.mark.parametrize("name", ["tiny", "Qwen/Qwen3-VL-2B-Instruct@refs/pr/3", "qwen3-vl-2b@main", "own/model"])
def test_a_name_that_may_be_a_model_passes(name: str) -> None:
    catalogue.require_known(name)


def test_a_folder_passes_from_wherever_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model@home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    for name in ("model@home", "./model@home", "~/model@home", str(tmp_path / "model@home")):
        catalogue.require_known(name)
    with pytest.raises(ModelInvalid, match="has no revision 'v1'"):
        catalogue.require_known(f"{tmp_path}@v1")
