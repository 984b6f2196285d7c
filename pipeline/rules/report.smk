# The page of the run.


rule report:
    input:
        lambda w: RUN.inputs("report", "main", "report"),
    output:
        f"{RUN.reports}/fingerprint.json",
    log:
        f"{RUN.log_folder('report')}/main/report.log",
    threads: RUN.threads
    resources:
        **RUN.resources("report"),
    shell:
        COMMAND + "report --params {RUN.params_path} --row main --part report"
