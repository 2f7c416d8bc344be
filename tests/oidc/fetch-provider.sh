#!/usr/bin/env bash
# Fetch the provider of OpenID Connect that tests sign in at (oidc-provider, MIT) from the npm
# registry into the folder $1, once; package-lock.json says which, with their digests.
set -euo pipefail
folder=${1:?the folder to fetch into}
here=$(cd "$(dirname "$0")" && pwd)

cmp -s "$here/package-lock.json" "$folder/fetched.json" && exit 0
command -v npm > /dev/null || { echo "npm is not installed: no provider fetched" >&2; exit 1; }
mkdir -p "$folder"
cp "$here/package.json" "$here/package-lock.json" "$folder"
for try in 1 2 3; do
    (cd "$folder" && timeout 120 npm ci --ignore-scripts --no-audit --no-fund --loglevel=error \
        > /dev/null) && break
    [ "$try" != 3 ] || { echo "the npm registry gives no oidc-provider" >&2; exit 1; }
done
cp "$here/package-lock.json" "$folder/fetched.json"
