# Captions.


rule recaption:
    input:
        lambda w: RUN.inputs("recaption", w.row, w.part),
    output:
        f"{RUN.folder('recaption')}/{{row}}/{{part}}.parquet",
    log:
        f"{RUN.log_folder('recaption')}/{{row}}/{{part}}.log",
    wildcard_constraints:
        part=SHARD,
    threads: RUN.threads
    shell:
        COMMAND + "recaption --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


rule recaption_manifest:
    input:
        lambda w: RUN.inputs("recaption", w.row, "manifest"),
    output:
        f"{RUN.folder('recaption')}/{{row}}/manifest.json",
    log:
        f"{RUN.log_folder('recaption')}/{{row}}/manifest.log",
    threads: RUN.threads
    shell:
        COMMAND + "recaption --params {RUN.params_path} --row {wildcards.row} --part manifest"
