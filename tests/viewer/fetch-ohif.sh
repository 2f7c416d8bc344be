#!/usr/bin/env bash
# Fetch the built OHIF viewer (MIT) from the npm registry into the folder $1, once.
set -euo pipefail
version=3.13.2
digest=5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10
folder=${1:?the folder to fetch into}

[ -f "$folder/$version" ] && exit 0
command -v npm > /dev/null || { echo "npm is not installed: no viewer fetched" >&2; exit 1; }
mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
for try in 1 2 3; do
    timeout 120 npm pack "@ohif/app@$version" --pack-destination "$work" --loglevel=error \
        > /dev/null && break
    [ "$try" != 3 ] || { echo "the npm registry gives no @ohif/app $version" >&2; exit 1; }
done
echo "$digest  $work/ohif-app-$version.tgz" | sha512sum --check --quiet
# Two thirds are a runtime of neural networks for segmenting by hand.
tar -xzf "$work/ohif-app-$version.tgz" -C "$work" --exclude=package/dist/ort
rm -rf "$folder/dist"
mv "$work/package/dist" "$work/package/LICENSE" "$folder"
touch "$folder/$version"
