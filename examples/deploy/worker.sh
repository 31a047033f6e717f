#!/bin/sh
# Runs a worker in a container, and sends on what is left in the outbox when it has ended: the folder
# may go away with the container. SIGTERM is passed on; the worker lets its calls end.
#
#   worker.sh python single_project.py start

"$@" &
worker=$!
trap 'kill -TERM "$worker" 2>/dev/null' TERM INT
while :; do
    wait "$worker"
    status=$?
    kill -0 "$worker" 2>/dev/null || break # it was a signal that ended the waiting, otherwise
done
voicegw outbox --send || echo "usage waits in the outbox of this container" >&2
exit "$status"
