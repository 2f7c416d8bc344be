#!/usr/bin/env bash
# Build the wheel, install it in an environment of its own, and run tests outside the source tree:
# those of WHEEL_TESTS, all of them without.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/.venv/bin/python" -m build --wheel --outdir "$work/dist" "$here" > "$work/build.log" 2>&1 \
    || { cat "$work/build.log"; exit 1; }
wheel=$(ls "$work"/dist/*.whl)
"$here/.venv/bin/python" -m venv "$work/venv"
# What the wheel needs is read where the source tree's environment has it; pip looks there too, and
# installs the wheel and what is missing. A folder named here has no .pth of its own obeyed, so the
# source tree is not importable.
packages='import sysconfig; print(sysconfig.get_path("purelib"))'
"$here/.venv/bin/python" -c "$packages" > "$("$work/venv/bin/python" -c "$packages")/needed.pth"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    -c "$here/constraints.txt" "$wheel[development]"

cp -r "$here/tests" "$work/tests"
cp "$here/pyproject.toml" "$work/pyproject.toml"
cd "$work"
export GATEKEEPER_SHARED_DATA="${GATEKEEPER_SHARED_DATA:-$here/../shared/data}"
export PYTHONSAFEPATH=1
for package in gatekeeper storage models; do
    "$work/venv/bin/python" -c "import $package, sys; sys.exit(not $package.__file__.startswith(sys.prefix))" \
        || { echo "$package does not come from the wheel" >&2; exit 1; }
done
"$work/venv/bin/python" -m pytest -c "$work/pyproject.toml" --rootdir "$work" ${PYTEST_ARGS:-} ${WHEEL_TESTS:-}
