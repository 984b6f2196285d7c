"""What is timed, side by side with peers: commands for people, no part of a run."""
