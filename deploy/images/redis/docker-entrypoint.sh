#!/bin/sh
# Entrypoint with the official Redis image's interface: options or a configuration file start redis-server, which
# runs as redis with /data as its directory and is process 1.
set -eu

case ${1:-} in
  -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "${1:-}" = redis-server ]; then
  # The official build's default is off: containers talk to it over a network that nobody else is on.
  conf=/dev/null
  case ${2:-} in *.conf) conf=$2 ;; esac
  case " $* $(cat "$conf")" in
    *protected-mode*) ;;
    *) set -- "$@" --protected-mode no ;;
  esac
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis:redis {} +
    exec setpriv --reuid=redis --regid=redis --clear-groups "$@"
  fi
fi
exec "$@"
