#!/bin/bash
# The official image's healthcheck in short: --connect (TCP answers) and --innodb_initialized.
set -euo pipefail
client=(mariadb --defaults-extra-file=/var/lib/mysql/.my-healthcheck.cnf --host=127.0.0.1 --protocol=tcp
  --connect-timeout=5 --skip-column-names --batch)
for test in "${@:---connect}"; do
  case $test in
    --connect) sql='SELECT 1' ;;
    --innodb_initialized)
      sql="SELECT 1 FROM information_schema.ENGINES WHERE engine = 'innodb' AND support IN ('YES', 'DEFAULT')" ;;
    *) echo "healthcheck.sh: unknown test $test" >&2; exit 2 ;;
  esac
  [ "$("${client[@]}" -e "$sql")" = 1 ]
done
