"""The base of every message between a shard and its ingest workers, and the types of fields that several have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_SIDE = 8192  # of a frame or preview

Handle = Annotated[int, Field(ge=0, lt=1 << 53)]  # of a camera, as long as one worker has it
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Message(BaseModel):
    """A message's header."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)
