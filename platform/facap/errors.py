"""Errors that users see: each message says what was expected, what was seen and what to do.

FacapError
├── ConfigError        a setting is unknown or out of range
├── ContractError      a table does not match its schema
├── DatasetMissing     a stage's input has not been made yet
├── FormatError        a file or folder is not of the layout that it should be
├── WorkspaceError     the workspace cannot be read or written
├── StageFailed        a stage ended above its failure threshold, or produced nothing
├── StageBusy          another run makes the same version of a dataset or artefact
├── ModelMissing       a model folder or registry version cannot be found
└── ResourceError      not enough memory or disk, or a port is taken
"""


class FacapError(Exception):
    """Base of every error a user is meant to read; jobs print it as one sentence and exit 1."""


class ConfigError(FacapError):
    """A setting is unknown or out of range."""


class ContractError(FacapError):
    """A table does not match its schema; the message names the dataset and the column."""


class DatasetMissing(FacapError):
    """A stage's input dataset has not been made yet."""


class FormatError(FacapError):
    """A file or folder is not of the layout that it should be; the message names it, and the line."""


class WorkspaceError(FacapError):
    """The workspace cannot be read or written."""


class StageFailed(FacapError):
    """A stage ended above its failure threshold, or produced nothing."""


class StageBusy(FacapError):
    """Another run makes the same version; the message says which process, where, and since when."""


class ModelMissing(FacapError):
    """A model folder or a registry version cannot be found."""


class ResourceError(FacapError):
    """Not enough memory or disk, or a port is taken."""
