"""Which cameras of a server's configuration file are added, changed or ended, and when the file may end any. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from actors.fleet import name_lists
from actors.fleet.registry import RegistryEntry
from actors.fleet.shard_record import ShardRecord
from actors.shard.interface import Assignment
from cache_store.url_logins import without_ambiguous_login
from pipeline.cameras import CameraSpec, InvalidCamera
from pipeline.network import urls


class Precedence(Enum):
    """How a server's file counts against the list of configured cameras, which all servers over one store share."""

    NEWEST = "newest"  # the file is the truth: configured cameras that it does not name end
    SAME = "same"  # of the version of the list: it adds cameras and changes their options
    FOLLOWING = "following"  # like SAME, until the server that leads has ended
    OUTDATED = "outdated"  # of an older version than the list: it changes nothing


_REASONS = {
    Precedence.SAME: (
        "other servers of the same shards.settings_version may name them: to make this file the truth for all of them, "
        "raise shards.settings_version and restart; `hermes cameras remove NAME` ends one camera"
    ),
    Precedence.FOLLOWING: (
        "another server over this store leads: this file becomes the truth once that server has ended; "
        "`hermes cameras remove NAME` ends one camera"
    ),
    Precedence.OUTDATED: (
        "the servers over this store have agreed on the list of a higher shards.settings_version: take over that list, "
        "or raise shards.settings_version above it to make this file the truth"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListChanges:
    """What the list in the store needs. refused: the names of those for which the file counts for too little."""

    precedence: Precedence
    add: tuple[CameraSpec, ...] = ()
    update: tuple[RegistryEntry, ...] = ()
    replace: tuple[tuple[RegistryEntry, CameraSpec], ...] = ()
    remove: tuple[RegistryEntry, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why the refused cameras stay as they are, and the way out."""
        return _REASONS[self.precedence]

    @property
    def refused_names(self) -> str:
        """The names for a log line."""
        return name_lists.first_names(self.refused)


class ConfiguredCameras:
    """The cameras of a server's file. precedence: what the file may do now; only FOLLOWING may change later."""

    def __init__(self, cameras: Iterable[CameraSpec], precedence: Callable[[], Precedence]) -> None:
        self._cameras = {spec.name: spec for spec in cameras}
        self._precedence = precedence
        self._applied: Precedence | None = None

    def pending(self, entries: Mapping[str, RegistryEntry]) -> ListChanges | None:
        """What the file changes in these entries now; None where it has been applied."""
        precedence = self._precedence()
        if self._applied not in (None, Precedence.FOLLOWING) or self._applied is precedence:
            return None
        other_source = tuple(self._with_other_source(entries))
        left = tuple(entry for name, entry in entries.items() if entry.is_configured and name not in self._cameras)
        ended = sorted(entry.name for entry in (*left, *(entry for entry, _ in other_source)))
        add = tuple(spec for name, spec in self._cameras.items() if name not in entries)
        update = tuple(self._updates(entries))
        if precedence is Precedence.NEWEST:
            return ListChanges(precedence=precedence, add=add, update=update, replace=other_source, remove=left)
        if precedence is Precedence.OUTDATED:
            refused = {*ended, *(spec.name for spec in add), *(entry.name for entry in update)}
            return ListChanges(precedence=precedence, refused=tuple(sorted(refused)))
        return ListChanges(precedence=precedence, add=add, update=update, refused=tuple(ended))

    def mark_applied(self, changes: ListChanges) -> None:
        """Records that the list in the store has what `pending` gave."""
        self._applied = changes.precedence

    def _with_other_source(self, entries: Mapping[str, RegistryEntry]) -> Iterator[tuple[RegistryEntry, CameraSpec]]:
        for name, spec in self._cameras.items():
            present = entries.get(name)
            if present is not None and not has_same_source(present.assignment.spec, spec):
                yield present, spec

    def _updates(self, entries: Mapping[str, RegistryEntry]) -> Iterator[RegistryEntry]:
        """A configured camera keeps its id where its source is the same."""
        for name, spec in self._cameras.items():
            present = entries.get(name)
            if present is None or not has_same_source(present.assignment.spec, spec):
                continue
            if present.assignment.spec != spec or not present.is_configured:
                assignment = replace(present.assignment, spec=spec, revision=present.assignment.revision + 1)
                yield RegistryEntry(assignment, is_configured=True)


def watched_entries(
    cameras: Iterable[CameraSpec], shards: Sequence[ShardRecord], removed: Container[str]
) -> Mapping[str, RegistryEntry]:
    """Entries for those of the cameras that a shard still watches under their names, from the same sources.

    The registry was lost while no fleet ran, and the shard may have the only memory. removed: ids that never come back.
    """
    found: dict[str, RegistryEntry] = {}
    for spec in cameras:
        statuses = [shard.unclaimed[spec.name] for shard in shards if spec.name in shard.unclaimed]
        watched = max(statuses, key=lambda status: (status.epoch, status.memory.newest_s or 0.0), default=None)
        if watched is None or watched.id in removed or watched.source != urls.source_digest(spec.url):
            continue
        revision = watched.revision + 1  # its login or options may be others by now
        assignment = Assignment(id=watched.id, spec=spec, started_s=watched.started_s, revision=revision)
        found[spec.name] = RegistryEntry(assignment, is_configured=True)
    return found


def has_same_source(one: CameraSpec, other: CameraSpec) -> bool:
    """Whether two specs watch the same: then the memory of one is the memory of the other."""
    try:
        return one.url == other.url or _source(one) == _source(other)
    except InvalidCamera:  # a URL that an earlier version took
        return False


def _source(spec: CameraSpec) -> str:
    """See `urls.source_of`. Earlier versions took logins that were not escaped; to escape one makes no other source."""
    return urls.source_of(without_ambiguous_login(spec.url))
