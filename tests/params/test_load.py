"""Reading parameters: what is refused and in which words, presets, and what the committed files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sandbox
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dag.stages import STAGES
from pipeline.errors import Refusal
from pipeline.params import kinds
from pipeline.params.check import check
from pipeline.params.explain import find_fault
from pipeline.params.load import TOP_LEVEL_KEYS, Params, convert, load, read_yaml, resolve
from pipeline.params.schema import Swap

IMAGENET = ("download", "rows", "imagenet")
SOURCES = " | ".join(sorted(str(kind.__struct_config__.tag) for kind in kinds.SOURCES.paths))
TA_IA = ("train", "rows", "ta_ia")
VLM = ("recaption", "captioners", "vlm")
NAME = "a name of letters, digits, _ + -"
REFERENCE = "a reference <stage>/<row>"
GUIDANCE = {"num_steps": 2, "guidance_scale": 2.0, "guidance_interval": [0.0, 1.0], "guidance_rescale": 0.0}
DDIM = {"kind": "ddim", **GUIDANCE}
NOISE = {"kind": "noise", "timesteps": {"kind": "uniform"}, "shift": 1.0}
LINEAR = {"kind": "linear", "clip_min": 1e-9}

# (keys, value; ... removes it) -> the line behind "demo.yaml: "
REFUSED: list[tuple[tuple[Any, ...], Any, str]] = [
    # misspelt, at every level
    (("trian",), {}, "trian is not a parameter; did you mean 'train'?"),
    (("xyz",), {}, "xyz is not a parameter; known are run, seeds, execution, download"),
    (("seeds", "dta"), 0, "seeds.dta is not a parameter; did you mean 'data'?"),
    (("execution", "treads"), 0, "execution.treads is not a parameter; did you mean 'num_threads'?"),
    (("train", "num_step"), 3, "train.num_step is not a parameter; did you mean 'num_steps'?"),
    (("recaption", "captionrs"), {}, "recaption.captionrs is not a parameter; did you mean 'captioners'?"),
    ((*IMAGENET, "hedout"), "x", "download.rows.imagenet.hedout is not a parameter where source is shape_world; did"),
    ((*IMAGENET, "path"), "x", "path is not a parameter where source is shape_world; known are heldout, layout"),
    (("augment", "min_scale"), 0.5, "augment.rows.cutmix.min_scale is not a parameter where kind is cutmix; known"),
    ((*VLM, "templat"), "x", "recaption.captioners.vlm.templat is not a parameter where kind is local"),
    (("train", "optimizer", "beta_3"), 0.1, "train.rows.aio.optimizer.beta_3 is not a parameter where kind is muon"),
    ((*TA_IA, "swap", "abovet"), 0.1, "train.rows.ta_ia.swap.abovet is not a parameter; did you mean 'above_t'?"),
    # missing
    (("seeds", "data"), ..., "seeds.data is missing: a whole number >= 0"),
    (("train", "num_steps"), ..., "train.rows.aio.num_steps is missing: a whole number >= 1"),
    ((*IMAGENET, "source"), ..., f"download.rows.imagenet.source is missing: {SOURCES}"),
    (
        ("generate", "sampler", "kind"),
        ...,
        "generate.rows.aio.sampler.kind is missing: ddim | dpmpp_2m | euler | folder | heun",
    ),
    (("train", "rows"), ..., "train must be a mapping with a table 'rows' in it"),
    (("train",), 3, "train must be a mapping with a table 'rows' in it"),
    (("train", "rows"), [], "train must be a mapping with a table 'rows' in it"),
    (("recaption", "captioners"), ..., "recaption.captioners must be a table of named entries"),
    (IMAGENET, 3, "download.rows.imagenet must be a mapping, got 3"),
    (IMAGENET, None, "download.rows.imagenet must be a mapping, got None"),
    # wrong types
    (("run",), 3, f"run = 3: must be {NAME}"),
    (("run",), "a b", f"run = 'a b': must be {NAME}"),
    (("run",), "../up", f"run = '../up': must be {NAME}"),
    (("seeds",), 3, "seeds = 3: must be a mapping"),
    (("execution", "num_threads"), 1.5, "execution.num_threads = 1.5: must be a whole number >= 1"),
    (("execution", "num_threads"), True, "execution.num_threads = True: must be a whole number >= 1"),
    (("execution", "store"), "", "execution.store = '': must be a text, not empty"),
    ((*IMAGENET, "num_rows"), "some", "download.rows.imagenet.num_rows = 'some': must be a whole number >= 1 or all"),
    ((*IMAGENET, "heldout"), "heldout", f"download.rows.imagenet.heldout = 'heldout': must be {REFERENCE}"),
    (("download", "rows", "a b"), {}, f"download.rows: the key 'a b' must be {NAME}"),
    (("download", "rows", 7), {}, f"download.rows: the key 7 must be {NAME}"),
    (("recaption", "captioners", "a/b"), {}, f"recaption.captioners: the key 'a/b' must be {NAME}"),
    ((*VLM, "cut_at_full_stop"), "maybe", "cut_at_full_stop = 'maybe': must be true or false"),
    ((*VLM, "instructions"), {}, "recaption.captioners.vlm.instructions = {}: must be a mapping, not empty"),
    ((*VLM, "instructions", "brief"), "x", "captioners.vlm.instructions.brief = 'x': must be a number >= 0"),
    (("encode_images", "autoencoders", "demo", "scale"), "x", "demo.scale = 'x': must be a number or a list"),
    (("encode_images", "autoencoders", "demo", "scale"), [1, "a"], "demo.scale.1 = 'a': must be a number"),
    ((*TA_IA, "texts", "imagenet-vlm"), 1, f"train.rows.ta_ia.texts: the key 'imagenet-vlm' must be {REFERENCE}"),
    ((*TA_IA, "texts"), {}, "train.rows.ta_ia.texts = {}: must be a mapping, not empty"),
    ((*TA_IA, "swap"), "cutmix", "train.rows.ta_ia.swap = 'cutmix': must be a mapping or a list"),
    ((*TA_IA, "swap"), [{"latents": 3}], f"train.rows.ta_ia.swap.0.latents = 3: must be {REFERENCE}"),
    (("train", "optimizer", "learning_rate"), "1e-3", "(YAML reads 1e-3 as text: write a dot and a sign, such as"),
    (("generate", "rows", "aio", "benchmarks"), [], "generate.rows.aio.benchmarks = []: must be a list, not empty"),
    (("report", "rows", "main", "scores"), "score/aio", "scores = 'score/aio': must be a list"),
    # one of a few
    (("execution", "device"), "gpu", "execution.device = 'gpu': must be auto | cpu | cuda"),
    ((*IMAGENET, "source"), "shape", f"download.rows.imagenet.source = 'shape': must be {SOURCES}"),
    ((*IMAGENET, "style"), "fancy", "download.rows.imagenet.style = 'fancy': must be plain | aesthetic"),
    (("augment", "rows", "cutmix", "kind"), "mixup", "augment.rows.cutmix.kind = 'mixup': must be crop | cutmix"),
    ((*VLM, "kind"), "remote", "recaption.captioners.vlm.kind = 'remote': must be label | local"),
    (("encode_images", "view"), "wide", "encode_images.view = 'wide': must be square"),
    (("encode_text", "dtype"), "int4", "encode_text.dtype = 'int4': must be float32 | float16 | float8 | int8"),
    (("encode_images", "dtype"), "float8", "encode_images.dtype = 'float8': must be float32 | float16"),
    (("train", "optimizer", "kind"), "adam", "train.optimizer.kind = 'adam': must be adamw | lamb | muon"),
    (("train", "network", "patch_size"), 3, "train.network.patch_size = 3: must be 1 | 2 | 4"),
    (("train", "schedule", "kind"), "step", "schedule.kind = 'step': must be constant | cosine | cosine_part"),
    (("generate", "sampler", "kind"), "pndm", "sampler.kind = 'pndm': must be ddim | dpmpp_2m | euler | folder | heun"),
    (("generate", "sampler", "guidance_interval"), [0.5], "guidance_interval = [0.5]: must be a list of 2"),
    (("generate", "sampler", "guidance_interval"), [0.5, 2], "guidance_interval.1 = 2: must be a number >= 0 and <= 1"),
    (("generate", "sampler", "clamp"), 1.2, "sampler.clamp is not a parameter where kind is euler"),
    (("generate", "sampler"), {**DDIM, "clamp": "no"}, "sampler.clamp = 'no': must be a number > 0 or none"),
    (("train", "objective", "kind"), "x0", "train.objective.kind = 'x0': must be noise | rectified_flow | v"),
    (("train", "objective", "gamma"), {}, "gamma is not a parameter where kind is rectified_flow"),
    (("train", "objective"), NOISE, "objective.gamma is missing: a mapping"),
    (("train", "objective"), {**NOISE, "gamma": {"kind": "cosine"}}, "gamma.kind = 'cosine': must be linear | sigmoid"),
    (("train", "objective"), {**NOISE, "gamma": {**LINEAR, "clip_min": 0}}, "clip_min = 0: must be a number > 0 and <"),
    # out of range
    (("seeds", "data"), -1, "seeds.data = -1: must be a whole number >= 0"),
    (("train", "num_steps"), 0, "train.num_steps = 0: must be a whole number >= 1"),
    ((*IMAGENET, "num_rows"), 0, "download.rows.imagenet.num_rows = 0: must be a whole number >= 1 or all"),
    (("download", "max_reject_fraction"), 1.5, "download.max_reject_fraction = 1.5: must be a number >= 0 and <= 1"),
    (
        (*TA_IA, "texts", "encode_text/imagenet-vlm"),
        -1,
        "ta_ia.texts.encode_text/imagenet-vlm = -1: must be a number >",
    ),
    ((*TA_IA, "swap", "above_t"), 2, "train.rows.ta_ia.swap.above_t = 2: must be a number >= 0 and <= 1"),
    (("execution", "num_processes"), {"train/ta_ia": 0}, "num_processes.train/ta_ia = 0: must be a whole number >= 1"),
    (("train", "ema_decay"), float("nan"), "train.ema_decay = nan: must be a finite number"),
    (("train", "clip_norm"), float("inf"), "train.clip_norm = inf: must be a finite number"),
]


def written(folder: Path, text: str) -> Path:
    path = folder / "demo.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("keys", "value", "said"), REFUSED, ids=[".".join(map(str, r[0])) for r in REFUSED])
def test_a_wrong_value_is_refused_with_key_value_and_what_is_allowed(
    keys: tuple[Any, ...], value: Any, said: str
) -> None:
    raw = sandbox.demo()
    with pytest.raises(Refusal) as refusal:
        convert(sandbox.changed(raw, keys, value), "demo.yaml")
    assert str(refusal.value).startswith("demo.yaml: ")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run: a\nrun: b\n", "line 2: the key 'run' is given twice"),
        ("run: a\ntrain:\n  rows:\n    x: {arm: a}\n    x: {arm: b}\n", "line 5: the key 'x' is given twice"),
        ("recaption: {a: {{class_name}}}\n", "line 1: {'class_name': None} is no key; put text with braces in quotes"),
        ("? [a, b]\n: c\n", "line 1: ['a', 'b'] is no key"),
        ("run: [a\n", "line 2: not YAML (did not find expected ',' or ']')"),
        ("run: !!python/object/apply:os.getcwd []\n", "line 1: not YAML (could not determine a constructor"),
        ("", "must be a mapping of run, seeds, execution, download"),
        ("- a\n", "must be a mapping of run"),
    ],
)
def test_what_is_no_parameter_file_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Refusal, match=re.escape(said)) as refusal:
        read_yaml(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"absent\.yaml: cannot be read \(No such file"):
        load(tmp_path / "absent.yaml", tmp_path)
    (tmp_path / "latin.yaml").write_bytes("run: caf\xe9".encode("latin-1"))
    with pytest.raises(Refusal, match=r"latin\.yaml: not UTF-8"):
        load(tmp_path / "latin.yaml", tmp_path)
    with pytest.raises(Refusal, match=r"demo\.yaml: cannot be read"):
        load(written(tmp_path / ".", "run: alone\n"), tmp_path)  # a preset, with no base to lie on


def test_a_missing_section_is_named() -> None:
    for key in TOP_LEVEL_KEYS:
        with pytest.raises(Refusal, match=f"demo.yaml: {key} is missing"):
            convert(sandbox.changed(sandbox.demo(), (key,), ...), "demo.yaml")


def test_yaml_anchors_and_merges_are_understood(tmp_path: Path) -> None:
    path = written(tmp_path, "a: &base {x: 1, y: 2}\nb: {<<: *base, y: 3}\n")
    assert read_yaml(path)["b"] == {"x": 1, "y": 3}


def test_no_row_of_that_name(tmp_path: Path) -> None:
    params = convert(sandbox.demo(), "demo.yaml")
    with pytest.raises(Refusal, match=r"demo\.yaml: augment has no row 'crop'; it has aesthetic-cutmix, cutmix"):
        params.row("augment", "crop")


def test_a_value_of_the_row_wins_over_the_common_one() -> None:
    raw = sandbox.changed(sandbox.demo(), ("train", "rows", "aio", "num_steps"), 900)
    params = convert(raw, "demo.yaml")
    assert params.row("train", "aio").num_steps == 900
    assert params.row("train", "ta_ia").num_steps == raw["train"]["num_steps"] != 900


def test_imported_rows_take_only_the_common_values_that_they_know() -> None:
    row = {"import": "owner/model", "revision": "0123456789abcdef0123456789abcdef01234567", "arm": "cad_i", "seed": 3}
    params = convert(sandbox.changed(sandbox.demo(), ("train", "rows", "cad_i"), row), "demo.yaml")
    assert params.row("train", "cad_i").import_ == "owner/model"
    with pytest.raises(Refusal, match=r"train\.rows\.cad_i\.num_steps is not a parameter"):
        convert(sandbox.changed(sandbox.demo(), ("train", "rows", "cad_i"), {**row, "num_steps": 3}), "demo.yaml")


def test_parameters_cannot_be_changed_after_reading() -> None:
    params = convert(sandbox.demo(), "demo.yaml")
    with pytest.raises(AttributeError):
        params.row("train", "aio").num_steps = 3


# --- presets


def test_a_preset_merges_sections_key_by_key_and_replaces_all_below() -> None:
    base = {
        "run": "demo",
        "train": {"num_steps": 8, "rows": {"a": {}, "b": {}}, "optimizer": {"kind": "adamw", "x": 1}},
    }
    delta = {"run": "other", "train": {"rows": {"c": {}}, "optimizer": {"kind": "muon"}}}
    assert resolve(delta, base) == {
        "run": "other",
        "train": {"num_steps": 8, "rows": {"c": {}}, "optimizer": {"kind": "muon"}},
    }
    assert base["train"]["rows"] == {"a": {}, "b": {}}


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)
files = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), json_values, max_size=3))


@given(delta=files, base=files)
def test_resolving_keeps_every_value_of_the_preset_and_the_rest_of_the_base(
    delta: dict[str, Any], base: dict[str, Any]
) -> None:
    merged = resolve(delta, base)
    assert resolve(delta, merged) == merged
    assert resolve({}, base) == base
    for section in {*delta, *base}:
        for key in {*delta.get(section, {}), *base.get(section, {})}:
            home = delta if key in delta.get(section, {}) else base
            assert merged[section][key] == home[section][key]


def test_a_preset_lies_on_the_demo_of_the_checkout(tmp_path: Path) -> None:
    sandbox.make(tmp_path, sandbox.demo())
    preset = tmp_path / "params" / "short.yaml"
    preset.write_text("run: short\ntrain: {num_steps: 500}\n")
    params = load(preset, tmp_path)
    assert (params.run, params.row("train", "aio").num_steps) == ("short", 500)
    assert params.row("train", "aio").batch_size == load(sandbox.DEMO, tmp_path).row("train", "aio").batch_size
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.resolved))
    again = load(tmp_path / "params.yaml", tmp_path)
    assert again.digest() == params.digest()
    assert again.result_digest() == params.result_digest()


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_without_a_run_is_refused_since_it_would_run_as_the_demo(tmp_path: Path, whole: bool) -> None:
    sandbox.make(tmp_path, sandbox.demo())
    path = tmp_path / "params" / "short.yaml"
    delta = {"train": {"num_steps": 500}}
    path.write_text(yaml.safe_dump({**sandbox.demo(), **delta} if whole else delta))
    if whole:
        path.write_text(yaml.safe_dump(sandbox.changed(sandbox.demo(), ("run",), ...)))
    with pytest.raises(Refusal, match=r"short\.yaml: run is missing: .* for example run: short$"):
        load(path, tmp_path)


def test_a_misspelt_section_of_a_preset_is_refused_by_the_presets_name(tmp_path: Path) -> None:
    sandbox.make(tmp_path, sandbox.demo())
    preset = tmp_path / "params" / "short.yaml"
    preset.write_text("trian: {num_steps: 500}\n")
    with pytest.raises(Refusal, match=r"short\.yaml: trian is not a parameter; did you mean 'train'\?"):
        load(preset, tmp_path)


def test_execution_values_are_no_part_of_the_result_digest() -> None:
    params = convert(sandbox.demo(), "demo.yaml")
    others = convert(sandbox.changed(sandbox.demo(), ("execution", "num_threads"), 7), "demo.yaml")
    assert others.result_digest() == params.result_digest()
    assert others.digest() != params.digest()
    assert convert(sandbox.changed(sandbox.demo(), ("seeds", "data"), 7), "").result_digest() != params.result_digest()


# --- the files of the project

FULL_SIZE = ("imagenet100", "imagenet256", "imagenet512", "aesthetic512", "paper_weights", "fast256")
PRESETS = sorted(path.name for path in (sandbox.PROJECT / "params").iterdir())


def test_presets_are_yaml_files_and_the_base_is_among_them() -> None:
    assert "demo.yaml" in PRESETS
    assert [name for name in PRESETS if not name.endswith(".yaml")] == []


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads_and_checks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.make(tmp_path, sandbox.demo())
    monkeypatch.chdir(tmp_path)
    params = load(sandbox.PROJECT / "params" / name, sandbox.PROJECT)
    _stand_in_for_imports(params, tmp_path)
    check(params)
    assert params.run == name.removesuffix(".yaml")
    for stage in STAGES:
        for row in params.rows(stage.name):
            assert stage.part_names(params, row)


def _stand_in_for_imports(params: Params, folder: Path) -> None:
    for stage in ("train", "generate"):
        for row in params.rows(stage):
            place = getattr(params.row(stage, row), "import_", None)
            if place and getattr(params.row(stage, row), "revision", None) is None:
                (folder / place).mkdir(parents=True, exist_ok=True)


def test_the_active_parameters_as_committed_are_the_demo() -> None:
    assert (sandbox.PROJECT / "params.yaml").read_text() == sandbox.DEMO.read_text()


def test_a_preset_is_a_small_delta() -> None:
    for name in PRESETS:
        lines = (sandbox.PROJECT / "params" / name).read_text().splitlines()
        most = 200 if name.removesuffix(".yaml") in FULL_SIZE else 100  # they say where each figure is from
        assert name == "demo.yaml" or len(lines) <= most, name


def test_every_parameter_is_explained_in_a_comment() -> None:
    """Its key stands on a line with a comment, or a comment names it."""
    text = sandbox.DEMO.read_text()
    keys = {str(key) for key in _parameter_names(sandbox.demo())}
    comments = " ".join(line.partition("#")[2] for line in text.splitlines())
    heads = {match[1] for match in re.finditer(r"^\s*([a-z_0-9]+):.*#", text, re.MULTILINE)}
    named = set(re.findall(r"[a-z_0-9]+", comments))
    assert sorted(keys - heads - named) == []


def _parameter_names(raw: dict[str, Any]) -> set[str]:
    """Keys that code knows: those of structs, not the names of rows, table entries, references and weights."""
    free = {"rows", "captioners", "autoencoders", "encoders", "benchmarks", "feature_extractors", "num_processes"}
    free |= {"style_probes", "judges", "metrics"}
    found: set[str] = set()

    def walk(value: Any, under: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if under not in free and under not in ("texts", "instructions"):
                    found.add(key)
                    walk(inner, key)
                else:
                    walk(inner, "")

    for section in raw.values():
        walk(section, "")
    return found - free | {"num_processes"}


def test_what_converts_has_no_fault() -> None:
    swap = {"latents": "encode_images/a", "texts": {"encode_text/b": 1}, "above_t": 0.5, "probability": 0.5}
    assert find_fault(swap, Swap | list[Swap] | None) is None
    assert find_fault([swap, swap], Swap | list[Swap] | None) is None
    assert find_fault(None, Swap | list[Swap] | None) is None
