"""Doing the work: the stage command and its job, the run lock, reconciling, status, clean-up; each engine in a file."""
