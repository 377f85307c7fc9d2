"""The file of answers: one JSON object a line, appended as answers come, so that a killed run goes on where it was."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.streaming.errors import AnswersInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What answers must have in common to be scored together.

    annotations: a digest of the annotation file. context_s: seconds before a question that the model sees; None for
    all from the start of the video.
    """

    benchmark: str
    edition: str
    annotations: str
    model: str
    fingerprint: str
    commit: str
    fps: float
    context_s: float | None
    max_answer_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """One answer of one policy at one budget. frames: how many the model was given before the question.

    is_right: by the official rule; None where a language model scores. bytes_per_camera, upkeep_share and ttft_ms: as
    in the tables of benchmarks.accuracy, at this question.
    """

    settings: Settings
    policy: str
    budget: int
    question: str
    task: str
    video: str
    at_s: float
    frames: int
    response: str
    expected: str
    is_right: bool | None
    bytes_per_camera: int
    upkeep_share: float
    ttft_ms: float

    @property
    def key(self) -> tuple[str, int, str]:
        return self.policy, self.budget, self.question

    def to_json(self) -> str:
        """One line, settings first."""
        content = asdict(self)
        return json.dumps(content.pop("settings") | content)


class AnswerFile:
    """The answers of these settings in a file, and the way to add one. A context manager; one run has the file.

    num_others: lines of other settings, which stay and do not count. A line that a kill cut off is removed.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        """Raises AnswersInvalid."""
        self._path, self._settings = path, settings
        self.rows: dict[tuple[str, int, str], AnswerRow] = {}
        self.num_others = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            self._lock()
            self._load()
        except AnswersInvalid:
            self._file.close()
            raise

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, row: AnswerRow) -> None:
        """Appends an answer; it survives this process from now on."""
        self._file.write(row.to_json().encode() + b"\n")
        self._file.flush()
        self.rows[row.key] = row

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AnswersInvalid(f"{self._path}: another run writes it") from None

    def _load(self) -> None:
        self._file.seek(0)
        *lines, cut_off = self._file.read().split(b"\n")
        for number, line in enumerate(lines, 1):
            row = self._parse(line, number)
            if row.settings == self._settings:
                self.rows[row.key] = row
            else:
                self.num_others += 1
        if cut_off:
            self._file.truncate(sum(len(line) + 1 for line in lines))
            self._file.seek(0, 2)

    def _parse(self, line: bytes, number: int) -> AnswerRow:
        try:
            content: Mapping[str, Any] = json.loads(line)
            names = [field.name for field in fields(Settings)]
            settings = Settings(**{name: content[name] for name in names})
            return AnswerRow(settings=settings, **{name: value for name, value in content.items() if name not in names})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AnswersInvalid(f"{self._path}: line {number} is no answer of this benchmark ({error})") from error
