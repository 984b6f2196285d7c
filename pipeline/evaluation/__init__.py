"""Prompts of benchmarks, judges' verdicts and their scores, features and distances, and how sure one may be."""
