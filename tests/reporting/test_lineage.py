"""What a judged model is, from its fields alone."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import parameters

from pipeline.errors import Refusal
from pipeline.params.load import Params, convert
from pipeline.reporting.lineage import chain_of, lineage_of, recipe_in_words


def _params(**sections: Any) -> Params:
    raw = parameters()
    for section, rows in sections.items():
        raw[section]["rows"] |= rows
    return convert(raw, "test")


def test_arm_and_seed_come_from_the_trained_row_through_all_finetunings() -> None:
    texts = {"encode_text/imagenet-vlm": 1.0}
    params = _params(
        train={"s7": {"arm": "ta", "latents": "encode_images/imagenet", "texts": texts, "seed": 7}},
        finetune={
            "first": {"model": "train/s7", "latents": "encode_images/aesthetic", "texts": texts, "seed": 3},
            "larger": {"model": "finetune/first"},
        },
        generate={"judged": {"model": "finetune/larger", "benchmarks": ["geneval_shapes"]}},
    )
    lineage = lineage_of(params, "judged")
    assert (lineage.arm, lineage.seed) == ("ta", 7)
    assert lineage.models == ("train/s7", "finetune/first", "finetune/larger")
    assert lineage.finetuned_name == "aesthetic, aesthetic", "the second one goes on with the first one's data"
    assert lineage.imported is None


def test_a_model_without_finetuning_has_none_named() -> None:
    assert lineage_of(_params(), "aio").finetuned_name is None


def test_models_and_pictures_made_elsewhere_say_so() -> None:
    params = _params(
        train={"there": {"import": "some/model", "arm": "theirs", "seed": 2, "revision": "0" * 40}},
        generate={
            "with_model": {"model": "train/there", "benchmarks": ["geneval_shapes"]},
            "pictures": {
                "import": "some/folder",
                "arm": "drawn",
                "seed": 0,
                "benchmarks": ["geneval_shapes"],
                "row_group_rows": 4,
                "max_image_pixels": 100,
            },
        },
    )
    model, pictures = lineage_of(params, "with_model"), lineage_of(params, "pictures")
    assert (model.arm, model.seed, model.imported) == ("theirs", 2, "some/model")
    assert (pictures.arm, pictures.models, pictures.imported) == ("drawn", (), "some/folder")
    assert recipe_in_words(params, "train/there") == "taken in from some/model"


def test_a_chain_that_leads_nowhere_is_refused() -> None:
    params = _params(finetune={"lost": {"model": "train/nowhere"}})
    with pytest.raises(Refusal, match="no row 'nowhere'"):
        chain_of(params, "finetune/lost")


def test_a_recipe_names_data_texts_and_swaps() -> None:
    params = _params()
    row: Any = params.row("train", "ta_ia")
    said = recipe_in_words(params, "train/ta_ia")
    assert said == (
        f"{row.num_steps:,} steps of 64 pictures of imagenet; texts imagenet-vlm 90%, imagenet-label 10%; "
        f"cutmix with probability 0.8 where t > {row.swap.above_t}"
    )
    assert recipe_in_words(_params(), "finetune/ta_ia+aesthetic").startswith(
        f"starts from train/ta_ia; {params.row('finetune', 'ta_ia+aesthetic').num_steps:,} steps"
    )
