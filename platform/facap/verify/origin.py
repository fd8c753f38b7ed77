"""Who answers and what is asked: as questions for the model, and as the columns by which rows tell.

>>> Origin(VerifyConfig()).ask("dress", "description")
'a picture of'
"""

from typing import Any

from facap.annotate import caption_pipeline, taxonomy
from facap.annotate import origin as annotation
from facap.store import fingerprint
from facap.verify.config import VerifyConfig

COLUMNS = ("model", "prompt_hash", "params_hash")


class Origin:
    """What `config` asks. Picklable, so that workers ask. Raises ConfigError for a bad prompt."""

    def __init__(self, config: VerifyConfig) -> None:
        self.config = config
        if config.ask == "describe":
            self._made_by = annotation.Origin(config)  # of CAPTIONS too, if the settings are the same
        else:
            asked = {"template": config.question, "templates": {}}
            self._made_by = annotation.Origin(config.model_copy(update=asked))
        self.ask("dress", "colour")  # a name that no prompt may use is found here, not in every worker

    def of(self, category: str) -> dict[str, str]:
        """What rows of this category say of their origin: model, prompt and parameters, by their content."""
        return self._made_by.of(category)

    def ask(self, category: str, attribute: str) -> str:
        """The question about a picture of this category."""
        prompt = self._made_by.prompts.of(category)
        if self.config.ask == "describe":
            return caption_pipeline.describe(prompt, category, self.config)
        known = taxonomy.load(self.config.taxonomy).values(attribute)
        return prompt.render(category=category, attribute=attribute, values=known)

    def by_content(self) -> dict[str, Any]:
        """What names in the settings stand for, for the keys of what is made from the answers."""
        made_by = [self._made_by.model, self._made_by.prompts.hashes(), self._made_by.params_hash]
        words = fingerprint(taxonomy.text_of(self.config.taxonomy))
        return {"made_by": made_by, "taxonomy": words}
