# The encoder of each run: pre-training. It resumes from its own state, so a retry never starts at zero.
rule pretrain:
    input:
        flow.inputs(STAGES, "pretrain"),
    output:
        *flow.outputs(STAGES, "pretrain"),
    params:
        recipe=flow.recipe(STAGES, "pretrain"),
        command=flow.command(STAGES, "pretrain"),
    wildcard_constraints:
        key=flow.keys(STAGES, "pretrain"),
    threads: flow.threads(STAGES, "pretrain")
    retries: 1
    resources:
        mem_mb=8000,
        runtime=1440,
        slurm_extra="'--signal=B:TERM@120'",
    log:
        "logs/pretrain/{key}.log",
    shell:
        flow.SHELL
