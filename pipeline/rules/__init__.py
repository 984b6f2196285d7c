"""Snakemake rules, one file per stage, and what they ask of the library."""
