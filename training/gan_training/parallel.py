"""Several processes that train one GAN together, started by torchrun (or whatever sets the same environment).

Each process holds both nets and works on its own rows of the global batch. What one process would compute for the
whole batch is what all compute together, up to rounding: gradients are averaged, BatchNorm normalises by the
statistics of the global batch, and random numbers are drawn for the global batch by everybody, who then keeps its rows.

DistributedDataParallel is not used: its hooks want one forward pass for each backward pass, and its documentation rules
out torch.autograd.grad, which gradient penalties need. torch's SyncBatchNorm refuses CPUs.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from .errors import first_line

LONGEST_WAIT: Final = timedelta(minutes=30)
"""For a process that evaluates or writes files alone; one that has died is noticed at once, by gloo or by torchrun."""


class ParallelError(ValueError):
    """The processes can't share this work; the message is one line for the user."""


class PeerLostError(RuntimeError):
    """Another process of this run has ended before its time."""


@dataclass(frozen=True)
class Parallel:
    """This process's place among `world` processes. With one, every method is a no-op that touches nothing.

    All processes must call the methods that communicate (`anyone`, `average`, `average_gradients`, `barrier`,
    `main_first`) in the same order; they raise PeerLostError when another one has ended. What rank 0 does alone must
    not draw from torch's global generators, or the ranks' numbers part.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # among the processes of this machine

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def device(self, wanted: torch.device) -> torch.device:
        """`wanted`, where each process of a machine takes a GPU of its own.

        Raises:
            ParallelError: a GPU that all would share, or fewer GPUs than processes.
        """
        if self.world == 1 or wanted.type != "cuda":
            return wanted
        if ":" in str(wanted):
            raise ParallelError(f"device is {wanted}, and {self.world} processes can't share it; use cuda or auto")
        if self.local_rank >= torch.cuda.device_count():
            raise ParallelError(
                f"there are {torch.cuda.device_count()} GPUs here and {self.local_rank + 1} or more processes; "
                "start one process for each GPU (torchrun --nproc-per-node)"
            )
        own = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(own)
        return own

    def rows(self, n: int) -> slice:
        """This process's rows of a global batch of n; raises ParallelError where they can't be shared out evenly."""
        if n % self.world:
            raise ParallelError(
                f"batch_size is {n}; it must be a multiple of the {self.world} processes, e.g. "
                f"{-(-n // self.world) * self.world}"
            )
        each = n // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def own(self, whole: Tensor) -> Tensor:
        """(world * n, ...) drawn for the global batch -> (n, ...), the rows of this process."""
        return whole if self.world == 1 else whole[self.rows(len(whole))]

    def rand_like(self, rows: Tensor) -> Tensor:
        """Uniform on [0, 1), shaped like these rows: the numbers that one process alone would draw for them."""
        return self.own(torch.rand_like(self._whole(rows)))

    def randn_like(self, rows: Tensor) -> Tensor:
        """The same from N(0, 1)."""
        return self.own(torch.randn_like(self._whole(rows)))

    def _whole(self, rows: Tensor) -> Tensor:
        """Room for the global batch; its memory layout is that of `rows`, for the order of draws follows it."""
        if self.world == 1:
            return rows
        layout = torch.contiguous_format
        if rows.dim() == 4 and not rows.is_contiguous() and rows.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        shape = (len(rows) * self.world, *rows.shape[1:])
        return torch.empty(shape, dtype=rows.dtype, device=rows.device, memory_format=layout)

    def anyone(self, flag: bool) -> bool:
        """Whether any process says so: then all do the same, such as stop after one step, whoever saw Ctrl-C first."""
        # On the CPU, by gloo: no GPU is waited for.
        return flag if self.world == 1 else bool(_sum_(torch.tensor([float(flag)])))

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.anyone(False)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The block runs in rank 0, then in the others: they find its caches, and don't repeat what made it fail."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def average(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Means over the processes of float32 scalars; the names are the same everywhere."""
        if self.world == 1 or not parts:
            return dict(parts)
        means = _sum_(torch.stack(list(parts.values()))) / self.world
        return dict(zip(parts, means.unbind(), strict=True))

    @torch.no_grad()
    def average_gradients(self, net: nn.Module) -> None:
        """Replace every gradient by its mean over the processes, all of them in one message."""
        if self.world == 1:
            return
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        flat = _sum_(torch.cat([g.flatten() for g in gradients])).div_(self.world)
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))

    def shared(self, net: nn.Module) -> nn.Module:
        """`net` itself, with layers that look at the whole batch: BatchNorm statistics and dropout masks of all rows.

        Parameters, buffers and names in the state dict stay; in eval mode the layers are what they were. Copy the net
        first if a process has to call it alone in training mode.

        Raises:
            ParallelError: another kind of such a layer.
        """
        if self.world > 1:
            for parent in list(net.modules()):
                for name, layer in parent.named_children():
                    if isinstance(layer, _BatchNorm) and type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
                        setattr(parent, name, _SharedBatchNorm(layer, self))
                    elif type(layer) is nn.Dropout:
                        setattr(parent, name, _SharedDropout(layer, self))
                    elif isinstance(layer, _BatchNorm | _DropoutNd):
                        raise ParallelError(
                            f"{name} is a {type(layer).__name__}, which looks at the rows of one process only; "
                            "use BatchNorm1d, BatchNorm2d and Dropout, or train in one process"
                        )
        return net


SINGLE: Final = Parallel()


@contextmanager
def started() -> Iterator[Parallel]:
    """Join the processes that torchrun has started beside this one; alone, SINGLE without further ado.

    Raises:
        ParallelError: the environment says that there are others, but not how to reach them.
    """
    place = _place(os.environ)
    if place.world == 1:
        yield place
        return
    # Its functions have the process group of when they were imported as a default: imported later (torch.optim does),
    # they would keep it, and gloo's threads with it, which now and then ended the process with SIGABRT.
    importlib.import_module("torch.distributed.nn.functional")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        raise ParallelError(f"can't reach the other processes: {first_line(error)}") from error
    try:
        yield place
    finally:
        dist.destroy_process_group()


def _place(environment: Mapping[str, str]) -> Parallel:
    """Who this process is, by the variables that torchrun sets."""
    if environment.get("WORLD_SIZE", "1") == "1":
        return SINGLE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    wanted = (*names, "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in wanted if not environment.get(name)]
    if missing:
        raise ParallelError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but {' and '.join(missing)} is not set; "
            "start with torchrun, or unset WORLD_SIZE"
        )
    try:
        rank, world, local_rank = (int(environment[name]) for name in names)
    except ValueError:
        given = ", ".join(f"{name}={environment[name]}" for name in names)
        raise ParallelError(f"{given} must be whole numbers; start with torchrun, or unset WORLD_SIZE") from None
    return Parallel(rank, world, local_rank)


def _sum_(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise PeerLostError(f"lost another process of this run ({first_line(error)})") from error
    return tensor


class _Sum(torch.autograd.Function):
    """The sum over all processes. So is its gradient, and the gradient of that: everyone's loss depends on everyone."""

    @staticmethod
    def forward(_ctx: Any, tensor: Tensor) -> Tensor:
        return _sum_(tensor.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradients[0])  # type: ignore[no-untyped-call]
        return total


class _SharedBatchNorm(_BatchNorm):
    """BatchNorm1d or 2d over the rows of all processes, differentiable twice (R1 on a critic with BatchNorm)."""

    def __init__(self, plain: _BatchNorm, parallel: Parallel) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        self.weight, self.bias = plain.weight, plain.bias
        for name, buffer in plain.named_buffers():
            setattr(self, name, buffer)
        self.train(plain.training)
        self.parallel = parallel

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float()  # (N, C) or (N, C, H, W)
        mean, var = self._statistics(x)  # (C,), (C,)
        self._follow(mean.detach(), var.detach(), x.numel() // x.shape[1] * self.parallel.world)
        scale = self.weight * (var + self.eps).rsqrt()
        mean, scale, bias = (value.view(1, -1, *[1] * (x.dim() - 2)) for value in (mean, scale, self.bias))
        return torch.addcmul(bias, x - mean, scale).to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Nothing: the layers that were replaced took images or vectors."""

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of all rows. From everyone's own, since a sum of squares would lose digits."""
        rank, world = self.parallel.rank, self.parallel.world
        var, mean = torch.var_mean(x, dim=[d for d in range(x.dim()) if d != 1], correction=0)
        mine = torch.stack([mean, var])[None]  # (1, 2, C)
        everyone: Tensor = _Sum.apply(F.pad(mine, (0, 0, 0, 0, rank, world - rank - 1)))  # type: ignore[no-untyped-call]
        means, variances = everyone.unbind(1)  # (world, C)
        spread, mean = torch.var_mean(means, dim=0, correction=0)
        return mean, variances.mean(0) + spread

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor, n: int) -> None:
        """Move the running statistics as a plain BatchNorm does, with the unbiased variance of n values."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (n / (n - 1)), self.momentum)


class _SharedDropout(nn.Dropout):
    """Dropout with masks for the rows of all processes, of which each takes its own."""

    def __init__(self, plain: nn.Dropout, parallel: Parallel) -> None:
        super().__init__(plain.p)
        self.train(plain.training)
        self.parallel = parallel

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        masks = F.dropout(torch.ones_like(self.parallel._whole(input)), self.p)
        return input * self.parallel.own(masks)
