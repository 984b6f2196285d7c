# Models that start from another.


rule finetune:
    input:
        lambda w: RUN.inputs("finetune", w.row, "model"),
    output:
        f"{RUN.folder('finetune')}/{{row}}/fingerprint.json",
    log:
        f"{RUN.log_folder('finetune')}/{{row}}/model.log",
    threads: lambda w: RUN.threads_of("finetune", w.row)
    resources:
        **RUN.resources("finetune"),
    shell:
        COMMAND + "finetune --params {RUN.params_path} --row {wildcards.row} --part model"
