"""An unknown camera is answered with the nearest names, in a message that is short at any size of the fleet."""

from __future__ import annotations

from actors.fleet.name_lists import unknown_camera

MANY = [f"building-{index % 7}-corridor-{index:05}".ljust(63, "x") for index in range(10_000)]


def test_the_nearest_names_are_named_whatever_their_case() -> None:
    assert unknown_camera("gaet", ["pond", "Gate", "street"]) == (
        "camera 'gaet': not watched here (nearest name among 3: Gate)"
    )


def test_without_a_similar_name_or_any_camera_the_message_says_so() -> None:
    assert unknown_camera("roof", ["pond", "gate"]) == "camera 'roof': not watched here (no similar name among 2)"
    assert unknown_camera("roof", []) == "camera 'roof': not watched here (no camera is)"


def test_among_many_long_names_at_most_three_are_named() -> None:
    message = unknown_camera("building-3-coridor-00017".ljust(63, "x"), MANY)

    assert message.count("building-") == 4
    assert "building-3-corridor-00017" in message
    assert len(message) < 400


def test_a_name_of_any_length_is_cut() -> None:
    assert len(unknown_camera("a" * 100_000, MANY)) < 400
