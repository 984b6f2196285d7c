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
    shell:
        COMMAND + "augment --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


rule augment_manifest:
    input:
        lambda w: RUN.inputs("augment", w.row, "manifest"),
    output:
        f"{RUN.folder('augment')}/{{row}}/manifest.json",
    log:
        f"{RUN.log_folder('augment')}/{{row}}/manifest.log",
    threads: RUN.threads
    shell:
        COMMAND + "augment --params {RUN.params_path} --row {wildcards.row} --part manifest"
