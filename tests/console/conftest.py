"""The router that answers the command line in these tests."""

from tests.actors.conftest import serving

__all__ = ["serving"]
