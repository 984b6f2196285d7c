# Verdicts, a shard of a benchmark's pictures a job, then what they add up to; the style score is one more.


rule score:
    input:
        lambda w: RUN.inputs("score", w.row, w.benchmark),
    output:
        f"{RUN.folder('score')}/{{row}}/{{benchmark}}/fingerprint.json",
    log:
        f"{RUN.log_folder('score')}/{{row}}/{{benchmark}}.log",
    threads: RUN.threads
    resources:
        **RUN.resources("score"),
    shell:
        COMMAND + "score --params {RUN.params_path} --row {wildcards.row} --part {wildcards.benchmark}"


rule verdicts:
    input:
        lambda w: RUN.inputs("score", w.row, f"{w.benchmark}.{w.part}"),
    output:
        f"{RUN.folder('score')}/{{row}}/{{benchmark}}/{{part}}.parquet",
    log:
        f"{RUN.log_folder('score')}/{{row}}/{{benchmark}}.{{part}}.log",
    wildcard_constraints:
        part=SHARD,
    threads: RUN.threads
    resources:
        **RUN.resources("score"),
    shell:
        COMMAND + "score --params {RUN.params_path} --row {wildcards.row} --part {wildcards.benchmark}.{wildcards.part}"
