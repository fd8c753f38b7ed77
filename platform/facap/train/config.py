"""Settings of the training stage. Defaults are the embedded size; the descriptions name the real one.

>>> TrainConfig(epochs=2).model.base
'facap/tiny-retrieval'
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from facap.config import StageConfig
from facap.model.config import FashionBlip2Config


class TrainConfig(StageConfig):
    """How FashionBLIP-2 is trained on TRIPLETS."""

    model: FashionBlip2Config = Field(FashionBlip2Config(), description="the model that is trained")
    start_from: str = Field(
        "",
        description="folder of a trained FashionBLIP-2 that training goes on from, as from FACap to Fashion"
        " IQ; its `model` settings have to be these; empty: the base",
    )
    min_faithfulness: float = Field(
        0, ge=0, le=1, description="leave out training triplets of which VERDICTS say less; 0: no filter"
    )
    max_unspoken: int | None = Field(
        None, ge=0, description="leave out those that leave more changes than this unspoken; none: no filter"
    )
    max_rank: int = Field(
        0, ge=0, description="leave out those whose target VERDICTS rank behind this; 0: no filter"
    )
    epochs: int = Field(3, ge=1, description="passes over the training triplets (SPRC: 30 on Fashion IQ)")
    batch_size: int = Field(
        64, ge=2, description="triplets a step over all workers (128 at real size, as in SPRC)"
    )
    lr_qformer: float = Field(
        1e-3, gt=0, description="of Q-Former, query tokens, text embeddings (2e-5 at real size: SPRC)"
    )
    lr_adapters: float = Field(2e-3, gt=0, description="learning rate of the adapters")
    lr_matching: float = Field(2e-3, gt=0, description="of the matching module and the temperature")
    weight_decay: float = Field(0.05, ge=0, description="of matrices; norms and biases have none (SPRC)")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="share of the steps with rising learning rate")
    temperature: float = Field(0.07, gt=0, description="where the learned softmax temperature starts (SPRC)")
    reference_negatives: bool = Field(
        True, description="the batch's reference pictures are candidates too, so that none returns itself"
    )
    two_way: bool = Field(
        True, description="targets have to find their queries too; false: queries their targets only"
    )
    hardness: float = Field(
        0.0,
        ge=0,
        le=5,
        description="above 0, negatives that are nearly right weigh more, by exp(hardness * logit)",
    )
    micro_batch: int = Field(
        0,
        ge=0,
        description="triplets of a worker whose activations are in memory at once, in two passes that give"
        " the gradients of one; 0: those of the whole step, in one pass",
    )
    mix_captions: bool = Field(
        True,
        description="of triplets with two captions read both, in either order, or one of them, each a quarter"
        " of the time, as SPRC does on Fashion IQ; false: the two in their order",
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="which epoch's model is kept; best: by validation recall, for val splits of thousands, as"
        " with few triplets chance picks, and an early epoch is of a high learning rate",
    )
    patience: int = Field(
        0, ge=0, description="stop after so many epochs without a better validation recall; 0: never"
    )
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast; weights stay fp32")
    seed: int = Field(0, description="of fresh weights, row order and dropout")
    cache_trunk: bool = Field(
        True,
        description="compute the encoder below its adapters once a picture and keep it in every worker: "
        "50 kB a picture at 128 px; on the CPU only, and for pictures that fit into memory",
    )
    decode_once: bool = Field(
        True, description="workers keep pictures as pixels (49 kB at 128 px); else as JPEG, decoded each time"
    )
    checkpoint_every_steps: int = Field(
        50, ge=1, description="steps between sharded checkpoints; what a kill can lose"
    )
    device: Literal["cpu", "gpu"] = Field("cpu", description="gpu: one per worker, NCCL")
    recompute: bool = Field(
        False,
        description="activation checkpointing: blocks keep their inputs only and run again for gradients",
    )
    compile: bool = Field(
        False, description="torch.compile of every block; a minute of compiling, then faster steps"
    )
    reshard_after_forward: bool = Field(
        False, description="free gathered weights between forward and backward: less memory, more traffic"
    )
    num_workers: int = Field(2, ge=1, description="training processes, each one FSDP rank")
    min_workers: int = Field(
        0,
        ge=0,
        description="go on with as few as this if nodes are lost, and take them back when they return; give a"
        " batch_size that all numbers divide; 0: exactly num_workers",
    )
    threads_per_worker: int = Field(1, ge=1, description="CPU threads of each worker's matrix products")
    cpus_per_worker: float = Field(
        0.5, gt=0, description="CPUs that Ray reserves a worker; some must be left for Ray Data's tasks"
    )
    worker_retries: int = Field(1, ge=0, description="restarts from the last checkpoint after a worker dies")
    mlflow_uri: str = Field("", description="MLflow tracking server; empty: SQLite in the workspace")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_workers > self.num_workers:
            raise ValueError("min_workers is more than num_workers")
        if self.model.matching == "image_only" and self.reference_negatives:
            raise ValueError(
                "matching image_only asks with the reference itself: give reference_negatives false"
            )
        return self


# What changes where and how fast a model is trained, but not which model comes out; and `start_from`, which
# counts by what is in that folder.
NOT_IN_KEY = {
    "start_from",
    "num_workers",
    "min_workers",
    "threads_per_worker",
    "cpus_per_worker",
    "worker_retries",
    "mlflow_uri",
    "device",
    "cache_trunk",
    "decode_once",
    "micro_batch",
    "recompute",
    "compile",
    "checkpoint_every_steps",
    "reshard_after_forward",
}
