"""What a scripted engine says in the contract suite: the first word of the last message tells how."""

import asyncio

from tracer.engines.protocol import Choice, Request

STORY = "once upon a time there was a run that failed and nobody knew why " * 40


async def script(request: Request) -> str:
    """`choose:` takes the first option, `slow:` takes ten seconds, anything else tells a story."""
    if isinstance(request.shape, Choice):
        return request.shape.options[0]
    if request.messages[-1].content.startswith("slow:"):
        await asyncio.sleep(10)
    return STORY
