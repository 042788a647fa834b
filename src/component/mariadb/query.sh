exec "$client" --user="$user" --batch --skip-column-names --raw --default-character-set=utf8mb4 \
  --max-allowed-packet=1G --loose-skip-print-query-on-error
