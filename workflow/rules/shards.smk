# The source as shards: parts at the same time, then the index. How many parts is the profile's (set-scatter: shards=N)
# and changes no byte.
scattergather:
    shards=1,


PARTS = len(gather.shards("{scatteritem}"))

for part in range(PARTS):
    if flow.shard_files(STAGES, part, PARTS):

        rule:
            name:
                f"shards_{part}"
            input:
                flow.inputs(STAGES, "shards"),
            output:
                flow.shard_files(STAGES, part, PARTS),
            params:
                recipe=flow.recipe(STAGES, "shards"),
                command=flow.command(STAGES, "shards"),
                parts=flow.parts_of(STAGES, SOURCE),
            threads: flow.threads(STAGES, "shards")
            resources:
                mem_mb=4000,
                runtime=240,
                part=part,
                parts=PARTS,
            log:
                f"logs/shards/{part}.log",
            shell:
                flow.PART


rule shards:
    input:
        flow.inputs(STAGES, "shards"),
        flow.shard_files(STAGES, 0, 1),
    output:
        *flow.outputs(STAGES, "shards", beside="data/shards"),
    params:
        recipe=flow.recipe(STAGES, "shards"),
        command=flow.command(STAGES, "shards"),
        parts=flow.parts_of(STAGES, SOURCE),
    threads: flow.threads(STAGES, "shards")
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        "logs/shards.log",
    shell:
        flow.SHARDS
