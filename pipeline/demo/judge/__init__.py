"""The exact judge of the world of shapes: a detector of outlines and colours, and how far it can be trusted."""
