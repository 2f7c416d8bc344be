"""One training loop for every network: seeded, resumable, on one processor or several.

AdamW (Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019) with linear warm-up
and a cosine to zero. A run that is stopped and started again gives, on the same machine, the
weights of a run that was never stopped: network, optimiser and every random state are kept, as
safetensors, never as pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from models.errors import ModelError

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total); total 0 when not known."""
Log = Callable[[str, float, int], None]
"""Called with (name of a value, value, step)."""


def quiet(*_: object) -> None:
    """Take any report and do nothing with it."""


@dataclass(frozen=True, slots=True)
class Run:
    """How, not what, is trained.

    Attributes:
        seed: of every random choice.
        device: torch device, ``cpu`` or ``cuda``.
        bf16: whether the forward pass runs in bfloat16 where torch's autocast allows it.
        compiled: whether the network goes through torch.compile.
        steps_scale: multiplies every number of steps; under 1 for a quick look.
        progress: told how far it is.
        log: told the loss and the rate.
        checkpoints: folder of checkpoints; None keeps none.
        checkpoint_seconds: at least this long between two checkpoints.
        memo: what a fit may leave for the next fit of the same examples, as cross-fitting makes
            them: results that depend on one example alone.
    """

    seed: int = 0
    device: str = "cpu"
    bf16: bool = False
    compiled: bool = False
    steps_scale: float = 1.0
    progress: Progress = quiet
    log: Log = quiet
    checkpoints: Path | None = None
    checkpoint_seconds: float = 60.0
    memo: dict[Any, Any] = field(default_factory=dict[Any, Any])

    def steps(self, count: int) -> int:
        """Return how many of `count` steps this run takes, at least 1."""
        return max(1, round(count * self.steps_scale))


@contextlib.contextmanager
def seeded(seed: int) -> Generator[None]:
    """Within, torch's own random numbers come from `seed`; outside, they go on as if unused."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def optimise(
    name: str,
    network: nn.Module,
    loss: Callable[..., Tensor],
    batch: Callable[[torch.Generator, int], tuple[Tensor, ...]],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    run: Run,
    betas: tuple[float, float] = (0.9, 0.95),
    weight_decay: float = 1e-4,
    warm_up: int = 0,
    gradient_clip: float = 1.0,
) -> None:
    """Train `network` in place; it is on `run.device` and in evaluation mode afterwards.

    Args:
        name: of the checkpoint and of the logged values.
        network: what is trained; parameters that do not require a gradient stay.
        loss: called with (network, *batch on the device), returns a scalar; must go through the
            network's forward, so that several processors and torch.compile work.
        batch: called with (generator, size), draws one batch from the generator.
        steps: optimiser steps, before `run.steps_scale`.
        batch_size: of each process.
        learning_rate: at the end of the warm-up.
        run: how.
        betas: AdamW's.
        weight_decay: AdamW's.
        warm_up: steps of linear warm-up.
        gradient_clip: largest gradient norm.

    Raises:
        ModelError: if the loss is no longer finite, or a checkpoint is of another run.
    """
    total = run.steps(steps)
    rank, device = _rank(), torch.device(run.device)
    network.to(device).train()
    optimiser = torch.optim.AdamW(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=learning_rate,
        betas=betas,
        weight_decay=weight_decay,
    )
    settings = [name, total, batch_size, learning_rate, run.seed, rank, _fingerprint(batch)]
    signature = json.dumps(settings)
    generator = torch.Generator().manual_seed(run.seed + 7919 * rank)
    keep = _Checkpoint(run, name, rank, signature)
    with seeded(run.seed + 7919 * rank):
        first = keep.restore(network, optimiser, generator)
        trained = _wrapped(network, run)
        kind = device.type
        for step in range(first, total):
            rate = learning_rate * _schedule(step, total, min(warm_up, total // 4))
            for group in optimiser.param_groups:
                group["lr"] = rate
            tensors = [tensor.to(device) for tensor in batch(generator, batch_size)]
            with torch.autocast(kind, torch.bfloat16, enabled=run.bf16):
                value = loss(trained, *tensors)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), gradient_clip)
            optimiser.step()
            if step % 20 == 0 or step == total - 1:
                found = float(value.detach())
                if not math.isfinite(found):
                    raise ModelError(f"training of {name} diverged at step {step}")
                run.log(f"{name}/loss", found, step)
                run.log(f"{name}/rate", rate, step)
            run.progress(name, step + 1, total)
            keep.store(network, optimiser, generator, step + 1, last=step + 1 == total)
    network.eval()


def _fingerprint(batch: Callable[[torch.Generator, int], tuple[Tensor, ...]]) -> str:
    """Return a digest of one small batch, by which a checkpoint knows its data."""
    digest = hashlib.sha256()
    for tensor in batch(torch.Generator().manual_seed(0), 2):
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _schedule(step: int, total: int, warm_up: int) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))


def join_processes(device: str) -> None:
    """Join the group of processes that torchrun started; nothing where it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")


def is_first_process() -> bool:
    """Return whether this is the process that writes files."""
    return _rank() == 0


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _wrapped(network: nn.Module, run: Run) -> nn.Module:
    wrapped = network
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        wrapped = DistributedDataParallel(wrapped)
    if run.compiled:
        wrapped = cast("nn.Module", torch.compile(wrapped))
    return wrapped


class _Checkpoint:
    """Where a training has come to, in one safetensors file that is replaced as a whole."""

    def __init__(self, run: Run, name: str, rank: int, signature: str) -> None:
        self._path = run.checkpoints / f"{name}.{rank}.safetensors" if run.checkpoints else None
        self._seconds = run.checkpoint_seconds
        self._signature = signature
        self._device = torch.device(run.device)
        self._written = time.monotonic()

    def store(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        step: int,
        *,
        last: bool,
    ) -> None:
        if self._path is None:
            return
        if not last and time.monotonic() - self._written < self._seconds:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
        state = cast("dict[int, dict[str, Any]]", optimiser.state_dict()["state"])
        for index, values in state.items():
            tensors |= {f"optimiser.{index}.{key}": value for key, value in values.items()}
        tensors["random.batches"] = generator.get_state()
        tensors["random.torch"] = torch.get_rng_state()
        if self._device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self._device)
        made = self._path.with_suffix(".partial")
        metadata = {"step": str(step), "run": self._signature}
        copies = {key: value.detach().cpu().clone() for key, value in tensors.items()}
        save_file(copies, made, metadata)
        made.replace(self._path)
        self._written = time.monotonic()

    def restore(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, generator: torch.Generator
    ) -> int:
        """Return the step to go on from, everything put back as it was; 0 without a checkpoint."""
        if self._path is None or not self._path.exists():
            return 0
        try:
            with safe_open(self._path, "pt") as file:
                metadata = cast("dict[str, str]", file.metadata())
                tensors = {key: cast("Tensor", file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError) as error:
            raise ModelError(f"checkpoint {self._path.name} cannot be read") from error
        if metadata.get("run") != self._signature:
            raise ModelError(
                f"checkpoint {self._path.name} is of another run; remove it or seed it"
            )
        network.load_state_dict(_under(tensors, "network."))
        groups = optimiser.state_dict()["param_groups"]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, "optimiser.").items():
            index, _, field = key.partition(".")
            state.setdefault(int(index), {})[field] = value
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        generator.set_state(tensors["random.batches"])
        torch.set_rng_state(tensors["random.torch"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self._device)
        return int(metadata["step"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
