"""Decoding with NVIDIA DALI: small files in memory, decoded on the GPU or (VP8, VP9, MJPEG) CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types
from torch import Tensor, cuda
from torch.utils.dlpack import from_dlpack

from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.decoders import (
    CompressedStream,
    DecodedFrame,
    DecodeError,
    DecoderBackend,
    RemuxingDecoder,
    StreamFormat,
    choose_backend,
)
from pipeline.decoding.tensor_images import TensorImage, from_bt601

MAX_OUTPUT_NBYTES = 64 << 20  # of images decoded at once


class DaliDecoder:
    """A FileDecoder of one stream with one small DALI pipeline. Belongs to one thread.

    DALI has no timestamps and counts the images of a file, so a segment must have one image for each of its times.
    DALI converts every stream by BT.601; the images are corrected if `matrix`, that of the stream, is another.

    image_nbytes: size of one decoded image.
    """

    def __init__(
        self, device: Literal["mixed", "cpu"], *, image_nbytes: int, matrix: ColourMatrix = ColourMatrix.BT601
    ) -> None:
        self._device = device
        self._matrix = matrix
        self._max_images = max(1, MAX_OUTPUT_NBYTES // max(1, image_nbytes))
        self._pipeline: Pipeline | None = None

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        """The images at these indices. Raises DecodeError, at once, if the file is damaged or has fewer images."""
        encoded = np.frombuffer(file, np.uint8)
        batches = [indices[at : at + self._max_images] for at in range(0, len(indices), self._max_images)]
        first = self._run(encoded, batches[0])
        return self._images(encoded, batches, first)

    def _images(
        self, encoded: NDArray[np.uint8], batches: list[Sequence[int]], first: Tensor
    ) -> Iterator[DecodedFrame]:
        for number, batch in enumerate(batches):
            frames = first if number == 0 else self._run(encoded, batch)
            for index, frame in zip(batch, frames, strict=True):
                yield DecodedFrame(index, TensorImage(from_bt601(frame, self._matrix)))

    def _run(self, encoded: NDArray[np.uint8], indices: Sequence[int]) -> Tensor:
        pipeline = self._pipeline or self._build()
        self._pipeline = None  # a pipeline that failed stays unusable
        try:
            pipeline.feed_input("encoded", [encoded])
            pipeline.feed_input("indices", [np.asarray(indices, np.int32)])
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
            indices = fn.external_source(name="indices", dtype=types.INT32, ndim=1)
            # No index: the segment is not scanned first. pad_mode "none": a missing image is an error, not a grey one.
            pipeline.set_outputs(
                fn.decoders.video(encoded, frames=indices, device=self._device, build_index=False, pad_mode="none")
            )
        pipeline.build()
        return pipeline


def gpu_capability(device: str) -> tuple[int, int] | None:
    """The compute capability of the GPU that decodes, None without one. device: `ingest.device`.

    Raises RuntimeError if there must be one, and is none.
    """
    if device == "cuda" and not cuda.is_available():
        raise RuntimeError("ingest.device is cuda, and torch finds no GPU")
    return cuda.get_device_capability() if device != "cpu" and cuda.is_available() else None


def use_side_stream() -> None:
    """From now on the calling thread's work on the GPU does not wait for that of the model."""
    cuda.set_stream(cuda.Stream())  # type: ignore[no-untyped-call]


def decoder_for(stream: CompressedStream, device: str) -> RemuxingDecoder | None:
    """A decoder of the stream, None where libav shall decode it. device: `ingest.device`."""
    backend = choose_backend(stream.format, gpu_capability(device))
    if backend is DecoderBackend.LIBAV:
        return None
    on_gpu = backend is DecoderBackend.DALI_GPU
    return RemuxingDecoder(stream.remux, file_decoder(stream.format, "mixed" if on_gpu else "cpu"))


def file_decoder(stream: StreamFormat, device: Literal["mixed", "cpu"] = "mixed") -> DaliDecoder:
    """A decoder of files of the stream, by default on the GPU."""
    return DaliDecoder(device, image_nbytes=3 * stream.width * stream.height, matrix=stream.matrix)


def _reason(error: RuntimeError) -> str:
    """The line of DALI's long message that states the error."""
    lines = str(error).rpartition("encountered:")[2].strip().splitlines() or ["unknown error"]
    return lines[0][:200]
