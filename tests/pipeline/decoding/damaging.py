"""Damages segments of videos in several ways and decodes them with each decoder: damaging COUNT FILE… Prints JSON."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import psutil

from pipeline.decoding import dali
from pipeline.decoding.decoders import DecodeError, DecoderBackend, RemuxingDecoder, choose_backend
from pipeline.decoding.segments import GopSplitter, Packet, Segment
from pipeline.network.urls import FileUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig

WARM_UP_SHARE = 0.3  # of the segments; afterwards the memory of a decoder must not grow


def main(count: str, *paths: str) -> None:
    for path in paths:
        sys.stdout.write(json.dumps(report(path, int(count))) + "\n")
        sys.stdout.flush()


def report(path: str, count: int) -> dict[str, object]:
    """The outcomes of `count` damaged segments of one video."""
    stream = Demuxer(FileUrl(Path(path)), IngestConfig())
    segments = segments_of(stream)
    decoders = [stream.decoder.decode]
    if choose_backend(stream.format, None) is DecoderBackend.DALI_CPU:
        decoders.append(RemuxingDecoder(stream.remux, dali.file_decoder(stream.format, "cpu")).decode)
    outcomes: Counter[str] = Counter()
    warm_rss = 0
    for number in range(count):
        damaged = damage(segments[number % len(segments)], segments, random.Random(number))
        for decode in decoders:
            outcomes[outcome(decode, damaged)] += 1
        if number == int(WARM_UP_SHARE * count):
            warm_rss = psutil.Process().memory_info().rss
    growth_mb = (psutil.Process().memory_info().rss - warm_rss) / 1e6
    return {"path": path, "outcomes": outcomes, "decoders": len(decoders), "growth_mb": round(growth_mb, 1)}


def segments_of(stream: Demuxer) -> list[Segment]:
    splitter = GopSplitter(30, 30, 1 << 26, is_intra=stream.is_intra)
    return [segment for segment in [*map(splitter.add, stream.packets()), splitter.flush()] if segment is not None]


def outcome(decode: object, segment: Segment) -> str:
    """The outcome of one decoder; any error but DecodeError is raised."""
    indices = range(0, len(segment.times_s), 3)
    try:
        images = list(decode(segment, indices))
        for decoded in images:
            decoded.image.resize(16, 16)
    except DecodeError:
        return "DecodeError"
    return "images" if len(images) == len(indices) else "fewer images"


def damage(segment: Segment, others: Sequence[Segment], rng: random.Random) -> Segment:
    method = rng.choice((flip_bits, truncate, swap_headers, drop_packets, shuffle))
    packets = method([*segment.packets], [packet for other in others for packet in other.packets], rng)
    return replace(segment, packets=tuple(packets))


def flip_bits(packets: list[Packet], others: Sequence[Packet], rng: random.Random) -> Iterable[Packet]:
    index = rng.randrange(len(packets))
    data = bytearray(bytes(packets[index].body))
    for _ in range(rng.choice((1, 8, 64))):
        data[rng.randrange(min(len(data), rng.choice((16, 64, 1 << 20))))] ^= 1 << rng.randrange(8)
    packets[index] = with_data(packets[index], bytes(data))
    return packets


def truncate(packets: list[Packet], others: Sequence[Packet], rng: random.Random) -> Iterable[Packet]:
    index = rng.randrange(len(packets))
    data = bytes(packets[index].body)
    packets[index] = with_data(packets[index], data[: rng.randrange(1, len(data) + 1)])
    return packets


def swap_headers(packets: list[Packet], others: Sequence[Packet], rng: random.Random) -> Iterable[Packet]:
    index, length = rng.randrange(len(packets)), rng.choice((4, 12, 40, 200))
    other = bytes(rng.choice(others).body)
    packets[index] = with_data(packets[index], other[:length] + bytes(packets[index].body)[length:])
    return packets


def drop_packets(packets: list[Packet], others: Sequence[Packet], rng: random.Random) -> Iterable[Packet]:
    """As lost UDP packets do: the times of the packets stay."""
    return [packet if rng.random() < 0.6 else with_data(packet, b"\0") for packet in packets]


def shuffle(packets: list[Packet], others: Sequence[Packet], rng: random.Random) -> Iterable[Packet]:
    bodies = [bytes(packet.body) for packet in packets]
    rng.shuffle(bodies)
    return [with_data(packet, data) for packet, data in zip(packets, bodies, strict=True)]


def with_data(packet: Packet, data: bytes) -> Packet:
    body = av.Packet(data)
    body.pts, body.dts, body.time_base = packet.body.pts, packet.body.dts, packet.body.time_base
    body.is_keyframe = packet.body.is_keyframe
    return replace(packet, body=body, nbytes=len(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
