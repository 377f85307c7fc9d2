"""What of a checkpoint still has to be sent, and in how large lists."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from cache_store import store
from cache_store.checkpoint_upload import NOTHING_UPLOADED, CheckpointUpload
from cache_store.leases import Owner
from cache_store.store import CHUNK_NBYTES
from tests.cache_store.test_checkpoint import saved_at

OWNER = Owner(1, "me")


def sent(saving: CheckpointUpload, nbytes: int = CHUNK_NBYTES) -> dict[str, bytes]:
    return {key: value for batch, _ in saving.batches(nbytes) for key, value in batch}


@given(sizes=st.lists(st.integers(1, 9_000), max_size=9), nbytes=st.integers(1_000, 30_000))
def test_everything_is_sent_once_in_lists_no_longer_than_asked(sizes: list[int], nbytes: int) -> None:
    pictures = {frame: bytes([frame]) * size for frame, size in enumerate(sizes)}
    saved = dataclasses.replace(saved_at(1.0), thumbnails=pictures)
    saving = CheckpointUpload("lobby", saved, NOTHING_UPLOADED)

    batches = list(saving.batches(nbytes))

    assert [more_follow for _, more_follow in batches] == [True] * (len(batches) - 1) + [False]
    for batch, _ in batches:
        assert len(batch) == 1 or sum(len(value) for _, value in batch) <= nbytes
    manifest = store.read_manifest(saving.kept("lobby", OWNER).manifest)
    named = [chunk.key for chunk in manifest.chunks] + [one.key("lobby") for one in manifest.pictures]
    assert [key for batch, _ in batches for key, _ in batch] == named


def test_a_memory_that_reads_on_is_sent_with_the_pictures_that_are_new() -> None:
    first = CheckpointUpload("lobby", saved_at(1.0), NOTHING_UPLOADED)
    sent(first)
    on = saved_at(2.0)
    on = dataclasses.replace(on, thumbnails=on.thumbnails | {60: b"new"})

    second = CheckpointUpload("lobby", on, first.kept("lobby", OWNER))

    found = sent(second)
    assert not second.replaced
    assert [value for key, value in found.items() if ":picture:" in key] == [b"new"]
    assert len(found) > 1


def test_a_memory_that_read_nothing_more_sends_nothing_and_takes_the_place_of_the_last_one() -> None:
    saved = saved_at(1.0)
    first = CheckpointUpload("lobby", saved, NOTHING_UPLOADED)
    sent(first)
    kept = first.kept("lobby", OWNER)
    later = dataclasses.replace(saved, facts=dataclasses.replace(saved.facts, saved_s=9.0, frames_seen=90))

    second = CheckpointUpload("lobby", later, kept)

    assert sent(second) == {}
    assert second.replaced == kept.manifest
    manifest = store.read_manifest(second.kept("lobby", OWNER).manifest)
    assert manifest.chunks == kept.chunks
    assert manifest.facts == later.facts
