"""Models by name or folder: what is loaded, and what is refused with a reason."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch

from benchmarks.on_device import plain_models
from models import catalogue, registry
from models.catalogue import ModelLocation
from models.errors import ModelInvalid, ModelNotFound

SHIPPED = Path(catalogue.CHECKPOINTS["tiny"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped checkpoint."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "model"))


@pytest.mark.parametrize("name", ["tiny", "tiny-qwen3-vl"])
def test_a_model_that_ships_loads_without_a_network_and_says_what_it_knows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a look-up")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    model = registry.load_model(name, "cpu")

    assert model.spec.name == name
    assert "knows drawn streets only" in (catalogue.limitation(name) or "")


@pytest.mark.parametrize("name", [plain_models.TINY, plain_models.TINY_QWEN])
def test_where_little_is_installed_the_same_models_are_loaded(name: str) -> None:
    plain = plain_models.load(name, torch.device("cpu"))

    assert plain.spec.fingerprint == registry.load_model(name, "cpu").spec.fingerprint


def test_memories_saved_by_earlier_versions_can_still_be_restored() -> None:
    """The fingerprints of the shipped model are those that its memories carry: since this version, and before it."""
    spec = registry.load_model("tiny", "cpu").spec

    assert spec.fingerprint == "850cdc9470d78fa46cfa207fee89d30a2da607346d5dd283770db1eb0ed09df4"
    assert spec.previous_fingerprint == "af3b106639fdfdd819e9d1bd158e77a42bb59092da17ed8c36e29cdf7710338d"


@pytest.mark.parametrize("key", ["unwitnessed", "no_evidence_for"])
def test_a_hermes_json_may_use_the_first_versions_name_of_a_key(folder: Path, key: str) -> None:
    described = json.loads((folder / "hermes.json").read_text())
    texts = described["texts"]
    texts.pop("unwitnessed", None)
    texts.pop("no_evidence_for", None)
    texts[key] = ["never"]
    (folder / "hermes.json").write_text(json.dumps(described))

    prompts = registry.load_model(str(folder), "cpu").prompts

    assert prompts.has_evidence("no")
    assert not prompts.has_evidence("Never.")


def test_an_unknown_key_of_hermes_json_is_refused(folder: Path) -> None:
    (folder / "hermes.json").write_text(json.dumps({"reliable_position": 1_000}))

    with pytest.raises(ModelInvalid, match=r"hermes\.json: .*reliable_position"):
        registry.load_model(str(folder), "cpu")


@pytest.mark.parametrize("text", ["[]", '"texts"', "3"])
def test_a_hermes_json_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / "hermes.json").write_text(text)

    with pytest.raises(ModelInvalid, match=r"hermes\.json: expected a JSON object"):
        registry.load_model(str(folder), "cpu")


@pytest.mark.parametrize(
    ("name", "located"),
    [
        ("llava-onevision-0.5b", ModelLocation(catalogue.CHECKPOINTS["llava-onevision-0.5b"])),
        ("Qwen/Qwen3-VL-2B-Instruct@0123abc", ModelLocation("Qwen/Qwen3-VL-2B-Instruct", "0123abc")),
        ("qwen3-vl-2b@0123abc", ModelLocation("Qwen/Qwen3-VL-2B-Instruct", "0123abc")),
        ("/models/street@home", ModelLocation("/models/street@home")),
    ],
)
def test_a_name_or_a_hub_id_may_name_its_revision(name: str, located: ModelLocation) -> None:
    assert catalogue.located(name) == located


def test_a_family_that_no_code_supports_is_refused_by_name(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llava"}))

    with pytest.raises(
        ModelInvalid,
        match=r"family 'llava' \(supported: cosmos3_omni, llava_onevision, qwen2_5_vl, qwen3_5, qwen3_vl\)",
    ):
        registry.load_model(str(folder), "cpu")


def test_a_model_that_is_neither_here_nor_on_the_hub_is_refused_with_the_way_out() -> None:
    with pytest.raises(ModelNotFound, match=r"'no such/model': .*without internet needs a folder .*docs/models.md"):
        registry.load_model("no such/model", "cpu")


@pytest.mark.parametrize(("name", "meant"), [("Tiny_qwen3_vl", "tiny-qwen3-vl"), ("qwen3-vl8b@v2", "qwen3-vl-8b")])
def test_a_name_with_a_slip_is_refused_with_the_most_similar_one(name: str, meant: str) -> None:
    with pytest.raises(ModelNotFound, match=f"; did you mean '{meant}'\\?$"):
        registry.load_model(name, "cpu")


@pytest.mark.parametrize("name", ["gpt", "qwen3-vl-9b@v2"])
def test_a_name_that_is_neither_known_nor_a_hub_id_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        ModelNotFound, match=f"model '{name}': no folder, and none of tiny, tiny-qwen3-vl, .*OWNER/NAME"
    ):
        registry.load_model(name, "cpu")


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such folder"):
        registry.load_model(str(tmp_path / "nowhere"), "cpu")
