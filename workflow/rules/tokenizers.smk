# Tokenizers that runs take their words from. One that is trained here resumes from its own state.
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
