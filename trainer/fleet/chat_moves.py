"""The moves of the order chat: what each agent may decide, how it says it, and what it changes on the books."""

from dataclasses import dataclass, replace

from schemas import StepKind, ToolUse

from . import chat_phrases as say
from .books import AGAIN, BILL, CLOSE, RECORD, RESERVE, SHIP, Act, Books, Ticket, Todo
from .chance import Voice
from .orders import Lines, money, told, weight
from .system import Said


@dataclass(frozen=True)
class Open:
    """Triage opens a ticket and hands it over."""

    ticket: Ticket
    to: str

    def said(self, state: Books, voice: Voice) -> Said:
        """Note the customer's account and zone."""
        text = voice.say(say.OPEN).format(
            name=state.request.customer, tier=self.ticket.tier, zone=self.ticket.zone, to=self.to
        )
        return Said(StepKind.HANDOFF, text)

    def applied(self, state: Books) -> Books:
        """Queue the order; a ticket handed to the wrong agent comes back from there."""
        bounce = [] if self.to == "sales" else [Todo(Act.BOUNCE, self.to, "sales")]
        return replace(state, ticket=self.ticket, todo=state.rest(*bounce, RECORD))


@dataclass(frozen=True)
class Bounce:
    """An agent hands on what is not its own."""

    to: str

    def said(self, state: Books, voice: Voice) -> Said:
        """Hand it on."""
        del state
        return Said(StepKind.HANDOFF, voice.say(say.BOUNCE).format(to=self.to))

    def applied(self, state: Books) -> Books:
        """Change nothing but the turn."""
        return replace(state, todo=state.rest())


@dataclass(frozen=True)
class Record:
    """Sales writes the order down and hands it over."""

    lines: Lines
    to: str

    def said(self, state: Books, voice: Voice) -> Said:
        """List the lines."""
        del state
        return Said(StepKind.HANDOFF, voice.say(say.RECORD).format(lines=told(self.lines), to=self.to))

    def applied(self, state: Books) -> Books:
        """Queue what follows: the customer's change if it is yet to come, else the work on the order."""
        bounce = [] if self.to == "inventory" else [Todo(Act.BOUNCE, self.to, "inventory")]
        state = replace(state, recorded=self.lines)
        if state.returned:
            return replace(state, todo=state.rest(*bounce))
        if state.request.change and not state.changed:
            return replace(state, todo=(Todo(Act.CHANGE, "customer"), RECORD))
        checks = [Todo(Act.CHECK, "inventory", line.item) for line in self.lines]
        news = [Todo(Act.NEWS, "warehouse")] if state.shop.news else []
        return replace(state, todo=(*bounce, *checks, *news, RESERVE, *SHIP, *BILL, CLOSE))


@dataclass(frozen=True)
class Change:
    """The customer changes the order."""

    def said(self, state: Books, voice: Voice) -> Said:
        """Say what should change."""
        change = state.request.change
        assert change is not None, "only a request with a change comes here"
        return Said(StepKind.MESSAGE, voice.one_of(say.CHANGE).format(item=change.item, quantity=change.quantity))

    def applied(self, state: Books) -> Books:
        """Let the request be another one from here on."""
        return replace(state, changed=True, todo=state.rest())


@dataclass(frozen=True)
class Check:
    """Inventory asks the stock of an item."""

    item: str

    def said(self, state: Books, voice: Voice) -> Said:
        """Call the tool."""
        tool = ToolUse(name="stock", arguments={"item": self.item}, result=state.there(self.item))
        return Said(StepKind.TOOL_CALL, voice.say(say.CHECK).format(item=self.item), tool)

    def applied(self, state: Books) -> Books:
        """Keep what the tool showed."""
        return replace(state, known={**state.known, self.item: state.there(self.item)}, todo=state.rest())


@dataclass(frozen=True)
class News:
    """The warehouse says what has come in or gone out."""

    def said(self, state: Books, voice: Voice) -> Said:
        """Say it."""
        news = state.shop.news
        assert news is not None, "only a shop with news comes here"
        options = say.MORE if news.quantity > 0 else say.FEWER
        return Said(StepKind.MESSAGE, voice.one_of(options).format(item=news.item, quantity=abs(news.quantity)))

    def applied(self, state: Books) -> Books:
        """Let the stock be another one from here on."""
        return replace(state, heard=True, todo=state.rest())


@dataclass(frozen=True)
class Reserve:
    """Inventory reserves lines for the order, in place of what was reserved before."""

    lines: Lines

    def short(self, state: Books) -> str | None:
        """Return the item that is not there as often as this takes."""
        return next((line.item for line in self.lines if line.quantity > state.there(line.item)), None)

    def said(self, state: Books, voice: Voice) -> Said:
        """Call the tool."""
        arguments = {"lines": told(self.lines)}
        if item := self.short(state):
            tool = ToolUse(name="reserve", arguments={**arguments}, error=f"only {state.there(item)} x {item} in stock")
        else:
            tool = ToolUse(name="reserve", arguments={**arguments}, result="reserved")
        return Said(StepKind.TOOL_CALL, voice.say(say.RESERVE).format(lines=told(self.lines)), tool)

    def applied(self, state: Books) -> Books:
        """Reserve; the tool refuses what is not there, and inventory has to try again."""
        if item := self.short(state):
            known = {**state.known, item: state.there(item)}
            return replace(state, known=known, todo=state.rest(RESERVE))
        return replace(state, reserved=self.lines, todo=state.rest())


@dataclass(frozen=True)
class Weigh:
    """Shipping puts the reserved goods on the scale."""

    def said(self, state: Books, voice: Voice) -> Said:
        """Call the tool."""
        grams = weight(state.shop, state.reserved)
        tool = ToolUse(name="scale", arguments={"lines": told(state.reserved)}, result={"grams": grams})
        return Said(StepKind.TOOL_CALL, voice.say(say.WEIGH), tool)

    def applied(self, state: Books) -> Books:
        """Keep what the tool showed."""
        return replace(state, grams=weight(state.shop, state.reserved), todo=state.rest())


@dataclass(frozen=True)
class Label:
    """Shipping picks carrier and fee."""

    carrier: str
    fee: int

    def said(self, state: Books, voice: Voice) -> Said:
        """Say them."""
        del state
        return Said(StepKind.HANDOFF, voice.say(say.LABEL).format(carrier=self.carrier, fee=money(self.fee)))

    def applied(self, state: Books) -> Books:
        """Put them on the books."""
        return replace(state, carrier=self.carrier, fee=self.fee, todo=state.rest())


@dataclass(frozen=True)
class Price:
    """Billing asks the prices of what is reserved."""

    def said(self, state: Books, voice: Voice) -> Said:
        """Call the tool."""
        items = [line.item for line in state.reserved]
        tool = ToolUse(
            name="prices",
            arguments={"items": ", ".join(items)},
            result={item: money(state.shop.items[item].price) for item in items},
        )
        return Said(StepKind.TOOL_CALL, voice.say(say.PRICE), tool)

    def applied(self, state: Books) -> Books:
        """Go on to the invoice."""
        return replace(state, todo=state.rest())


@dataclass(frozen=True)
class Invoice:
    """Billing writes the invoice."""

    goods: int
    off: int
    fee: int

    def said(self, state: Books, voice: Voice) -> Said:
        """Show how the total comes about."""
        del state
        text = voice.say(say.INVOICE).format(
            goods=money(self.goods),
            off=money(self.off),
            fee=money(self.fee),
            total=money(self.goods - self.off + self.fee),
        )
        return Said(StepKind.HANDOFF, text)

    def applied(self, state: Books) -> Books:
        """Put the total on the books."""
        return replace(state, total=self.goods - self.off + self.fee, todo=state.rest())


@dataclass(frozen=True)
class Close:
    """Triage's closing check: all is well, or back to an agent with the ticket put right."""

    to: str | None
    ticket: Ticket

    def said(self, state: Books, voice: Voice) -> Said:
        """Confirm the order, or say who should look again and at what."""
        if self.to is None:
            text = voice.say(say.CONFIRM).format(lines=told(state.reserved), total=money(state.total))
            return Said(StepKind.MESSAGE, text)
        text = voice.say(say.RETURN).format(to=self.to, tier=self.ticket.tier, zone=self.ticket.zone)
        return Said(StepKind.HANDOFF, text)

    def applied(self, state: Books) -> Books:
        """End the run, or go round once more."""
        if self.to is None:
            return replace(state, todo=())
        return replace(state, ticket=self.ticket, returned=True, todo=AGAIN[self.to])
