#!/bin/bash
# Entrypoint with the official MariaDB image's interface: on an empty data directory it makes root, database and
# user from MARIADB_* (or MYSQL_*) variables and their _FILE forms, and runs /docker-entrypoint-initdb.d/*.sql
# and *.sql.gz; on any other it only starts the server. The server becomes process 1.
set -euo pipefail

datadir=/var/lib/mysql

say() { echo "entrypoint: $*" >&2; }
die() { say "$*"; exit 1; }

# setting NAME [DEFAULT]: MARIADB_NAME, MARIADB_NAME_FILE, MYSQL_NAME, MYSQL_NAME_FILE, in this order.
setting() {
  local prefix var file
  for prefix in MARIADB MYSQL; do
    var=${prefix}_$1 file=${prefix}_$1_FILE
    if [ -n "${!var:-}" ] && [ -n "${!file:-}" ]; then die "$var and $file are both set"; fi
    if [ -n "${!var:-}" ]; then printf '%s' "${!var}"; return; fi
    if [ -n "${!file:-}" ]; then printf '%s' "$(<"${!file}")"; return; fi
  done
  printf '%s' "${2:-}"
}

# A string literal under the default SQL mode.
quoted() {
  local s=${1//\\/\\\\}
  printf "'%s'" "${s//\'/\\\'}"
}

# An identifier in backticks.
# shellcheck disable=SC2016
ident() { printf '`%s`' "${1//\`/\`\`}"; }

# The SQL that gives a fresh data directory its users and database.
first_sql() {
  local root_password database user password root_host health host
  root_password=$(setting ROOT_PASSWORD)
  if [ -z "$root_password" ] && [ -n "$(setting RANDOM_ROOT_PASSWORD)" ]; then
    root_password=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
    say "GENERATED ROOT PASSWORD: $root_password"
  fi
  root_host=$(setting ROOT_HOST %)
  echo "DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1';"
  echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(quoted "$root_password");"
  if [ "$root_host" != localhost ]; then
    echo "CREATE USER 'root'@$(quoted "$root_host") IDENTIFIED BY $(quoted "$root_password");"
    echo "GRANT ALL ON *.* TO 'root'@$(quoted "$root_host") WITH GRANT OPTION;"
  fi
  database=$(setting DATABASE)
  user=$(setting USER)
  password=$(setting PASSWORD)
  [ -z "$database" ] || echo "CREATE DATABASE IF NOT EXISTS $(ident "$database");"
  if [ -n "$user" ]; then
    echo "CREATE USER $(quoted "$user")@'%' IDENTIFIED BY $(quoted "$password");"
    [ -z "$database" ] || echo "GRANT ALL ON $(ident "${database//_/\\_}").* TO $(quoted "$user")@'%';"
  fi
  # Last, so that the healthcheck passes only when every statement above did.
  health=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
  for host in localhost 127.0.0.1 ::1; do
    echo "CREATE USER 'healthcheck'@'$host' IDENTIFIED BY '$health';"
  done
  (umask 077 && printf '[mariadb-client]\nport=3306\nuser=healthcheck\npassword=%s\n' "$health" \
    >"$datadir/.my-healthcheck.cnf")
  chown mysql:mysql "$datadir/.my-healthcheck.cnf"
}

# run_scripts INIT-FILE OPTION...: runs the scripts on a server that nobody else can reach.
run_scripts() {
  local socket=/run/mysqld/init.sock init=$1 pid script client
  shift
  exec_as_mysql mariadbd "$@" --skip-networking --socket="$socket" --init-file="$init" &
  pid=$!
  client=(mariadb --no-defaults --socket="$socket" --user=root --database="$(setting DATABASE)")
  for _ in $(seq 300); do
    MYSQL_PWD=$(setting ROOT_PASSWORD) "${client[@]}" -e 'SELECT 1' >/dev/null 2>&1 && break
    kill -0 "$pid" 2>/dev/null || die "the server did not start"
    sleep 0.1
  done
  for script in "${scripts[@]}"; do
    say "running $script"
    case $script in
      *.gz) gzip -dc "$script" ;;
      *) cat "$script" ;;
    esac | MYSQL_PWD=$(setting ROOT_PASSWORD) "${client[@]}"
  done
  kill "$pid"
  wait "$pid"
}

# Becomes the command, as mysql.
exec_as_mysql() {
  if [ "$(id -u)" = 0 ]; then exec setpriv --reuid=mysql --regid=mysql --init-groups "$@"; fi
  exec "$@"
}

if [ "${1:0:1}" = - ]; then set -- mariadbd "$@"; fi
case $1 in
  mariadbd | mysqld) ;;
  *) exec "$@" ;;
esac

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$datadir" /run/mysqld
  find "$datadir" /run/mysqld \! -user mysql -exec chown mysql:mysql {} +
fi

if [ ! -d "$datadir/mysql" ]; then
  if [ -z "$(setting ROOT_PASSWORD)$(setting RANDOM_ROOT_PASSWORD)$(setting ALLOW_EMPTY_ROOT_PASSWORD)" ]; then
    die "the data directory is empty and none of MARIADB_ROOT_PASSWORD, MARIADB_ROOT_PASSWORD_FILE," \
      "MARIADB_RANDOM_ROOT_PASSWORD, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD is set"
  fi
  say "initialising an empty data directory"
  zstd -dcq /usr/local/share/fresh-datadir.tar.zst | (exec_as_mysql tar -C "$datadir" -x -S)
  # In memory, so that the passwords reach no disk; the server reads it before it listens.
  init=$(mktemp /dev/shm/init.XXXXXX)
  first_sql >"$init"
  [ "$(id -u)" != 0 ] || chown mysql:mysql "$init"
  shopt -s nullglob
  scripts=(/docker-entrypoint-initdb.d/*.sql /docker-entrypoint-initdb.d/*.sql.gz)
  if [ ${#scripts[@]} -gt 0 ]; then
    run_scripts "$init" "${@:2}"
    rm -f "$init"
  else
    set -- "$@" --init-file="$init"
  fi
fi

exec_as_mysql "$@"
