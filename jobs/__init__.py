"""Entry points for `python -m jobs.X` and `ray job submit`; each wires one stage, quickstart chains them."""
