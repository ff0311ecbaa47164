#!/usr/bin/env bash
# Makes a machine a node: scratch disk, packages, environment. Run by the cluster files' setup_commands on every node;
# safe to run again, and quick when nothing changed. Needs Python 3.11 or newer (and sudo where packages are missing).
set -euo pipefail

# `node.sh --image`, last before an image is made of the machine: what a cluster put there and others must not have.
if [ "${1:-}" = --image ]; then
    rm -rf "$HOME/.ray" "$HOME/.groundwork-tls" "$HOME"/ray_bootstrap_* "$HOME/.ssh/authorized_keys" "$HOME/.bash_history"
    rm -f "$HOME/scratch"/* 2>/dev/null || true
    echo "the token, keys and certificates of the cluster are gone; make the image now, and end this machine"
    exit
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$HOME/groundwork-venv

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Scratch (~/scratch): what Ray spills goes to a local NVMe disk where the machine has one. AWS deep learning images
# mount theirs themselves; other images leave the instance store raw, and empty after each start of the machine.
disk=$(lsblk -dpno NAME,MODEL 2>/dev/null |
    awk '/Instance Storage|nvme_card[0-9]* *$|NVMe Direct Disk/ {print $1; exit}')  # EC2, Compute Engine, Azure
if [ -d /opt/dlami/nvme ]; then
    target=/opt/dlami/nvme
elif [ -n "$disk" ]; then
    target=/mnt/nvme
    if ! mountpoint -q "$target"; then
        as_root blkid "$disk" >/dev/null || as_root mkfs.ext4 -q -E nodiscard "$disk"
        as_root mkdir -p "$target"
        as_root mount -o noatime "$disk" "$target"
    fi
else
    target=
fi
if [ -n "$target" ]; then
    as_root mkdir -p "$target/groundwork"
    as_root chown "$(id -u):$(id -g)" "$target/groundwork"
    ln -sfn "$target/groundwork" "$HOME/scratch"
else
    mkdir -p "$HOME/scratch"
fi

# Packages: the same pinned versions on every node, installed again only when the list changed.
if [ ! -x "$venv/bin/pip" ]; then
    python3 -c 'import sys; sys.exit(f"Python {sys.version.split()[0]}: 3.11 or newer is needed") if sys.version_info < (3, 11) else 0'
    if ! python3 -c 'import ensurepip, sysconfig, os, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        ! command -v g++ >/dev/null; then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv python3-dev g++ rsync
    fi
    python3 -m venv "$venv"
fi
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

# Environment: of every Ray process, and so of every job, on this node. Ray's authentication defaults differ between
# its own commands (2.60), hence the mode is set for all of them.
cat >"$HOME/.groundwork-env" <<ENV
export PATH=$venv/bin:\$PATH
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
export RAY_TRAIN_ENABLE_STATE_TRACKING=1
export RAY_PROMETHEUS_HOST=http://127.0.0.1:9090
export RAY_JOB_STOP_WAIT_TIME_S=120
export AUTOSCALER_NODE_START_WAIT_S=300
export TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1
ENV
touch "$HOME/.bashrc"
grep -qF .groundwork-env "$HOME/.bashrc" || echo '. "$HOME/.groundwork-env"' >>"$HOME/.bashrc"
chmod 700 "$HOME/.ray"
chmod 600 "$HOME/.ray/auth_token"
