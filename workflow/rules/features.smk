# Features of every encoder, and of the controls that it is read against.
rule features:
    input:
        flow.inputs(STAGES, "features"),
    output:
        *flow.outputs(STAGES, "features"),
    params:
        recipe=flow.recipe(STAGES, "features"),
        command=flow.command(STAGES, "features"),
    wildcard_constraints:
        key=flow.keys(STAGES, "features"),
    threads: flow.threads(STAGES, "features")
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        "logs/features/{key}.log",
    shell:
        flow.SHELL


rule controls:
    input:
        flow.inputs(STAGES, "controls"),
    output:
        *flow.outputs(STAGES, "controls"),
    params:
        recipe=flow.recipe(STAGES, "controls"),
        command=flow.command(STAGES, "controls"),
    wildcard_constraints:
        key=flow.keys(STAGES, "controls"),
    threads: flow.threads(STAGES, "controls")
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        "logs/controls/{key}.log",
    shell:
        flow.SHELL
