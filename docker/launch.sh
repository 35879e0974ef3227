#!/bin/sh
# Runs a sweep on the cluster at RAY_ADDRESS. A Ray driver needs a node on its own machine, so this container first
# joins as one, without CPUs or GPUs: no pack runs here.
set -eu
ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --metrics-export-port=8080 >/dev/null
exec python -m orchestrator.launch "$@"
