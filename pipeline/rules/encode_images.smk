# Raw latents.


rule encode_images:
    input:
        lambda w: RUN.inputs("encode_images", w.row, w.part),
    output:
        f"{RUN.folder('encode_images')}/{{row}}/{{part}}.parquet",
    log:
        f"{RUN.log_folder('encode_images')}/{{row}}/{{part}}.log",
    wildcard_constraints:
        part=SHARD,
    threads: RUN.threads
    shell:
        COMMAND + "encode_images --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


rule encode_images_manifest:
    input:
        lambda w: RUN.inputs("encode_images", w.row, "manifest"),
    output:
        f"{RUN.folder('encode_images')}/{{row}}/manifest.json",
    log:
        f"{RUN.log_folder('encode_images')}/{{row}}/manifest.log",
    threads: RUN.threads
    shell:
        COMMAND + "encode_images --params {RUN.params_path} --row {wildcards.row} --part manifest"
