"""Properties are tried on the same examples each time, however slow the machine."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")
