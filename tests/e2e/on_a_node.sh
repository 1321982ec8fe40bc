#!/usr/bin/env bash
# The stories on a real node that needs neither Docker nor another machine: TOLLWAY_CLUSTER_UP is a program that makes one
# in namespaces of its own, runs what stands after --, and takes the node down. Needs root. The first time it builds
# Kubernetes, which takes minutes; what is in the caches by then is used. --only-node: whether a node can be made here.
set -euo pipefail
cd "$(dirname "$0")/../.."
up=${TOLLWAY_CLUSTER_UP:-../shared/cluster/up}
[ -x "$up" ] || { echo "there is no $up: TOLLWAY_CLUSTER_UP names a program that makes a node" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "a node needs root" >&2; exit 2; }
up=$(realpath "$up")
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
export CLUSTER_DIR=${CLUSTER_DIR:-$HOME/.cache/tollway-cluster}

# The tests have built these already.
for binary in kube-apiserver etcd; do
  found=$({ "$python" tools/kube_binaries.py --find 2>/dev/null || true; } | sed -n "s/^ \"$binary\": \"\(.*\)\",\?$/\1/p")
  mkdir -p "$CLUSTER_DIR/bin/v1.37.1"
  [ -z "$found" ] || [ -e "$CLUSTER_DIR/bin/v1.37.1/$binary" ] || cp "$found" "$CLUSTER_DIR/bin/v1.37.1/"
done
if command -v go >/dev/null; then
  export K8S_GOMODCACHE=${K8S_GOMODCACHE:-$(go env GOMODCACHE)} K8S_GOCACHE=${K8S_GOCACHE:-$(go env GOCACHE)}
fi
if [ "${1:-}" = --only-node ]; then exec "$up" -- kubectl get nodes; fi
export TOLLWAY_E2E=1 TOLLWAY_E2E_LOAD="ctr -n k8s.io images import" TOLLWAY_E2E_BASE=$CLUSTER_DIR/images/debian
exec "$up" -- "$python" -m pytest -p no:cacheprovider tests/e2e "$@"
