from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.assistant.replies import whole_file
from aiex.core import Finish, FinishReason, ModelReply, RefusalPart, TextPart, UnusableReplyError

CODE = 'def double(x: int) -> int:\n    """Return twice x."""\n    return 2 * x\n'
NESTED = (
    'def f():\n    """Do it.\n\n    ```python\n    f()\n    ```\n\n'
    '    ```\n    out\n    ```\n    """\n    return 1\n'
)


def reply(text: str, reason: FinishReason = "stop") -> ModelReply:
    return ModelReply(parts=(TextPart(text=text),), finish=Finish(reason=reason))


def check(text: str) -> str | None:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return str(error)
    return None


def read(text: str, reason: FinishReason = "stop") -> str:
    return whole_file(reply(text, reason), language="python", check=check).text


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{CODE}```",
        f"Sure! Here it is:\n\n```py\n{CODE}```\n\nIt doubles.",
        f"```\n{CODE}```",
        f"~~~python\n{CODE}~~~",
        f"````python\n{CODE}````",
        CODE,
        f"\ufeff```python\r\n{CODE}```".replace("\n", "\r\n").replace("\r\r", "\r"),
        f"```python\n{CODE}",
        f"Run:\n\n```python\ndouble(2)\n```\n\nThe file:\n\n```python\n{CODE}```\n",
        f"```python\n{CODE}```\n\n```bash\npip install something-very-long-indeed --now\n```",
        "1. The file:\n\n   ```python\n"
        + "".join(f"   {line}\n" for line in CODE.splitlines())
        + "   ```\n",
    ],
    ids=[
        "fence",
        "prose around",
        "fence without language",
        "tildes",
        "four ticks",
        "no fence at all",
        "bom and crlf",
        "missing last fence",
        "an example before it",
        "another language after it",
        "inside a list",
    ],
)
def test_the_file_is_found_whole(text: str) -> None:
    assert read(text) == CODE


def test_a_fence_inside_a_doc_string_does_not_cut_the_file() -> None:
    assert read(f"Here:\n```python\n{NESTED}```\nDone.") == NESTED


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("", "stop", "no text"),
        ("I'm sorry, I can't do that.", "stop", "no valid python"),
        (f"```python\n{CODE}", "length", "was cut"),
        (f"```python\n{CODE}```", "length", "was cut"),
        (f"```python\n{CODE}```", "content_filter", "a filter ended it"),
        (f"```python\n{CODE}```", "error", "ended the reply with an error"),
        ("```python\ndef f(:\n```", "stop", "no valid python"),
        ("```rust\nfn main() {}\n```", "stop", "no python block, only: rust"),
        ('{"file": "def f():\\n    return 1\\n', "stop", "no valid python"),
        ("```python\n\n```", "stop", "it is empty"),
        (f"```python\n{CODE}\n# ... rest of the code unchanged\n```", "stop", "leaves code out"),
        (f"```python\n{CODE}\n# Existing methods remain the same\n```", "stop", "leaves code out"),
    ],
)
def test_what_is_not_a_whole_file_is_refused(text: str, reason: FinishReason, message: str) -> None:
    with pytest.raises(UnusableReplyError, match=message):
        read(text, reason)


def test_a_refusal_is_named_with_the_models_words() -> None:
    said = ModelReply(parts=(RefusalPart(text="No."),), finish=Finish(reason="stop"))
    with pytest.raises(UnusableReplyError, match=r"the model refused: No\."):
        whole_file(said, language="python", check=check)


@given(st.text(alphabet="`~\n pyx=1\t#", max_size=80))
def test_any_text_gives_a_valid_file_or_a_refusal(text: str) -> None:
    try:
        found = read(text)
    except UnusableReplyError:
        return
    assert check(found) is None
    assert found.strip()
