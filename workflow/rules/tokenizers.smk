# Tokenizers, and pre-training that builds on them. Each resumes from its own state.
if flow.keys(STAGES, "tokenizers"):  # there may be none

    rule tokenizers:
        input:
            flow.inputs(STAGES, "tokenizers"),
        output:
            *flow.outputs(STAGES, "tokenizers"),
        params:
            recipe=flow.recipe(STAGES, "tokenizers"),
            command=flow.command(STAGES, "tokenizers"),
        wildcard_constraints:
            key=flow.keys(STAGES, "tokenizers"),
        threads: flow.threads(STAGES, "tokenizers")
        resources:
            mem_mb=8000,
            runtime=1440,
            processes=lambda wildcards: int(os.environ.get("MIMFLOW_PROCESSES", 0)),
            mpi="",  # launch.sh calls srun itself
            tasks_per_gpu=0,  # one task on each node starts the processes of all its GPUs
        log:
            "logs/tokenizers/{key}.log",
        shell:
            flow.LAUNCH


if flow.keys(STAGES, "staged"):  # there may be none

    rule staged:
        input:
            flow.inputs(STAGES, "staged"),
        output:
            *flow.outputs(STAGES, "staged"),
        params:
            recipe=flow.recipe(STAGES, "staged"),
            command=flow.command(STAGES, "staged"),
        wildcard_constraints:
            key=flow.keys(STAGES, "staged"),
        threads: flow.threads(STAGES, "staged")
        resources:
            mem_mb=8000,
            runtime=1440,
            processes=lambda wildcards: int(os.environ.get("MIMFLOW_PROCESSES", 0)),
            mpi="",  # launch.sh calls srun itself
            tasks_per_gpu=0,  # one task on each node starts the processes of all its GPUs
        log:
            "logs/staged/{key}.log",
        shell:
            flow.LAUNCH


if flow.keys(STAGES, "staged_features"):

    rule staged_features:
        input:
            flow.inputs(STAGES, "staged_features"),
        output:
            *flow.outputs(STAGES, "staged_features"),
        params:
            recipe=flow.recipe(STAGES, "staged_features"),
            command=flow.command(STAGES, "staged_features"),
        wildcard_constraints:
            key=flow.keys(STAGES, "staged_features"),
        threads: flow.threads(STAGES, "staged_features")
        resources:
            mem_mb=4000,
            runtime=60,
        log:
            "logs/staged_features/{key}.log",
        shell:
            flow.SHELL
