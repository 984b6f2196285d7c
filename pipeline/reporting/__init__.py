"""The report of a run: one page, a text for the terminal, metrics and the tables behind the plots."""
