# Each task's metrics for each encoder and control.
rule knn:
    input:
        flow.inputs(STAGES, "knn"),
    output:
        *flow.outputs(STAGES, "knn"),
    params:
        recipe=flow.recipe(STAGES, "knn"),
        command=flow.command(STAGES, "knn"),
    wildcard_constraints:
        key=flow.keys(STAGES, "knn"),
    threads: flow.threads(STAGES, "knn")
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        "logs/knn/{key}.log",
    shell:
        flow.SHELL


rule linear:
    input:
        flow.inputs(STAGES, "linear"),
    output:
        *flow.outputs(STAGES, "linear"),
    params:
        recipe=flow.recipe(STAGES, "linear"),
        command=flow.command(STAGES, "linear"),
    wildcard_constraints:
        key=flow.keys(STAGES, "linear"),
    threads: flow.threads(STAGES, "linear")
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        "logs/linear/{key}.log",
    shell:
        flow.SHELL
