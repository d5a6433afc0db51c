#!/usr/bin/env bash
# Runs `python -m stages.NAME KEY` until it is done: on every GPU of this machine, or of all nodes of its SLURM job
# (MIMFLOW_PROCESSES: that many processes on each machine instead).
# Exit code 75 means: interrupted with its state saved. Inside a SLURM job the job is then requeued under its own id, which
# the workflow does not count as a failure; elsewhere the command starts again. A signal is passed on to the stage; after
# one, there is no new start.
set -u

job=${SLURM_JOB_ID:-}
stopped=0
child=

pass_on() {
  stopped=1
  [ -n "$child" ] || return
  if [ -n "$job" ]; then # every task on every node; srun itself would kill them. SLURM does so where it ends the job
    [ "$(fact JobState)" != RUNNING ] || scancel --quiet --signal=TERM "$job"
  else
    kill -TERM "$child" 2>/dev/null
  fi
}
trap pass_on TERM INT USR1

visible_gpus() {
  if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c .
  else
    nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU'
  fi
}

fact() { # NAME: what SLURM says of this job; its environment does not reach here
  scontrol --oneliner show job "$job" 2>/dev/null | grep -o " $1=[^ ]*" | cut -d= -f2
}

several() { # TORCHRUN-ARGUMENT... -- COMMAND: the command's module in several processes on each machine
  local arguments=()
  while [ "$1" != -- ]; do arguments+=("$1") && shift; done
  shift
  command=("$1" -m mimflow.several "${arguments[@]}" --nproc-per-node "$processes" "${@:2}")
}

processes=${MIMFLOW_PROCESSES:-0}
[ "$processes" -gt 0 ] || processes=$(visible_gpus)
[ "$processes" -gt 0 ] || processes=1
nodes=1
[ -z "$job" ] || [ -n "${SLURM_STEP_ID:-}" ] || nodes=$(fact NumNodes)

command=("$@")
if [ "$nodes" -gt 1 ]; then
  restarts=$(fact Restarts)
  first=$(scontrol show hostnames "$(fact NodeList)" | head -n 1)
  address=$(scontrol --oneliner show node "$first" | grep -o ' NodeAddr=[^ ]*' | cut -d= -f2)
  port=$((10000 + (job * 16 + restarts) % 20000)) # below those that the system gives away; another one at each restart
  several --nnodes "$nodes" --node-rank NODE --master-addr "$address" --master-port "$port" -- "$@"
elif [ "$processes" -gt 1 ]; then
  several --standalone -- "$@"
fi
if [ -n "$job" ] && [ -z "${SLURM_STEP_ID:-}" ]; then
  name=${3#stages.}${4:+@$4}
  cpus=$(fact CPUs/Task)
  # One task on each node. Its number is known there only; a task that fails ends the others.
  command=(srun --job-name "$name" --nodes "$nodes" --ntasks "$nodes" --ntasks-per-node 1 --cpus-per-task "${cpus:-1}"
    --kill-on-bad-exit=1 --input none
    bash -c 'echo "$0 on $SLURMD_NODENAME: task $SLURM_PROCID of $SLURM_NTASKS"; exec "${@/#NODE/$SLURM_NODEID}"' "$name"
    "${command[@]}")
fi

requeued() { # the job's own end and nobody else's: a job that was cancelled, or already runs elsewhere, stays as it is
  [ "$(fact JobState)" = RUNNING ] && [ "$(fact Restarts)" = "$begun" ] && scontrol requeue "$job"
}
begun=$([ -z "$job" ] || fact Restarts)

while :; do
  "${command[@]}" &
  child=$!
  wait "$child"
  code=$?
  while kill -0 "$child" 2>/dev/null; do # a trapped signal ends `wait` early
    wait "$child"
    code=$?
  done
  [ "$code" -eq 75 ] || exit "$code"
  if [ -n "$job" ] && requeued; then
    child=
    sleep 60 & # SLURM ends this job before the minute is over
    wait $!
    exit 75
  fi
  [ "$stopped" -eq 0 ] || exit 75
done
