# The pipeline's table of contents. Type `snakemake --cores all`, or add `--configfile params/<preset>.yaml`.
from snakemake.utils import min_version

min_version("9.0")


include: "pipeline/rules/start.smk"
include: "pipeline/rules/download.smk"
include: "pipeline/rules/augment.smk"
include: "pipeline/rules/recaption.smk"
include: "pipeline/rules/encode_images.smk"
include: "pipeline/rules/encode_text.smk"
include: "pipeline/rules/train.smk"
include: "pipeline/rules/finetune.smk"
include: "pipeline/rules/generate.smk"
include: "pipeline/rules/score.smk"
include: "pipeline/rules/report.smk"


rule all:
    default_target: True
    input:
        RUN.all_wanted,


onsuccess:
    RUN.ended()
