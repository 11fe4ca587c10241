"""Trains the embedded tracer: a LoRA adapter of SmolLM2-135M-Instruct that answers the questions of `step_scores`.

    python -m trainer.steps.train --seed 0 --out tracer/adapters/embedded

Rules: it trains on exactly the texts that are served, all questions about one run in one row of tokens; the loss is
on the answer's token alone: that it is the right one of yes and no, and that the decisive step's odds are the highest
of its run; the same seed gives the same runs in the same order; everything that is printed is in the log beside the
adapter, a line of JSON each; the folder is as peft writes it, with the weights in 16 bits and the calibration beside.
"""

# ruff: noqa: N803, N806  capital suffixes are the axes of an array: N questions, V vocabulary

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from tracer import calibrate
from tracer.engines.weights import EMBEDDED, embedded, merged
from tracer.methods.protocol import Case
from tracer.methods.step_scores import StepScores, guess_of
from tracer.prompt.roster import roster_of

from .runs import COUNTS, Labelled, Split, draw, trajectory_of
from .score import Answers, Reader, load, logits, odds, odds_of, questions

MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Recipe:
    """How it is trained."""

    seed: int = 0
    runs: int = COUNTS[Split.TRAIN]
    epochs: int = 1
    batch: int = 4
    """So many runs one step of the optimiser learns from."""
    others: int = 5
    """Beside the decisive step so many others are asked about, those with a mistake of their own first."""
    rate: float = 1e-3
    warmup: int = 20
    rank: int = 8
    alpha: int = 16
    minutes: float = 600.0
    """When these are over, training ends where it is."""


class Log:
    """Prints a line of JSON and keeps it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w")
        self._start = time.monotonic()

    @property
    def minutes(self) -> float:
        """Since the start."""
        return (time.monotonic() - self._start) / 60

    def __call__(self, **fields: object) -> None:
        """Write one line."""
        line = json.dumps({"minutes": round(self.minutes, 2)} | fields)
        print(line, flush=True)  # noqa: T201  progress
        self._file.write(f"{line}\n")
        self._file.flush()


def with_adapter(model: Any, recipe: Recipe) -> Any:
    """Return the model with fresh matrices to be trained; nothing else of it will change."""
    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=MATRICES, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = EMBEDDED
    return adapted


def loss_of(logits_N_V: Tensor, decisive: int, answers: Answers) -> Tensor:
    """Return the loss of one run: of each answer (the one yes weighs as much as all noes), and of the choice."""
    count = len(logits_N_V)
    is_decisive_N = torch.arange(count) == decisive
    answers_N = torch.where(is_decisive_N, answers.yes[0], answers.no[0])
    weights_N = torch.where(is_decisive_N, 0.5, 0.5 / max(1, count - 1))
    answer = (weights_N * cross_entropy(logits_N_V, answers_N, reduction="none")).sum()
    choice = cross_entropy(odds_of(logits_N_V, answers)[None], torch.tensor([decisive]))
    return answer + choice


def train(model: Any, reader: Reader, runs: list[Labelled], recipe: Recipe, out: Path, log: Log) -> None:
    """Train the adapter; what it learns is logged every few steps and written down now and then."""
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], recipe.rate)
    batches = list(_batches(runs, recipe))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: _share(n, len(batches), recipe.warmup))
    recent: list[tuple[float, bool]] = []
    for number, batch in enumerate(batches, start=1):
        recent += [_learn(model, reader, one, recipe) for one in batch]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if number % 10 == 0 or number == len(batches):
            losses, rights = zip(*recent, strict=True)
            mean, right = sum(losses) / len(losses), sum(rights) / len(rights)
            log(train_step=number, of=len(batches), loss=round(mean, 4), right=round(right, 3))
            recent.clear()
        if number % 50 == 0:
            save(model, out)
        if log.minutes > recipe.minutes:
            log(stopped="the time was over", train_step=number)
            return


def _learn(model: Any, reader: Reader, run: Labelled, recipe: Recipe) -> tuple[float, bool]:
    """Add one run's gradient; return its loss, and whether its decisive step had the highest odds of those asked."""
    asked = asked_about(run, recipe)
    logits_N_V = logits(model, questions(trajectory_of(run.run), reader, asked))
    decisive = asked.index(run.step_index)
    loss = loss_of(logits_N_V, decisive, reader)
    (loss / recipe.batch).backward()
    return loss.item(), int(odds_of(logits_N_V, reader).argmax()) == decisive


def asked_about(run: Labelled, recipe: Recipe) -> list[int]:
    """Return the steps that a run is trained on; the other mistakes are the hardest to tell from the decisive one."""
    rng = Random(f"{run.run.trajectory_id} {recipe.seed}")  # noqa: S311  a choice of questions
    others = [index for index in range(len(run.run.actions)) if index != run.step_index]
    ranked = sorted(others, key=lambda index: (index not in run.run.mistakes, rng.random()))
    return sorted([run.step_index, *ranked[: recipe.others]])


def _batches(runs: list[Labelled], recipe: Recipe) -> Iterator[list[Labelled]]:
    rng = Random(recipe.seed)  # noqa: S311  an order of runs
    for _ in range(recipe.epochs):
        order = rng.sample(runs, len(runs))
        yield from (order[at : at + recipe.batch] for at in range(0, len(order), recipe.batch))


def _share(number: int, count: int, warmup: int) -> float:
    """Return the share of the learning rate at a step: up in the warm-up, then down in a line."""
    return min((number + 1) / warmup, max(0.02, (count - number) / max(1, count - warmup)))


def save(model: Any, out: Path) -> None:
    """Write the adapter in 16 bits; the model itself stays as it is."""
    matrices = {name: one.to(torch.bfloat16) for name, one in model.state_dict().items() if "lora_" in name}
    model.save_pretrained(out, state_dict=matrices, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)


def calibration(folder: Path, runs: list[Labelled]) -> calibrate.Calibration:
    """Fit the confidence of the merged weights to runs that are neither trained on nor scored."""
    reader, model = Reader(folder), load(folder)
    pairs = []
    for run in runs:
        trajectory = trajectory_of(run.run)
        (scores,) = odds(model, reader, [questions(trajectory, reader)])
        guess = guess_of(Case(trajectory, roster_of(trajectory.steps)), dict(enumerate(scores)))
        pairs.append(calibrate.Pair(guess.raw or 0.0, guess.ranked[0].step_index == run.step_index))
    return calibrate.fit(
        pairs,
        kind=calibrate.Kind.PLATT,
        method=StepScores.name,
        prompt_version=StepScores.prompt_version,
        fitted_on=f"{len(runs)} simulated runs, split {Split.CALIBRATE.value!r}",
    )


def main() -> None:
    """Train, save, calibrate."""
    parser = argparse.ArgumentParser(prog="python -m trainer.steps.train", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    for field, default in asdict(Recipe()).items():
        parser.add_argument(f"--{field}", type=type(default), default=default)
    options = vars(parser.parse_args())
    out = options.pop("out")
    recipe, log = Recipe(**options), Log(out / "train.log")
    log(recipe=asdict(recipe))
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    folder = embedded()
    reader, model = Reader(folder), with_adapter(load(folder), recipe)
    runs = list(draw(Split.TRAIN, recipe.runs, recipe.seed))
    log(runs=len(runs), steps=sum(len(run.run.actions) for run in runs))
    train(model, reader, runs, recipe, out, log)
    save(model, out)
    del model
    held = list(draw(Split.CALIBRATE, COUNTS[Split.CALIBRATE], recipe.seed))
    fitted = calibration(merged(folder, out), held)
    calibrate.save(fitted, out)
    log(calibrated_on=fitted.labels, slope=round(fitted.slope, 3), intercept=round(fitted.intercept, 3))


if __name__ == "__main__":
    main()
