"""The load that the benchmarks share: 1 kB step events of trajectories that stay open across checkpoints."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

START = datetime(2026, 1, 1, tzinfo=UTC)
CONTENT = "The order was checked against the inventory and two of its lines were changed. " * 9


def step_event(trajectory_id: str, index: int, *, final: bool = False) -> bytes:
    """Return one step event of about 1 kB."""
    return json.dumps(
        {
            "event_id": f"{trajectory_id}-{index}",
            "trajectory_id": trajectory_id,
            "system": "orders",
            "system_version": "3.1",
            "agent": f"agent-{index % 4}",
            "agent_version": "12",
            "kind": "tool_result",
            "step_index": index,
            "parent_id": f"{trajectory_id}-{index - 1}",
            "content": CONTENT,
            "tool": {"name": "lookup", "arguments": {"sku": "A-1", "counts": [1, 2]}, "result": "ok"},
            "usage": {"model": "m", "input_tokens": 900, "output_tokens": 41},
            "started_at": START.isoformat(),
            "ended_at": START.isoformat(),
            "final": final,
        },
        separators=(",", ":"),
    ).encode()


def interleaved(count: int, open_trajectories: int, steps: int = 40) -> Iterator[tuple[bytes, bytes]]:
    """Yield `count` (key, event) pairs, with so many trajectories open at any time, each at another step.

    A trajectory's next step comes after one of every other; when it ends a new one takes its place.
    """
    places = [(slot * steps // open_trajectories, 0) for slot in range(open_trajectories)]
    sent = 0
    while sent < count:
        for slot, (index, lap) in enumerate(places):
            trajectory_id = f"t-{slot:06d}-{lap:05d}"
            final = index == steps - 1
            yield trajectory_id.encode(), step_event(trajectory_id, index, final=final)
            places[slot] = (0, lap + 1) if final else (index + 1, lap)
            sent += 1
            if sent == count:
                return
