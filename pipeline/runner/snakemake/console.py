"""What a person sees of Snakemake: what was made, how far it is, and errors, a line each.

Stage commands say themselves what they made. Snakemake's account of every job goes to ``.snakemake/log`` as always,
and to the terminal too with ``--verbose``, ``--printshellcmds`` or ``--dry-run``.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

HIDDEN_EVENTS = (
    LogEvent.WORKFLOW_STARTED,
    LogEvent.JOB_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.JOB_FINISHED,
    LogEvent.RESOURCES_INFO,
)
HIDDEN_BEGINNINGS = (
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Using shell",
    "Select jobs to execute",
    "Shutting down, this might take some time",
)

COMMAND_REFUSED = re.compile(r"CalledProcessError.* returned non-zero exit status", re.DOTALL)  # it has said why itself


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Does a person who waits for results want to read this?"""
    if record.levelno > logging.INFO:
        return not COMMAND_REFUSED.search(str(record.msg))
    event = getattr(record, "event", None)
    return event not in HIDDEN_EVENTS and not str(record.msg).startswith(HIDDEN_BEGINNINGS)


class OneLineErrors(DefaultFormatter):  # type: ignore[misc]
    """Snakemake's formatter, with one line for a failed job: the stage command has said why."""

    def format_job_error(self, msg: dict[str, Any]) -> str:
        """``failed: <outputs> (log: <path>)``."""
        return f"failed: {', '.join(msg['output'])} (log: {', '.join(msg['log'])})"


def speak_briefly(logger: logging.Logger, settings: Any) -> None:
    """Make the terminal handlers of Snakemake's logger say only what is worth a line."""
    if settings.verbose or settings.dryrun or settings.printshellcmds or settings.debug_dag:
        return
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(is_worth_a_line)
            handler.setFormatter(OneLineErrors(settings.quiet, settings.show_failed_logs))
