"""How the demo models are made: every number of the four recipes. Changing one makes other weights.

Steps, not minutes, so that a slow machine makes the same model; the minutes in comments are one core's.
"""

from __future__ import annotations

from dataclasses import dataclass

SIDE_PX = 64
LAYOUT = "grid"  # the freest, so that a run may take any
SEVERAL = 0.25  # share of scenes with several objects
TRAIN_SEED = 1_000_001  # worlds that no run uses; what a run draws is new to all of them
HELDOUT_SEED = 1_000_002
NUM_HELDOUT = 400
HELDOUT_PAIR_WEIGHTS = {"half": 1.0, "quarter": 1.0, "ninth": 1.0, "sixteenth": 1.0}


@dataclass(frozen=True, slots=True)
class AutoencoderRecipe:
    """AutoencoderKL, 8 times smaller sides, 4 channels (the recipe of latent diffusion, arXiv 2112.10752, in small).

    Attributes:
        widths: channels at full, half, quarter and eighth side.
        num_groups: of the group normalisations; few, so that colours at one place are seen side by side.
        num_scenes: rendered per style.
        crop_px: side of the windows of the first course; convolutions learn the same from them for a quarter of the
            cost.
        num_crop_steps, num_steps, num_noise_steps: training on windows, on whole pictures, with noise on the latents.
        batch_singles, batch_pairs: pictures per step of either kind.
        pair_weights: how often the pairs have each pattern; quarters most, since the demo's mixes are mostly quarters.
        aesthetic_share: chance that a picture is of the aesthetic style.
        crop_rate, whole_rate, noise_rate: peak rates of AdamW; cosine down to final_rate_share in each course.
        kl_weight: of the mean divergence per latent element, beside a mean L1 distance in [-1, 1].
        noise_sd: the largest noise on latents in their own standard deviations; each picture draws up to it.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    latent_channels: int = 4
    num_groups: int = 4
    num_scenes: int = 4000
    crop_px: int = 32
    num_crop_steps: int = 1500  # 4 minutes
    num_steps: int = 3500  # 23 minutes
    num_noise_steps: int = 1200  # 7 minutes
    batch_singles: int = 8
    batch_pairs: int = 16
    pair_weights: tuple[tuple[str, float], ...] = (
        ("half", 0.25),
        ("quarter", 0.55),
        ("ninth", 0.1),
        ("sixteenth", 0.1),
    )
    aesthetic_share: float = 0.3
    crop_rate: float = 2e-3
    whole_rate: float = 1.5e-3
    noise_rate: float = 8e-4
    adam_betas: tuple[float, float] = (0.9, 0.95)
    warmup_steps: int = 50
    final_rate_share: float = 0.02
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    kl_weight: float = 1e-6
    noise_sd: float = 0.3


AUTOENCODER = AutoencoderRecipe()


@dataclass(frozen=True, slots=True)
class PhotoAutoencoderRecipe:
    """AutoencoderKL for photographs, 8 times smaller sides, 16 channels (as in arXiv 2403.03206, section 5.2.1).

    Attributes:
        widths: channels at full, half, quarter and eighth side.
        num_groups: of the group normalisations.
        num_steps: of training, the last num_decay_steps of them at a falling rate.
        crop_px, num_crops: side and number of the crops of a step, until the rate falls.
        whole_px, num_whole: the same while it falls: what the group normalisations see at the side of use.
        heldout_every: every so-manieth photograph is kept from training and measured at the end.
        stamp_share: chance that cut-out objects are pasted onto a crop; recolored_share: that its colours are changed.
        peak_rate: of AdamW, after warmup_steps; it falls to 0 in a straight line (arXiv 2405.18392).
        kl_weight: of the mean divergence per latent element, beside mean L1 and root mean squared distance in [-1, 1].
        average_decay: of the exponential average of the weights, which is what is written.
    """

    widths: tuple[int, ...] = (16, 32, 64, 88)
    latent_channels: int = 16
    num_groups: int = 4
    num_steps: int = 3227  # 12 minutes
    num_decay_steps: int = 600
    crop_px: int = 64
    num_crops: int = 16
    whole_px: int = 128
    num_whole: int = 4
    heldout_every: int = 8
    stamp_share: float = 0.3
    recolored_share: float = 0.3
    peak_rate: float = 2e-3
    adam_betas: tuple[float, float] = (0.9, 0.95)
    warmup_steps: int = 50
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    kl_weight: float = 1e-6
    average_decay: float = 0.998


PHOTO_AUTOENCODER = PhotoAutoencoderRecipe()


@dataclass(frozen=True, slots=True)
class VlmRecipe:
    """LLaVA (arXiv 2304.08485) in small: CLIP vision tower, a projector, a Llama; all from scratch.

    Attributes:
        vision_layers, language_layers, width, mlp_width, num_heads: of the two transformers (MLP of both).
        patch_px: side of the vision tower's patches.
        num_scenes, num_aesthetic_scenes: rendered per style.
        num_vision_steps: the vision tower alone, with heads that are thrown away.
        num_joint_steps: everything, the heads as an auxiliary loss.
        batch: pictures per step.
        pair_share, aesthetic_share: chance that a picture is a CutMix pair, of the aesthetic style.
        pair_weights: how often the pairs have each pattern.
        instruction_shares: how often each instruction is trained; ``describe this image`` means ``full``.
        vision_rate, joint_rate: peak rates of Muon (matrices); AdamW has adamw_share of them.
        head_weight: of the heads' loss beside the captions'.
        named_weight: of colour words, and of shape words in the singular, in the captions' loss.
    """

    vision_layers: int = 6
    language_layers: int = 2
    width: int = 128
    mlp_width: int = 256
    num_heads: int = 4
    patch_px: int = 8
    num_scenes: int = 12000
    num_aesthetic_scenes: int = 4000
    num_vision_steps: int = 4000  # 11 minutes
    num_joint_steps: int = 4500  # 20 minutes
    batch: int = 32
    pair_share: float = 0.6
    pair_weights: tuple[tuple[str, float], ...] = (
        ("half", 0.2),
        ("quarter", 0.35),
        ("ninth", 0.25),
        ("sixteenth", 0.2),
    )
    aesthetic_share: float = 0.2
    instruction_shares: tuple[tuple[str, float], ...] = (
        ("full", 0.6),
        ("describe this image", 0.1),
        ("brief", 0.2),
        ("name", 0.1),
    )
    vision_rate: float = 4e-3
    joint_rate: float = 3e-3
    adamw_share: float = 0.5
    weight_decay: float = 0.01
    warmup_steps: int = 100
    final_rate_share: float = 0.01
    clip_norm: float = 1.0
    head_weight: float = 0.5
    named_weight: float = 2.0


VLM = VlmRecipe()


@dataclass(frozen=True, slots=True)
class TextEncoderRecipe:
    """T5 (arXiv 1910.10683) in small; the decoder is used in training only.

    Attributes:
        width, mlp_width, num_heads, num_layers, num_decoder_layers: of the transformer.
        num_sentences: captions and prompts that are trained on.
        hidden_share, mean_run_tokens: how much of a text is hidden, in runs of which length on average.
        batch: sentences per step.
        peak_rate: of AdamW; cosine down to final_rate_share of it.
    """

    width: int = 128
    mlp_width: int = 256
    num_heads: int = 4
    num_layers: int = 3
    num_decoder_layers: int = 1
    num_sentences: int = 20000
    hidden_share: float = 0.25
    mean_run_tokens: float = 2.0
    batch: int = 64
    num_steps: int = 2000  # 4 minutes
    peak_rate: float = 2e-3
    warmup_steps: int = 100
    final_rate_share: float = 0.01
    weight_decay: float = 0.01
    clip_norm: float = 1.0


TEXT_ENCODER = TextEncoderRecipe()
