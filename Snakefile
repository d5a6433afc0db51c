# `snakemake --profile slurm` on a cluster, `make snakemake` on one machine. dvc.yaml says what the stages are;
# the rules below say how they run. This file checks params.yaml, hashes the code, plans, and records in DVC.
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from mimflow import queue
from mimflow import workflow as flow

if config:
    flow.refuse("snakemake --config does not reach the stages: change params.yaml instead")

STAGES = flow.plan(main=workflow.is_main_process)
SOURCE = flow.handed_down("MIMFLOW_LISTING", workflow.is_main_process, lambda: flow.listing(STAGES))
STARTED = time.time()


wildcard_constraints:
    key=r"[a-z][a-z0-9_-]*",


rule all:
    input:
        flow.all_outputs(STAGES),
    default_target: True


include: "workflow/rules/shards.smk"
include: "workflow/rules/teachers.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/encoders.smk"
include: "workflow/rules/tokenizers.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/report.smk"


onstart:
    if not workflow.local_exec:
        queue.begin()


onsuccess:
    queue.end()
    flow.record(workflow.persistence.unlock)


onerror:
    queue.end()
    if not workflow.local_exec:
        flow.tell(STAGES, STARTED)
