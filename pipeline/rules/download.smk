# Pictures: an index of the source, shards, and the manifest after the last shard.


rule download_index:
    input:
        lambda w: RUN.inputs("download", w.row, "index"),
    output:
        f"{RUN.folder('download')}/{{row}}/index.json",
    log:
        f"{RUN.log_folder('download')}/{{row}}/index.log",
    threads: RUN.threads
    shell:
        COMMAND + "download --params {RUN.params_path} --row {wildcards.row} --part index"


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
    shell:
        COMMAND + "download --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


rule download_manifest:
    input:
        lambda w: RUN.inputs("download", w.row, "manifest"),
    output:
        f"{RUN.folder('download')}/{{row}}/manifest.json",
    log:
        f"{RUN.log_folder('download')}/{{row}}/manifest.log",
    threads: RUN.threads
    shell:
        COMMAND + "download --params {RUN.params_path} --row {wildcards.row} --part manifest"
