"""What a starting server waits for, and the fleet that it serves once it has started. Knows no gRPC."""

from __future__ import annotations

from dataclasses import replace

from actors.errors import ServerStarting
from actors.fleet.figures import FleetFigures
from actors.fleet.fleet import Fleet
from actors.ownership.leader_election import IsLeader


class Startup:
    """The start of one server: what it waits for, then its fleet. One event loop owns it."""

    def __init__(self, fleet: Fleet | None = None) -> None:
        self._fleet = fleet
        self._has_role: IsLeader = lambda: False
        self._waits_for = "its store"

    @property
    def fleet(self) -> Fleet:
        """The fleet that the server serves. Raises ServerStarting, with what the server waits for."""
        if self._fleet is None:
            raise ServerStarting(f"the server is starting and waits for {self._waits_for}; try again")
        return self._fleet

    @property
    def is_ready(self) -> bool:
        """Whether questions can be routed to their shards."""
        return self._fleet is not None and self._fleet.is_ready

    @property
    def figures(self) -> FleetFigures | None:
        """The fleet in numbers, None before there is one."""
        if self._fleet is None:
            return None
        figures = self._fleet.figures()
        return replace(figures, is_reporter=figures.is_leader or self._has_role())

    def wait_for(self, what: str) -> None:
        """Records what the server waits for now, for callers that come too early."""
        self._waits_for = what

    def finish(self, fleet: Fleet, has_role: IsLeader = lambda: False) -> None:
        """Ends the start: calls reach this fleet from now on. has_role: see LeaderElection.has_role."""
        self._fleet, self._has_role = fleet, has_role
