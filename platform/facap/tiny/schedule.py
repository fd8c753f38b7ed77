"""The optimiser and the schedule that every tiny model is trained with."""

import math
import time
from collections.abc import Iterable

import torch

MUON_LR, ADAM_LR = 2e-3, 1e-3  # peaks; Muon reached a loss in half the steps AdamW alone took
# Two cores are about 1.6 times as fast with bfloat16 where they have vector code for it, else far slower.
DTYPE = torch.bfloat16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else torch.float32


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, steps as large as AdamW's (Jordan 2024; Liu et al. 2025).

    torch.optim.Muon orthogonalises in bfloat16, which takes seconds a step where the CPU has no vector code
    for it; this one computes in the parameters' own type.
    """

    COEFFICIENTS, ITERATIONS, MOMENTUM = (3.4445, -4.7750, 2.0315), 5, 0.95

    def __init__(self, matrices: Iterable[torch.nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step for every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - self.MOMENTUM)
                direction = self._orthogonal(matrix.grad.lerp(momentum, self.MOMENTUM))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-group["lr"] * 0.2 * math.sqrt(max(matrix.shape)))

    def _orthogonal(self, matrix_MN: torch.Tensor) -> torch.Tensor:
        """The nearest matrix with singular values near one, by Newton-Schulz iteration."""
        a, b, c = self.COEFFICIENTS
        tall = matrix_MN.shape[0] > matrix_MN.shape[1]
        x = matrix_MN.T if tall else matrix_MN
        x = x / x.norm().clamp(min=1e-7)
        for _ in range(self.ITERATIONS):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.T if tall else x


def optimizers(
    names: list[str], parameters: list[torch.nn.Parameter]
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the layers' matrices, AdamW for the rest, each with its peak learning rate."""
    matrices = [p for n, p in zip(names, parameters, strict=True) if p.ndim == 2 and "layer" in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in chosen]
    muon = Muon(matrices, lr=MUON_LR, weight_decay=0.05)
    adam = torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0)
    return [(muon, MUON_LR), (adam, ADAM_LR)]


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, then a cosine to a fiftieth of `peak`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Trainer:
    """One optimiser step a call: sets the learning rate, clips, counts, and says how it goes.

    The model computes in DTYPE; the optimiser works on float32 copies of the weights, as small steps would
    vanish in bfloat16.
    """

    def __init__(self, name: str, model: torch.nn.Module, steps: int, scale: float = 1.0) -> None:
        self.name, self.steps, self.scale = name, steps, scale
        self.model = model
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        self.masters = [torch.nn.Parameter(p.detach().clone().float()) for p in self.parameters]
        model.to(DTYPE)
        self.optimizers = optimizers([n for n, _ in named], self.masters)
        self.step, self.started, self.losses = 0, time.time(), [0.0, 0.0]

    def update(self, loss: torch.Tensor) -> None:
        """Backward and step; prints the mean loss every 200 steps."""
        for optimizer, peak in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.steps, peak * self.scale)
        loss.backward()
        for master, parameter in zip(self.masters, self.parameters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0)
        for optimizer, _ in self.optimizers:
            optimizer.step()
        self._publish()
        self.step += 1
        self.losses[0] += float(loss.detach())
        self.losses[1] += 1
        if self.step % 200 == 0 or self.step == self.steps:
            elapsed = time.time() - self.started
            mean = self.losses[0] / self.losses[1]
            print(f"{self.name} step {self.step}/{self.steps} loss {mean:.4f} {elapsed:.0f} s", flush=True)
            self.losses = [0.0, 0.0]

    def finish(self) -> None:
        """Gives the model its float32 weights back."""
        self.model.float().eval()
        self._publish()

    def _publish(self) -> None:
        with torch.no_grad():
            for master, parameter in zip(self.masters, self.parameters, strict=True):
                parameter.copy_(master)
