"""The shop that the order chat works for: its stock, its rules, its customers' requests, and how to fulfil one.

Rules: a request and the shop are functions of the seed; `fulfil` is the truth that outcomes are checked by; money is
in cents and every price in whole units, so that no rule rounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from .chance import Voice, stream

PAIRS = (
    ("desk lamp", "floor lamp"),
    ("blue folder", "green folder"),
    ("short cable", "long cable"),
    ("oak shelf", "pine shelf"),
    ("wall clock", "table clock"),
    ("small crate", "large crate"),
    ("paper tray", "metal tray"),
)
SIBLINGS: Mapping[str, str] = {a: b for one, two in PAIRS for a, b in ((one, two), (two, one))}
TIERS = {"basic": 0, "silver": 5, "gold": 10}
"""Per cent off the goods."""
BULK, BULK_OFF = 40_000, 2_000
CARRIERS = {"post": 5_000, "courier": 20_000, "freight": 10**9}
"""Up to how many grams each one takes."""
FEES = {
    "post": {"A": 400, "B": 600, "C": 900},
    "courier": {"A": 1_100, "B": 1_500, "C": 2_100},
    "freight": {"A": 4_800, "B": 6_200, "C": 8_500},
}
HOUSE_RULES = (
    "House rules: silver accounts get 5 % and gold accounts 10 % off the goods; goods of 400.00 or more get another "
    "20.00 off; delivery is not discounted. Post takes up to 5 kg (zone A 4.00, B 6.00, C 9.00), courier up to 20 kg "
    "(A 11.00, B 15.00, C 21.00), freight anything (A 48.00, B 62.00, C 85.00)."
)


class Shortage(StrEnum):
    """What the customer wants where the stock falls short."""

    PARTIAL = "partial"
    SUBSTITUTE = "substitute"
    LEAVE_OUT = "leave_out"


SHORTAGE_WORDS = {
    Shortage.PARTIAL: ("If something runs short, send what you have.", "Send as many as there are if stock is short."),
    Shortage.SUBSTITUTE: (
        "If something runs short, replace that whole line by its sister product.",
        "Where stock is short, swap the whole line for the sister product.",
    ),
    Shortage.LEAVE_OUT: ("If something runs short, leave that line out.", "Drop any line that you can't fill in full."),
}


@dataclass(frozen=True)
class Item:
    """One product."""

    price: int
    grams: int
    stock: int


@dataclass(frozen=True)
class Line:
    """So many of a product."""

    item: str
    quantity: int


Lines = tuple[Line, ...]


@dataclass(frozen=True)
class Request:
    """What a customer wants; `change` replaces one line while the order is in work."""

    customer: str
    tier: str
    zone: str
    shortage: Shortage
    lines: Lines
    change: Line | None

    @property
    def wanted(self) -> Lines:
        """The lines after the change."""
        change = self.change
        return tuple(change if change and change.item == line.item else line for line in self.lines)


@dataclass(frozen=True)
class Shop:
    """The stock, and what happens to it while the order is in work: so many of an item more, or fewer."""

    items: Mapping[str, Item]
    news: Line | None

    def stock(self, item: str) -> int:
        """Return what is there in the end."""
        more = self.news.quantity if self.news and self.news.item == item else 0
        return self.items[item].stock + more


@dataclass(frozen=True)
class Order:
    """What is on the books for an order."""

    lines: Lines
    carrier: str
    fee: int
    total: int


def allocate(lines: Lines, stock: Mapping[str, int], rule: Shortage) -> Lines:
    """Fill the lines from the stock, by the customer's rule."""
    filled = (_fill(line, stock, rule) for line in lines)
    return tuple(line for line in filled if line.quantity > 0)


def _fill(line: Line, stock: Mapping[str, int], rule: Shortage) -> Line:
    sister, nothing = replace(line, item=SIBLINGS[line.item]), replace(line, quantity=0)
    if line.quantity <= stock[line.item]:
        return line
    match rule:
        case Shortage.PARTIAL:
            return replace(line, quantity=stock[line.item])
        case Shortage.SUBSTITUTE:
            return sister if sister.quantity <= stock[sister.item] else nothing
        case Shortage.LEAVE_OUT:
            return nothing


def weight(shop: Shop, lines: Lines) -> int:
    """Return the grams of the lines."""
    return sum(shop.items[line.item].grams * line.quantity for line in lines)


def goods(shop: Shop, lines: Lines) -> int:
    """Return the cents of the lines."""
    return sum(shop.items[line.item].price * line.quantity for line in lines)


def carrier_for(grams: int) -> str:
    """Return the carrier that a weight calls for."""
    return next(carrier for carrier, most in CARRIERS.items() if grams <= most)


def discount(cents: int, tier: str) -> int:
    """Return what comes off the goods."""
    return cents * TIERS[tier] // 100 + (BULK_OFF if cents >= BULK else 0)


def fulfil(shop: Shop, request: Request) -> Order:
    """Return what should be on the books in the end."""
    lines = allocate(request.wanted, {item: shop.stock(item) for item in shop.items}, request.shortage)
    carrier = carrier_for(weight(shop, lines))
    fee, cents = FEES[carrier][request.zone], goods(shop, lines)
    return Order(lines, carrier, fee, cents - discount(cents, request.tier) + fee)


def opening(seed: int) -> tuple[Shop, Request, str]:
    """Return a seed's shop and request, and the request's text."""
    rng = stream("order", seed)
    pairs = rng.sample(PAIRS, rng.randint(1, 3))
    lines = tuple(Line(rng.choice(pair), rng.choice((3, 4, 6, 12, 13, 21, 24))) for pair in pairs)
    short = rng.choice(lines) if rng.random() < 0.65 else None
    items = {item: _item(line, item, short, rng) for line in lines for item in (line.item, SIBLINGS[line.item])}
    change = Line(rng.choice(lines).item, rng.choice((2, 5, 7, 14, 16, 23))) if rng.random() < 0.4 else None
    shop = Shop(items, _news(lines, items, rng) if rng.random() < 0.5 else None)
    name = rng.choice(("Okoro", "Lindqvist", "Marsh", "Ferrante", "Dubois", "Haddad", "Novak", "Silva", "Tanaka"))
    tier, zone = rng.choice(tuple(TIERS)), rng.choice("ABC")
    request = Request(name, tier, zone, rng.choice(tuple(Shortage)), lines, change)
    return shop, request, _text(request, Voice(rng))


def _item(line: Line, item: str, short: Line | None, rng: Random) -> Item:
    there = rng.randint(60, 90)
    if item == line.item and line is short:
        there = max(1, line.quantity - rng.randint(1, 4))
    return Item(rng.randint(4, 39) * 100, rng.choice((90, 150, 240, 380, 650, 900)), there)


def _news(lines: Lines, items: Mapping[str, Item], rng: Random) -> Line:
    item = rng.choice(lines).item
    return Line(item, max(-items[item].stock, rng.choice((-2, -1, 2, 3, 6, 10))))


FRAMES = (
    "{name} here, {tier} account. Please send {lines} to zone {zone}. {short} {rules}",
    "Order from {name} ({tier} account), delivery to zone {zone}: {lines}. {short} {rules}",
    "Hello, I would like {lines}. My account is {tier}, I live in zone {zone}. {short} Regards, {name}. {rules}",
)


def told(lines: Lines) -> str:
    """Say the lines."""
    texts = [f"{line.quantity} x {line.item}" for line in lines]
    return ", ".join(texts) or "nothing"


def money(cents: int) -> str:
    """Say an amount."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02d}"


def _text(request: Request, voice: Voice) -> str:
    return voice.one_of(FRAMES).format(
        name=request.customer,
        tier=request.tier,
        zone=request.zone,
        lines=told(request.lines),
        short=voice.one_of(SHORTAGE_WORDS[request.shortage]),
        rules=HOUSE_RULES,
    )
