"""The books of the order chat: the order, the stock as it is and as it is known, and what is to be done next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .orders import Lines, Order, Request, Shop


class Act(StrEnum):
    """What is to be done next."""

    OPEN = "open"
    BOUNCE = "bounce"
    RECORD = "record"
    CHANGE = "change"
    CHECK = "check"
    NEWS = "news"
    RESERVE = "reserve"
    WEIGH = "weigh"
    LABEL = "label"
    PRICE = "price"
    INVOICE = "invoice"
    CLOSE = "close"


class Todo(NamedTuple):
    """One thing to do, and the agent whose turn it is; `about` is an item, or whom a misplaced ticket belongs to."""

    act: Act
    agent: str
    about: str = ""


RECORD, RESERVE = Todo(Act.RECORD, "sales"), Todo(Act.RESERVE, "inventory")
SHIP = (Todo(Act.WEIGH, "shipping"), Todo(Act.LABEL, "shipping"))
BILL = (Todo(Act.PRICE, "billing"), Todo(Act.INVOICE, "billing"))
CLOSE = Todo(Act.CLOSE, "triage")
AGAIN: Mapping[str, tuple[Todo, ...]] = {
    "sales": (RECORD, RESERVE, *SHIP, *BILL, CLOSE),
    "inventory": (RESERVE, *SHIP, *BILL, CLOSE),
    "shipping": (*SHIP, *BILL, CLOSE),
    "billing": (*BILL, CLOSE),
}
"""What follows when the closing check sends the order back to an agent."""


@dataclass(frozen=True)
class Ticket:
    """What triage noted about the customer."""

    tier: str
    zone: str


@dataclass(frozen=True)
class Books:
    """All that the chat has in hand; `known` is the stock as inventory has heard of it, `reserved` what is real."""

    shop: Shop
    request: Request
    todo: tuple[Todo, ...] = (Todo(Act.OPEN, "triage"),)
    ticket: Ticket | None = None
    changed: bool = False
    recorded: Lines = ()
    known: Mapping[str, int] = field(default_factory=dict)
    heard: bool = False
    reserved: Lines = ()
    grams: int = 0
    carrier: str = "post"
    fee: int = 0
    total: int = 0
    returned: bool = False

    def rest(self, *more: Todo) -> tuple[Todo, ...]:
        """Return what is left to do after the present thing, with more put before it."""
        return (*more, *self.todo[1:])

    @property
    def wanted(self) -> Lines:
        """What the customer has asked for so far."""
        return self.request.wanted if self.changed else self.request.lines

    def there(self, item: str) -> int:
        """Return the real stock at this point."""
        return self.shop.stock(item) if self.heard else self.shop.items[item].stock

    def order(self) -> Order:
        """Return what is on the books."""
        return Order(self.reserved, self.carrier, self.fee, self.total)
