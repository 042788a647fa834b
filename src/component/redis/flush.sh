# $1: pattern; then the numbers of the databases. Prints how many keys were removed.
pattern=$1
shift
step='local found = redis.call("SCAN", ARGV[1], "MATCH", ARGV[2], "COUNT", 1000)
local n = 0
for _, key in ipairs(found[2]) do n = n + redis.call("UNLINK", key) end
return found[1] .. " " .. n'
removed=0
for database in "$@"; do
  cursor=0
  while :; do
    answer=$(cli -n "$database" EVAL "$step" 0 "$cursor" "$pattern" </dev/null)
    case $answer in
      [0-9]*\ [0-9]*) ;;
      *) printf '%s\n' "$answer" >&2; exit 1 ;;
    esac
    cursor=${answer%% *}
    removed=$((removed + ${answer##* }))
    [ "$cursor" != 0 ] || break
  done
done
echo "$removed"
