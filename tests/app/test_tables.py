"""Settings that are tables: names of one's own, what may stand in them, and who may write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiex.app.config import all_settings, load, set_user, values_of
from aiex.core import ConfigurationError, NotFoundError

TWO = """
[model]
order = ["big", "ollama"]

[model.aliases]
fast = ["openai:gpt-5.4-mini", ["big:qwen3", "small:qwen3"], "llama"]

[providers.big]
kind = "ollama"
url = "http://big.example:11434"
node = "big"

[providers.small]
kind = "openai"
url = "http://127.0.0.1:8080/v1"
key_variable = "SMALL_KEY"

[providers.small.models.qwen3]
context_tokens = 32768
capabilities = ["tools"]

[providers.small.models."qwen3:8b"]
input_price = 1
output_price = 0.5
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"AIEX_CONFIG": str(tmp_path / "config.toml")}


def write(env: dict[str, str], text: str) -> None:
    Path(env["AIEX_CONFIG"]).write_text(text)


def test_tables_are_read_with_where_they_were_set(env: dict[str, str]) -> None:
    write(env, TWO)
    loaded = load(env, root=None)
    big, small = loaded.settings.providers["big"], loaded.settings.providers["small"]
    assert (big.kind, big.node, big.api) == ("ollama", "big", "chat")
    assert small.models["qwen3"].context_tokens == 32768
    assert (small.models["qwen3:8b"].input_price, small.models["qwen3:8b"].output_price) == (1, 0.5)
    assert loaded.settings.model.aliases["fast"][1] == ("big:qwen3", "small:qwen3")
    assert set(loaded.origins) == {
        "model.order",
        "model.aliases",
        "providers.big",
        "providers.small",
    }
    assert set(loaded.origins.values()) == {env["AIEX_CONFIG"]}


def test_each_table_of_ones_own_counts_as_a_setting(env: dict[str, str]) -> None:
    assert [v for k, _, v, _ in values_of(load(env, root=None)) if k == "providers.NAME"] == [{}]
    write(env, TWO)
    keys = {key: origin for key, _, _, origin in values_of(load(env, root=None))}
    assert keys["providers.big"] == env["AIEX_CONFIG"]
    assert "providers.NAME" not in keys
    assert set(keys) >= {"providers.small", "model.aliases", "cli.color"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[providers.x]\nkind = 'openai'\nulr = 'http://x'\n", "did you mean providers.x.url?"),
        ("[providers.x]\nkind = 'olama'\n", "did you mean ollama?"),
        ("[providers.x]\nurl = 'http://x'\n", "providers.x says nothing of its kind"),
        ("[providers]\nx = 1\n", "providers.x must be a table"),
        ("[providers.x]\nkind = 'openai'\napi_key = 'x'\n", "aiex config key set x"),
        ("[providers.x]\nkind = 'openai'\nurl = 'ftp://x'\n", "url is no http(s) address"),
        ("[providers.x]\nkind = 'openai'\nkey_variable = 'a b'\n", "no name of a variable"),
        ("[providers.x]\nkind = 'openai'\nurl = 'http://me:pw@x'\n", "do not belong in a file"),
        ("[providers.x.models.m]\n", "providers.x says nothing of its kind"),
        (
            "[providers.x]\nkind='openai'\n[providers.x.models.m]\ncontext_tokens='many'\n",
            "providers.x.models.m.context_tokens takes a whole number, not 'many'",
        ),
        (
            "[providers.x]\nkind='openai'\n[providers.x.models.m]\ncontext_tokens=0\n",
            "providers.x.models.m.context_tokens",
        ),
        (
            "[providers.x]\nkind='openai'\nmodels = {m = {capabilities = ['tool']}}\n",
            "did you mean tools?",
        ),
        (
            "[providers.x]\nkind='openai'\nmodels = {m = {input_price = 1}}\n",
            "only known together",
        ),
        ("[providers.openai]\nkind = 'openai'\n", "cannot be the name of a further provider"),
        ("[providers.'a:b']\nkind = 'openai'\n", "cannot be the name of a further provider"),
        ("[model.aliases]\nfast = 'gpt'\n", "model.aliases.fast takes a list of texts"),
        ("[model.aliases]\nfast = []\n", "'fast' is empty"),
        ("[model.aliases]\n'a:b' = ['x']\n", "has a colon"),
        ("[model]\norder = ['olama']\n", "did you mean ollama?"),
        ("[model]\nkeyring = ['opnai']\n", "did you mean openai?"),
        ("[model]\nstrategy = 'randon'\n", "did you mean random?"),
        ("[provider.x]\nkind = 'openai'\n", "did you mean providers.NAME"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_place(
    env: dict[str, str], text: str, says: str
) -> None:
    write(env, text)
    with pytest.raises(ConfigurationError) as caught:
        load(env, root=None)
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.message.startswith(env["AIEX_CONFIG"])


def test_a_name_that_is_nobodys_is_left_out_where_mistakes_are_let_pass(
    env: dict[str, str],
) -> None:
    write(env, TWO.replace('"big", "ollama"', '"bigg"') + "[providers.LOUD]\nkind = 'ollama'\n")
    loaded = load(env, root=None, strict=False)
    assert loaded.problem is not None
    assert loaded.settings.model.order == ("anthropic", "openai", "ollama", "lm_studio", "local")
    assert set(loaded.settings.providers) == {"big", "small"}


@pytest.mark.parametrize(
    "text",
    ["[providers.x]\nkind = 'openai'\n", "[model.aliases]\nfast = ['x']\n", "[providers]\nx = 1\n"],
)
def test_no_file_of_a_project_says_whom_to_ask(
    env: dict[str, str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "aiex.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="only the user may set"):
        load(env, root=tmp_path)


def test_no_variable_sets_a_table(env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="no setting for the variable"):
        load({**env, "AIEX_MODEL_ALIASES": "x"}, root=None)
    assert all(s.variable for s in all_settings() if not s.inside)


@pytest.mark.parametrize(
    ("key", "text", "line"),
    [
        ("model.aliases.fast", "openai:gpt-4o, llama", 'fast = ["openai:gpt-4o", "llama"]'),
        ("providers.big.url", "http://other:1", 'url = "http://other:1"'),
        ("providers.big.node", "here", 'node = "here"'),
        ("providers.new.kind", "ollama", 'kind = "ollama"'),
    ],
)
def test_one_value_of_a_table_is_set_and_the_rest_kept(
    env: dict[str, str], key: str, text: str, line: str
) -> None:
    write(env, TWO)
    set_user(env, key, text)
    written = Path(env["AIEX_CONFIG"]).read_text()
    assert line in written
    loaded = load(env, root=None)
    assert loaded.settings.providers["small"].models["qwen3"].capabilities == ("tools",)
    assert loaded.settings.model.order == ("big", "ollama")


@pytest.mark.parametrize(
    ("key", "text", "error"),
    [
        ("providers.new.url", "http://x", "says nothing of its kind"),
        ("providers.big.kind", "olama", "takes openai | anthropic"),
        ("model.order", "bigg", "not 'bigg'"),
    ],
)
def test_a_value_that_does_not_fit_its_table_is_not_written(
    env: dict[str, str], key: str, text: str, error: str
) -> None:
    write(env, TWO)
    with pytest.raises(ConfigurationError, match=error.replace("|", r"\|")):
        set_user(env, key, text)
    assert Path(env["AIEX_CONFIG"]).read_text() == TWO


def test_a_whole_table_is_not_set_at_once(env: dict[str, str]) -> None:
    with pytest.raises(NotFoundError, match="one value at a time"):
        set_user(env, "providers.big", "x")
    with pytest.raises(NotFoundError):
        set_user(env, "providers.big.ulr", "x")
    with pytest.raises(NotFoundError, match="one value at a time"):
        set_user(env, "model.aliases", "x")
