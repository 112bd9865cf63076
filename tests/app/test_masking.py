"""What is known to be secret from the start, and what children get of the environment."""

from __future__ import annotations

import pytest

from aiex.app.masking import environment_of_child, redactor_of
from aiex.app.settings import ModelSettings, ProviderSettings, Settings

ENV = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LC_ALL": "C.UTF-8",
    "OPENAI_API_KEY": "sk-zq7-openai",
    "ANTHROPIC_API_KEY_FILE": "/run/secrets/anthropic",
    "AIEX_PASSPHRASE": "zq7 open sesame",
    "SOME_TOKEN": "zq7-token",
    "CUDA_VISIBLE_DEVICES": "0",
    "LLAMA_API_KEY": "zq7-llama",
    "PYTHONPATH": "/opt/lib",
    "UV_INDEX_MINE_PASSWORD": "zq7-index",
    "UV_PUBLISH_TOKEN": "zq7-publish",
    "https_proxy": "http://me:zq7-proxy@proxy",
    "DATABASE_URL": "postgres://shop:zq7-database@db/shop",
}


def test_a_server_of_ours_gets_what_it_needs_to_compute_and_no_secret() -> None:
    assert set(environment_of_child(ENV)) == {
        "PATH",
        "HOME",
        "LC_ALL",
        "CUDA_VISIBLE_DEVICES",
        "PYTHONPATH",
    }


def test_uv_gets_the_logins_of_indexes_and_no_other_secret() -> None:
    assert set(environment_of_child(ENV, of_uv=True)) == {
        "PATH",
        "HOME",
        "LC_ALL",
        "UV_INDEX_MINE_PASSWORD",
        "https_proxy",
    }


@pytest.mark.parametrize(
    "secret",
    ["sk-zq7-openai", "zq7 open sesame", "zq7%20open%20sesame", "zq7-token", "zq7-database"],
)
def test_secrets_of_the_environment_are_masked(secret: str) -> None:
    assert redactor_of(ENV)(f"it said {secret}.") == "it said [redacted]."


def test_what_is_no_secret_is_left() -> None:
    text = "/run/secrets/anthropic in /home/me by C.UTF-8 at postgres://db/shop"
    assert redactor_of(ENV)(text) == text


def test_logins_in_the_settings_are_masked_quoted_or_not() -> None:
    settings = Settings(model=ModelSettings(ollama_url="http://me:zq7%40login@host"))
    redact = redactor_of({}, settings)

    assert redact("zq7@login") == redact("zq7%40login") == "[redacted]"
    assert redact("at http://me:zq7%40login@host") == "at http://[redacted]@host"


def test_the_key_of_a_named_provider_is_masked_whatever_its_variable_is_called() -> None:
    named = ProviderSettings(kind="openai", key_variable="SHELF")
    redact = redactor_of({"SHELF": "0123456789abcdef"}, Settings(providers={"shelf": named}))
    assert "0123456789abcdef" not in redact("it said 0123456789abcdef")
