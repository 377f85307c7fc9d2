"""The files beside a checkpoint's weights are read, or refused by file, key and value; none is passed over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import catalogue, generation_config, processor_config, registry
from models.checkpoint_files import CheckpointFiles
from models.errors import ModelInvalid
from models.generation_config import GenerationConfig, TokenSampler
from models.processor_config import PixelScale

SHIPPED = Path(catalogue.CHECKPOINTS["tiny"])
GENERATION, HERMES, PREPROCESSOR = "generation_config.json", "hermes.json", "preprocessor_config.json"

Change = Callable[..., Path]


@pytest.fixture
def changed(tmp_path: Path) -> Change:
    """Copies the shipped checkpoint, with other values for keys of one file."""

    def change(name: str, **values: Any) -> Path:
        folder = Path(shutil.copytree(SHIPPED, tmp_path / "model"))
        path = folder / name
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(content | values))
        return folder

    return change


@pytest.mark.parametrize("name", [GENERATION, HERMES, PREPROCESSOR, "processor_config.json"])
@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"\xff\xfe{}", b"null", b"[" * 100_000])
def test_a_file_that_is_no_json_object_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "model"))
    (folder / name).write_bytes(content)

    with pytest.raises(ModelInvalid, match=name.replace(".", r"\.")):
        registry.load_model(str(folder), "cpu")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        (PREPROCESSOR, "image_mean", [0.5, 0.5]),
        (PREPROCESSOR, "image_mean", "half"),
        (PREPROCESSOR, "image_std", [0.5, 0.0, 0.5]),
        (PREPROCESSOR, "image_std", [0.5, float("nan"), 0.5]),
        (PREPROCESSOR, "rescale_factor", 1.0),
        (PREPROCESSOR, "do_normalize", False),
        (PREPROCESSOR, "do_center_crop", True),
        (PREPROCESSOR, "size", {"height": 384, "width": 384}),
        (PREPROCESSOR, "size", {"shortest_edge": 64}),
        (PREPROCESSOR, "max_pixels", 12_845_056),
        ("processor_config.json", "audio_processor", {}),
        (GENERATION, "num_beams", 4),
        (GENERATION, "no_repeat_ngram_size", 3),
        (GENERATION, "suppress_tokens", [1, 2]),
        (GENERATION, "min_p", 0.1),
        (GENERATION, "repetition_penalty", 0),
        (GENERATION, "repetition_penalty", "much"),
        (GENERATION, "do_sample", "yes"),
        (GENERATION, "repetition_penalty", 1e-300),
        (GENERATION, "top_k", -1),
        (GENERATION, "top_k", 2.5),
        (GENERATION, "top_p", 1.5),
        (GENERATION, "eos_token_id", []),
        (GENERATION, "eos_token_id", ["<end>"]),
        (HERMES, "reliable_positions", -1),
    ],
)
def test_what_is_not_supported_is_refused_with_file_key_and_value(
    changed: Change, name: str, key: str, value: object
) -> None:
    folder = changed(name, **{key: value})

    with pytest.raises(ModelInvalid) as refused:
        registry.load_model(str(folder), "cpu")

    assert name in str(refused.value)
    assert f"{key} is {json.dumps(value)}" in str(refused.value)


def test_a_temperature_counts_only_where_answers_are_sampled(changed: Change) -> None:
    folder = changed(GENERATION, do_sample=False, temperature=0.0, num_beams=1, max_length=20, top_k=None)

    assert registry.load_model(str(folder), "cpu").generation == GenerationConfig(end_ids=(6,))


@pytest.mark.parametrize("temperature", [0, 1e-300, float("inf"), float("nan"), 10**400])
def test_a_temperature_by_which_no_token_can_be_drawn_is_refused(changed: Change, temperature: float) -> None:
    with pytest.raises(ModelInvalid, match=r"generation_config\.json: temperature is"):
        registry.load_model(str(changed(GENERATION, do_sample=True, temperature=temperature)), "cpu")


def test_whole_numbers_are_read_as_numbers(changed: Change) -> None:
    """JSON writes 1.0 as 1, too; transformers' own classes refuse an int when an answer begins."""
    folder = changed(GENERATION, do_sample=True, temperature=2, repetition_penalty=2, top_p=1)

    TokenSampler(registry.load_model(str(folder), "cpu").generation)


def test_the_generation_config_of_a_published_chat_model_is_read(changed: Change) -> None:
    """That of Qwen2-Instruct."""
    published = {
        "bos_token_id": 7,
        "pad_token_id": 7,
        "do_sample": True,
        "eos_token_id": [6, 8],
        "repetition_penalty": 1.05,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "transformers_version": "4.37.0",
    }

    found = registry.load_model(str(changed(GENERATION, **published)), "cpu").generation

    assert found == GenerationConfig(
        end_ids=(6, 8), repetition_penalty=1.05, is_sampled=True, temperature=0.7, top_k=20, top_p=0.8
    )


def test_without_a_generation_config_the_tokenizers_end_token_ends_an_answer(tmp_path: Path) -> None:
    assert generation_config.read(CheckpointFiles(str(tmp_path)), 6, 81) == GenerationConfig(end_ids=(6,))
    with pytest.raises(ModelInvalid, match="eos_token_id"):
        generation_config.read(CheckpointFiles(str(tmp_path)), None, 81)


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))


def native(folder: Path, **values: object) -> tuple[PixelScale, tuple[int, int]]:
    """As a vision encoder with cells of 32 pixels reads its processor config."""
    write(folder, PREPROCESSOR, values)
    return processor_config.native_scale(CheckpointFiles(folder), patch=16, merge=2, frames_per_group=2, max_cells=256)


def test_a_processor_whose_frames_have_no_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"size is .*: expected shortest_edge and longest_edge"):
        native(tmp_path, size={"shortest_edge": 65_536, "longest_edge": 4_096})


@pytest.mark.parametrize(("key", "value"), [("patch_size", 14), ("merge_size", 4), ("temporal_patch_size", 1)])
def test_a_processor_that_cuts_other_patches_is_refused(tmp_path: Path, key: str, value: int) -> None:
    with pytest.raises(ModelInvalid, match=rf"{key} is {value}: expected"):
        native(tmp_path, **{key: value})


@pytest.mark.parametrize(
    ("shortest", "longest", "cells"),
    [(4_096, 25_165_824, (4, 256)), (65_536, 131_072, (64, 128)), (1, 1_023, (1, 1)), (1 << 30, 1 << 30, (256, 256))],
)
def test_pixels_of_a_frame_are_the_fewest_and_most_cells(
    tmp_path: Path, shortest: int, longest: int, cells: tuple[int, int]
) -> None:
    assert native(tmp_path, size={"shortest_edge": shortest, "longest_edge": longest})[1] == cells
    assert native(tmp_path)[1] == (1, 256)


def test_the_processor_of_videos_goes_before_that_of_images(tmp_path: Path) -> None:
    """As in transformers: the nested one, then the file of videos, then the file of images."""
    files, means = CheckpointFiles(str(tmp_path)), []
    published = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_grid_pinpoints": [[384, 384], [384, 768]],
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "LlavaOnevisionProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": 384, "width": 384},
    }
    described = {"image_token": "<image>", "num_image_tokens": 729, "processor_class": "LlavaOnevisionProcessor"}

    def mean() -> float:
        return processor_config.pixel_scale(files, 384).mean[0]

    means.append(mean())
    write(tmp_path, "processor_config.json", described | {"image_processor": published | {"image_mean": [0.1] * 3}})
    means.append(mean())
    write(tmp_path, PREPROCESSOR, published | {"image_mean": [0.2] * 3})
    means.append(mean())
    write(tmp_path, "video_preprocessor_config.json", published | {"image_mean": [0.3] * 3})
    means.append(mean())
    write(tmp_path, "processor_config.json", described | {"video_processor": published | {"image_mean": [0.4] * 3}})
    means.append(mean())
    assert means == [PixelScale().mean[0], 0.1, 0.2, 0.3, 0.4]


SHOW = """
import json, sys
from models import catalogue, registry
model = registry.load_model("someone/tiny", "cpu")
print(json.dumps([model.generation.end_ids, model.spec.reliable_positions, model.spec.fingerprint]))
"""


def test_the_files_of_a_hub_id_are_read_as_those_of_a_folder(changed: Change, tmp_path: Path) -> None:
    """From the cache of the hub, without a network. They were passed over for every hub id."""
    folder = changed(GENERATION, eos_token_id=[6, 8])
    cached = tmp_path / "home" / "hub" / "models--someone--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, cached / "snapshots" / ("0" * 40))

    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True)

    of_folder = registry.load_model(str(folder), "cpu")
    assert json.loads(ran.stdout) == [[6, 8], 1536, of_folder.spec.fingerprint]
    assert of_folder.generation.end_ids == (6, 8)
