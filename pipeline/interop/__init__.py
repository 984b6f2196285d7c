"""Models beyond our own training: released weights, folders of diffusers, and the records beside weights."""
