"""Which partition a trajectory belongs to: Kafka's own default, murmur2 of the key.

Rule: home = (murmur2(trajectory_id) & 0x7fffffff) mod partitions, as the Java client and aiokafka place a record
with that key; senders with another partitioner are normal, and their events are forwarded.
"""

_SEED, _M, _R, _MASK = 0x9747B28C, 0x5BD1E995, 24, 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 hash (Austin Appleby's MurmurHash2 with Kafka's seed)."""
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        k = (k ^ (k >> _R)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if length != whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


def home_partition(trajectory_id: str, partitions: int) -> int:
    """Return the partition that assembles this trajectory."""
    return (murmur2(trajectory_id.encode()) & 0x7FFFFFFF) % partitions
