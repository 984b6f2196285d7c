# Models trained from scratch, or taken in.


rule train:
    input:
        lambda w: RUN.inputs("train", w.row, "model"),
    output:
        f"{RUN.folder('train')}/{{row}}/fingerprint.json",
    log:
        f"{RUN.log_folder('train')}/{{row}}/model.log",
    threads: lambda w: RUN.threads_of("train", w.row)
    resources:
        **RUN.resources("train"),
    shell:
        COMMAND + "train --params {RUN.params_path} --row {wildcards.row} --part model"
