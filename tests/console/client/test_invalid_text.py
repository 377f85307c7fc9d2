"""A text that no message can carry is an error of the client, as any other that a caller has to mend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from console.client.client import HermesClient
from console.client.errors import InvalidCredentials, InvalidText

NO_TEXT = "gate\udcff"


@pytest.mark.parametrize(
    "call",
    [
        lambda hermes: next(hermes.ask(NO_TEXT, "what")),
        lambda hermes: next(hermes.ask("gate", NO_TEXT)),
        lambda hermes: hermes.get_camera(NO_TEXT),
        lambda hermes: hermes.erase_memory(NO_TEXT),
        lambda hermes: hermes.remove_camera(NO_TEXT),
        lambda hermes: hermes.migrate_camera(NO_TEXT),
        lambda hermes: hermes.test_camera(NO_TEXT),
    ],
)
def test_every_call_names_the_text(call: Callable[[HermesClient], object]) -> None:
    with HermesClient() as hermes, pytest.raises(InvalidText, match=r"udcff': not UTF-8 text") as caught:
        call(hermes)

    assert (caught.value.reason, caught.value.is_mistake) == ("INVALID_TEXT", True)


@pytest.mark.parametrize("token", ["", "schl\u00fcssel", "one\n"])
def test_a_token_that_no_call_can_carry_is_refused(token: str) -> None:
    with pytest.raises(InvalidCredentials, match="printable ASCII"):
        HermesClient(token=token)


@pytest.mark.parametrize(
    "address", [f"{NO_TEXT}:1", "unix:", "unix:/run/\udcff", "host:\u0661", "host:65536", "http://host:1"]
)
def test_an_address_that_cannot_be_used_is_refused(address: str) -> None:
    with pytest.raises(InvalidCredentials, match="HOST:PORT"):
        HermesClient(address)
