# Captions. A row of several caption sets has a rule of its own, whose jobs make the same part of all of them in one pass.


rule recaption:
    input:
        lambda w: RUN.inputs("recaption", w.row, w.part),
    output:
        f"{RUN.folder('recaption')}/{{row}}/{{part}}.parquet",
    log:
        f"{RUN.log_folder('recaption')}/{{row}}/{{part}}.log",
    wildcard_constraints:
        row=NAME,
        part=SHARD,
    threads: RUN.threads
    resources:
        **RUN.resources("recaption"),
    shell:
        COMMAND + "recaption --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"


use rule recaption as recaption_manifest with:
    output:
        f"{RUN.folder('recaption')}/{{row}}/{{part}}.json",
    wildcard_constraints:
        row=NAME,
        part="manifest",


for several in RUN.rows_of_sets("recaption"):
    for ending, parts in (("parquet", SHARD), ("json", "manifest")):

        rule:
            name:
                f"recaption_{several}_{ending}"
            input:
                lambda w: RUN.inputs("recaption", w.row, w.part),
            output:
                RUN.files_of_sets("recaption", several, ending),
            log:
                f"{RUN.log_folder('recaption')}/{{row}}/{{part}}.log",
            wildcard_constraints:
                row=re.escape(several),
                part=parts,
            threads: RUN.threads
            resources:
                **RUN.resources("recaption"),
            shell:
                COMMAND + "recaption --params {RUN.params_path} --row {wildcards.row} --part {wildcards.part}"
