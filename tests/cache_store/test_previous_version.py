"""What the version before wrote into its store is read: checkpoints, owners and leases."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import torch

from cache_store import checkpoint_codec
from cache_store.checkpoint import Checkpoint
from cache_store.errors import OwnedByAnother
from cache_store.leases import FREE, Lease, LeaseExpiry, Owner, ProcessIdentity, ShardIncarnation
from cache_store.memory import Memory
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from cache_store.slabs import Slabs
from models import registry
from models.vision_language_model import VideoLanguageModel
from tests import servers
from tests.cache_store import previous_version
from tests.cache_store.previous_version import EXPECTED
from tests.servers import VALKEY, Server

pytestmark = pytest.mark.redis

CAMERAS = sorted(EXPECTED["cameras"])
BUDGET = EXPECTED["config"]["tokens_per_layer"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.running(VALKEY, tmp_path_factory.mktemp("previous")) as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    """A store with the dump, and nothing of another test."""
    with server.client() as client:
        previous_version.load_into(client)
    return server.url


@pytest.fixture(scope="module")
def tiny() -> VideoLanguageModel:
    return registry.load_model("tiny", "cpu")


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisCheckpointStore]:
    store = RedisCheckpointStore(url)
    yield store
    await store.close()


@pytest.fixture
async def leases(url: str) -> AsyncIterator[RedisLeases]:
    leases = RedisLeases(url)
    yield leases
    await leases.close()


async def load(store: RedisCheckpointStore, camera: str, tiny: VideoLanguageModel) -> Checkpoint:
    checkpoint = await store.load(camera, tiny.spec.fingerprint, tiny.spec.previous_fingerprint)
    assert checkpoint is not None
    return checkpoint


@pytest.mark.parametrize("camera", CAMERAS)
async def test_a_checkpoint_has_the_facts_and_the_thumbnails_that_were_saved(
    store: RedisCheckpointStore, tiny: VideoLanguageModel, camera: str
) -> None:
    checkpoint = await load(store, camera, tiny)

    expected = EXPECTED["cameras"][camera]
    facts = dataclasses.asdict(checkpoint.facts)
    assert facts | {"gaps": list(facts["gaps"])} == expected["facts"] | {"origin_s": None}
    found = {str(frame): hashlib.sha256(jpeg).hexdigest() for frame, jpeg in checkpoint.thumbnails.items()}
    assert found == expected["thumbnails"]
    assert found


@pytest.mark.parametrize("camera", CAMERAS)
async def test_a_checkpoint_restores_the_tokens_that_were_saved(
    store: RedisCheckpointStore, tiny: VideoLanguageModel, camera: str
) -> None:
    """The ends and the mean square of keys and values show a wrong layer, order, scale or dtype."""
    checkpoint = await load(store, camera, tiny)
    memory = Memory(Slabs(tiny.spec.kv, slots=1, capacity=BUDGET), 0)

    checkpoint_codec.restore(memory, checkpoint)

    expected = EXPECTED["cameras"][camera]
    assert memory.num_layers == len(expected["layers"])
    assert memory.next_position == expected["facts"]["next_position"]
    assert memory.next_frame == expected["facts"]["next_frame"]
    assert memory.compactions == expected["facts"]["compactions"]
    for index, layer in enumerate(expected["layers"]):
        tokens = memory.layer(index)
        for name in ("positions", "token_ids", "counts", "times_s"):
            assert getattr(tokens, name).tolist() == layer[name], name
        assert_equal_rows(tokens.keys, layer["keys"])
        assert_equal_rows(tokens.values, layer["values"])


def assert_equal_rows(rows: torch.Tensor, expected: dict[str, Any]) -> None:
    assert torch.allclose(rows[0, 0, :4], torch.tensor(expected["first"]))
    assert torch.allclose(rows[-1, -1, -4:], torch.tensor(expected["last"]))
    assert float(rows.double().square().mean()) == pytest.approx(expected["mean_square"], rel=1e-6)


def test_the_dump_has_every_form_of_a_checkpoint() -> None:
    facts = {camera: EXPECTED["cameras"][camera]["facts"] for camera in CAMERAS}
    assert {camera: facts[camera]["rows"] for camera in CAMERAS} == {"exact": "exact", "int8": "int8", "whole": "exact"}
    assert all(facts[camera]["gaps"] and facts[camera]["compactions"] for camera in CAMERAS)
    lengths = {camera: len(EXPECTED["cameras"][camera]["layers"][0]["counts"]) for camera in CAMERAS}
    assert lengths["whole"] == BUDGET > lengths["exact"]
    assert max(EXPECTED["cameras"]["exact"]["layers"][-1]["counts"]) > 1, "no summary"


async def test_owners_and_leases_are_read(leases: RedisLeases) -> None:
    lease = EXPECTED["lease"]
    namespace, pid, _ = lease["home"]
    process = ProcessIdentity(namespace, pid, None)

    assert await leases.lease(lease["incarnation"]) == Lease(
        ShardIncarnation(lease["incarnation"], process), lease["renewals"]
    )
    for camera in CAMERAS:
        owner = EXPECTED["cameras"][camera]["owner"]
        found = await leases.owner(camera)
        assert found is not None
        assert (found if found.incarnation != FREE else None) == (Owner(*owner) if owner else None)


async def test_a_camera_of_the_previous_version_is_taken_over_and_saved_by_its_new_owner(
    store: RedisCheckpointStore, leases: RedisLeases, tiny: VideoLanguageModel
) -> None:
    checkpoint = await load(store, "exact", tiny)
    before = Owner(*EXPECTED["cameras"]["exact"]["owner"])
    with pytest.raises(OwnedByAnother):
        await leases.acquire("exact", "new")

    owner = await leases.acquire("exact", "new", expiry=LeaseExpiry(before.incarnation, EXPECTED["lease"]["renewals"]))
    await store.save("exact", checkpoint, owner)

    assert owner.epoch > before.epoch
    with pytest.raises(OwnedByAnother):
        await store.save("exact", checkpoint, before)
    assert (await load(store, "exact", tiny)).facts == checkpoint.facts
