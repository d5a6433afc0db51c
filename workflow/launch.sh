#!/usr/bin/env bash
# Runs `python -m stages.NAME KEY` until it is done, on every GPU of this machine (or MIMFLOW_PROCESSES processes).
# Exit code 75 means: interrupted with its state saved. Inside a SLURM job the job is then requeued under its own id, which
# the workflow does not count as a failure; elsewhere the command starts again. A signal is passed on to the stage; after
# one, there is no new start.
set -u

stopped=0
child=
pass_on() {
  stopped=1
  [ -n "$child" ] && kill -TERM "$child" 2>/dev/null
}
trap pass_on TERM INT USR1

visible_gpus() {
  if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c .
  else
    nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU'
  fi
}
processes=${MIMFLOW_PROCESSES:-$(visible_gpus)}

if [ "$processes" -gt 1 ]; then
  set -- "$1" -m mimflow.several --standalone --nproc-per-node "$processes" "${@:2}"
fi

while :; do
  "$@" &
  child=$!
  wait "$child"
  code=$?
  while kill -0 "$child" 2>/dev/null; do # a trapped signal ends `wait` early
    wait "$child"
    code=$?
  done
  [ "$code" -eq 75 ] || exit "$code"
  if [ -n "${SLURM_JOB_ID:-}" ] && scontrol requeue "$SLURM_JOB_ID"; then
    sleep 60 # SLURM ends this job before the minute is over
    exit 75
  fi
  [ "$stopped" -eq 0 ] || exit 75
done
