"""The history of one chaos run, and the invariants that every history must satisfy."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Event:
    """kind: fault, owned, commit, restored, answer, refused or proven. frames: how many frames the memory had seen."""

    at_s: float
    kind: str
    camera: str = ""
    epoch: int = 0
    incarnation: str = ""
    frames: int = 0
    detail: str = ""


@dataclass
class History:
    """All events of one run, in order."""

    seed: int
    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        self.events.append(event)

    def save(self, folder: Path) -> Path:
        """Writes the events as lines of JSON, so that a failing seed can be read afterwards. -> the file"""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"history-{self.seed}.jsonl"
        file.write_text("\n".join(json.dumps(asdict(event)) for event in self.events) + "\n")
        return file

    def violations(self) -> list[str]:
        """The violated invariants, one line each; empty for a good run."""
        return [*self._shared_epochs(), *self._stale_epochs(), *self._lost_commits(), *self._two_owners()]

    def _shared_epochs(self) -> list[str]:
        """No two owners share an epoch, unless the store lost the first before that owner answered or committed."""
        granted: dict[tuple[str, int], set[str]] = defaultdict(set)
        used: dict[tuple[str, int], set[str]] = defaultdict(set)
        found: dict[tuple[str, int], str] = {}
        for event in self.events:
            key = event.camera, event.epoch
            if event.kind == "fault" and event.detail == "store emptied":
                granted.clear()
            elif event.kind in ("owned", "commit", "answer"):
                granted[key].add(event.incarnation)
                if event.kind != "owned":
                    used[key].add(event.incarnation)
                owners = granted[key] | used[key]
                if len(owners) > 1:
                    found[key] = f"{event.camera}: epoch {event.epoch} of {sorted(owners)}"
        return list(found.values())

    def _stale_epochs(self) -> list[str]:
        """No commit and no answer comes from an older epoch than the one before."""
        found = []
        for kind in ("commit", "answer"):
            newest: dict[str, int] = defaultdict(int)
            for event in self._of(kind):
                if event.epoch < newest[event.camera]:
                    found.append(f"{event.at_s:.2f} {event.camera}: {kind} of epoch {event.epoch} after a newer one")
                newest[event.camera] = max(newest[event.camera], event.epoch)
        return found

    def _lost_commits(self) -> list[str]:
        """A new owner restores everything that was committed, unless the store lost it."""
        found = []
        committed: dict[str, int] = defaultdict(int)
        for event in self.events:
            if event.kind == "fault" and event.detail == "store emptied":
                committed.clear()
            elif event.kind == "commit":
                committed[event.camera] = event.frames
            elif event.kind == "restored" and event.frames < committed[event.camera]:
                found.append(
                    f"{event.at_s:.2f} {event.camera}: restored {event.frames} of {committed[event.camera]} frames"
                )
        return found

    def _two_owners(self) -> list[str]:
        """At no moment can two processes prove that they own one camera."""
        proven: dict[tuple[float, str], set[str]] = defaultdict(set)
        for event in self._of("proven"):
            proven[event.at_s, event.camera].add(event.incarnation)
        return [
            f"{at_s:.2f} {camera}: {sorted(owners)}" for (at_s, camera), owners in proven.items() if len(owners) > 1
        ]

    def _of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]
