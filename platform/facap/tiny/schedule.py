"""The optimiser and the schedule that every tiny model is trained with."""

import math
import time

import torch

MUON_LR, ADAM_LR = 2e-3, 1e-3  # peaks; Muon reached a loss in half the steps AdamW alone took


def optimizers(
    names: list[str], parameters: list[torch.nn.Parameter]
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the layers' matrices, AdamW for the rest, each with its peak learning rate."""
    matrices = [p for n, p in zip(names, parameters, strict=True) if p.ndim == 2 and "layer" in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
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

    The model computes in bfloat16, which two cores do about 1.6 times as fast as float32; the
    optimiser works on float32 copies of the weights, as small steps would vanish in bfloat16.
    """

    def __init__(self, name: str, model: torch.nn.Module, steps: int, scale: float = 1.0) -> None:
        self.name, self.steps, self.scale = name, steps, scale
        self.model = model
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        self.masters = [torch.nn.Parameter(p.detach().clone().float()) for p in self.parameters]
        model.bfloat16()
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
