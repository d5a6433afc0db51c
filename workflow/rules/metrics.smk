# Each task's metrics for each encoder and control: one rule for each task that evaluates something.
for task in flow.tasks(STAGES):

    rule:
        name:
            task
        input:
            flow.inputs(STAGES, task),
        output:
            *flow.outputs(STAGES, task),
        params:
            recipe=flow.recipe(STAGES, task),
            command=flow.command(STAGES, task),
        wildcard_constraints:
            key=flow.keys(STAGES, task),
        threads: flow.threads(STAGES, task)
        resources:
            mem_mb=16000 if task in ("attentive", "finetune") else 4000,
            runtime=240 if task in ("attentive", "finetune") else 60,
        log:
            f"logs/{task}/{{key}}.log",
        shell:
            flow.SHELL
