"""Whether the store answers this fleet, and since when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cache_store.errors import StoreUnavailable


class StoreContact:
    """away_since_s: when the store last answered, by `clock`; None while it answers, or was not asked yet."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answered_s = clock()
        self.away_since_s: float | None = None

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Notes whether the block reaches the store. A block that does not ends here."""
        try:
            yield
        except StoreUnavailable:
            self.away_since_s = self._answered_s
        else:
            self._answered_s, self.away_since_s = self._clock(), None
