"""Orders whose answers come later, to our own address; and what providers send by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from callback_kit import KEYS, key_pair, signed
from provider_kit import HALF, NOON, ORDER, RUN, Provider, Store

from fetchers.beckn.admission import Refused
from fetchers.beckn.fetcher import BecknFetcher
from fetchers.beckn.inbox import Taken
from fetchers.beckn.options import BecknOptions
from fetchers.beckn.signing import check_policy, parse_header, verify_signature
from fetchers.factory import make_fetcher
from schema.errors import ConfigurationError, StorageUnavailable
from schema.orders import OrderOutcome, OrderResult

Spoil = Callable[[str, dict[str, Any]], list[dict[str, Any]]]
ACKS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "message-ack": lambda _: {"message": {"ack": {"status": "ACK"}}},
    "ack-status": lambda head: {
        "transaction_id": head["transaction_id"],
        "timestamp": head["timestamp"],
        "ack_status": "ACK",
    },
    "message-status": lambda head: {"message": {"status": "ACK", "messageId": head["message_id"]}},
    "status": lambda _: {"status": "ACK", "signature": ""},
}


class Async(httpx.AsyncBaseTransport):
    """The provider as the network has it: an ACK now, the answer to our own address.

    ``answers`` may change what follows an action: nothing, several, or something else.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.beckn: BecknFetcher
        self.ack = ACKS["message-ack"]
        self.status = 200
        self.answers: Spoil = lambda _action, answer: [answer]
        self.headers: list[httpx.Headers] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.headers.append(request.headers)
        asked = orjson.loads(request.content)
        action = asked["context"]["action"]
        reply = self.provider(request)
        if reply.status_code >= 400:
            return reply
        answer = orjson.loads(reply.content)
        if "context" not in answer:
            return reply
        for one in self.answers(action, answer):
            self.deliver(one)
        return httpx.Response(self.status, json=self.ack(asked["context"]))

    def deliver(self, answer: dict[str, Any]) -> Refused | Taken:
        assert self.beckn.line is not None
        body = orjson.dumps(answer)
        return self.beckn.line.listener.receive(answer["context"]["action"], body, None)


CalledBack = Callable[..., tuple[BecknFetcher, Async]]


@pytest.fixture
async def called_back() -> AsyncIterator[CalledBack]:
    """Make fetchers with an address of their own; closes them at the end."""
    made: list[BecknFetcher] = []

    def make(
        provider: Provider, store: Store, state: Path | None = None, **options: Any
    ) -> tuple[BecknFetcher, Async]:
        transport = Async(provider)
        fetcher = make_fetcher(
            "beckn",
            base_url="https://net.example/api",
            run_id=RUN,
            clock=provider.clock,
            storage=store,
            seed=3,
            transport=transport,
            interval_s=1800,
            state_folder=state,
            beckn=BecknOptions(callback_port=0, **options),
        )
        assert isinstance(fetcher, BecknFetcher)
        transport.beckn = fetcher
        made.append(fetcher)
        return fetcher, transport

    yield make
    for fetcher in made:
        await fetcher.close()


async def ordered(beckn: BecknFetcher, *, poll: bool = True) -> OrderResult:
    if poll:
        await beckn.poll(NOON)
    return await beckn.order(ORDER)


@pytest.mark.parametrize("ack", ACKS)
async def test_an_order_runs_to_its_booking_through_callbacks(
    called_back: CalledBack, ack: str
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    transport.ack = ACKS[ack]
    result = await ordered(beckn)
    assert (result.outcome, result.reason) == (OrderOutcome.BOOKED, "")
    assert store.window()["state"] == "booked"
    # Sent, acknowledged and answered, for discover and the three steps.
    actions = [action for direction, action in store.messages() if direction == "received"]
    assert [one for one in actions if one.startswith("on_")] == [
        "on_discover",
        "on_select",
        "on_init",
        "on_confirm",
    ]
    assert len(actions) == 8
    # Nobody waited: the answers were there before the acknowledgements.
    assert provider.clock.now() == NOON


async def test_messages_name_our_own_address(called_back: CalledBack) -> None:
    provider, store = Provider(), Store()
    beckn, _ = called_back(provider, store)
    await ordered(beckn)
    assert beckn.line is not None
    uris = {orjson.loads(body)["context"]["bap_uri"] for _, body in provider.asked}
    assert uris == {f"http://127.0.0.1:{beckn.line.listener.port}/callbacks"}


async def test_the_same_answer_twice_or_too_late_is_harmless(called_back: CalledBack) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    answers: list[dict[str, Any]] = []

    def twice(_action: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
        answers.append(answer)
        return [answer, answer]

    transport.answers = twice
    result = await ordered(beckn)
    assert result.outcome is OrderOutcome.BOOKED
    window, messages = store.window(), store.messages()
    report = await beckn.poll(NOON + HALF)
    assert report.updates == ()
    # Late: half an hour after their time to live, and under ids of their own. Those of the second
    # poll, on_discover and on_status, are among them.
    late_ones = [*answers]
    for number, answer in enumerate(late_ones):
        context = {**answer["context"], "message_id": f"late-{number}"}
        assert transport.deliver({**answer, "context": context}) is Taken.NEW
    report = await beckn.poll(NOON + 2 * HALF)
    assert (report.updates, report.rejected, report.conflicts) == ((), 0, 0)
    assert store.window()["state"] == window["state"] == "booked"
    late = [row for row in store.of("beckn_transactions") if "late-" in row["message_id"]]
    assert len(late) == len(late_ones) == 6
    assert len(store.messages()) > len(messages)


async def test_no_answer_within_the_time_to_live_is_a_refusal(called_back: CalledBack) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    transport.answers = lambda action, answer: [] if action == "select" else [answer]
    result = await ordered(beckn)
    assert result.outcome is OrderOutcome.REFUSED
    assert "acknowledged without an on_select within 30 s" in result.reason
    assert provider.clock.now() == NOON + timedelta(seconds=30)


async def test_a_reply_of_202_says_that_nothing_will_follow(called_back: CalledBack) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    await beckn.poll(NOON)
    transport.status, transport.answers = 202, lambda _action, _answer: []
    result = await ordered(beckn, poll=False)
    assert result.outcome is OrderOutcome.REFUSED
    assert provider.clock.now() == NOON


async def test_silence_after_confirm_is_asked_after(called_back: CalledBack) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    transport.answers = lambda action, answer: [] if action == "confirm" else [answer]
    result = await ordered(beckn)
    assert result.outcome is OrderOutcome.BOOKED
    assert [action for action, _ in provider.asked][-2:] == ["confirm", "status"]


async def test_what_may_be_booked_is_given_up_even_when_time_has_run_out(
    called_back: CalledBack,
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    await beckn.poll(NOON)

    def slow(action: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
        # Each answer just in time; after 29 + 29 + 30 s the rest is silence.
        if action in {"select", "init"}:
            provider.clock.advance(timedelta(seconds=8))
            return [answer]
        return []

    transport.answers = slow
    beckn.plan.party = replace(beckn.plan.party, ttl_s=110)
    result = await ordered(beckn, poll=False)
    assert result.outcome is OrderOutcome.REFUSED
    assert [action for action, _ in provider.asked][-3:] == ["confirm", "status", "cancel"]


async def test_an_answer_under_ids_of_the_providers_own_is_told_by_the_order(
    called_back: CalledBack,
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)

    def renamed(action: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
        if action == "discover":
            return [answer]
        ids = {"message_id": f"their-{action}", "transaction_id": "their-transaction"}
        return [{**answer, "context": {**answer["context"], **ids}}]

    transport.answers = renamed
    assert (await ordered(beckn)).outcome is OrderOutcome.BOOKED
    report = await beckn.poll(NOON + HALF)
    assert (report.updates, report.conflicts) == ((), 0)
    assert store.window()["state"] == "booked"


def camel(value: dict[str, Any]) -> dict[str, Any]:
    def spelled(name: str) -> str:
        head, *tail = name.split("_")
        return head + "".join(part.capitalize() for part in tail)

    return {**value, "context": {spelled(name): one for name, one in value["context"].items()}}


async def test_answers_in_camel_case_are_understood(called_back: CalledBack) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    transport.answers = lambda _action, answer: [camel(answer)]
    assert (await ordered(beckn)).outcome is OrderOutcome.BOOKED


PUBLIC = "https://bap.example/beckn"


async def test_an_address_behind_a_proxy_is_named_as_providers_reach_it(
    called_back: CalledBack, tmp_path: Path
) -> None:
    beckn, _ = called_back(Provider(), Store(), callback_url=PUBLIC, keys=key_file(tmp_path))
    await beckn.poll(NOON)
    assert beckn.plan.party.bap_uri == PUBLIC


@pytest.mark.parametrize(
    ("url", "told"),
    [(PUBLIC, "anybody could speak for one"), ("http://bap.example/beckn", "https is needed")],
)
async def test_nobody_is_believed_from_elsewhere_without_a_key(
    called_back: CalledBack, url: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        called_back(Provider(), Store(), callback_url=url)


@pytest.mark.parametrize("step", ["select", "init", "confirm"])
async def test_a_callback_may_refuse_in_place_of_an_answer(
    called_back: CalledBack, step: str
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)

    def refused(action: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
        error = {"code": "POL_1", "message": "sold out"}
        told = {"context": answer["context"], "error": error}
        return [told if action == step else answer]

    transport.answers = refused
    result = await ordered(beckn)
    assert result.outcome is OrderOutcome.REFUSED
    assert result.reason == f"{step} was refused: POL_1 sold out"


SAID = {"code": "P", "message": "no"}
NACKS: dict[str, dict[str, Any]] = {
    "message-ack": {
        "message": {"ack": {"status": "NACK"}, "error": {"code": "P", "message": "no"}}
    },
    "ack-status": {"ack_status": "NACK", "error": {"code": "P", "message": "no"}},
    "message-status": {"message": {"status": "NACK", "error": {"code": "P", "message": "no"}}},
    "status": {"status": "NACK", "error": {"errorCode": "P", "errorMessage": "no"}},
}


@pytest.mark.parametrize("shape", NACKS)
async def test_a_nack_in_any_shape_ends_the_wait_at_once(
    called_back: CalledBack, shape: str
) -> None:
    provider, store = Provider(), Store()
    beckn, _ = called_back(provider, store)
    provider.spoil = lambda action, _: (
        httpx.Response(200, json=NACKS[shape]) if action == "init" else None
    )
    result = await ordered(beckn)
    assert (result.outcome, result.reason) == (OrderOutcome.REFUSED, "init was refused: P no")
    assert provider.clock.now() == NOON


async def test_a_provider_that_answers_at_once_needs_no_callback() -> None:
    """With our own address open, the synchronous sandbox is understood as before."""
    provider, store = Provider(), Store()
    made = make_fetcher(
        "beckn",
        base_url="https://net.example/api",
        run_id=RUN,
        clock=provider.clock,
        storage=store,
        seed=3,
        transport=httpx.MockTransport(provider),
        beckn=BecknOptions(callback_port=0),
    )
    assert isinstance(made, BecknFetcher)
    try:
        assert (await ordered(made)).outcome is OrderOutcome.BOOKED
    finally:
        await made.close()
    assert provider.clock.now() == NOON


# -- by themselves -------------------------------------------------------------------------------


async def test_an_update_that_comes_by_itself_is_in_the_next_polls_report(
    called_back: CalledBack,
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    provider.capacity_kw = 30.0
    update = orjson.loads(provider.update("u-1", NOON).body)
    assert transport.deliver(update) is Taken.NEW
    assert transport.deliver(update) is Taken.REPEATED
    report = await beckn.poll(NOON + HALF)
    assert [(one.organisation, one.capacity_kw, one.lost) for one in report.updates] == [
        ("acme", 30.0, False)
    ]
    assert transport.deliver(update) is Taken.REPEATED
    assert (await beckn.poll(NOON + 2 * HALF)).updates == ()


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
async def test_an_update_is_told_once_though_storage_was_away(
    called_back: CalledBack, tmp_path: Path, restarted: bool
) -> None:
    """Acknowledged, then the poll's rows are refused (and the process dies): told once, later."""
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store, tmp_path)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    transport.deliver(orjson.loads(provider.update("u-1", NOON).body))
    store.failures = 1
    with pytest.raises(StorageUnavailable):
        await beckn.poll(NOON + HALF)
    if restarted:
        beckn, transport = called_back(provider, store, tmp_path)
    report = await beckn.poll(NOON + HALF)
    assert [update.message_id for update in report.updates] == ["u-1"]
    assert (await beckn.poll(NOON + 2 * HALF)).updates == ()


@pytest.mark.parametrize("action", ["on_cancel", "on_status", "on_update"])
async def test_an_order_that_the_provider_ends_is_lost_to_the_market(
    called_back: CalledBack, action: str
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    await beckn.poll(NOON)
    result = await beckn.order(ORDER)
    context = {"action": action, "message_id": "x-1", "bpp_id": "grid.example"}
    order = {"id": result.order_id, "orderStatus": "CANCELLED"}
    for _ in range(2):
        transport.deliver({"context": context, "message": {"order": order}})
    report = await beckn.poll(NOON + HALF)
    assert [(one.order_id, one.lost, one.capacity_kw) for one in report.updates] == [
        (result.order_id, True, None)
    ]
    assert store.window()["state"] == "refused"
    # Told again under another id it is no news.
    transport.deliver({"context": {**context, "message_id": "x-2"}, "message": {"order": order}})
    assert (await beckn.poll(NOON + 2 * HALF)).updates == ()


async def test_the_answer_to_our_own_cancel_is_no_loss(called_back: CalledBack) -> None:
    provider, store = Provider(), Store()
    beckn, _ = called_back(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    assert await beckn.cancel(ORDER, "the work moved") is True
    assert ("received", "on_cancel") in store.messages()
    assert (await beckn.poll(NOON + HALF)).updates == ()


async def test_a_catalogue_that_comes_after_the_poll_is_read_by_the_next(
    called_back: CalledBack,
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    kept: list[dict[str, Any]] = []

    def later(action: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
        kept.append(answer)
        return []

    transport.answers = later
    assert (await beckn.poll(NOON)).rows_by_table.get("compute_windows") is None
    transport.deliver(kept[0])
    report = await beckn.poll(NOON + timedelta(minutes=1))
    assert report.rows_by_table["compute_windows"] == 1
    # One that is older than its time to live is recorded and says nothing any more.
    provider.capacity_kw = 1.0
    await beckn.poll(NOON + timedelta(minutes=10))
    provider.clock.set(NOON + timedelta(minutes=20))
    transport.deliver(kept[-1])
    await beckn.poll(NOON + timedelta(minutes=21))
    assert store.window()["capacity_kw"] == 100


async def test_with_an_address_of_our_own_orders_are_asked_after_all_the_same(
    called_back: CalledBack,
) -> None:
    """Nobody promises that a provider calls back."""
    provider, store = Provider(), Store()
    beckn, _ = called_back(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    await beckn.poll(NOON + HALF)
    assert [action for action, _ in provider.asked][-1] == "status"


# -- after a restart -----------------------------------------------------------------------------


async def test_an_answer_that_came_while_we_were_away_is_taken_up(
    called_back: CalledBack, tmp_path: Path
) -> None:
    """The provider answers select once only; the process died before it read the answer."""
    provider, store = Provider(), Store()
    first, transport = called_back(provider, store, tmp_path)
    await first.poll(NOON)
    kept: dict[str, dict[str, Any]] = {}

    def keep(action: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
        kept.setdefault(action, answer)
        return []

    transport.answers = keep
    store.failures = 1
    with pytest.raises(StorageUnavailable):
        await first.order(ORDER)
    transport.deliver(kept["select"])
    await first.close()
    reborn, again = called_back(provider, store, tmp_path)
    again.answers = lambda action, answer: [] if action == "select" else [answer]
    result = await ordered(reborn, poll=False)
    assert result.outcome is OrderOutcome.BOOKED
    # The inbox's answer was there at once.
    assert provider.clock.now() == NOON


# -- signed --------------------------------------------------------------------------------------


def key_file(folder: Path) -> Path:
    assert KEYS.own is not None
    _, public = key_pair(2)
    path = folder / "keys.toml"
    path.write_text(
        f'[own]\nsubscriber_id = "bap.example"\nkey_id = "k1"\n'
        f'private_key = "{KEYS.own.private_key}"\n'
        f'[[peers]]\nsubscriber_id = "grid.example"\nkey_id = "k7"\npublic_key = "{public}"\n'
    )
    path.chmod(0o600)
    return path


async def test_with_keys_we_sign_and_only_signed_answers_count(
    called_back: CalledBack, tmp_path: Path
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store, keys=key_file(tmp_path))
    _, own_public = key_pair(1)

    def deliver(answer: dict[str, Any]) -> Refused | Taken:
        assert beckn.line is not None
        body = orjson.dumps(answer)
        header = signed(body, created=provider.clock.now())
        return beckn.line.listener.receive(answer["context"]["action"], body, header)

    transport.deliver = deliver  # type: ignore[method-assign]
    assert (await ordered(beckn)).outcome is OrderOutcome.BOOKED
    assert len(transport.headers) == 4
    for (_, body), headers in zip(provider.asked, transport.headers, strict=True):
        header = parse_header(headers["authorization"])
        verify_signature(body, header, own_public)
        check_policy(header, now=NOON, sender="bap.example")
        assert orjson.loads(body)["context"]["bap_id"] == "bap.example"
    # What a stranger says is not heard, and the wait goes on to its end.
    strangers, other = Provider(), Store()
    deaf, unsigned = called_back(strangers, other, keys=key_file(tmp_path))
    result = await ordered(deaf)
    assert result.outcome is OrderOutcome.REFUSED
    assert deaf.line is not None
    assert set(deaf.line.listener.counts) == set()
    assert unsigned.deliver({"context": {"action": "on_select"}}) == Refused(
        401, "AUT_SIGNATURE_MISSING", "the Authorization header is missing"
    )


async def test_every_try_of_a_message_has_a_signature_of_its_own(
    called_back: CalledBack, tmp_path: Path
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store, keys=key_file(tmp_path))
    provider.spoil = lambda _action, _body: httpx.Response(503, headers={"Retry-After": "20"})
    await beckn.poll(NOON)
    created = [parse_header(one["authorization"]).created for one in transport.headers]
    assert [later - created[0] for later in created] == [0, 20, 40]
    # Where a signature stands in a log it could be used for five minutes.
    assert not any(b"Signature keyId" in record.body for record in store.records)


async def test_the_status_shows_the_address_and_what_came(
    called_back: CalledBack, tmp_path: Path
) -> None:
    provider, store = Provider(), Store()
    beckn, transport = called_back(provider, store)
    assert beckn.status()["callbacks"] is None
    await beckn.poll(NOON)
    transport.beckn.line.listener.counts.update(["new", "repeated"])  # type: ignore[union-attr]
    assert beckn.line is not None
    assert beckn.status()["callbacks"] == {
        "url": beckn.line.url,
        "received": {"new": 1, "repeated": 1},
    }
