"""Small recurrent-interface networks of each kind, with random weights everywhere, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.models.rin import RIN, new_rin
from pipeline.models.rin_inputs import COHERENCE
from pipeline.models.sizes import CAD_KIND, MIRO_KIND

SCORES = ["vqa", "aesthetic"]
_SIZE: dict[str, Any] = {
    "latent_side": 6,
    "patch_size": 2,
    "data_width": 16,
    "num_latents": 5,
    "width": 32,
    "num_blocks": 2,
    "num_layers": 2,
    "read_write_heads": 4,
    "compute_heads": 2,
    "text_heads": 8,
    "mlp_ratio": 4,
    "data_mlp_ratio": 2,
    "num_registers": 3,
}
KINDS: dict[str, dict[str, Any]] = {
    "text": {**_SIZE, **CAD_KIND, "scores": []},
    "coherence": {**_SIZE, **CAD_KIND, "scores": [COHERENCE]},
    "miro": {**_SIZE, **MIRO_KIND, "scores": SCORES},
}


def random_rin(kind: str, seed: int = 1) -> RIN:
    """A network of a kind; what starts at zero or one is moved, so that everything takes part."""
    generator = torch.Generator().manual_seed(seed)
    model = new_rin(KINDS[kind], in_channels=3, text_dim=7, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def inputs(kind: str, num_samples: int = 4, num_tokens: int = 5) -> dict[str, Any]:
    """Arguments of ``RIN.forward`` but for previous latents; the last sample has no text at all."""
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    lengths = torch.tensor([num_tokens, 3, 1, 0])[:num_samples]
    given: dict[str, Any] = {
        "y": normal(num_samples, 3, 6, 6),
        "gamma": torch.rand(num_samples, generator=generator),
        "text_embeddings": normal(num_samples, num_tokens, 7),
        "text_mask": torch.arange(num_tokens) < lengths[:, None],
    }
    if kind == "coherence":
        given["coherence"] = torch.rand(num_samples, generator=generator)
    if kind == "miro":
        given["rewards"] = {name: torch.rand(num_samples, generator=generator) for name in SCORES}
    return given


def doubled(given: dict[str, Any]) -> dict[str, Any]:
    """The same inputs in float64."""
    return {
        name: doubled(value) if isinstance(value, dict) else value if value.dtype == torch.bool else value.double()
        for name, value in given.items()
    }
