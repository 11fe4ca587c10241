"""Questions in one row of tokens, and what the model trains on: a tiny model of random weights stands in."""

import math
from collections.abc import Sequence

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from trainer.steps.packing import pack  # noqa: E402
from trainer.steps.runs import Split, draw, trajectory_of  # noqa: E402
from trainer.steps.score import Reader, logits, odds_of, questions, questions_alone, questions_shuffled, row_of  # noqa: E402
from trainer.steps.train import Recipe, asked_about, loss_of, with_adapter  # noqa: E402


@pytest.fixture(scope="module")
def tiny() -> LlamaForCausalLM:
    """Return a model of two layers in 32 bits."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


class Words:
    """Which tokens of the tiny model are yes and no."""

    def __init__(self) -> None:
        self.yes: Sequence[int] = (3, 4)
        self.no: Sequence[int] = (5, 6)


WORDS = Words()


@torch.no_grad()
def test_a_packed_prompt_gets_the_logits_that_it_gets_alone(tiny: LlamaForCausalLM) -> None:
    prompts = [[1, 9, 8, 7, 20], [1, 9, 8, 30, 31, 32], [1, 9, 8, 7]]
    together = logits(tiny, prompts)
    for prompt, found in zip(prompts, together, strict=True):
        alone = tiny(torch.tensor([prompt])).logits[0, -1]
        assert torch.allclose(found, alone, atol=1e-5)


def test_a_branch_does_not_see_another() -> None:
    row = row_of(pack([[1, 2], [1, 3]]))
    assert row.mask_1_1_T_T[0, 0].tolist() == [[True, False, False], [True, True, False], [True, False, True]]


def test_all_ways_of_writing_a_word_count_in_its_odds() -> None:
    found = torch.zeros(1, 50)
    found[0, [3, 4]] = math.log(2.0)
    assert odds_of(found, WORDS).item() == pytest.approx(math.log(2.0))


def test_the_loss_of_a_model_that_knows_nothing_is_the_log_of_all_tokens_and_of_all_steps() -> None:
    found = loss_of(torch.zeros(4, 50), 2, WORDS)
    assert found.item() == pytest.approx(math.log(50) + math.log(4))


def test_the_loss_falls_to_nothing_where_every_answer_is_right() -> None:
    found = torch.zeros(3, 50)
    found[:, WORDS.no[0]] = 40.0
    found[1, WORDS.no[0]], found[1, WORDS.yes[0]] = 0.0, 40.0
    assert loss_of(found, 1, WORDS).item() == pytest.approx(0.0, abs=1e-6)


def test_training_changes_the_adapter_alone_and_lowers_the_loss(tiny: LlamaForCausalLM) -> None:
    model = with_adapter(tiny, Recipe())
    before = {name: one.clone() for name, one in model.named_parameters() if not one.requires_grad}
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], 0.02)
    prompts = [[1, 9, 8, 7], [1, 9, 8, 30], [1, 9, 8, 21]]
    losses = []
    for _ in range(15):
        loss = loss_of(logits(model, prompts), 1, WORDS)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(one, before[name]) for name, one in model.named_parameters() if name in before)


def test_the_decisive_step_is_asked_about_and_other_mistakes_before_what_is_fine() -> None:
    recipe = Recipe(others=3)
    for found in draw(Split.TRAIN, 12):
        asked = asked_about(found, recipe)
        assert len(asked) == len(set(asked)) == 4
        assert asked == sorted(asked)
        assert found.step_index in asked
        others = set(found.run.mistakes) - {found.step_index}
        assert len(others & set(asked)) == min(3, len(others))


@pytest.fixture(scope="module")
def reader() -> Reader:
    """Return the tokenizer of the embedded model, from its package."""
    pytest.importorskip("gguf")
    from tracer.engines.weights import embedded  # noqa: PLC0415  heavy

    return Reader(embedded())


def test_questions_about_a_run_share_the_run(reader: Reader) -> None:
    run = trajectory_of(next(draw(Split.SEEDS, 1)).run)
    packed = pack(questions(run, reader))
    assert len(packed.ends) == len(run.steps)
    assert packed.branches.count(0) > 0.4 * len(packed.ids)


def test_a_step_shown_alone_is_asked_about_without_the_others(reader: Reader) -> None:
    run = trajectory_of(next(draw(Split.SEEDS, 1)).run)
    texts = [reader.text(prompt) for prompt in questions_alone(run, reader)]
    assert len(texts) == len(run.steps)
    for text in texts:
        assert "It has 1 step." in text
        assert "[0]" in text
        assert "[1]" not in text


def test_shuffled_steps_are_asked_about_in_the_runs_own_order(reader: Reader) -> None:
    run = trajectory_of(next(draw(Split.SEEDS, 1)).run)
    for step, prompt in zip(run.steps, questions_shuffled(run, reader), strict=True):
        again = reader.text(prompt).rpartition("end of the record.")[2]
        assert step.content.splitlines()[0][:20] in again
