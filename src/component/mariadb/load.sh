# --comments: without it the client drops those inside routines and triggers, and the copy differs.
exec "$client" --user="$user" --binary-mode --comments --max-allowed-packet=1G --default-character-set=utf8mb4 \
  --loose-skip-print-query-on-error --database="$1"
