"""App double: API keys of users."""
import frappe


@frappe.whitelist()
def generate_keys(user):
    """Makes a user's API key where there is none, and a new secret, shown this once."""
    frappe.only_for("System Manager")
    doc = frappe.get_doc("User", user)
    secret = frappe.generate_hash(length=15)
    doc.api_key = doc.get("api_key") or frappe.generate_hash(length=15)
    doc.api_secret = secret
    doc.save()
    return {"api_key": doc.api_key, "api_secret": secret}
