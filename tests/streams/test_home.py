import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as kafkas_murmur2
from hypothesis import given
from hypothesis import strategies as st

from streams.home import home_partition, murmur2

JAVAS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "signed"), JAVAS.items())
def test_the_hash_is_the_java_clients(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed % 2**32


@given(st.binary(max_size=64))
def test_the_hash_is_aiokafkas_for_any_bytes(data: bytes) -> None:
    assert murmur2(data) == kafkas_murmur2(data) % 2**32


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()), st.integers(1, 64))
def test_the_home_is_where_aiokafka_puts_the_key(trajectory_id: str, partitions: int) -> None:
    every = list(range(partitions))
    assert home_partition(trajectory_id, partitions) == DefaultPartitioner()(trajectory_id.encode(), every, every)


def test_homes_spread_over_all_partitions() -> None:
    homes = [home_partition(f"run-{number}", 12) for number in range(12_000)]
    assert all(800 < homes.count(partition) < 1_200 for partition in range(12))
