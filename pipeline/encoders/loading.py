"""Finding and loading pretrained models: one way for captioners, autoencoders and text encoders.

A model is a local folder, or a Hub id with the commit that it is pinned to. Either way it ends as a folder of JSON
and safetensors files, and is loaded strictly: weights that are missing, left over or of another shape are refused.
Code from a model's repository is never run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.encoders.packages import refuse_missing_packages
from pipeline.encoders.wanted import ANY_MODEL, Parts, wanted_files
from pipeline.errors import NotFetched, Refusal, refuse_system_error
from pipeline.hub.commits import COMMIT, PIN, UNPINNED
from pipeline.params.schema import Execution

if TYPE_CHECKING:
    import torch

    from pipeline.hub.files import HubFiles

ATTENTION = {"matmul": "eager", "sdpa": "sdpa"}

Model = TypeVar("Model")


def resolve_model(model: str, revision: str | None, subfolder: str | None = None, parts: Parts = ANY_MODEL) -> Path:
    """The folder that a model's files lie in; a model on the Hub is taken from its cache, or downloaded.

    Args:
        model: a local folder, or a Hub id such as ``stabilityai/sd-vae-ft-ema``.
        revision: the commit (40 hexadecimal digits) of a Hub id; None for a folder.
        subfolder: where in it the model lies; None: at the top.
        parts: what of it is loaded; nothing else is downloaded.

    Raises:
        Refusal: no such folder, a Hub id without a commit, or no weights that could be loaded.
        NotFetched: it is not in the cache and cannot be downloaded.
    """
    top = _top_folder(model, revision, lambda commit: _from_cache(model, commit, subfolder, parts))
    folder = top / subfolder if subfolder else top
    if not (folder / "config.json").is_file():
        raise Refusal(f"{folder}: no config.json; name a folder that a model was saved to")
    return folder


def resolve_pipeline(model: str, revision: str | None) -> Path:
    """The folder of a whole pipeline of diffusers; one on the Hub is downloaded, or taken from its cache.

    Args:
        model: a local folder, or a Hub id.
        revision: the commit of a Hub id; None for a folder.

    Raises:
        Refusal: no such folder, or a Hub id without a commit.
        NotFetched: it is not in the cache and cannot be downloaded.
    """
    return _top_folder(model, revision, lambda commit: _download_pipeline(model, commit))


def _top_folder(model: str, revision: str | None, download: Callable[[str], Path]) -> Path:
    top = Path(model)
    if revision is None:
        if not top.is_dir():
            raise Refusal(f"no folder {model}; a Hub id needs a pinned revision (the commit's 40 hexadecimal digits)")
        return top
    if top.is_dir():
        raise Refusal(f"{model}: is a folder here and has a revision too; leave out the revision, or rename the folder")
    if not COMMIT.fullmatch(revision):
        raise Refusal(
            f"{model}: revision {revision!r} can move; pin a commit (its 40 hexadecimal digits; `{PIN}` writes it in "
            f"place of {UNPINNED!r})"
        )
    return download(revision)


def model_files(files: HubFiles, parts: Parts, subfolder: str | None) -> list[str]:
    """The files of a repository that are loaded.

    Raises:
        Refusal: it has no weights that could be, or its list cannot be had.
        Transient: its list cannot be had now.
    """
    wanted = wanted_files(files.listed, parts, subfolder)
    if not wanted:
        stems = " or ".join(f"{kind.stem}*.safetensors" for kind in parts.weights)
        place = f" in {subfolder}" if subfolder else ""
        raise Refusal(
            f"hub model {files.repository} at {files.commit}: no {stems}{place}, and nothing else is loaded; name a "
            "commit, subfolder or model that has it"
        )
    return wanted


def _from_cache(model: str, revision: str, subfolder: str | None, parts: Parts) -> Path:
    from huggingface_hub.utils.tqdm import disable_progress_bars  # which the package itself does not load

    from pipeline.hub.answers import MODEL
    from pipeline.hub.files import HubFiles

    disable_progress_bars()
    files = HubFiles(model, revision, MODEL)
    try:
        files.sizes  # noqa: B018  asked for here, so that what it raises is told from the rest
    except Refusal as refusal:
        # Where another program fetched it, its list may be missing; loading is strict about what else is.
        if files.here(f"{subfolder}/config.json" if subfolder else "config.json"):
            return files.folder
        raise _not_fetched(model, revision, refusal) from refusal
    names = model_files(files, parts, subfolder)
    try:
        files.fetch_all(names)
    except Refusal as refusal:
        raise _not_fetched(model, revision, refusal) from refusal
    return files.folder


def _not_fetched(model: str, revision: str, error: BaseException) -> Refusal:
    from huggingface_hub import constants

    if constants.is_offline_mode():
        why = "and HF_HUB_OFFLINE forbids to fetch it"
    else:
        why = f"and cannot be had from the Hub ({one_line(error).partition(';')[0]})"
    return NotFetched(f"{model} at {revision}: not whole in the cache ({constants.HF_HUB_CACHE}), {why}")


def _download_pipeline(model: str, revision: str) -> Path:
    import diffusers
    import transformers
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    pipeline: Any = diffusers.DiffusionPipeline
    quiet(transformers)
    quiet(diffusers)
    disable_progress_bars()
    try:
        # Leaves single-file checkpoints, other formats and code where they are.
        return Path(pipeline.download(model, revision=revision, use_safetensors=True))
    except (OSError, ValueError, HFValidationError, RevisionResolutionError) as error:
        raise _not_fetched(model, revision, _in_our_words(error.__cause__ or error, model, revision)) from error


def _in_our_words(error: BaseException, model: str, revision: str) -> BaseException:
    """What the Hub answered, as it is said of any model; the error itself where it is none of the Hub's."""
    from pipeline.hub.answers import MODEL, asking

    try:
        with asking(model, revision, MODEL):
            raise error
    except Refusal as refusal:
        return refusal
    except Exception as other:
        if other is not error:
            raise
        return error


def read_config(folder: Path) -> dict[str, Any]:
    """A model's own ``config.json``, with nothing filled in.

    Raises:
        Refusal: it is no JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        refuse_system_error(error, path)
        raise Refusal(f"{path}: cannot be read ({one_line(error)}); save the model anew") from error
    if not isinstance(config, dict):
        raise Refusal(f"{path}: holds no JSON object; save the model anew")
    return config


def load_strictly(load: Callable[..., Any], folder: Path, *, not_wanted: Iterable[str] = (), **options: Any) -> Any:
    """A pretrained model with every weight from its files and none left over.

    Args:
        load: a ``from_pretrained`` of transformers or diffusers.
        folder: what ``resolve_model`` gave.
        not_wanted: prefixes of weights in the files that belong to parts which the class leaves out on purpose.
        options: handed on.

    Raises:
        Refusal: the files cannot be loaded, or their weights do not match the model.
    """
    # transformers 5 logs its own table of mismatches and goes on; its report is used here to stop.
    model, report = loaded_or_refused(
        lambda: load(folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options), folder
    )
    check_loading_report(report, str(folder), tuple(not_wanted))
    return model


def loaded_or_refused(load: Callable[[], Model], folder: Path) -> Model:
    """What ``load`` gives; its failure as a Refusal of one line, which names packages that it lacks."""
    from safetensors import SafetensorError

    try:
        return load()
    except ImportError as error:
        refuse_missing_packages(error, folder)
        raise Refusal(f"{folder}: cannot be loaded ({one_line(error)}); install what it asks for") from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        refuse_missing_packages(error, folder)
        refuse_system_error(error, folder)
        raise Refusal(f"{folder}: cannot be loaded ({one_line(error)}); save or download the model anew") from error


def check_loading_report(report: Mapping[str, Sequence[Any]], where: str, not_wanted: tuple[str, ...]) -> None:
    """Refuse a model whose weights were not all found, or not all used.

    Args:
        report: the loading information of transformers or diffusers.
        where: the model, for the message.
        not_wanted: prefixes of weights that may be left over.
    """
    unexpected = [name for name in report["unexpected_keys"] if not str(name).startswith(not_wanted)]
    mismatched = [entry if isinstance(entry, str) else entry[0] for entry in report["mismatched_keys"]]
    for fault, names in (("missing", report["missing_keys"]), ("unexpected", unexpected), ("misshapen", mismatched)):
        if names:
            first = sorted(str(name) for name in names)[0]
            raise Refusal(f"{where}: {len(names)} {fault} weights, first {first}; config.json and weights do not match")
    if report["error_msgs"]:
        raise Refusal(f"{where}: {one_line(report['error_msgs'][0])}; config.json and weights do not match")


def choose_device(execution: Execution) -> torch.device:
    """The device to compute on.

    Raises:
        Refusal: ``cuda`` was asked for and there is none.
    """
    import torch

    if execution.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise Refusal("execution.device: cuda asked for, but torch sees no GPU; set it to auto or cpu")
    return torch.device(execution.device)


def quiet(library: ModuleType) -> None:
    """Silence the notices and progress bars of transformers or diffusers; what matters here is refused instead."""
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()


def one_line(error: object) -> str:
    """The first line of a message that says something, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
