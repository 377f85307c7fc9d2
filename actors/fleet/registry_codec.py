"""The entry of a camera as the registry stores it: JSON that routers of the version before can read too."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pydantic
import structlog

from actors.fleet.registry import RegistryEntry
from actors.shard.interface import Assignment
from pipeline.cameras import CameraError, CameraSpec

log = structlog.get_logger(__name__)

_SPEC = pydantic.TypeAdapter(CameraSpec)


def encode(entry: RegistryEntry) -> str:
    """The entry as JSON."""
    assignment = entry.assignment
    fields = {
        "id": assignment.id,
        "revision": assignment.revision,
        # Without defaults: a router of the version before reads every entry that uses no key new to it.
        "spec": _SPEC.dump_python(assignment.spec, mode="json", exclude_defaults=True),
        "started_s": assignment.started_s,
        "is_configured": entry.is_configured,
    }
    return json.dumps(fields)


def decode_all(texts: Iterable[tuple[str, str | bytes | None]]) -> dict[str, RegistryEntry]:
    """The entries of these names. Those that cannot be read are logged and left out."""
    found = ((name, _decode(name, text)) for name, text in texts if text is not None)
    return {name: entry for name, entry in found if entry is not None}


def _decode(name: str, text: str | bytes) -> RegistryEntry | None:
    try:
        fields = json.loads(text)
        assignment = Assignment(
            # The version before had no ids: leases and checkpoints were under the names.
            id=str(fields.get("id", name)),
            spec=_SPEC.validate_python(fields["spec"]),
            started_s=float(fields["started_s"]),
            revision=int(fields.get("revision", 0)),
        )
        return RegistryEntry(assignment, bool(fields["is_configured"]))
    except (ValueError, KeyError, TypeError, AttributeError, CameraError) as error:
        log.error("registry_entry_unreadable", camera=name, reason=type(error).__name__)
        return None
