# The source as shards.
rule shards:
    input:
        flow.inputs(STAGES, "shards"),
    output:
        *flow.outputs(STAGES, "shards"),
    params:
        recipe=flow.recipe(STAGES, "shards"),
        command=flow.command(STAGES, "shards"),
        source=flow.listing(STAGES),
    threads: flow.threads(STAGES, "shards")
    resources:
        mem_mb=4000,
        runtime=240,
    log:
        "logs/shards.log",
    shell:
        flow.SHELL
