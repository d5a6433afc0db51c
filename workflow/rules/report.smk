# Every result side by side.
rule report:
    input:
        flow.inputs(STAGES, "report"),
    output:
        *flow.outputs(STAGES, "report"),
    params:
        recipe=flow.recipe(STAGES, "report"),
        command=flow.command(STAGES, "report"),
    threads: flow.threads(STAGES, "report")
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        "logs/report.log",
    shell:
        flow.SHELL
