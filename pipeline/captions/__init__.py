"""Caption sets for others: written as a table keyed by pictures' ids, with what one must know of it beside."""

from pipeline.captions.command import main

__all__ = ["main"]
