"""Caption sets for others: written as a table keyed by pictures' ids, with what one must know of it beside."""
