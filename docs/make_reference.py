"""Writes docs/reference.md from signatures, docstrings and the command line: `python docs/make_reference.py`."""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import click

import fsp_trio
from fsp_trio import keying
from fsp_trio.cli.app import fsp
from fsp_trio.cli.exits import EXIT_CODES
from fsp_trio.ports import Port

PAGE = Path(__file__).parent / "reference.md"
WIDTH = 110

SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Opening and serving", "fsp_trio", ("open_fsp_session", "serve_fsp", "open_fsp_endpoint", "DEFAULT_PORT")),
    ("Endpoints and listeners", "fsp_trio", ("FSPEndpoint", "FSPListener")),
    (
        "Sessions",
        "fsp_trio",
        (
            "FSPSession",
            "SendTransaction",
            "ReceiveTransaction",
            "FSPStream",
            "FSPChannel",
            "MinimalDelaySender",
            "MinimalDelayReceiver",
        ),
    ),
    ("Settings", "fsp_trio", ("Settings", "Timers", "State")),
    ("Paths", "fsp_trio", ("Path", "PathState")),
    (
        "Errors",
        "fsp_trio",
        (
            "FSPError",
            "FSPConnectError",
            "FSPBrokenError",
            "FSPClosedError",
            "FSPBusyError",
            "CommitTimeout",
            "KeyInstallationError",
            "MultiplicationError",
            "FailureKind",
            "ResetReason",
        ),
    ),
    ("Statistics", "fsp_trio", ("SessionStatistics", "ListenerStatistics", "EndpointStatistics")),
    ("", "fsp_trio.core.statistics", ("ConnectionStatistics",)),
    ("", "fsp_trio.ports", ("PortStatistics",)),
    (
        "Key agreement: fsp_trio.keying",
        "fsp_trio.keying",
        (
            "agree_psk",
            "agree_x25519",
            "only",
            "anyone",
            "fingerprint",
            "KeyAgreementError",
            "KeyAgreementTimeout",
            "UntrustedPeerError",
            "MINIMUM_SECRET",
            "KEY_AGREEMENT_FAILED",
            "GREETING",
            "GREETINGS",
            "Trust",
        ),
    ),
    (
        "CHAKA: fsp_trio.keying.chaka",
        "fsp_trio.keying.chaka",
        ("chaka_welcome", "salted_password", "agree_chaka_client", "agree_chaka_server"),
    ),
    (
        "Key log: fsp_trio.keylog",
        "fsp_trio.keylog",
        ("FSPKEYLOGFILE", "log_key", "parse_key_log", "KeyLogEntry", "KeyLogError"),
    ),
    ("Ports: fsp_trio.ports", "fsp_trio.ports", ("open_udp_port", "UDPPort", "Port", "RovingPort", "Batch", "Address")),
    (
        "Testing: fsp_trio.testing",
        "fsp_trio.testing",
        (
            "session_pair",
            "stream_pair",
            "clogged_stream_pair",
            "open_pair_maker",
            "PairMaker",
            "CLOGGABLE",
            "SimulatedNetwork",
            "Impairment",
            "PacketRecord",
            "SimulatedPort",
            "SimulatedHost",
            "SimulatedNAT",
        ),
    ),
    ("", "fsp_trio.testing.network", ("NetworkStatistics",)),
    ("", "fsp_trio.testing.nonces", ("NonceLedger", "NonceReuse")),
)

DROPS = {
    "acknowledgement": "acknowledges packets that were never sent, or not what a confirmation must (M50, S7)",
    "check-code": "answers another INIT_CONNECT than the one that was sent (6.3)",
    "closed-ultid": "is for a session that ended minutes ago (M49)",
    "cookie": "repeats a CONNECT_REQUEST with another cookie (M51)",
    "repeat-rate": "CONNECT_REQUEST repeated within a quarter of a second (S9)",
    "destination-ultid": "is not for this connection (6.3)",
    "eot-missing": "NULCOMMIT without the End of Transaction flag (G18)",
    "extension-forbidden": "carries an extension header where none may be (G18)",
    "extension-length": "extension headers that do not fill their room exactly (G16)",
    "extension-repeated": "the same extension header twice (M2a)",
    "extension-unknown": "never of a packet that arrived; such a packet cannot be encoded",
    "field": "never of a packet that arrived; such a packet cannot be encoded",
    "host-name": "a host name that is too long or no UTF-8 (M52)",
    "icc": "a wrong integrity check code: noise, a forgery, or another key (8.1)",
    "initial-sn": "repeats a CONNECT_REQUEST with another initial sequence number (M53)",
    "major-version": "of another major version (4.4.2, G17)",
    "branch-ultid": "MULTIPLY whose new ULTID is in use, or has served a branch before (M22, M23)",
    "branches": "MULTIPLY, when too many wait already or were taken under one key (11)",
    "multiply": "MULTIPLY under CRC64, or under a MAC in jason-00 (M23, A22)",
    "flags": "minimal delay and compression at once (4.6)",
    "late": "a message with minimal delay that had come before, or after later ones were read (8.9)",
    "no-listener": "opens a connection to a service that nobody listens for (M36)",
    "no-room": "does not fit into the receive buffers, or probes a window that is shut (8.6, M8)",
    "offset": "a header that does not fit the packet (G16)",
    "old-key": "under CRC64, after a key was installed (M30)",
    "op-code": "of an unknown kind, or of the wrong one in the handshake",
    "payload-forbidden": "payload where none may be (G18)",
    "payload-missing": "PERSIST without payload (G18)",
    "replay": "an out-of-band serial that is not newer than the newest (M5)",
    "reset": "a RESET that does not prove itself (M35)",
    "silence": "opens a connection, and was left unanswered: bad cookie, or no ULTID was free (B2, B3)",
    "sink-parameter": "a handshake packet without exactly one Sink Parameter (4.5)",
    "snack": "an acknowledgement that is missing, or has gaps where none may be (M4)",
    "snack-gaps": "gaps that overrun or are empty; the rest of the acknowledgement counted (M10)",
    "source-ultid": "claims to be from another ULTID than the peer's (M49)",
    "state": "means nothing in the present state (section 5)",
    "taken-ultid": "a good cookie whose ULTID went to another session meanwhile (M51)",
    "truncated": "shorter than any packet",
    "unknown-ultid": "for a ULTID that is not in use (M36)",
    "window": "a sequence number outside of the window (4.6, S4)",
}
"""What was wrong with a dropped packet; the keys of `drops` in ConnectionStatistics and EndpointStatistics."""


def refill(text: str) -> str:
    """Docstrings are as wide as the code is; a page is narrower.  Lists keep their items, blocks their lines."""
    paragraphs = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        lines: list[str] = []
        for line in paragraph.split("\n"):
            if lines and not line.startswith(("* ", "|", "`` ")):
                lines[-1] += " " + line.strip()
            else:
                lines.append(line)
        filled = [
            textwrap.fill(
                re.sub(r"(?<=\S)  +", " ", line),
                WIDTH,
                subsequent_indent="  " if line.startswith("* ") else "",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in lines
        ]
        paragraphs.append("\n".join(filled))
    return "\n\n".join(paragraphs)


ALIASES = {
    "Handler": "Callable[[FSPSession], Awaitable[object]]",
    "Welcome": "bytes | Callable[[], bytes]",
    "Admit": "Callable[[Address], bool]",
    "Tap": "Callable[[Address, Address, bytes], bytes | None]",
    "_unix_microseconds": "...",
}


def spelled(expression: ast.expr, module: str) -> str:
    """Source text, with names that mean nothing outside of their module replaced by what they stand for."""
    text = ast.unparse(expression)
    if text in ALIASES:
        return ALIASES[text]
    for alias in ("Welcome", "Admit", "Tap"):
        text = re.sub(rf"\b{alias}\b", ALIASES[alias], text)
    if isinstance(expression, ast.Name) and expression.id.isupper() and expression.id != "DEFAULT_PORT":
        text = repr(getattr(importlib.import_module(module), expression.id))
    return text if '"' in text else text.replace("'", '"')


def signature(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str, module: str) -> list[str]:
    """`name(parameters) -> result` as in the code, without self; broken into a line for each parameter if long."""
    arguments = function.args
    parameters = []
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    for argument, default in zip(positional, [*defaults, *arguments.defaults], strict=True):
        if argument.arg not in ("self", "cls"):
            parameters.append(_parameter(argument, default, module))
    if arguments.kwonlyargs:
        parameters.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters.append(_parameter(argument, default, module))
    decorators = {ast.unparse(decorator) for decorator in function.decorator_list}
    result = spelled(function.returns, module) if function.returns is not None else ""
    prefix = "await " if isinstance(function, ast.AsyncFunctionDef) else ""
    if "asynccontextmanager" in decorators:
        prefix = "async with "
        result = re.sub(r"^AsyncGenerator\[(.*), None\]$", r"\1", result)
    tail = "" if result in ("", "None") else f" -> {result}"
    line = f"{prefix}{name}({', '.join(parameters)}){tail}"
    if len(line) <= WIDTH - 10:
        return [line]
    return [f"{prefix}{name}(", *(f"    {parameter}," for parameter in parameters), f"){tail}"]


def _parameter(argument: ast.arg, default: ast.expr | None, module: str) -> str:
    text = argument.arg
    if argument.annotation is not None:
        text += f": {spelled(argument.annotation, module)}"
    return text if default is None else f"{text} = {spelled(default, module)}"


def parse(thing: Any) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def documented_attributes(body: list[ast.stmt], *, in_constructor: bool = False) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and docstring of the attributes that a class body, or an __init__, sets."""
    for statement, follower in zip(body, [*body[1:], ast.Pass()], strict=False):
        text = ""
        if isinstance(follower, ast.Expr) and isinstance(follower.value, ast.Constant):
            text = str(follower.value.value)
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                default = "" if value is None else ast.unparse(value)
                default = re.sub(r"field\(default_factory=(.*)\)", r"\1()", default)
                yield name, ast.unparse(annotation), default, text
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if not in_constructor:
                yield name, "", ast.unparse(value), text
            case ast.Assign(targets=[ast.Attribute(attr=name)]) if text:
                yield name, "", "", text
            case ast.AnnAssign(target=ast.Attribute(attr=name), annotation=annotation) if text:
                yield name, ast.unparse(annotation), "", text


def is_property(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "property" for d in node.decorator_list)


def code(lines: list[str]) -> list[str]:
    return ["```text", *lines, "```", ""]


def bases(thing: type) -> str:
    names = []
    for base in thing.__bases__:
        module = base.__module__
        if (
            base not in (object, tuple, Protocol)
            and not base.__name__.startswith("_")
            and "Engine" not in base.__name__
        ):
            names.append(f"{module}.{base.__name__}" if module.startswith("trio") else base.__name__)
    return ", ".join(names)


def function_entry(function: Any) -> list[str]:
    node = parse(function)
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return [*code(signature(node, node.name, function.__module__)), refill(inspect.getdoc(function) or ""), ""]


def enum_entry(thing: type[enum.Enum]) -> list[str]:
    node = parse(thing)
    assert isinstance(node, ast.ClassDef)
    lines = [refill(thing.__doc__ or ""), ""]
    rows = [row for row in documented_attributes(node.body) if not row[0].startswith("_")]
    if any(text for *_, text in rows):
        lines += ["| name | value | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {value.strip(chr(39))} | {one_line(text)} |" for name, _, value, text in rows]
    else:
        lines += [textwrap.fill(", ".join(f"`{name}`" for name, *_ in rows), WIDTH, break_on_hyphens=False)]
    return [*lines, ""]


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def class_entry(thing: type) -> list[str]:
    if issubclass(thing, enum.Enum):
        return enum_entry(thing)
    node = parse(thing)
    assert isinstance(node, ast.ClassDef)
    constructor = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    lines = []
    if inherited := bases(thing):
        lines += [f"Is also: {', '.join(f'`{name}`' for name in inherited.split(', '))}.", ""]
    if (
        constructor is not None
        and thing.__module__.startswith("fsp_trio.testing")
        and thing.__name__ not in MADE_ELSEWHERE
    ):
        lines += code(signature(constructor, thing.__name__, thing.__module__))
    lines += [refill(thing.__doc__ or ""), ""]
    attributes = [row for row in documented_attributes(node.body) if not row[0].startswith("_")]
    if attributes:
        lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{name}` | {cell(kind)} | {cell(default)} | {one_line(text)} |"
            for name, kind, default, text in attributes
        ]
        lines.append("")
    body = [*node.body, *_engine_room(thing)]
    lines += list(_properties(body, constructor))
    for member in body:
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and _is_method(member):
            lines += [
                f"#### {thing.__name__}.{member.name}",
                "",
                *code(signature(member, member.name, thing.__module__)),
            ]
            lines += [refill(ast.get_docstring(member) or _inherited(thing, member.name)), ""]
    return lines


def _engine_room(thing: type) -> Iterator[ast.stmt]:
    """What a class has from those that it extends and that are not on the page themselves."""
    for base in thing.__mro__[1:]:
        if "Engine" in base.__name__:
            node = parse(base)
            assert isinstance(node, ast.ClassDef)
            yield from node.body


def cell(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _is_method(member: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    setter = any("setter" in ast.unparse(d) for d in member.decorator_list)
    public = not member.name.startswith("_") and member.name not in INTERNAL
    return public and not setter and not is_property(member)


def _inherited(thing: type, name: str) -> str:
    return inspect.getdoc(getattr(Port, name, None)) or ""


def _properties(body: list[ast.stmt], constructor: ast.FunctionDef | None) -> Iterator[str]:
    rows = []
    for member in body:
        if isinstance(member, ast.FunctionDef) and is_property(member) and not member.name.startswith("_"):
            kind = ast.unparse(member.returns) if member.returns is not None else ""
            rows.append((member.name, kind, ast.get_docstring(member) or ""))
    for name, kind, _, text in documented_attributes(constructor.body if constructor else [], in_constructor=True):
        if not name.startswith("_"):
            rows.append((name, kind, text))
    if rows:
        yield from ("| attribute | type | meaning |", "|---|---|---|")
        yield from (f"| `{name}` | {cell(kind)} | {one_line(text)} |" for name, kind, text in rows)
        yield ""


def constant_entry(module: ModuleType, name: str) -> list[str]:
    value = getattr(module, name)
    source = module
    for candidate in (module.__name__, *CONSTANTS_FROM):
        source = importlib.import_module(candidate)
        tree = ast.parse(inspect.getsource(source))
        for found, _, text, documentation in documented_attributes(tree.body):
            if found == name:
                shown = repr(value) if isinstance(value, bytes) else text
                return [*code([f"{name} = {shown}"]), refill(documentation or CONSTANTS.get(name, "")), ""]
    raise LookupError(name)


CONSTANTS_FROM = (
    "fsp_trio.endpoint",
    "fsp_trio.testing.streams",
    "fsp_trio.ports.base",
    "fsp_trio.keying.errors",
    "fsp_trio.keying.psk",
    "fsp_trio.keying.x25519",
)
"""Modules whose constants are public under another name."""
INTERNAL = {"deliver", "drop", "of"}
"""Methods without underscore that are for the library itself."""
MADE_ELSEWHERE = {"PairMaker", "SimulatedPort"}
CONSTANTS = {"Address": "What names a place to a port: anything hashable; for UDP a pair of IPv4 address and port."}


def entry(module: ModuleType, name: str) -> list[str]:
    thing = getattr(module, name)
    lines = [f"### {name}", ""]
    if inspect.isclass(thing) and thing.__module__.startswith("fsp_trio"):
        return [*lines, *class_entry(thing)]
    if inspect.isfunction(thing):
        return [*lines, *function_entry(inspect.unwrap(thing))]
    return [*lines, *constant_entry(module, name)]


def errors_table() -> list[str]:
    lines = ["| exception | is also | raised when |", "|---|---|---|"]
    names = [name for name in SECTIONS[4][2] if isinstance(getattr(fsp_trio, name), type)]
    things = [getattr(fsp_trio, name) for name in names if issubclass(getattr(fsp_trio, name), Exception)]
    for thing in [*things, keying.KeyAgreementError, keying.KeyAgreementTimeout]:
        first = one_line((thing.__doc__ or "").split("\n\n")[0])
        others = ", ".join(f"`{name}`" for name in bases(thing).split(", "))
        lines.append(f"| `{thing.__name__}` | {others} | {first} |")
    return [*lines, ""]


def drops_table() -> list[str]:
    lines = [
        "### Reasons of drops",
        "",
        "Keys of `drops` in ConnectionStatistics and EndpointStatistics: what was wrong with the packet.  Whatever is",
        "dropped changes nothing but its counter, unless the table says otherwise.",
        "",
        "| reason | the packet |",
        "|---|---|",
    ]
    return [*lines, *(f"| `{reason}` | {meaning} |" for reason, meaning in DROPS.items()), ""]


def context_of(command: click.Command) -> click.Context:
    """A context as the command line makes it: what the group sets, its commands inherit."""
    return command.make_context(
        command.name, [], parent=fsp.make_context("fsp-trio", [], resilient_parsing=True), resilient_parsing=True
    )


def option_rows(command: click.Command) -> list[str]:
    context = context_of(command)
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            rows.append(f"| {cell(record[0])} | {one_line(record[1])} |")
    return rows


def command_line() -> list[str]:
    lines = [
        "## The command fsp-trio",
        "",
        refill(
            "`receive`, `send`, `echo` and `ping` want a key: `--psk FILE` at both ends, or `--insecure` to go without."
            " With a key both ends run the agreement of fsp_trio.keying first. On a terminal `send` and `receive` show"
            " a progress bar, elsewhere plain lines; errors are one line on stderr. `decode` reads captures; how, and"
            " what its JSON says, is [a recipe](how-to.md#read-a-capture)."
        ),
        "",
    ]
    rows = {name: option_rows(command) for name, command in fsp.commands.items()}
    connecting = [others for others in rows.values() if any("--psk" in row for row in others)]
    common = [row for row in connecting[0] if all(row in others for others in connecting)]
    for name, command in fsp.commands.items():
        usage = " ".join(command.collect_usage_pieces(context_of(command)))
        lines += [f"### fsp-trio {name}", "", *code([f"fsp-trio {name} {usage}"]), refill(command.help or ""), ""]
        if own := [row for row in rows[name] if row not in common or rows[name] not in connecting]:
            lines += ["| option | meaning |", "|---|---|", *own, ""]
    lines += ["### Options of all commands that connect", "", "| option | meaning |", "|---|---|", *common, ""]
    lines += ["### Exit codes", "", "| code | meaning |", "|---|---|"]
    for line in EXIT_CODES.splitlines():
        if match := re.match(r"\s*(\d+)\s+(.*)", line):
            lines.append(f"| {match[1]} | {match[2]} |")
    return [*lines, ""]


def page() -> str:
    lines = [
        "# Reference",
        "",
        "Written from signatures and docstrings by `docs/make_reference.py`; a test keeps both alike.  Sizes are in",
        "octets and times in seconds unless it says otherwise.  Numbers in parentheses are sections of",
        "draft-gao-flexible-session-protocol-07; letters with numbers, as (M29), are rows of the",
        "[decisions](design/decisions.md).  `await f(...)` stands for an asynchronous function,",
        "`async with f(...) -> T` for an asynchronous context manager that gives a T.  What a cancellation loses is on",
        "[a page of its own](cancellation.md).",
        "",
    ]
    titles = [title for title, _, _ in SECTIONS if title] + ["The command fsp-trio"]
    lines += [f"* [{title}](#{slug(title)})" for title in titles] + [""]
    for title, module, names in SECTIONS:
        if title:
            lines += [f"## {title}", ""]
        if title == "Errors":
            lines += errors_table()
        for name in names:
            lines += entry(importlib.import_module(module), name)
        if names == ("PortStatistics",):
            lines += drops_table()
    lines += command_line()
    return "\n".join(lines).rstrip() + "\n"


def slug(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page())
