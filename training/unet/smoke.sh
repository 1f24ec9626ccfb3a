#!/bin/sh
# Every script once, on a few volumes and a tiny network: smoke.sh HIPPOCAMPUS-DATA PROGRAMS [PYTHON]; about two minutes.
# HIPPOCAMPUS-DATA holds `images` and `labels` (Decathlon Task04), PROGRAMS the binaries bunet, alice and bob.
set -eu
data=$1 programs=$2 python=${3:-python3}
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
$python prepare.py hippocampus "$data" "$out/hip" --limit 10
fit() { name=$1; shift; $python train.py fit "$out/hip/train" -o "$out/nets/hip-$name" --size 40x64x48 --cut 32x48x32 \
    --labels background anterior posterior --intensity zscore --channels 4 8 --epochs 8 "$@"; }
fit relu
fit max --pooling max
for kind in hybrid square quadratic; do fit $kind --activations $kind --from "$out/nets/hip-relu" --rate 0.002; done
for kind in relu square; do $python train.py finish "$out/nets/hip-$kind" -o "$out/nets/hip-${kind}16" --data "$out/hip/train" \
    --bits 16 --epochs 2; done
# The same command goes on from the checkpoint: nothing is left to do.
fit relu
# Settings that differ, a label without its image, and values that no label names are refused.
! fit relu --seed 2
cp "$out"/hip/train/labels/hippocampus_004.nii.gz "$out/hip/train/labels/alone.nii.gz"
! fit other
rm "$out/hip/train/labels/alone.nii.gz"
! $python train.py fit "$out/hip/train" -o "$out/nets/two" --size 40x64x48 --labels background anterior --channels 4 8
$python accuracy.py score "$out/nets" hip "$out/hip/test" --programs "$programs" --log "$out/results.jsonl"
$python accuracy.py blind "$out/nets" hip "$out/hip/test" --programs "$programs" --log "$out/results.jsonl"
$python accuracy.py table "$out/results.jsonl"
