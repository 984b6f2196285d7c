# Verdicts and metrics, one benchmark a job; the style score is one more.


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
