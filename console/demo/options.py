"""The options of the demo, and where its server listens. Loads neither torch nor Ray."""

from __future__ import annotations

from dataclasses import dataclass

from actors.config.router_config import RouterConfig


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of the command line. `port` None: the default port, or any free one if the demo does not stay up."""

    seed: int
    exit_after_answers: bool
    as_json: bool
    port: int | None
    model: str = "tiny"

    @property
    def router(self) -> RouterConfig:
        """Where clients connect."""
        default_port = 0 if self.exit_after_answers else RouterConfig().port
        return RouterConfig(port=default_port if self.port is None else self.port)
