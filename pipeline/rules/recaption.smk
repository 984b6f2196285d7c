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
    resources:
        **RUN.resources("recaption"),
    shell:
        COMMAND + "recaption --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


use rule recaption as recaption_manifest with:
    output:
        f"{RUN.folder('recaption')}/{{row}}/{{part}}.json",
    wildcard_constraints:
        part="manifest",


use rule recaption as recaption_index with:
    output:
        f"{RUN.folder('recaption')}/{{row}}/{{part}}.json",
    wildcard_constraints:
        part="index",
