# Frozen weights that methods take targets from. One that is trained here resumes from its own state.
if flow.keys(STAGES, "teachers"):  # there may be none

    rule teachers:
        input:
            flow.inputs(STAGES, "teachers"),
        output:
            *flow.outputs(STAGES, "teachers"),
        params:
            recipe=flow.recipe(STAGES, "teachers"),
            command=flow.command(STAGES, "teachers"),
        wildcard_constraints:
            key=flow.keys(STAGES, "teachers"),
        threads: flow.threads(STAGES, "teachers")
        resources:
            mem_mb=8000,
            runtime=1440,
            processes=lambda wildcards: int(os.environ.get("MIMFLOW_PROCESSES", 0)),
            mpi="",  # launch.sh calls srun itself
            tasks_per_gpu=0,  # one task on each node starts the processes of all its GPUs
        log:
            "logs/teachers/{key}.log",
        shell:
            flow.LAUNCH
