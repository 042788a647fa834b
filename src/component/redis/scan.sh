# Arguments: numbers of databases. Prints `<database> <key>` for lists that may be queues; `<database> end` at each end.
line='
'
for database in "$@"; do
  cursor=0
  while :; do
    found=$(cli -n "$database" SCAN "$cursor" MATCH 'rq:queue:*' COUNT 5000 TYPE list </dev/null)
    cursor=${found%%"$line"*}
    case $cursor in '' | *[!0-9]*) printf '%s\n' "$found" >&2; exit 1 ;; esac
    [ "$found" = "$cursor" ] || printf '%s\n' "${found#*"$line"}" | sed "s/^/$database /"
    [ "$cursor" != 0 ] || break
  done
  echo "$database end"
done
