#!/usr/bin/env python3
"""Restores from a local copy of a Lifeboat bucket without Lifeboat: needs only age, zstd, minisign and python3.
  emergency-restore.py FOLDER --pin HASH list [TENANT]
  emergency-restore.py FOLDER --pin HASH --identity FILE get TENANT SNAPSHOT|latest
  emergency-restore.py FOLDER --pin HASH --identity FILE get TENANT SNAPSHOT|latest COMPONENT [STREAM] > OUTPUT
FOLDER holds lifeboat.json; HASH and FILE (an age identity) are in the recovery kit. `latest` is the newest whole
snapshot. Without COMPONENT, `get` says what it holds. Steps: docs/emergency-restore.md. Format: docs/format.md.
Exit: 0 done, 1 failed, 2 usage, 4 damaged or forged (then discard OUTPUT), 10 no repository, 12 wrong key."""
import argparse, base64, collections, glob, hashlib, json, os, subprocess, sys, tempfile

class Stop(Exception):
    """Exit code and message."""
def warn(text):
    print("emergency-restore:", text, file=sys.stderr)
def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()
def sha256_file(path):
    return hashlib.sha256(read_bytes(path)).hexdigest()
def run(command, stdin=b""):
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

class Repository:
    def __init__(self, folder, pin):
        self.folder, self.certificates, self.refused = folder, {}, False
        if not os.path.isfile(self.path("lifeboat.json")):
            raise Stop(10, "no lifeboat.json in %s: is this the copy of the bucket?" % folder)
        if sha256_file(self.path("lifeboat.json")) != pin.lower():
            raise Stop(4, "lifeboat.json is not the one that the recovery kit pins: another repository, or forged")
        head = self.read("lifeboat.json", "repository")
        self.id, self.root = head["repository"], head["root"]
        load = lambda key: self.signed(key, "host", "hosts/%(host)s.%(number)s.json", lambda _: self.root)
        for c in self.all_signed("hosts/*.json", load):
            self.certificates[(c["host"], c["number"])] = c
    def path(self, key):
        return os.path.join(self.folder, *key.split("/"))
    def read(self, key, kind):
        o = json.loads(read_bytes(self.path(key)))
        if o["format"] != 1 or o["kind"] != kind:
            raise Stop(1 if o["format"] > 1 else 4, "%s is a %r of format %r" % (key, o["kind"], o["format"]))
        return o
    def signed(self, key, kind, named, signer):
        """Reads an object that says it is called `key`, signed for just that key by signer(object)."""
        o = self.read(key, kind)
        if named % o != key or o["repository"] != self.id:
            raise Stop(4, "it belongs elsewhere")
        signature = self.path(key[:-len("json")] + "minisig")
        out = run(["minisign", "-V", "-Q", "-H", "-P", signer(o), "-m", self.path(key), "-x", signature])
        if out.returncode != 0 or out.stdout.decode("utf-8", "replace").rstrip("\r\n") != "lifeboat/1 " + key:
            raise Stop(4, "its signature does not verify, or was made for another object")
        return o
    def all_signed(self, pattern, load):
        for path in sorted(glob.glob(self.path(pattern))):
            key = os.path.relpath(path, self.folder).replace(os.sep, "/")
            try:
                yield load(key)
            except (Stop, ValueError, KeyError, TypeError) as e:
                warn("REFUSED %s: %s" % (key, e.args[-1]))
                self.refused = True
    def receipt(self, key):
        def signer(o):
            c = self.certificates.get((o["host"], o["certificate"]))
            if c is None or "backup" not in c["roles"] or o["tenant"] not in c["tenants"]:
                raise Stop(4, "its host had no certificate to back this tenant up")
            return c["signing_key"]
        r = self.signed(key, "receipt", "tenants/%(tenant)s/snapshots/%(snapshot)s.json", signer)
        for c in self.certificates.values():  # keys that were ended, and tenants that were handed over
            ends = c["ended"]["last"] if c["ended"] else c.get("handed_over", {})
            if c["signing_key"] == signer(r) and (c["ended"] or r["tenant"] in ends):
                last = ends.get(r["tenant"], {"sequence": 0})
                if r["sequence"] > last["sequence"] or (
                        r["sequence"] == last["sequence"] and sha256_file(self.path(key)) != last["receipt"]):
                    raise Stop(4, "it was written after the end of its host's key")
        return dict(r, whole=all(c["state"] == "whole" for c in r["components"]))
    def receipts(self, tenant, snapshot="*"):
        return sorted(self.all_signed("tenants/%s/snapshots/%s.json" % (tenant, snapshot), self.receipt),
                      key=lambda r: (r["tenant"], r["sequence"]))

def choose(repo, tenant, snapshot):
    found = repo.receipts(tenant, "*" if snapshot == "latest" else snapshot)
    found = [r for r in found if snapshot != "latest" or r["whole"]]
    if not found:
        raise Stop(4 if repo.refused else 1, "no good receipt of snapshot %s of tenant %s" % (snapshot, tenant))
    return found[-1]

def open_vault(repo, receipt, identity):
    """Returns the vault's identity file, from the wraps in the receipt or those under keys/."""
    wraps = [base64.b64decode(w["age"]) for w in receipt["wraps"]]
    stored = glob.glob(repo.path("tenants/%s/keys/%s/*.age" % (receipt["tenant"], receipt["vault"])))
    for wrap in wraps + [read_bytes(path) for path in stored]:
        out = run(["age", "-d", "-i", identity], wrap)
        if out.returncode == 0 and receipt["recipient"] in run(["age-keygen", "-y"], out.stdout).stdout.decode():
            return out.stdout
    raise Stop(12, "%s opens none of the %d wraps of vault %s" % (identity, len(wraps + stored), receipt["vault"]))

def unseal(path, expected, vault, out):
    """Checks the hash of an object, then: age -d | zstd -d."""
    if not os.path.isfile(path) or sha256_file(path) != expected:
        raise Stop(4, "%s is missing or damaged" % path)
    age = subprocess.Popen(["age", "-d", "-i", "-", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    zstd = subprocess.Popen(["zstd", "-d", "-q", "-c"], stdin=age.stdout, stdout=out)
    age.stdout.close()
    age.stdin.write(vault)
    age.stdin.close()
    if zstd.wait() | age.wait():
        raise Stop(4, "%s does not decrypt or decompress" % path)

class Packs:
    """Decompressed packs in `folder`; above `space` bytes the least recently used are deleted."""
    def __init__(self, repo, receipt, vault, folder, space):
        self.where = repo.path("tenants/%s/packs" % receipt["tenant"])
        path = repo.path("tenants/%s/snapshots/%s.packs" % (receipt["tenant"], receipt["snapshot"]))
        if not os.path.isfile(path) or sha256_file(path) != receipt["packs"]["hash"]:
            raise Stop(4, "%s is missing or damaged" % path)
        names = read_bytes(path)
        self.names = [names[i:i + 32].hex() for i in range(0, len(names), 32)]
        self.vault, self.folder, self.space, self.files = vault, folder, space, collections.OrderedDict()
    def read(self, pack, offset, length):
        file = self.files.pop(pack, None)
        if file is None:
            while self.files and sum(os.fstat(f.fileno()).st_size for f in self.files.values()) > self.space:
                self.files.popitem(last=False)[1].close()
            file = tempfile.TemporaryFile(dir=self.folder)
            unseal(os.path.join(self.where, self.names[pack]), self.names[pack], self.vault, file)
        self.files[pack] = file
        return os.pread(file.fileno(), length, offset)

def copy_stream(lines, start, packs, out):
    """Writes the stream whose line stands at `start`; every segment and the whole are checked."""
    head, hashes, total, last, i = lines[start], hashlib.sha256(), 0, None, start + 1
    for _ in range(head["segments"]):
        segment, digest, size, i = lines[i], hashlib.sha256(), 0, i + 1
        while lines[i]["line"] == "extents":
            for extent in lines[i]["extents"]:
                data = packs.read(*extent)
                digest.update(data)
                out.write(data)
                size += len(data)
            i += 1
        if size != segment["size"] or digest.hexdigest() != segment["sha256"]:
            raise Stop(4, "a segment of %s is damaged: DISCARD THE OUTPUT" % head["stream"])
        hashes.update(size.to_bytes(8, "little") + digest.digest())
        total, last = total + size, digest.hexdigest()
    right = ["segments:" + hashes.hexdigest()] + (["sha256:%s" % last] if head["segments"] == 1 else [])
    if total != head["size"] or head["digest"] not in right:
        raise Stop(4, "%s does not have its digest: DISCARD THE OUTPUT" % head["stream"])
    out.flush()
    warn("%s/%s: %d bytes, digest verified" % (head["component"], head["stream"], total))

def get(repo, arguments, folder):
    receipt = choose(repo, arguments.tenant, arguments.snapshot)
    vault = open_vault(repo, receipt, arguments.identity)
    with open(os.path.join(folder, "manifest"), "w+b") as file:
        path = repo.path("tenants/%s/snapshots/%s.manifest.age" % (receipt["tenant"], receipt["snapshot"]))
        unseal(path, receipt["manifest"]["hash"], vault, file)
        file.seek(0)
        lines = [json.loads(line) for line in file]
    same = all(lines[0][name] == receipt[name] for name in ("format", "repository", "tenant", "snapshot", "host"))
    if not same or lines[-1] != {"line": "end", "lines": len(lines) - 1}:
        raise Stop(4, "the manifest is not whole, or belongs to another snapshot")
    for line in [l for l in lines if l["line"] == "component" and arguments.component in (None, l["component"])]:
        if line["state"] != "whole" or not arguments.component:
            warn("%s is %s %s" % (line["component"], line["state"], line.get("detail") or line["lacks"] or ""))
    streams = [i for i, l in enumerate(lines) if l["line"] == "stream" and arguments.component in (None, l["component"])
               and arguments.stream in (None, l["stream"])]
    streams.sort(key=lambda i: lines[i]["stream"] == "list")  # the list of files comes only where it is asked for
    if not arguments.component:
        for i in streams:
            print("%(component)s %(stream)s %(size)d bytes" % lines[i])
    elif not streams:
        raise Stop(1, "snapshot %s has no such component or stream" % receipt["snapshot"])
    else:
        packs = Packs(repo, receipt, vault, folder, arguments.space << 20)
        copy_stream(lines, streams[0], packs, sys.stdout.buffer)

def main(arguments):
    repo = Repository(arguments.folder, arguments.pin)
    if arguments.verb == "get" and arguments.identity and arguments.snapshot:
        with tempfile.TemporaryDirectory(prefix="lifeboat-") as folder:
            return get(repo, arguments, folder)
    if arguments.verb != "list":
        raise Stop(2, "say `list`, or `get` with --identity, tenant and snapshot; --help explains")
    for r in repo.receipts(arguments.tenant or "*"):
        states = " ".join("%(component)s:%(state)s" % c for c in r["components"])
        print(r["tenant"], r["snapshot"], "#%d" % r["sequence"], "WHOLE" if r["whole"] else "partial", states)
    return 4 if repo.refused else 0

if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("folder", "verb", "tenant", "snapshot", "component", "stream"):
        parser.add_argument(name, nargs=None if name in ("folder", "verb") else "?")
    parser.add_argument("--pin", required=True, help="SHA-256 of lifeboat.json")
    parser.add_argument("--identity", help="age identity file")
    parser.add_argument("--space", type=int, default=4096, help="MiB of decompressed packs to keep below $TMPDIR")
    try:
        sys.exit(main(parser.parse_args()))
    except (Stop, OSError, ValueError, KeyError, IndexError, TypeError) as e:
        code, text = e.args if isinstance(e, Stop) else (1, "this cannot be read: %s: %s" % (type(e).__name__, e))
        warn(text)
        sys.exit(code)
