# Text embeddings, and the one of the empty caption.


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
    resources:
        **RUN.resources("encode_text"),
    shell:
        COMMAND + "encode_text --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


use rule encode_text as encode_text_manifest with:
    output:
        f"{RUN.folder('encode_text')}/{{row}}/{{part}}.json",
    wildcard_constraints:
        part="manifest",


use rule encode_text as encode_text_unconditional with:
    output:
        f"{RUN.folder('encode_text')}/{{row}}/{{part}}.parquet",
    wildcard_constraints:
        part="unconditional",
