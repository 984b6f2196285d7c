"""What a caption set will cost, projected from a few timed batches of its pictures."""

from __future__ import annotations

from dataclasses import dataclass

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Batch:
    """Pictures that were captioned together."""

    num_pictures: int
    seconds: float

    @property
    def per_picture(self) -> float:
        """Seconds."""
        return self.seconds / self.num_pictures


@dataclass(frozen=True)
class Timing:
    """What was timed.

    Attributes:
        load_seconds: until the first picture had its captions: what every job waits for before it is of use.
        batches: timed after that and after a first batch, which warms caches up and does not count.
        run_batch: pictures that a batch of the run has.
        warm_up_counts: there was no second batch: the first one is all that is known.
    """

    load_seconds: float
    batches: tuple[Batch, ...]
    run_batch: int
    warm_up_counts: bool

    @property
    def per_picture(self) -> float:
        """Seconds a picture, all batches together."""
        return sum(batch.seconds for batch in self.batches) / sum(batch.num_pictures for batch in self.batches)

    @property
    def per_picture_range(self) -> tuple[float, float]:
        """Of the fastest and of the slowest batch."""
        each = [batch.per_picture for batch in self.batches]
        return min(each), max(each)

    @property
    def largest_batch(self) -> int:
        """Pictures of the largest batch that was timed."""
        return max(batch.num_pictures for batch in self.batches)

    @property
    def caveats(self) -> list[str]:
        """What the projection does not know, in sentences."""
        said = []
        if self.warm_up_counts:
            said.append("Only the first batch was timed, which warms up too: expect less.")
        elif len(self.batches) == 1:
            said.append("One batch was timed, so there is no range: give more pictures or more --seconds.")
        if self.largest_batch < self.run_batch:
            said.append(
                f"Batches of {self.largest_batch} were timed where the run takes {self.run_batch} at a time, which a "
                "GPU or servers do in less time a picture."
            )
        return said


def take_counting(warm_up: Batch, others: list[Batch], load_seconds: float, run_batch: int) -> Timing:
    """The batches that count: those of the run's size; else any after the first; else the first.

    Args:
        warm_up: the first batch.
        others: the later ones.
        load_seconds: see ``Timing``.
        run_batch: see ``Timing``.
    """
    counting = [batch for batch in others if batch.num_pictures == run_batch] or others or [warm_up]
    return Timing(load_seconds, tuple(counting), run_batch, warm_up_counts=not others)


@dataclass(frozen=True)
class Projection:
    """Seconds of the whole set on one device like the one that was timed.

    Attributes:
        num_pictures: of the set.
        num_jobs: each loads the model.
        lowest_seconds: at the pace of the fastest batch.
        seconds: at the pace of all.
        highest_seconds: at the pace of the slowest one.
        price_per_hour: of such a device; None: not told.
    """

    num_pictures: int
    num_jobs: int
    lowest_seconds: float
    seconds: float
    highest_seconds: float
    price_per_hour: float | None

    @property
    def hours(self) -> tuple[float, float, float]:
        """Device hours: lowest, likely, highest."""
        return (
            self.lowest_seconds / SECONDS_PER_HOUR,
            self.seconds / SECONDS_PER_HOUR,
            self.highest_seconds / SECONDS_PER_HOUR,
        )

    @property
    def costs(self) -> tuple[float, float, float] | None:
        """Lowest, likely, highest; None where no price was told."""
        price = self.price_per_hour
        if price is None:
            return None
        lowest, likely, highest = self.hours
        return lowest * price, likely * price, highest * price


def project(timing: Timing, num_pictures: int, num_jobs: int, price_per_hour: float | None) -> Projection:
    """The whole set: its pictures at the timed pace, and the model loaded once for each job."""
    loading = num_jobs * timing.load_seconds
    lowest, highest = (num_pictures * pace + loading for pace in timing.per_picture_range)
    likely = num_pictures * timing.per_picture + loading
    return Projection(num_pictures, num_jobs, lowest, likely, highest, price_per_hour)
