"""The benchmarks of the world of shapes: prompts in the metadata schemas of GenEval and DPG-Bench."""
