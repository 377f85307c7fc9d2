"""Decoding with NVIDIA DALI: whole segments, as small files in memory, on the GPU or (VP8, VP9, MJPEG) on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types
from torch import Tensor, cuda
from torch.utils.dlpack import from_dlpack

from pipeline.decoding.colourspace import ColourMatrix, from_bt601
from pipeline.decoding.decoders import DecodedFrame, DecodeError
from pipeline.decoding.images import ArrayImage
from pipeline.decoding.segments import Segment

MAX_OUTPUT_NBYTES = 64 << 20  # of pictures decoded at once


class DaliDecoder:
    """Decodes segments of one stream. Not to be shared by threads; holds one small pipeline.

    DALI knows no times and counts the pictures of a file, so this expects one picture for each of the segment's times.
    It converts every stream by BT.601; `matrix` says what the stream is in and is put right here.
    """

    def __init__(
        self,
        remux: Callable[[Segment], bytes],
        device: Literal["mixed", "cpu"],
        *,
        image_nbytes: int,
        matrix: ColourMatrix = ColourMatrix.BT601,
    ) -> None:
        self._remux = remux
        self._device = device
        self._matrix = matrix
        self._at_once = max(1, MAX_OUTPUT_NBYTES // max(1, image_nbytes))
        self._pipeline: Pipeline | None = None

    def decode(self, segment: Segment, wanted: Sequence[int]) -> Iterator[DecodedFrame]:
        """The wanted pictures. Raises DecodeError, at once, if the segment is damaged or has fewer pictures."""
        encoded = np.frombuffer(self._remux(segment), np.uint8)
        batches = [wanted[at : at + self._at_once] for at in range(0, len(wanted), self._at_once)]
        first = self._run(encoded, batches[0])
        return self._pictures(encoded, batches, first)

    def _pictures(
        self, encoded: NDArray[np.uint8], batches: list[Sequence[int]], first: Tensor
    ) -> Iterator[DecodedFrame]:
        for number, batch in enumerate(batches):
            frames = first if number == 0 else self._run(encoded, batch)
            for index, frame in zip(batch, frames, strict=True):
                yield DecodedFrame(index, ArrayImage(from_bt601(frame, self._matrix)))

    def _run(self, encoded: NDArray[np.uint8], wanted: Sequence[int]) -> Tensor:
        pipeline = self._pipeline or self._build()
        self._pipeline = None  # a failure leaves it unusable for good
        try:
            pipeline.feed_input("encoded", [encoded])
            pipeline.feed_input("wanted", [np.asarray(wanted, np.int32)])
            (output,) = pipeline.run()
            frames = from_dlpack(output[0]).clone()
        except RuntimeError as error:
            raise DecodeError(f"DALI ({self._device}): {_reason(error)}") from error
        self._pipeline = pipeline
        return frames

    def _build(self) -> Pipeline:
        pipeline = Pipeline(
            batch_size=1,
            num_threads=1,
            device_id=cuda.current_device() if self._device == "mixed" else None,
            prefetch_queue_depth=1,
            exec_async=False,
            exec_pipelined=False,
        )
        with pipeline:
            encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
            wanted = fn.external_source(name="wanted", dtype=types.INT32, ndim=1)
            # Without an index a segment isn't scanned first; "none" makes a missing picture an error, not a grey one.
            pipeline.set_outputs(
                fn.decoders.video(encoded, frames=wanted, device=self._device, build_index=False, pad_mode="none")
            )
        pipeline.build()
        return pipeline


def _reason(error: RuntimeError) -> str:
    """The line of DALI's long message that says what happened."""
    lines = str(error).rpartition("encountered:")[2].strip().splitlines() or ["unknown error"]
    return lines[0][:200]
