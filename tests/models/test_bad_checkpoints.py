"""What does not fit is refused with the reason before anything is on the device, for every family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import placement, registry
from models.errors import ModelInvalid
from tests.models.families import FAMILIES, write_checkpoint

WEIGHTS, CONFIG, PROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"
GENERATION, HERMES, INDEX = "generation_config.json", "hermes.json", "model.safetensors.index.json"


@pytest.fixture(scope="module", params=list(FAMILIES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(FAMILIES[request.param]().model, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def without(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def in_parts_of_which_one_is_missing(folder: Path) -> None:
    names = list(load_file(folder / WEIGHTS))
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    weight_map = dict.fromkeys(names, "model-00001-of-00002.safetensors")
    weight_map[names[-1]] = "model-00002-of-00002.safetensors"
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def without_vision(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    kept = {name: tensor for name, tensor in weights.items() if "visual" not in name and "vision" not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})


def with_text(**values: Any) -> Callable[[Path], None]:
    def set_values(folder: Path) -> None:
        text = json.loads((folder / CONFIG).read_text())["text_config"]
        change(folder / CONFIG, text_config=text | values)

    return set_values


def with_more_heads(folder: Path) -> None:
    text = json.loads((folder / CONFIG).read_text())["text_config"]
    change(folder / CONFIG, text_config=text | {"num_key_value_heads": 2 * text["num_key_value_heads"]})


def with_a_layer_less(folder: Path) -> None:
    """Of the same kinds, so that the layers that are left find their weights."""
    text = json.loads((folder / CONFIG).read_text())["text_config"]
    num_layers = text["num_hidden_layers"] - 1
    kinds = {"layer_types": text["layer_types"][:num_layers]} if "layer_types" in text else {}
    change(folder / CONFIG, text_config=text | {"num_hidden_layers": num_layers} | kinds)


def without_a_text_config(folder: Path) -> None:
    """transformers takes the shape of a model of billions of weights then."""
    config = json.loads((folder / CONFIG).read_text())
    del config["text_config"]
    (folder / CONFIG).write_text(json.dumps(config))


def in_a_pickled_part(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "model.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(folder / WEIGHTS), "model.bin")}
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps(index))


def with_an_index_of_nothing(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {}}))


def with_rope(**values: Any) -> Callable[[Path], None]:
    def set_values(folder: Path) -> None:
        text = json.loads((folder / CONFIG).read_text())["text_config"]
        change(folder / CONFIG, text_config=text | {"rope_parameters": text["rope_parameters"] | values})

    return set_values


def with_sliding_layers(folder: Path) -> None:
    text = json.loads((folder / CONFIG).read_text())["text_config"]
    kinds = ["sliding_attention"] * text["num_hidden_layers"]
    change(folder / CONFIG, text_config=text | {"layer_types": kinds})


def with_another_processor(folder: Path) -> None:
    found = json.loads((folder / PROCESSOR).read_text())
    if "patch_size" in found:
        change(folder / PROCESSOR, patch_size=14)
    else:
        change(folder / PROCESSOR, size={"height": 384, "width": 384})


BAD = {
    "a folder without weights": (without(WEIGHTS), r"no weights \(only model\.safetensors is read"),
    "pickled weights": (pickled, r"pytorch_model\.bin is pickled, which could run any code"),
    "weights that end early": (truncated, r"model\.safetensors: damaged, or not copied to its end"),
    "a part that is missing": (in_parts_of_which_one_is_missing, r"model-00002-of-00002.* is missing \(1 of 2 files\)"),
    "a model without a vision encoder": (without_vision, r"\d+ weights are missing: "),
    "a folder without a config": (without(CONFIG), r"has no config\.json"),
    "a family that nobody added": (lambda folder: change(folder / CONFIG, model_type="gemma4"), "family 'gemma4' .sup"),
    "a config that is none": (with_text(hidden_size="wide"), "hidden_size"),
    "another head count than the weights have": (with_more_heads, r"k_proj\.\w+ is \[.*\] \(its config says \["),
    "a config of a larger model": (without_a_text_config, r"[\d,]+ weights, but config\.json describes [\d,]{11,}"),
    "a config of fewer layers": (with_a_layer_less, r"layers\.\d\..* is of no layer \(its config says \d layers\)"),
    "pickled weights under an index of safetensors": (in_a_pickled_part, r"expected \*\.safetensors .*'model\.bin'"),
    "an index of nothing": (
        with_an_index_of_nothing,
        "weight_map is {}: expected the file of each weight",
    ),
    "no layer at all": (with_text(num_hidden_layers=0, layer_types=[]), "no layer of the kind 'full_attention'"),
    "a number that divides nothing": (with_text(num_key_value_heads=0), "model '.*': "),
    "a model type that is no name": (lambda folder: change(folder / CONFIG, model_type=["qwen3_vl"]), "family .'qwen"),
    "frequencies that change as the text grows": (with_rope(rope_type="dynamic", factor=2.0), "rope_type 'dynamic'"),
    "sections for another head": (with_rope(mrope_section=[2, 1, 1]), r"mrope_section is \[2, 1, 1\] \(for \d+ rot"),
    "a token of frames beyond the vocabulary": (
        lambda folder: change(folder / CONFIG, vision_start_token_id=100_000),
        r"vision_start_token_id is 100,000 \(the network has \d+ tokens\)",
    ),
    "more positions than the decoder has": (
        lambda folder: change(folder / HERMES, reliable_positions=100_000),
        r"reliable_positions is 100000: the positions of the decoder end at [\d,]+",
    ),
    "a folder without a tokenizer": (without("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
    "an end token of another vocabulary": (
        lambda folder: change(folder / GENERATION, eos_token_id=[100_000, 100_001]),
        r"eos_token_id is \[100000, 100001\]: no answer would end \(the network has \d+ tokens\)",
    ),
    "a vocabulary smaller than the tokenizer's": (with_text(vocab_size=40), r"tokenizer of \d+ tokens \(.* has 40\)"),
    "weights that another library quantised": (
        lambda folder: change(folder / CONFIG, quantization_config={"quant_method": "awq", "bits": 4}),
        "its weights are quantised",
    ),
    "layers of a kind that is not run": (with_sliding_layers, r"kind 'sliding_attention' \(supported: full_attention"),
    "a processor of another model": (with_another_processor, r"(patch_size|size) is "),
}


@pytest.mark.parametrize("bad", list(BAD))
def test_what_does_not_fit_is_refused_with_the_reason(folder: Path, bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bad, reason = BAD[bad]
    make_bad(folder)
    placed: list[object] = []
    monkeypatch.setattr(placement, "place", lambda *arguments: placed.append(arguments))

    with pytest.raises(ModelInvalid, match=reason):
        registry.load_model(str(folder), "cpu")

    assert placed == []  # nothing was on the device
