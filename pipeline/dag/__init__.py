"""What a run is made of: the stages' declarations, units of work and their fingerprints, and the plan of all."""
