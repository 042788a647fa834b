# Brings a site's looks to the wanted ones and answers what differed and what was there before.
# Writes nothing unless values["write"] says so, and then only what differs.
import base64
import hashlib
import os

values, write = ARGS, ARGS["write"]
differs = []
before = {"singles": {}, "files": [], "letter_head": None}


def public_path(name):
    return frappe.get_site_path("public", "files", name)


def same_file(name, sha256):
    try:
        with open(public_path(name), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == sha256
    except FileNotFoundError:
        return False


def put_file(name, content):
    # Complete under another name first: a browser may ask for it at any moment.
    path = public_path(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    staged = path + ".lifeboat"
    with open(staged, "wb") as file:
        file.write(base64.b64decode(content))
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)


def settle_file(name, content):
    url = "/files/" + name
    row = frappe.db.exists("File", {"file_url": url})
    if row and same_file(name, content["sha256"]):
        return
    differs.append("file " + name)
    if not row:
        before["files"].append(name)
    if not write:
        return
    put_file(name, content["base64"])
    if not row:
        doc = frappe.new_doc("File")
        doc.update({"file_name": name, "file_url": url, "is_private": 0})
        doc.insert(ignore_permissions=True)


def with_block(html, head):
    begin, end = head["marks"]
    block = begin + "\n" + head["html"] + end
    start, stop = html.find(begin), html.find(end)
    if start >= 0 and stop > start:
        return html[:start] + block + html[stop + len(end) :]
    return (html.rstrip() + "\n" + block).lstrip()


def settle_single(doctype, wanted):
    doc = frappe.get_single(doctype)
    found = {field: doc.get(field) for field in wanted}
    changed = {field: value for field, value in wanted.items() if (found[field] or "") != (value or "")}
    if not changed:
        return
    differs.extend(doctype + "." + field for field in changed)
    before["singles"][doctype] = {field: found[field] for field in changed}
    if write:
        doc.update(changed)
        # Before the setup wizard ran, System Settings lack fields that have nothing to do with this.
        doc.flags.ignore_mandatory = True
        doc.save(ignore_permissions=True)


def as_stored(wanted):
    # Frappe cleans HTML when it stores it; what is compared must have been cleaned in the same way.
    probe = frappe.new_doc("Letter Head")
    probe.update(wanted)
    getattr(probe, "_sanitize_content", lambda: None)()
    return {field: probe.get(field) for field in wanted}


def settle_letter_head(wanted):
    name = wanted["letter_head_name"]
    there = frappe.db.exists("Letter Head", name)
    doc = frappe.get_doc("Letter Head", name) if there else frappe.new_doc("Letter Head")
    if there and all(doc.get(field) == value for field, value in as_stored(wanted).items()):
        return
    differs.append("letter head " + name)
    if not there:
        before["letter_head"] = name
    if write:
        doc.update(wanted)
        doc.save(ignore_permissions=True) if there else doc.insert(ignore_permissions=True)


def remove(gone):
    for name in gone["files"]:
        row = frappe.db.exists("File", {"file_url": "/files/" + name})
        if row:
            frappe.delete_doc("File", row, ignore_permissions=True, force=True)
        if os.path.exists(public_path(name)):
            os.remove(public_path(name))
    if gone["letter_head"] and frappe.db.exists("Letter Head", gone["letter_head"]):
        frappe.delete_doc("Letter Head", gone["letter_head"], ignore_permissions=True, force=True)


for name, content in values["files"].items():
    settle_file(name, content)
singles = values["singles"]
if values["head"]:
    html = frappe.get_single("Website Settings").get("head_html") or ""
    singles.setdefault("Website Settings", {})["head_html"] = with_block(html, values["head"])
for doctype, wanted in singles.items():
    settle_single(doctype, wanted)
if values["letter_head"]:
    settle_letter_head(values["letter_head"])
if write and "gone" in values:
    remove(values["gone"])
if write:
    frappe.db.commit()
answer({"differs": differs, "before": before})
