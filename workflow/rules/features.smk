# Features of every encoder, given encoders included, and of the controls that they are read against.
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


if flow.keys(STAGES, "encoders"):  # there may be none

    rule encoders:
        input:
            flow.inputs(STAGES, "encoders"),
        output:
            *flow.outputs(STAGES, "encoders"),
        params:
            recipe=flow.recipe(STAGES, "encoders"),
            command=flow.command(STAGES, "encoders"),
        wildcard_constraints:
            key=flow.keys(STAGES, "encoders"),
        threads: flow.threads(STAGES, "encoders")
        resources:
            mem_mb=4000,
            runtime=60,
        log:
            "logs/encoders/{key}.log",
        shell:
            flow.SHELL


if flow.keys(STAGES, "taught_features"):

    rule taught_features:
        input:
            flow.inputs(STAGES, "taught_features"),
        output:
            *flow.outputs(STAGES, "taught_features"),
        params:
            recipe=flow.recipe(STAGES, "taught_features"),
            command=flow.command(STAGES, "taught_features"),
        wildcard_constraints:
            key=flow.keys(STAGES, "taught_features"),
        threads: flow.threads(STAGES, "taught_features")
        resources:
            mem_mb=4000,
            runtime=60,
        log:
            "logs/taught_features/{key}.log",
        shell:
            flow.SHELL
