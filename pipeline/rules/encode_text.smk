# Text embeddings, and the one of the empty caption.


rule encode_text_unconditional:
    input:
        lambda w: RUN.inputs("encode_text", w.row, "unconditional"),
    output:
        f"{RUN.folder('encode_text')}/{{row}}/unconditional.parquet",
    log:
        f"{RUN.log_folder('encode_text')}/{{row}}/unconditional.log",
    threads: RUN.threads
    shell:
        COMMAND + "encode_text --params {RUN.params_path} --row {wildcards.row} --part unconditional"


rule encode_text:
    input:
        lambda w: RUN.inputs("encode_text", w.row, w.part),
    output:
        f"{RUN.folder('encode_text')}/{{row}}/{{part}}.parquet",
    log:
        f"{RUN.log_folder('encode_text')}/{{row}}/{{part}}.log",
    wildcard_constraints:
        part=SHARD,
    threads: RUN.threads
    shell:
        COMMAND + "encode_text --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


rule encode_text_manifest:
    input:
        lambda w: RUN.inputs("encode_text", w.row, "manifest"),
    output:
        f"{RUN.folder('encode_text')}/{{row}}/manifest.json",
    log:
        f"{RUN.log_folder('encode_text')}/{{row}}/manifest.log",
    threads: RUN.threads
    shell:
        COMMAND + "encode_text --params {RUN.params_path} --row {wildcards.row} --part manifest"
