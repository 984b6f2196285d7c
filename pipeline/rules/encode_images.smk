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
    resources:
        **RUN.resources("encode_images"),
    shell:
        COMMAND + "encode_images --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


use rule encode_images as encode_images_manifest with:
    output:
        f"{RUN.folder('encode_images')}/{{row}}/{{part}}.json",
    wildcard_constraints:
        part="manifest",
