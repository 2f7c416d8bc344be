#!/usr/bin/env bash
# Fetch axe-core (MPL-2.0), which looks for barriers in pages, from the npm registry into $1, once.
set -euo pipefail
version=4.14.1
digest=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
folder=${1:?the folder to fetch into}

[ -f "$folder/$version" ] && exit 0
command -v npm > /dev/null || { echo "npm is not installed: no axe-core fetched" >&2; exit 1; }
mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
for try in 1 2 3; do
    timeout 120 npm pack "axe-core@$version" --pack-destination "$work" --loglevel=error \
        > /dev/null && break
    [ "$try" != 3 ] || { echo "the npm registry gives no axe-core $version" >&2; exit 1; }
done
echo "$digest  $work/axe-core-$version.tgz" | sha512sum --check --quiet
tar -xzf "$work/axe-core-$version.tgz" -C "$work"
mv "$work/package/axe.min.js" "$work/package/LICENSE" "$folder"
touch "$folder/$version"
