"""Takes over a newer version of the shared settings while a server runs, so that a rolling change goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import structlog

from actors.errors import ConfigError
from actors.fleet import shared_settings
from actors.fleet.shared_settings import SettingsStore, SharedSettings
from actors.loops import run_forever
from cache_store.errors import StoreUnavailable

log = structlog.get_logger(__name__)

_EVERY_S = 1.0


class SettingsFollower:
    """Compares a server's settings with the newest ones in the store, again and again.

    adopt: called with newer settings that were taken over. on_outdated: called once, when there are newer ones that a
    server can only take over by a restart.
    """

    def __init__(
        self,
        store: SettingsStore,
        settings: SharedSettings,
        adopt: Callable[[SharedSettings], None],
        on_outdated: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._adopt = adopt
        self._on_outdated = on_outdated
        self._refused_version = 0

    async def run(self) -> None:
        """Follows until cancelled. While the store is away, the present version stays."""
        await run_forever(self._pass, every_s=_EVERY_S)

    async def _pass(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self.follow()

    async def follow(self) -> None:
        """Looks for a newer version. One that cannot be taken over is logged once. Raises StoreUnavailable."""
        newest = (await self._store.agree(self._settings)).newest
        if newest.version <= max(self._settings.version, self._refused_version):
            return
        try:
            self._settings = shared_settings.usable(self._settings, newest)
        except ConfigError as error:
            self._refused_version = newest.version
            log.warning("server_outdated", version=newest.version, reason=str(error))
            self._on_outdated()
            return
        log.info("settings_adopted", version=newest.version)
        self._adopt(self._settings)
