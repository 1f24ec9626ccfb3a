#!/bin/sh
# Every script once, on a few volumes and tiny networks: smoke.sh HIPPOCAMPUS-DATA PROGRAMS [PYTHON]; some three minutes.
# HIPPOCAMPUS-DATA holds `images` and `labels` (Decathlon Task04), PROGRAMS the binaries bunet, alice and bob.
set -eu
data=$1 programs=$2 python=${3:-python3}
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
refused() { if "$@"; then echo "not refused: $*" >&2; exit 1; fi; }
$python prepare.py hippocampus "$data" "$out/hip" --limit 10
fit() { name=$1; shift; $python train.py fit "$out/hip/train" -o "$out/nets/hip-$name" --size 40x64x48 --cut 32x48x32 \
    --labels background anterior posterior --intensity zscore --channels 4 8 --epochs 8 "$@"; }
fit relu
fit max --pooling max
for kind in hybrid square quadratic; do fit $kind --activations $kind --from "$out/nets/hip-relu" --rate 0.002; done
for kind in relu square; do $python train.py finish "$out/nets/hip-$kind" -o "$out/nets/hip-${kind}16" --data "$out/hip/train" \
    --bits 16 --epochs 2; done
# Finishing that ruins a network leaves it as it was.
finish() { $python train.py finish "$out/nets/hip-square" -o "$out/$1" --data "$out/hip/train" --test "$out/hip/test" --bits 16 \
    --epochs 1 --rate "$2" | tee "$out/$1.said"; }
finish still 1e-9; finish ruined 5
grep -q "kept as it was" "$out/ruined.said"
cmp "$out/still/score.json" "$out/ruined/score.json"
# The same command goes on from the checkpoint: nothing is left to do.
fit relu
# Settings that differ, a label without its image, and values that no label names are refused.
refused fit relu --seed 2
cp "$out"/hip/train/labels/hippocampus_004.nii.gz "$out/hip/train/labels/alone.nii.gz"
refused fit other
rm "$out/hip/train/labels/alone.nii.gz"
refused $python train.py fit "$out/hip/train" -o "$out/nets/two" --size 40x64x48 --labels background anterior --channels 4 8
$python accuracy.py score "$out/nets" hip "$out/hip/test" --programs "$programs" --log "$out/results.jsonl"
$python accuracy.py blind "$out/nets" hip "$out/hip/test" --programs "$programs" --log "$out/results.jsonl"
$python accuracy.py table "$out/results.jsonl"
# A folder as people bring it, in patches and slices, with a part left out; beside blind runs whose truncations are exact.
$python odd.py "$out/odd"
refused $python prepare.py pairs "$out/odd" "$out/none" --image '*-image' --label '*-mask'
$python prepare.py pairs "$out/odd" "$out/gm" --image '*-image' --label '*-mask-r1'
for part in 1/2 2/2; do $python train.py fit "$out/gm/train" -o "$out/folds/${part%/*}/gm-relu" --size 48x48 --cut 32x32 --fold $part \
    --labels background grey white --intensity zscore --channels 4 8 --epochs 40 --crops 24 --foreground 0.5
$python accuracy.py score "$out/folds/${part%/*}" gm "$out/gm/train" --held --programs "$programs" --log "$out/gm.jsonl"; done
$python accuracy.py blind "$out/folds/2" gm "$out/gm/test" --limit 2 --flags '--preset gc --strategy truncation=gc' --programs "$programs" \
    --log "$out/gm.jsonl"
$python accuracy.py table "$out/gm.jsonl"
refused grep '"different": [1-9]' "$out/gm.jsonl"
