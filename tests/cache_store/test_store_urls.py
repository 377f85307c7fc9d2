"""Which URLs a store can have. No message shows a password."""

from __future__ import annotations

import pytest
import redis

from cache_store import store_urls
from cache_store.store_urls import SentinelAddress


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "rediss://user:canary@store.example:6380/2",
        "unix:///run/valkey.sock",
        "redis+sentinel://one,two:26380,[::1]:26381/cameras",
    ],
)
def test_a_url_of_a_store_is_valid(url: str) -> None:
    store_urls.validate(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://user:canary@host", "scheme is 'mysql'"),
        ("redis:user:canary@host", "scheme is 'redis'"),
        ("redis://", "scheme is 'redis'"),
        ("redis://user:canary@host:notaport", "its port is not a number"),
        ("redis+sentinel://user:canary@one,two", "names no service"),
        ("redis+sentinel://user:canary@one,two/cameras/2", "names no service"),
        ("redis+sentinel://user:canary@/cameras", "'' is not a Sentinel"),
        ("redis+sentinel://user:canary@one,,two/cameras", "'' is not a Sentinel"),
        ("redis+sentinel://user:canary@one:x/cameras", "'one:x' is not a Sentinel"),
        ("redis+sentinel://one/cameras?password=canary", "unknown option 'password'"),
        ("redis://:can#canary@store:6379/0", "write @ as %40, # as %23, / as %2F, ? as %3F, [ as %5B"),
        ("redis://:12#canary@store:6379/0", "write @ as %40, # as %23"),
        ("redis://me:12/canary@store/0", "write @ as %40, # as %23"),
        ("redis://me:12?canary@store/0", "write @ as %40, # as %23"),
        ("rediss://me:canary@canary@store/0", "write @ as %40, # as %23"),
        ("redis://me:canary[@store/0", "write @ as %40, # as %23"),
        ("redis+sentinel://me:can/canary@one,two/cameras", "write @ as %40, # as %23"),
    ],
)
def test_any_other_url_is_refused_and_the_message_shows_no_password(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^store ") as raised:
        store_urls.validate(url)
    assert message in str(raised.value)
    assert "canary" not in str(raised.value)


def test_sentinels_service_and_credentials_are_parsed() -> None:
    found = store_urls.sentinel_address(
        "redis+sentinel://me:p%40ss@one:1,two/cameras?sentinel_username=asker&sentinel_password=word"
    )
    assert found == SentinelAddress(
        sentinels=(("one", 1), ("two", 26_379)),
        service="cameras",
        username="me",
        password="p@ss",
        sentinel_username="asker",
        sentinel_password="word",
    )


@pytest.mark.parametrize("written", ["a+b%25c", "a%2Bb%25c"])
def test_a_plus_in_a_query_value_stays_one(written: str) -> None:
    address = store_urls.sentinel_address(f"redis+sentinel://one/cameras?sentinel_password={written}")
    client = redis.Redis.from_url(store_urls.for_client(f"redis://store/0?username=me&password={written}&db=2"))

    assert address.sentinel_password == "a+b%c"
    assert client.connection_pool.connection_kwargs["password"] == "a+b%c"


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("redis://user:canary@host:1/0?password=canary", "redis://host:1/0"),
        ("unix://user:canary@/run/s?password=canary", "unix:///run/s"),
        (
            "redis+sentinel://user:canary@one:1,two/cameras?sentinel_password=canary",
            "redis+sentinel://one:1,two/cameras",
        ),
    ],
)
def test_credentials_are_not_shown(url: str, redacted: str) -> None:
    assert store_urls.redact(url) == redacted
