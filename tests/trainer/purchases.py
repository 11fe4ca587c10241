"""Fulfils an order as a person would: from what the customer wrote, house rules included, and the shelf, the price
list and the scale.

Rules: rules, limits and fees are read from the text, money is decimal, and a sister product is the other one that is
called the same.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

Lines = dict[str, int]

SHORTAGES = {
    "send what you have": "partial",
    "Send as many as there are": "partial",
    "replace that whole line by its sister product": "sister",
    "swap the whole line for the sister product": "sister",
    "leave that line out": "without",
    "Drop any line that you can't fill": "without",
}
AMOUNT = r"(\d+\.\d\d)"
ZONES = rf"\((?:zone )?A {AMOUNT}, B {AMOUNT}, C {AMOUNT}\)"


class Shelf(NamedTuple):
    """What the shop has: pieces, prices and grams by item."""

    stock: Mapping[str, int]
    prices: Mapping[str, Decimal]
    grams: Mapping[str, int]


class Books(NamedTuple):
    """What an order comes to."""

    lines: Lines
    carrier: str
    fee: Decimal
    total: Decimal


def lines(text: str) -> Lines:
    """Read the lines of an order."""
    return {item: int(quantity) for quantity, item in re.findall(r"(\d+) x (\w+ \w+)", text)}


def shortage(text: str) -> str:
    """Read what the customer wants where stock is short."""
    (found,) = {rule for words, rule in SHORTAGES.items() if words in text}
    return found


def change(message: str, wanted: Lines) -> Lines:
    """Read a customer's change of an order."""
    (item,) = [item for item in wanted if item in message]
    (quantity,) = re.findall(r"\d+", message)
    return {**wanted, item: int(quantity)}


def news(message: str, stock: Mapping[str, int]) -> dict[str, int]:
    """Read what the warehouse says has come or gone."""
    (item,) = [item for item in stock if item in message]
    (pieces,) = re.findall(r"\d+", message)
    gone = re.search(r"broken|took|minus|had to go", message)
    assert gone or re.search(r"come in|more|plus|back into stock", message), message
    return {**stock, item: stock[item] + (-int(pieces) if gone else int(pieces))}


def filled(wanted: Lines, stock: Mapping[str, int], rule: str) -> Lines:
    """Fill an order from the shelf."""
    found: Lines = {}
    for item, quantity in wanted.items():
        if stock[item] >= quantity:
            found[item] = quantity
        elif rule == "partial":
            found[item] = stock[item]
        elif rule == "sister":
            (sister,) = [other for other in stock if other != item and other.split()[1] == item.split()[1]]
            found[sister] = quantity if stock[sister] >= quantity else 0
    return {item: quantity for item, quantity in found.items() if quantity > 0}


def delivery(text: str, zone: str, grams: int) -> tuple[str, Decimal]:
    """Read from the house rules who carries a weight, and for how much."""
    post = re.search(rf"Post takes up to (\d+) kg {ZONES}", text)
    courier = re.search(rf"courier up to (\d+) kg {ZONES}", text)
    freight = re.search(rf"freight anything {ZONES}", text)
    assert post and courier and freight, text  # noqa: PT018 - the text has them all, or it is none
    place = "ABC".index(zone)
    if grams <= int(post[1]) * 1000:
        return "post", Decimal(post[place + 2])
    if grams <= int(courier[1]) * 1000:
        return "courier", Decimal(courier[place + 2])
    return "freight", Decimal(freight[place + 1])


def off(text: str, tier: str, goods: Decimal) -> Decimal:
    """Read from the house rules what comes off the goods."""
    rates = re.search(r"silver accounts get (\d+) % and gold accounts (\d+) % off the goods", text)
    bulk = re.search(rf"goods of {AMOUNT} or more get another {AMOUNT} off", text)
    assert rates and bulk, text  # noqa: PT018 - see above
    percent = {"basic": "0", "silver": rates[1], "gold": rates[2]}[tier]
    return goods * Decimal(percent) / 100 + (Decimal(bulk[2]) if goods >= Decimal(bulk[1]) else 0)


def fulfil(text: str, wanted: Lines, shelf: Shelf) -> Books:
    """Work an order out: `wanted` after the customer's change, the shelf after the warehouse's news."""
    order, _, _ = text.partition("House rules")
    tier, zone = re.search(r"basic|silver|gold", order), re.search(r"zone ([ABC])", order)
    assert tier and zone, text  # noqa: PT018 - see above
    got = filled(wanted, shelf.stock, shortage(order))
    carrier, fee = delivery(text, zone[1], sum(shelf.grams[item] * n for item, n in got.items()))
    goods = sum((shelf.prices[item] * n for item, n in got.items()), Decimal(0))
    return Books(got, carrier, fee, goods - off(text, tier[0], goods) + fee)
