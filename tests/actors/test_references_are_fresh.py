"""The generated pages are what their generators print; every key and every part of the contract is documented."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.config import reference as config_reference
from actors.config.schema import HermesConfig
from actors.metrics import reference as metrics_reference
from protos import reference as api_reference

ROOT = Path(__file__).parents[2]


def test_the_configuration_page_is_fresh() -> None:
    """If this fails: make docs."""
    assert (ROOT / "docs/configuration.md").read_text() == config_reference.page()


def test_the_api_page_is_fresh() -> None:
    """If this fails: make docs."""
    assert (ROOT / "docs/api.md").read_text() == api_reference.page()


def test_the_page_of_metrics_is_fresh() -> None:
    """If this fails: make docs."""
    assert (ROOT / "docs/metrics.md").read_text() == metrics_reference.page()


def test_a_key_without_a_docstring_line_is_named() -> None:
    @dataclass
    class Half:
        """A section.

        first: the first key.
        """

        first: int = 1
        second: int = 2

    with pytest.raises(config_reference.Undocumented, match="Half documents first; its keys are first, second"):
        config_reference.documented(Half)


def test_a_docstring_line_may_go_on_in_the_next_one() -> None:
    _, meanings = config_reference.documented(HermesConfig)

    assert meanings["store"].startswith("where checkpoints")
    assert meanings["store"].endswith("redis+sentinel://.")


def test_the_configuration_page_is_made_without_ray() -> None:
    code = "import sys, actors.config.reference as r; r.page(); print('ray' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "False"
