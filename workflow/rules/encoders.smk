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
    resources:
        mem_mb=8000,
        runtime=1440,
        processes=lambda wildcards: int(os.environ.get("MIMFLOW_PROCESSES", 0)),
        mpi="",  # launch.sh calls srun itself
        tasks_per_gpu=0,  # one task on each node starts the processes of all its GPUs
    log:
        "logs/pretrain/{key}.log",
    shell:
        flow.LAUNCH


if flow.keys(STAGES, "taught"):  # there may be none

    rule taught:
        input:
            flow.inputs(STAGES, "taught"),
        output:
            *flow.outputs(STAGES, "taught"),
        params:
            recipe=flow.recipe(STAGES, "taught"),
            command=flow.command(STAGES, "taught"),
        wildcard_constraints:
            key=flow.keys(STAGES, "taught"),
        threads: flow.threads(STAGES, "taught")
        resources:
            mem_mb=8000,
            runtime=1440,
            processes=lambda wildcards: int(os.environ.get("MIMFLOW_PROCESSES", 0)),
            mpi="",  # launch.sh calls srun itself
            tasks_per_gpu=0,  # one task on each node starts the processes of all its GPUs
        log:
            "logs/taught/{key}.log",
        shell:
            flow.LAUNCH
