# stdin: user, password, each a line; both empty to use what the container itself was given.
set -u
export HOME=/nonexistent
unset MYSQL_HOST
IFS= read -r user
IFS= read -r password
client=$(command -v mariadb || command -v mysql) || { echo 'no mariadb client in the container' >&2; exit 127; }
export MYSQL_PWD="$password"
works() { "$client" --user="$user" --execute='DO 1' </dev/null >/dev/null 2>&1; }
if [ -z "$user" ]; then
  user=root
  for name in MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD; do
    eval "value=\${$name:-} file=\${${name}_FILE:-}"
    if [ -z "$value" ] && [ -r "$file" ]; then value=$(cat "$file"); fi
    if [ -n "$value" ]; then break; fi
  done
  # The variable counts at the first start only: the password may have changed, root may come by the socket.
  MYSQL_PWD=$value
  if ! works; then
    MYSQL_PWD=
    works || MYSQL_PWD=$value
  fi
fi
