"""Our end of the line to the providers: the address, the messages, and who waits for which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fetchers.beckn.inbox import Inbox
from fetchers.beckn.messages import order_id_of
from fetchers.beckn.wire import Envelope

if TYPE_CHECKING:
    # Brings an HTTP server, which few fetchers need.
    from fetchers.beckn.listener import CallbackListener


@dataclass(slots=True)
class CallbackLine:
    """Inbox and listener; ``public_url`` is what providers call the address, if not itself."""

    inbox: Inbox
    listener: CallbackListener
    public_url: str | None = None

    @property
    def url(self) -> str:
        """The address for our messages; the listener must be open."""
        return self.public_url or self.listener.url

    async def close(self) -> None:
        """Give port and file back."""
        await self.listener.close()
        self.inbox.close()


@dataclass(frozen=True, slots=True)
class Sent:
    """One of our messages as its answer can be told by."""

    action: str
    transaction_id: str
    message_id: str
    order_id: str | None = None

    @property
    def answer(self) -> str:
        """The action of its answer."""
        return f"on_{self.action}"

    def answered_by(self) -> Callable[[Envelope], bool]:
        """Give the test for its answer.

        Some providers answer under a transaction or message id of their own; the order's id, which
        we chose, is the last thing to go by.
        """

        def fits(envelope: Envelope) -> bool:
            context = envelope.context
            if context.action != self.answer:
                return False
            if context.transaction_id == self.transaction_id:
                return True
            if context.message_id == self.message_id:
                return True
            return self.order_id is not None and order_id_of(envelope.message) == self.order_id

        return fits
