"""Several caption sets by one model: pictures computed once where that changes nothing, and what it falls back to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from several_sets import execution
from tiny_models import SIDE_PX, make_tiny_vlm

from pipeline.captioners.base import Caption, Picture, Setting, told
from pipeline.captioners.local import LocalVlm
from pipeline.captioners.local_sets import LocalSets, LocalSetsCaptioner
from pipeline.captioners.prefix import goes_on_alike, num_prefix_tokens
from pipeline.captioners.sets import InTurn, open_sets
from pipeline.captioners.sharing import SharingVlm
from pipeline.data.randomness import generator
from pipeline.errors import Reject
from pipeline.params.captioners import Decoding, LocalCaptioner

FULL, BRIEF = {"full": 0.5, "describe this at length, please": 0.5}, {"a brief one": 1.0}
NUM_PICTURES = 7
GREEDY = Decoding(temperature=0.0, top_p=1.0)
DRAWN = Decoding(temperature=0.9, top_p=0.95)
TEXT_FIRST = (
    "{% for message in messages %}<s>{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<image>"
    "{% endfor %}{% if add_generation_prompt %}:{% endif %}"
)


@pytest.fixture(scope="module")
def vlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose every eighth token ends a caption, so that rows of a batch end at different steps."""
    folder = make_tiny_vlm(tmp_path_factory.mktemp("vlm"))
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": list(range(2, 99, 8))}))
    return folder


def params(folder: Path, **changes: Any) -> LocalCaptioner:
    values = {
        **{"model": str(folder), "side_px": SIDE_PX, "instructions": FULL, "max_new_tokens": 12, "dtype": "float32"},
        **{"cut_at_full_stop": False, "loop_ngram_words": 2, "loop_max_repeats": 3, "decoding": GREEDY},
    }
    return LocalCaptioner(**{**values, **changes})


def two_sets(folder: Path, **changes: Any) -> dict[str, LocalCaptioner]:
    return {
        "row.full": params(folder, **changes),
        "row.brief": params(folder, **{"instructions": BRIEF, "max_new_tokens": 5, **changes}),
    }


def pictures() -> list[Picture]:
    colours = generator(0, "colours").integers(0, 256, (NUM_PICTURES, 1, 1, 3), dtype=np.uint8)
    images = [Image.fromarray(np.broadcast_to(colour, (SIDE_PX, SIDE_PX, 3)).copy()) for colour in colours]
    return [
        Picture(number, f"set/{number}", None, (), lambda _, image=image: image)  # type: ignore[misc]
        for number, image in enumerate(images)
    ]


def setting(batch_size: int = 4) -> Setting:
    return Setting(execution(batch_size), 0, "download/set", 0, None, "digest")


def shown(sets: list[list[Caption | Reject]]) -> list[list[str]]:
    """As texts: two rejects are never equal."""
    return [[repr(row) for row in rows] for rows in sets]


def separately(captioners: Mapping[str, LocalCaptioner]) -> list[list[str]]:
    """What each set's captioner writes by itself, a whole prompt for every picture."""
    rows = []
    for one in captioners.values():
        instructions, coordinates = told(one.instructions or {}, 0, pictures())
        views = [picture.view(SIDE_PX) for picture in pictures()]
        rows.append(LocalVlm(one, execution(4)).caption(views, instructions, coordinates))
    return shown(rows)


@contextmanager
def counted(sets: LocalSets) -> Iterator[list[int]]:
    """Pictures of each call of the vision tower."""
    seen: list[int] = []
    tower = sets._model_of("row.full")._model.model.vision_tower
    hook = tower.register_forward_pre_hook(
        lambda module, arguments, options: seen.append(len((arguments or [options["pixel_values"]])[0])),
        with_kwargs=True,
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize(("decoding", "retry"), [(GREEDY, None), (DRAWN, DRAWN)], ids=["greedy", "drawn, twice"])
def test_captions_are_those_of_a_pass_for_each_set_and_pictures_are_computed_once(
    vlm_folder: Path, decoding: Decoding, retry: Decoding | None
) -> None:
    captioners = two_sets(vlm_folder, decoding=decoding, retry=retry)
    sets = LocalSets(captioners, setting())
    names = list(captioners)
    first = sets.caption_sets(pictures(), names)
    assert sets.shares == {"row.full": True, "row.brief": True}
    assert shown(first) == separately(captioners)
    assert len({row.num_generated_tokens for row in first[0] if isinstance(row, Caption)}) > 2
    with counted(sets) as seen:  # their proof is behind them
        assert shown(sets.caption_sets(pictures(), names)) == shown(first)
    assert seen[0] == 4
    assert retry is not None or seen == [4, 3]  # who is tried twice is looked at again


def test_a_set_is_the_same_whichever_others_are_made_with_it(vlm_folder: Path) -> None:
    captioners = two_sets(vlm_folder)
    names = list(captioners)
    together = shown(LocalSets(captioners, setting()).caption_sets(pictures(), names))
    for number, name in enumerate(names):
        assert shown(LocalSets(captioners, setting()).caption_sets(pictures(), [name])) == [together[number]]
    assert shown(LocalSets(captioners, setting(1)).caption_sets(pictures(), names)) == together


def test_a_template_that_puts_the_text_first_shares_nothing(
    vlm_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(vlm_folder, tmp_path / "vlm"))
    (folder / "chat_template.jinja").write_text(TEXT_FIRST)
    captioners = two_sets(folder)
    sets = LocalSets(captioners, setting())
    assert shown(sets.caption_sets(pictures(), list(captioners))) == separately(captioners)
    assert sets.shares == {"row.full": False, "row.brief": False}
    assert "row.brief: pictures are computed for this set alone: prompts do not begin alike" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["wrong places", "an error"])
def test_a_model_that_cannot_go_on_shares_nothing(
    vlm_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    captioners = two_sets(vlm_folder)
    right = separately(captioners)
    prompts_behind = SharingVlm.prompts_behind

    def spoilt(self: SharingVlm, *arguments: Any, **options: Any) -> Any:
        if fault == "an error":
            raise TypeError("no keys and values are taken")
        inputs: Any = prompts_behind(self, *arguments, **options)
        places = inputs["attention_mask"].cumsum(-1) - 1
        return {**inputs, "position_ids": places + 3 * (places > 16)}

    monkeypatch.setattr(SharingVlm, "prompts_behind", spoilt)
    sets = LocalSets(captioners, setting())
    assert shown(sets.caption_sets(pictures(), list(captioners))) == right
    assert sets.shares == {"row.full": False, "row.brief": False}
    why = "TypeError: no keys and values" if fault == "an error" else "the model goes on from them otherwise"
    assert f"row.full: pictures are computed for this set alone: {why}" in capsys.readouterr().out


def test_no_memory_is_no_reason_to_go_another_way(vlm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SharingVlm, "prefix", full)
    with pytest.raises(torch.OutOfMemoryError):
        LocalSets(two_sets(vlm_folder), setting()).caption_sets(pictures(), ["row.full"])


def test_a_row_of_one_set_is_captioned_as_ever(vlm_folder: Path) -> None:
    assert isinstance(open_sets(two_sets(vlm_folder), setting()), LocalSets)
    only = open_sets({"row": params(vlm_folder)}, setting())
    assert isinstance(only, InTurn)
    assert shown(only.caption_sets(pictures(), ["row"])) == separately({"row": params(vlm_folder)})
    assert only.provenance("row") == LocalSetsCaptioner.open(params(vlm_folder), setting()).provenance()
    provenance = open_sets(two_sets(vlm_folder), setting()).provenance("row.brief")
    assert msgspec.to_builtins(provenance) == msgspec.to_builtins(only.provenance("row"))


def test_what_prompts_begin_with() -> None:
    picture = 9

    def number(rows: Sequence[Sequence[int]], mask: Sequence[Sequence[int]] | None = None) -> int | None:
        ids = torch.tensor(rows)
        return num_prefix_tokens(ids, torch.ones_like(ids) if mask is None else torch.tensor(mask), picture)

    assert number([[1, 9, 9, 4, 5], [1, 9, 9, 6, 7]]) == 3
    assert number([[1, 9, 4, 9, 5]]) == 4  # several pieces of one picture
    assert number([[1, 9, 9, 4], [2, 9, 9, 4]]) is None
    assert number([[1, 9, 9, 4], [1, 9, 4, 4]]) is None
    assert number([[0, 1, 9, 4], [1, 9, 9, 4]], [[0, 1, 1, 1], [1, 1, 1, 1]]) is None  # padded: of other lengths
    assert number([[1, 2, 3]]) is None
    assert number([[1, 2, 9]]) is None  # nothing behind it
    assert num_prefix_tokens(torch.tensor([[1, 9, 2]]), torch.ones(1, 3), None) is None


def test_numbers_that_are_none_are_not_alike(vlm_folder: Path) -> None:
    vlm = SharingVlm(params(vlm_folder), execution(4))
    images, instructions = [picture.view(SIDE_PX) for picture in pictures()[:2]], ["full"] * 2
    with torch.inference_mode():
        one, other = (vlm._inputs(images, instructions) for _ in range(2))
        assert goes_on_alike(vlm._model, one, other)
    with torch.no_grad():
        vlm._model.lm_head.weight.fill_(torch.nan)
    with torch.inference_mode():
        assert not goes_on_alike(vlm._model, one, other)
