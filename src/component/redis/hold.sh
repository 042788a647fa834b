# $1: append-only folder; $2: its manifest. stdin: names of files, an empty line, commands, an empty line; then words.
# Each file is open in a process of its own until the end, so that a rewrite can unlink but not remove it.
folder=$1 manifest=$2
set --
while IFS= read -r name && [ -n "$name" ]; do set -- "$@" "$name"; done
commands=
while IFS= read -r line && [ -n "$line" ]; do
  commands="$commands$line
"
done
pids=
sizes() {
  for pid in $pids; do stat -L -c "$1 %s" "/proc/$pid/fd/4" || exit 74; done
}
# The reader holds our stdin: when they are gone, so is the copying.
send() {
  head -c "$2" <"/proc/$1/fd/4" 3<&- &
  child=$!
  (while IFS= read -r _; do :; done; kill -KILL $child) <&3 >/dev/null 2>&1 &
  watch=$!
  wait $child
  code=$?
  kill $watch 2>/dev/null
  return $code
}
talk() {
  stat -L -c 'owner %u %g' "$folder"
  sizes before
  printf '%s' "$commands" | cli | sed 's/^/answer /'
  sizes after
  sed 's/^/manifest /' <"$folder/$manifest" || exit 74
  echo ready
  while read -r verb rest; do
    set -- $rest
    case $verb in
      sizes) sizes after ;;
      # The three bytes around a place, made visible.
      edge)
        pid=$(echo $pids | cut -d ' ' -f "$1")
        printf 'edge '
        dd if="/proc/$pid/fd/4" bs=1 skip="$2" count=3 2>/dev/null | tr '\r\n' 'rn'
        echo
        ;;
      send)
        exec 3<&0
        for pid in $pids; do send "$pid" "$1" || exit 74; shift; done
        exit 0
        ;;
    esac
    echo ready
  done
  exit 76
}
hold() {
  if [ $# = 0 ]; then talk; fi
  (
    read -r pid _ </proc/self/stat
    pids="$pids $pid"
    shift
    hold "$@"
  ) 4<"$folder/$1"
}
hold "$@"
