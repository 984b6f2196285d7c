"""What is to be made and what is there: fingerprints, store, reconcile, run lock, the stage command, status."""
