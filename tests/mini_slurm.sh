#!/usr/bin/env bash
# mini_slurm.sh up|down|env DIR [NODES [GPUS]]   - a throw-away Slurm on loopback, as root, no systemd.
# Everything (munge key+socket, conf, state, spool, logs, pids) lives in DIR; /etc is untouched.
set -euo pipefail
CMD=${1:?up|down|env}; DIR=$(realpath -m "${2:?dir}"); NODES=${3:-2}; GPUS=${4:-1}   # GPUs per node
CONF=$DIR/slurm.conf; SOCK=$DIR/munge.sock
BASE=${MINI_SLURM_PORT:-26817}

running() { kill -0 "$1" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; } # PID 1 may reap late
alive() { [ -s "$1" ] && running "$(cat "$1")"; }
stop() { # stop PIDFILE: TERM, wait 10 s, KILL
  alive "$1" || { rm -f "$1"; return 0; }
  local p; p=$(cat "$1"); kill "$p"
  for _ in $(seq 150); do running "$p" || break; sleep .1; done
  if running "$p"; then kill -9 "$p" && echo "mini_slurm: had to kill -9 $1" >&2; fi; rm -f "$1"
}

dbd_up() { # a private mariadbd + slurmdbd, so that the real sacct works (MINI_SLURM_DBD=1)
  if ! [ -d "$DIR/db" ]; then
    mysql_install_db --no-defaults --user=root --datadir="$DIR/db" --auth-root-authentication-method=normal >"$DIR/log/dbinit.log" 2>&1
  fi
  if ! alive "$DIR/mariadbd.pid"; then
    /usr/sbin/mariadbd --no-defaults --user=root --datadir="$DIR/db" --socket="$DIR/db.sock" --bind-address=127.0.0.1 \
      --port=$((BASE+3)) --pid-file="$DIR/mariadbd.pid" --innodb-buffer-pool-size=32M --innodb-log-file-size=16M --innodb-lock-wait-timeout=900 \
      >"$DIR/log/mariadbd.log" 2>&1 </dev/null &
    for _ in $(seq 100); do mysqladmin --no-defaults --socket="$DIR/db.sock" ping >/dev/null 2>&1 && break; sleep .1; done
    mysql --no-defaults --socket="$DIR/db.sock" -u root -e "CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'slurm';
      CREATE DATABASE IF NOT EXISTS slurm_acct_db; GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
  fi
  (umask 077; cat >"$DIR/slurmdbd.conf" <<EOC
AuthType=auth/munge
AuthInfo=socket=$SOCK,cred_expire=5
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=$((BASE+2))
SlurmUser=root
PidFile=$DIR/slurmdbd.pid
LogFile=$DIR/log/slurmdbd.log
PluginDir=/usr/lib/x86_64-linux-gnu/slurm-wlm
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((BASE+3))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
EOC
  )
  if ! alive "$DIR/slurmdbd.pid"; then
    SLURM_CONF=$CONF /usr/sbin/slurmdbd
    for _ in $(seq 100); do SLURM_CONF=$CONF timeout 2 sacctmgr -n -i list cluster >/dev/null 2>&1 && break; sleep .1; done
    SLURM_CONF=$CONF timeout 5 sacctmgr -n -i add cluster mini >/dev/null 2>&1 || true
  fi
}

up() {
  mkdir -p "$DIR"/{state,log,spool}; chmod 755 "$DIR"
  [ -f "$DIR/munge.key" ] || { (umask 077; head -c 128 /dev/urandom >"$DIR/munge.key"); }
  local ncpu nodes="" i g ACCT=AccountingStorageType=accounting_storage/none
  [ -z "${MINI_SLURM_DBD:-}" ] || ACCT="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((BASE+2))
AccountingStoragePass=$SOCK"
  ncpu=$(( $(nproc) / NODES )); [ "$ncpu" -ge 1 ] || ncpu=1
  for i in $(seq 0 $((NODES-1))); do
    mkdir -p "$DIR/spool/n$i"
    for g in $(seq 0 $((GPUS-1))); do   # a char device that stands in for /dev/nvidiaN (copy of /dev/null)
      [ -e "$DIR/n$i-gpu$g" ] || mknod "$DIR/n$i-gpu$g" c 1 3
    done
    nodes+="NodeName=n$i NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((BASE+10+i)) CPUs=${MINI_SLURM_CPUS:-$ncpu} RealMemory=4000 Gres=gpu:$GPUS State=UNKNOWN"$'\n'
  done
  { echo AutoDetect=off; for i in $(seq 0 $((NODES-1))); do
      echo "NodeName=n$i Name=gpu File=$DIR/n$i-gpu[0-$((GPUS-1))]"; done; } >"$DIR/gres.conf"
  cat >"$CONF" <<EOC
ClusterName=mini
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$BASE
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket=$SOCK,cred_expire=5
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd-%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SwitchType=switch/none
MpiDefault=none
PluginDir=/usr/lib/x86_64-linux-gnu/slurm-wlm
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
OverTimeLimit=0
InactiveLimit=0
JobRequeue=1
$ACCT
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/log/jobcomp.txt
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
${nodes}PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=60 State=UP PriorityTier=10
EOC
  : >>"$DIR/log/jobcomp.txt"
  export SLURM_CONF=$CONF
  alive "$DIR/munged.pid" || /usr/sbin/munged --key-file="$DIR/munge.key" --socket="$SOCK" \
    --pid-file="$DIR/munged.pid" --log-file="$DIR/log/munged.log" --seed-file="$DIR/munged.seed" --force
  [ -z "${MINI_SLURM_DBD:-}" ] || dbd_up
  alive "$DIR/slurmctld.pid" || /usr/sbin/slurmctld -f "$CONF"
  for i in $(seq 0 $((NODES-1))); do
    alive "$DIR/slurmd-n$i.pid" || /usr/sbin/slurmd -f "$CONF" -N "n$i"
  done
  local end=$((SECONDS+20))
  while [ $SECONDS -lt $end ]; do
    [ "$(timeout 5 sinfo -h -N -p main -t idle -o %N 2>/dev/null | wc -l)" -eq "$NODES" ] && { sinfo -N -l; return 0; }
    sleep .1
  done
  echo "mini_slurm: not idle after 20 s" >&2; tail -n 5 "$DIR"/log/slurm*.log >&2; return 1
}

down() {
  export SLURM_CONF=$CONF
  if alive "$DIR/slurmctld.pid"; then scancel --full -u root 2>/dev/null || true; sleep .5; fi
  local f; for f in "$DIR"/slurmd-n*.pid; do [ -e "$f" ] && stop "$f"; done
  stop "$DIR/slurmctld.pid"; stop "$DIR/slurmdbd.pid"; stop "$DIR/mariadbd.pid"; stop "$DIR/munged.pid"
}

case $CMD in
  up) up;; down) down;;
  env) echo "export SLURM_CONF=$CONF";;
esac
