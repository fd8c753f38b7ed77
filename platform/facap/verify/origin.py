"""Who answers and what is asked: as questions for the model, and as the columns by which rows tell.

>>> Origin(VerifyConfig()).ask("dress", "description")
'a picture of'
"""

from typing import Any

from facap.annotate import prompts, taxonomy
from facap.model import checkpoints
from facap.store import fingerprint
from facap.verify.config import VerifyConfig

COLUMNS = ("model", "prompt_hash", "params_hash")


class Origin:
    """What `config` asks. Picklable, so that workers ask. Raises ConfigError for a bad prompt."""

    def __init__(self, config: VerifyConfig) -> None:
        self.config = config
        self.model = checkpoints.label(config.model)
        self.prompt = prompts.load(config.template if config.ask == "describe" else config.question)
        self.ask("dress", "colour")  # a name that no prompt may use is found here, not in every worker

    def of(self, category: str) -> dict[str, str]:
        """What rows of this category say of their origin: model, prompt and sampling, by their content."""
        params_hash = fingerprint(self.config.sampling_params())
        return {"model": self.model, "prompt_hash": self.prompt.hash, "params_hash": params_hash}

    def ask(self, category: str, attribute: str) -> str:
        """The question about a picture of this category."""
        if self.config.ask == "describe":
            return self.prompt.render(category=category)
        known = taxonomy.load(self.config.taxonomy).values(attribute)
        return self.prompt.render(category=category, attribute=attribute, values=known)

    def by_content(self) -> dict[str, Any]:
        """What names in the settings stand for, for the keys of what is made from the answers."""
        words = fingerprint(taxonomy.text_of(self.config.taxonomy))
        return {"made_by": self.of(""), "taxonomy": words}
