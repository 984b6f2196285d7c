"""The library behind the ten stages. Imports without GPU, network or parameters."""
