"""One table per kind of thing that parameters name: the type of its parameters -> the class that does it.

Classes are named by import path, ``module:Class``, so that reading parameters imports nothing heavy and a command that
finds its result neither. A new kind is a file with the class, a type of parameters and a line here; code outside this
package may ``add`` its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from pipeline.params import (
    benchmarks,
    captioners,
    datasets,
    encoders,
    parquet,
    published,
    schema,
    scoring,
    servers,
    urls,
)

_num_added = 0


class Kinds:
    """One table.

    Args:
        what: what all of them are, for people.
        paths: type of parameters -> ``module:Class``.
    """

    def __init__(self, what: str, paths: Mapping[type[msgspec.Struct], str]) -> None:
        self.what = what
        self.paths = dict(paths)

    def add(self, params_type: type[msgspec.Struct], path: str) -> None:
        """One more kind; parameters that are read from now on may name it."""
        global _num_added  # noqa: PLW0603  # types that were built from the tables must be built anew
        self.paths[params_type] = path
        _num_added += 1

    @contextmanager
    def added(self, params_type: type[msgspec.Struct], path: str) -> Iterator[None]:
        """One more kind until the block ends."""
        global _num_added  # noqa: PLW0603  # as in ``add``
        self.add(params_type, path)
        try:
            yield
        finally:
            del self.paths[params_type]
            _num_added += 1

    def union(self) -> Any:
        """The type of the parameters of any kind."""
        members: Any = None
        for params_type in self.paths:
            members = params_type if members is None else members | params_type
        return members

    def class_of(self, params: msgspec.Struct) -> Any:
        """The class that does what these parameters name, imported now."""
        path = next(path for kind, path in self.paths.items() if isinstance(params, kind))
        return imported(path)


def num_added() -> int:
    """How many kinds came from outside: changes whenever types built from the tables are out of date."""
    return _num_added


def imported(path: str) -> Any:
    """The object at ``module:name``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def built_from(row_type: type[msgspec.Struct], **fields: Kinds) -> type[msgspec.Struct]:
    """A type of rows whose fields take the parameters of any kind of these tables."""
    return msgspec.defstruct(
        row_type.__name__,
        [(name, table.union()) for name, table in fields.items()],
        bases=(row_type,),
        module=row_type.__module__,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


SOURCES = Kinds(
    "source of pictures",
    {
        datasets.FolderRow: "pipeline.sources.folder:FolderSource",
        datasets.ImageNetRow: "pipeline.sources.imagenet:ImageNetSource",
        datasets.WebDatasetRow: "pipeline.sources.webdataset:WebDatasetSource",
        parquet.HubRow: "pipeline.sources.hub:HubSource",
        parquet.ParquetRow: "pipeline.sources.parquet:ParquetSource",
        datasets.ShapeWorldRow: "pipeline.demo.world.source:ShapeWorldSource",
        urls.UrlsRow: "pipeline.sources.urls.source:UrlsSource",
    },
)
AUGMENTATIONS = Kinds(
    "augmentation",
    {
        datasets.CutMixRow: "pipeline.augment.cutmix:CutMix",
        datasets.CropRow: "pipeline.augment.crop:Crop",
    },
)
CAPTIONERS = Kinds(
    "captioner",
    {
        captioners.LabelCaptioner: "pipeline.captioners.label:LabelCaptioner",
        captioners.LocalCaptioner: "pipeline.captioners.local_sets:LocalSetsCaptioner",
        servers.ServerCaptioner: "pipeline.captioners.server:ServerCaptioner",
        captioners.ShuffledCaptioner: "pipeline.captioners.shuffled:ShuffledCaptioner",
        captioners.PassthroughCaptioner: "pipeline.captioners.passthrough:PassthroughCaptioner",
        published.PublishedCaptioner: "pipeline.captioners.published:PublishedCaptioner",
    },
)
AUTOENCODERS = Kinds("autoencoder", {encoders.Autoencoder: "pipeline.encoders.autoencoder:ImageAutoencoder"})
TEXT_ENCODERS = Kinds(
    "text encoder",
    {
        encoders.TextEncoder: "pipeline.encoders.text:TextEncoder",
        encoders.DecoderTextEncoder: "pipeline.encoders.text_decoder:DecoderTextEncoder",
        encoders.ClipTextEncoder: "pipeline.encoders.text_families:ClipTextEncoder",
        encoders.BertTextEncoder: "pipeline.encoders.text_families:BertTextEncoder",
    },
)
NETWORKS = Kinds(
    "network",
    {
        schema.DiTI: "pipeline.models.dit:DiTI",
        schema.RIN: "pipeline.models.rin:RIN",
    },
)
OBJECTIVES = Kinds(
    "objective",
    {
        schema.RectifiedFlow: "pipeline.diffusion.process:RectifiedFlow",
        schema.NoisePrediction: "pipeline.diffusion.process:NoisePrediction",
        schema.VPrediction: "pipeline.diffusion.process:VPrediction",
    },
)
BENCHMARKS = Kinds(
    "benchmark",
    {
        benchmarks.GenevalShapes: "pipeline.demo.benchmarks.geneval_shapes:GenevalShapes",
        benchmarks.GenevalShapesLong: "pipeline.demo.benchmarks.geneval_shapes_long:GenevalShapesLong",
        benchmarks.DpgShapes: "pipeline.demo.benchmarks.dpg_shapes:DpgShapes",
        benchmarks.HeldOutCaptions: "pipeline.evaluation.captions:HeldOutCaptions",
    },
)
JUDGES = Kinds("judge", {scoring.ShapesJudge: "pipeline.demo.judge.judge:ShapesJudge"})
METRICS = Kinds(
    "metric of sets of pictures",
    {
        scoring.Kid: "pipeline.evaluation.distance:KernelDistance",
        scoring.Fid: "pipeline.evaluation.distance:FrechetDistance",
    },
)
FEATURES = Kinds("feature extractor", {scoring.VisionTower: "pipeline.evaluation.features:VisionTowerFeatures"})
