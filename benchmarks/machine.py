"""What a measurement ran on."""

from __future__ import annotations

import os
import platform


def described() -> str:
    """Processor and cores, in words."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
