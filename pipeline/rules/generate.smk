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
    shell:
        COMMAND + "generate --params {RUN.params_path} --row {wildcards.row} --part {wildcards.benchmark}.{wildcards.part}"


rule generate_manifest:
    input:
        lambda w: RUN.inputs("generate", w.row, f"{w.benchmark}.manifest"),
    output:
        f"{RUN.folder('generate')}/{{row}}/{{benchmark}}/manifest.json",
    log:
        f"{RUN.log_folder('generate')}/{{row}}/{{benchmark}}.manifest.log",
    threads: RUN.threads
    shell:
        COMMAND + "generate --params {RUN.params_path} --row {wildcards.row} --part {wildcards.benchmark}.manifest"
