#!/usr/bin/env bash
# Build the wheel, install it in a fresh environment, and run tests outside the source tree:
# those of WHEEL_TESTS, all of them without.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/.venv/bin/python" -m build --wheel --outdir "$work/dist" "$here" > "$work/build.log" 2>&1 \
    || { cat "$work/build.log"; exit 1; }
wheel=$(ls "$work"/dist/*.whl)
"$here/.venv/bin/python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    -c "$here/constraints.txt" "$wheel[development]"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    --no-deps -r "$here/tests/originals.txt"

cp -r "$here/tests" "$work/tests"
cp "$here/pyproject.toml" "$work/pyproject.toml"
cd "$work"
export GATEKEEPER_SHARED_DATA="${GATEKEEPER_SHARED_DATA:-$here/../shared/data}"
PYTHONSAFEPATH=1 "$work/venv/bin/pytest" -c "$work/pyproject.toml" --rootdir "$work" ${PYTEST_ARGS:-} ${WHEEL_TESTS:-}
