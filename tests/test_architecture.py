"""What keeps the code readable: arrows between its parts, sizes, names that agree, and no hidden defaults."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

from pipeline.dag import units
from pipeline.dag.stages import unit_of
from pipeline.params.load import TOP_LEVEL_KEYS, load, read_yaml
from pipeline.params.schema import STAGE_NAMES

PROJECT = Path(__file__).resolve().parents[1]
CODE = sorted(path for folder in ("pipeline", "stages", "perf") for path in (PROJECT / folder).rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in CODE}

# From the top down; a room may import those further down, and its own. Those of one line do not know each other.
LAYERS = (
    ("perf", "stages"),
    ("demo", "inference", "captions"),
    ("reporting",),
    ("planning",),
    ("evaluation", "training"),
    ("interop",),
    ("models", "captioners"),
    ("diffusion", "encoders", "augment", "sources"),
    ("runner",),
    ("dag",),
    ("store",),
    ("data",),
    ("params",),
    ("hub",),
    ("layout", "digest", "errors"),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
JUDGE = ("pipeline.demo.judge.answers", "pipeline.demo.judge.detector", "pipeline.demo.judge.judge")
ENGINES = {"snakemake", "dvc", "snakemake_interface_executor_plugins"}


def part_of(module: str) -> str | None:
    """The part of the project that a module belongs to; None for other people's."""
    names = module.split(".")
    if names[0] in ("stages", "perf"):
        return names[0]
    return names[1] if names[0] == "pipeline" and len(names) > 1 else None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in CODE}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in MODULES else node.module or ""


def type_checking_only(tree: ast.Module) -> set[int]:
    """Lines of imports that only a type checker follows."""
    return {
        node.lineno
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in branch.body
    }


ARROWS = [
    (path, line, part_of(module_of(path)), part_of(module))
    for path, tree in TREES.items()
    for line, module in imports(tree)
    if line not in type_checking_only(tree) and part_of(module_of(path)) and part_of(module)
]


def test_every_part_has_its_layer() -> None:
    parts = {part_of(module_of(path)) for path in CODE} - {None}
    assert parts == set(LEVEL)


def test_arrows_run_one_way() -> None:
    assert len(ARROWS) > 100
    wrong = [
        f"{path.relative_to(PROJECT)}:{line}: {start} -> {end}"
        for path, line, start, end in ARROWS
        if start != end and LEVEL[end] <= LEVEL[start]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports inside functions count too, those for a type checker do not."""
    modules = {module_of(path): path for path in CODE}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        lines = type_checking_only(TREES[path])
        targets = {module for line, module in imports(TREES[path]) if line not in lines}
        graph[name] = {target for target in targets if target in modules} - {name}
    assert sum(map(len, graph.values())) > 300
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_training_knows_no_pictures() -> None:
    """Latents and embeddings are all that it reads: neither sources nor captioners, nor how the demo's models came."""
    wrong = [
        f"{path.relative_to(PROJECT)}:{line}: {end}"
        for path, line, start, end in ARROWS
        if (start == "training" or path.name in ("train.py", "finetune.py"))
        and end in ("sources", "captioners", "demo", "augment")
    ]
    assert wrong == []


def test_judging_sees_pictures_and_prompts_alone() -> None:
    """The judge knows the world's outlines and colours, not how scenes are drawn, described or captioned."""
    known = {"pipeline.demo.world.world"}
    judges = [
        (path, line, module)
        for path, tree in TREES.items()
        if path.name in ("score.py", "generate.py")
        or module_of(path).startswith(("pipeline.evaluation.", "pipeline.demo.benchmarks.", *JUDGE))
        for line, module in imports(tree)
    ]
    assert len(judges) > 50
    wrong = [
        f"{path.relative_to(PROJECT)}:{line}: {module}"
        for path, line, module in judges
        if (
            part_of(module) in ("sources", "captioners", "augment", "training")
            or module.startswith(("pipeline.demo.world", "pipeline.demo.models"))
        )
        and module not in known
    ]
    assert wrong == []


def test_scores_of_shapes_are_made_from_generated_pictures_alone() -> None:
    params = load(PROJECT / "params/demo.yaml", PROJECT)
    for row in params.rows("score"):
        for benchmark in ("geneval_shapes", "dpg_shapes"):
            needs = unit_of(params, units.UnitId("score", row, benchmark)).needs
            assert {need.stage for need in needs} == {"generate"}


def test_descriptions_of_scenes_are_for_the_demo_models_alone() -> None:
    """The sentences that they learnt from are truth: a stage that read them would not need a captioner."""
    users = {
        module_of(path).rpartition(".")[0]
        for path, tree in TREES.items()
        for _, module in imports(tree)
        if module == "pipeline.demo.world.describe"
    }
    assert users == {"pipeline.demo.models", "pipeline.demo"}  # the latter: the ceiling of what models can reach


def test_only_its_own_room_knows_an_engine() -> None:
    users = {
        path.relative_to(PROJECT).parts[:3]
        for path, tree in TREES.items()
        for _, module in imports(tree)
        if module.split(".")[0] in ENGINES
    }
    assert users == {("pipeline", "runner", "snakemake")}


def test_the_demo_is_known_to_nobody() -> None:
    """What a real run needs imports nothing of it: the tables of kinds alone name its classes, by their paths."""
    assert [arrow for arrow in ARROWS if arrow[3] == "demo" and arrow[2] != "demo"] == []


# --- imports


def test_everything_imports_without_gpu_network_or_parameters(tmp_path: Path) -> None:
    """In one process, in an empty folder, with sockets cut off and devices hidden."""
    modules = [module_of(path) for path in CODE if path.name != "__main__.py"]
    code = f"""
import importlib, socket
def cut(*arguments, **options):
    raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = cut
for name in {json.dumps(modules)}:
    importlib.import_module(name)
"""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "data").exists()
    assert len(modules) > 80


LIGHT = (
    "pipeline.runner.command",
    "pipeline.runner.reconcile",
    "pipeline.runner.snakemake.run",
    *(f"stages.{n}" for n in STAGE_NAMES),
)


def test_planning_and_finding_import_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pyarrow", "transformers", "diffusers", "PIL")
    code = f"""
import importlib, sys
for name in {LIGHT!r}:
    importlib.import_module(name)
print(sorted(set({heavy!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- sizes


def p90(numbers: list[int]) -> int:
    return sorted(numbers)[math.ceil(0.9 * len(numbers)) - 1]


def test_files_are_small() -> None:
    sizes = {path.relative_to(PROJECT): len(path.read_text().splitlines()) for path in CODE}
    assert {path: size for path, size in sizes.items() if size > 500} == {}
    assert p90(list(sizes.values())) <= 350


def test_functions_are_small() -> None:
    sizes = {
        f"{path.relative_to(PROJECT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(sizes) > 300
    assert {name: size for name, size in sizes.items() if size > 80} == {}
    assert p90(list(sizes.values())) <= 45


def test_the_snakefile_is_a_table_of_contents() -> None:
    text = (PROJECT / "Snakefile").read_text()
    assert len(text.splitlines()) <= 80
    assert not re.search(r"^\s*(def |shell:|run:|script:|lambda)", text, re.MULTILINE)
    included = re.findall(r'include: "pipeline/rules/(\w+)\.smk"', text)
    assert included == ["start", *STAGE_NAMES]


@pytest.mark.parametrize("path", sorted((PROJECT / "pipeline" / "rules").glob("*.smk")), ids=lambda path: path.name)
def test_rules_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 175
    assert text.startswith("# ")
    assert not re.search(r"^\s*def ", text, re.MULTILINE)
    for rule in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
        assert len(rule.split("\n\n")[0].splitlines()) <= 20
        for directive in ("input:", "output:", "log:", "threads:", "shell:"):
            assert directive in rule, f"{path.name}: rule {rule.partition(':')[0]} has no {directive}"


# --- names


def test_a_stage_has_one_name_everywhere() -> None:
    names = list(STAGE_NAMES)
    assert len(names) == 10
    assert list(TOP_LEVEL_KEYS[-10:]) == names
    assert [key for key in read_yaml(PROJECT / "params.yaml") if key not in ("run", "seeds", "execution")] == names
    assert list(yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]) == names
    assert sorted(p.stem for p in (PROJECT / "stages").glob("*.py") if p.stem != "__init__") == sorted(names)
    assert sorted(p.stem for p in (PROJECT / "pipeline/rules").glob("*.smk") if p.stem != "start") == sorted(names)
    for name in names:
        rule = (PROJECT / f"pipeline/rules/{name}.smk").read_text()
        assert re.search(rf"^rule {name}:", rule, re.MULTILINE)
        assert f'RUN.folder("{name}")' in rule or f"RUN.folder('{name}')" in rule or name == "report"
        assert re.search(rf'COMMAND\s+\+ "{name} ', rule)


def test_a_stages_test_goes_by_its_name() -> None:
    """Each stage has a file of tests, and no file goes by another name."""
    found = {path.stem.removeprefix("test_") for path in (PROJECT / "tests" / "stages").glob("test_*.py")}
    assert found == set(STAGE_NAMES)


# --- habits


def test_every_module_says_what_it_is_for() -> None:
    missing = [str(path.relative_to(PROJECT)) for path, tree in TREES.items() if not ast.get_docstring(tree)]
    assert missing == []


def test_a_stages_script_tells_how_it_is_run() -> None:
    for name in STAGE_NAMES:
        text = (PROJECT / "stages" / f"{name}.py").read_text()
        doc = ast.get_docstring(ast.parse(text)) or ""
        assert f"python -m stages.{name} --params params.yaml --row" in doc, name
        assert f'sys.exit(main("{name}", make))' in text


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_stages_have_no_defaults_for_parameters() -> None:
    """No ``.get(key, value)``, no ``getattr`` with a value that is no None, no argument with a default."""
    found = []
    for path, tree in TREES.items():
        if path.parent.name != "stages":
            continue
        for call in calls(tree):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            default = {"get": 1, "getattr": 2}.get(name)
            if default is not None and len(call.args) > default:
                value = call.args[default]
                if not isinstance(value, ast.Constant) or value.value is not None:
                    found.append(f"{path.name}:{call.lineno}: {ast.unparse(call)}")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                for value in [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]:
                    if not isinstance(value, ast.Constant) or value.value is not None:
                        found.append(f"{path.name}:{node.lineno}: {node.name} has a default {ast.unparse(value)}")
    assert found == []


def test_parameters_have_no_default_but_an_absent_reference() -> None:
    import msgspec

    from pipeline.params import schema

    structs = [s for s in vars(schema).values() if isinstance(s, type) and issubclass(s, msgspec.Struct)]
    assert len(structs) > 30
    for struct in structs:
        for field in msgspec.structs.fields(struct):
            assert field.default in (msgspec.NODEFAULT, None), f"{struct.__name__}.{field.name}"
            assert field.default_factory is msgspec.NODEFAULT


def test_no_failure_is_swallowed() -> None:
    """No bare ``except``, and none of all errors that does not raise."""
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            of_all = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            if of_all and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                found.append(f"{path.relative_to(PROJECT)}:{node.lineno}")
    assert found == []


def test_no_suppression_of_all_errors() -> None:
    wide = [
        f"{path.relative_to(PROJECT)}:{call.lineno}"
        for path, tree in TREES.items()
        for call in calls(tree)
        if ast.unparse(call.func).endswith("suppress")
        and {ast.unparse(a) for a in call.args} & {"Exception", "BaseException"}
    ]
    assert wide == []


GLOBAL_DRAWS = re.compile(
    r"\b(np|numpy)\.random\.(rand|randn|randint|shuffle|permutation|seed|choice)\b|\brandom\.(random|shuffle|seed|choice)\("
    r"|\btorch\.manual_seed\(|(?<![.\w])hash\("
)


def test_randomness_comes_from_coordinates_alone() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for path in CODE
        if path.parent.parent.name != "demo"  # trained once, for the repository, not by a run
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if GLOBAL_DRAWS.search(line.partition("#")[0]) and "``hash()``" not in line
    ]
    assert found == []


def test_paths_of_a_machine_and_addresses_are_nowhere() -> None:
    machine = re.compile(r"(?<![\w.])/(home|root|work|mnt|Users)/\w+|localhost:\d")
    found = [
        f"{path.relative_to(PROJECT)}:{number}"
        for path in [*CODE, *(PROJECT / "params").glob("*.yaml"), PROJECT / "Makefile", PROJECT / "dvc.yaml"]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if machine.search(line)
    ]
    assert found == []
