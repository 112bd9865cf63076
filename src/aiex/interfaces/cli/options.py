"""The global options: they may stand before and after the command, the later one wins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from aiex.core import UsageError, nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Format", "Globals", "Group", "Leaf", "Micros", "Until"]

_STRATEGIES = (
    *("in_order", "random", "round_robin", "load_balanced", "local_affinity", "cost", "latency"),
)

Format = Literal["text", "json", "md", "sarif", "mermaid", "dot", "csv"]


class Globals(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for, apart from the command itself.

    Attributes:
        directory: Folder to work in; `None` for the current one.
        json: Fields of the data that the envelope keeps, separated by commas; empty for all;
            `None` for no envelope.
        jsonl: Whether to write each event as a line of JSON.
        format: How to write the result.
        quiet: Whether to leave notices and progress out.
        verbose: Whether to say more.
        color: When to use colour; `None` for what the configuration says.
        offline: Whether to open no connection beyond this machine.
        dry_run: Whether to say what would be sent instead of sending it.
        yes: Whether to answer every question with yes.
        model: Model that was named.
        provider: Provider that was named.
        strategy: Strategy that chooses among several that can answer.
        max_cost: Most micro-dollars that the request may cost.
        max_tokens: Most tokens of a reply.
        timeout: Seconds that the request may take.
        no_cache: Whether results of earlier runs are left alone.
        seed: Seed for the model.
        show_context: Whether to show what is sent to the model.
        record_prompts: Whether to keep prompt and reply in the record of the call.
    """

    directory: Path | None = None
    json: str | None = None
    jsonl: bool = False
    format: Format | None = None
    quiet: bool = False
    verbose: bool = False
    color: Literal["auto", "always", "never"] | None = None
    offline: bool = False
    dry_run: bool = False
    yes: bool = False
    model: str | None = None
    provider: str | None = None
    strategy: str | None = None
    max_cost: int | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    no_cache: bool = False
    seed: int | None = None
    show_context: bool = False
    record_prompts: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the data to keep; empty for all."""
        return tuple(name.strip() for name in (self.json or "").split(",") if name.strip())

    @property
    def form(self) -> Format:
        """How to write the result."""
        return "json" if self.json is not None else self.format or "text"


class Micros(click.ParamType[int]):
    """An amount of US dollars, as micro-dollars."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the micro-dollars of *value*."""
        from decimal import Decimal, InvalidOperation

        if isinstance(value, int):
            return value
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is no amount of US dollars, such as 0.05", param, ctx)
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is no amount of US dollars, such as 0.05", param, ctx)
        return int(amount * 1_000_000)


_LENGTHS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Until(click.ParamType[datetime]):
    """A time to come: how long from now, or a date or time in UTC."""

    name = "when"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the aware UTC time that *value* means."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            if text[-1:] in _LENGTHS and text[:-1].isdecimal():
                return datetime.now(UTC) + timedelta(seconds=int(text[:-1]) * _LENGTHS[text[-1]])
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time, such as 90d, 12h or 2026-12-31", param, ctx)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _options() -> list[click.Parameter]:
    """Return the global options, each `None` where it was not given."""

    def flag(*names: str, help: str) -> click.Option:  # noqa: A002 - click's own word
        return click.Option(names, is_flag=True, default=None, help=help)

    def value(*names: str, type: Any, metavar: str | None = None, help: str) -> click.Option:  # noqa: A002
        return click.Option(names, type=type, metavar=metavar, default=None, help=help)

    return [
        value(
            "-C",
            "directory",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="DIR",
            help="Work in DIR.",
        ),
        value(
            "--json",
            "json",
            type=str,
            metavar="[=FIELDS]",
            help="Write one JSON document, or only these fields of its data.",
        ),
        flag("--jsonl", help="Write each event as a line of JSON."),
        value(
            "--format",
            type=click.Choice(["text", "json", "md", "sarif", "mermaid", "dot", "csv"]),
            help="Form of the result.",
        ),
        flag("-q", "--quiet", help="Leave notices and progress out."),
        flag("-v", "--verbose", help="Say more about what happens."),
        value("--color", type=click.Choice(["auto", "always", "never"]), help="When to colour."),
        flag("--offline", help="Open no connection beyond this machine."),
        flag("--dry-run", help="Say what would be sent and what it would cost; send nothing."),
        flag("--yes", help="Answer every question with yes."),
        value("--model", type=str, metavar="PROVIDER:MODEL", help="Ask this model."),
        value("--provider", type=str, metavar="NAME", help="Ask this provider."),
        value(
            "--strategy",
            type=click.Choice(_STRATEGIES),
            help="Choose in this way among several that can answer.",
        ),
        value("--max-cost", type=Micros(), metavar="USD", help="Spend at most this much."),
        value(
            "--max-tokens",
            type=click.IntRange(min=1),
            metavar="N",
            help="Let a reply have at most N tokens.",
        ),
        value(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="Give up after SECONDS.",
        ),
        flag("--no-cache", help="Use no results of earlier runs."),
        value("--seed", type=int, metavar="N", help="Seed for the model, where it takes one."),
        flag("--show-context", help="Show what is sent to the model, and what was left out."),
        flag("--record-prompts", help="Keep prompt and reply in the record of the call."),
    ]


_NAMES = tuple(option.name for option in _options() if option.name)


class _Globally(click.Command):
    """A command that takes the global options and hands them on as `ctx.obj`."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += _options()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with the options of its groups and its own."""
        given = {name: ctx.params.pop(name, None) for name in _NAMES}
        before = ctx.obj or Globals()
        changes = {name: value for name, value in given.items() if value is not None}
        ctx.obj = msgspec.structs.replace(before, **changes)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, and the global ones where they are at home."""
        own: list[tuple[str, str]] = []
        everywhere: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None and "--help" not in param.opts:
                (everywhere if param.name in _NAMES else own).append(record)
        if own:
            with formatter.section("Options"):
                formatter.write_dl(own)
        if ctx.parent is None:
            self.format_commands(ctx, formatter)
            with formatter.section("Options of every command"):
                formatter.write_dl(everywhere)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: only groups have commands."""


class Leaf(_Globally):
    """A command that does something; its function gets `Globals` first."""


class Group(_Globally, click.Group):
    """A command that has commands of its own.

    Args:
        default: Name of the command that is meant when none is named; `None` for none.
    """

    def __init__(self, *args: Any, default: str | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self.default = default
        if default is not None:
            self.no_args_is_help = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command first, wherever it stands; the default one where none is named."""
        if ctx.parent is None or (ctx.resilient_parsing and not args):
            return super().parse_args(ctx, args)
        at = self._first_plain(args)
        if at is not None and args[at] in self.commands:
            args = [args[at], *args[:at], *args[at + 1 :]]
        elif self.default is not None and (at is None or self._default_takes_words()):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def _first_plain(self, args: list[str]) -> int | None:
        """Return where the first word stands that is neither an option nor the value of one."""
        with_value = {
            name
            for command in (self, *self.commands.values())
            for param in command.params
            if isinstance(param, click.Option) and not param.is_flag
            for name in param.opts
        }
        skip = False
        for number, word in enumerate(args):
            if word == "--":
                return None
            if not skip and (word == "-" or not word.startswith("-")):
                return number
            skip = not skip and word in with_value
        return None

    def _default_takes_words(self) -> bool:
        leaf = self.commands[str(self.default)]
        return any(isinstance(param, click.Argument) for param in leaf.params)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the commands, and what the one takes that is meant when none is named."""
        found = super().shell_complete(ctx, incomplete)
        leaf = None if self.default is None else self.get_command(ctx, self.default)
        if leaf is not None:
            below = click.Context(leaf, ctx, self.default, resilient_parsing=True)
            found += leaf.shell_complete(below, incomplete)
            first = [param for param in leaf.params if isinstance(param, click.Argument)][:1]
            if not incomplete.startswith("-"):
                found += [
                    item for param in first for item in param.shell_complete(below, incomplete)
                ]
        shown = {(item.type, item.value): item for item in found if item.value != self.default}
        return list(shown.values())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, and the options of the one that is meant when none is named."""
        super().format_options(ctx, formatter)
        if ctx.parent is not None:
            self.format_commands(ctx, formatter)
        leaf = None if self.default is None else self.get_command(ctx, self.default)
        if leaf is not None:
            leaf.format_options(click.Context(leaf, ctx, self.default), formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with the first line of its help."""
        rows = []
        for name in self.commands_shown(ctx):
            command = self.get_command(ctx, name)
            if command is not None:
                rows.append((name, (command.help or "").partition("\n")[0]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def commands_shown(self, ctx: click.Context) -> list[str]:
        """Return the commands that help names: not the one that is meant when none is named."""
        return [name for name in self.list_commands(ctx) if name != self.default]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what follows the name; the arguments of the command that is meant by default."""
        leaf = None if self.default is None else self.get_command(ctx, self.default)
        if leaf is None:
            return super().collect_usage_pieces(ctx)
        return leaf.collect_usage_pieces(click.Context(leaf, ctx, self.default))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* name, or say which one may have been meant."""
        word = args[0]
        if word not in self.list_commands(ctx):
            path = ctx.command_path
            near = nearest(word, self.list_commands(ctx))
            raise UsageError(
                f"there is no command {path} {word}",
                hint=f"did you mean {path} {near}?" if near else f"{path} --help lists them",
            )
        return super().resolve_command(ctx, args)
