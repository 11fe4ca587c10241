"""The order chat, one decision at a time: what is right, every mistake there is, and what follows from either."""

import re
from dataclasses import replace

import pytest

from schemas import Result
from tests.trainer.turns import faultless, right, said, wrongs
from trainer.fleet import chat_moves as moves
from trainer.fleet.books import Act, Books, Ticket, Todo
from trainer.fleet.chat import Chat
from trainer.fleet.orders import Item, Line, Request, Shop, Shortage
from trainer.simulator import correct, perform, resume

CHAT = Chat()
ITEMS = {
    "desk lamp": Item(2_000, 900, 10),
    "floor lamp": Item(3_000, 650, 80),
    "oak shelf": Item(500, 380, 70),
    "pine shelf": Item(700, 240, 60),
}
LINES = (Line("desk lamp", 12), Line("oak shelf", 4))
SHOP = Shop(ITEMS, Line("desk lamp", -1))
REQUEST = Request("Silva", "silver", "B", Shortage.PARTIAL, LINES, None)
GOLD, WEST = Ticket("gold", "B"), Ticket("silver", "C")
TICKET = Ticket("silver", "B")
"""9 of 12 desk lamps are there in the end: 9,620 g go by courier, for 15.00; the goods are 200.00, less 5 %."""
FILLED = (Line("desk lamp", 9), Line("oak shelf", 4))
PLAIN = Books(SHOP, REQUEST)
CHANGING = Books(SHOP, replace(REQUEST, change=Line("oak shelf", 16)))


def at(act: Act, about: str = "", books: Books = PLAIN) -> Books:
    """Return the books when a thing is to be done, all right so far."""
    state = books
    while (state.todo[0].act, state.todo[0].about) != (act, about or state.todo[0].about):
        state = right(CHAT, state).applied(state)
    return state


def ended(state: Books) -> Books:
    """Go on without a mistake to the end."""
    while state.todo:
        state = right(CHAT, state).applied(state)
    return state


def turns(state: Books) -> list[tuple[str, Act, str]]:
    """Go on without a mistake to the end; return who did what, about what."""
    found = []
    while (agent := CHAT.next_agent(state)) is not None:
        found.append((agent, state.todo[0].act, state.todo[0].about))
        state = right(CHAT, state).applied(state)
    return found


WORK = [
    ("inventory", Act.RESERVE, ""),
    ("shipping", Act.WEIGH, ""),
    ("shipping", Act.LABEL, ""),
    ("billing", Act.PRICE, ""),
    ("billing", Act.INVOICE, ""),
    ("triage", Act.CLOSE, ""),
]


def test_an_order_goes_from_hand_to_hand() -> None:
    assert turns(PLAIN) == [
        ("triage", Act.OPEN, ""),
        ("sales", Act.RECORD, ""),
        ("inventory", Act.CHECK, "desk lamp"),
        ("inventory", Act.CHECK, "oak shelf"),
        ("warehouse", Act.NEWS, ""),
        *WORK,
    ]
    done = ended(PLAIN)
    assert (done.reserved, done.carrier, done.fee, done.total) == (FILLED, "courier", 1_500, 20_000 - 1_000 + 1_500)
    assert CHAT.check(done).result is Result.SUCCESS


def test_a_customer_who_changes_the_order_does_so_before_the_stock_is_asked() -> None:
    assert turns(CHANGING)[1:5] == [
        ("sales", Act.RECORD, ""),
        ("customer", Act.CHANGE, ""),
        ("sales", Act.RECORD, ""),
        ("inventory", Act.CHECK, "desk lamp"),
    ]
    assert ended(CHANGING).reserved == (Line("desk lamp", 9), Line("oak shelf", 16))


def test_a_shop_without_news_hears_none() -> None:
    quiet = Books(replace(SHOP, news=None), REQUEST)
    assert Act.NEWS not in {act for _, act, _ in turns(quiet)}
    assert ended(quiet).reserved[0] == Line("desk lamp", 10)


def test_triage_notes_another_account_or_zone_or_hands_it_to_another_agent() -> None:
    assert right(CHAT, PLAIN) == moves.Open(TICKET, "sales")
    tickets = (Ticket("basic", "B"), GOLD, Ticket("silver", "A"), WEST)
    assert set(wrongs(CHAT, PLAIN)) == {
        *(moves.Open(ticket, "sales") for ticket in tickets),
        *(moves.Open(TICKET, to) for to in ("billing", "shipping", "inventory")),
    }


@pytest.mark.parametrize("to", ["billing", "shipping", "inventory"])
def test_a_ticket_handed_to_the_wrong_agent_comes_back(to: str) -> None:
    state = moves.Open(TICKET, to).applied(PLAIN)
    assert turns(state)[:2] == [(to, Act.BOUNCE, "sales"), ("sales", Act.RECORD, "")]
    assert right(CHAT, state) == moves.Bounce("sales")
    assert wrongs(CHAT, state) == []
    assert ended(state) == ended(PLAIN)


def test_sales_misreads_a_number_takes_the_sister_product_or_forgets_a_line() -> None:
    state = at(Act.RECORD)
    assert right(CHAT, state) == moves.Record(LINES, "inventory")
    lamp, shelf = LINES
    assert set(wrongs(CHAT, state)) == {
        *(moves.Record((replace(lamp, quantity=n), shelf), "inventory") for n in (11, 13, 21)),
        *(moves.Record((lamp, replace(shelf, quantity=n)), "inventory") for n in (3, 5)),
        moves.Record((Line("floor lamp", 12), shelf), "inventory"),
        moves.Record((lamp, Line("pine shelf", 4)), "inventory"),
        moves.Record((lamp,), "inventory"),
        moves.Record((shelf,), "inventory"),
        moves.Record(LINES, "billing"),
        moves.Record(LINES, "shipping"),
    }


def test_sales_never_forgets_the_only_line() -> None:
    alone = Books(SHOP, replace(REQUEST, lines=LINES[:1]))
    found = wrongs(CHAT, at(Act.RECORD, books=alone))
    assert moves.Record((), "inventory") not in found
    assert len(found) == 6


def test_sales_may_forget_the_customers_change() -> None:
    changed = moves.Change().applied(at(Act.CHANGE, books=CHANGING))
    assert right(CHAT, changed) == moves.Record((LINES[0], Line("oak shelf", 16)), "inventory")
    assert moves.Record(LINES, "inventory") in wrongs(CHAT, changed)
    assert moves.Record(LINES, "inventory") not in wrongs(CHAT, at(Act.RECORD, books=CHANGING))


@pytest.mark.parametrize("to", ["billing", "shipping"])
def test_a_recorded_order_handed_to_the_wrong_agent_is_handed_on(to: str) -> None:
    state = moves.Record(LINES, to).applied(at(Act.RECORD))
    assert turns(state)[:2] == [(to, Act.BOUNCE, "inventory"), ("inventory", Act.CHECK, "desk lamp")]
    assert ended(state) == ended(PLAIN)


def test_the_stock_tool_tells_what_is_there_at_that_time() -> None:
    before = at(Act.CHECK, "desk lamp")
    tool = said(before, moves.Check("desk lamp")).tool
    assert tool is not None
    assert (tool.name, tool.arguments, tool.result) == ("stock", {"item": "desk lamp"}, 10)
    assert moves.Check("desk lamp").applied(before).known == {"desk lamp": 10}
    after = moves.News().applied(replace(before, todo=(Todo(Act.NEWS, "warehouse"),)))
    tool = said(after, moves.Check("desk lamp")).tool
    assert tool is not None
    assert tool.result == 9


def test_inventory_goes_by_old_stock_another_rule_or_misread_lines() -> None:
    state = at(Act.RESERVE)
    assert right(CHAT, state) == moves.Reserve(FILLED)
    lamp, shelf = FILLED
    assert set(wrongs(CHAT, state)) == {
        moves.Reserve((Line("desk lamp", 10), shelf)),
        moves.Reserve((Line("floor lamp", 12), shelf)),
        moves.Reserve((shelf,)),
        moves.Reserve((lamp,)),
        moves.Reserve((Line("desk lamp", 8), shelf)),
        moves.Reserve((Line("floor lamp", 9), shelf)),
        *(moves.Reserve((lamp, Line("oak shelf", n))) for n in (3, 5)),
        moves.Reserve((lamp, Line("pine shelf", 4))),
    }


@pytest.mark.parametrize(
    ("rule", "filled"),
    [
        (Shortage.PARTIAL, FILLED),
        (Shortage.SUBSTITUTE, (Line("floor lamp", 12), LINES[1])),
        (Shortage.LEAVE_OUT, LINES[1:]),
    ],
)
def test_inventory_follows_the_customers_rule(rule: Shortage, filled: tuple[Line, ...]) -> None:
    assert right(CHAT, at(Act.RESERVE, books=Books(SHOP, replace(REQUEST, shortage=rule)))) == moves.Reserve(filled)


def test_the_reserve_tool_refuses_what_is_not_there_and_inventory_tries_again() -> None:
    state = at(Act.RESERVE)
    greedy = moves.Reserve((Line("desk lamp", 10), LINES[1]))
    tool = said(state, greedy).tool
    assert tool is not None
    assert (tool.result, tool.error) == (None, "only 9 x desk lamp in stock")
    refused = greedy.applied(state)
    assert (refused.reserved, refused.known["desk lamp"]) == ((), 9)
    assert turns(refused) == WORK
    assert moves.Reserve((Line("desk lamp", 10), LINES[1])) in wrongs(CHAT, refused), "misread, not old"
    tool = said(state, moves.Reserve(FILLED)).tool
    assert tool is not None
    assert (tool.result, tool.error) == ("reserved", None)


@pytest.mark.parametrize("rule", Shortage)
def test_inventory_tries_once_where_product_and_sister_are_short(rule: Shortage) -> None:
    books = Books(SHOP, replace(REQUEST, shortage=rule))
    state = moves.Record((Line("desk lamp", 500), LINES[1]), "inventory").applied(at(Act.RECORD, books=books))
    assert turns(state)[3:] == [*WORK, ("sales", Act.RECORD, ""), *WORK]
    assert CHAT.check(ended(state)).result is Result.SUCCESS


def test_shipping_weighs_what_is_reserved_and_goes_by_the_ticket() -> None:
    state = at(Act.WEIGH)
    tool = said(state, moves.Weigh()).tool
    assert tool is not None
    assert tool.result == {"grams": 9 * 900 + 4 * 380}
    assert tool.arguments == {"lines": "9 x desk lamp, 4 x oak shelf"}
    labelled = moves.Weigh().applied(state)
    assert right(CHAT, labelled) == moves.Label("courier", 1_500)
    assert right(CHAT, replace(labelled, ticket=WEST)) == moves.Label("courier", 2_100)


def test_shipping_takes_another_carrier_or_another_zone() -> None:
    assert set(wrongs(CHAT, at(Act.LABEL))) == {
        moves.Label("post", 600),
        moves.Label("freight", 6_200),
        moves.Label("courier", 1_100),
        moves.Label("courier", 2_100),
    }


def test_billing_asks_the_prices_of_what_is_reserved() -> None:
    tool = said(at(Act.PRICE), moves.Price()).tool
    assert tool is not None
    assert tool.arguments == {"items": "desk lamp, oak shelf"}
    assert tool.result == {"desk lamp": "20.00", "oak shelf": "5.00"}


def test_billing_mistakes_the_account_the_bulk_rule_the_lines_or_the_sum() -> None:
    state = at(Act.INVOICE)
    assert right(CHAT, state) == moves.Invoice(20_000, 1_000, 1_500)
    ordered = 12 * 2_000 + 4 * 500
    assert set(wrongs(CHAT, state)) == {
        moves.Invoice(20_000, 0, 1_500),
        moves.Invoice(20_000, 2_000, 1_500),
        moves.Invoice(20_000, 3_000, 1_500),
        moves.Invoice(ordered, 1_300, 1_500),
        moves.Invoice(19_900, 1_000, 1_500),
        moves.Invoice(20_100, 1_000, 1_500),
    }


def test_billing_may_forget_the_bulk_discount_where_there_is_one() -> None:
    state = replace(at(Act.INVOICE), reserved=(Line("floor lamp", 20),), recorded=(Line("floor lamp", 20),))
    assert right(CHAT, state) == moves.Invoice(60_000, 5_000, 1_500)
    assert moves.Invoice(60_000, 3_000, 1_500) in wrongs(CHAT, state)


def test_an_invoice_is_the_sum_of_its_parts_even_below_nothing() -> None:
    state, move = at(Act.INVOICE), moves.Invoice(1_200, 2_060, 400)
    assert move.applied(state).total == -460
    for seed in range(20):
        assert sorted(re.findall(r"-?\d+\.\d\d", said(state, move, seed).content)) == [
            "-4.60",
            "12.00",
            "20.60",
            "4.00",
        ]


def test_triage_closes_what_is_right_or_sends_it_back_for_nothing() -> None:
    state = at(Act.CLOSE)
    assert right(CHAT, state) == moves.Close(None, TICKET)
    assert set(wrongs(CHAT, state)) == {moves.Close("billing", TICKET), moves.Close("inventory", TICKET)}
    assert moves.Close(None, TICKET).applied(state).todo == ()
    for to in ("billing", "inventory"):
        again = ended(moves.Close(to, TICKET).applied(state))
        assert replace(again, returned=False) == ended(PLAIN)


MISFITS: dict[str, tuple[Books, str]] = {
    "a line recorded wrongly": (replace(at(Act.CLOSE), recorded=LINES[:1]), "sales"),
    "a line reserved wrongly": (replace(at(Act.CLOSE), reserved=LINES), "inventory"),
    "another zone": (replace(at(Act.CLOSE), ticket=WEST), "shipping"),
    "another account": (replace(at(Act.CLOSE), ticket=GOLD), "billing"),
    "another account and zone": (replace(at(Act.CLOSE), ticket=Ticket("gold", "C")), "shipping"),
    "all of it": (replace(at(Act.CLOSE), recorded=LINES[:1], reserved=LINES, ticket=GOLD), "sales"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_triage_sends_the_order_back_to_whoever_departed_first_or_lets_it_pass(misfit: str) -> None:
    state, to = MISFITS[misfit]
    assert right(CHAT, state) == moves.Close(to, TICKET)
    assert wrongs(CHAT, state) == [moves.Close(None, TICKET)]


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_was_sent_back_is_done_again_from_there_to_the_end_and_put_right(misfit: str) -> None:
    state, to = MISFITS[misfit]
    again = moves.Close(to, TICKET).applied(state)
    assert again.ticket == TICKET
    followed = [("sales", Act.RECORD, ""), *WORK]
    assert turns(again) == followed[next(n for n, turn in enumerate(followed) if turn[0] == to) :]
    assert CHAT.check(ended(again)).result is Result.SUCCESS


def test_triage_sends_nothing_back_twice() -> None:
    state = replace(MISFITS["all of it"][0], returned=True)
    assert (right(CHAT, state), wrongs(CHAT, state)) == (moves.Close(None, TICKET), [])


def test_triage_does_not_check_sums() -> None:
    for wrong in (
        replace(at(Act.CLOSE), fee=1),
        replace(at(Act.CLOSE), total=1),
        replace(at(Act.CLOSE), carrier="post"),
    ):
        assert right(CHAT, wrong) == moves.Close(None, TICKET)
        assert CHAT.check(wrong).result is Result.FAILURE


@pytest.mark.parametrize(
    ("wrong", "named", "score"),
    [
        ({}, None, 1.0),
        ({"total": 1}, "total", 0.75),
        ({"fee": 0, "total": 1}, "fee, total", 0.5),
        ({"carrier": "post", "reserved": (), "total": 0, "fee": 0}, "lines, carrier, fee, total", 0.0),
    ],
)
def test_the_books_are_checked_line_by_line(wrong: dict[str, object], named: str | None, score: float) -> None:
    outcome = CHAT.check(replace(ended(PLAIN), **wrong))  # type: ignore[arg-type]  # fields by name
    assert outcome.result is (Result.FAILURE if named else Result.SUCCESS)
    assert outcome.score == score
    assert outcome.reason == (f"wrong on the books: {named}" if named else "the books are as they should be")
    assert outcome.ground_truth == "9 x desk lamp, 4 x oak shelf by courier for 15.00, 205.00 in total"


def test_a_stale_reservation_of_a_whole_run_is_refused_and_costs_a_step() -> None:
    found = 0
    for seed in range(60):
        run = faultless("order-chat", seed)
        step_index = next(n for n, action in enumerate(run.actions) if isinstance(action.move, moves.Reserve))
        move = run.actions[step_index].move
        assert isinstance(move, moves.Reserve)
        if not move.lines:
            continue
        greedy = replace(move, lines=(replace(move.lines[0], quantity=10_000), *move.lines[1:]))
        again = resume(run, step_index, perform(run, step_index, greedy))
        assert len(again.actions) == len(run.actions) + 1
        assert again.actions[step_index + 1].move == move
        assert (again.mistakes, again.failed) == ((step_index,), False)
        assert correct(again, step_index) == run.actions[step_index]
        found += 1
    assert found > 50
