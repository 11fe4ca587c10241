"""The order chat: agents hand an order to each other until it is on the books, and triage looks it over at the end.

Rules: sales and triage read the customer's messages; inventory works from the recorded order and the stock it heard
of, shipping and billing from the ticket and what was reserved; the books are really kept; the closing check compares
lines and ticket with the messages, not the sums, and sends the order back once at most.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from schemas import Outcome, Result

from . import chat_moves as moves
from .books import Act, Books, Ticket
from .chance import Chance, Slip, spread
from .digits import misread
from .orders import (
    CARRIERS,
    FEES,
    SIBLINGS,
    TIERS,
    Lines,
    Order,
    Shortage,
    allocate,
    carrier_for,
    discount,
    fulfil,
    goods,
    money,
    opening,
    told,
)
from .system import Move, Task


class Chat:
    """The system; it holds nothing."""

    name = "order-chat"
    agents: Mapping[str, str] = MappingProxyType(
        {
            "triage": "opens and closes tickets",
            "sales": "records what the customer wants",
            "inventory": "checks the stock and reserves",
            "shipping": "picks carrier and fee",
            "billing": "writes the invoice",
            "customer": "places the order",
            "warehouse": "reports changes of the stock",
        }
    )

    def open(self, seed: int) -> tuple[Task, Books]:
        """Return the task of a seed and empty books."""
        shop, request, text = opening(seed)
        return Task(f"{self.name}-{seed}", text), Books(shop, request)

    def next_agent(self, state: Books) -> str | None:
        """Who was handed the order."""
        return state.todo[0].agent if state.todo else None

    def decide(self, state: Books, chance: Chance) -> Move[Books]:
        """Return what the agent does with it."""
        return DECISIONS[state.todo[0].act](state, chance)

    def check(self, state: Books) -> Outcome:
        """Compare the books with what should stand in them."""
        expected, found = fulfil(state.shop, state.request), state.order()
        wrong = [
            name for name in ("lines", "carrier", "fee", "total") if getattr(expected, name) != getattr(found, name)
        ]
        return Outcome(
            result=Result.FAILURE if wrong else Result.SUCCESS,
            score=1 - len(wrong) / 4,
            evaluator="environment",
            reason=f"wrong on the books: {', '.join(wrong)}" if wrong else "the books are as they should be",
            ground_truth=_truth(expected),
        )


def _truth(order: Order) -> str:
    return f"{told(order.lines)} by {order.carrier} for {money(order.fee)}, {money(order.total)} in total"


def _ticket(state: Books) -> Ticket:
    return Ticket(state.request.tier, state.request.zone)


def _other_tickets(right: Ticket) -> list[Ticket]:
    tiers = [replace(right, tier=tier) for tier in TIERS if tier != right.tier]
    return tiers + [replace(right, zone=zone) for zone in "ABC" if zone != right.zone]


def _open(state: Books, chance: Chance) -> moves.Open:
    right = moves.Open(_ticket(state), "sales")
    tickets = [replace(right, ticket=ticket) for ticket in _other_tickets(right.ticket)]
    elsewhere = [replace(right, to=to) for to in ("billing", "shipping", "inventory")]
    return chance.choose(right, [*spread(0.5, tickets), *spread(0.3, elsewhere)])


def _record(state: Books, chance: Chance) -> moves.Record:
    wanted = state.wanted
    right = moves.Record(wanted, "inventory")
    wrong = [replace(right, lines=lines) for lines in _other_lines(wanted)]
    forgot = [replace(right, lines=state.recorded)] if state.changed else []
    elsewhere = [replace(right, to=to) for to in ("billing", "shipping")]
    return chance.choose(right, [*spread(0.5, wrong), *spread(0.4, forgot), *spread(0.2, elsewhere)])


def _other_lines(lines: Lines) -> list[Lines]:
    """Return what an order is easily taken for: a number misread, a sister product, a line forgotten."""
    wrong: list[Lines] = []
    for place, line in enumerate(lines):
        others = [replace(line, quantity=number) for number in misread(line.quantity)]
        others.append(replace(line, item=SIBLINGS[line.item]))
        wrong += [(*lines[:place], other, *lines[place + 1 :]) for other in others]
        wrong += [(*lines[:place], *lines[place + 1 :])] if len(lines) > 1 else []
    return wrong


def _reserve(state: Books, chance: Chance) -> moves.Reserve:
    rule = state.request.shortage
    stale = {item: state.known.get(item, there.stock) for item, there in state.shop.items.items()}
    fresh = _heard(state, stale)
    right = allocate(state.recorded, fresh, rule)
    rules = [allocate(state.recorded, fresh, other) for other in Shortage if other is not rule]
    slips: list[Slip[Lines]] = [
        (0.6, allocate(state.recorded, stale, rule)),
        *spread(0.4, [lines for lines in rules if lines != right]),
        *spread(0.3, _other_lines(right)),
    ]
    return moves.Reserve(chance.choose(right, slips))


def _heard(state: Books, known: Mapping[str, int]) -> dict[str, int]:
    """Return the stock with the warehouse's message taken in."""
    return {item: state.there(item) for item in known}


def _label(state: Books, chance: Chance) -> moves.Label:
    assert state.ticket is not None, "a ticket comes first"
    zone, carrier = state.ticket.zone, carrier_for(state.grams)
    right = moves.Label(carrier, FEES[carrier][zone])
    carriers = [moves.Label(other, FEES[other][zone]) for other in CARRIERS if other != carrier]
    zones = [moves.Label(carrier, FEES[carrier][other]) for other in "ABC" if other != zone]
    return chance.choose(right, [*spread(0.3, carriers), *spread(0.3, zones)])


def _invoice(state: Books, chance: Chance) -> moves.Invoice:
    assert state.ticket is not None, "a ticket comes first"
    cents = goods(state.shop, state.reserved)
    right = moves.Invoice(cents, discount(cents, state.ticket.tier), state.fee)
    rates = [replace(right, off=discount(cents, tier)) for tier in TIERS if tier != state.ticket.tier]
    ordered = goods(state.shop, state.recorded)
    wrong = [
        replace(right, off=cents * TIERS[state.ticket.tier] // 100),
        replace(right, off=discount(cents, state.ticket.tier) + 2_000),
        moves.Invoice(ordered, discount(ordered, state.ticket.tier), state.fee),
        *(replace(right, goods=number * 100) for number in misread(cents // 100)),
    ]
    return chance.choose(right, [*spread(0.4, rates), *spread(0.4, wrong)])


def _close(state: Books, chance: Chance) -> moves.Close:
    right = _ticket(state)
    fine = moves.Close(None, right)
    if state.returned:
        return fine
    to = _misfit(state, right)
    if to is not None:
        return chance.choose(moves.Close(to, right), [(1.5, fine)])
    return chance.choose(fine, spread(0.2, [moves.Close(other, right) for other in ("billing", "inventory")]))


def _misfit(state: Books, right: Ticket) -> str | None:
    """Return the agent whose part departs first from what the customer said."""
    assert state.ticket is not None, "a ticket comes first"
    if state.recorded != state.wanted:
        return "sales"
    fresh = {item: state.there(item) for item in state.shop.items}
    if state.reserved != allocate(state.recorded, fresh, state.request.shortage):
        return "inventory"
    if state.ticket.zone != right.zone:
        return "shipping"
    return "billing" if state.ticket.tier != right.tier else None


DECISIONS: Mapping[Act, Callable[[Books, Chance], Move[Books]]] = MappingProxyType(
    {
        Act.OPEN: _open,
        Act.BOUNCE: lambda state, _: moves.Bounce(state.todo[0].about),
        Act.RECORD: _record,
        Act.CHANGE: lambda _, __: moves.Change(),
        Act.CHECK: lambda state, _: moves.Check(state.todo[0].about),
        Act.NEWS: lambda _, __: moves.News(),
        Act.RESERVE: _reserve,
        Act.WEIGH: lambda _, __: moves.Weigh(),
        Act.LABEL: _label,
        Act.PRICE: lambda _, __: moves.Price(),
        Act.INVOICE: _invoice,
        Act.CLOSE: _close,
    }
)
"""How an agent decides on a thing."""
