exec 3<&0
cli --rdb - </dev/null 3<&- &
child=$!
# Whoever reads the dump holds our stdin; when they are gone, so is the dump.
(while IFS= read -r _; do :; done; kill -KILL $child) <&3 >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait $child
code=$?
kill $watch 2>/dev/null
exit $code
