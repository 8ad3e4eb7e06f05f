#!/usr/bin/env bash
# Checks mvjax on the GPU of this machine within some minutes: tests of what differs
# between platforms, each stage's first steps against the CPU's, and the speed of each
# stage in float32 and bfloat16. Writes one table and one JSON.
#
#   bash launch/gpu_check.sh [options]
#
#   --output=FOLDER   where all of it goes (build/gpu_check): check.txt and check.md are the
#                     table, check.json has all of it, logs/ what each task said
#   --minutes=N       when it ends, counted from the start of this script, installation
#                     included; what is not reached by then is listed (8)
#   --steps=N         steps that are timed (10)
#   --jobs=N          tasks at once; timed steps have the device alone all the same (three
#                     quarters of the cores, at most 12)
#   --only=PATTERNS   only tasks that fit one of these, with commas between: 'bench-*',
#                     'tests-*', 'agreement-*' (all)
#   --cpu             a rehearsal without a GPU: small configs on this machine's CPU
#   --list            print the command of each task and do nothing
#   --dry-run         print the commands and do nothing
#
# Paths are relative to the checkout. It can be run again: the same --output takes up what
# was not reached or failed. The code is 0 if all tests passed and all stages agree, 1 if
# something failed, 3 if nothing failed but a test or an agreement was not reached, 2 for a
# mistake of use. It takes the first GPU or what CUDA_VISIBLE_DEVICES names.
# PYTHON_ENV=/path/to/env takes an environment that has mvjax's requirements, pytest and
# JAX for CUDA instead of making .venv.
#
# example: bash launch/gpu_check.sh --output=build/h100
# example: bash launch/gpu_check.sh --cpu --only='*mrdd*' --output=build/rehearsal

set -euo pipefail
export MVJAX_CHECK_BEGAN=${EPOCHSECONDS:-} # What comes before the check counts as well.
script=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/gpu_check.sh
cd "$(dirname "$script")/.."
# shellcheck source=launch/common.sh
. launch/common.sh

output=build/gpu_check
minutes=8
steps=10
jobs=
only=
cpu=false
list=false

main() {
  while [ $# -gt 0 ]; do
    case $1 in
      --output=*) output=${1#*=} ;;
      --minutes=*) minutes=${1#*=} ;;
      --steps=*) steps=${1#*=} ;;
      --jobs=*) jobs=${1#*=} ;;
      --only=*) only=${1#*=} ;;
      --cpu) cpu=true ;;
      --list) list=true ;;
      --dry-run) dry_run=true ;;
      --help | -h) usage "$script" && exit ;;
      -*) unknown_option "$1" ;;
      *) fail "expected no argument, got '$1'; see --help" ;;
    esac
    shift
  done
  [ -n "$output" ] || fail "--output= is empty"
  whole --minutes "$minutes" 1
  whole --steps "$steps" 1
  [ -z "$jobs" ] || whole --jobs "$jobs" 1
  check
}

check() {
  local command=() extras=cuda,test
  if $cpu; then
    extras=test
  elif ! $list; then
    need nvidia-smi "it comes with NVIDIA's driver; without a GPU --cpu rehearses"
  fi
  prepare "$extras"
  # One GPU, whose memory the suite's batches fit.
  $cpu || command+=(env "CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}")
  command+=(
    "$environment/bin/python" launch/gpu_check/main.py "--output=$output"
    "--minutes=$minutes" "--steps=$steps"
  )
  [ -z "$jobs" ] || command+=("--jobs=$jobs")
  [ -z "$only" ] || command+=("--only=$only")
  ! $cpu || command+=(--cpu)
  ! $list || command+=(--list)
  $dry_run || exec "${command[@]}" # It gets the signals itself.
  run "${command[@]}"
}

main "$@"
