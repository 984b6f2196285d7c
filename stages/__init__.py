"""One thin executable per stage: ``python -m stages.<stage> --help``."""
