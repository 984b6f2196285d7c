# Pictures: an index of the source, shards, and the manifest after the last shard.


rule download:
    input:
        lambda w: RUN.inputs("download", w.row, w.part),
    output:
        f"{RUN.folder('download')}/{{row}}/{{part}}.parquet",
    log:
        f"{RUN.log_folder('download')}/{{row}}/{{part}}.log",
    wildcard_constraints:
        part=SHARD,
    threads: RUN.threads
    resources:
        **RUN.resources("download"),
    shell:
        COMMAND + "download --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


use rule download as download_manifest with:
    output:
        f"{RUN.folder('download')}/{{row}}/{{part}}.json",
    wildcard_constraints:
        part="manifest",


use rule download as download_index with:
    output:
        f"{RUN.folder('download')}/{{row}}/{{part}}.json",
    wildcard_constraints:
        part="index",
