#!/bin/sh
# Installs bnnedge on a PYNQ board, from the folder that this script lies in: sudo sh install.sh
# PYTHON=/path/to/python3 chooses another Python than that of the image's pynq.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-/usr/local/share/pynq-venv/bin/python3}
jupyter=${PYNQ_JUPYTER_NOTEBOOKS:-/home/xilinx/jupyter_notebooks}

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

sha256sum -c SHA256SUMS >/dev/null || fail "these files are not whole: copy the archive again, and unpack it"
"$python" -c '' || fail "$python does not run: is this a PYNQ image, 3.0 or later? PYTHON=/path/to/python3 chooses another"
# Reinstall, as another build may have the same version; --no-deps, as the image's own NumPy and pynq will do.
"$python" -m pip install --no-index --no-deps --force-reinstall ./bnnedge-*.whl ||
    fail "pip could not install the wheel, see above: sudo sh install.sh, unless you are root"
installed=$("$python" -I -c 'from bnnedge.devices.bitstream import OVERLAYS; print(OVERLAYS)')

missing=
for overlay in overlays/*; do
    name=$(basename "$overlay")
    if [ -f "$overlay/bnnedge.bit" ]; then
        mkdir -p "$installed"
        rm -rf "${installed:?}/$name"
        cp -R "$overlay" "$installed/$name"
        echo "overlay in $installed/$name"
    else
        missing=$name
    fi
done
if [ -d "$jupyter" ]; then # what was changed there stays
    if "$python" -I -m bnnedge.cli notebooks "$jupyter/bnnedge" >/dev/null; then
        echo "notebooks in $jupyter/bnnedge"
    else
        echo "for the notebooks of this version: bnnedge notebooks $jupyter/ANOTHER"
    fi
fi

if [ -n "$missing" ]; then
    echo "bnnedge is installed, but the archive has no bitstream of $missing: build one with bnnedge bitstream, and package it"
else
    echo "bnnedge is installed; test it, in a terminal of the board's Jupyter: bnnedge selftest"
fi
