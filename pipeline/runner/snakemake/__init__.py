"""Snakemake beside us: what its rules ask of a run, and what a person sees of it."""
