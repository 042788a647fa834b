# stdin: given|container, user, password, port, configuration file; each a line, empty where not known.
set -u
export LC_ALL=C HOME=/nonexistent
inherited=${REDISCLI_AUTH:-}
unset REDISCLI_AUTH REDISCLI_RCFILE
IFS= read -r mode
IFS= read -r user
IFS= read -r password
IFS= read -r port
IFS= read -r conf
client=$(command -v redis-cli || command -v valkey-cli) || { echo 'no redis-cli in the container' >&2; exit 127; }
cli() {
  if [ -n "$user" ]; then "$client" -p "$port" --user "$user" "$@"; else "$client" -p "$port" "$@"; fi
}
# The last value of a setting in the configuration file, without its quotes.
setting() {
  [ -f "$conf" ] && [ -r "$conf" ] || return 0
  sed -n "s/^[[:space:]]*$1[[:space:]][[:space:]]*//p" "$conf" | tail -n 1 | tr -d '\r' |
    sed -e 's/[[:space:]]*$//' -e 's/^"\(.*\)"$/\1/' -e "s/^'\(.*\)'\$/\1/"
}
[ -n "$port" ] || port=$(setting port)
[ -n "$port" ] || port=6379
answers() {
  if [ -n "$1" ]; then export REDISCLI_AUTH="$1"; else unset REDISCLI_AUTH; fi
  said=$(cli PING 2>&1 </dev/null)
  case $said in
    *PONG* | *LOADING* | *BUSY*) return 0 ;;
    # Not up yet: the next password would be judged by a server that this one never saw.
    *'Could not connect'*) refuse ;;
  esac
  return 1
}
refuse() {
  printf '%s\n' "$said" >&2
  case $said in *NOAUTH* | *WRONGPASS* | *NOPERM* | *'AUTH failed'*) exit 77 ;; esac
  exit 69
}
if [ "$mode" = given ]; then
  answers "$password" || refuse
else
  # Without a word of it, where provisioning puts it.
  file=${REDIS_PASSWORD_FILE:-/run/secrets/redis-password}
  if [ -f "$file" ] && [ -r "$file" ]; then secret=$(cat "$file"); else secret=; fi
  for candidate in "$password" "${REDIS_PASSWORD:-}" "$secret" "$(setting requirepass)" "$inherited" ''; do
    # The last is nobody in particular.
    if answers "$candidate"; then candidate=found; break; fi
  done
  [ "$candidate" = found ] || refuse
fi
