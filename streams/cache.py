"""Recently closed trajectories, kept so that an outcome that follows at once needs no reading back."""

from collections import OrderedDict


class ClosedCache:
    """Published revisions by trajectory id, the last `room` bytes of them."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._size = 0
        self._values: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    def put(self, trajectory_id: str, revision: int, value: bytes) -> None:
        """Keep a revision; the oldest make room."""
        self._remove(trajectory_id)
        self._values[trajectory_id] = (revision, value)
        self._size += len(value)
        while self._size > self._room:
            self._remove(next(iter(self._values)))

    def get(self, trajectory_id: str, revision: int) -> bytes | None:
        """Return that revision's bytes, if they are still here."""
        found = self._values.get(trajectory_id)
        return found[1] if found is not None and found[0] == revision else None

    def _remove(self, trajectory_id: str) -> None:
        gone = self._values.pop(trajectory_id, None)
        if gone is not None:
            self._size -= len(gone[1])
