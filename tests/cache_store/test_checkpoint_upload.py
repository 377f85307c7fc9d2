"""Which bytes of a checkpoint still have to be uploaded, and in how large batches."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from cache_store.checkpoint import Checkpoint
from cache_store.checkpoint_upload import NOTHING_UPLOADED, Batch, CheckpointUpload, Commit, UploadedCheckpoint
from cache_store.leases import Owner
from cache_store.manifest import CHUNK_NBYTES, Manifest
from tests.cache_store.test_checkpoint import saved_at

OWNER = Owner(1, "me")


def batches_of(
    checkpoint: Checkpoint, before: UploadedCheckpoint = NOTHING_UPLOADED, nbytes: int = CHUNK_NBYTES
) -> list[Batch]:
    return list(CheckpointUpload("lobby", "lobby", checkpoint, OWNER, before).batches(nbytes))


def uploaded(checkpoint: Checkpoint, before: UploadedCheckpoint = NOTHING_UPLOADED) -> tuple[dict[str, bytes], Commit]:
    """All values of an upload, and its commit."""
    batches = batches_of(checkpoint, before)
    commit = batches[-1].commit
    assert commit is not None
    return {key: value for batch in batches for key, value in batch.values}, commit


@given(sizes=st.lists(st.integers(1, 9_000), max_size=9), nbytes=st.integers(1_000, 30_000))
def test_each_value_is_in_one_batch_and_only_the_last_batch_has_the_commit(sizes: list[int], nbytes: int) -> None:
    thumbnails = {frame: bytes([frame]) * size for frame, size in enumerate(sizes)}

    batches = batches_of(dataclasses.replace(saved_at(1.0), thumbnails=thumbnails), nbytes=nbytes)

    *earlier, last = batches
    assert all(batch.commit is None for batch in earlier)
    for batch in batches:
        assert len(batch.values) == 1 or sum(len(value) for _, value in batch.values) <= nbytes
    assert last.commit is not None
    manifest = Manifest.from_text(last.commit.uploaded.manifest)
    named = [chunk.key for chunk in manifest.chunks] + [one.key("lobby") for one in manifest.thumbnails]
    assert [key for batch in batches for key, _ in batch.values] == named
    assert len(manifest.thumbnails) == len(sizes)


def test_a_memory_with_new_frames_is_uploaded_with_its_new_thumbnails_alone() -> None:
    _, first = uploaded(saved_at(1.0))
    newer = saved_at(2.0)
    newer = dataclasses.replace(newer, thumbnails=newer.thumbnails | {60: b"new"})

    values, second = uploaded(newer, first.uploaded)

    assert not second.replaced
    assert [value for key, value in values.items() if ":picture:" in key] == [b"new"]
    assert len(values) > 1


def test_a_memory_without_new_frames_uploads_nothing_and_replaces_its_last_manifest() -> None:
    checkpoint = saved_at(1.0)
    _, first = uploaded(checkpoint)
    later = dataclasses.replace(checkpoint, facts=dataclasses.replace(checkpoint.facts, saved_s=9.0, frames_seen=90))

    values, second = uploaded(later, first.uploaded)

    assert values == {}
    assert second.replaced == first.uploaded.manifest
    manifest = Manifest.from_text(second.uploaded.manifest)
    assert manifest.chunks == first.uploaded.chunks
    assert manifest.facts == later.facts
