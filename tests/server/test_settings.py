"""Settings that are wrong are refused by name."""

import pytest

from freehold.errors import ConfigurationError
from freehold.server import Cors, Settings


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"body_limit": 0}, "body_limit"),
        ({"body_limit": True}, "body_limit"),
        ({"body_limit": 1.5}, "body_limit"),
        ({"request_timeout": -1}, "request_timeout"),
        ({"request_timeout": "soon"}, "request_timeout"),
        ({"drain_seconds": float("nan")}, "drain_seconds"),
        ({"compression_level": 10}, "compression_level"),
        ({"trusted_proxies": "10.0.0.1"}, "trusted_proxies"),
        ({"trusted_proxies": ("*",)}, "trusted_proxies"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "trusted_proxies"),
        ({"log_format": "xml"}, "log_format"),
        ({"docs": "yes"}, "docs"),
        ({"metrics": "10.0.0.1"}, "metrics"),
        ({"metrics": ("prometheus",)}, "metrics"),
        ({"metrics_token": "short"}, "metrics_token"),
        ({"metrics_token": "with a space in its middle"}, "metrics_token"),
        ({"cors": ["https://a.example"]}, "cors"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Settings(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"origins": "https://a.example"}, "cors.origins"),
        ({"origins": ["https://a.example/"]}, "cors.origins"),
        ({"origins": ["a.example"]}, "cors.origins"),
        ({"origins": ["*", "https://a.example"]}, "cors.origins"),
        ({"origins": ["null"]}, "cors.origins"),
        ({"origins": ["*"], "credentials": True}, "cors.credentials"),
        ({"origins": ["*"], "headers": ["X Y"]}, "cors.headers"),
        ({"origins": ["*"], "max_age": 1e9}, "cors.max_age"),
    ],
)
def test_a_wrong_origin_is_named(given: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Cors(**given)  # type: ignore[arg-type]


def test_compression_can_be_off_and_lists_become_tuples() -> None:
    settings = Settings(compression=None, trusted_proxies=["10.0.0.0/8", "::1"])  # type: ignore[arg-type]
    assert settings.compression is None
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert Cors(["https://a.example:8443"]).origins == ("https://a.example:8443",)  # type: ignore[arg-type]


def test_logs_are_text_in_development_only() -> None:
    assert Settings().logs_json
    assert not Settings(development=True).logs_json
    assert Settings(development=True, log_format="json").logs_json
