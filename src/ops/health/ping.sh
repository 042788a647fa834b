# $1: host name, $2: port, $3: seconds. Prints the answer, then its status on a line of its own.
url=http://127.0.0.1:$2/api/method/ping
if command -v curl >/dev/null; then
  exec curl -sS --max-time "$3" -H "Host: $1" -w '\n%{http_code}\n' "$url"
fi
python=$(command -v python3) || { echo 'neither curl nor python3 is in the container' >&2; exit 127; }
exec "$python" -c '
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[2], headers={"Host": sys.argv[1]})
try:
    answer = urllib.request.urlopen(request, timeout=float(sys.argv[3]))
except urllib.error.HTTPError as refused:
    answer = refused
except OSError as e:
    sys.exit(str(e))
text = answer.read(2000).decode("utf-8", "replace")
print(text, answer.getcode(), sep="\n")
' "$1" "$url" "$3"
