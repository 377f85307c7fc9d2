"""The names of the keys in Redis. `{CAMERA}` is a hash tag. Names in a store never change."""

from __future__ import annotations


def camera_prefix(camera: str) -> str:
    """What the keys of a camera begin with."""
    return f"hermes:{{{camera}}}"


def owner(camera: str) -> str:
    """The hash of the camera's owner."""
    return f"{camera_prefix(camera)}:owner"


def manifests(camera: str) -> str:
    """The list of the camera's manifests, newest first."""
    return f"{camera_prefix(camera)}:manifests"


def lease(incarnation: str) -> str:
    """The hash of an incarnation's lease."""
    return f"hermes:lease:{incarnation}"
