"""Networks compiled by torch.compile: their blocks, each kind once, so that it takes seconds and not minutes.

Weights keep their names, so checkpoints and exports of a compiled network are those of any other. What does not compile
ends the job in one line; nothing falls back to uncompiled code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from pipeline.errors import Refusal

if TYPE_CHECKING:
    from pipeline.models.networks import Network

# Kinds of layers, with and without gradients, of fixed and of changing lengths: what one piece of code may be compiled
# for. torch's own limit of 8 is met by the layers of a recurrent-interface network, and is passed over in silence.
MAX_GRAPHS = 64


def compile_network(network: Network) -> None:
    """Compile a network's repeated blocks in place; it must be on its device. They are compiled when they first run.

    Raises:
        Refusal: nothing can be compiled for this device here.
    """
    import torch._dynamo  # seconds, which only those pay who compile

    torch._dynamo.config.recompile_limit = MAX_GRAPHS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    with compiling(True):
        torch.compile(_probe, fullgraph=True)(torch.ones(8, device=network.device))
        network.compile_blocks()


@contextmanager
def compiling(is_asked: bool) -> Iterator[None]:
    """What runs inside may compile for the first time; where that fails, it is refused in one line.

    Args:
        is_asked: False: nothing compiles.
    """
    if not is_asked:
        yield
        return
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit, CppCompileError, InvalidCxxCompiler) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = " ".join([f"{type(error).__name__}:", *lines[:2]])
        raise Refusal(
            f"execution.compile: torch.compile fails here ({what}); on a CPU it needs a C++ compiler, on a GPU triton: "
            "install that, or set compile to false"
        ) from error


def _probe(x: torch.Tensor) -> torch.Tensor:
    return (x * 2 + 1).sin()
