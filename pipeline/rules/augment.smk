# CutMix and crop pictures of the main set.


rule augment:
    input:
        lambda w: RUN.inputs("augment", w.row, w.part),
    output:
        f"{RUN.folder('augment')}/{{row}}/{{part}}.parquet",
    log:
        f"{RUN.log_folder('augment')}/{{row}}/{{part}}.log",
    wildcard_constraints:
        part=SHARD,
    threads: RUN.threads
    resources:
        **RUN.resources("augment"),
    shell:
        COMMAND + "augment --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


use rule augment as augment_manifest with:
    output:
        f"{RUN.folder('augment')}/{{row}}/{{part}}.json",
    wildcard_constraints:
        part="manifest",
