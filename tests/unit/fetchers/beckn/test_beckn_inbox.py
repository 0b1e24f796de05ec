"""Messages on disk: each has its effect once, whatever is sent again, and whatever dies."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from callback_kit import KEYS, NO_KEYS, NOON, OWN_ID, body_of, signed

from fetchers.beckn import inbox as module
from fetchers.beckn.admission import Admitted, admit
from fetchers.beckn.inbox import Inbox, Taken, answered_within
from fetchers.beckn.line import Sent
from fetchers.plan import EPOCH
from schema.clock import VirtualClock
from schema.errors import StorageUnavailable

MINUTE = timedelta(minutes=1)


def admitted(
    action: str = "on_update", *, now: datetime = NOON, sign: bool = True, **context: Any
) -> Admitted:
    body = body_of(action, **context)
    header = signed(body, created=now) if sign else None
    taken = admit(action, body, header, KEYS if sign else NO_KEYS, own_id=OWN_ID, now=now)
    assert isinstance(taken, Admitted)
    return taken


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "beckn-inbox.sqlite"


def test_messages_come_out_in_the_order_of_their_arrival(path: Path) -> None:
    inbox = Inbox(path)
    for number in range(3):
        assert inbox.accept(admitted(message_id=f"m-{number}"), NOON) is Taken.NEW
    found = inbox.callbacks(EPOCH, NOON + MINUTE)
    assert [b'"m-%d"' % number in one.body for number, one in enumerate(found)] == [True] * 3
    # The clock stood still; each is later than the one before all the same.
    assert found[0].at < found[1].at < found[2].at
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert inbox.callbacks(NOON + MINUTE, NOON + 2 * MINUTE) == []


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_the_same_message_again_changes_nothing(path: Path, restarted: bool) -> None:
    inbox = Inbox(path)
    assert inbox.accept(admitted(), NOON) is Taken.NEW
    if restarted:
        inbox.close()
        inbox = Inbox(path)
    assert inbox.accept(admitted(), NOON + MINUTE) is Taken.REPEATED
    assert len(inbox.callbacks(EPOCH, NOON + 2 * MINUTE)) == 1


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_message_that_was_read_is_still_known_until_its_signature_is_over(
    path: Path, restarted: bool
) -> None:
    inbox = Inbox(path)
    inbox.accept(admitted(), NOON)
    inbox.callbacks(EPOCH, NOON + MINUTE)
    inbox.callbacks(NOON + MINUTE, NOON + 2 * MINUTE)
    if restarted:
        inbox.close()
        inbox = Inbox(path)
    assert inbox.accept(admitted(), NOON + 2 * MINUTE) is Taken.REPEATED
    # Five minutes later the signature is over: admission refuses a copy, so it may be forgotten.
    inbox.callbacks(NOON + 2 * MINUTE, NOON + 6 * MINUTE)
    assert inbox._db.execute("select count(*) from messages").fetchone() == (0,)


def test_a_message_that_no_poll_has_read_is_never_forgotten(path: Path) -> None:
    inbox = Inbox(path)
    inbox.accept(admitted(), NOON)
    # The poll's rows were not stored: it asks again from the same moment, a day later.
    assert len(inbox.callbacks(EPOCH, NOON + timedelta(days=1))) == 1
    assert len(inbox.callbacks(EPOCH, NOON + timedelta(days=2))) == 1


def test_a_signed_id_cannot_be_used_for_other_content_and_an_unsigned_one_can(path: Path) -> None:
    inbox = Inbox(path)
    inbox.accept(admitted(), NOON)
    assert inbox.accept(admitted(timestamp="2031-02-03T12:00:09Z"), NOON) is Taken.REUSED
    loose = Inbox(None)
    loose.accept(admitted(sign=False), NOON)
    other = admitted(sign=False, timestamp="2031-02-03T12:00:09Z")
    assert loose.accept(other, NOON) is Taken.NEW
    assert loose.accept(other, NOON) is Taken.REPEATED
    assert len(loose.callbacks(EPOCH, NOON + MINUTE)) == 2


def test_a_clock_that_is_set_back_hides_no_message(path: Path) -> None:
    inbox = Inbox(path)
    inbox.rise(NOON)
    inbox.accept(admitted(), NOON - timedelta(hours=1))
    assert len(inbox.callbacks(NOON, NOON + MINUTE)) == 1
    # Nor does one that arrives while a poll with a later moment is under way.
    inbox.accept(admitted(message_id="m-2"), NOON + MINUTE)
    assert len(inbox.callbacks(NOON + MINUTE, NOON + 2 * MINUTE)) == 1


def test_a_flood_is_stopped_and_what_was_read_makes_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    inbox = Inbox(path)
    outcomes = [inbox.accept(admitted(message_id=f"m-{n}"), NOON) for n in range(4)]
    assert outcomes == [Taken.NEW] * 3 + [Taken.FULL]
    inbox.callbacks(EPOCH, NOON + MINUTE)
    inbox.callbacks(NOON + MINUTE, NOON + 2 * MINUTE)
    assert inbox.accept(admitted(message_id="m-4"), NOON + 2 * MINUTE) is Taken.NEW


def test_what_was_accepted_survives_a_killed_process(path: Path) -> None:
    """The process dies right after accept returned, which is before anybody is told."""
    program = (
        "import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from test_beckn_inbox import Inbox, NOON, admitted\n"
        "for number in range(5):\n"
        "    Inbox.accept(box := globals().get('box') or Inbox(Path(sys.argv[1])),"
        " admitted(message_id=f'm-{number}'), NOON)\n"
        "os._exit(9)\n"
    )
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[4])]
    ended = subprocess.run([sys.executable, "-c", program, str(path), *folders], check=False)
    assert ended.returncode == 9
    reborn = Inbox(path)
    assert len(reborn.callbacks(EPOCH, NOON + MINUTE)) == 5
    assert reborn.accept(admitted(message_id="m-4"), NOON) is Taken.REPEATED


def test_a_file_that_is_none_is_no_reason_to_acknowledge(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageUnavailable, match=r"inbox .* cannot be used"):
        Inbox(path)
    inbox = Inbox(None)
    inbox.close()
    with pytest.raises(StorageUnavailable):
        inbox.accept(admitted(), NOON)


async def test_whoever_waits_hears_of_a_message_that_fits_also_of_a_repeated_one() -> None:
    inbox, clock = Inbox(None), VirtualClock(NOON)
    sent = Sent("select", "t-1", "m-mine", "o-1")
    for taken in (Taken.NEW, Taken.REPEATED):
        with inbox.expecting(sent.answered_by()) as coming:
            inbox.accept(admitted("on_init", message_id="m-2"), NOON)
            assert not coming.done()
            assert inbox.accept(admitted("on_select", message_id="m-3"), NOON) is taken
            envelope = await answered_within(coming, 30, clock)
        assert envelope is not None
        assert envelope.context.message_id == "m-3"
    assert clock.now() == NOON
    assert inbox._waiting == []


async def test_patience_ends_on_the_runs_clock() -> None:
    inbox, clock = Inbox(None), VirtualClock(NOON)
    with inbox.expecting(Sent("select", "t-1", "m-1").answered_by()) as coming:
        assert await answered_within(coming, 30, clock) is None
    assert clock.now() == NOON + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("context", "fits"),
    [
        ({"transaction_id": "t-1", "message_id": "theirs"}, True),
        ({"transaction_id": "theirs", "message_id": "m-1"}, True),
        ({"transaction_id": "theirs", "message_id": "theirs"}, True),  # the order is o-1
        ({"transaction_id": "t-1", "action": "on_init"}, False),
    ],
)
def test_an_answer_is_told_by_transaction_message_or_order(
    context: dict[str, str], fits: bool
) -> None:
    action = context.pop("action", "on_select")
    envelope = admitted(action, **context).envelope
    assert Sent("select", "t-1", "m-1", "o-1").answered_by()(envelope) is fits
    assert not Sent("select", "t-2", "m-2", "o-2").answered_by()(
        admitted("on_select", transaction_id="x", message_id="y").envelope
    )


def test_an_answer_that_came_before_a_restart_is_found(path: Path) -> None:
    first = Inbox(path)
    first.accept(admitted("on_select", message_id="m-1"), NOON)
    first.close()
    reborn = Inbox(path)
    found = reborn.answer("t-1", "m-1", "on_select")
    assert found is not None
    assert found.context.action == "on_select"
    assert reborn.answer("t-1", "m-2", "on_select") is None
