"""Layer roles and what each layer does (HERMES, section 3.1 and 3.2)."""

from __future__ import annotations

import pytest

from cache_store import tiers
from cache_store.tiers import MemoryConfig, Role

DEFAULT = MemoryConfig()


@pytest.mark.parametrize(
    ("num_layers", "sensory", "long_term_from"), [(6, 1, 4), (24, 2, 16), (28, 2, 19), (36, 3, 25), (64, 6, 44)]
)
def test_roles_by_depth(num_layers: int, sensory: int, long_term_from: int) -> None:
    roles = tiers.layer_roles(num_layers, DEFAULT)
    assert [layer for layer, role in enumerate(roles) if role is Role.SENSORY] == list(range(sensory))
    assert roles.index(Role.LONG_TERM) == long_term_from
    assert all(role is Role.LONG_TERM for role in roles[long_term_from:])


@pytest.mark.parametrize("num_layers", [2, 3, 4])
def test_every_depth_has_a_first_and_a_last_role(num_layers: int) -> None:
    roles = tiers.layer_roles(num_layers, MemoryConfig(sensory_share=0.0, long_term_share=0.0))
    assert roles[0] is Role.SENSORY
    assert roles[-1] is Role.LONG_TERM


def test_recency_of_the_middle_layers_as_published() -> None:
    plans = tiers.plan_layers(28, DEFAULT)
    assert plans[2].recency_share == 0.75
    assert plans[18].recency_share == pytest.approx(0.1853, abs=1e-4)
    assert plans[18].recency_decay == pytest.approx(8.706, abs=1e-3)


def test_the_first_layers_see_recency_alone_and_the_last_attention_alone() -> None:
    plans = tiers.plan_layers(24, DEFAULT)
    assert (plans[0].recency_share, plans[-1].recency_share) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"tokens_per_layer": 1}, "tokens_per_layer is 1"),
        ({"recent_frames": -1}, "recent_frames is -1"),
        ({"sensory_share": 1.5}, "sensory_share is 1.5"),
        ({"sensory_share": 0.6, "long_term_share": 0.6}, "exceed 1"),
        ({"policy": "lru"}, "policy is 'lru'"),
        ({"reindexing": "eager"}, "reindexing is 'eager' .only 'lazy'"),
    ],
)
def test_a_wrong_bound_is_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        MemoryConfig(**wrong)  # type: ignore[arg-type]


def test_the_two_shares_may_be_all_layers() -> None:
    roles = tiers.layer_roles(4, MemoryConfig(sensory_share=0.5, long_term_share=0.5))
    assert roles == (Role.SENSORY, Role.SENSORY, Role.LONG_TERM, Role.LONG_TERM)
