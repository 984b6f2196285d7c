"""The paper in miniature: a world of shapes, small models of the real kinds, benchmarks and a judge for them."""
