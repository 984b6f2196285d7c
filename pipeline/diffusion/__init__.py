"""The objective, its timesteps and its samplers. One convention everywhere: t = 0 is the picture, t = 1 is noise."""
