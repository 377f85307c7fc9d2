"""Packets that a network delays, doubles, drops and mixes up come out in order, each once, and soon."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.network import rtp
from pipeline.network.rtp import MAX_NBYTES, MAX_PACKETS, MAX_WAIT_S, ReorderBuffer

numbers = st.integers(0, 0xFFFF)


def packet(number: int) -> bytes:
    return b"\x80\x60" + (number % (1 << 16)).to_bytes(2, "big") + bytes(8) + b"picture"


def numbers_of(packets: list[bytes]) -> list[int]:
    return [int.from_bytes(one[2:4], "big") for one in packets]


@given(first=numbers, count=st.integers(1, 300), reach=st.integers(0, 20), seed=st.integers(0, 1 << 30))
def test_packets_that_overtook_each_other_are_put_in_order(first: int, count: int, reach: int, seed: int) -> None:
    chance = random.Random(seed)
    sent = range(first + 1, first + count)
    came = [first, *sorted(sent, key=lambda number: number + chance.uniform(0, reach))]
    in_order = ReorderBuffer()

    given_ = [one for number in came for one in in_order.add(packet(number), 0.0)]

    assert given_ == [packet(number) for number in range(first, first + count)]


@given(
    first=numbers,
    steps=st.lists(st.tuples(st.integers(-3, 40), st.sampled_from([0.0, 0.01, 0.2])), max_size=200),
)
def test_whatever_comes_each_packet_is_given_once_in_order_and_in_time(
    first: int, steps: list[tuple[int, float]]
) -> None:
    in_order, now_s, newest = ReorderBuffer(), 0.0, first
    came_s: dict[int, float] = {}
    given_: list[int] = []
    for step, after_s in [(0, 0.0), *steps]:
        now_s += after_s
        newest = max(first, newest + step)
        came_s.setdefault(newest, now_s)
        packets = in_order.take_overdue(now_s) + in_order.add(packet(newest), now_s)
        given_ += [first + (number - first) % (1 << 16) for number in numbers_of(packets)]
        waiting = [number for number in came_s if number > given_[-1]]
        assert all(now_s - came_s[number] < MAX_WAIT_S for number in waiting)

    assert given_ == sorted(set(given_))
    assert set(given_) <= set(came_s)


def test_a_missing_packet_is_waited_for_and_then_passed_over() -> None:
    in_order = ReorderBuffer()
    in_order.add(packet(7), 0.0)

    held = in_order.add(packet(9), 1.0) + in_order.take_overdue(1.0 + MAX_WAIT_S / 2)
    passed = in_order.take_overdue(1.0 + MAX_WAIT_S)
    late = in_order.add(packet(8), 1.0 + MAX_WAIT_S)

    assert held == late == []
    assert passed == [packet(9)]
    assert in_order.add(packet(10), 2.0) == [packet(10)]


def test_where_many_are_missing_none_waits_for_each_gap_anew() -> None:
    in_order = ReorderBuffer()
    in_order.add(packet(0), 0.0)
    for number in range(2, 80, 2):
        in_order.add(packet(number), number / 1000)

    assert numbers_of(in_order.take_overdue(0.08 + MAX_WAIT_S)) == list(range(2, 80, 2))


@given(first=numbers, gap=st.integers(MAX_PACKETS + 1, (1 << 16) - MAX_PACKETS))
def test_a_camera_that_counts_anew_is_followed_at_once(first: int, gap: int) -> None:
    in_order = ReorderBuffer()
    in_order.add(packet(first), 0.0)
    in_order.add(packet(first + 2), 0.0)

    anew = in_order.add(packet(first + gap), 0.0)

    assert anew == [packet(first + 2), packet(first + gap)]
    assert in_order.add(packet(first + gap + 1), 0.0) == [packet(first + gap + 1)]


@given(st.lists(numbers, max_size=3000))
def test_what_is_held_is_bounded(came: list[int]) -> None:
    in_order = ReorderBuffer()

    for number in came:
        in_order.add(packet(number), 0.0)

    assert len(in_order.take_overdue(MAX_WAIT_S)) <= MAX_PACKETS
    assert in_order.take_overdue(MAX_WAIT_S) == []


def test_large_packets_are_held_the_fewer() -> None:
    in_order, large = ReorderBuffer(), bytes(1 << 16)
    in_order.add(packet(0), 0.0)

    kept = [number for number in range(2, 300, 2) if not in_order.add(packet(number) + large, 0.0)]

    assert kept[-1] < 2 * MAX_NBYTES / (1 << 16) < 150
    assert numbers_of(in_order.take_overdue(MAX_WAIT_S))[-1] == 298


@given(st.binary(max_size=40).filter(lambda data: len(data) < 12 or data[0] >> 6 != 2))
def test_what_is_no_rtp_is_dropped(data: bytes) -> None:
    assert ReorderBuffer().add(data, 0.0) == []


def test_our_own_report_is_a_whole_compound_packet() -> None:
    report = rtp.receiver_report(0x01020304)

    kinds, at = [], 0
    while at < len(report):
        assert report[at] >> 6 == 2
        kinds.append(report[at + 1])
        at += 4 * (1 + int.from_bytes(report[at + 2 : at + 4], "big"))
    assert kinds == [201, 202]
    assert at == len(report)
    assert report.count(b"\x01\x02\x03\x04") == 2
