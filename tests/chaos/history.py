"""What happened in a run, and what must never have: the oracle of every fault."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Event:
    """kind: fault, owned, commit, restored, answer, refused or proven. frames: how much of the stream was known."""

    at_s: float
    kind: str
    camera: str = ""
    epoch: int = 0
    incarnation: str = ""
    frames: int = 0
    detail: str = ""


@dataclass
class History:
    """Everything of one run, in order."""

    seed: int
    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        self.events.append(event)

    def save(self, folder: Path) -> Path:
        """Keeps it, so that a failing seed can be read afterwards."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"history-{self.seed}.jsonl"
        file.write_text("\n".join(json.dumps(asdict(event)) for event in self.events) + "\n")
        return file

    def faults(self) -> list[str]:
        """What is wrong with it, a line each; nothing for a good run."""
        return [*self._shared_epochs(), *self._old_epochs(), *self._lost_commits(), *self._two_owners()]

    def _shared_epochs(self) -> list[str]:
        """No two have one epoch, but where the store forgot the first before it had said or saved anything."""
        granted: dict[tuple[str, int], set[str]] = defaultdict(set)
        used: dict[tuple[str, int], set[str]] = defaultdict(set)
        found: dict[tuple[str, int], str] = {}
        for event in self.events:
            held = event.camera, event.epoch
            if event.kind == "fault" and event.detail == "store emptied":
                granted.clear()
            elif event.kind in ("owned", "commit", "answer"):
                granted[held].add(event.incarnation)
                if event.kind != "owned":
                    used[held].add(event.incarnation)
                owners = granted[held] | used[held]
                if len(owners) > 1:
                    found[held] = f"{event.camera}: epoch {event.epoch} of {sorted(owners)}"
        return list(found.values())

    def _old_epochs(self) -> list[str]:
        found = []
        for kind in ("commit", "answer"):
            newest: dict[str, int] = defaultdict(int)
            for event in self._of(kind):
                if event.epoch < newest[event.camera]:
                    found.append(f"{event.at_s:.2f} {event.camera}: {kind} of epoch {event.epoch} after a newer one")
                newest[event.camera] = max(newest[event.camera], event.epoch)
        return found

    def _lost_commits(self) -> list[str]:
        """Whoever begins to own a camera knows whatever was committed of it, unless the store lost it."""
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
        """At one and the same moment two processes would both have answered."""
        proven: dict[tuple[float, str], set[str]] = defaultdict(set)
        for event in self._of("proven"):
            proven[event.at_s, event.camera].add(event.incarnation)
        return [f"{at_s:.2f} {camera}: {sorted(held)}" for (at_s, camera), held in proven.items() if len(held) > 1]

    def _of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]
