#!/usr/bin/env bash
# On a worker of an on-premise cluster: when its raylet is gone (`ray down` stops only the head, and the workers' raylets
# end because it is), ends the agents and the log monitor that Ray 2.60 leaves behind. Returns at once; what it waits for
# is the raylet that runs now, so a worker that is started again is left alone.
set -euo pipefail

if [ "${1:-}" != --wait ]; then
    setsid nohup bash "$0" --wait >/dev/null 2>&1 </dev/null &
    exit 0
fi
raylet=$(pgrep -n -x -U "$(id -u)" raylet)
monitor=$(pgrep -n -U "$(id -u)" -f ray/_private/log_monitor.py || true)
tail --pid="$raylet" -f /dev/null
sleep 1
for process in /proc/[0-9]*; do
    if grep -qsz "^RAY_RAYLET_PID=$raylet$" "$process/environ"; then
        kill "${process#/proc/}" 2>/dev/null || true
    fi
done
if [ -n "$monitor" ] && grep -qs log_monitor "/proc/$monitor/cmdline"; then
    kill "$monitor"
fi
