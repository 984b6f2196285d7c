"""Learning-rate schedules as pure functions of the step, and what more steps mean under each."""

from __future__ import annotations

import math

from pipeline.params.schema import ConstantSchedule, CosinePartSchedule, CosineSchedule, WarmupStableDecay

Schedule = ConstantSchedule | CosineSchedule | CosinePartSchedule | WarmupStableDecay


def rate_factor(schedule: Schedule, step: int, num_steps: int) -> float:
    """The factor on all learning rates in step 0 .. num_steps - 1.

    Warm-up is linear and reaches 1 in its last step. Cosine: from 1 after the warm-up towards ``final_fraction`` at
    num_steps. The first part of a cosine: 0.5 (1 + cos(part pi progress)), the paper's (arXiv 2502.21318, by its public
    configuration). Warm-up-stable-decay: linear from 1 at ``decay_start`` towards 0 at num_steps.
    """
    warmup = min(1.0, (step + 1) / schedule.num_warmup_steps) if schedule.num_warmup_steps else 1.0
    if isinstance(schedule, CosineSchedule | CosinePartSchedule):
        length = num_steps - schedule.num_warmup_steps
        progress = max(0, step - schedule.num_warmup_steps) / length if length > 0 else 0.0
        if isinstance(schedule, CosinePartSchedule):
            return warmup * 0.5 * (1 + math.cos(schedule.part * math.pi * progress))
        final = schedule.final_fraction
        return warmup * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress)))
    if isinstance(schedule, WarmupStableDecay):
        start = decay_start(schedule, num_steps)
        return warmup * min(1.0, (num_steps - step) / (num_steps - start))
    return warmup


def decay_start(schedule: WarmupStableDecay, num_steps: int) -> int:
    """Steps before the decay; the whole training is decay where it is shorter than that."""
    return max(0, num_steps - schedule.num_decay_steps)


def continues(schedule: Schedule, *, step: int, made_under: int, num_steps: int) -> bool:
    """Can a state after ``step`` steps of a training of ``made_under`` steps be one of a training of ``num_steps``?

    Constant: always. Warm-up-stable-decay: while neither has begun to decay. Cosine, or a part of one: only of the same
    length. Never a state that is further than asked.
    """
    if step > num_steps:
        return False
    if made_under == num_steps or isinstance(schedule, ConstantSchedule):
        return True
    if isinstance(schedule, WarmupStableDecay):
        return step <= min(decay_start(schedule, made_under), decay_start(schedule, num_steps))
    return False
