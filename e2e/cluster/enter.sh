#!/bin/bash
# Runs a command (a shell, where none is given) inside the cluster that `node e2e/cluster/run.ts` keeps.
set -eu
folder=$(cd "$(dirname "$0")/../../build/cluster" && pwd)
init=$(pgrep -P "$(cat "$folder/run/pid")") || { echo 'no cluster runs here: start one with `make cluster`' >&2; exit 1; }
export KUBECONFIG=$folder/run/pki/admin.kubeconfig PATH=$folder/bin:$PATH
exec nsenter -t "$init" -m -p -n -u -i -w -- "${@:-bash}"
