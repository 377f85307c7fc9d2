"""Says whether a camera's picture is black, stands still, or shows another scene than before. No clock, no torch."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.decoding.images import Pixels
from pipeline.picture_note import PictureNote
from pipeline.sources.clips import Clip

_Level = TypeVar("_Level", bound=np.generic)
Luma = NDArray[np.float32]  # [ROWS · BLOCK, COLUMNS · BLOCK], 0 to 255

ROWS, COLUMNS, BLOCK = 9, 16, 10

# The limits were chosen with benchmarks.picture_notes, seed 1; docs/cameras.md has what they give with other seeds.
PERIOD_S = 0.9  # frames in between are not looked at
_MIN_LOOKS = 10  # of a slow camera, before a note holds
_MAX_BLACK_MEAN, _MAX_BLACK_SPREAD = 16.0, 3.0  # a lamp far away spreads the levels of a dark night
# What may differ in a picture that stands still: a clock. Noise alone changes most of a live picture.
_MAX_STILL_SHARE = 0.01

JUDGED_EVERY_S = 5.0
LEARNT_AFTER_S = 600.0  # a scene is known no sooner: what stood in front of the camera at first may leave
ACCEPTED_AFTER_S = 86_400.0  # a changed scene is the normal one then: each shift of operators has seen the note
_SMOOTHED_S = 10.0  # passers-by, rain and noise average out
_SCENE_AGE_S = 1_800.0  # parked cars and shadows become part of the scene
_MIN_LIGHT = 16.0  # mean of a picture that can be judged
_MIN_GRADIENT = 1.5  # mean square root of a block that has structure
_MIN_STRUCTURED_SHARE = 0.2  # of the blocks; a bare wall cannot be judged
_MIN_ALIKE = 0.4  # correlation with the normal structure of a block; less is another scene
_MIN_KEPT = 0.4  # of the structure of a block, in its light and the contrast of the picture; less is blurred
_MIN_CONTRAST = 0.2
_MIN_CHANGED_SHARE = 0.6  # of the blocks with structure


class _Debounced:
    """Becomes true when something was so for `after_s`, and false when it was not for `until_s`; turned_s: when."""

    def __init__(self, after_s: float, until_s: float) -> None:
        self._after_s, self._until_s = after_s, until_s
        self._other_since_s, self._looks = math.inf, 0  # of what differs from `is_so`
        self.is_so, self.turned_s = False, -math.inf

    def update(self, is_so: bool, time_s: float) -> None:
        if is_so is self.is_so:
            self._other_since_s, self._looks = math.inf, 0
            return
        self._other_since_s, self._looks = min(self._other_since_s, time_s), self._looks + 1
        needed_s, needed = (self._after_s, _MIN_LOOKS) if is_so else (self._until_s, 1)
        if time_s - self._other_since_s >= needed_s and self._looks >= needed:
            self.is_so, self.turned_s = is_so, time_s
            self._other_since_s, self._looks = math.inf, 0


class PictureWatch:
    """Looks at the pictures of one camera in order of time. They may have any size.

    A note ends when the picture is well again. A scene that has changed is taken for the normal one after a day. Of a
    picture that is black or still, that is the note, whatever the scene.
    """

    def __init__(self) -> None:
        self._black, self._still = _Debounced(10.0, 5.0), _Debounced(60.0, 5.0)
        self._scene = _Scene()
        self._looked_s = -math.inf
        self._before: Pixels | None = None

    @property
    def note(self) -> PictureNote | None:
        """What is wrong with the picture now, None if nothing is."""
        if self._black.is_so:
            return PictureNote.PICTURE_BLACK
        if self._still.is_so:
            return PictureNote.PICTURE_FROZEN
        return PictureNote.SCENE_CHANGED if self._scene.is_changed else None

    def look_at(self, clip: Clip) -> None:
        """Takes the pictures of the next clip."""
        for picture, time_s in zip(clip.previews, clip.times_s, strict=True):
            self.look(picture, time_s)

    def look(self, picture: Pixels, time_s: float) -> None:
        """Takes the next picture. uint8 RGB [H, W, 3]; it must not change afterwards."""
        if time_s - self._looked_s < PERIOD_S:
            return
        self._looked_s = time_s
        size = (COLUMNS * BLOCK, ROWS * BLOCK)
        grey = Image.fromarray(picture).convert("L")
        image = grey.resize(size, Image.Resampling.BOX, reducing_gap=1.0)  # in whole steps first: a fifth of the time
        luma = np.asarray(image, dtype=np.float32)
        self._black.update(_is_black(luma), time_s)
        self._still.update(self._before is not None and _is_same(picture, self._before), time_s)
        self._before = picture
        self._scene.look(luma, time_s)


def _inner(image: NDArray[_Level]) -> NDArray[_Level]:
    """Without its upper and lower ninth, where cameras write clocks and names."""
    edge = len(image) // ROWS
    return image[edge : len(image) - edge]


def _is_black(luma: Luma) -> bool:
    inner = _inner(luma)
    return bool(inner.mean() <= _MAX_BLACK_MEAN and inner.std() <= _MAX_BLACK_SPREAD)


def _is_same(picture: Pixels, before: Pixels) -> bool:
    if picture.shape != before.shape:
        return False
    differs = _inner(picture) != _inner(before)
    return bool(np.count_nonzero(differs) <= _MAX_STILL_SHARE * differs.size)


class _Scene:
    """Compares the structure of the picture, averaged over seconds, with that of the last half hour, block by block.

    Structure is judged relative to the light of its block, so that lamps, dusk and a new exposure are no other scene.
    """

    def __init__(self) -> None:
        self._smoothed: Luma | None = None
        self._normal: Luma | None = None
        self._learnt_s = 0.0
        self._looked_s = self._judged_s = -math.inf
        self._changed = _changed_for_minutes()

    @property
    def is_changed(self) -> bool:
        return self._changed.is_so

    def look(self, luma: Luma, time_s: float) -> None:
        """Takes the next picture, and judges every few seconds."""
        if self._smoothed is None:
            self._smoothed = luma
        else:
            self._smoothed = _towards(self._smoothed, luma, -math.expm1((self._looked_s - time_s) / _SMOOTHED_S))
        self._looked_s = time_s
        if time_s - self._judged_s >= JUDGED_EVERY_S and self._smoothed.mean() >= _MIN_LIGHT:
            self._judge(self._smoothed, time_s)
            self._judged_s = time_s

    def _judge(self, smoothed: Luma, time_s: float) -> None:
        if self._normal is None:
            self._normal, self._learnt_s = smoothed, 0.0
            return
        passed_s = min(time_s - self._judged_s, 12 * JUDGED_EVERY_S)  # a camera may have been away
        if self._learnt_s < LEARNT_AFTER_S:
            self._learnt_s += passed_s
            self._normal = _towards(self._normal, smoothed, passed_s / (self._learnt_s + passed_s))
            return
        is_other = changed_share(smoothed, self._normal) >= _MIN_CHANGED_SHARE
        self._changed.update(is_other, time_s)
        if not is_other:
            self._normal = _towards(self._normal, smoothed, passed_s / _SCENE_AGE_S)
        if self._changed.is_so and time_s - self._changed.turned_s >= ACCEPTED_AFTER_S:
            self._normal, self._changed = None, _changed_for_minutes()


def _changed_for_minutes() -> _Debounced:
    return _Debounced(120.0, 30.0)


def changed_share(picture: Luma, normal: Luma) -> float:
    """The share of the blocks with structure that have another one or are blurred; 0 where too few have any."""
    across, down = _gradients(normal)
    own_across, own_down = _gradients(picture)
    structure = _blocks(across * across + down * down)
    own = _blocks(own_across * own_across + own_down * own_down)
    shared = _blocks(across * own_across + down * own_down)
    expected = _contrast(picture, normal) * _light(picture) / _light(normal) * structure
    has_structure = structure >= _MIN_GRADIENT**2
    if has_structure.mean() < _MIN_STRUCTURED_SHARE:
        return 0.0
    is_other = (shared < _MIN_ALIKE * np.sqrt(structure * own)) | (shared < _MIN_KEPT * expected)
    return float(is_other[has_structure].mean())


def _light(luma: Luma) -> Luma:
    return np.maximum(_blocks(luma), 1)


def _contrast(picture: Luma, normal: Luma) -> float:
    """How much of the coarse contrast is left, relative to the light: fog and rain take it, a blur does not."""
    coarse, own = (_means(luma, BLOCK // 2) for luma in (normal, picture))
    gradients = zip(_gradients(coarse), _gradients(own), strict=True)
    shared = sum(float(np.vdot(one, other)) for one, other in gradients)
    structure = sum(float(np.vdot(one, one)) for one in _gradients(coarse))
    light = max(float(picture.mean()), 1.0) / max(float(normal.mean()), 1.0)
    return min(max(shared / max(structure, 1.0) / light, _MIN_CONTRAST), 1.0)


def _towards(before: Luma, now: Luma, share: float) -> Luma:
    return before + np.float32(share) * (now - before)


def _gradients(luma: Luma) -> tuple[Luma, Luma]:
    """Across and down, 0 at the last column and row. [H, W] -> [H, W] twice"""
    across, down = np.zeros_like(luma), np.zeros_like(luma)
    np.subtract(luma[:, 1:], luma[:, :-1], out=across[:, :-1])
    np.subtract(luma[1:], luma[:-1], out=down[:-1])
    return across, down


def _blocks(values: Luma) -> Luma:
    return _means(values, BLOCK)


def _means(values: Luma, side: int) -> Luma:
    """Of squares of this side. [H, W] -> [H / side, W / side]"""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    sums = values.reshape(rows, side, -1).sum(axis=1)  # whole rows first: both axes at once take six times as long
    means: Luma = sums.reshape(rows, columns, side).sum(axis=2) / np.float32(side * side)
    return means
