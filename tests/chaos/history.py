"""The history of one chaos run, and the invariants that every history must satisfy."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

STORE_EMPTIED = "store emptied"
ROLLED_BACK = "registry rolled back"
LOSSES = (STORE_EMPTIED, ROLLED_BACK)
# After a pause of a virtual machine a shard cannot know that its lease has ended while its clocks stood still. It
# hears of that at its next renewal; until then, at most for a lease, it may take itself for the owner.
_UNAWARE_S = 6.0


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a camera, by its id.

    kind: fault, started, resumed; owned, commit, deleted, restored, answer, proven; added, removing, removed, erased,
    unregistered, forgotten; present, watched, left and excess at the end. incarnation: empty for an answer of a real
    cluster. frames: how many the memory had seen, first_s: since when without a break, scenes: "ID SOURCE" of all.
    since_s: when the answer was asked for, or the operation begun, that ended with this event.
    """

    at_s: float
    kind: str
    camera: str = ""
    epoch: int = 0
    incarnation: str = ""
    frames: int = 0
    detail: str = ""
    name: str = ""
    since_s: float = 0.0
    first_s: float = 0.0
    scenes: tuple[str, ...] = ()


@dataclass
class History:
    """All events of one run, in order. steps: the faults and operations that were begun, by kind."""

    seed: int
    events: list[Event] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    def add(self, event: Event) -> None:
        if not self.is_over:
            self.events.append(event)

    def ids_of(self, kind: str) -> list[str]:
        """The ids of the cameras that this happened to."""
        return list(dict.fromkeys(event.camera for event in self._of(kind)))

    def save(self, folder: Path) -> Path:
        """Writes the events as lines of JSON, so that a failing seed can be read afterwards. -> the file"""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"history-{self.seed}.jsonl"
        file.write_text("\n".join(json.dumps(asdict(event)) for event in self.events) + "\n")
        return file

    def violations(self) -> list[str]:
        """The violated invariants, one line each; empty for a good run."""
        return [line for check in self.checks() for line in check()]

    def checks(self) -> tuple[Callable[[], Iterable[str]], ...]:
        """A check for each invariant, which is the first line of its docstring."""
        return (
            self._shared_epochs,
            self._stale_epochs,
            self._lost_commits,
            self._two_owners,
            self._foreign_memories,
            self._erased_memories,
            self._answers_of_removed,
            self._left_of_removed,
            self._unwanted,
            self._lost_cameras,
            self._excess_shards,
        )

    def _shared_epochs(self) -> list[str]:
        """No two owners share an epoch, unless the store lost the first before that owner answered or committed."""
        granted: dict[tuple[str, int], set[str]] = defaultdict(set)
        used: dict[tuple[str, int], set[str]] = defaultdict(set)
        found: dict[tuple[str, int], str] = {}
        for event in self.events:
            key = event.camera, event.epoch
            if event.kind == "fault" and event.detail == STORE_EMPTIED:
                granted.clear()
            elif event.kind in ("owned", "commit", "answer") and event.incarnation:
                granted[key].add(event.incarnation)
                if event.kind != "owned":
                    used[key].add(event.incarnation)
                owners = granted[key] | used[key]
                if len(owners) > 1:
                    found[key] = f"{event.camera}: epoch {event.epoch} of {sorted(owners)}"
        return list(found.values())

    def _stale_epochs(self) -> Iterator[str]:
        """No commit and no answer comes from an older epoch than the one before."""
        for kind in ("commit", "answer"):
            newest: dict[str, int] = defaultdict(int)
            for event in self._of(kind):
                if event.epoch < newest[event.camera] and not (kind == "answer" and self._is_unaware(event)):
                    yield f"{event.at_s:.2f} {event.camera}: {kind} of epoch {event.epoch} after a newer one"
                newest[event.camera] = max(newest[event.camera], event.epoch)

    def _lost_commits(self) -> Iterator[str]:
        """A new owner restores everything that was committed, unless the store lost it or it was erased."""
        committed: dict[str, int] = defaultdict(int)
        for event in self.events:
            if event.kind == "fault" and event.detail == STORE_EMPTIED:
                committed.clear()
            elif event.kind in ("commit", "deleted"):
                committed[event.camera] = event.frames
            elif event.kind == "restored" and event.frames < committed[event.camera]:
                yield f"{event.at_s:.2f} {event.camera}: restored {event.frames} of {committed[event.camera]} frames"

    def _two_owners(self) -> Iterator[str]:
        """At no moment can two processes prove that they own one camera."""
        proven: dict[tuple[float, str], list[Event]] = defaultdict(list)
        for event in self._of("proven"):
            proven[event.at_s, event.camera].append(event)
        for (at_s, camera), events in proven.items():
            if len(events) > 1:
                owners = sorted(event.incarnation for event in events if not self._is_unaware(event))
                if len(owners) > 1:
                    yield f"{at_s:.2f} {camera}: {owners}"

    def _foreign_memories(self) -> Iterator[str]:
        """A memory has seen one source, as the camera whose memory it is."""
        for event in self._of("answer", "restored", "commit"):
            if len(event.scenes) > 1 or any(scene.split()[0] != event.camera for scene in event.scenes):
                yield f"{event.at_s:.2f} {event.camera}: {event.kind} of a memory of {list(event.scenes)}"

    def _erased_memories(self) -> Iterator[str]:
        """An erased memory never comes back; a store that loses all of its data loses that the memory was erased."""
        erased: dict[str, Event] = {}
        for event in self.events:
            if event.kind == "fault" and event.detail == STORE_EMPTIED:
                erased.clear()
            elif event.kind == "erased":
                erased[event.camera] = event
            elif event.kind in ("answer", "restored") and event.frames and (erasure := erased.get(event.camera)):
                asked_s = event.since_s if event.kind == "answer" else event.at_s
                if event.first_s < erasure.since_s and asked_s >= erasure.at_s:
                    yield f"{event.at_s:.2f} {event.camera}: {event.kind} of a memory from {event.first_s:.2f}, erased"

    def _answers_of_removed(self) -> Iterator[str]:
        """After its acknowledged removal a camera never answers."""
        removed_s: dict[str, float] = {}
        forgotten = set(self.ids_of("forgotten"))
        for event in self._of("removed", "answer"):
            if event.kind == "removed":
                removed_s.setdefault(event.camera, event.at_s)
            elif event.since_s > removed_s.get(event.camera, event.at_s) and event.camera not in forgotten:
                yield f"{event.at_s:.2f} {event.camera}: answer after its removal"

    def _left_of_removed(self) -> Iterator[str]:
        """At the end neither a lease nor a checkpoint is left of a camera that was removed.

        A store that loses all of its data loses the removal too, and an owner of before may write to it again.
        """
        gone: dict[str, None] = {}
        for event in self.events:
            if event.kind == "fault" and event.detail == STORE_EMPTIED:
                gone.clear()
            elif event.kind == "unregistered":
                gone[event.camera] = None
        present = {*self.ids_of("present"), *self.ids_of("forgotten")}
        for event in self._of("left"):
            if event.camera in gone and event.camera not in present:
                yield f"{event.camera}: {event.detail} is left"

    def _unwanted(self) -> Iterator[str]:
        """At the end every camera that is watched is wanted as it is watched."""
        urls = {event.camera: event.detail for event in self._of("present")}
        for event in self._of("watched"):
            if event.camera not in urls:
                yield f"{event.camera}: watched, and nobody wants it"
            elif event.detail != urls[event.camera]:
                yield f"{event.camera}: watched with an old URL"

    def _lost_cameras(self) -> Iterator[str]:
        """At the end every camera is there whose addition was acknowledged, unless it was removed meanwhile.

        Where the registry lost data, another camera may have taken the name before a server could bring this one back.
        """
        removing_s = {event.name: event.at_s for event in self._of("removing")}
        lost_s = max((event.at_s for event in self._of("fault") if event.detail in LOSSES), default=0.0)
        found, names = {*self.ids_of("present"), *self.ids_of("forgotten")}, {e.name for e in self._of("present")}
        for event in self._of("added"):
            is_there = event.camera in found or (event.at_s < lost_s and event.name in names)
            if not is_there and removing_s.get(event.name, 0.0) < event.since_s:
                yield f"{event.camera}: {event.name} was added and is gone"

    def _excess_shards(self) -> Iterator[str]:
        """At the end no shard runs beyond the number of shards, whatever the store has forgotten."""
        for event in self._of("excess"):
            yield f"shard {event.detail}: runs, and nobody wants it"

    def _is_unaware(self, event: Event) -> bool:
        """Whether the incarnation may not know yet that its virtual machine was paused."""
        return any(
            pause.incarnation == event.incarnation and pause.at_s <= event.at_s <= pause.at_s + _UNAWARE_S
            for pause in self._of("resumed")
        )

    def _of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]
