"""Training of the demo's small models, with the recipes that made those in the repository."""
