# Compares, makes, changes or removes the site's Social Login Key for Authentik; answers how it stood before.
from frappe.utils.password import get_decrypted_password

KIND = "Social Login Key"
wanted, secret = ARGS["fields"], SECRETS["client_secret"]
name = frappe.scrub(wanted["provider_name"])
there = bool(frappe.db.exists(KIND, name))
differs = []

if ARGS["verb"] != "remove":
    # Since Frappe asks for verified addresses, a login with a stock Authentik fails without this.
    if frappe.get_meta(KIND).has_field("trust_email_without_verified_claim"):
        wanted["trust_email_without_verified_claim"] = 1
    doc = frappe.get_doc(KIND, name) if there else frappe.new_doc(KIND)
    differs = [field for field, value in wanted.items() if doc.get(field) != value]
    if not there or get_decrypted_password(KIND, name, "client_secret", raise_exception=False) != secret:
        differs.append("client_secret")

if ARGS["verb"] == "settle" and differs:
    doc.update(wanted)
    doc.client_secret = secret
    doc.save(ignore_permissions=True) if there else doc.insert(ignore_permissions=True)
if ARGS["verb"] == "remove" and there:
    frappe.delete_doc(KIND, name, ignore_permissions=True, force=True)
frappe.db.commit()
answer({"there": there, "differs": differs})
