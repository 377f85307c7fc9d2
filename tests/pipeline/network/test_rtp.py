"""Packets that a network delays, repeats, drops and reorders come out in order, each once, within a bounded time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.network import rtp
from pipeline.network.rtp import (
    FOLLOW_ANOTHER_AFTER_S,
    MAX_NBYTES,
    MAX_PACKETS,
    MAX_WAIT_S,
    ReorderBuffer,
    SourceFilter,
)

numbers = st.integers(0, 0xFFFF)


def packet(number: int) -> bytes:
    return b"\x80\x60" + (number % (1 << 16)).to_bytes(2, "big") + bytes(8) + b"payload"


def numbers_of(packets: list[bytes]) -> list[int]:
    return [int.from_bytes(packet[2:4], "big") for packet in packets]


@given(first=numbers, count=st.integers(1, 300), reach=st.integers(0, 20), seed=st.integers(0, 1 << 30))
def test_reordered_packets_are_put_in_order(first: int, count: int, reach: int, seed: int) -> None:
    generator = random.Random(seed)
    sent = range(first + 1, first + count)
    arrived = [first, *sorted(sent, key=lambda number: number + generator.uniform(0, reach))]
    buffer = ReorderBuffer()

    ordered = [one for number in arrived for one in buffer.add(packet(number), 0.0)]

    assert ordered == [packet(number) for number in range(first, first + count)]


@given(
    first=numbers,
    steps=st.lists(st.tuples(st.integers(-3, 40), st.sampled_from([0.0, 0.01, 0.2])), max_size=200),
)
def test_each_packet_comes_out_once_in_order_and_within_the_limit(first: int, steps: list[tuple[int, float]]) -> None:
    buffer, now_s, newest = ReorderBuffer(), 0.0, first
    arrived_s: dict[int, float] = {}
    ordered: list[int] = []
    for step, after_s in [(0, 0.0), *steps]:
        now_s += after_s
        newest = max(first, newest + step)
        arrived_s.setdefault(newest, now_s)
        packets = buffer.take_overdue(now_s) + buffer.add(packet(newest), now_s)
        ordered += [first + (number - first) % (1 << 16) for number in numbers_of(packets)]
        waiting = [number for number in arrived_s if number > ordered[-1]]
        assert all(now_s - arrived_s[number] < MAX_WAIT_S for number in waiting)

    assert ordered == sorted(set(ordered))
    assert set(ordered) <= set(arrived_s)


def test_a_missing_packet_is_waited_for_and_then_skipped() -> None:
    buffer = ReorderBuffer()
    buffer.add(packet(7), 0.0)

    before = buffer.add(packet(9), 1.0) + buffer.take_overdue(1.0 + MAX_WAIT_S / 2)
    after = buffer.take_overdue(1.0 + MAX_WAIT_S)
    late = buffer.add(packet(8), 1.0 + MAX_WAIT_S)

    assert before == late == []
    assert after == [packet(9)]
    assert buffer.add(packet(10), 2.0) == [packet(10)]


def test_several_gaps_are_waited_for_at_the_same_time() -> None:
    buffer = ReorderBuffer()
    buffer.add(packet(0), 0.0)
    for number in range(2, 80, 2):
        buffer.add(packet(number), number / 1000)

    assert numbers_of(buffer.take_overdue(0.08 + MAX_WAIT_S)) == list(range(2, 80, 2))


@given(first=numbers, gap=st.integers(MAX_PACKETS + 1, (1 << 16) - MAX_PACKETS))
def test_a_restart_of_the_sequence_numbers_is_followed_at_once(first: int, gap: int) -> None:
    buffer = ReorderBuffer()
    buffer.add(packet(first), 0.0)
    buffer.add(packet(first + 2), 0.0)

    ordered = buffer.add(packet(first + gap), 0.0)

    assert ordered == [packet(first + 2), packet(first + gap)]
    assert buffer.add(packet(first + gap + 1), 0.0) == [packet(first + gap + 1)]


@given(st.lists(numbers, max_size=3000))
def test_the_number_of_waiting_packets_is_bounded(arrived: list[int]) -> None:
    buffer = ReorderBuffer()

    for number in arrived:
        buffer.add(packet(number), 0.0)

    assert len(buffer.take_overdue(MAX_WAIT_S)) <= MAX_PACKETS
    assert buffer.take_overdue(MAX_WAIT_S) == []


def test_the_bytes_of_waiting_packets_are_bounded() -> None:
    buffer, large = ReorderBuffer(), bytes(1 << 16)
    buffer.add(packet(0), 0.0)

    waiting = [number for number in range(2, 300, 2) if not buffer.add(packet(number) + large, 0.0)]

    assert waiting[-1] < 2 * MAX_NBYTES / (1 << 16) < 150
    assert numbers_of(buffer.take_overdue(MAX_WAIT_S))[-1] == 298


@given(st.binary(max_size=40).filter(lambda data: len(data) < 12 or data[0] >> 6 != 2))
def test_packets_that_are_not_rtp_are_dropped(data: bytes) -> None:
    assert ReorderBuffer().add(data, 0.0) == []


def test_a_receiver_report_is_a_valid_compound_packet() -> None:
    report = rtp.receiver_report(0x01020304)

    kinds, at = [], 0
    while at < len(report):
        assert report[at] >> 6 == 2
        kinds.append(report[at + 1])
        at += 4 * (1 + int.from_bytes(report[at + 2 : at + 4], "big"))
    assert kinds == [201, 202]
    assert at == len(report)
    assert report.count(b"\x01\x02\x03\x04") == 2


def of(sender: int) -> bytes:
    return b"\x80\x60" + bytes(6) + sender.to_bytes(4, "big") + b"payload"


def test_another_sender_is_followed_once_the_first_one_is_silent() -> None:
    """As after a restart of the camera's encoder; nothing odd is noted then."""
    filtered = SourceFilter()

    accepted = [filtered.accepts(of(sender), now_s) for sender, now_s in ((1, 0.0), (2, 0.5), (2, 1.1), (2, 1.2))]

    assert FOLLOW_ANOTHER_AFTER_S == 1.0
    assert accepted == [True, False, True, True]
    assert not filtered.has_others


def test_of_two_senders_the_first_one_is_followed() -> None:
    filtered = SourceFilter()

    accepted = [filtered.accepts(of(sender), index * 0.3) for index, sender in enumerate([1, 2] * 20)]

    assert accepted == [True, False] * 20
    assert filtered.has_others
