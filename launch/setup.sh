# Makes the project's own environment in .venv and installs mvjax with some extras.
# Sourced by the other scripts: `. launch/setup.sh "test"`. Uses uv when it is there and
# pip otherwise; does nothing when the environment already fits pyproject.toml.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
extras=${1:-}
python=${PYTHON:-}

say() { printf '\n==> %s\n' "$*"; }

find_python() {
  local name
  for name in $python python3.12 python3.11 python3 python; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c '
import sys, venv, ensurepip
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  echo "mvjax needs Python 3.11 or 3.12 with venv; set PYTHON=/path/to/python" >&2
  exit 1
}

install() {
  local target=".${extras:+[$extras]}"
  if command -v uv >/dev/null 2>&1; then
    [ -x .venv/bin/python ] || uv venv --python "$(find_python)" .venv
    uv pip install --python .venv/bin/python -e "$target"
  else
    [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
    # Python compiles what it imports; compiling all that is there takes half a minute.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
      -e "$target"
  fi
}

# One stamp for each set of extras: a hash of what decides what is installed.
stamp=.venv/installed-${extras:-base}
wanted=$(cksum pyproject.toml launch/setup.sh)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  say "The environment .venv is ready"
else
  say "Installing mvjax into .venv (a few minutes the first time)"
  install
  printf '%s' "$wanted" >"$stamp"
fi
.venv/bin/python --version
