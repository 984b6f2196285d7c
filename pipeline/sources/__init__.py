"""Where pictures come from: one file per kind, each a ``Source``, and the order that rows are put into."""
