#!/usr/bin/env bash
# What the README promises of the default, at its full size, in a fresh clone: `tests/reliability/default.sh DIR`, about 45
# minutes on two quiet cores. Durations and equalities are printed; it ends with 1 if two makings differ.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(realpath -m "${1:?usage: default.sh DIR}")
bad=0
say() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }
sums() { find runs metrics features report data/shards data/index.json data/audit.json data/made.json code -type f \
  ! -name .gitignore -exec sha256sum {} + | sort -k2; }
same() { # against the first making
  sums | cmp - "$work/first.sums" && echo "equal: $(wc -l <"$work/first.sums") files" || bad=1
}
clear() { rm -rf runs metrics features report data/shards data/*.json state; }

mkdir -p "$work"
git clone --quiet "$root" "$work/clone"
cd "$work/clone"
[ ! -d "$root/../shared" ] || ln -s "$(cd "$root/../shared" && pwd)" "$work/shared"
make .venv-ready >"$work/install.log" 2>&1
export PATH="$PWD/.venv/bin:$PATH"
git config user.name check && git config user.email check@localhost

say "make run"
time make run
say "make run again"
time make run >/dev/null
mimflow sync
time make snakemake ARGS=-n
sums >"$work/first.sums"

for facts in "1 0" "8 2"; do
  read -r threads workers <<<"$facts"
  say "Snakemake, OMP_NUM_THREADS=$threads, $workers workers"
  clear
  OMP_NUM_THREADS=$threads MIMFLOW_WORKERS=$workers make snakemake ARGS=--quiet
  same
  dvc status
  git status --short
done

say "kill -9 in the middle of pre-training, then the same command"
rm -rf runs/mae
MIMFLOW_CHECKPOINT_SECONDS=5 dvc repro --single-item --force pretrain@mae >"$work/kill.log" 2>&1 &
sleep 90
for pid in $(pgrep -f "stages.pretrain mae"); do # this folder's alone
  [ "$(readlink "/proc/$pid/cwd")" != "$PWD" ] || kill -9 "$pid"
done
wait
ls state
dvc repro --single-item --force pretrain@mae 2>&1 | grep -E "resumed|images in"
same

say "push, a fresh clone, pull, sync"
dvc remote add --default --force here "$work/remote"
dvc push
git commit --quiet --all --message "a remote"
git clone --quiet "$work/clone" "$work/second"
cd "$work/second"
ln -s ../clone/.venv .venv
dvc pull && mimflow sync && dvc repro && snakemake -n

say "CIFAR-10 in a workspace"
cd "$work/clone"
make link-data FROM=../shared/data
make workspace PRESET=cifar10 DIR="$work/cifar10"
cd "$work/cifar10"
wanted=({knn,linear}@{mae,random,pixels})
time dvc repro "${wanted[@]}" >"$work/cifar10.log" 2>&1
dvc metrics show metrics/{knn,linear}/{mae,random,pixels}.json
say done
exit $bad
