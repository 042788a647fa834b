for database in "$@"; do
  { cli -n "$database" --scan --pattern 'rq:queue:*' </dev/null && echo end; } | sed "s/^/$database /"
done
