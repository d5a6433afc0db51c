# What a teacher makes of a finite set of crops: a rule for each, since how many shards there are is its own.
for key in flow.keys(STAGES, "targets").split("|"):
    if key:

        rule:
            name:
                f"targets_{key}"
            input:
                flow.inputs(STAGES, f"targets@{key}"),
            output:
                flow.of_one(STAGES, f"targets@{key}"),
            params:
                recipe=flow.recipe(STAGES, f"targets@{key}"),
                command=flow.command(STAGES, f"targets@{key}"),
            threads: flow.threads(STAGES, f"targets@{key}")
            resources:
                mem_mb=8000,
                runtime=240,
            log:
                f"logs/targets/{key}.log",
            shell:
                flow.SHELL
