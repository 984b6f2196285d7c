# Parameters, run lock, reconcile: everything that happens while the Snakefile is read.
import re
import sys
from snakemake.logging import logger
from snakemake_interface_executor_plugins.settings import ExecMode

sys.path.insert(0, workflow.basedir)
from pipeline.runner.snakemake.console import speak_briefly
from pipeline.runner.snakemake.run import SnakemakeRun, refused_in_one_line

RUN = refused_in_one_line(
    lambda: SnakemakeRun(
        list(workflow.config_settings.configfiles),
        dict(workflow.config_settings.config),
        workflow.exec_mode == ExecMode.DEFAULT,
    )
)
speak_briefly(logger, workflow.output_settings)
COMMAND = RUN.command
workflow.execute = RUN.begin_with(workflow.execute)
SHARD = r"\d{5}"
NAME = "[^/]+"  # of a row whose results lie in one folder
if "gpu" not in workflow.global_resources:  # what is not declared is unlimited
    workflow.register_resource("gpu", RUN.num_gpus)
