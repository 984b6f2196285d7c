# Pictures of the benchmarks.


rule generate:
    input:
        lambda w: RUN.inputs("generate", w.row, f"{w.benchmark}.{w.part}"),
    output:
        f"{RUN.folder('generate')}/{{row}}/{{benchmark}}/{{part}}.parquet",
    log:
        f"{RUN.log_folder('generate')}/{{row}}/{{benchmark}}.{{part}}.log",
    wildcard_constraints:
        part=SHARD,
    threads: RUN.threads
    resources:
        **RUN.resources("generate"),
    shell:
        COMMAND
        + "generate --params {RUN.params_path} --row {wildcards.row} --part {wildcards.benchmark}.{wildcards.part}"


use rule generate as generate_manifest with:
    output:
        f"{RUN.folder('generate')}/{{row}}/{{benchmark}}/{{part}}.json",
    wildcard_constraints:
        part="manifest",
