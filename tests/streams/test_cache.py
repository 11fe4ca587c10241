from streams.cache import ClosedCache


def test_a_revision_is_found_by_its_trajectory_and_number() -> None:
    cache = ClosedCache(100)
    cache.put("a", 1, b"one")
    assert (cache.get("a", 1), cache.get("a", 2), cache.get("b", 1)) == (b"one", None, None)


def test_the_next_revision_replaces_the_one_before() -> None:
    cache = ClosedCache(10)
    cache.put("a", 1, b"12345678")
    cache.put("a", 2, b"abcdefgh")
    cache.put("b", 1, b"xy")
    assert (cache.get("a", 1), cache.get("a", 2), cache.get("b", 1)) == (None, b"abcdefgh", b"xy")


def test_the_oldest_make_room() -> None:
    cache = ClosedCache(10)
    for trajectory_id in "abc":
        cache.put(trajectory_id, 1, b"1234")
    assert [cache.get(trajectory_id, 1) for trajectory_id in "abc"] == [None, b"1234", b"1234"]


def test_what_is_larger_than_the_room_is_not_kept_and_leaves_nothing_behind() -> None:
    cache = ClosedCache(10)
    cache.put("a", 1, bytes(11))
    assert cache.get("a", 1) is None
    cache.put("b", 1, bytes(10))
    assert cache.get("b", 1) == bytes(10)


def test_without_room_nothing_is_kept() -> None:
    cache = ClosedCache(0)
    cache.put("a", 1, b"1")
    assert cache.get("a", 1) is None
