"""`send` and `receive` with each other, and with peers that do not keep to the protocol."""

from __future__ import annotations

import hashlib
import io
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from fsp_trio import FSPBrokenError, FSPListener, FSPSession
from fsp_trio.cli import receiving, sending
from fsp_trio.cli.exits import ALREADY_TOLD, CommandError, Exit
from fsp_trio.cli.protocol import Header, ProtocolViolation, Verdict, VerdictKind, read_message, send_message
from fsp_trio.cli.receiving import Reception, receive_files
from fsp_trio.cli.sending import send_file, send_files
from fsp_trio.cli.statistics import Summary
from fsp_trio.cli.storage import Store
from fsp_trio.keying import KeyAgreementError
from fsp_trio.testing import session_pair
from tests.cli.tools import KEY, LOOPBACK, Paper, common

GO = Verdict(VerdictKind.GO_AHEAD).encode()


def blake(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()


def make_files(directory: Path, **contents: bytes) -> list[Path]:
    directory.mkdir(exist_ok=True)
    paths = []
    for name, content in contents.items():
        (directory / name).write_bytes(content)
        paths.append(directory / name)
    return paths


class Trip:
    """A receiver and a sender on the loopback interface."""

    def __init__(self, tmp_path: Path, *, overwrite: bool = False) -> None:
        self.out = tmp_path / "out"
        self.out.mkdir(exist_ok=True)
        self.store = Store(self.out, overwrite=overwrite)
        self.sender, self.receiver = Paper(), Paper()
        self.receiver_error: BaseException | None = None

    async def send(
        self, paths: list[Path], *, sender_key: bytes | None = KEY, receiver_key: bytes | None = KEY
    ) -> Summary:
        outcome: Summary | Exception
        async with trio.open_nursery() as nursery:
            listener: FSPListener = await nursery.start(self._receive, receiver_key)
            port = listener.endpoint.local_address[1]  # type: ignore[index]
            try:
                outcome = await send_files(paths, LOOPBACK, port, common(sender_key), self.sender)
            except Exception as caught:
                outcome = caught
            with trio.move_on_after(10):
                await self._received.wait()
            nursery.cancel_scope.cancel()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _receive(self, key: bytes | None, task_status: trio.TaskStatus[FSPListener]) -> None:
        self._received = trio.Event()
        try:
            await receive_files(self.store, common(key), self.receiver, once=True, task_status=task_status)
        except Exception as error:
            self.receiver_error = error
        finally:
            self._received.set()


@pytest.mark.realnet
@pytest.mark.parametrize("key", [KEY, None])
async def test_files_arrive(tmp_path: Path, key: bytes | None) -> None:
    contents = {"empty": b"", "small": b"x", "large": random.Random(1).randbytes(3_000_001)}
    paths = make_files(tmp_path / "in", **contents)
    paths[1].chmod(0o755)
    trip = Trip(tmp_path)
    summary = await trip.send(paths, sender_key=key, receiver_key=key)
    assert trip.receiver_error is None
    assert {path.name: path.read_bytes() for path in trip.out.iterdir()} == contents
    assert os.access(trip.out / "small", os.X_OK)
    assert not os.access(trip.out / "empty", os.X_OK)
    assert summary.octets == 3_000_002
    assert summary.protection == ("aead" if key else "crc64")
    assert [result.digest for result in summary.files] == [blake(content).hex() for content in contents.values()]
    assert summary.packets_sent > 2900
    assert summary.states[-1] == "CLOSED"
    assert trip.sender.err == trip.receiver.err == []
    assert len(trip.sender.out) == 3
    assert any("rate" in line for line in trip.receiver.out)


@pytest.mark.realnet
async def test_file_that_exists_is_kept_and_the_others_go_on(tmp_path: Path) -> None:
    paths = make_files(tmp_path / "in", first=b"new", second=b"2")
    trip = Trip(tmp_path)
    (trip.out / "first").write_bytes(b"mine")
    summary = await trip.send(paths)
    assert [result.error for result in summary.files] == ["refused: a file of that name exists", ""]
    assert (trip.out / "first").read_bytes() == b"mine"
    assert (trip.out / "second").read_bytes() == b"2"
    assert isinstance(trip.receiver_error, CommandError)
    assert str(trip.receiver_error) == ALREADY_TOLD
    assert trip.receiver.err == ["fsp-trio: first: a file of that name exists"]
    assert trip.sender.err == ["fsp-trio: first: refused: a file of that name exists"]


@pytest.mark.realnet
async def test_overwriting(tmp_path: Path) -> None:
    paths = make_files(tmp_path / "in", first=b"new")
    trip = Trip(tmp_path, overwrite=True)
    (trip.out / "first").write_bytes(b"mine")
    await trip.send(paths)
    assert (trip.out / "first").read_bytes() == b"new"


@pytest.mark.realnet
@pytest.mark.parametrize(
    ("sender_key", "receiver_key"), [(KEY, b"another key of some length"), (None, KEY), (KEY, None)]
)
async def test_no_file_without_the_same_key(
    tmp_path: Path, sender_key: bytes | None, receiver_key: bytes | None
) -> None:
    paths = make_files(tmp_path / "in", secret=b"secret")
    trip = Trip(tmp_path)
    with pytest.raises((KeyAgreementError, FSPBrokenError)):
        await trip.send(paths, sender_key=sender_key, receiver_key=receiver_key)
    assert trip.receiver_error is not None
    assert isinstance(trip.receiver_error, KeyAgreementError) or (
        isinstance(trip.receiver_error, CommandError) and trip.receiver_error.code is Exit.KEY
    )
    assert list(trip.out.iterdir()) == []


@pytest.mark.realnet
async def test_what_is_no_file_is_not_sent(tmp_path: Path) -> None:
    paths = make_files(tmp_path / "in", good=b"good")
    os.mkfifo(tmp_path / "in" / "pipe")  # nobody has its other end
    trip = Trip(tmp_path)
    with trio.fail_after(20):
        summary = await trip.send([tmp_path / "in" / "pipe", tmp_path / "in" / "gone", *paths])
    assert [result.error for result in summary.files] == [
        "not a regular file",
        "cannot be read: No such file or directory",
        "",
    ]


@pytest.mark.realnet
async def test_server_outlives_its_senders(tmp_path: Path) -> None:
    """Without `once`: a good sender after a bad one, each with its own error or summary."""
    [path] = make_files(tmp_path / "in", file=b"content")
    store, paper = Store(tmp_path / "in", overwrite=True), Paper()
    async with trio.open_nursery() as nursery:
        listener: FSPListener = await nursery.start(partial(receive_files, store, common(), paper))
        port = listener.endpoint.local_address[1]  # type: ignore[index]
        with pytest.raises(KeyAgreementError):
            await send_files([path], LOOPBACK, port, common(b"another key of some length"), Paper())
        summary = await send_files([path], LOOPBACK, port, common(), Paper())
        assert summary.octets == 7
        with trio.fail_after(10):
            while "rate" not in "".join(paper.out):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert len(paper.err) == 1
    assert "another pre-shared key" in paper.err[0]


# peers that do not keep to the protocol, over the simulated network


async def play(
    tmp_path: Path, script: Callable[[FSPSession], Awaitable[object]], *, key: bytes | None = None
) -> tuple[Paper, BaseException | None]:
    """A sender that follows a script, against the receiver; what the receiver said and how it ended."""
    paper = Paper()
    outcome: BaseException | None = None

    async def run_script(session: FSPSession) -> None:
        try:
            await script(session)
            await session.aclose()
        except FSPBrokenError:
            session.reset()

    async with session_pair() as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(run_script, a)
        try:
            with trio.fail_after(20):
                await Reception(b, Store(tmp_path), common(key), paper).run()
        except (CommandError, FSPBrokenError, trio.TooSlowError) as error:
            outcome = error
            b.reset()
    return paper, outcome


async def offer(session: FSPSession, name: str, size: int) -> Verdict:
    await send_message(session, Header(name, size).encode())
    return Verdict.decode_untrusted(await read_message(session, Verdict.LARGEST))


async def deliver(session: FSPSession, message: bytes) -> Verdict:
    await send_message(session, message)
    return Verdict.decode_untrusted(await read_message(session, Verdict.LARGEST))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"content" + blake(b"content"), VerdictKind.STORED),
        (b"content" + blake(b"contend"), VerdictKind.DAMAGED),
        (b"content", VerdictKind.DAMAGED),
        (b"cont", VerdictKind.DAMAGED),
        (b"content" + blake(b"content") + b"!", VerdictKind.DAMAGED),
        (b"content" + blake(b"content")[:31], VerdictKind.DAMAGED),
        (b"content" + blake(b"content") + bytes(500_000), VerdictKind.DAMAGED),
    ],
)
async def test_only_what_was_announced_is_stored(tmp_path: Path, message: bytes, kind: VerdictKind) -> None:
    async def script(session: FSPSession) -> None:
        assert (await offer(session, "a", 7)).kind is VerdictKind.GO_AHEAD
        assert (await deliver(session, message)).kind is kind
        # whatever became of the first, the second gets through
        assert (await offer(session, "b", 0)).kind is VerdictKind.GO_AHEAD
        assert (await deliver(session, blake(b""))).kind is VerdictKind.STORED

    _, outcome = await play(tmp_path, script)
    stored = kind is VerdictKind.STORED
    assert (outcome is None) is stored
    assert sorted(os.listdir(tmp_path)) == (["a", "b"] if stored else ["b"])


@pytest.mark.parametrize(
    ("name", "stored"), [("../../up", "up"), ("/etc/abs", "abs"), (".hidden", "_hidden"), ("a\x1b[2Jb", "a_[2Jb")]
)
async def test_names_are_made_safe(tmp_path: Path, name: str, stored: str) -> None:
    async def script(session: FSPSession) -> None:
        await offer(session, name, 0)
        await deliver(session, blake(b""))

    out = tmp_path / "out"
    out.mkdir()
    _, outcome = await play(out, script)
    assert outcome is None
    assert os.listdir(out) == [stored]
    assert os.listdir(tmp_path) == ["out"]


async def test_files_that_are_refused_at_once(tmp_path: Path) -> None:
    async def script(session: FSPSession) -> None:
        for name, size in (("..", 1), ("x" * 201, 1), ("huge", 2**63)):
            assert (await offer(session, name, size)).kind is VerdictKind.REFUSED

    paper, outcome = await play(tmp_path, script)
    assert isinstance(outcome, CommandError)
    assert len(paper.err) == 3
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "does not send files"),
        (Header("a", 1).encode() + bytes(300), "too long"),
        (bytes(10_000_000), "too long"),
    ],
)
async def test_header_that_is_none(tmp_path: Path, message: bytes, words: str) -> None:
    _, outcome = await play(tmp_path, partial(send_message, message=message))
    assert isinstance(outcome, ProtocolViolation)
    assert words in str(outcome)


async def test_sender_that_sends_nothing(tmp_path: Path) -> None:
    async def script(session: FSPSession) -> None:
        pass

    _, outcome = await play(tmp_path, script)
    assert str(outcome) == "the sender sent nothing"


async def test_sender_that_leaves_after_the_header(tmp_path: Path) -> None:
    async def script(session: FSPSession) -> None:
        await offer(session, "a", 1)

    _, outcome = await play(tmp_path, script)
    assert str(outcome) == "the sender ended the session early"
    assert os.listdir(tmp_path) == []


async def test_sender_that_breaks_off(tmp_path: Path) -> None:
    async def script(session: FSPSession) -> None:
        await offer(session, "a", 1000)
        transaction = session.send_transaction()
        await transaction.send_all(bytes(500))
        await session.wait_acknowledged()
        session.reset()

    _, outcome = await play(tmp_path, script)
    assert isinstance(outcome, FSPBrokenError)
    assert os.listdir(tmp_path) == []


async def test_sender_that_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "STALL_TIMEOUT", 0.2)

    async def script(session: FSPSession) -> None:
        await offer(session, "a", 1000)
        await session.send_transaction().send_all(bytes(500))
        await session.receive_transaction()

    _, outcome = await play(tmp_path, script)
    assert str(outcome) == "the sender stalled"
    assert os.listdir(tmp_path) == []


async def test_disk_that_fills_up_is_told_while_the_file_still_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsp_trio.cli.storage import CannotStore, IncomingFile

    def fail(self: IncomingFile, data: bytes) -> None:
        raise CannotStore("no room left on the receiver's disk")

    monkeypatch.setattr(IncomingFile, "write", fail)
    sent: list[int] = []

    async def script(session: FSPSession) -> None:
        (tmp_path / "big").write_bytes(bytes(50_000_000))
        paper = Paper()
        result = await send_file(session, tmp_path / "big", paper, 20)
        assert result.error == "refused: no room left on the receiver's disk"
        sent.append(session.statistics().packets.payload_sent)

    out = tmp_path / "out"
    out.mkdir()
    paper, outcome = await play(out, script)
    assert isinstance(outcome, CommandError)
    assert paper.err == ["fsp-trio: big: no room left on the receiver's disk"]
    assert sent[0] < 25_000_000
    assert os.listdir(out) == []


async def ask(
    tmp_path: Path, script: Callable[[FSPSession], Awaitable[object]], size: int = 1000
) -> tuple[str, BaseException | None]:
    """A receiver that follows a script, against the sender; the error in the result, or what was raised."""
    [path] = make_files(tmp_path, file=bytes(size))
    async with session_pair() as (a, b), trio.open_nursery() as nursery:

        async def run_script() -> None:
            with suppress(FSPBrokenError):
                await script(b)

        nursery.start_soon(run_script)
        try:
            with trio.fail_after(20):
                result = await send_file(a, path, Paper(), 5)
        except (CommandError, FSPBrokenError, trio.TooSlowError) as error:
            a.reset()
            return "", error
        nursery.cancel_scope.cancel()
        return result.error, None


def answering(*answers: bytes) -> Callable[[FSPSession], Awaitable[None]]:
    async def script(session: FSPSession) -> None:
        for answer in answers:
            await read_message(session, 10_000)
            await send_message(session, answer)
        await session.receive_transaction()

    return script


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict(VerdictKind.STORED, digest=blake(bytes(1000))), ""),
        (Verdict(VerdictKind.STORED, digest=blake(b"")), "stored something else"),
        (Verdict(VerdictKind.DAMAGED, "alas"), "damaged: alas"),
        (Verdict(VerdictKind.REFUSED, "alas"), "refused: alas"),
    ],
)
async def test_verdicts(tmp_path: Path, verdict: Verdict, words: str) -> None:
    error, raised = await ask(tmp_path, answering(GO, verdict.encode()))
    assert raised is None
    assert words in error
    assert bool(words) is bool(error)


@pytest.mark.parametrize(
    "answers",
    [
        [Verdict(VerdictKind.STORED).encode()],
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [bytes(1000)],
        [GO, GO],
        [GO, b"\x09" + bytes(40)],
    ],
)
async def test_answers_that_are_none(tmp_path: Path, answers: list[bytes]) -> None:
    error, raised = await ask(tmp_path, answering(*answers))
    assert isinstance(raised, CommandError)
    assert not error


async def test_receiver_that_leaves(tmp_path: Path) -> None:
    _, raised = await ask(tmp_path, lambda session: session.aclose())
    assert isinstance(raised, CommandError | FSPBrokenError)


async def test_receiver_that_breaks_off_while_the_file_is_sent(tmp_path: Path) -> None:
    async def script(session: FSPSession) -> None:
        await read_message(session, 10_000)
        await send_message(session, GO)
        transaction = await session.receive_transaction()
        await transaction.receive_some()
        session.reset()

    _, raised = await ask(tmp_path, script, size=20_000_000)
    assert isinstance(raised, FSPBrokenError)


async def test_receiver_that_never_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "STORING_TIMEOUT", 0.2)
    _, raised = await ask(tmp_path, answering(GO))
    assert isinstance(raised, CommandError)
    assert raised.code is Exit.UNREACHABLE


async def test_file_that_shrinks_while_it_is_sent(tmp_path: Path) -> None:
    async def script(session: FSPSession) -> None:
        await read_message(session, 10_000)
        (tmp_path / "file").write_bytes(b"short")
        await send_message(session, GO)
        await read_message(session, 10_000)
        await send_message(session, Verdict(VerdictKind.DAMAGED, "it ended early").encode())
        await session.receive_transaction()

    error, raised = await ask(tmp_path, script)
    assert raised is None
    assert error == "became shorter while it was read"


@pytest.mark.realnet
async def test_file_that_grows_while_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had in the beginning is sent, and the user is told."""
    (path,) = make_files(tmp_path / "in", growing=b"at first")

    async def grow(*arguments: object) -> Verdict:
        with path.open("ab") as file:
            file.write(b", and then more")
        return await verdict(*arguments)  # type: ignore[arg-type]

    verdict = sending._verdict
    monkeypatch.setattr(sending, "_verdict", grow)
    trip = Trip(tmp_path)
    summary = await trip.send([path])
    assert [result.error for result in summary.files] == [""]
    assert (trip.out / "growing").read_bytes() == b"at first"
    assert trip.sender.err == [
        "fsp-trio: warning: growing: its size has changed, or was told wrong; its first 8 octets were sent"
    ]


async def test_file_that_shrinks_after_it_was_sent(tmp_path: Path) -> None:
    """All that it had in the beginning was sent, which is less than a failure, and still worth a word."""
    [path] = make_files(tmp_path, file=b"content")
    paper = Paper()

    async def script(session: FSPSession) -> None:
        await read_message(session, 10_000)
        await send_message(session, GO)
        await read_message(session, 10_000)
        path.write_bytes(b"")
        await send_message(session, Verdict(VerdictKind.STORED, digest=blake(b"content")).encode())

    async with session_pair() as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(script, b)
        result = await send_file(a, path, paper, 5)
    assert not result.error
    [line] = paper.err
    assert "file: its size has changed" in line


@pytest.mark.realnet
async def test_octets_that_the_size_does_not_tell(tmp_path: Path) -> None:
    """Some files of the system have size 0, whatever they say when they are read: that is not a file of 0 octets."""
    paths = make_files(tmp_path / "in", empty=b"", good=b"good")
    trip = Trip(tmp_path)
    summary = await trip.send([Path("/proc/self/status"), *paths, Path("/proc/self/mem")])
    assert [result.error for result in summary.files] == [
        "has octets, though its size is told as 0",
        "",
        "",
        "cannot be read: Input/output error",
    ]
    assert sorted(os.listdir(trip.out)) == ["empty", "good"]


@pytest.mark.realnet
async def test_a_name_that_the_terminal_does_not_have(tmp_path: Path) -> None:
    """It is told with escapes, and the receiver lives on."""
    name = "ü漢.txt"
    trip = Trip(tmp_path)
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    trip.receiver._out = plain
    trip.receiver._console.file = plain
    paths = make_files(tmp_path / "in", **{name: b"content"})
    summary = await trip.send(paths)
    assert [result.error for result in summary.files] == [""]
    assert trip.receiver_error is None
    assert (trip.out / name).read_bytes() == b"content"
    assert b"\\xfc\\u6f22.txt" in plain.buffer.getvalue()
