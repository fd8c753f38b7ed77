"""Every setting of every job, one section a stage: one YAML file serves all jobs.

$ python -m jobs.crawl_images --config shop.yaml --crawl.contact bot@shop.example
"""

import sys

from pydantic import BaseModel, ConfigDict, Field

from facap.annotate.config import CaptionConfig, ModifyConfig
from facap.catalog.config import CatalogConfig
from facap.clean.config import CleanConfig
from facap.config import parse
from facap.crawl.config import LOCAL_SERVER, CrawlConfig
from facap.evaluate.config import CompareConfig, EvaluateConfig, SubmissionConfig
from facap.index.config import IndexConfig
from facap.registry.config import RegistryConfig
from facap.review.config import ReviewConfig
from facap.study.config import StudyConfig
from facap.train.config import TrainConfig
from facap.triplets.config import PairsConfig
from facap.triplets.formats.config import ExportConfig, ImportConfig
from facap.verify.config import VerifyConfig
from serve_app.config import ServeConfig


class Settings(BaseModel):
    """The workspace, MLflow's address, and one section for each stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workspace: str = Field("workspace", description="folder or s3:// URI that holds all data of a run")
    mlflow_uri: str = Field("", description="MLflow server for every stage; empty: SQLite in the workspace")
    allow_shipped_models: bool = Field(
        False,
        description="go on with the shipped models on a catalogue that is not the demo's, though they know "
        "rendered garments only; to try out the stages",
    )
    serve_after: bool = Field(True, description="quickstart keeps serving until Ctrl-C; false ends instead")

    catalog: CatalogConfig = Field(CatalogConfig(), description="a manifest, or the demo catalogue -> ITEMS")
    crawl: CrawlConfig = Field(CrawlConfig(), description="ITEMS -> IMAGES")
    caption: CaptionConfig = Field(CaptionConfig(), description="IMAGES -> CAPTIONS, by the VLM")
    pairs: PairsConfig = Field(PairsConfig(), description="CAPTIONS -> PAIRS")
    modify: ModifyConfig = Field(ModifyConfig(), description="PAIRS -> TRIPLETS, by the LLM")
    verify: VerifyConfig = Field(
        VerifyConfig(), description="TRIPLETS -> VERDICTS; what is not set of the VLM is as in caption"
    )
    review: ReviewConfig = Field(ReviewConfig(), description="people's spot check of TRIPLETS; no stage")
    train: TrainConfig = Field(TrainConfig(), description="TRIPLETS -> FashionBLIP-2")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="the model and its baselines -> METRICS")
    compare: CompareConfig = Field(
        CompareConfig(), description="two models held against each other; no stage"
    )
    submission: SubmissionConfig = Field(
        SubmissionConfig(),
        description="another model's results from files; scored under evaluate's protocols",
    )
    registry: RegistryConfig = Field(RegistryConfig(), description="registration and the promotion gate")
    index: IndexConfig = Field(IndexConfig(), description="IMAGES -> EMBEDDINGS and the search index")
    serve: ServeConfig = Field(ServeConfig(), description="the search service")
    study: StudyConfig = Field(StudyConfig(), description="variants of the model compared; no stage")
    imports: ImportConfig = Field(ImportConfig(), description="a published dataset -> TRIPLETS")
    clean: CleanConfig = Field(CleanConfig(), description="what of the workspace may be removed; no stage")
    exports: ExportConfig = Field(ExportConfig(), description="TRIPLETS -> a published layout")


FOLLOWS = {
    "verify": "caption",
    **{f"{section}.mlflow_uri": "mlflow_uri" for section in ("train", "evaluate", "registry", "verify")},
}
"""What is not given is as another setting, key by key."""


def load_settings(argv: list[str], prog: str, description: str) -> Settings:
    """Settings from YAML, environment and flags, with what follows from others filled in.

    The VLM that verifies is the one that captions, and `mlflow_uri` holds for every stage, in all that is
    not given for them (FOLLOWS). The demo catalogue is served from this machine, so the crawl may reach it,
    and a model that the gate refuses goes on trial instead of ending the run.
    """
    settings = parse(Settings, argv, prog, description, FOLLOWS)
    if settings.catalog.manifest:
        return settings
    changes: dict[str, BaseModel] = {}
    if not settings.crawl.allow_networks:
        chosen = settings.crawl.model_fields_set
        local = {key: value for key, value in LOCAL_SERVER.items() if key not in chosen}
        changes["crawl"] = settings.crawl.model_copy(update=local)
    if "require_promotion" not in settings.registry.model_fields_set:
        changes["registry"] = settings.registry.model_copy(update={"require_promotion": False})
    return settings.model_copy(update=changes)


def program() -> str:
    """The command that was typed, for --help."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {module.name}" if module else sys.argv[0]
