#!/usr/bin/env bash
# A SLURM cluster on this machine, for tests: one controller, several node names, made-up GPUs. Debian, as root, without
# systemd. Everything lives below DIR; /etc/slurm holds links to its conf as long as it runs, because Snakemake's job steps
# drop SLURM_CONF from their environment.
#
#   workflow/local_slurm.sh start [DIR]    installs what is missing, starts what does not run, waits for the nodes
#   workflow/local_slurm.sh stop [DIR]     stops it, ends what its jobs left behind, removes the links
#
# From the environment: NODES=4, and on each of them CPUS=4, MEMORY=16000 (MiB), GPUS=2; ACCOUNTING=1 adds a database, so
# that sacct works; PORT=17000 is the first of a hundred.
set -euo pipefail

die() { echo "local_slurm.sh: $*" >&2; exit 2; }
[ $# -ge 1 ] && [ $# -le 2 ] || die "usage: local_slurm.sh start|stop [DIR]"
action=$1
DIR=$(realpath -m "${2:-/tmp/mimflow-slurm}")
NODES=${NODES:-4} CPUS=${CPUS:-4} MEMORY=${MEMORY:-16000} GPUS=${GPUS:-2} ACCOUNTING=${ACCOUNTING:-0} PORT=${PORT:-17000}
CONF=(slurm.conf gres.conf slurmdbd.conf)
HOST=$(hostname -s)
export SLURM_CONF=$DIR/slurm.conf

install() {
  local wanted="munge slurm-client slurmctld slurmd slurm-wlm-basic-plugins" missing=
  [ "$ACCOUNTING" = 0 ] || wanted+=" slurmdbd slurm-wlm-mysql-plugin mariadb-server"
  for name in $wanted; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=" $name"
  done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || die "needs the packages$missing; there is no apt-get to install them"
  echo "installing$missing"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing; } \
    >"$DIR/install.log" 2>&1 || die "the packages$missing could not be installed: $DIR/install.log"
}

runs() { # NAME: does the daemon with this pid file run?
  local file=$DIR/run/$1.pid
  kill -0 "$(cat "$file" 2>/dev/null)" 2>/dev/null
}

until_true() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

configure() {
  [ -s "$DIR/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$DIR/munge.key")
  local gres= number accounting=AccountingStorageType=accounting_storage/none
  : >"$DIR/gres.conf"
  if [ "$GPUS" -gt 0 ]; then
    # A GPU without a device file is counted as none, and one that is a plain file is not announced to jobs.
    for number in $(seq 0 $((GPUS - 1))); do
      [ -c "$DIR/gpu$number" ] || mknod "$DIR/gpu$number" c 1 3
    done
    gres="Gres=gpu:$GPUS"
    echo "NodeName=n[1-$NODES] Name=gpu File=$DIR/gpu[0-$((GPUS - 1))] AutoDetect=off" >"$DIR/gres.conf"
  fi
  [ "$ACCOUNTING" = 0 ] || accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$DIR/run/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment"
  # cred_expire: so long does a requeued job wait; the default is two minutes. MinJobAge: so long does squeue know a job that
  # has ended. config_overrides: nodes may claim more than this machine has.
  cat >"$DIR/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$DIR/run/munge.socket,cred_expire=10
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd-%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,bf_interval=5
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=900
KillWait=10
SlurmdTimeout=30
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
$accounting
NodeName=n[1-$NODES] NodeHostname=$HOST NodeAddr=127.0.0.1 Port=[$((PORT + 11))-$((PORT + 10 + NODES))] CPUs=$CPUS RealMemory=$MEMORY $gres Feature=local
PartitionName=main Nodes=n[1-$NODES] Default=YES DefaultTime=10 DefMemPerCPU=500 PriorityTier=1
PartitionName=urgent Nodes=n[1-$NODES] DefaultTime=10 DefMemPerCPU=500 PriorityTier=10 PreemptMode=OFF
CONF
  [ "$ACCOUNTING" = 0 ] || (umask 077 && cat >"$DIR/slurmdbd.conf" <<CONF
AuthInfo=socket=$DIR/run/munge.socket
DbdHost=$HOST
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=root
PidFile=$DIR/run/slurmdbd.pid
LogFile=$DIR/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 2))
StorageUser=slurm
StoragePass=slurm
StorageLoc=accounting
CONF
  )
}

alone() { # one at a time: the links and the ports are this machine's
  local other
  other=$(readlink /etc/slurm/slurm.conf) || return 0
  other=$(dirname "$other")
  [ "$other" = "$DIR" ] || ! kill -0 "$(cat "$other/run/slurmctld.pid" 2>/dev/null)" 2>/dev/null || die "one runs already, below $other"
}

link() {
  mkdir -p /etc/slurm
  for name in "${CONF[@]}"; do
    [ ! -e "/etc/slurm/$name" ] || [ -L "/etc/slurm/$name" ] || die "this machine has a SLURM of its own: /etc/slurm/$name"
    [ ! -e "$DIR/$name" ] || ln -sfn "$DIR/$name" "/etc/slurm/$name"
  done
}

start_accounting() {
  local client="mariadb-admin --no-defaults --user=root --socket=$DIR/run/database.socket"
  if ! runs database; then
    [ -d "$DIR/database/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$DIR/database" \
      --auth-root-authentication-method=normal --skip-test-db >"$DIR/log/database.log" 2>&1
    setsid mariadbd --no-defaults --user=root --datadir="$DIR/database" --socket="$DIR/run/database.socket" \
      --pid-file="$DIR/run/database.pid" --bind-address=127.0.0.1 --port=$((PORT + 2)) \
      --innodb-buffer-pool-size=64M --innodb-log-file-size=64M --innodb-lock-wait-timeout=900 \
      >>"$DIR/log/database.log" 2>&1 </dev/null &
  fi
  until_true 30 $client ping || die "the database does not answer: $DIR/log/database.log"
  mariadb --no-defaults --user=root --socket="$DIR/run/database.socket" --execute "
    CREATE DATABASE IF NOT EXISTS accounting;
    CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'slurm';
    CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
    GRANT ALL ON accounting.* TO slurm@localhost, slurm@'127.0.0.1';"
  runs slurmdbd || slurmdbd
  until_true 30 timeout 5 sacctmgr --noheader list cluster || die "slurmdbd does not answer: $DIR/log/slurmdbd.log"
  if ! sacctmgr --noheader --parsable2 list account format=account | grep -qx lab; then
    sacctmgr --immediate --quiet add cluster local >/dev/null
    sacctmgr --immediate --quiet add account lab Cluster=local Description=lab Organization=lab >/dev/null
    sacctmgr --immediate --quiet add user "$(id -un)" Account=lab Cluster=local >/dev/null
  fi
}

all_up() {
  [ "$(sinfo --noheader --Node --partition=main --states=idle,mixed,allocated --format=%N | sort -u | wc -l)" -eq "$NODES" ]
}

no_jobs() { [ -z "$(squeue --noheader)" ]; }

start() {
  [ "$(id -u)" = 0 ] || die "has to run as root"
  mkdir -p "$DIR"/{run,log,state,spool}
  chmod 755 "$DIR" "$DIR/run"
  alone
  install
  local fresh=1 node
  if runs slurmctld; then fresh=0; else configure; fi
  link
  if ! runs munged; then
    rm -f "$DIR"/run/munge.socket*
    munged --force --key-file="$DIR/munge.key" --socket="$DIR/run/munge.socket" --pid-file="$DIR/run/munged.pid" \
      --log-file="$DIR/log/munged.log" --seed-file="$DIR/run/munge.seed"
  fi
  [ "$ACCOUNTING" = 0 ] || start_accounting
  runs slurmctld || slurmctld
  for node in $(seq "$NODES"); do
    mkdir -p "$DIR/spool/n$node"
    runs "slurmd-n$node" || slurmd -N "n$node"
  done
  until_true 60 all_up || { sinfo --Node --long >&2; die "not all nodes are up: $DIR/log"; }
  # A node that was idle when it stopped is said to be idle before it answers: a step on each shows that it does.
  [ "$fresh" = 0 ] || { timeout 60 srun --quiet --nodes="$NODES" --time=1 true && until_true 20 no_jobs; }
  sinfo
}

ended() { ! kill -0 "$1" 2>/dev/null; }

end() { # NAME...: all at once, then wait for each
  local name pid pids=()
  for name in "$@"; do
    pid=$(cat "$DIR/run/$name.pid" 2>/dev/null) || continue # a daemon removes its file as it ends
    kill "$pid" 2>/dev/null && pids+=("$pid")
    rm -f "$DIR/run/$name.pid"
  done
  for pid in "${pids[@]}"; do
    until_true 10 ended "$pid" || kill -9 "$pid" || true
  done
}

leftovers() { # processes of jobs, which outlive a slurmd that was killed; this machine has no other SLURM
  grep -lz '^SLURM_JOB_ID=' /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}

stop() {
  local daemons=() file step
  if runs slurmctld; then
    scancel --quiet --user="$(id -un)" || true
    until_true 20 no_jobs || true
  fi
  for file in "$DIR"/run/slurmd-*.pid; do
    [ ! -e "$file" ] || daemons+=("$(basename "$file" .pid)")
  done
  end "${daemons[@]}" slurmctld
  for step in $(leftovers); do kill -9 "$step" 2>/dev/null || true; done
  end slurmdbd
  end database munged
  for name in "${CONF[@]}"; do
    [ "$(readlink "/etc/slurm/$name")" != "$DIR/$name" ] || rm -f "/etc/slurm/$name"
  done
}

case $action in
  start) start ;;
  stop) stop ;;
  *) die "'$action'; allowed: start, stop" ;;
esac
