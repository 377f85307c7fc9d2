"""The questions that wait for a slot: bounded, and in turn over clients and cameras. Knows no clock and no model."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from typing import TypeVar

from pipeline.answers import Overloaded
from pipeline.device.question_request import QuestionRequest

T = TypeVar("T")

_ByCamera = OrderedDict[str, deque[QuestionRequest]]


class QuestionQueue:
    """Clients have turns, and in its turn a client's cameras have theirs; one camera's questions are in order.

    So a client with many questions delays another client's by one question a turn. Any thread may call it.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting: OrderedDict[str, _ByCamera] = OrderedDict()  # by client; both in the order of their turns
        self._displaced: list[QuestionRequest] = []
        self._lock = threading.Lock()

    def put(self, request: QuestionRequest) -> None:
        """Queues a question. Raises Overloaded.

        In a full queue the newest question of the client with the most questions gives way, if that client has at
        least two more than this one: see `take_displaced`.
        """
        with self._lock:
            self._remove(lambda other: other.is_cancelled)
            waiting = {client: _all(cameras) for client, cameras in self._waiting.items()}
            if sum(map(len, waiting.values())) >= self._max_waiting:
                most = max(waiting.values(), key=len)
                if len(most) < len(waiting.get(request.caller.client, ())) + 2:
                    raise self.overloaded(request)
                newest = max(reversed(most), key=lambda other: other.submitted_at)
                self._displaced += self._remove(lambda other: other is newest)
            cameras = self._waiting.setdefault(request.caller.client, OrderedDict())
            cameras.setdefault(request.camera, deque()).append(request)

    def overloaded(self, request: QuestionRequest) -> Overloaded:
        """Why a question finds no place."""
        return Overloaded(
            f"question to camera {request.camera!r}: {self._max_waiting} questions wait already "
            f"(limit {self._max_waiting})"
        )

    def first(self, count: int) -> list[QuestionRequest]:
        """The next questions in the order of their turns; they stay in the queue."""
        with self._lock:
            return list(islice(_in_turn([_in_turn(cameras.values()) for cameras in self._waiting.values()]), count))

    def take(self, requests: Sequence[QuestionRequest]) -> None:
        """Takes the first ones out: their clients and cameras have had their turn."""
        with self._lock:
            for request in requests:
                cameras = self._waiting.get(request.caller.client, OrderedDict())
                if request in cameras.get(request.camera, ()):
                    cameras.move_to_end(request.camera)
                    self._waiting.move_to_end(request.caller.client)
                    self._remove(lambda other, request=request: other is request)  # type: ignore[misc]

    def take_displaced(self) -> list[QuestionRequest]:
        """Those that gave way since the last call: each ends with `overloaded`."""
        with self._lock:
            displaced, self._displaced = self._displaced, []
        return displaced

    def remove(self, is_meant: Callable[[QuestionRequest], bool]) -> list[QuestionRequest]:
        """Takes out and returns all that are meant."""
        with self._lock:
            return self._remove(is_meant)

    def _remove(self, is_meant: Callable[[QuestionRequest], bool]) -> list[QuestionRequest]:
        removed = []
        for client, cameras in list(self._waiting.items()):
            for camera, requests in list(cameras.items()):
                removed += [request for request in requests if is_meant(request)]
                cameras[camera] = deque(request for request in requests if not is_meant(request))
                if not cameras[camera]:
                    del cameras[camera]
            if not cameras:
                del self._waiting[client]
        return removed


def _all(cameras: _ByCamera) -> list[QuestionRequest]:
    return [request for requests in cameras.values() for request in requests]


def _in_turn(lines: Iterable[Iterable[T]]) -> Iterator[T]:
    """One of each line, then the second of each, and so on."""
    absent = object()
    return (one for turn in zip_longest(*lines, fillvalue=absent) for one in turn if one is not absent)  # type: ignore[misc]
