"""The validation loss: the objective on pictures never trained on, at fixed timesteps and noise.

Losses of different objectives are means of different things and cannot be compared.
"""

from __future__ import annotations

import torch

from pipeline.diffusion.process import process_of
from pipeline.models.networks import Network
from pipeline.params.schema import TrainingRow
from pipeline.training.conditioning import Conditioning
from pipeline.training.draws import TrainingRows, validation_draws
from pipeline.training.loader import BatchReader
from pipeline.training.sets import ValidationData

# Enough for a smooth curve, few enough not to be felt: with t spread evenly, the standard error is about 1 % of it.
MAX_VALIDATION_ROWS = 1024


class Validator:
    """Computes the validation loss of a network.

    Args:
        data: the validation set.
        row: objective and how latents are drawn.
        conditioning: what the network is told beside its text.
        batch_size: samples of a forward pass.
    """

    def __init__(self, data: ValidationData, row: TrainingRow, conditioning: Conditioning, batch_size: int) -> None:
        rows = TrainingRows(data)
        self._reader = BatchReader(rows, row.latent_draw)
        self._draws = validation_draws(rows, MAX_VALIDATION_ROWS, conditioning.self_conditioning)
        self._conditioning = conditioning
        self._batch_size = batch_size
        self._process = process_of(row.objective)

    @torch.inference_mode()
    def loss(self, model: Network, device: torch.device) -> float:
        """Mean squared error of what the objective predicts, over the validation rows."""
        total = 0.0
        for first in range(0, len(self._draws), self._batch_size):
            batch = self._reader.read(self._draws[first : first + self._batch_size]).to(device)
            x_t = self._process.interpolate(batch.latents, batch.noise, batch.t)
            output = model.training_output(
                model,
                self._process,
                x_t,
                batch.t,
                batch.text,
                batch.text_mask,
                batch.self_conditioned,
                self._conditioning.scores_of(batch.caption_dropped),
            )
            total += float(self._process.loss(output, batch.latents, batch.noise, batch.t).double().sum())
        return total / len(self._draws)
