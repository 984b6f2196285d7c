"""Networks: diffusers models that predict what a diffusion objective asks for."""
