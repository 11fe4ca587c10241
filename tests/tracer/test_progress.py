"""The bookkeeping of one partition: any order of ends and kills, and metadata from anywhere."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tracer.progress import METADATA_BYTES, Commit, Known, Progress, decode, encode

UNFINISHED = st.dictionaries(st.integers(0, 3_000), st.integers(0, 35), min_size=1, max_size=40)


@given(st.integers(0, 2**62), UNFINISHED, st.integers(0, 500))
def test_what_is_encoded_is_decoded(offset: int, relative: dict[int, int], beyond: int) -> None:
    known = Known(offset + max(relative) + 1 + beyond, {offset + key: value for key, value in relative.items()})
    assert decode(Commit(offset, encode(offset, known))) == known


@given(st.integers(0, 2**62), st.text(max_size=80) | st.from_regex(r"agentracer1;[0-9a-f]{8};[0-9a-z;,*]*"))
def test_foreign_metadata_counts_as_none(offset: int, metadata: str) -> None:
    found = decode(Commit(offset, metadata))
    assert found == (None if metadata else Known(offset, {}))


@given(st.integers(0, 1_000), UNFINISHED, st.integers(1, 50))
def test_metadata_that_was_moved_to_another_offset_counts_as_none(
    offset: int, relative: dict[int, int], shift: int
) -> None:
    known = Known(offset + max(relative) + 1, {offset + key: value for key, value in relative.items()})
    assert decode(Commit(offset + shift, encode(offset, known))) is None


@given(UNFINISHED, st.data())
def test_a_damaged_byte_makes_metadata_count_as_none(relative: dict[int, int], data: st.DataObject) -> None:
    metadata = encode(0, Known(max(relative) + 1, relative))
    at = data.draw(st.integers(0, len(metadata) - 1))
    other = data.draw(st.sampled_from("0a;*,Z").filter(lambda character: character != metadata[at]))
    assert decode(Commit(0, metadata[:at] + other + metadata[at + 1 :])) is None


def test_what_is_all_done_needs_no_metadata() -> None:
    progress = Progress()
    for offset in (5, 6, 8):
        assert progress.take(offset)
        progress.begin(offset)
        progress.finish(offset)
    assert progress.commit() == Commit(9, "")


def test_before_anything_is_known_there_is_nothing_to_commit() -> None:
    assert Progress().commit() is None
    assert Progress().position is None


def test_an_offset_that_nobody_delivered_counts_as_finished() -> None:
    progress = Progress(Commit(0, ""))
    for offset in (0, 4, 7):
        progress.take(offset)
        progress.begin(offset)
    progress.finish(4)
    commit = progress.commit()
    assert commit is not None
    assert commit.offset == 0
    again = Progress(commit)
    assert [offset for offset in range(9) if again.take(offset)] == [0, 7, 8]


def test_the_attempts_under_way_are_committed_and_a_hand_back_leaves_them_out() -> None:
    progress = Progress(Commit(3, ""))
    progress.take(3)
    progress.take(4)
    assert progress.begin(3) == 1
    assert progress.begin(3) == 2
    assert Progress(progress.commit()).attempts(3) == 2
    assert Progress(progress.commit(hand_back=True)).attempts(3) == 1
    assert progress.attempts(3) == 2


def test_attempts_count_on_over_lives() -> None:
    commit: Commit | None = Commit(3, "")
    for life in range(1, 4):
        progress = Progress(commit)
        assert progress.take(3)
        assert progress.attempts(3) == life - 1
        assert progress.begin(3) == life
        commit = progress.commit()


def test_what_the_broker_no_longer_has_does_not_hold_the_commit_back() -> None:
    earlier = Progress(Commit(0, ""))
    for offset in (0, 1, 2):
        earlier.take(offset)
        earlier.begin(offset)
    earlier.finish(2)
    progress = Progress(earlier.commit())
    assert progress.take(7)
    progress.begin(7)
    progress.finish(7)
    assert progress.vanished == 2
    assert progress.commit() == Commit(8, "")


def test_a_log_that_starts_anew_below_the_commit_is_read_from_there() -> None:
    progress = Progress(Commit(500, ""))
    assert progress.take(0)
    assert progress.commit() == Commit(0, "")


def test_reading_goes_on_at_the_first_offset_that_is_still_owed() -> None:
    earlier = Progress(Commit(0, ""))
    for offset in range(6):
        earlier.take(offset)
        earlier.begin(offset)
    for offset in (1, 2, 4):
        earlier.finish(offset)
    progress = Progress(earlier.commit())
    positions = [progress.position]
    for offset in (0, 3, 5):
        progress.take(offset)
        positions.append(progress.position)
    assert positions == [0, 3, 5, 6]


@given(st.integers(1, 10**9), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_more_than_the_metadata_holds_may_not_begin_and_ends_make_room(gap: int, attempts: int) -> None:
    progress = Progress(Commit(0, ""))
    begun = []
    for offset in range(0, 3_000 * gap, gap):
        progress.take(offset)
        if not progress.may_begin(offset):
            break
        for _ in range(attempts):
            progress.begin(offset)
        begun.append(offset)
    assert 300 < len(begun) < 3_000
    commit = progress.commit()
    assert commit is not None
    assert METADATA_BYTES - 20 <= len(commit.metadata) <= METADATA_BYTES
    for finished in begun[1:10]:
        progress.finish(finished)
    assert progress.may_begin(begun[-1] + gap)


class Lives(RuleBasedStateMachine):
    """A log with holes, and a worker that takes, begins, finishes, commits, is killed, hands back."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []
        self.committed: Commit | None = None
        self.progress = Progress()
        self.read = 0
        self.waiting: list[int] = []
        self.running: list[int] = []
        self.finished: Counter[int] = Counter()
        self.sure: set[int] = set()
        self.crashes: Counter[int] = Counter()

    @rule(hole=st.integers(0, 3), records=st.integers(1, 5))
    def append(self, hole: int, records: int) -> None:
        start = (self.log[-1] + 1 if self.log else 0) + hole
        self.log += range(start, start + records)

    @precondition(lambda self: self.read < len(self.log))
    @rule(count=st.integers(1, 8))
    def take(self, count: int) -> None:
        for offset in self.log[self.read : self.read + count]:
            if self.progress.take(offset):
                self.waiting.append(offset)
        self.read = min(self.read + count, len(self.log))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def begin_and_commit(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.waiting))
        assert self.progress.may_begin(offset)
        assert offset not in self.sure
        self.waiting.remove(offset)
        assert self.progress.begin(offset) == self.crashes[offset] + 1
        self.running.append(offset)
        self.commit()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.running))
        self.running.remove(offset)
        self.progress.finish(offset)
        self.finished[offset] += 1

    @rule()
    def commit(self) -> None:
        self.committed = self.progress.commit()
        self.sure = set(self.finished)

    @rule()
    def killed(self) -> None:
        """What is known is what was committed last; what ended since is done again."""
        lost = set(self.running) | (set(self.finished) - self.sure)
        self.crashes.update(lost)
        for offset in set(self.finished) - self.sure:
            del self.finished[offset]
        self._live_again()

    @rule()
    def handed_back(self) -> None:
        self.committed = self.progress.commit(hand_back=True)
        self.sure = set(self.finished)
        self._live_again()

    def _live_again(self) -> None:
        self.progress = Progress(self.committed)
        assert self.progress.readable
        start = self.committed.offset if self.committed else 0
        self.read = sum(offset < start for offset in self.log)
        self.waiting, self.running = [], []

    @invariant()
    def no_commit_passes_what_is_unfinished(self) -> None:
        if self.committed is not None:
            assert all(offset in self.sure for offset in self.log if offset < self.committed.offset)
            assert len(self.committed.metadata) <= METADATA_BYTES

    @invariant()
    def nothing_that_was_committed_as_finished_is_done_again(self) -> None:
        assert not self.sure & set(self.waiting + self.running)
        assert set(self.finished.values()) <= {1}

    def teardown(self) -> None:
        """Whatever happened, one undisturbed life finishes the rest."""
        self.handed_back()
        for offset in self.log[self.read :]:
            if self.progress.take(offset):
                self.progress.begin(offset)
                self.progress.finish(offset)
                self.finished[offset] += 1
        assert dict(self.finished) == dict.fromkeys(self.log, 1)
        if self.log:
            assert self.progress.commit() == Commit(self.log[-1] + 1, "")


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
