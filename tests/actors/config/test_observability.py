"""What may be shown of a system, and to whom."""

from __future__ import annotations

import pytest

from actors.config import loading
from actors.config.schema import HermesConfig
from actors.errors import ConfigError


def parsed(text: str) -> HermesConfig:
    return loading.parse_config(text, origin="hermes.yaml", environment={})


def test_without_a_word_nothing_is_shown() -> None:
    settings = parsed("")

    assert settings.metrics is None
    assert settings.traces is None


def test_metrics_are_on_loopback_unless_said_otherwise() -> None:
    settings = parsed("metrics: {}")

    assert settings.metrics is not None
    assert (settings.metrics.host, settings.metrics.port) == ("127.0.0.1", 9464)
    assert not settings.metrics.per_camera


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "metrics.example"])
def test_metrics_for_other_machines_must_be_accepted_in_words(host: str) -> None:
    with pytest.raises(ConfigError, match=r"metrics.host is '.*metrics.insecure: true"):
        parsed(f"metrics: {{host: '{host}'}}")

    assert parsed(f"metrics: {{host: '{host}', insecure: true}}").metrics is not None


def test_the_shards_get_the_endpoint_of_the_spans() -> None:
    settings = parsed("traces: {endpoint: 'http://127.0.0.1:4317'}")

    assert settings.for_shards().traces == settings.traces


NO_PORTS = ("http://host", "http://host:0", "http://host:99999", "http://host:port", "http://[::1")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4317", "grpc://host:4317", "http://user:canary@host", "https://", "x", *NO_PORTS]
)
def test_an_endpoint_that_is_none_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(ConfigError, match=r"traces.endpoint is not http://HOST:PORT") as caught:
        parsed(f"traces: {{endpoint: '{url}'}}")

    assert "canary" not in str(caught.value)
