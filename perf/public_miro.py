"""The public package ``miro-t2i`` at work, in an environment of its own: ``timing_miro`` starts this file with the
interpreter of that environment, where this project is not at hand.

``python public_miro.py FOLDER`` builds the package's network from ``config.json`` with random weights, writes them to
``model.safetensors`` in the layout of its pipeline, runs it once on ``inputs.safetensors`` and writes
``answer.safetensors``. Then each line that it reads is a forward pass, answered with a line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SPREAD = 0.02  # of the random weights: the package's own start leaves parts at nought, where an error would not show


def main(folder: Path, num_threads: int) -> None:
    """Serve until the input ends."""
    # The package is not a part of this project's environment.
    from miro.models.networks.rin import CADRINTextCond  # type: ignore[import-not-found]
    from miro.models.preconditioning import FlowPrecond  # type: ignore[import-not-found]

    torch.set_num_threads(num_threads)
    config = json.loads((folder / "config.json").read_text())
    network = CADRINTextCond(**config["network"]).eval()
    preconditioning = FlowPrecond(**config["preconditioning"])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.is_floating_point():
                weight.normal_(std=SPREAD, generator=generator)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    weights |= {f"preconditioning.{name}": value for name, value in preconditioning.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    given = load_file(folder / "inputs.safetensors")

    def forward() -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            velocity, latents = preconditioning(network, dict(given))  # a copy: it writes into its batch
        return {"velocity": velocity, "latents": latents}

    save_file(forward(), folder / "answer.safetensors")
    print("ready", flush=True)
    for _ in sys.stdin:
        forward()
        print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
