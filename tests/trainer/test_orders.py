"""The shop and its orders: rules by hand, and the truth of drawn orders from their texts, the shelf and the prices."""

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer import purchases
from trainer.fleet import orders
from trainer.fleet.chance import Voice, stream
from trainer.fleet.orders import (
    CARRIERS,
    HOUSE_RULES,
    PAIRS,
    SIBLINGS,
    TIERS,
    Item,
    Line,
    Lines,
    Order,
    Request,
    Shop,
    Shortage,
    allocate,
    carrier_for,
    discount,
    fulfil,
    goods,
    money,
    opening,
    told,
    weight,
)

SEEDS = range(1500)
STOCK = {"desk lamp": 3, "floor lamp": 50, "oak shelf": 9, "pine shelf": 0}


@pytest.mark.parametrize(
    ("rule", "filled"),
    [
        (Shortage.PARTIAL, (Line("desk lamp", 3), Line("oak shelf", 9))),
        (Shortage.SUBSTITUTE, (Line("floor lamp", 4), Line("oak shelf", 9))),
        (Shortage.LEAVE_OUT, (Line("oak shelf", 9),)),
    ],
)
def test_a_short_line_is_filled_by_the_customers_rule(rule: Shortage, filled: Lines) -> None:
    assert allocate((Line("desk lamp", 4), Line("oak shelf", 9)), STOCK, rule) == filled


@pytest.mark.parametrize("rule", Shortage)
def test_a_line_that_the_stock_just_covers_is_filled(rule: Shortage) -> None:
    assert allocate((Line("desk lamp", 3),), STOCK, rule) == (Line("desk lamp", 3),)


@pytest.mark.parametrize("rule", [Shortage.PARTIAL, Shortage.LEAVE_OUT])
def test_nothing_is_left_of_a_line_without_stock(rule: Shortage) -> None:
    assert allocate((Line("pine shelf", 1),), STOCK, rule) == ()


def test_a_sister_product_that_is_short_too_leaves_the_line_out() -> None:
    assert allocate((Line("oak shelf", 10), Line("desk lamp", 1)), STOCK, Shortage.SUBSTITUTE) == (
        Line("desk lamp", 1),
    )
    assert allocate((Line("desk lamp", 51),), STOCK, Shortage.SUBSTITUTE) == ()
    assert allocate((Line("desk lamp", 50),), STOCK, Shortage.SUBSTITUTE) == (Line("floor lamp", 50),)


def test_the_carriers_hold_at_their_limits() -> None:
    by_hand = {0: "post", 5_000: "post", 5_001: "courier", 20_000: "courier", 20_001: "freight", 10**6: "freight"}
    assert {grams: carrier_for(grams) for grams in by_hand} == by_hand


def test_discounts_hold_at_their_limits() -> None:
    by_hand = {
        (0, "gold"): 0,
        (100, "silver"): 5,
        (39_900, "basic"): 0,
        (39_900, "silver"): 1_995,
        (39_900, "gold"): 3_990,
        (40_000, "basic"): 2_000,
        (40_000, "silver"): 4_000,
        (40_000, "gold"): 6_000,
    }
    assert {key: discount(*key) for key in by_hand} == by_hand


def test_amounts_are_told_in_whole_units_and_cents() -> None:
    by_hand = {0: "0.00", 5: "0.05", 400: "4.00", 12_305: "123.05", -5: "-0.05", -460: "-4.60", -1_600: "-16.00"}
    assert {cents: money(cents) for cents in by_hand} == by_hand


@given(st.integers(-(10**9), 10**9))
def test_an_amount_is_told_as_it_is(cents: int) -> None:
    assert Decimal(money(cents)) * 100 == cents


def test_lines_are_told_one_by_one() -> None:
    assert told((Line("desk lamp", 3), Line("oak shelf", 12))) == "3 x desk lamp, 12 x oak shelf"
    assert told(()) == "nothing"


def test_every_product_has_one_sister_and_is_its_sisters_sister() -> None:
    items = [item for pair in PAIRS for item in pair]
    assert len(set(items)) == len(items)
    for item in items:
        assert SIBLINGS[SIBLINGS[item]] == item != SIBLINGS[item]
        assert SIBLINGS[item].split()[1] == item.split()[1]


def test_an_order_is_fulfilled_after_the_change_and_the_news() -> None:
    items = {"desk lamp": Item(2_000, 900, 10), "floor lamp": Item(3_000, 650, 80), "oak shelf": Item(500, 380, 70)}
    items["pine shelf"] = Item(700, 90, 60)
    lines = (Line("desk lamp", 12), Line("oak shelf", 4))
    request = Request("Silva", "silver", "B", Shortage.PARTIAL, lines, Line("oak shelf", 6))
    order = fulfil(Shop(items, Line("desk lamp", -1)), request)
    cents = 9 * 2_000 + 6 * 500
    assert order == Order((Line("desk lamp", 9), Line("oak shelf", 6)), "courier", 1_500, cents - 1_050 + 1_500)


BY_HAND: dict[str, tuple[Lines, int, str, int, int, int]] = {
    # what is sent, its goods, who carries it, the fee, what comes off for gold, and the total
    "all of it by post": ((Line("desk lamp", 5),), 10_000, "post", 400, 1_000, 9_400),
    "more than post takes": ((Line("desk lamp", 6),), 12_000, "courier", 1_100, 1_200, 11_900),
    "just the bulk discount": ((Line("desk lamp", 20),), 40_000, "courier", 1_100, 6_000, 35_100),
    "a load of freight": ((Line("desk lamp", 23),), 46_000, "freight", 4_800, 6_600, 44_200),
    "nothing at all": ((), 0, "post", 400, 0, 400),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_an_order_comes_to_what_it_does_by_hand(case: str) -> None:
    lines, cents, carrier, fee, off, total = BY_HAND[case]
    shop = Shop({"desk lamp": Item(2_000, 900, 80), "floor lamp": Item(1, 1, 1)}, None)
    request = Request("Silva", "gold", "A", Shortage.PARTIAL, lines, None)
    assert (goods(shop, lines), discount(cents, "gold")) == (cents, off)
    assert fulfil(shop, request) == Order(lines, carrier, fee, total)


def shelf(shop: Shop) -> purchases.Shelf:
    """Return what the shop has in the end."""
    stock = {item: shop.stock(item) for item in shop.items}
    prices = {item: Decimal(there.price) / 100 for item, there in shop.items.items()}
    return purchases.Shelf(stock, prices, {item: there.grams for item, there in shop.items.items()})


def same(order: Order, books: purchases.Books) -> bool:
    """Whether an order comes to what a person worked out."""
    assert order.fee % 1 == order.total % 1 == 0
    amounts = Decimal(order.fee) / 100, Decimal(order.total) / 100
    return (list(books.lines.items()), books.carrier, books.fee, books.total) == (
        [(line.item, line.quantity) for line in order.lines],
        order.carrier,
        *amounts,
    )


def test_a_person_who_reads_the_text_and_the_shelf_comes_to_the_same_order() -> None:
    for seed in SEEDS:
        shop, request, text = opening(seed)
        wanted = purchases.lines(text.partition("House rules")[0])
        assert wanted == {line.item: line.quantity for line in request.lines}
        if request.change:
            wanted[request.change.item] = request.change.quantity
        assert same(fulfil(shop, request), purchases.fulfil(text, wanted, shelf(shop))), (seed, text)


@st.composite
def purchase(draw: st.DrawFn) -> tuple[Shop, Request]:
    """Draw a shop and a request beyond those of the seeds: empty shelves, many pieces, any weight."""
    pairs = draw(st.lists(st.sampled_from(PAIRS), min_size=1, max_size=4, unique=True))
    item = st.builds(Item, st.integers(1, 50).map(lambda n: n * 100), st.integers(1, 2_000), st.integers(0, 30))
    items = {name: draw(item) for pair in pairs for name in pair}
    lines = tuple(Line(draw(st.sampled_from(pair)), draw(st.integers(1, 30))) for pair in pairs)
    named = st.sampled_from([line.item for line in lines])
    change = draw(st.none() | st.builds(Line, named, st.integers(1, 30)))
    told_ = draw(st.none() | named)
    news = Line(told_, draw(st.integers(-items[told_].stock, 10))) if told_ else None
    tier, zone, rule = (draw(st.sampled_from(options)) for options in (tuple(TIERS), tuple("ABC"), tuple(Shortage)))
    return Shop(items, news), Request("Silva", tier, zone, Shortage(rule), lines, change)


@settings(max_examples=200)
@given(purchase())
def test_a_person_comes_to_the_same_order_of_all_kinds(drawn: tuple[Shop, Request]) -> None:
    shop, request = drawn
    text = orders._text(request, Voice(stream("any")))
    wanted = {line.item: line.quantity for line in request.wanted}
    assert same(fulfil(shop, request), purchases.fulfil(text, wanted, shelf(shop)))


@settings(max_examples=200)
@given(purchase())
def test_an_order_takes_no_more_than_is_there_nor_than_was_asked_for(drawn: tuple[Shop, Request]) -> None:
    shop, request = drawn
    order, wanted = fulfil(shop, request), {line.item: line.quantity for line in request.wanted}
    assert len({line.item for line in order.lines}) == len(order.lines) <= len(wanted)
    for line in order.lines:
        assert 0 < line.quantity <= shop.stock(line.item)
        assert line.quantity <= wanted.get(line.item, wanted.get(SIBLINGS[line.item], 0))
    assert weight(shop, order.lines) <= CARRIERS[order.carrier]
    before_fee = order.total - order.fee
    assert 0 <= goods(shop, order.lines) - before_fee <= goods(shop, order.lines) * 15 // 100


def test_no_stock_is_ever_below_nothing() -> None:
    for seed in range(4_000):
        shop, _, _ = opening(seed)
        assert all(item.stock >= 1 for item in shop.items.values())
        assert all(shop.stock(item) >= 0 for item in shop.items), seed


def test_the_news_change_the_stock_of_their_item_alone() -> None:
    items = {"desk lamp": Item(100, 1, 10), "floor lamp": Item(100, 1, 20)}
    shop = Shop(items, Line("desk lamp", -2))
    assert (shop.stock("desk lamp"), shop.stock("floor lamp")) == (8, 20)
    assert Shop(items, None).stock("desk lamp") == 10


def test_every_price_is_whole_so_that_no_discount_rounds() -> None:
    for seed in SEEDS:
        shop, _, _ = opening(seed)
        for item in shop.items.values():
            assert item.price % 100 == 0
            assert all(item.price * rate % 100 == 0 for rate in TIERS.values())


def test_a_change_is_another_number_of_one_of_the_lines() -> None:
    changes = 0
    for seed in SEEDS:
        _, request, _ = opening(seed)
        if request.change is None:
            assert request.wanted == request.lines
            continue
        changes += 1
        assert request.wanted != request.lines
        assert len(request.wanted) == len(request.lines)
        assert request.change in request.wanted
    assert 0.3 < changes / len(SEEDS) < 0.5


def test_drawn_orders_vary_in_all_that_they_are_made_of() -> None:
    drawn = [opening(seed) for seed in SEEDS]
    requests = [request for _, request, _ in drawn]
    assert {len(request.lines) for request in requests} == {1, 2, 3}
    assert {line.item for request in requests for line in request.lines} == set(SIBLINGS)
    assert {request.tier for request in requests} == set(TIERS)
    assert {request.shortage for request in requests} == set(Shortage)
    carriers = Counter(fulfil(shop, request).carrier for shop, request, _ in drawn)
    assert set(carriers) == set(CARRIERS)
    assert min(carriers.values()) >= len(SEEDS) / 20
    short = sum(fulfil(shop, request).lines != request.wanted for shop, request, _ in drawn)
    bulk = sum(goods(shop, request.wanted) >= 40_000 for shop, request, _ in drawn)
    assert 0.2 < short / len(SEEDS) < 0.8
    assert 0.2 < bulk / len(SEEDS) < 0.9


def test_the_house_rules_name_every_figure_that_orders_go_by() -> None:
    for figure in ("5 %", "10 %", "400.00", "20.00", "4.00", "6.00", "9.00", "11.00", "15.00", "21.00", "48.00"):
        assert figure in HOUSE_RULES
    assert all(HOUSE_RULES in opening(seed)[2] for seed in range(50))
